"""`NetBuilder`, with a method for each common layer type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..training import data_layers
from .arguments import Filler, Window, bottom_first, filler_fields, windows
from .join import JoinBuilder


class NetBuilder(JoinBuilder):
    """Builds a net layer by layer, in the order of the calls.

    Args:
        name: the net's name.
        phase: the phase in which layers are checked; layers excluded from it are kept for the other phase.
        defaults: default fields by layer type, which a call can override:
            `{"BatchNorm": {"eps": 1e-3}, "Convolution": {"param": [{"lr_mult": 1}]}}`.

    Attributes:
        last: the latest blob, the default bottom of the next layer.
    """

    def input(self, name: str = "data", shape: Sequence[int] = (1, 3, 224, 224)) -> str:
        """Add an input with a fixed shape, (N, C, H, W) for images."""
        dims = list(shape) if isinstance(shape, Sequence) else [shape]
        return self.layer("Input", name=name, shape={"dim": dims})

    def data(self, size: int | Sequence[int], **options: Any) -> str:
        """Add a Data layer for each phase, with tops `data` and `label`, and return the images, (batch, channels, size, size).

        Args:
            size: of the crop in pixels.
            options: those of `protogen.training.data_layers`, such as `train="train_lmdb"`, `val_batch=32` or `mean=(0,)`.

        >>> b = NetBuilder(phase="TRAIN")
        >>> b.data(32, train="cifar_train_lmdb", val="cifar_val_lmdb", train_batch=100), b.shape("data"), b.shape("label")
        ('data', (100, 3, 32, 32), (100,))
        """
        return data_layers(self, size, **options)

    @bottom_first
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
        """Add a Convolution; arguments that are None take Caffe's defaults.

        Args:
            bottom: (N, C, H, W).
            num_output: output channels.
            kernel_size, stride, pad: in pixels, one number or (height, width); stride 1 and pad 0 by default.
            group: groups of channels; 1 by default.
            dilation: step between kernel elements in pixels; 1 by default.
            bias_term: whether there is a bias; True by default.
            weight_filler, bias_filler: a filler's type, or its fields.
            name: of the layer and its top; by default "conv" with a number.
            type: a layer type with the fields of Convolution.
            fields: further fields, as for `layer`.

        Returns:
            The blob (N, num_output, (H + 2 pad - dilation * (kernel - 1) - 1) / stride + 1, likewise W), rounded down.
        """
        name = name or self.unused("conv" if type == "Convolution" else type.lower())
        return self.layer(
            type,
            bottom,
            name=name,
            num_output=num_output,
            **windows(f"layer {self.qualified(name)!r} ({type})", kernel_size, stride, pad),
            group=group,
            dilation=dilation,
            bias_term=bias_term,
            weight_filler=filler_fields(weight_filler),
            bias_filler=filler_fields(bias_filler),
            **fields,
        )

    @bottom_first
    def depthwise_conv(self, bottom: str, kernel_size: Window = 3, *, multiplier: int = 1, **options: Any) -> str:
        """Add a Convolution with one group per channel.

        Args:
            bottom: (N, C, H, W).
            kernel_size: in pixels, one number or (height, width).
            multiplier: output channels per input channel.
            options: further arguments of `conv`.
        """
        channels = self.channels(bottom)
        name = options.pop("name", None) or self.unused("dwconv")
        return self.conv(bottom, channels * multiplier, kernel_size, group=channels, name=name, **options)

    @bottom_first
    def deconv(self, bottom: str, num_output: int, kernel_size: Window = 4, **options: Any) -> str:
        """Add a Deconvolution (transposed convolution).

        Args:
            bottom: (N, C, H, W).
            num_output: output channels.
            kernel_size: in pixels, one number or (height, width).
            options: further arguments of `conv`.

        Returns:
            The blob (N, num_output, stride * (H - 1) + kernel - 2 pad, likewise W) without dilation.
        """
        return self.conv(bottom, num_output, kernel_size, type="Deconvolution", **options)

    @bottom_first
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
        """Add a BatchNorm and a Scale with bias; by default in place, named after the blob (`conv1/bn`, `conv1/scale`).

        Args:
            bottom: blob to normalise per channel.
            eps: added to the variance (Caffe's default: 1e-5).
            moving_average_fraction: fraction of the old statistics kept at each training step (Caffe's default: 0.999).
            scale: add the Scale layer.
            in_place: write to `bottom`; otherwise the top has the BatchNorm's name.
            name: of the BatchNorm layer; the Scale is named after the blob.
            fields: further fields of the BatchNorm, as for `layer`.
        """
        # The three statistics blobs must not be trained.
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
        """Add a layer that continues a blob, named after it (or after `beside`) unless it has a name."""
        absolute = name is None
        name = self._beside(beside or bottom, suffix) if name is None else name
        return self.layer(type, bottom, name=name, in_place=in_place, absolute=absolute, **fields)

    @bottom_first
    def relu(self, bottom: str, *, negative_slope: float | None = None, in_place: bool = True, name: str | None = None) -> str:
        """Add a ReLU: max(x, 0), by default in place.

        Args:
            bottom: any blob.
            negative_slope: factor for x < 0; 0 by default.
            in_place: write to `bottom`.
            name: of the layer; by default `<bottom>/relu`.
        """
        return self._continue("ReLU", bottom, "relu", name, in_place, negative_slope=negative_slope)

    @bottom_first
    def relu6(self, bottom: str, *, in_place: bool = True, name: str | None = None) -> str:
        """Add a ReLU6, a layer of MobileNet forks: min(max(x, 0), 6).

        Args:
            bottom, in_place, name: as for `relu`.
        """
        return self._continue("ReLU6", bottom, "relu6", name, in_place)

    @bottom_first
    def prelu(self, bottom: str, *, channel_shared: bool | None = None, in_place: bool = True, name: str | None = None) -> str:
        """Add a PReLU, a ReLU with learned slopes.

        Args:
            bottom, in_place, name: as for `relu`.
            channel_shared: learn one slope, not one per channel.
        """
        return self._continue("PReLU", bottom, "prelu", name, in_place, channel_shared=channel_shared)

    @bottom_first
    def sigmoid(self, bottom: str, *, in_place: bool = True, name: str | None = None) -> str:
        """Add a Sigmoid: 1 / (1 + exp(-x)).

        Args:
            bottom, in_place, name: as for `relu`.
        """
        return self._continue("Sigmoid", bottom, "sigmoid", name, in_place)

    @bottom_first
    def dropout(self, bottom: str, ratio: float = 0.5, *, in_place: bool = True, name: str | None = None) -> str:
        """Add a Dropout, which does nothing in TEST.

        Args:
            bottom, in_place, name: as for `relu`.
            ratio: probability of dropping a value in training.
        """
        return self._continue("Dropout", bottom, "dropout", name, in_place, dropout_ratio=ratio)

    @bottom_first
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
        """Add a Pooling.

        Args:
            bottom: (N, C, H, W).
            pool: "MAX", "AVE" or "STOCHASTIC".
            kernel_size, stride, pad: of the window in pixels, one number or (height, width); stride 1 and pad 0 by default.
            global_pooling: pool the whole image; the window's arguments are ignored.
            name: of the layer and its top; by default "pool" with a number.
            fields: further fields, as for `layer`.

        Returns:
            The blob (N, C, (H + 2 pad - kernel) / stride + 1, likewise W), rounded up as in Caffe.
        """
        name = name or self.unused("pool")
        label = f"layer {self.qualified(name)!r} (Pooling)"
        sizes = {"global_pooling": True} if global_pooling else windows(label, kernel_size, stride, pad)
        return self.layer("Pooling", bottom, name=name, pool=pool.upper(), **sizes, **fields)

    @bottom_first
    def global_pool(self, bottom: str, pool: str = "AVE", *, name: str | None = None) -> str:
        """Add a Pooling over the whole image: (N, C, H, W) to (N, C, 1, 1).

        Args:
            bottom, pool, name: as for `pool`.
        """
        return self.pool(bottom, pool, global_pooling=True, name=name or self.unused("global_pool"))

    @bottom_first
    def scale(
        self, bottom: str, factor: str | None = None, *, axis: int | None = None, name: str | None = None, **fields: Any
    ) -> str:
        """Add a Scale: multiply by learned factors, one per channel by default, or by another blob.

        Args:
            bottom: (N, C, H, W).
            factor: the blob to multiply by (with axis 0 for squeeze-and-excitation); None for learned factors.
            axis: the first axis of `bottom` that the factors cover; 1 by default.
            name: of the layer and its top; by default "scale" with a number.
            fields: further fields, as for `layer`.
        """
        bottoms = [bottom] if factor is None else [bottom, factor]
        return self.layer("Scale", *bottoms, name=name or self.unused("scale"), axis=axis, **fields)

    @bottom_first
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
        """Add an InnerProduct, a fully connected layer.

        Args:
            bottom: (N, ...); the axes from 1 on are flattened.
            num_output: output values.
            bias_term: whether there is a bias; True by default.
            weight_filler, bias_filler: a filler's type, or its fields.
            name: of the layer and its top; by default "fc" with a number.
            fields: further fields, as for `layer`.

        Returns:
            The blob (N, num_output).
        """
        return self.layer(
            "InnerProduct",
            bottom,
            name=name or self.unused("fc"),
            num_output=num_output,
            bias_term=bias_term,
            weight_filler=filler_fields(weight_filler),
            bias_filler=filler_fields(bias_filler),
            **fields,
        )

    @bottom_first
    def lrn(
        self, bottom: str, local_size: int = 5, alpha: float = 1e-4, beta: float = 0.75, *, name: str | None = None, **fields: Any
    ) -> str:
        """Add an LRN (local response normalization), with AlexNet's settings by default.

        Args:
            bottom: (N, C, H, W).
            local_size: channels in each sum; odd.
            alpha, beta: factor and exponent of x / (1 + alpha / local_size * sum(x^2)) ^ beta.
            name: of the layer and its top; by default "norm" with a number.
            fields: further fields, as for `layer`.
        """
        return self.layer(
            "LRN", bottom, name=name or self.unused("norm"), local_size=local_size, alpha=alpha, beta=beta, **fields
        )

    @bottom_first
    def flatten(self, bottom: str, *, axis: int | None = None, name: str | None = None) -> str:
        """Add a Flatten: (N, C, H, W) to (N, C * H * W).

        Args:
            bottom: any blob.
            axis: the first axis to flatten; 1 by default.
            name: of the layer and its top; by default "flatten" with a number.
        """
        return self.layer("Flatten", bottom, name=name or self.unused("flatten"), axis=axis)

    @bottom_first
    def softmax(self, bottom: str, *, axis: int | None = None, name: str | None = None) -> str:
        """Add a Softmax.

        Args:
            bottom: scores.
            axis: of the classes; 1 by default.
            name: of the layer and its top; by default "prob", or "softmax" with a number if that is taken.
        """
        return self.layer(
            "Softmax", bottom, name=name or ("prob" if not self._is_taken(self.qualified("prob")) else None), axis=axis
        )

    def softmax_loss(self, bottom: str, label: str = "label", *, name: str | None = None, **fields: Any) -> str:
        """Add a SoftmaxWithLoss.

        Args:
            bottom: scores (N, classes).
            label: (N,).
            name: of the layer and its top; by default "loss" with a number.
            fields: further fields, as for `layer`.
        """
        return self.layer("SoftmaxWithLoss", bottom, label, name=name or self.unused("loss"), **fields)

    def accuracy(
        self, bottom: str, label: str = "label", *, top_k: int | None = None, name: str | None = None, **fields: Any
    ) -> str:
        """Add an Accuracy: the fraction of items whose label is among the best scores.

        Args:
            bottom: scores (N, classes).
            label: (N,).
            top_k: how many of the best scores count; 1 by default.
            name: of the layer and its top; by default "accuracy" with a number.
            fields: further fields, as for `layer`.
        """
        return self.layer("Accuracy", bottom, label, name=name or self.unused("accuracy"), top_k=top_k, **fields)

    @bottom_first
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
        """Add a Convolution without bias, then BatchNorm, Scale and ReLU in place: `name`, `name/bn`, `name/scale`, `name/relu`.

        Args:
            bottom: (N, C, H, W).
            num_output: output channels.
            kernel_size: of the square kernel.
            stride: of the convolution.
            pad: by default half the kernel, which keeps the size at stride 1.
            relu: add the ReLU.
            name: of the convolution and its top.
            options: further arguments of `conv`.

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
