"""Compose a net layer by layer; every call checks its layer and returns the blob it makes.

Methods take the bottom first; left out, it is the running `last` blob. Blobs are their names, so branches read naturally:

>>> b = NetBuilder("Two branches")
>>> x = b.input("data", (1, 3, 32, 32))
>>> left = b.relu(b.conv(x, 8, 3, pad=1, name="left"))
>>> right = b.pool(x, "MAX", 3, stride=1, pad=1, name="right")
>>> b.shape(b.concat(left, right, name="both"))
(1, 11, 32, 32)
>>> [layer.name for layer in b.build().layers]
['data', 'left', 'left/relu', 'right', 'both']
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from .errors import NetError, ProtogenError, did_you_mean
from .graph.analysis import Analysis
from .layers.base import Shape
from .layers.registry import layer_type, layer_types
from .net import Net
from .prototxt.layer import Layer
from .prototxt.message import Constant, Message
from .prototxt.phase import State, active
from .schema import message_type

_POOLINGS = {"MAX", "AVE", "STOCHASTIC", "max", "ave", "stochastic"}
_F = TypeVar("_F", bound=Callable[..., Any])
Filler = Mapping[str, Any] | Message | None


@functools.lru_cache(maxsize=64)
def constant(type_name: str, **fields: Any) -> Constant:
    """A message that many layers get a copy of, such as a filler: `constant("FillerParameter", type="xavier")`."""
    made = Constant(message_type(type_name))
    made.update(fields)
    return made


def _bottom_first(method: _F) -> _F:
    """Let a method be called without its leading bottom: `b.conv(32, 3)` or `b.pool("MAX", 3)` continues from `b.last`."""

    @functools.wraps(method)
    def call(self: NetBuilder, *args: Any, **kwargs: Any) -> Any:
        method_given = bool(args) and args[0] in _POOLINGS and args[0] not in self._analysis.shapes
        if not args or not isinstance(args[0], str) or "bottom" in kwargs or method_given:
            args = (kwargs.pop("bottom", None) or self.last, *args)
        return method(self, *args, **kwargs)

    return cast(_F, call)


class NetBuilder:
    """Builds a net in the order of the calls.

    Args:
        name: the net's name.
        phase: the phase that shapes are checked in; layers whose rules exclude it are recorded all the same.
        defaults: fields a layer of a type gets unless its call gives them, by type:
            `{"BatchNorm": {"eps": 1e-3}, "Convolution": {"param": [{"lr_mult": 1}]}}`.

    Attributes:
        last: the blob made last, the default bottom of the next layer.
    """

    def __init__(self, name: str = "", *, phase: str = "TEST", defaults: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.name = name
        self.defaults = defaults or {}
        self._state = State(phase)
        self._analysis = Analysis(phase, {})
        self._messages: list[Message] = []
        self._made: dict[Any, Message] = {}
        self._groups: dict[str, str] = {}
        self._scopes: list[str] = []
        self._group: list[str] = []
        self._names: set[str] = set()
        self._inactive: set[str] = set()  # names of the other phase's layers
        self._opened: set[str] = set()
        self._last: str | None = None

    # ---- what stands so far

    @property
    def last(self) -> str:
        """The blob made last.

        Raises:
            NetError: there is none yet.
        """
        if self._last is None:
            raise NetError("there is no blob yet: begin with input()")
        return self._last

    def shape(self, blob: str) -> Shape:
        """Shape of a blob, (N, C, H, W) for images.

        Raises:
            NetError: no such blob, or its shape is unknown (it comes from a layer type nobody defined).
        """
        if blob not in self._analysis.shapes:
            raise NetError(f"no blob {blob!r} yet{did_you_mean(blob, self._analysis.shapes)}")
        shape = self._analysis.shapes[blob]
        if shape is None:
            raise NetError(f"the shape of blob {blob!r} is not known")
        return shape

    def channels(self, blob: str) -> int:
        """Size of axis 1 of a blob."""
        return self.shape(blob)[1]

    def build(self) -> Net:
        """The net of all layers so far; the builder can go on afterwards.

        Raises:
            NetError, LayerError: layers of the other phase do not fit together (those of this one are checked already).
        """
        definition = Message.of("NetParameter", name=self.name or None)
        definition.store("layer", list(self._messages))
        net = Net(definition, phase=self._state.phase, groups=self._groups, analysis=self._analysis.copy())
        for phase in {"TRAIN", "TEST"} - {self._state.phase}:
            if any("include" in message or "exclude" in message for message in self._messages):
                Net(definition, phase=phase, like=net)
        return net

    # ---- names and groups

    @contextmanager
    def scope(self, name: str, *, prefix: bool = True, group: bool = True) -> Iterator[str]:
        """Within the block, names get the prefix `name/` and layers belong to the group `name`; scopes nest.

        In a scope, the name "." stands for the scope's own name.

        Args:
            name: of the scope.
            prefix: whether names get it in front.
            group: whether summaries show the layers as a group.

        >>> b = NetBuilder()
        >>> _ = b.input("data", (1, 3, 8, 8))
        >>> with b.scope("stage1"):
        ...     b.conv(4, 1, name="a"), b.conv(4, 1, name=".")
        ('stage1/a', 'stage1')
        """
        self._opened.add(self.qualified(name))
        if prefix:
            self._scopes.append(name)
        if group:
            self._group.append(self.qualified(".") if prefix else name)
        try:
            yield self.qualified(".") if prefix else name
        finally:
            if group:
                self._group.pop()
            if prefix:
                self._scopes.pop()

    def qualified(self, name: str) -> str:
        """A name with the prefixes of the open scopes; "." is the innermost scope's own name."""
        return "/".join(self._scopes if name == "." and self._scopes else [*self._scopes, name])

    def unused(self, base: str) -> str:
        """`base1`, `base2`, ...: the first that no layer or blob of this scope has."""
        number = 1
        while self._is_taken(self.qualified(f"{base}{number}")):
            number += 1
        return f"{base}{number}"

    def unused_scope(self, base: str) -> str:
        """`base1`, `base2`, ...: the first name no scope was opened with here."""
        number = 1
        while self.qualified(f"{base}{number}") in self._opened:
            number += 1
        return f"{base}{number}"

    def _is_taken(self, name: str) -> bool:
        return name in self._names or name in self._inactive or name in self._analysis.shapes

    def _beside(self, blob: str, suffix: str) -> str:
        """`blob/suffix` for a layer that continues a blob, with a number if that is taken; not to be prefixed again."""
        name, number = f"{blob}/{suffix}", 1
        while self._is_taken(name):
            number += 1
            name = f"{blob}/{suffix}{number}"
        return name

    # ---- any layer

    def layer(
        self,
        type: str,
        *bottoms: str,
        name: str | None = None,
        top: str | Sequence[str] | None = None,
        in_place: bool = False,
        absolute: bool = False,
        **fields: Any,
    ) -> Any:
        """Append a layer of any type.

        Args:
            type: Caffe's type name; a type that nothing defines is taken as it is.
            bottoms: blobs it reads, in order.
            name: its name in this scope; by default one made of the type.
            top: its top's name, or a sequence of them (or of none); by default its name.
            in_place: write the first bottom instead.
            absolute: names are used as given, without the scope's prefix.
            fields: fields of its own parameters (`num_output=32`), or of LayerParameter (`param=[...]`, `include={...}`,
                `convolution_param={...}`). A dict stands for a message; None leaves a field out.

        Returns:
            The top's name, or a tuple of names if there are several or none.

        Raises:
            NetError: unknown bottom, or a name used before.
            LayerError: parameters or shapes do not fit; the message begins with the layer's name.
        """
        if name is None:
            name = self.unused(_short(type))
        name = name if absolute else self.qualified(name)
        tops = self._tops(name, top, bottoms[:1] if in_place else None, absolute)
        made = self._parameters(type, name, fields)
        message = made.copy()
        message.set("name", name)
        message.set("type", type)
        if bottoms:
            message.set("bottom", bottoms)
        if tops:
            message.set("top", tops)
        return self._append(Layer(message, self._group[-1] if self._group else ""), tops, made)

    def _parameters(self, type: str, name: str, fields: Mapping[str, Any]) -> Message:
        """A LayerParameter with the fields of a call, to be copied; equal calls (most of a deep net) are checked once."""
        key: Any = None
        try:
            key = (type, *fields.items())
            made = self._made.get(key)
        except TypeError:  # a dict or list among the values: no key
            made = key = None
        if made is None:
            made = Message.of("LayerParameter")
            try:
                self._set_fields(made, type, fields)
            except ProtogenError as error:
                raise NetError(f"layer {name!r} ({type}): {error}") from None
            # A message without a key is kept too: Analysis tells messages apart by identity, which must not be reused.
            self._made[id(made) if key is None else key] = made
        return made

    def _append(self, layer: Layer, tops: list[str], like: Message) -> Any:
        message = layer.message
        if ("include" not in message and "exclude" not in message) or active(message, self._state):
            if layer.name in self._names:
                raise NetError(f"{layer.label}: there is a layer of this name already; give it another one")
            self._analysis.add(layer, like=like)
            self._names.add(layer.name)
        else:
            self._inactive.add(layer.name)
        self._messages.append(message)
        if layer.group:
            self._groups[layer.name] = layer.group
        if tops:
            self._last = tops[0]
        return tops[0] if len(tops) == 1 else tuple(tops)

    def _tops(self, name: str, top: str | Sequence[str] | None, in_place: Sequence[str] | None, absolute: bool) -> list[str]:
        if in_place:
            return list(in_place)
        if top is None:
            return [name]
        names = [top] if isinstance(top, str) else list(top)
        return names if absolute else [self.qualified(each) for each in names]

    def _set_fields(self, message: Message, type: str, fields: Mapping[str, Any]) -> None:
        """Sort fields into LayerParameter's own and those of the type's parameters, over the type's defaults."""
        own = message.descriptor.fields if message.descriptor else {}
        given = {**self.defaults.get(type, {}), **{key: value for key, value in fields.items() if value is not None}}
        definition = layer_type(type)
        param_name = definition.param_name if definition else None
        inner = {key: value for key, value in given.items() if key not in own}
        message.update({key: value for key, value in given.items() if key in own})
        if not inner:
            return
        if definition is None and not all(isinstance(value, Mapping) for value in inner.values()):
            raise ProtogenError(f"unknown layer type{did_you_mean(type, layer_types())} "
                                "(fields of an unknown type are given as messages: my_param={...})")  # fmt: skip
        if param_name is None:
            for key, value in inner.items():
                message.store(key, [Message(None).update(value)]) if definition is None else message.set(key, value)
            return
        if param_name in message:
            getattr(message, param_name).update(inner)
        else:
            message.set(param_name, inner)

    # ---- the usual layers

    def input(self, name: str = "data", shape: Sequence[int] = (1, 3, 224, 224)) -> str:
        """A network input of a shape, (N, C, H, W) for images."""
        return str(self.layer("Input", name=name, shape={"dim": list(shape)}))

    @_bottom_first
    def conv(
        self,
        bottom: str,
        num_output: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        stride: int | tuple[int, int] | None = None,
        pad: int | tuple[int, int] | None = None,
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
        sizes: dict[str, Any] = {}
        for what, value in (("kernel", kernel_size), ("stride", stride), ("pad", pad)):
            if isinstance(value, tuple):
                sizes[f"{what}_h"], sizes[f"{what}_w"] = value
            else:
                sizes["kernel_size" if what == "kernel" else what] = value
        return str(
            self.layer(
                type,
                bottom,
                name=name or self.unused("conv" if type == "Convolution" else _short(type)),
                num_output=num_output,
                **sizes,
                group=group,
                dilation=dilation,
                bias_term=bias_term,
                weight_filler=_filler(weight_filler),
                bias_filler=_filler(bias_filler),
                **fields,
            )
        )

    @_bottom_first
    def depthwise_conv(self, bottom: str, kernel_size: int | tuple[int, int] = 3, *, multiplier: int = 1, **options: Any) -> str:
        """A convolution with one group per channel; it makes `multiplier` channels of each."""
        channels = self.channels(bottom)
        name = options.pop("name", None) or self.unused("dwconv")
        return self.conv(bottom, channels * multiplier, kernel_size, group=channels, name=name, **options)

    @_bottom_first
    def deconv(self, bottom: str, num_output: int, kernel_size: int | tuple[int, int] = 4, **options: Any) -> str:
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
        fields.setdefault("param", (constant("ParamSpec", lr_mult=0, decay_mult=0),) * 3)
        top = self._continue(
            "BatchNorm", bottom, "bn", name, in_place, eps=eps, moving_average_fraction=moving_average_fraction, **fields
        )
        if not scale:
            return top
        base = bottom if in_place else top
        return self._continue(
            "Scale", top, "scale", None, True, beside=base, filler=constant("FillerParameter", value=1),
            bias_term=True, bias_filler=constant("FillerParameter", value=0),
        )  # fmt: skip

    def _continue(
        self, type: str, bottom: str, suffix: str, name: str | None, in_place: bool, beside: str | None = None, **fields: Any
    ) -> str:
        """A layer that goes on from a blob, by default in place and named after it."""
        absolute = name is None
        name = self._beside(beside or bottom, suffix) if name is None else name
        return str(self.layer(type, bottom, name=name, in_place=in_place, absolute=absolute, **fields))

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
        kernel_size: int | tuple[int, int] | None = 2,
        *,
        stride: int | tuple[int, int] | None = None,
        pad: int | tuple[int, int] | None = None,
        global_pooling: bool = False,
        name: str | None = None,
        **fields: Any,
    ) -> str:
        """MAX or AVE pooling of windows, or of the whole image with `global_pooling`.

        The output is (in + 2 pad - kernel) / stride + 1, rounded up as Caffe does.
        """
        sizes: dict[str, Any] = {"global_pooling": True} if global_pooling else {}
        if not global_pooling:
            for what, value in (("kernel", kernel_size), ("stride", stride), ("pad", pad)):
                if isinstance(value, tuple):
                    sizes[f"{what}_h"], sizes[f"{what}_w"] = value
                else:
                    sizes["kernel_size" if what == "kernel" else what] = value
        return str(self.layer("Pooling", bottom, name=name or self.unused("pool"), pool=pool.upper(), **sizes, **fields))

    @_bottom_first
    def global_pool(self, bottom: str, pool: str = "AVE", *, name: str | None = None) -> str:
        """Pooling over the whole image: (N, C, H, W) to (N, C, 1, 1)."""
        return self.pool(bottom, pool, global_pooling=True, name=name or self.unused("global_pool"))

    def concat(self, *bottoms: str, axis: int = 1, name: str | None = None) -> str:
        """Blobs joined along an axis (1: channels)."""
        return str(self.layer("Concat", *bottoms, name=name or self.unused("concat"), axis=axis))

    def eltwise(
        self, *bottoms: str, operation: str = "SUM", coeff: Sequence[float] | None = None, name: str | None = None
    ) -> str:
        """Sum, product ("PROD") or maximum ("MAX") of blobs of one shape."""
        return str(self.layer("Eltwise", *bottoms, name=name or self.unused("eltwise"), operation=operation.upper(), coeff=coeff))

    @_bottom_first
    def scale(
        self, bottom: str, factor: str | None = None, *, axis: int | None = None, name: str | None = None, **fields: Any
    ) -> str:
        """Multiply by a learned factor per channel, or by the blob `factor` (squeeze-and-excitation: axis 0)."""
        bottoms = [bottom] if factor is None else [bottom, factor]
        return str(self.layer("Scale", *bottoms, name=name or self.unused("scale"), axis=axis, **fields))

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
        return str(
            self.layer(
                "InnerProduct",
                bottom,
                name=name or self.unused("fc"),
                num_output=num_output,
                bias_term=bias_term,
                weight_filler=_filler(weight_filler),
                bias_filler=_filler(bias_filler),
                **fields,
            )
        )

    @_bottom_first
    def lrn(
        self, bottom: str, local_size: int = 5, alpha: float = 1e-4, beta: float = 0.75, *, name: str | None = None, **fields: Any
    ) -> str:
        """Local response normalization, with AlexNet's settings by default."""
        return str(
            self.layer("LRN", bottom, name=name or self.unused("norm"), local_size=local_size, alpha=alpha, beta=beta, **fields)
        )

    @_bottom_first
    def flatten(self, bottom: str, *, axis: int | None = None, name: str | None = None) -> str:
        """(N, C, H, W) to (N, C * H * W)."""
        return str(self.layer("Flatten", bottom, name=name or self.unused("flatten"), axis=axis))

    @_bottom_first
    def softmax(self, bottom: str, *, axis: int | None = None, name: str | None = None) -> str:
        """Class probabilities along an axis (1: channels)."""
        return str(
            self.layer(
                "Softmax", bottom, name=name or ("prob" if not self._is_taken(self.qualified("prob")) else None), axis=axis
            )
        )

    def softmax_loss(self, bottom: str, label: str = "label", *, name: str | None = None, **fields: Any) -> str:
        """SoftmaxWithLoss of scores and labels."""
        return str(self.layer("SoftmaxWithLoss", bottom, label, name=name or self.unused("loss"), **fields))

    def accuracy(
        self, bottom: str, label: str = "label", *, top_k: int | None = None, name: str | None = None, **fields: Any
    ) -> str:
        """Share of items whose label is among the `top_k` best scores (1)."""
        return str(self.layer("Accuracy", bottom, label, name=name or self.unused("accuracy"), top_k=top_k, **fields))

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


