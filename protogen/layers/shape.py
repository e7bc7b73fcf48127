"""Layers that move values without computing any: Flatten, Reshape, Permute, Slice, Split, Tile, row selection, ..."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .base import LayerType, Shape, count
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph, Size

TO_THE_END = 2**62  # a Slice end beyond any axis


@register("Flatten")
class Flatten(LayerType):
    """Axes `axis` (1) to `end_axis` (-1, included) joined into one (caffe/layers/flatten_layer.cpp).

    An `end_axis` right before `axis` joins nothing: it inserts an axis of size 1.
    """

    param_name = "flatten_param"
    shares_memory = True
    fields = Fields("axis end_axis")

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.start, self.end = self.axis(p.axis), self.axis(p.end_axis, what="end_axis") + 1
        self.check(self.start <= self.end, f"end_axis {p.end_axis} comes before axis {p.axis} in {len(shape)} axes")
        _refuse_in_place(self)
        self.tops = [(*shape[: self.start], count(shape[self.start : self.end]), *shape[self.end :])]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.unsqueeze(self.start) if self.start == self.end else x.flatten(self.start, self.end - 1)

    @property
    def is_identity(self) -> bool:
        return self.end - self.start == 1

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.start == self.end:
            return graph.unsqueeze(bottoms[0], [self.start])
        if self.start == 1 and self.end == len(self.bottoms[0]):
            return graph.add("Flatten", bottoms[0], axis=1)
        return graph.reshape(bottoms[0], [0] * self.start + [-1, *_dims(graph, bottoms[0], self.bottoms[0], self.end)])


@register("Reshape")
class Reshape(LayerType):
    """The same values in another shape (caffe/layers/reshape_layer.cpp).

    `shape` replaces `num_axes` (-1: all) axes from `axis` (0) on: a 0 copies the size of the bottom's corresponding axis, and a
    single -1 is inferred. A negative `axis` counts from behind the last axis, so that -1 appends axes.
    """

    param_name = "reshape_param"
    shares_memory = True
    fields = Fields("shape axis num_axes")

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        _refuse_in_place(self)
        self.check(p.pixelshuffler == 1, "pixelshuffler is not supported")
        dims, ndim = list(p.shape.dim), len(shape)
        self.start = p.axis if p.axis >= 0 else ndim + p.axis + 1
        self.check(0 <= self.start <= ndim, f"axis {p.axis} is out of range for {ndim} axes of shape {shape}")
        self.check(p.num_axes >= -1, f"num_axes must be 0 or more, or -1 for all, not {p.num_axes}")
        self.end = ndim if p.num_axes == -1 else self.start + p.num_axes
        self.check(self.end <= ndim, f"axis {p.axis} and num_axes {p.num_axes} reach beyond the {ndim} axes of shape {shape}")
        self.check(min(dims, default=0) >= -1, f"dimensions must be positive, 0 (copy) or -1 (infer), not {min(dims, default=0)}")
        self.check(dims.count(-1) <= 1, f"at most one dimension can be -1 (inferred), not {dims.count(-1)}")
        copied = [self.start + i for i, dim in enumerate(dims) if dim == 0]
        self.check(all(i < ndim for i in copied), f"shape {dims} has a 0 (copy) where its bottom {shape} has no axis")
        self.dims = dims
        self.tops = [self._shape(shape)]

    def _shape(self, shape: Shape) -> Shape:
        """The top's shape for a bottom of this shape."""
        dims = [shape[self.start + i] if dim == 0 else dim for i, dim in enumerate(self.dims)]
        top = [*shape[: self.start], *dims, *shape[self.end :]]
        total = count(shape)
        if -1 in self.dims:
            i = self.start + self.dims.index(-1)
            others = count([*top[:i], *top[i + 1 :]])
            divides = others > 0 and total % others == 0
            self.check(divides, f"the {total} values of its bottom {shape} do not divide by the other dimensions ({others})")
            top[i] = total // others
        self.check(count(top) == total, f"its bottom {shape} has {total} values, the shape {tuple(top)} has {count(top)}")
        return tuple(top)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        dims = [x.shape[self.start + i] if dim == 0 else dim for i, dim in enumerate(self.dims)]
        return x.reshape(*x.shape[: self.start], *dims, *x.shape[self.end :])

    @property
    def is_identity(self) -> bool:
        """Whether it does nothing to bottoms of any size, since at most one axis is not copied."""
        return self.tops[0] == self.bottoms[0] and sum(dim != 0 for dim in self.dims) <= 1

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, shape, top = bottoms[0], self.bottoms[0], self.tops[0]
        if top == shape and not (graph.dynamic_batch or graph.dynamic_size):
            return x
        if self.end == 0 and shape:
            # All new axes come before the batch and have size 1: infer the batch, which may be dynamic.
            return graph.reshape(x, [*top[: len(self.dims)], -1, *_dims(graph, x, shape, 1)])
        return graph.reshape(x, [0] * self.start + self.dims + _dims(graph, x, shape, self.end))


