"""Proposals of MS-CNN and Cascade R-CNN: BoxOutput, BoxGroupOutput, and DecodeBBox, which refines them.

Sources: src/caffe/layers/box_output_layer.cpp and src/caffe/util/math_functions.cpp of zhaoweicai/mscnn;
src/caffe/layers/box_group_output_layer.cpp and decode_bbox_layer.cpp, src/caffe/util/bbox_util.cpp of zhaoweicai/cascade-rcnn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..base import LayerType, Shape
from ..detection import boxes as box_ops
from ..fields import Fields
from ..limits import LOWEST
from ..registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph

NONE = (0.0, 1.0, 1.0, 10.0, 10.0)  # the region that stands for none


@dataclass(frozen=True)
class Map:
    """A map of predictions: its anchors' sizes in pixels, the pixels per cell, and its height and width."""

    widths: tuple[int, ...]
    heights: tuple[int, ...]
    stride: int
    size: tuple[int, int]

    def anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """Sizes and middles (G, H, W, 2) of the anchors, in pixels, float32."""
        import numpy as np

        shape = (len(self.widths), *self.size, 2)
        sizes = np.stack([self.widths, self.heights], 1).astype(np.float32)[:, None, None]
        y, x = (np.arange(side, dtype=np.float32) for side in self.size)
        middles = (np.stack(np.meshgrid(x, y), 2) + np.float32(0.5)) * np.float32(self.stride)
        return np.broadcast_to(sizes, shape).reshape(-1, 2), np.broadcast_to(middles, shape).reshape(-1, 2)

    @property
    def image(self) -> tuple[float, float]:
        """Width and height of the image in pixels."""
        return float(self.size[1] * self.stride), float(self.size[0] * self.stride)


class Units:
    """Mean and deviation of predicted boxes: `bbox_reg_param`."""

    def __init__(self, op: LayerType) -> None:
        p = op.layer.message.bbox_reg_param
        are_set = p.bbox_mean and p.bbox_std
        self.mean: list[float] = list(p.bbox_mean) if are_set else [0.0] * 4
        self.deviation: list[float] = list(p.bbox_std) if are_set else [1.0] * 4
        fits = len(self.mean) == len(self.deviation) == 4 and min(self.deviation) > 0
        op.check(fits, "bbox_reg_param needs four values of bbox_mean, and four positive ones of bbox_std")


