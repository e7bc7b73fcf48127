"""Layers of FlowNet's forks around their nets: Mean, Resample, Downsample and FLOWriter (lmb-freiburg/flownet2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Mean")
class Mean(LayerType):
    """output_scale * (input_scale * x + mean_scale * m), or minus m, for a `value` m per channel, in turn (mean_layer.cpp).

    Bottoms (N, C, ...) and as many tops; C must be a multiple of the number of values. A mean from a `file` is refused.
    """

    param_name = "mean_param"
    fields = Fields("operation value mean_scale input_scale output_scale")
    n_bottoms = (1, None)
    n_tops = (1, None)
    has_gradient = False
    keeps_place = True

    def setup(self) -> None:
        p = self.param
        self.check("operation" in p, "mean_param must set operation: ADD or SUBTRACT")
        self.check(len(p.value) > 0 or bool(p.file), "mean_param must set a value")
        self.check(len(self.layer.tops) == len(self.bottoms), f"needs a top for each of {len(self.bottoms)} bottoms")
        for shape in self.bottoms:
            self.check(len(shape) > 1 and shape[1] % max(len(p.value), 1) == 0,
                       f"{len(p.value)} values for a bottom of shape {shape}")  # fmt: skip
        sign = -1.0 if p.operation == "SUBTRACT" else 1.0
        self.scale = float(p.output_scale * p.input_scale)
        self.shifts = [sign * p.output_scale * p.mean_scale * value for value in p.value]
        self.tops = list(self.bottoms)

    def _shift(self, shape: Sequence[int]) -> np.ndarray:
        import numpy as np

        shift = np.tile(np.array(self.shifts, np.float32), shape[1] // len(self.shifts))
        return shift.reshape(-1, *[1] * (len(shape) - 2))

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> list[Tensor]:
        import torch

        return [x * self.scale + torch.from_numpy(self._shift(x.shape)).to(x) for x in bottoms]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> list[str]:
        scale = graph.scalar(self.scale) if self.scale != 1 else None
        return [graph.affine(x, scale, graph.constant(self._shift(shape))) for x, shape in zip(bottoms, self.bottoms)]


class Resized(LayerType):
    """The base of layers that resize (N, C, H, W) by a matrix for each axis, which `module` computes once."""

    n_bottoms = (1, 2)
    has_gradient = False
    matrices: tuple[Tensor, Tensor]

    def weights(self, axis: int) -> np.ndarray:
        """The matrix (top's size, bottom's size) that resizes an axis."""
        raise NotImplementedError

    def module(self) -> torch.nn.Module:
        import torch

        rows, columns = (torch.from_numpy(self.weights(axis)) for axis in (2, 3))
        self.matrices = rows, columns.T.contiguous()
        return super().module()

    def resized(self, x: Tensor) -> Tensor:
        """x, resized along both axes."""
        rows, columns = (matrix.to(x) for matrix in self.matrices)
        return rows @ x @ columns

    def onnx_matrices(self, graph: OnnxGraph) -> tuple[str, str]:
        """The matrices as values of an ONNX graph; one goes before a map, the other after it."""
        import numpy as np

        if graph.dynamic_size:
            raise graph.refuse(f"{self.layer.type} does not allow open sizes (--dynamic-size)")
        return graph.own_array("rows", self.weights(2)), graph.own_array("columns", np.ascontiguousarray(self.weights(3).T))


@register("Resample")
class Resample(Resized):
    """Resizing of (N, C, H, W), to `height` and `width` or to those of a second bottom (flownet2, resample_layer.cu).

    NEAREST, or a LINEAR or CUBIC kernel around each pixel's position, which is made wider by the factor of shrinking with
    `antialias`, if there is an axis that shrinks; weights outside of the map do not count. As in the fork, positions along the
    width are shifted by half of the height's factor, and vice versa, and there is no gradient.
    """

    param_name = "resample_param"
    fields = Fields(
        "width height type antialias", factor="lmb-freiburg/flownet2 src/caffe/layers/resample_layer.cpp:44: not read"
    )

    def setup(self) -> None:
        p = self.param
        for shape in self.bottoms:
            self.check(len(shape) == 4, f"takes bottoms with 4 axes (N, C, H, W), not {shape}")
        size = self.bottoms[1][2:] if len(self.bottoms) == 2 else (p.height, p.width)
        self.check(min(size) > 0, "height and width must be positive, or given by a second bottom")
        self.check(p.type in ("NEAREST", "LINEAR", "CUBIC"), f"type {p.type} is not supported by the fork, either")
        self.tops = [(*self.bottoms[0][:2], *size)]
        if p.type == "NEAREST":
            for axis in (2, 3):
                place = self._positions(axis)[1]
                fits = place.min() >= 0 and place.max() < self.bottoms[0][axis]
                self.check(bool(fits), f"reads beyond its bottom {self.bottoms[0]} for a top of {self.tops[0]}, as in the fork")

    def _factors(self, axis: int) -> tuple[np.float32, np.float32]:
        """Of the axis, and of the other one."""
        import numpy as np

        one, other = (np.float32(self.bottoms[0][i]) / np.float32(self.tops[0][i]) for i in (axis, 5 - axis))
        return one, other

    def _positions(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each place of the top lies in the bottom, and the nearest whole position."""
        import numpy as np

        factor, other = self._factors(axis)
        place = np.arange(self.tops[0][axis], dtype=np.float32) * factor + other / np.float32(2) - np.float32(0.5)
        return place, np.trunc(place + np.copysign(np.float32(0.5), place)).astype(np.int64)

    def weights(self, axis: int) -> np.ndarray:
        import numpy as np

        factor, other = self._factors(axis)
        place, nearest = self._positions(axis)
        shrinks = bool(factor > 1 or other > 1) and bool(self.param.antialias)
        sharpness = np.float32(1) / factor if shrinks else np.float32(1)
        linear = self.param.type == "LINEAR"
        radius = 2 if factor < 1 else int(np.ceil(np.float32(2 if linear else 4) / sharpness))
        cell = np.arange(self.bottoms[0][axis])
        distance = np.abs(sharpness * (place[:, None] - cell.astype(np.float32)))
        values = np.clip(1 - distance, 0, None) if linear else _cubic(distance)
        values = np.where(np.abs(cell - nearest[:, None]) <= radius, values, 0)
        total = values.sum(1, keepdims=True)
        return np.divide(values, total, out=np.zeros_like(values), where=total != 0).astype(np.float32)

    def module(self) -> torch.nn.Module:
        import torch

        if self.param.type != "NEAREST":
            return super().module()
        rows, columns = (torch.from_numpy(self._positions(axis)[1]) for axis in (2, 3))
        self.matrices = rows, columns
        return LayerType.module(self)

    def forward(self, x: Tensor, *like: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        x = x.detach()
        if self.param.type != "NEAREST":
            return self.resized(x)
        rows, columns = (places.to(x.device) for places in self.matrices)
        return x[:, :, rows][..., columns]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.param.type == "NEAREST":
            if graph.dynamic_size:
                raise graph.refuse("Resample does not allow open sizes (--dynamic-size)")
            rows, columns = (graph.constant(self._positions(axis)[1], "int64") for axis in (2, 3))
            return graph.add("Gather", graph.add("Gather", bottoms[0], rows, axis=2), columns, axis=3)
        rows, columns = self.onnx_matrices(graph)
        return graph.add("MatMul", graph.add("MatMul", rows, bottoms[0]), columns)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -0.5, at distances x."""
    import numpy as np

    near = x * x * (1.5 * x - 2.5) + 1
    far = x * (x * (-0.5 * x + 2.5) - 4) + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


@register("Downsample")
class Downsample(Resized):
    """Shrinking of (N, C, H, W) to `top_height` and `top_width` or to a second bottom's (flownet2, downsample_layer.cu).

    Corners lie on corners; each value is the mean of those around it, weighted by their closeness. NaN (an unknown flow) does not
    count, unless it has more than half of the others' weight: then the result is NaN. There is no gradient.
    """

    param_name = "downsample_param"
    fields = Fields("top_height top_width")

    def setup(self) -> None:
        for shape in self.bottoms:
            self.check(len(shape) == 4, f"takes bottoms with 4 axes (N, C, H, W), not {shape}")
        size = self.bottoms[1][2:] if len(self.bottoms) == 2 else (self.param.top_height, self.param.top_width)
        self.check(min(size) > 0, "top_height and top_width must be positive, or given by a second bottom")
        self.same = size == self.bottoms[0][2:]
        self.check(self.same or min(size) > 1, f"cannot shrink an axis to 1: {self.bottoms[0]} to {size}")
        self.tops = [(*self.bottoms[0][:2], *size)]

    def module(self) -> torch.nn.Module:
        return LayerType.module(self) if self.same else super().module()

    def weights(self, axis: int) -> np.ndarray:
        """The closeness of each value of the bottom."""
        import numpy as np

        before, after = self.bottoms[0][axis], self.tops[0][axis]
        scale = np.float32(before - 1) / np.float32(after - 1)
        place = np.arange(after, dtype=np.float32) / np.float32(after - 1) * np.float32(before - 1)
        nearest = np.floor(place + np.float32(0.5))
        cell = np.arange(before, dtype=np.float32)
        near = np.abs(cell - nearest[:, None]) <= np.ceil(scale)
        return np.where(near, np.clip(1 - np.abs(cell - place[:, None]) / scale, 0, None), 0).astype(np.float32)

    def forward(self, x: Tensor, *like: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if self.same:
            return x
        x = x.detach()
        lacks = torch.isnan(x)
        value = self.resized(torch.where(lacks, 0, x))
        lost, total = (self.resized(mask.to(x)) for mask in (lacks, ~lacks))
        return torch.where(lost / total > 0.5, torch.nan, value / total)

    @property
    def is_identity(self) -> bool:
        return self.same

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x = bottoms[0]
        if self.same:
            return x
        rows, columns = self.onnx_matrices(graph)

        def summed(value: str) -> str:
            return graph.add("MatMul", graph.add("MatMul", rows, value), columns)

        lacks = graph.add("IsNaN", x)
        value = summed(graph.add("Where", lacks, graph.scalar(0.0), x))
        lost, total = (summed(graph.cast(mask, "float32")) for mask in (lacks, graph.add("Not", lacks)))
        unknown = graph.add("Greater", graph.add("Div", lost, total), graph.scalar(0.5))
        return graph.add("Where", unknown, graph.scalar(float("nan")), graph.add("Div", value, total))


@register("FLOWriter")
class FLOWriter(LayerType):
    """Writes each flow (N, 2, H, W) to a file in Caffe; protogen writes none, and its bottom is an output of ONNX models.

    (flownet2, flowriter_layer.cpp.)
    """

    param_name = "writer_param"
    fields = Fields(
        **dict.fromkeys(
            ("file", "folder", "prefix", "suffix", "normalize", "scale"),
            "lmb-freiburg/flownet2 src/caffe/layers/flowriter_layer.cpp:81: where and how a file is written",
        )
    )
    n_tops = (0, 0)
    has_gradient = False
    only_trains = True  # that is, a net to use does without it
    onnx_note = "a sink: no outputs"

    def setup(self) -> None:
        flow = self.bottoms[0]
        self.check(len(flow) == 4 and flow[1] == 2, f"takes a flow (N, 2, H, W), not {flow}")
        self.tops = []

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Sequence[Tensor]:
        return []