@register("Permute")
class Permute(LayerType):
    """Axes in another order; those not in `order` follow in their original order (SSD, caffe/layers/permute_layer.cpp)."""

    param_name = "permute_param"
    fields = Fields("order")

    def setup(self) -> None:
        shape, order = self.bottoms[0], list(self.param.order)
        self.check(all(i < len(shape) for i in order), f"order {order} names an axis that its bottom {shape} does not have")
        self.check(len(set(order)) == len(order), f"order {order} names an axis twice")
        self.order = order + [i for i in range(len(shape)) if i not in order]
        self.tops = [tuple(shape[i] for i in self.order)]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.permute(self.order)

    @property
    def is_identity(self) -> bool:
        return self.order == sorted(self.order)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.transpose(bottoms[0], self.order)


@register("Transpose")
class Transpose(Permute):
    """All axes in another order, `dim` (senlinuc/caffe_ocr and other forks for text, transpose_layer.cpp)."""

    param_name = "transpose_param"
    fields = Fields("dim")

    def setup(self) -> None:
        shape, self.order = self.bottoms[0], list(self.param.dim)
        fits = sorted(self.order) == list(range(len(shape)))
        self.check(fits, f"dim {self.order} must name each of the {len(shape)} axes of its bottom {shape} once")
        self.tops = [tuple(shape[i] for i in self.order)]


