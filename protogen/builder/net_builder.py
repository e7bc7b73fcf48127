"""`NetBuilder`: the usual layers, each a method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ..prototxt.message import Message
from .composer import Composer

_POOLINGS = {"MAX", "AVE", "STOCHASTIC", "max", "ave", "stochastic"}
_F = TypeVar("_F", bound=Callable[..., Any])
Filler = Mapping[str, Any] | Message | None
Window = int | tuple[int, int]  # of a side, or (height, width)


def _bottom_first(method: _F) -> _F:
    """Let a method be called without its leading bottom: `b.conv(32, 3)` or `b.pool("MAX", 3)` continues from `b.last`."""

    @functools.wraps(method)
    def call(self: NetBuilder, *args: Any, **kwargs: Any) -> Any:
        names_method = bool(args) and args[0] in _POOLINGS and not self.has_blob(args[0])
        if not args or not isinstance(args[0], str) or "bottom" in kwargs or names_method:
            args = (kwargs.pop("bottom", None) or self.last, *args)
        return method(self, *args, **kwargs)

    return cast(_F, call)


class NetBuilder(Composer):
    """Builds a net in the order of the calls.

    Args:
        name: the net's name.
        phase: the phase that shapes are checked in; layers whose rules exclude it are recorded all the same.
        defaults: fields a layer of a type gets unless its call gives them, by type:
            `{"BatchNorm": {"eps": 1e-3}, "Convolution": {"param": [{"lr_mult": 1}]}}`.

    Attributes:
        last: the blob made last, the default bottom of the next layer.
    """

    def input(self, name: str = "data", shape: Sequence[int] = (1, 3, 224, 224)) -> str:
        """A network input of a shape, (N, C, H, W) for images."""
        return self.layer("Input", name=name, shape={"dim": list(shape)})

    @_bottom_first
    def conv(
        self,
        bottom: str,
        num_output: int,
        kernel_size: Window = 3,
        *,
        stride: Window | None = None,
        pad: Window | None = None,
        group: int | None = None,
        dilation: int | None = None,
        bias_term: bool | None = None,
        weight_filler: Filler | str = "xavier",
        bias_filler: Filler | str = None,
        name: str | None = None,
        type: str = "Convolution",
        **fields: Any,
    ) -> str:
        """Convolution; pairs are (height, width). Fields left None are left to Caffe's defaults (stride 1, pad 0, with bias)."""
        return self.layer(
            type,
            bottom,
            name=name or self.unused("conv" if type == "Convolution" else type.lower()),
            num_output=num_output,
            **_windows(kernel_size, stride, pad),
            group=group,
            dilation=dilation,
            bias_term=bias_term,
            weight_filler=_filler(weight_filler),
            bias_filler=_filler(bias_filler),
            **fields,
        )

    @_bottom_first
    def depthwise_conv(self, bottom: str, kernel_size: Window = 3, *, multiplier: int = 1, **options: Any) -> str:
        """A convolution with one group per channel; it makes `multiplier` channels of each."""
        channels = self.channels(bottom)
        name = options.pop("name", None) or self.unused("dwconv")
        return self.conv(bottom, channels * multiplier, kernel_size, group=channels, name=name, **options)

    @_bottom_first
    def deconv(self, bottom: str, num_output: int, kernel_size: Window = 4, **options: Any) -> str:
        """Deconvolution, the transposed convolution; options as for `conv`."""
        return self.conv(bottom, num_output, kernel_size, type="Deconvolution", **options)

    @_bottom_first
    def bn(
        self,
        bottom: str,
        *,
        eps: float | None = None,
        moving_average_fraction: float | None = None,
        scale: bool = True,
        in_place: bool = True,
        name: str | None = None,
        **fields: Any,
    ) -> str:
        """BatchNorm, and Scale with a bias behind it; by default in place, named after the blob (`conv1/bn`, `conv1/scale`).

        Args:
            bottom: blob to normalise per channel.
            eps: added to the variance (Caffe's default: 1e-5).
            moving_average_fraction: share of the old statistics kept at each training step (0.999).
            scale: whether a Scale layer follows.
            in_place: write `bottom`; otherwise the top is the BatchNorm's name.
            name: of the BatchNorm layer; the Scale is named beside its blob.
        """
        # Caffe must not train the three statistics blobs.
        fields.setdefault("param", [{"lr_mult": 0, "decay_mult": 0}] * 3)
        top = self._continue(
            "BatchNorm", bottom, "bn", name, in_place, eps=eps, moving_average_fraction=moving_average_fraction, **fields
        )
        if not scale:
            return top
        base = bottom if in_place else top
        return self._continue(
            "Scale", top, "scale", None, True, beside=base, filler={"value": 1},
            bias_term=True, bias_filler={"value": 0},
        )  # fmt: skip

    def _continue(
        self, type: str, bottom: str, suffix: str, name: str | None, in_place: bool, beside: str | None = None, **fields: Any
    ) -> str:
        """A layer that goes on from a blob, by default in place and named after it."""
        absolute = name is None
        name = self._beside(beside or bottom, suffix) if name is None else name
        return self.layer(type, bottom, name=name, in_place=in_place, absolute=absolute, **fields)

    @_bottom_first
    def relu(self, bottom: str, *, negative_slope: float | None = None, in_place: bool = True, name: str | None = None) -> str:
        """max(x, 0), by default in place."""
        return self._continue("ReLU", bottom, "relu", name, in_place, negative_slope=negative_slope)

    @_bottom_first
    def relu6(self, bottom: str, *, in_place: bool = True, name: str | None = None) -> str:
        """min(max(x, 0), 6), a layer of MobileNet forks."""
        return self._continue("ReLU6", bottom, "relu6", name, in_place)

    @_bottom_first
    def prelu(self, bottom: str, *, channel_shared: bool | None = None, in_place: bool = True, name: str | None = None) -> str:
        """ReLU with a learned slope per channel."""
        return self._continue("PReLU", bottom, "prelu", name, in_place, channel_shared=channel_shared)

    @_bottom_first
    def sigmoid(self, bottom: str, *, in_place: bool = True, name: str | None = None) -> str:
        """1 / (1 + exp(-x)), by default in place."""
        return self._continue("Sigmoid", bottom, "sigmoid", name, in_place)

    @_bottom_first
    def dropout(self, bottom: str, ratio: float = 0.5, *, in_place: bool = True, name: str | None = None) -> str:
        """Dropout in training; nothing in TEST."""
        return self._continue("Dropout", bottom, "dropout", name, in_place, dropout_ratio=ratio)

    @_bottom_first
    def pool(
        self,
        bottom: str,
        pool: str = "MAX",
        kernel_size: Window | None = 2,
        *,
        stride: Window | None = None,
        pad: Window | None = None,
        global_pooling: bool = False,
        name: str | None = None,
        **fields: Any,
    ) -> str:
        """MAX or AVE pooling of windows, or of the whole image with `global_pooling`.

        The output is (in + 2 pad - kernel) / stride + 1, rounded up as Caffe does.
        """
        sizes = {"global_pooling": True} if global_pooling else _windows(kernel_size, stride, pad)
        return self.layer("Pooling", bottom, name=name or self.unused("pool"), pool=pool.upper(), **sizes, **fields)

    @_bottom_first
    def global_pool(self, bottom: str, pool: str = "AVE", *, name: str | None = None) -> str:
        """Pooling over the whole image: (N, C, H, W) to (N, C, 1, 1)."""
        return self.pool(bottom, pool, global_pooling=True, name=name or self.unused("global_pool"))

    def concat(self, *bottoms: str, axis: int = 1, name: str | None = None) -> str:
        """Blobs joined along an axis (1: channels)."""
        return self.layer("Concat", *bottoms, name=name or self.unused("concat"), axis=axis)

    def eltwise(
        self, *bottoms: str, operation: str = "SUM", coeff: Sequence[float] | None = None, name: str | None = None
    ) -> str:
        """Sum, product ("PROD") or maximum ("MAX") of blobs of one shape."""
        return self.layer("Eltwise", *bottoms, name=name or self.unused("eltwise"), operation=operation.upper(), coeff=coeff)

    @_bottom_first
    def scale(
        self, bottom: str, factor: str | None = None, *, axis: int | None = None, name: str | None = None, **fields: Any
    ) -> str:
        """Multiply by a learned factor per channel, or by the blob `factor` (squeeze-and-excitation: axis 0)."""
        bottoms = [bottom] if factor is None else [bottom, factor]
        return self.layer("Scale", *bottoms, name=name or self.unused("scale"), axis=axis, **fields)

    @_bottom_first
    def fc(
        self,
        bottom: str,
        num_output: int,
        *,
        bias_term: bool | None = None,
        weight_filler: Filler | str = "xavier",
        bias_filler: Filler | str = None,
        name: str | None = None,
        **fields: Any,
    ) -> str:
        """InnerProduct: all axes from 1 on, flattened, to `num_output` values."""
        return self.layer(
            "InnerProduct",
            bottom,
            name=name or self.unused("fc"),
            num_output=num_output,
            bias_term=bias_term,
            weight_filler=_filler(weight_filler),
            bias_filler=_filler(bias_filler),
            **fields,
        )

    @_bottom_first
    def lrn(
        self, bottom: str, local_size: int = 5, alpha: float = 1e-4, beta: float = 0.75, *, name: str | None = None, **fields: Any
    ) -> str:
        """Local response normalization, with AlexNet's settings by default."""
        return self.layer(
            "LRN", bottom, name=name or self.unused("norm"), local_size=local_size, alpha=alpha, beta=beta, **fields
        )

    @_bottom_first
    def flatten(self, bottom: str, *, axis: int | None = None, name: str | None = None) -> str:
        """(N, C, H, W) to (N, C * H * W)."""
        return self.layer("Flatten", bottom, name=name or self.unused("flatten"), axis=axis)

    @_bottom_first
    def softmax(self, bottom: str, *, axis: int | None = None, name: str | None = None) -> str:
        """Class probabilities along an axis (1: channels)."""
        return self.layer(
            "Softmax", bottom, name=name or ("prob" if not self._is_taken(self.qualified("prob")) else None), axis=axis
        )

    def softmax_loss(self, bottom: str, label: str = "label", *, name: str | None = None, **fields: Any) -> str:
        """SoftmaxWithLoss of scores and labels."""
        return self.layer("SoftmaxWithLoss", bottom, label, name=name or self.unused("loss"), **fields)

    def accuracy(
        self, bottom: str, label: str = "label", *, top_k: int | None = None, name: str | None = None, **fields: Any
    ) -> str:
        """Share of items whose label is among the `top_k` best scores (1)."""
        return self.layer("Accuracy", bottom, label, name=name or self.unused("accuracy"), top_k=top_k, **fields)

    @_bottom_first
    def conv_block(
        self,
        bottom: str,
        num_output: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        pad: int | None = None,
        relu: bool = True,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Convolution without bias, then BatchNorm, Scale and ReLU in place: `name`, `name/bn`, `name/scale`, `name/relu`.

        Args:
            bottom: (N, C, H, W).
            num_output: channels made.
            kernel_size: of the square kernel.
            stride: of the convolution.
            pad: by default half the kernel, which keeps the size at stride 1.
            relu: whether a ReLU ends the block.
            name: of the convolution and its blob.
            options: further options of `conv`.

        Returns:
            The blob (N, num_output, H / stride, W / stride).

        >>> b = NetBuilder()
        >>> b.conv_block(b.input("data", (1, 3, 32, 32)), 16, 3, stride=2, name="conv1")
        'conv1'
        """
        pad = kernel_size // 2 if pad is None else pad
        x = self.conv(bottom, num_output, kernel_size, stride=stride, pad=pad or None, bias_term=False, name=name, **options)
        x = self.bn(x)
        return self.relu(x) if relu else x


def _windows(kernel_size: Window | None, stride: Window | None, pad: Window | None) -> dict[str, Any]:
    """Fields of a window that moves over an image: one number each, or one for height and one for width."""
    fields: dict[str, Any] = {}
    for name, whole, value in (("kernel", "kernel_size", kernel_size), ("stride", "stride", stride), ("pad", "pad", pad)):
        if isinstance(value, tuple):
            fields[f"{name}_h"], fields[f"{name}_w"] = value
        else:
            fields[whole] = value
    return fields


def _filler(filler: Filler | str) -> Filler:
    """A filler named by its type alone is that message."""
    return {"type": filler} if isinstance(filler, str) else filler
