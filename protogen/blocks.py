"""Common building blocks, composed of builder calls; write your own the same way (`@protogen.block`).

A block takes the builder, its bottom and its sizes, and returns its last blob. `name=` prefixes the names of its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .activations import Activation, relu
from .builder import NetBuilder, block

__all__ = [
    "average",
    "basic_block",
    "bottleneck",
    "conv_block",
    "conv_norm",
    "fire",
    "inverted_residual",
    "norm",
    "slashes",
    "squeeze_excite",
    "stem",
    "tower",
    "transition",
    "two_way_dense_block",
    "two_way_dense_layer",
    "underscores",
]

Names = Callable[[str, str], str]  # (name of a convolution, "bn", "scale" or "relu") to the name of that layer


def conv_block(b: NetBuilder, bottom: str, num_output: int, kernel_size: int = 3, **options: Any) -> str:
    """`NetBuilder.conv_block` as a function (convolution, BatchNorm, Scale, ReLU), for code that passes blocks around.

    Args:
        b: the builder.
        bottom: (N, C, H, W).
        num_output: output channels.
        kernel_size: of the square kernel.
        options: further arguments of `NetBuilder.conv_block`.

    Returns:
        The blob (N, num_output, H / stride, W / stride).

    >>> b = NetBuilder()
    >>> conv_block(b, b.input("data", (1, 3, 32, 32)), 16, 3, stride=2, name="conv1")
    'conv1'
    """
    return b.conv_block(bottom, num_output, kernel_size, **options)


def slashes(name: str, part: str) -> str:
    """Names after the convolution and a slash, as the builder gives them: conv1/bn, conv1/scale, conv1/relu."""
    return f"{name}/{part}"


def underscores(name: str, part: str) -> str:
    """Names after the convolution and an underscore: conv1_bn, conv1_scale, conv1_relu."""
    return f"{name}_{part}"


def norm(b: NetBuilder, x: str, name: str, *, names: Names = slashes, relu: bool = True, in_place: bool = True) -> str:
    """BatchNorm, Scale and ReLU under names of your own, which published weights need.

    Args:
        b: the builder.
        x: (N, C, H, W).
        name: of the convolution before them, or after them where the normalisation comes first.
        names: what the three are called.
        relu: add the ReLU.
        in_place: write to `x`; otherwise the top has the BatchNorm's name.

    >>> b = NetBuilder()
    >>> norm(b, b.input("data", (1, 3, 32, 32)), "conv1", names=underscores, in_place=False)
    'conv1_bn'
    """
    x = b.bn(x, scale=False, in_place=in_place, name=names(name, "bn"))
    x = b.layer(
        "Scale", x, name=names(name, "scale"), in_place=True, filler={"value": 1}, bias_term=True, bias_filler={"value": 0}
    )
    return b.relu(x, name=names(name, "relu")) if relu else x


def conv_norm(
    b: NetBuilder,
    x: str,
    num_output: int,
    kernel_size: int | tuple[int, int],
    *,
    name: str,
    names: Names = slashes,
    relu: bool = True,
    in_place: bool = True,
    **options: Any,
) -> str:
    """A convolution without bias, then `norm`, all in place.

    Args:
        b: the builder.
        x: (N, C, H, W).
        num_output: output channels.
        kernel_size: in pixels, one number or (height, width).
        name: of the convolution.
        names: what the layers after it are called.
        relu: add the ReLU.
        in_place: as for `norm`.
        options: further arguments of `NetBuilder.conv`; `pad` is half the kernel by default.

    >>> b = NetBuilder()
    >>> conv_norm(b, b.input("data", (1, 3, 32, 32)), 8, (1, 7), name="conv1", names=underscores)
    'conv1'
    >>> [layer.name for layer in b.build().layers], b.shape("conv1")
    (['data', 'conv1', 'conv1_bn', 'conv1_scale', 'conv1_relu'], (1, 8, 32, 32))
    """
    half = kernel_size // 2 if isinstance(kernel_size, int) else (kernel_size[0] // 2, kernel_size[1] // 2)
    options.setdefault("pad", half or None)
    x = b.conv(x, num_output, kernel_size, bias_term=False, name=name, **options)
    return norm(b, x, name, names=names, relu=relu, in_place=in_place)


def average(b: NetBuilder, x: str, side: int, name: str) -> str:
    """The average of the whole image, with the window that a published file states where the image has that size.

    Args:
        b: the builder.
        x: (N, C, H, W).
        side: of the published window.
        name: of the pooling.

    Returns:
        The blob (N, C, 1, 1).
    """
    if b.shape(x)[2:] == (side, side):
        return b.pool(x, "AVE", side, stride=1, name=name)
    return b.global_pool(x, name=name)


def tower(b: NetBuilder, x: str, name: str, *convs: tuple[Any, ...], **options: Any) -> str:
    """Convolutions of `conv_norm` in sequence, a branch of an Inception module.

    Args:
        b: the builder.
        x: (N, C, H, W).
        name: prefix of the convolutions' names.
        convs: the rest of the name, the output channels and the kernel of each, and further arguments of `conv_norm` as a dict.
        options: further arguments of `conv_norm` for all of them.

    >>> b = NetBuilder()
    >>> tower(b, b.input("data", (1, 3, 32, 32)), "a1", ("5x5_reduce", 16, 1), ("5x5", 32, 5, {"stride": 2}))
    'a1_5x5'
    """
    for suffix, num_output, kernel_size, *own in convs:
        merged = {"names": underscores, **options, **(own[0] if own else {})}
        x = conv_norm(b, x, num_output, kernel_size, name=f"{name}_{suffix}", **merged)
    return x


@block(prefix=False)
def stem(
    b: NetBuilder,
    x: str,
    num_output: int = 32,
    *,
    pool_name: str = "stem1/pool",
    pool_first: bool = False,
    top_name: str = "stem",
) -> str:
    """PeleeNet's stem: a strided 3x3, then a 1x1-3x3 branch beside a max pooling, joined by a 1x1 (Pelee, figure 2).

    Args:
        b: the builder.
        x: the image (N, 3, H, W).
        num_output: output channels.
        pool_name: name of the pooling layer.
        pool_first: whether the pooling comes first in the concatenation.
        top_name: name of the last convolution.

    Returns:
        The blob (N, num_output, H / 4, W / 4).
    """
    first = conv_block(b, x, num_output, 3, stride=2, name="stem1")
    y = conv_block(b, first, num_output // 2, 1, name="stem2a")
    y = conv_block(b, y, num_output, 3, stride=2, name="stem2b")
    pooled = b.pool(first, "MAX", 2, stride=2, name=pool_name)
    branches = (pooled, y) if pool_first else (y, pooled)
    return conv_block(b, b.concat(*branches, name="stem/concat"), num_output, 1, name=top_name)


@block
def two_way_dense_layer(
    b: NetBuilder,
    x: str,
    growth_rate: int,
    bottleneck_width: int,
    *,
    branches: Sequence[str] = ("a1", "a2", "b1", "b2", "b3"),
    concat: str = ".",
) -> str:
    """PeleeNet's dense layer: a 1x1-3x3 branch and a 1x1-3x3-3x3 branch of growth_rate / 2 channels each, joined to x.

    The 1x1 convolutions have growth_rate / 2 * bottleneck_width output channels (Pelee, figure 1).

    Args:
        b: the builder.
        x: (N, C, H, W).
        growth_rate: channels added.
        bottleneck_width: output channels of the 1x1 convolutions, in units of growth_rate / 2.
        branches: names of the five convolutions.
        concat: name of the concatenation; "." gives it the block's own name.

    Returns:
        The blob (N, C + growth_rate, H, W).
    """
    half = growth_rate // 2
    inner = half * bottleneck_width
    left = conv_block(b, x, inner, 1, name=branches[0])
    left = conv_block(b, left, half, 3, name=branches[1])
    right = conv_block(b, x, inner, 1, name=branches[2])
    right = conv_block(b, right, half, 3, name=branches[3])
    right = conv_block(b, right, half, 3, name=branches[4])
    return b.concat(x, left, right, name=concat)


@block(prefix=False)
def two_way_dense_block(
    b: NetBuilder, x: str, layers: int, growth_rate: int, bottleneck_width: int, *, stage: str = "stage", **options: Any
) -> str:
    """PeleeNet's dense block: `layers` two-way dense layers in sequence, named `<stage>_1`, `<stage>_2`, ...

    Args:
        b: the builder.
        x: (N, C, H, W).
        layers: how many.
        growth_rate, bottleneck_width: of each layer.
        stage: prefix of the layers' names.
        options: further arguments of `two_way_dense_layer`.

    Returns:
        The blob (N, C + layers * growth_rate, H, W).
    """
    for i in range(layers):
        x = two_way_dense_layer(b, x, growth_rate, bottleneck_width, name=f"{stage}_{i + 1}", **options)
    return x


@block(prefix=False)
def transition(
    b: NetBuilder, x: str, num_output: int | None = None, *, pool: str | None = "AVE", conv_name: str = "transition"
) -> str:
    """PeleeNet's transition: a 1x1 conv block, then 2x2 pooling of stride 2.

    Args:
        b: the builder.
        x: (N, C, H, W).
        num_output: output channels; by default C, as in Pelee.
        pool: "AVE" or "MAX"; None for no pooling.
        conv_name: name of the convolution; the pooling is `<conv_name>/pool`.

    Returns:
        The blob (N, num_output, H / 2, W / 2), or (N, num_output, H, W) without pooling.
    """
    x = conv_block(b, x, num_output or b.channels(x), 1, name=conv_name)
    return b.pool(x, pool, 2, stride=2, name=f"{conv_name}/pool") if pool else x


def _shortcut(b: NetBuilder, x: str, num_output: int, stride: int) -> str:
    """Return x itself if its shape matches, else a 1x1 projection (ResNet's option B)."""
    if stride == 1 and b.channels(x) == num_output:
        return x
    return conv_block(b, x, num_output, 1, stride=stride, relu=False, name="shortcut")


@block
def basic_block(b: NetBuilder, x: str, num_output: int, stride: int = 1) -> str:
    """ResNet's block of two 3x3 convolutions (He et al., CVPR 2016).

    Args:
        b: the builder.
        x: (N, C, H, W).
        num_output: output channels.
        stride: of the first convolution and of the shortcut.

    Returns:
        The blob (N, num_output, H / stride, W / stride).
    """
    shortcut = _shortcut(b, x, num_output, stride)
    y = conv_block(b, x, num_output, 3, stride=stride, name="conv1")
    y = conv_block(b, y, num_output, 3, relu=False, name="conv2")
    return b.relu(b.eltwise(shortcut, y, name="."))


@block
def bottleneck(
    b: NetBuilder, x: str, num_output: int, stride: int = 1, *, width: int | None = None, group: int | None = None
) -> str:
    """ResNet's 1x1-3x3-1x1 bottleneck, or ResNeXt's with `group`.

    Args:
        b: the builder.
        x: (N, C, H, W).
        num_output: output channels.
        stride: of the 3x3 convolution and of the shortcut.
        width: channels of the first two convolutions; num_output / 4 by default.
        group: groups of the 3x3 convolution.

    Returns:
        The blob (N, num_output, H / stride, W / stride).
    """
    width = width or num_output // 4
    shortcut = _shortcut(b, x, num_output, stride)
    y = conv_block(b, x, width, 1, name="conv1")
    y = conv_block(b, y, width, 3, stride=stride, group=group, name="conv2")
    y = conv_block(b, y, num_output, 1, relu=False, name="conv3")
    return b.relu(b.eltwise(shortcut, y, name="."))


def inverted_residual(
    b: NetBuilder,
    x: str,
    num_output: int,
    stride: int = 1,
    *,
    expansion: int = 6,
    hidden: int | None = None,
    expand: bool | None = None,
    kernel_size: int = 3,
    activation: Activation = relu,
    gate: Activation | None = None,
    skip: bool = True,
    name: str | None = None,
    sum_name: str | None = None,
    names: Names = slashes,
    **options: Any,
) -> str:
    """MobileNet v2's block: 1x1 expansion, depthwise 3x3, linear 1x1, and a shortcut if input and output have one shape.

    Args:
        b: the builder.
        x: (N, C, H, W).
        num_output: output channels.
        stride: of the depthwise convolution.
        expansion: channels of the depthwise convolution, in units of C.
        hidden: the same as a number of channels, which takes precedence.
        expand: whether there is a 1x1 expansion; by default unless these are C.
        kernel_size: of the depthwise convolution.
        activation: what follows the first two convolutions.
        gate: what stands before the last convolution, such as squeeze-and-excitation; it gets the block's name.
        skip: whether there is a shortcut where shapes permit.
        name: of the block, a prefix of its layers' names.
        sum_name: of the Eltwise; by default the block's.
        names: what the layers after a convolution are called.
        options: further arguments of `conv_norm` for all convolutions.

    Returns:
        The blob (N, num_output, H / stride, W / stride).

    >>> b = NetBuilder()
    >>> inverted_residual(b, b.input("data", (1, 16, 32, 32)), 16, name="block")
    'block'
    """
    name = name or b.unused_scope("inverted_residual")
    channels = b.channels(x)
    hidden = channels * expansion if hidden is None else hidden
    with b.scope(name, prefix=False):
        y = x
        if expand or (expand is None and hidden != channels):
            y = conv_norm(b, x, hidden, 1, name=f"{name}/expand", names=names, relu=False, **options)
            y = activation(b, y, names(f"{name}/expand", "relu"))
        y = conv_norm(
            b, y, hidden, kernel_size, stride=stride, group=hidden, name=f"{name}/dwise", names=names, relu=False, **options
        )
        y = activation(b, y, names(f"{name}/dwise", "relu"))
        y = gate(b, y, name) if gate is not None else y
        y = conv_norm(b, y, num_output, 1, name=f"{name}/linear", names=names, relu=False, **options)
        return b.eltwise(x, y, name=sum_name or name) if skip and b.shape(x) == b.shape(y) else y


@block
def fire(b: NetBuilder, x: str, squeeze: int, expand: int) -> str:
    """SqueezeNet's fire module: a 1x1 squeeze, then parallel 1x1 and 3x3 expansions.

    Args:
        b: the builder.
        x: (N, C, H, W).
        squeeze: output channels of the squeeze.
        expand: output channels of each expansion.

    Returns:
        The blob (N, 2 * expand, H, W).
    """
    x = b.relu(b.conv(x, squeeze, 1, name="squeeze1x1"), name="relu_squeeze1x1")
    left = b.relu(b.conv(x, expand, 1, name="expand1x1"), name="relu_expand1x1")
    right = b.relu(b.conv(x, expand, 3, pad=1, name="expand3x3"), name="relu_expand3x3")
    return b.concat(left, right, name="concat")


@block
def squeeze_excite(
    b: NetBuilder, x: str, reduction: int = 16, *, hidden: int | None = None, gate: Activation | None = None, **options: Any
) -> str:
    """Squeeze-and-excitation: scale the channels of x by a gate computed from their global averages (Hu et al., CVPR 2018).

    Args:
        b: the builder.
        x: (N, C, H, W).
        reduction: C over the channels of the gate's hidden layer.
        hidden: the same as a number of channels, which takes precedence.
        gate: what makes factors of the gate's last layer; a Sigmoid by default.
        options: further arguments of `NetBuilder.conv` for both convolutions.

    Returns:
        The blob (N, C, H, W).
    """
    channels = b.channels(x)
    y = b.global_pool(x, name="pool")
    y = b.relu(b.conv(y, hidden or max(1, channels // reduction), 1, name="reduce", **options))
    y = b.conv(y, channels, 1, name="expand", **options)
    y = gate(b, y, "factors") if gate is not None else b.sigmoid(y)
    return b.scale(x, b.flatten(y, axis=None, name="gate"), axis=0, name=".")