class Proposals(LayerType):
    """The base of BoxOutput and BoxGroupOutput: regions (R, 5, 1, 1), and optionally with their scores (R, 6, 1, 1).

    Attributes:
        maps: the maps of predictions.
        pixel: 1 if a box's last pixels count, 0 if its corners are edges.
    """

    n_tops = (1, 2)
    has_gradient = False
    dynamic_rows = 0
    is_exportable = False
    pixel: ClassVar[float] = 0.0
    maps: list[Map]

    def setup(self) -> None:
        p = self.param
        self.check(p.field_whr > 0 and p.field_xyr > 0, "field_whr and field_xyr must be positive")
        self.units = Units(self)
        self.maps = self.read_maps()
        self.total = sum(math.prod(each.size) * len(each.widths) for each in self.maps)
        most = p.max_nms_num or self.total
        self.before, self.after = min(most, self.total), p.max_post_nms_num or most
        columns = (5, 6)[: len(self.layer.tops)]
        self.tops = [(1, number, 1, 1) for number in columns]

    def read_maps(self) -> list[Map]:
        """Check the bottoms, and read the maps from the parameters."""
        raise NotImplementedError

    def check_map(self, shape: Shape, channels: int | None) -> None:
        fits = len(shape) == 4 and (channels is None or shape[1] == channels)
        self.check(fits, f"takes maps with 4 axes{f' and {channels} channels' if channels else ''}, not {shape}")

    # ---- PyTorch

    def predictions(self, index: int, bottoms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Of a map: scores (N, K) and offsets (N, K, 4)."""
        raise NotImplementedError

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> list[Tensor]:
        import torch

        found = [self.found(i, [x.detach() for x in bottoms]) for i in range(len(self.maps))]
        scores, boxes = (torch.cat(parts, 1) for parts in zip(*found))
        order = scores.flip(1).sort(dim=1, descending=True, stable=True)[1][:, : self.before]
        order = scores.shape[1] - 1 - order
        scores, boxes = scores.gather(1, order), boxes.gather(1, order.unsqueeze(2).expand(-1, -1, 4))
        threshold = float(self.param.iou_thr)
        keep = box_ops.suppress(boxes, scores > LOWEST, threshold, pixel=self.pixel, limit=self.after)
        keep &= keep.cumsum(1) <= self.after
        image, place = keep.nonzero(as_tuple=True)
        rows = torch.cat([image.to(boxes)[:, None], boxes[image, place], scores[image, place, None]], 1)
        none = rows.new_tensor([[*NONE, 0.0]])
        tops = [rows[:, :5] if len(rows) else none[:, :5], rows if len(rows) else none * 0]
        return [top[..., None, None] for top in tops[: len(self.layer.tops)]]

    def found(self, index: int, bottoms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Of a map: scores (N, K), the least one for what is no box, and boxes (N, K, 4)."""
        import torch

        p, here = self.param, self.maps[index]
        scores, offsets = self.predictions(index, bottoms)
        sizes, middles = (torch.from_numpy(part.copy()).to(scores) for part in here.anchors())
        offsets = offsets * offsets.new_tensor(self.units.deviation) + offsets.new_tensor(self.units.mean)
        move = offsets[..., :2].clamp(-1 / p.field_xyr, 1 / p.field_xyr)
        grow = offsets[..., 2:].clamp(math.log(1 / p.field_whr), math.log(p.field_whr))
        size = sizes * grow.exp()
        low = move * sizes + middles - size / 2
        limit = low.new_tensor(here.image)
        clipped = low.clamp(min=0)
        high = self.far_corner(low, clipped, size, limit)
        large = (high - clipped + self.pixel >= p.min_size).all(2)
        return torch.where(large & (scores >= p.fg_thr), scores, LOWEST), torch.cat([clipped, high], 2)

    def far_corner(self, low: Tensor, clipped: Tensor, size: Tensor, limit: Tensor) -> Tensor:
        """x2, y2 of boxes from their first corners before and after clipping, their sizes, and the image's."""
        import torch

        return torch.minimum(low + size - 1, limit)

    # ---- ONNX

    def onnx_predictions(self, graph: OnnxGraph, index: int, bottoms: Sequence[str]) -> tuple[str, str]:
        """Emit `predictions`."""
        raise NotImplementedError

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> list[str]:
        if graph.dynamic_size:
            raise graph.refuse("proposals do not allow open sizes (--dynamic-size)")
        found = [self._onnx_found(graph, i, bottoms) for i in range(len(self.maps))]
        scores, boxes = (graph.add("Concat", *parts, axis=1) for parts in zip(*found))
        # TopK takes the first of equal scores, the fork the last one.
        scores, boxes = (graph.slice(x, [-1], [-(2**62)], [1], [-1]) for x in (scores, boxes))
        scores, order = graph.add("TopK", scores, graph.ints(self.before), outputs=2, axis=1)
        start = graph.add("Mul", graph.count(scores), graph.constant(self.total, "int64"))
        place = graph.add("Add", order, graph.unsqueeze(start, [1]))
        boxes = graph.add("Gather", graph.reshape(boxes, (-1, 4)), place)
        edges = graph.add("Add", boxes, graph.constant([0.0, 0.0, self.pixel, self.pixel])) if self.pixel else boxes
        threshold = float(self.param.iou_thr)
        keep = box_ops.onnx_suppress(graph, edges, graph.unsqueeze(scores, [1]), threshold, score=LOWEST, limit=self.after)
        kept = graph.positions(keep)
        image = graph.cast(graph.add("Div", kept, graph.constant(self.before, "int64")), "float32")
        chosen = graph.add("Gather", graph.reshape(boxes, (-1, 4)), kept)
        score = graph.add("Gather", graph.reshape(scores, (-1,)), kept)
        columns = [graph.unsqueeze(image, [1]), chosen, graph.unsqueeze(score, [1])]
        tops = [(columns[:2], list(NONE)), (columns, [0.0] * 6)][: len(self.layer.tops)]
        return [self._onnx_rows(graph, graph.add("Concat", *parts, axis=1), none) for parts, none in tops]

    def _onnx_rows(self, graph: OnnxGraph, rows: str, none: list[float]) -> str:
        """Rows as a top; the row `none` if there are none."""
        count = graph.size_of(rows, 0)
        one = graph.ints(1)
        end = graph.add("Where", graph.add("Equal", count, graph.ints(0)), one, count)
        rows = graph.add("Slice", graph.add("Concat", rows, graph.constant([none]), axis=0), graph.ints(0), end, graph.ints(0))
        return graph.unsqueeze(rows, [2, 3])

    def _onnx_found(self, graph: OnnxGraph, index: int, bottoms: Sequence[str]) -> tuple[str, str]:
        p, here = self.param, self.maps[index]
        scores, offsets = self.onnx_predictions(graph, index, bottoms)
        sizes, middles = (graph.constant(part) for part in here.anchors())
        offsets = graph.affine(offsets, graph.constant(self.units.deviation), graph.constant(self.units.mean))
        move, grow = graph.split(offsets, [2, 2], 2)
        move = graph.clip(move, -1 / p.field_xyr, 1 / p.field_xyr)
        grow = graph.clip(grow, math.log(1 / p.field_whr), math.log(p.field_whr))
        size = graph.add("Mul", sizes, graph.add("Exp", grow))
        low = graph.add("Sub", graph.affine(move, sizes, middles), graph.add("Div", size, graph.scalar(2.0)))
        clipped = graph.clip(low, 0.0, None)
        high = self.onnx_far_corner(graph, low, clipped, size, graph.constant(here.image))
        side = graph.add("Add", graph.add("Sub", high, clipped), graph.scalar(self.pixel))
        small = graph.cast(graph.add("Less", side, graph.scalar(p.min_size)), "float32")
        weak = graph.add("Less", scores, graph.scalar(p.fg_thr))
        out = graph.add("Or", weak, graph.cast(graph.reduce("Max", small, [2], keepdims=False), "bool"))
        return graph.add("Where", out, graph.scalar(LOWEST), scores), graph.add("Concat", clipped, high, axis=2)

    def onnx_far_corner(self, graph: OnnxGraph, low: str, clipped: str, size: str, limit: str) -> str:
        """Emit `far_corner`."""
        end = graph.add("Sub", graph.add("Add", low, size), graph.scalar(1.0))
        return graph.add("Min", end, limit)


@register("BoxOutput")
class BoxOutput(Proposals):
    """MS-CNN's proposals: regions (R, 5, 1, 1), each its image's index and x1, y1, x2, y2; optionally with scores (R, 6, 1, 1).

    Bottoms: a map (N, C + 4, H, W) per anchor size (`field_w`, `field_h`, `downsample_rate`), with the scores of C classes, the
    background first, and the anchors' offsets in units of `bbox_reg_param`. A box's score is the best class's less the
    background's, at least `fg_thr`. Offsets are limited by `field_xyr` and `field_whr`; boxes are clipped to the image, and need
    `min_size`. The best `max_nms_num` go through suppression (`iou_thr`), and the best `max_post_nms_num` are kept. Without any
    box, the one region is 1, 1, 10, 10 (zhaoweicai/mscnn, box_output_layer.cpp).
    """

    param_name = "box_output_param"
    fields = Fields(
        "fg_thr iou_thr field_h field_w downsample_rate field_whr field_xyr max_nms_num max_post_nms_num min_size"
    ).also("bbox_reg_param", "bbox_mean bbox_std")
    n_bottoms = (1, None)

    def read_maps(self) -> list[Map]:
        p, number = self.param, len(self.bottoms)
        for name in ("field_h", "field_w", "downsample_rate"):
            values = getattr(p, name)
            self.check(
                len(values) == number and min(values, default=0) > 0, f"needs a positive {name} for each of {number} bottoms"
            )
        for shape in self.bottoms:
            self.check_map(shape, self.bottoms[0][1] if len(self.bottoms[0]) == 4 else None)
            self.check(
                shape[1] >= 6 and shape[0] == self.bottoms[0][0], f"maps need scores of two classes and boxes, not {shape}"
            )
        sizes = zip(p.field_w, p.field_h, p.downsample_rate, self.bottoms)
        return [Map((width,), (height,), rate, (shape[2], shape[3])) for width, height, rate, shape in sizes]

    def predictions(self, index: int, bottoms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        x = bottoms[index].flatten(2)
        return x[:, 1:-4].amax(1) - x[:, 0], x[:, -4:].transpose(1, 2)

    def onnx_predictions(self, graph: OnnxGraph, index: int, bottoms: Sequence[str]) -> tuple[str, str]:
        x = graph.reshape(bottoms[index], (0, 0, -1))
        classes = self.bottoms[0][1] - 4
        background, others, offsets = graph.split(x, [1, classes - 1, 4], 1)
        best = graph.add("Sub", graph.reduce("Max", others, [1]), background)
        return graph.squeeze(best, [1]), graph.transpose(offsets, (0, 2, 1))

    def far_corner(self, low: Tensor, clipped: Tensor, size: Tensor, limit: Tensor) -> Tensor:
        import torch

        return clipped + torch.minimum(size, limit - clipped)

    def onnx_far_corner(self, graph: OnnxGraph, low: str, clipped: str, size: str, limit: str) -> str:
        return graph.add("Add", clipped, graph.add("Min", size, graph.add("Sub", limit, clipped)))


@register("BoxGroupOutput")
class BoxGroupOutput(Proposals):
    """Cascade R-CNN's proposals: regions (R, 5, 1, 1), and optionally with scores (R, 6, 1, 1), as in BoxOutput.

    Bottoms, for each `box_group_param` of G anchors (`field_w`, `field_h`) with a `stride`: probabilities (N * G, C, H, W), the
    background's first, and offsets (N * G, 4, H, W). The score is 1 less the background's. A box's last pixels count. Equal
    scores are in no particular order in the fork (zhaoweicai/cascade-rcnn, box_group_output_layer.cpp).
    """

    param_name = "box_group_output_param"
    fields = Fields("fg_thr iou_thr box_group_param field_whr field_xyr max_nms_num max_post_nms_num min_size").also(
        "bbox_reg_param", "bbox_mean bbox_std"
    )
    n_bottoms = (2, None)
    pixel = 1.0

    def read_maps(self) -> list[Map]:
        groups = list(self.param.box_group_param)
        self.check(len(self.bottoms) == 2 * len(groups), f"needs two bottoms for each box_group_param, has {len(self.bottoms)}")
        maps = []
        for group, scores, offsets in zip(groups, self.bottoms[::2], self.bottoms[1::2]):
            number = len(group.field_w)
            fits = len(group.field_h) == number > 0 and group.stride > 0 and min(*group.field_w, *group.field_h) > 0
            self.check(fits, "box_group_param needs a stride, and as many positive field_w as field_h")
            self.check_map(scores, None)
            self.check_map(offsets, 4)
            fits = scores[0] == offsets[0] and scores[2:] == offsets[2:] and scores[0] % number == 0
            self.check(fits, f"probabilities {scores} and offsets {offsets} of {number} anchors do not fit together")
            images = self.bottoms[0][0] // len(groups[0].field_w)
            self.check(scores[0] // number == images, f"maps of different numbers of images: {self.bottoms[0]} and {scores}")
            maps.append(Map(tuple(group.field_w), tuple(group.field_h), group.stride, (scores[2], scores[3])))
        return maps

    def predictions(self, index: int, bottoms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        scores, offsets = bottoms[2 * index], bottoms[2 * index + 1]
        number = len(self.maps[index].widths)
        images = scores.shape[0] // number
        cells = offsets.flatten(2).transpose(1, 2)  # (N * G, H * W, 4)
        return (1 - scores[:, 0]).reshape(images, -1), cells.reshape(images, -1, 4)

    def onnx_predictions(self, graph: OnnxGraph, index: int, bottoms: Sequence[str]) -> tuple[str, str]:
        scores, offsets = bottoms[2 * index], bottoms[2 * index + 1]
        here = self.maps[index]
        number = len(here.widths) * math.prod(here.size)
        score = graph.add("Sub", graph.scalar(1.0), graph.slice(scores, [0], [1], [1]))
        cells = graph.transpose(graph.reshape(offsets, (0, 4, -1)), (0, 2, 1))
        return graph.reshape(score, (-1, number)), graph.reshape(cells, (-1, number, 4))


@register("DecodeBBox")
class DecodeBBox(LayerType):
    """Boxes moved by the offsets of the object class: bottoms offsets (R, 8, ...) and regions (R, 5, ...); the top is regions.

    Offsets are in units of `bbox_reg_param`; of the two classes' only the second's count. Only for TEST: in TRAIN the fork leaves
    boxes out (zhaoweicai/mscnn, zhaoweicai/cascade-rcnn, decode_bbox_layer.cpp).
    """

    param_name = "decode_bbox_param"
    fields = Fields(
        gt_iou_thr="zhaoweicai/cascade-rcnn src/caffe/layers/decode_bbox_layer.cpp:92: read in TRAIN only, which is refused"
    ).also(
        "bbox_reg_param",
        "bbox_mean bbox_std",
        cls_aware="zhaoweicai/cascade-rcnn src/caffe/layers/decode_bbox_layer.cpp:17: not read",
    )
    n_bottoms = (2, 3)
    has_gradient = False

    def setup(self) -> None:
        offsets, regions = self.bottoms[:2]
        self.check(self.phase == "TEST" and len(self.bottoms) == 2, "is computed in phase TEST and with two bottoms only")
        for shape, columns in ((offsets, 8), (regions, 5)):
            self.check(len(shape) > 1 and math.prod(shape[1:]) == columns, f"takes rows of {columns} values, not {shape}")
        self.check(offsets[0] == regions[0], f"offsets {offsets} and regions {regions} differ in their number")
        self.units = Units(self)
        self.tops = [(regions[0], 5, 1, 1)]

    def forward(self, offsets: Tensor, regions: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        deltas = offsets.detach().reshape(-1, 8)[:, 4:]
        deltas = deltas * deltas.new_tensor(self.units.deviation) + deltas.new_tensor(self.units.mean)
        rows = regions.detach().reshape(-1, 5)
        low, high = rows[:, 1:3], rows[:, 3:]
        size, middle = high - low + 1, 0.5 * (high + low)
        grown = size * deltas[:, 2:].exp()
        low = deltas[:, :2] * size + middle - (grown - 1) / 2
        return torch.cat([rows[:, :1], low, low + grown - 1], 1)[..., None, None]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        one = graph.scalar(1.0)
        deltas = graph.slice(graph.reshape(bottoms[0], (-1, 8)), [4], [8], [1])
        deltas = graph.affine(deltas, graph.constant(self.units.deviation), graph.constant(self.units.mean))
        move, grow = graph.split(deltas, [2, 2], 1)
        image, low, high = graph.split(graph.reshape(bottoms[1], (-1, 5)), [1, 2, 2], 1)
        size = graph.add("Add", graph.add("Sub", high, low), one)
        middle = graph.add("Mul", graph.scalar(0.5), graph.add("Add", high, low))
        grown = graph.add("Mul", size, graph.add("Exp", grow))
        half = graph.add("Div", graph.add("Sub", grown, one), graph.scalar(2.0))
        low = graph.add("Sub", graph.affine(move, size, middle), half)
        end = graph.add("Sub", graph.add("Add", low, grown), one)
        return graph.unsqueeze(graph.add("Concat", image, low, end, axis=1), [2, 3])
