"""Pooling, with Caffe's rounded-up output size and clipped last window (caffe/layers/pooling_layer.cpp)."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..prototxt.message import Message
from ..rules import ReadingRules
from .base import LayerType
from .fields import Fields
from .limits import LOWEST
from .pooling_rules import keeps_size, needs_floor, padded_and_cropped, rounds_down
from .registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .coordinates import AxisMap
    from .forms.onnx_graph import OnnxGraph


@register("Pooling")
class Pooling(LayerType):
    """Maximum, average or stochastic value of each window of (N, C, H, W).

    The output size is (in + 2 pad - kernel) / stride + 1, rounded up (down with `round_mode: FLOOR`, `ceil_mode: false` or
    NVIDIA's `torch_pooling`); with padding, a last window that starts behind the image is dropped. An average divides by the
    window's size within the padded image or, with Intel's `avg_include_pad: false`, within the image itself. A second top of MAX
    pooling is the mask: each maximum's index in the H * W plane.

    The rule `pooling` of `ReadingRules` may round down where no field says how, or pad on one side: see pooling_rules.py.

    Attributes:
        behind: padding behind the image, (height, width), in addition to `pad`.
    """

    param_name = "pooling_param"
    fields = Fields(
        "pool kernel_size stride pad kernel_h kernel_w stride_h stride_w pad_h pad_w global_pooling round_mode "
        "ceil_mode torch_pooling avg_include_pad",
        engine="BVLC/caffe src/caffe/layer_factory.cpp:121",
        blobs_lr="happynear/caffe-windows src/caffe/proto/caffe.proto:1045: for DEF methods, which are refused",
        blobs_a_min="happynear/caffe-windows src/caffe/layers/pooling_layer.cpp:150: for DEF methods, too",
    )
    n_tops = (1, 2)

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(len(shape) == 4, f"pooling takes a bottom with 4 axes (N, C, H, W), not {shape}")
        self.method: str = p.pool
        self.masked = len(self.layer.tops) == 2
        self.check(not self.masked or self.method == "MAX", "only MAX pooling has a mask as its second top")
        self.global_pooling = bool(p.global_pooling)
        self.kernel = (shape[2], shape[3]) if self.global_pooling else self._pair("kernel", "kernel_size")
        self.stride = self._pair("stride", "stride")
        self.pad = self._pair("pad", "pad")
        if self.global_pooling:
            has_kernel = "kernel_size" in p or "kernel_h" in p or "kernel_w" in p
            self.check(not has_kernel, "global_pooling takes the whole image; leave kernel_size out")
            self.check(self.pad == (0, 0) and self.stride == (1, 1), "global_pooling takes no pad and no stride")
        self.check(min(self.kernel) > 0, f"kernel size must be positive, not {self.kernel[0]}x{self.kernel[1]}")
        self.check(min(self.stride) > 0, f"stride must be positive, not {self.stride[0]}x{self.stride[1]}")
        within = self.pad[0] < self.kernel[0] and self.pad[1] < self.kernel[1]
        self.check(within, f"pad {self.pad} must be smaller than the kernel {self.kernel}")
        self.check(self.method != "STOCHASTIC" or self.pad == (0, 0), "stochastic pooling takes no pad")
        stated = p.round_mode == "FLOOR" or not p.get("ceil_mode", True) or bool(p.torch_pooling)
        self.floor = stated or rounds_down(p, self.rules)
        self.behind = (1, 1) if keeps_size(p, self.rules) else (0, 0)
        self.include_pad = bool(p.avg_include_pad)
        self.out = self.out_size(shape[2:])
        self.tops = [(*shape[:2], *self.out)] * len(self.layer.tops)

    def refusals(self) -> list[str]:
        """Refuse contradictory rounding fields of different forks: no Caffe has both, so neither takes precedence."""
        p = self.param
        down = {"round_mode": p.round_mode == "FLOOR", "ceil_mode": not p.get("ceil_mode", True), "torch_pooling": True}
        fields_set = {name: value for name, value in down.items() if name in p and (name != "torch_pooling" or p.torch_pooling)}
        if len(set(fields_set.values())) < 2:
            return super().refusals()
        return [*super().refusals(), f"pooling_param: {' and '.join(fields_set)} contradict each other"]

    def _pair(self, what: str, both: str) -> tuple[int, int]:
        """(height, width) of kernel, stride or pad, from `both` or from its `_h` and `_w`."""
        p, high, wide = self.param, f"{what}_h", f"{what}_w"
        if high in p or wide in p:
            self.check(both not in p and high in p and wide in p, f"give either {both}, or both {high} and {wide}")
            return (getattr(p, high), getattr(p, wide))
        self.check(what != "kernel" or both in p, "kernel_size (or kernel_h and kernel_w) is missing")
        value = getattr(p, both)
        return (value, value)

    def out_size(self, size: Sequence[int]) -> tuple[int, int]:
        """Output (height, width) for an input (height, width)."""
        out = []
        for i in range(2):
            span = size[i] + 2 * self.pad[i] + self.behind[i] - self.kernel[i]
            n = (span // self.stride[i] if self.floor else -(-span // self.stride[i])) + 1
            if any(self.pad) and (n - 1) * self.stride[i] >= size[i] + self.pad[i]:
                n -= 1
            # Caffe accepts a kernel larger than the image as long as rounding up leaves one (clipped) window.
            self.check(n > 0, f"the kernel {self.kernel} is larger than its bottom {tuple(size)} with padding {self.pad}")
            out.append(n)
        return (out[0], out[1])

    def margins(self, size: Sequence[int]) -> tuple[list[int], list[int]]:
        """Padding (before, after) per axis with which the windows cover the input exactly; negative where values are unused."""
        out = self.out_size(size)
        after = [(out[i] - 1) * self.stride[i] + self.kernel[i] - size[i] - self.pad[i] for i in range(2)]
        return list(self.pad), after

    def divisors(self, size: Sequence[int]) -> list[list[int]]:
        """For each axis, the size of each window within the padded image, by which an average divides.

        With `avg_include_pad: false`, the size within the image itself, and 1 for a window outside it, whose sum is 0.
        """
        out = self.out_size(size)
        starts = [[n * self.stride[i] - self.pad[i] for n in range(out[i])] for i in range(2)]
        if not self.include_pad:
            return [[max(min(s + self.kernel[i], size[i]) - max(s, 0), 1) for s in starts[i]] for i in range(2)]
        return [[min(s + self.kernel[i], size[i] + self.pad[i]) - s for s in starts[i]] for i in range(2)]

    def missing(self, size: Sequence[int]) -> list[int]:
        """Number of last windows along each axis that start behind the image and so contain no pixel."""
        within = [-(-(size[i] + self.pad[i]) // self.stride[i]) for i in range(2)]
        return [max(out - n, 0) for out, n in zip(self.out_size(size), within)]

    def _is_plain(self) -> bool:
        """Whether PyTorch's ceil mode has the same windows for every input size."""
        if any(self.behind):
            return False
        axes = zip(self.pad, self.kernel, self.stride)
        return all(2 * pad <= kernel and (any(self.pad) or stride <= kernel) for pad, kernel, stride in axes)

    def coordinates(self) -> list[AxisMap] | None:
        """As for a convolution with the same windows; None for global pooling, as the map would depend on the image's size."""
        if self.global_pooling:
            return None
        from .coordinates import IDENTITY, window

        return [IDENTITY, IDENTITY, *(window(*settings) for settings in zip(self.kernel, self.stride, self.pad))]

    def window(self) -> dict[str, Sequence[int]]:
        return {"kernel": self.kernel, "stride": self.stride, "pad": self.pad}

    def reach(self) -> list[int]:
        return [0, 0, *(kernel - 1 for kernel in self.kernel)]

    @property
    def sees_all(self) -> bool:
        return self.global_pooling

    # ---- how a rule is written

    @classmethod
    def is_placed(cls, message: Message, rules: ReadingRules) -> bool:
        return needs_floor(message.pooling_param, rules) or keeps_size(message.pooling_param, rules)

    def placed_fields(self) -> Mapping[str, Any]:
        floor = needs_floor(self.param, self.rules)
        return {"pooling_param": self.param.copy().update({"round_mode": "FLOOR"})} if floor else {}

    def written(self, message: Message, blobs: Container[str]) -> list[Message]:
        """For the rule "same", one pixel of padding on all sides, and a Crop that takes off the first row and column."""
        return padded_and_cropped(message, blobs) if any(self.behind) else super().written(message, blobs)

    # ---- PyTorch

    def module(self) -> torch.nn.Module:
        from torch import nn

        if self.global_pooling or self.masked or self.method == "STOCHASTIC" or not self._is_plain():
            return super().module()
        if self.method == "MAX":
            return nn.MaxPool2d(self.kernel, self.stride, self.pad, ceil_mode=not self.floor)
        return nn.AvgPool2d(self.kernel, self.stride, self.pad, ceil_mode=not self.floor, count_include_pad=self.include_pad)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor | Sequence[Tensor]:
        return self._max_and_mask(x) if self.masked else self.pool(x, training)

    def pool(self, x: Tensor, training: bool) -> Tensor:
        """The first top."""
        from torch.nn import functional as F

        if self.global_pooling and self.method == "AVE":
            return x.mean((2, 3), keepdim=True)
        if self.method == "MAX":
            return F.max_pool2d(self._padded(x, LOWEST), *self._windows(x))
        return self._average(x) if self.method == "AVE" else self._stochastic(x, training)

    def _windows(self, x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """(kernel, stride) for this input: the whole of it for global pooling."""
        return ((int(x.shape[2]), int(x.shape[3])), (1, 1)) if self.global_pooling else (self.kernel, self.stride)

    def _padded(self, x: Tensor, value: float) -> Tensor:
        from torch.nn import functional as F

        before, after = ([0, 0], [0, 0]) if self.global_pooling else self.margins(x.shape[2:])
        margins = [before[1], after[1], before[0], after[0]]
        return F.pad(x, margins, value=value) if any(margins) else x

    def _max_and_mask(self, x: Tensor) -> Sequence[Tensor]:
        """The maxima, and the index of each in its H * W plane; -1 for a window without any pixel."""
        import torch
        from torch.nn import functional as F

        padded = self._padded(x, LOWEST)
        y, index = F.max_pool2d(padded, *self._windows(x), return_indices=True)
        rows, columns = index // padded.shape[3] - self.pad[0], index % padded.shape[3] - self.pad[1]
        mask = rows * x.shape[3] + columns
        if any(self.missing(x.shape[2:])):
            mask = torch.where((rows < x.shape[2]) & (columns < x.shape[3]), mask, -1)
        return [y, mask.to(x.dtype)]

    def _average(self, x: Tensor) -> Tensor:
        from torch.nn import functional as F

        sums = F.avg_pool2d(self._padded(x, 0.0), self.kernel, self.stride, divisor_override=1)
        rows, columns = (x.new_tensor(sizes) for sizes in self.divisors(x.shape[2:]))
        return sums / (rows[:, None] * columns)

    def _stochastic(self, x: Tensor, training: bool) -> Tensor:
        """TEST: the mean weighted by the values themselves; TRAIN: one value drawn by these weights."""
        import torch
        from torch.nn import functional as F

        kernel, stride = self._windows(x)
        padded = self._padded(x, 0.0)
        if not training:
            sums = F.avg_pool2d(padded, kernel, stride, divisor_override=1)
            squares = F.avg_pool2d(padded * padded, kernel, stride, divisor_override=1)
            some = sums > 0
            return torch.where(some, squares / torch.where(some, sums, 1), 0)
        n, c = x.shape[:2]
        windows = F.unfold(padded.reshape(n * c, 1, *padded.shape[2:]), kernel, stride=stride)
        summed = windows.cumsum(1)
        threshold = torch.rand_like(summed[:, :1]) * summed[:, -1:]
        pick = (summed < threshold).sum(1, keepdim=True).clamp(max=windows.shape[1] - 1)
        out = (1, 1) if self.global_pooling else self.out_size(x.shape[2:])
        return windows.gather(1, pick).reshape(n, c, *out)

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str | Sequence[str]:
        return self._onnx_masked(graph, bottoms[0]) if self.masked else self.emit(graph, bottoms[0])

    def emit(self, graph: OnnxGraph, x: str) -> str:
        """Emit the first top and return its value's name."""
        if self.global_pooling and self.method != "STOCHASTIC":
            return graph.add("GlobalMaxPool" if self.method == "MAX" else "GlobalAveragePool", x)
        if graph.dynamic_size and self.method != "STOCHASTIC":
            return self._onnx_any_size(graph, x)
        if self.method == "MAX":
            return self._onnx_max(graph, x)
        if self.method == "AVE":
            return self._onnx_average(graph, x)
        return self._onnx_stochastic(graph, x)

    def _any_size(self, graph: OnnxGraph) -> dict[str, Any]:
        """Attributes with which a pooling op, by its ceil mode, has Caffe's windows for images of every size."""
        if not self.floor and any(pad > kernel - stride for pad, kernel, stride in zip(self.pad, self.kernel, self.stride)):
            raise graph.refuse(
                f"with kernel {self.kernel}, stride {self.stride} and pad {self.pad}, its windows depend on the image's size, "
                "which cannot be dynamic (--dynamic-size)"
            )
        attributes: dict[str, Any] = {"kernel_shape": list(self.kernel), "strides": list(self.stride)}
        full = self.floor or self.stride == (1, 1)  # no window reaches beyond the padded image
        return attributes if full else {**attributes, "ceil_mode": 1}

    @property
    def _any_pads(self) -> list[int]:
        """Padding for images of every size: before height and width, then behind them."""
        return [*self.pad, *(pad + behind for pad, behind in zip(self.pad, self.behind))]

    def _onnx_any_size(self, graph: OnnxGraph, x: str) -> str:
        """Pooling of images of any size."""
        attributes = self._any_size(graph)
        if self.method == "MAX":
            return graph.add("MaxPool", x, pads=self._any_pads, **attributes)
        if not any(self.pad):
            return graph.add("AveragePool", x, **attributes)
        if not self.include_pad:
            return self._onnx_without_pad(graph, x, attributes)
        if "ceil_mode" not in attributes:
            return graph.add("AveragePool", x, pads=[*self.pad, *self.pad], count_include_pad=1, **attributes)
        # Opsets and runtimes disagree on how padding counts in clipped windows: make it part of the image.
        return graph.add("AveragePool", graph.pad(x, [0, 0, *self.pad], [0, 0, *self.pad]), **attributes)

    def _onnx_without_pad(self, graph: OnnxGraph, x: str, attributes: dict[str, Any]) -> str:
        """The average over the pixels of each window, for images of any size: the average of `x` over the average of ones."""
        ones = graph.add("Add", graph.add("Mul", graph.slice(x, [0, 0], [1, 1], [0, 1]), graph.scalar(0.0)), graph.scalar(1.0))
        pads = [0, 0, *self.pad]
        sums, pixels = (graph.add("AveragePool", graph.pad(value, pads, pads), **attributes) for value in (x, ones))
        return graph.add("Div", sums, pixels)

    def _onnx_windows(self, graph: OnnxGraph, x: str) -> tuple[str, dict[str, Any], list[int]]:
        """`x` without the values that no window covers, the attributes of a pooling op, and the (height, width) of that `x`.

        The windows that start behind the image are left out (see `_onnx_missing`): runtimes refuse pads as large as the kernel.
        """
        size = self.bottoms[0][2:]
        windows = [out - missing for out, missing in zip(self.out, self.missing(size))]
        after = [(windows[i] - 1) * self.stride[i] + self.kernel[i] - size[i] - self.pad[i] for i in range(2)]
        cut = [i for i in range(2) if after[i] < 0]
        if cut:
            x = graph.slice(x, [0] * len(cut), [size[i] + after[i] for i in cut], [i + 2 for i in cut])
        pads = [*self.pad, *(max(a, 0) for a in after)]
        attributes = {"kernel_shape": list(self.kernel), "strides": list(self.stride), "pads": pads}
        return x, attributes, [size[i] + min(after[i], 0) for i in range(2)]

    def _onnx_missing(self, graph: OnnxGraph, y: str, value: float) -> str:
        """`y` with `value` in place of the windows that `_onnx_windows` left out."""
        missing = self.missing(self.bottoms[0][2:])
        return graph.pad(y, [0] * 4, [0, 0, *missing], value) if any(missing) else y

    def _onnx_max(self, graph: OnnxGraph, x: str) -> str:
        x, attributes, _ = self._onnx_windows(graph, x)
        return self._onnx_missing(graph, graph.add("MaxPool", x, **attributes), LOWEST)

    def _onnx_masked(self, graph: OnnxGraph, x: str) -> Sequence[str]:
        """The maxima and their indices: ONNX's refer to the whole tensor, Caffe's to each H * W plane."""
        if graph.dynamic_size:
            plane = graph.dim(x, 2, self.bottoms[0][2]) * graph.dim(x, 3, self.bottoms[0][3])
            y, index = graph.add("MaxPool", x, outputs=2, pads=self._any_pads, **self._any_size(graph))
            return [y, graph.cast(graph.add("Mod", index, graph.constant(plane, "int64")), "float32")]
        x, attributes, (height, width) = self._onnx_windows(graph, x)
        y, index = graph.add("MaxPool", x, outputs=2, **attributes)
        index = graph.add("Mod", index, _int(graph, height * width))
        if width != self.bottoms[0][3]:
            rows = graph.add("Mul", graph.add("Div", index, _int(graph, width)), _int(graph, self.bottoms[0][3]))
            index = graph.add("Add", rows, graph.add("Mod", index, _int(graph, width)))
        mask = graph.cast(index, "float32")
        return [self._onnx_missing(graph, y, LOWEST), self._onnx_missing(graph, mask, -1.0)]

    def _onnx_average(self, graph: OnnxGraph, x: str) -> str:
        divisors = self.divisors(self.bottoms[0][2:])
        x, attributes, _ = self._onnx_windows(graph, x)
        if not any(self.pad) and not any(self.missing(self.bottoms[0][2:])):
            return graph.add("AveragePool", x, **attributes)
        mean = self._onnx_missing(graph, graph.add("AveragePool", x, **attributes, count_include_pad=1), 0.0)
        area = self.kernel[0] * self.kernel[1]
        if all(size == kernel for sizes, kernel in zip(divisors, self.kernel) for size in sizes):
            return mean
        return graph.add("Mul", mean, graph.constant([[[[area * _inverse(a * b) for b in divisors[1]] for a in divisors[0]]]]))

    def _onnx_stochastic(self, graph: OnnxGraph, x: str) -> str:
        """The TEST form: sum of squares over sum. Both are averages with the same divisor, which cancels."""
        squared, attributes, _ = self._onnx_windows(graph, graph.add("Mul", x, x))
        plain, attributes, _ = self._onnx_windows(graph, x)
        squares, sums = (graph.add("AveragePool", value, **attributes) for value in (squared, plain))
        some = graph.add("Greater", sums, graph.scalar(0.0))
        quotient = graph.add("Div", squares, graph.add("Where", some, sums, graph.scalar(1.0)))
        return self._onnx_missing(graph, graph.add("Where", some, quotient, graph.scalar(0.0)), 0.0)


def _int(graph: OnnxGraph, value: int) -> str:
    return graph.constant(value, "int64")


def _inverse(divisor: int) -> float:
    """1 / divisor, NaN for 0: Caffe divides 0 by 0 for an empty window that starts right behind the image."""
    return 1.0 / divisor if divisor else float("nan")
