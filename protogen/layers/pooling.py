"""Pooling with Caffe's rounded-up output and clipped last window (caffe/layers/pooling_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..convert.onnx_graph import OnnxGraph

LOWEST = -3.4028234663852886e38  # -FLT_MAX: the maximum of an empty window


@register("Pooling")
class Pooling(LayerType):
    """Maximum, average or stochastic value of each window of (N, C, H, W).

    The output size is (in + 2 pad - kernel) / stride + 1, rounded up (down with `round_mode: FLOOR` or `ceil_mode: false`); with
    padding, a last window that starts beyond the padded image is dropped. An average divides by the window's size
    within the padded image. A second top of MAX pooling is the mask: each maximum's index in the H * W plane.
    """

    param_name = "pooling_param"
    n_tops = (1, 2)

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(len(shape) == 4, f"pooling takes a bottom with 4 axes (N, C, H, W), not {shape}")
        self.method: str = p.pool
        self.masked = len(self.layer.tops) == 2
        self.check(not self.masked or self.method == "MAX", "only MAX pooling has a mask as its second top")
        self.global_pooling = bool(p.global_pooling)
        self.kernel = shape[2:] if self.global_pooling else self._pair("kernel", "kernel_size")
        self.stride = self._pair("stride", "stride")
        self.pad = self._pair("pad", "pad")
        if self.global_pooling:
            given = "kernel_size" in p or "kernel_h" in p or "kernel_w" in p
            self.check(not given, "global_pooling takes the whole image; leave kernel_size out")
            self.check(self.pad == (0, 0) and self.stride == (1, 1), "global_pooling takes no pad and no stride")
        self.check(min(self.kernel) > 0, f"kernel size must be positive, not {self.kernel[0]}x{self.kernel[1]}")
        self.check(min(self.stride) > 0, f"stride must be positive, not {self.stride[0]}x{self.stride[1]}")
        self.check(self.pad[0] < self.kernel[0] and self.pad[1] < self.kernel[1], f"pad {self.pad} must be smaller than the kernel {self.kernel}")
        self.floor = p.round_mode == "FLOOR" or not p.get("ceil_mode", True)
        self.out = self.out_size(shape[2:])
        self.tops = [(*shape[:2], *self.out)] * len(self.layer.tops)

    def _pair(self, what: str, both: str) -> tuple[int, int]:
        """(height, width) of kernel, stride or pad, from `both` or from its `_h` and `_w`."""
        p = self.param
        if f"{what}_h" in p or f"{what}_w" in p:
            self.check(both not in p or what != "kernel", f"give either {both} or {what}_h and {what}_w")
            return (getattr(p, f"{what}_h") or 0, getattr(p, f"{what}_w") or 0)
        self.check(what != "kernel" or both in p, "kernel_size (or kernel_h and kernel_w) is missing")
        value = getattr(p, both)
        return (value, value)

    def out_size(self, size: Sequence[int]) -> tuple[int, int]:
        """Output (height, width) for an input (height, width)."""
        out = []
        for i in range(2):
            span = size[i] + 2 * self.pad[i] - self.kernel[i]
            self.check(span >= 0, f"the kernel {self.kernel} is larger than its bottom {tuple(size)} with padding {self.pad}")
            n = (span // self.stride[i] if self.floor else -(-span // self.stride[i])) + 1
            if any(self.pad) and (n - 1) * self.stride[i] >= size[i] + self.pad[i]:
                n -= 1
            out.append(n)
        return (out[0], out[1])

    def margins(self, size: Sequence[int]) -> tuple[list[int], list[int]]:
        """Padding (before, after) per axis that makes the windows tile the input exactly; negative: rows never used."""
        out = self.out_size(size)
        after = [(out[i] - 1) * self.stride[i] + self.kernel[i] - size[i] - self.pad[i] for i in range(2)]
        return list(self.pad), after

    def divisors(self, size: Sequence[int]) -> list[list[int]]:
        """For each axis, the size of each window within the padded image: what an average divides by."""
        out = self.out_size(size)
        starts = [[n * self.stride[i] - self.pad[i] for n in range(out[i])] for i in range(2)]
        return [[min(s + self.kernel[i], size[i] + self.pad[i]) - s for s in starts[i]] for i in range(2)]

    def _is_plain(self) -> bool:
        """Whether PyTorch's own ceil mode gives the same windows, whatever the input's size."""
        return all(2 * pad <= kernel and (any(self.pad) or stride <= kernel) for pad, kernel, stride in zip(self.pad, self.kernel, self.stride))

    # ---- PyTorch

    def module(self) -> torch.nn.Module:
        from torch import nn

        if self.global_pooling or self.masked or self.method == "STOCHASTIC" or not self._is_plain():
            return super().module()
        if self.method == "MAX":
            return nn.MaxPool2d(self.kernel, self.stride, self.pad, ceil_mode=not self.floor)
        return nn.AvgPool2d(self.kernel, self.stride, self.pad, ceil_mode=not self.floor, count_include_pad=True)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor | Sequence[Tensor]:  # type: ignore[override]
        if self.global_pooling and self.method == "AVE":
            return x.mean((2, 3), keepdim=True)
        if self.method == "MAX":
            return self._max(x)
        return self._average(x) if self.method == "AVE" else self._stochastic(x, training)

    def _windows(self, x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """(kernel, stride) for this input: the whole of it for global pooling."""
        return ((int(x.shape[2]), int(x.shape[3])), (1, 1)) if self.global_pooling else (self.kernel, self.stride)

    def _padded(self, x: Tensor, value: float) -> Tensor:
        from torch.nn import functional as F

        before, after = ([0, 0], [0, 0]) if self.global_pooling else self.margins(x.shape[2:])
        margins = [before[1], after[1], before[0], after[0]]
        return F.pad(x, margins, value=value) if any(margins) else x

    def _max(self, x: Tensor) -> Tensor | Sequence[Tensor]:
        from torch.nn import functional as F

        kernel, stride = self._windows(x)
        padded = self._padded(x, LOWEST)
        if not self.masked:
            return F.max_pool2d(padded, kernel, stride)
        y, index = F.max_pool2d(padded, kernel, stride, return_indices=True)
        rows, columns = index // padded.shape[3] - self.pad[0], index % padded.shape[3] - self.pad[1]
        return [y, (rows * x.shape[3] + columns).to(x.dtype)]

    def _average(self, x: Tensor) -> Tensor:
        from torch.nn import functional as F

        sums = F.avg_pool2d(self._padded(x, 0.0), self.kernel, self.stride, divisor_override=1)
        rows, columns = (x.new_tensor(sizes) for sizes in self.divisors(x.shape[2:]))
        return sums / (rows[:, None] * columns)

    def _stochastic(self, x: Tensor, training: bool) -> Tensor:
        """TEST: the mean weighted by the values themselves; TRAIN: one value drawn with those weights."""
        import torch
        from torch.nn import functional as F

        kernel, stride = self._windows(x)
        padded = self._padded(x, 0.0)
        if not training:
            sums = F.avg_pool2d(padded, kernel, stride, divisor_override=1)
            squares = F.avg_pool2d(padded * padded, kernel, stride, divisor_override=1)
            return squares / torch.where(sums == 0, torch.ones_like(sums), sums)
        n, c = x.shape[:2]
        windows = F.unfold(padded.reshape(n * c, 1, *padded.shape[2:]), kernel, stride=stride)
        summed = windows.cumsum(1)
        threshold = torch.rand_like(summed[:, :1]) * summed[:, -1:]
        pick = (summed < threshold).sum(1, keepdim=True).clamp(max=windows.shape[1] - 1)
        out = self.out if not self.global_pooling else (1, 1)
        return windows.gather(1, pick).reshape(n, c, *(out if x.shape[2:] == self.bottoms[0][2:] else self.out_size(x.shape[2:])))

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str | Sequence[str]:
        x = bottoms[0]
        if self.global_pooling and not self.masked and self.method != "STOCHASTIC":
            return graph.add("GlobalMaxPool" if self.method == "MAX" else "GlobalAveragePool", x)
        if self.method == "MAX":
            return self._onnx_max(graph, x)
        if self.method == "AVE":
            return self._onnx_average(graph, x)
        # The stochastic pooling of TEST: both averages have one divisor, so it cancels.
        squares = self._onnx_sums(graph, graph.add("Mul", x, x))
        sums = self._onnx_sums(graph, x)
        empty = graph.add("Equal", sums, graph.scalar(0.0))
        return graph.add("Div", squares, graph.add("Where", empty, graph.scalar(1.0), sums))

    def _onnx_crop(self, graph: OnnxGraph, x: str) -> tuple[str, list[int], list[int]]:
        """`x` without rows and columns that no window covers, and the padding (before, after) that is left."""
        size = self.bottoms[0][2:]
        before, after = self.margins(size)
        cut = [i for i in range(2) if after[i] < 0]
        if cut:
            x = graph.slice(x, [0] * len(cut), [size[i] + after[i] for i in cut], [i + 2 for i in cut])
        return x, before, [max(a, 0) for a in after]

    def _onnx_max(self, graph: OnnxGraph, x: str) -> str | Sequence[str]:
        if self.masked:
            return self._onnx_masked(graph, x)
        x, before, after = self._onnx_crop(graph, x)
        if any(a >= k for a, k in zip(after, self.kernel)):
            x = graph.pad(x, [0, 0, *before], [0, 0, *after], LOWEST)
            before = after = [0, 0]
        return graph.add("MaxPool", x, kernel_shape=list(self.kernel), strides=list(self.stride), pads=[*before, *after])

    def _onnx_masked(self, graph: OnnxGraph, x: str) -> Sequence[str]:
        """Maxima and their indices. ONNX counts indices through the whole padded-free tensor, Caffe in each H * W plane."""
        x, before, after = self._onnx_crop(graph, x)
        y, index = graph.add(
            "MaxPool", x, outputs=2, kernel_shape=list(self.kernel), strides=list(self.stride), pads=[*before, *after]
        )
        height, width = self.bottoms[0][2:]
        cut_height, cut_width = (min(s, (o - 1) * st + k - p) for s, o, st, k, p in zip((height, width), self.out, self.stride, self.kernel, self.pad))
        plane = graph.constant(cut_height * cut_width, "int64")
        index = graph.add("Mod", index, plane)
        if cut_width != width:
            columns = graph.constant(cut_width, "int64")
            row = graph.add("Div", index, columns)
            index = graph.add("Add", graph.add("Mul", row, graph.constant(width, "int64")), graph.add("Mod", index, columns))
        return [y, graph.add("Cast", index, to=1)]

    def _onnx_average(self, graph: OnnxGraph, x: str) -> str:
        x, before, after = self._onnx_crop(graph, x)
        common = {"kernel_shape": list(self.kernel), "strides": list(self.stride)}
        divisors = self.divisors(self.bottoms[0][2:])
        whole = all(size == kernel for sizes, kernel in zip(divisors, self.kernel) for size in sizes)
        if not any(self.pad) and all(a < k for a, k in zip(after, self.kernel)):
            return graph.add("AveragePool", x, **common, pads=[0, 0, *after])
        if whole:
            return graph.add("AveragePool", x, **common, pads=[*before, *after], count_include_pad=1)
        sums = self._onnx_sums(graph, x, crop=False)
        return graph.add("Mul", sums, graph.constant([[[[1.0 / (a * b) for b in divisors[1]] for a in divisors[0]]]]))

    def _onnx_sums(self, graph: OnnxGraph, x: str, crop: bool = True) -> str:
        """The sum of each window, zeros outside the image."""
        if crop:
            x, before, after = self._onnx_crop(graph, x)
        else:
            before, after = self.margins(self.bottoms[0][2:])
            after = [max(a, 0) for a in after]
        if any(before) or any(after):
            x = graph.pad(x, [0, 0, *before], [0, 0, *after])
        mean = graph.add("AveragePool", x, kernel_shape=list(self.kernel), strides=list(self.stride))
        return graph.add("Mul", mean, graph.scalar(float(self.kernel[0] * self.kernel[1])))