@register("Slice")
class Slice(LayerType):
    """An axis (1: channels) split at each `slice_point`, or into equal parts (caffe/layers/slice_layer.cpp)."""

    param_name = "slice_param"
    fields = Fields("slice_dim slice_point axis")
    keeps_place = True
    n_tops = (1, None)

    def setup(self) -> None:
        p, shape, n = self.param, self.bottoms[0], len(self.layer.tops)
        self.check(not ("axis" in p and "slice_dim" in p), "give either axis or slice_dim")
        self.cut = self.axis(p.slice_dim, what="slice_dim") if "slice_dim" in p else self.axis(p.axis)
        self.points = list(p.slice_point)
        size = shape[self.cut]
        if self.points:
            parts = len(self.points) + 1
            self.check(parts == n, f"{parts - 1} slice points give {parts} parts, but it has {n} tops")
            ordered = all(part > 0 for part in self._sizes(size))
            span = f"from 1 to {size - 1} (axis {self.cut} of {shape} has size {size})"
            self.check(ordered, f"slice points {self.points} must increase {span}")
        else:
            self.check(size % n == 0, f"axis {self.cut} of {shape} (size {size}) does not divide into {n} equal tops")
        self.tops = [(*shape[: self.cut], part, *shape[self.cut + 1 :]) for part in self._sizes(size)]

    def _sizes(self, size: int) -> list[int]:
        """Sizes of the parts of an axis of this size."""
        n = len(self.layer.tops)
        return [b - a for a, b in pairwise([0, *self.points, size])] if self.points else [size // n] * n

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Sequence[Tensor]:
        return x.split(self._sizes(x.shape[self.cut]), self.cut)

    @property
    def is_identity(self) -> bool:
        return len(self.layer.tops) == 1

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Sequence[str]:
        x = bottoms[0]
        if self.is_identity:
            return [x]
        if self.cut or not graph.dynamic_batch:
            return graph.split(x, self._sizes(self.bottoms[0][self.cut]), self.cut)
        return [graph.slice(x, [a], [b], [0]) for a, b in pairwise([0, *self.points, TO_THE_END])]


@register("Split")
class Split(LayerType):
    """The bottom under several names; Caffe inserts it where several layers read a blob (caffe/layers/split_layer.cpp)."""

    keeps_place = True
    shares_memory = True
    n_tops = (1, None)

    def setup(self) -> None:
        self.tops = [self.bottoms[0]] * len(self.layer.tops)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Sequence[Tensor]:
        return [x] * len(self.layer.tops)

    @property
    def is_identity(self) -> bool:
        return True

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Sequence[str]:
        return [bottoms[0]] * len(self.layer.tops)


@register("Tile")
class Tile(LayerType):
    """The bottom repeated `tiles` times along an axis (1) (caffe/layers/tile_layer.cpp)."""

    param_name = "tile_param"
    fields = Fields("axis tiles")

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check("tiles" in p, "tiles is missing")
        self.check(p.tiles > 0, f"tiles must be positive, not {p.tiles}")
        self.tiled, self.tiles = self.axis(p.axis), p.tiles
        self.repeats = [self.tiles if i == self.tiled else 1 for i in range(len(shape))]
        self.tops = [tuple(size * times for size, times in zip(shape, self.repeats))]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.repeat(self.repeats)

    @property
    def is_identity(self) -> bool:
        return self.tiles == 1

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Tile", bottoms[0], graph.ints(*self.repeats))


@register("ShuffleChannel")
class ShuffleChannel(LayerType):
    """Channels shuffled across groups: (group, C / group) transposed (ShuffleNet's fork, shuffle_channel_layer.cpp)."""

    param_name = "shuffle_channel_param"
    fields = Fields("group")
    keeps_place = True

    def setup(self) -> None:
        shape = self.bottoms[0]
        self.group = self.param.group
        self.check(len(shape) >= 2, f"needs a channel axis; its bottom is {shape}")
        self.check(self.group > 0, "group must be positive")
        self.check(shape[1] % self.group == 0, f"group {self.group} does not divide the {shape[1]} channels of its bottom")
        self.tops = [shape]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.unflatten(1, (self.group, x.shape[1] // self.group)).transpose(1, 2).flatten(1, 2)

    @property
    def is_identity(self) -> bool:
        return self.group in (1, self.bottoms[0][1])

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        channels, spatial = self.bottoms[0][1], _dims(graph, bottoms[0], self.bottoms[0], 2)
        if self.is_identity:
            return bottoms[0]
        grouped = graph.reshape(bottoms[0], [0, self.group, channels // self.group, *spatial])
        swapped = graph.transpose(grouped, [0, 2, 1, *range(3, len(spatial) + 3)])
        return graph.reshape(swapped, [0, channels, *spatial])


@register("Reorg")
class Reorg(LayerType):
    """(N, C, H, W) to (N, C s^2, H / s, W / s) in darknet's order, or back with `reverse` (choasup/caffe-yolo9000).

    Darknet reads the values as (N, C / s^2, H s, W s) and takes every s-th column of every s-th row. This is not the usual
    space-to-depth, which keeps channels together. Without `stride` it is 2, choasup's default; eric612/MobileNet-YOLO has none.
    """

    param_name = "reorg_param"
    fields = Fields("stride reverse")

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(len(shape) == 4, f"takes a bottom with 4 axes (N, C, H, W), not {shape}")
        self.stride, self.reverse = p.get("stride", 2), bool(p.reverse)
        self.check(self.stride > 0, "stride must be positive")
        n, c, h, w = shape
        s = self.stride
        self.check(c % (s * s) == 0, f"stride {s} squared does not divide the {c} channels of its bottom")
        self.check(self.reverse or h % s == w % s == 0, f"stride {s} does not divide the {h}x{w} pixels of its bottom")
        self.tops = [(n, c // (s * s), h * s, w * s) if self.reverse else (n, c * s * s, h // s, w // s)]

    def _steps(self, shape: Sequence[Any]) -> tuple[list[Any], list[Any], list[int]]:
        """Shapes, without the batch, before and after the transposition, and the transposition itself."""
        (c, h, w), s = shape, self.stride
        if self.reverse:
            return [s, s, c // (s * s), h, w], [c // (s * s), h * s, w * s], [0, 3, 4, 1, 5, 2]
        return [c // (s * s), h, s, w, s], [c * s * s, h // s, w // s], [0, 3, 5, 1, 2, 4]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        before, after, order = self._steps(x.shape[1:])
        return x.reshape(-1, *before).permute(order).reshape(-1, *after)

    @property
    def is_identity(self) -> bool:
        return self.stride == 1

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        before, after, order = self._steps(_dims(graph, bottoms[0], self.bottoms[0], 1))
        return graph.reshape(graph.transpose(graph.reshape(bottoms[0], [0, *before]), order), [0, *after])


@register("Flip")
class Flip(LayerType):
    """Mirrored along the width (`flip_width`, on by default) and the height (`flip_height`, off) of (N, C, H, W)."""

    param_name = "flip_param"
    fields = Fields("flip_width flip_height")

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(len(shape) == 4, f"takes a bottom with 4 axes (N, C, H, W), not {shape}")
        self.axes = [axis for axis, on in ((2, p.flip_height), (3, p.flip_width)) if on]
        self.tops = [shape]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.flip(self.axes)

    @property
    def is_identity(self) -> bool:
        return not self.axes

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        n = len(self.axes)
        return graph.slice(bottoms[0], [-1] * n, [-TO_THE_END] * n, self.axes, [-1] * n) if n else bottoms[0]


@register("BatchReindex")
class BatchReindex(LayerType):
    """Items of the first bottom, selected and ordered by the indices in the second (caffe/layers/batch_reindex_layer.cpp).

    (N, ...) and (M,) to (M, ...). The indices must be in 0..N-1 and get no gradient.
    """

    n_bottoms = (2, 2)
    index_bottoms = (1,)

    def setup(self) -> None:
        shape, index = self.bottoms
        self.check(len(shape) > 0, "its first bottom has no axes")
        self.check(len(index) == 1, f"its second bottom (the indices) must have one axis, not {index}")
        self.tops = [(index[0], *shape[1:])]

    def forward(self, x: Tensor, index: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.index_select(0, index.long())

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.rows(bottoms[0], bottoms[1])


@register("Filter")
class Filter(LayerType):
    """Items of each bottom but the last where the last, the selector (N, 1, ...), is not 0 (caffe/layers/filter_layer.cpp).

    The number of items that pass is data-dependent; `tops` has all N, like Caffe's shapes before a forward pass.
    """

    n_bottoms = (2, None)
    n_tops = (1, None)
    has_gradient = False
    dynamic_rows = 0

    def setup(self) -> None:
        *shapes, selector = self.bottoms
        tops = len(self.layer.tops)
        self.check(tops == len(shapes), f"has {len(shapes)} bottoms to filter and {tops} tops; give each bottom a top")
        single = len(selector) > 0 and count(selector[1:]) == 1
        self.check(single, f"the selector, its last bottom, must be (N, 1, ...), not {selector}")
        for shape in shapes:
            self.check(shape[:1] == selector[:1], f"its bottom {shape} and the selector {selector} differ in the first axis")
        self.tops = shapes

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> Sequence[Tensor]:
        *values, selector = bottoms
        chosen = selector.flatten() != 0
        return [x[chosen] for x in values]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Sequence[str]:
        *values, selector = bottoms
        chosen = graph.positions(selector)  # OpenCV has no Compress
        return [graph.add("Gather", x, chosen, axis=0) for x in values]


def _dims(graph: OnnxGraph, x: str, shape: Shape, start: int) -> list[Size]:
    """Sizes of the axes of `x` from `start` (1 or more) on."""
    return [graph.dim(x, axis, shape[axis]) for axis in range(start, len(shape))]


def _refuse_in_place(op: LayerType) -> None:
    op.check(op.layer.tops[0] not in op.layer.bottoms, "cannot work in place; give its top another name")
