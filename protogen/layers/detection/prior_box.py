"""Default boxes of SSD: PriorBox, and OpenVINO's PriorBoxClustered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ...prototxt.message import Message, to_float32
from ...rules import ReadingRules
from ..base import LayerType
from ..fields import Fields
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph


class Boxes(LayerType):
    """Boxes around each cell of a feature map (N, C, H, W), in fractions of the image's size.

    The top (1, 2, H * W * K * 4) holds x1, y1, x2, y2 of K boxes per cell, then their variances. It only depends on the bottoms'
    shapes: cell (w, h) has its center at ((w + offset) * step, (h + offset) * step), where the step defaults to the image's size
    over the map's size.

    Fields of two forks give each cell several centers. The boxes of one size at all centers then precede those of the next size.

    - OpenCV's `offset_w` and `offset_h` (modules/dnn/src/layers/prior_box_layer.cpp) are the positions of the centers in the
      cell, instead of `offset`. With these fields all other rules are OpenCV's, too: boxes are clipped unless `clip` is false,
      and sizes are not truncated to whole pixels. `additional_y_offset`, in OpenCV 3.3.1, stands for the two centers of
      TextBoxes, 0.5 and 1 step down.
    - TextBoxes++'s `denser_prior_boxes` adds a center at the cell's lower edge (its prior_box_layer.cpp). TextBoxes' own fork
      (MhLiao/TextBoxes) always does; its files, which do not say so, are read by the rule `priors`.

    Attributes:
        sizes: (width, height) in pixels of the boxes of a cell, set by `box_sizes`.
        offsets: (x, y) of the centers in a cell, as fractions of the step.
        opencv: whether OpenCV's rules apply.
        clip: whether boxes are clipped to the image.
    """

    param_name = "prior_box_param"
    fields: ClassVar[Fields] = Fields(
        "clip variance img_size img_h img_w step step_h step_w offset offset_h offset_w additional_y_offset"
    )
    n_bottoms = (2, 2)
    has_gradient = False

    def setup(self) -> None:
        p = self.param
        for what, shape in zip(("feature map", "image"), self.bottoms):
            self.check(len(shape) == 4, f"the {what} must have 4 axes (N, C, H, W), not {shape}")
        self.opencv = bool(p.offset_h or p.offset_w or p.additional_y_offset)
        self.offsets = self._opencv_offsets() if self.opencv else self._offsets()
        self.clip: bool = p.get("clip", True) if self.opencv else p.clip
        self.sizes = self.box_sizes()
        self.variance: list[float] = list(p.variance) or [to_float32(0.1)]
        self.check(len(self.variance) in (1, 4), f"give one variance or four, not {len(self.variance)}")
        self.check(min(self.variance) > 0, f"each variance must be positive, not {min(self.variance)}")
        self.image = tuple(int(size) for size in self._pair("img", "img_size"))
        self.step = self._pair("step", "step")
        height, width = self.bottoms[0][2:]
        self.tops = [(1, 2, height * width * len(self.sizes) * len(self.offsets) * 4)]
        self.check(self.tops[0][2] > 0, f"the feature map {self.bottoms[0]} is empty")

    def box_sizes(self) -> list[tuple[float, float]]:
        """(width, height) of each box of a cell, in Caffe's order."""
        raise NotImplementedError

    def _offsets(self) -> list[tuple[float, float]]:
        offset: float = self.param.offset
        return [(offset, offset), (offset, 1.0)] if self.is_denser else [(offset, offset)]

    @property
    def is_denser(self) -> bool:
        """Whether each cell has a second center, at its lower edge."""
        return bool(self.param.denser_prior_boxes)

    def _opencv_offsets(self) -> list[tuple[float, float]]:
        p = self.param
        self.check(
            not p.denser_prior_boxes, "denser_prior_boxes is TextBoxes++'s, but its other offsets are OpenCV's: give only one"
        )
        image = [name for name in ("img_size", "img_h", "img_w") if name in p]
        self.check(not image, f"{' and '.join(image)} with OpenCV's offsets: OpenCV always takes the size of the second bottom")
        if p.additional_y_offset:
            self.check(not (p.offset_h or p.offset_w), "give either additional_y_offset or offset_h and offset_w")
            self.check(
                p.offset == 0.5, f"additional_y_offset needs offset 0.5, not {p.offset}: give offset_h and offset_w instead"
            )
            return [(0.5, 0.5), (0.5, 1.0)]
        self.check("offset" not in p, "give either offset or offset_h and offset_w")
        self.check(
            len(p.offset_h) == len(p.offset_w), f"{len(p.offset_h)} offset_h and {len(p.offset_w)} offset_w; give as many of each"
        )
        # For n pairs, OpenCV's top has room for 2 * (n - 1) sets of boxes: from three on, its end is uninitialised memory.
        self.check(len(p.offset_h) <= 2, f"OpenCV supports one or two pairs of offset_h and offset_w, not {len(p.offset_h)}")
        return list(zip(p.offset_w, p.offset_h))

    def _pair(self, what: str, both: str) -> tuple[float, float]:
        """(height, width) from `both`, or from `what`_h and `what`_w; (0, 0) if none is set.

        Unlike Pooling's, these fields have no defaults.
        """
        p, names = self.param, (f"{what}_h", f"{what}_w")
        single = any(name in p for name in names)
        self.check(not (single and both in p), f"give either {both} or {names[0]} and {names[1]}")
        if not single and both not in p:
            return (0, 0)
        pair = (p.get(names[0], 0), p.get(names[1], 0)) if single else (p.get(both), p.get(both))
        self.check(min(pair) > 0, f"{' and '.join(names) if single else both} must be positive, not {pair[0]}, {pair[1]}")
        return pair

    def boxes(self, size: Sequence[int], image: Sequence[int], xp: Any) -> Any:
        """Compute the top.

        As in Caffe's C++, centers are rounded to float32 and corners are computed from them in float64; OpenCV's in float32.

        Args:
            size, image: (height, width) of the feature map and of the image.
            xp: numpy or torch; both compute the same bits.
        """
        image = self.image if all(self.image) else image
        step = self.step if all(self.step) else [i / s for i, s in zip(image, size)]
        corners, wide = [], xp.float32 if self.opencv else xp.float64
        for axis in (1, 0):
            cells = xp.arange(size[axis], dtype=xp.float32).reshape((1, -1, 1) if axis else (-1, 1, 1))
            offsets, halves = self._of_each_box(axis)
            centers = xp.asarray((cells + xp.asarray(offsets, dtype=xp.float32)) * step[axis], dtype=wide)
            halves = xp.asarray(halves, dtype=wide)
            corners.append([(centers - halves) / image[axis], (centers + halves) / image[axis]])
        (x1, x2), (y1, y2) = corners
        shape = (size[0], size[1], len(self.sizes) * len(self.offsets))
        values = xp.stack([xp.broadcast_to(corner, shape) for corner in (x1, y1, x2, y2)], -1).reshape(-1)
        values = xp.asarray(values, dtype=xp.float32)
        if self.clip:
            values = xp.clip(values, 0.0, 1.0)
        variance = xp.asarray(self.variance, dtype=xp.float32)
        variances = xp.tile(variance, (len(values) // len(self.variance),))
        return xp.stack([values, variances]).reshape(1, 2, -1)

    def _of_each_box(self, axis: int) -> tuple[list[float], list[float]]:
        """Along x (axis 1) or y (axis 0), the offset of each box's center in its cell, and half of the box's size."""
        boxes = [(offset[1 - axis], size[1 - axis] / 2) for size in self.sizes for offset in self.offsets]
        return [offset for offset, _ in boxes], [half for _, half in boxes]

    def forward(self, x: Tensor, image: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        return self.boxes(x.shape[2:], image.shape[2:], torch).to(x)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        """Emit a constant or, for a dynamic size, the steps of `boxes`; both yield the same bits."""
        import numpy as np

        if not graph.dynamic_size:
            return graph.own_array("boxes", self.boxes(self.bottoms[0][2:], self.bottoms[1][2:], np))
        size, image = ([graph.dim(x, axis, shape[axis]) for axis in (2, 3)] for x, shape in zip(bottoms, self.bottoms))
        if all(self.image):
            image = [np.int64(side) for side in self.image]
        corners = [self._onnx_corners(graph, axis, size[axis], image[axis]) for axis in (1, 0)]
        cells = graph.ints(*size, 1, 1, 1)
        values = graph.add("Concat", *[graph.add("Expand", corner, cells) for corner in corners], axis=4)
        if self.clip:
            values = graph.clip(values, 0.0, 1.0)
        variance = graph.constant(np.broadcast_to(np.array(self.variance, np.float32), 4).reshape(2, 2))
        variances = graph.add("Expand", variance, graph.add("Shape", values))
        return graph.reshape(graph.add("Concat", values, variances, axis=0), [1, 2, -1])

    def _onnx_corners(self, graph: OnnxGraph, axis: int, size: Any, image: Any) -> str:
        """x1 and x2 of the boxes of each column (1, W, K, 2, 1), or y1 and y2 of those of each row (H, 1, K, 2, 1)."""
        import numpy as np

        wide = "float32" if self.opencv else "float64"
        step = self.step[axis] or image.astype("float32") / size.astype("float32")
        offsets, halves = (np.array(values).reshape(-1, 1, 1) for values in self._of_each_box(axis))
        cells = graph.range(size, "float32").reshape(*((1, -1, 1, 1, 1) if axis else (-1, 1, 1, 1, 1)))
        centers = ((cells + offsets.astype("float32")) * step).astype(wide)
        corners = (centers + np.concatenate([-halves, halves], 1).astype(wide)) / image.astype(wide)
        return corners.astype("float32").name


@register("PriorBox")
class PriorBox(Boxes):
    """For each `min_size`, a square of that size, one of sqrt(min_size * max_size) if there is a `max_size`, then for each
    other aspect ratio r a box of min_size * sqrt(r) by min_size / sqrt(r).

    `flip` (on) adds the inverse of each aspect ratio; sizes are truncated to whole pixels before use
    (caffe/layers/prior_box_layer.cpp, SSD fork), but not by OpenCV's rules.
    """

    fields = Boxes.fields.but("min_size max_size aspect_ratio flip denser_prior_boxes")

    @property
    def is_denser(self) -> bool:
        return super().is_denser or _is_textboxes(self.param, self.rules)

    @classmethod
    def is_placed(cls, message: Message, rules: ReadingRules) -> bool:
        return _is_textboxes(message.prior_box_param, rules)

    def placed_fields(self) -> Mapping[str, Any]:
        if not _is_textboxes(self.param, self.rules):
            return {}
        return {"prior_box_param": self.param.copy().update({"denser_prior_boxes": True})}

    def box_sizes(self) -> list[tuple[float, float]]:
        p = self.param
        self.check(not (p.width or p.height), "width and height are PriorBoxClustered's; PriorBox takes its sizes from min_size")
        self.check(len(p.min_size) > 0, "min_size is missing")
        whole_sizes = all(size == int(size) for size in (*p.min_size, *p.max_size))
        self.check(
            whole_sizes or not _is_textboxes(p, self.rules), "read as TextBoxes', min_size and max_size must be whole numbers"
        )
        self.check(min(p.min_size) > 0, f"min_size must be positive, not {min(p.min_size)}")
        self.check(len(p.max_size) in (0, len(p.min_size)), f"{len(p.max_size)} max_size for {len(p.min_size)} min_size")
        for small, large in zip(p.min_size, p.max_size):
            self.check(large > small, f"max_size {large} must be greater than min_size {small}")
        self.check(all(ratio > 0 for ratio in p.aspect_ratio), f"aspect_ratio must be positive, not {list(p.aspect_ratio)}")
        sizes: list[tuple[float, float]] = []
        whole: Callable[[float], float] = float if self.opencv else int
        roots = [to_float32(math.sqrt(ratio)) for ratio in self._ratios()]
        for i, size in enumerate(p.min_size):
            base = whole(size)
            sizes.append((base, base))
            if p.max_size:
                area = base * whole(p.max_size[i])
                between = math.sqrt(to_float32(area) if self.opencv else area)
                sizes.append((between, between))
            sizes += [(base * root, base / root) for root in roots]
        return [(to_float32(width), to_float32(height)) for width, height in sizes]

    def _ratios(self) -> list[float]:
        """Aspect ratios other than 1, each once, with their inverses if `flip` is on."""
        ratios = [1.0]
        for ratio in self.param.aspect_ratio:
            if all(abs(ratio - other) >= 1e-6 for other in ratios):
                ratios += [ratio, to_float32(1 / ratio)] if self.param.flip else [ratio]
        return ratios[1:]


def _is_textboxes(param: Message, rules: ReadingRules) -> bool:
    """Whether the rule `priors` gives a PriorBox a second center: none of its own fields says where its centers are."""
    own = ("denser_prior_boxes", "offset", "offset_h", "offset_w", "additional_y_offset")
    return rules.priors == "textboxes" and not any(name in param for name in own)


@register("PriorBoxClustered")
class PriorBoxClustered(Boxes):
    """Boxes with the sizes in `width` and `height` (training_toolbox_caffe/layers/prior_box_clustered_layer.cpp)."""

    fields = Boxes.fields.but("width height")

    def box_sizes(self) -> list[tuple[float, float]]:
        p = self.param
        self.check(not p.denser_prior_boxes, "denser_prior_boxes is PriorBox's")
        self.check(len(p.width) > 0, "width is missing")
        self.check(len(p.width) == len(p.height), f"{len(p.width)} width and {len(p.height)} height; give as many of each")
        sizes = list(zip(p.width, p.height))
        self.check(min(map(min, sizes)) > 0, "each width and height must be positive")
        return sizes