def _filler(given: Filler | str) -> Filler:
    """A filler given as its type alone is that message."""
    return constant("FillerParameter", type=given) if isinstance(given, str) else given


def _short(type: str) -> str:
    """A readable stem for made-up names: "InnerProduct" gives "innerproduct"."""
    return type.lower()


def block(function: Callable[..., Any] | None = None, *, prefix: bool = True) -> Any:
    """Make a function `f(builder, bottom, ...)` a block: it nests, gets a name prefix, and is a group in summaries.

    The block is called with the builder, the bottom (left out: the builder's last blob), its own arguments, and `name=`,
    which becomes the prefix of the names inside; by default it is the function's name with a number.

    Args:
        function: the function; its result is the block's.
        prefix: whether names inside get the block's name in front.

    >>> @block
    ... def bottleneck(b, x, channels):
    ...     x = b.conv_block(x, channels, 1, name="reduce")
    ...     return b.conv_block(x, channels, 3, name="conv")
    >>> b = NetBuilder()
    >>> _ = b.input("data", (1, 3, 8, 8))
    >>> bottleneck(b, b.last, 4), bottleneck(b, b.last, 4, name="neck")
    ('bottleneck1/conv', 'neck/conv')
    """
    if function is None:
        return functools.partial(block, prefix=prefix)
    made = cast("Callable[..., Any]", function)

    @functools.wraps(made)
    def call(builder: NetBuilder, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
        if not args or not isinstance(args[0], str):
            args = (builder.last, *args)
        chosen = name or builder.unused_scope(made.__name__)
        with builder.scope(chosen, prefix=prefix):
            return made(builder, *args, **kwargs)

    return call
