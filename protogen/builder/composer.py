"""`Composer`, the base of `NetBuilder`: layers of any type, names, scopes and groups, and the net so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, overload

from ..errors import NetError, ProtogenError, did_you_mean
from ..graph.analysis import Analysis
from ..layers.base import LayerType, Shape
from ..layers.settings import set_fields
from ..net import Net
from ..prototxt.layer import Layer
from ..prototxt.message import Message
from ..prototxt.phase import State, active, required_state
from .arguments import not_a_blob


class _Call(NamedTuple):
    """State shared by calls of `layer` with equal arguments, the bulk of a deep net: its parameters are checked and set up once.

    Attributes:
        parameters: a LayerParameter with the fields of the call, to be copied.
        set_up: layers set up from it, by the shapes of their bottoms and their number of tops.
    """

    parameters: Message
    set_up: dict[Any, LayerType]


class Composer:
    """Names, checks and collects layers in the order of the calls; see `NetBuilder`."""

    def __init__(self, name: str = "", *, phase: str = "TEST", defaults: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.name = name
        self.defaults = defaults or {}
        self._state = State(phase)
        self._analysis = Analysis(phase, {})
        self._messages: list[Message] = []
        self._calls: dict[Any, _Call] = {}
        self._groups: dict[str, str] = {}
        self._scopes: list[str] = []
        self._group: list[str] = []
        self._names: set[str] = set()
        self._inactive: set[str] = set()  # names of the other phase's layers
        self._elsewhere: dict[str, Message] = {}  # the other phase's layers, by the blobs that they make
        self._opened: set[str] = set()
        self._last: str | None = None

    # ---- the net so far

    @property
    def last(self) -> str:
        """The first top of the latest layer that has any.

        Raises:
            NetError: there is no blob yet.
        """
        if self._last is None:
            raise NetError("there is no blob yet; start with input()")
        return self._last

    def shape(self, blob: str) -> Shape:
        """Return the shape of a blob, (N, C, H, W) for images.

        Raises:
            NetError: no such blob, or its shape is unknown because a layer type is not registered.
        """
        if not isinstance(blob, str):
            raise NetError(not_a_blob(blob))
        if blob not in self._analysis.shapes:
            raise NetError(self._missing(blob))
        shape = self._analysis.shapes[blob]
        if shape is None:
            raise NetError(f"the shape of blob {blob!r} is unknown")
        return shape

    def _missing(self, blob: str) -> str:
        """Return what to say of a blob that no layer of this phase makes."""
        maker = self._elsewhere.get(blob)
        if maker is None:
            return f"no blob {blob!r} yet{did_you_mean(blob, self._analysis.shapes)}"
        return (
            f"blob {blob!r} is there only in {required_state(maker)}, made by layer {maker.get('name', '')!r}, and this builder "
            f"checks layers in phase {self._state.phase}: build with NetBuilder(phase=...) of that phase, or add a layer that "
            "makes the blob in this one, too; b.data() adds one for each"
        )

    def has_blob(self, name: str) -> bool:
        """Return whether there is a blob of this name."""
        return name in self._analysis.shapes

    def channels(self, blob: str) -> int:
        """Return the size of axis 1 of a blob.

        Raises:
            NetError: as `shape`.
        """
        return self.shape(blob)[1]

    def build(self) -> Net:
        """Return the net of all layers so far; you may continue to add layers afterwards.

        The other phase is checked too if it has layers of its own; otherwise the net may be for this phase alone.

        Raises:
            NetError, LayerError: layers of the other phase do not fit together (those of this phase are already checked).
        """
        definition = Message.of("NetParameter", name=self.name or None)
        definition.store("layer", list(self._messages))
        net = Net(definition, phase=self._state.phase, groups=self._groups, analysis=self._analysis.copy())
        other = State("TEST" if self._state.phase == "TRAIN" else "TRAIN")
        if any(active(message, other) and not active(message, self._state) for message in self._messages):
            Net(definition, phase=other.phase, like=net)
        return net

    # ---- names and groups

    @contextmanager
    def scope(self, name: str, *, prefix: bool = True, group: bool = True) -> Iterator[str]:
        """Prefix names with `name/` and put layers in the group `name` while the block runs; scopes nest.

        Within a scope, the name "." stands for the scope's own name.

        Args:
            name: of the scope.
            prefix: prefix names with it.
            group: show the layers as a group in summaries.

        >>> from protogen import NetBuilder
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
        """Return a name with the prefixes of the open scopes; "." is the innermost scope's own name."""
        return "/".join(self._scopes if name == "." and self._scopes else [*self._scopes, name])

    def unused(self, base: str) -> str:
        """Return the first of `base1`, `base2`, ... that no layer or blob of this scope has."""
        number = 1
        while self._is_taken(self.qualified(f"{base}{number}")):
            number += 1
        return f"{base}{number}"

    def unused_scope(self, base: str) -> str:
        """Return the first of `base1`, `base2`, ... that no scope was opened with here."""
        number = 1
        while self.qualified(f"{base}{number}") in self._opened:
            number += 1
        return f"{base}{number}"

    def _is_taken(self, name: str) -> bool:
        return name in self._names or name in self._inactive or name in self._analysis.shapes

    def _beside(self, blob: str, suffix: str) -> str:
        """Return `blob/suffix`, numbered if taken, as the full name of a layer that continues a blob."""
        name, number = f"{blob}/{suffix}", 1
        while self._is_taken(name):
            number += 1
            name = f"{blob}/{suffix}{number}"
        return name

    # ---- any layer

    @overload
    def layer(
        self, type: str, *bottoms: str, name: str | None = None, top: str | None = None, in_place: bool = False,
        absolute: bool = False, **fields: Any,
    ) -> str: ...  # fmt: skip

    @overload
    def layer(
        self, type: str, *bottoms: str, name: str | None = None, top: list[str] | tuple[str, ...], in_place: bool = False,
        absolute: bool = False, **fields: Any,
    ) -> str | tuple[str, ...]: ...  # fmt: skip

    def layer(
        self,
        type: str,
        *bottoms: str,
        name: str | None = None,
        top: str | Sequence[str] | None = None,
        in_place: bool = False,
        absolute: bool = False,
        **fields: Any,
    ) -> str | tuple[str, ...]:
        """Append a layer of any type.

        Args:
            type: Caffe's type name; a type that is not registered is kept as it is.
            bottoms: blobs it reads, in order.
            name: its name in this scope; by default the type with a number.
            top: name of its top, or a sequence of names, which may be empty; by default the layer's name.
            in_place: write to the first bottom instead.
            absolute: use the names as they are, without the scope's prefix.
            fields: fields of its own parameters (`num_output=32`), or of LayerParameter (`param=[...]`, `include={...}`,
                `convolution_param={...}`). A dict stands for a message; None omits a field.

        Returns:
            The top's name, or a tuple of names if there are several or none.

        Raises:
            NetError: an unknown bottom or field, or a duplicate name.
            LayerError: parameters or shapes that Caffe would reject; the message starts with the layer's name.
        """
        if name is None:
            name = self.unused(type.lower())
        name = name if absolute else self.qualified(name)
        for bottom in bottoms:
            if not isinstance(bottom, str):
                raise NetError(f"layer {name!r} ({type}): {not_a_blob(bottom)}")
        tops = self._tops(name, top, bottoms[:1] if in_place else None, absolute)
        call = self._call(type, name, fields)
        message = call.parameters.copy()
        message.set("name", name)
        if bottoms:
            message.store("bottom", list(bottoms))  # names of blobs, or `add` refuses them
        if tops:
            message.set("top", tops)
        self._append(Layer(message, self._group[-1] if self._group else ""), call)
        if tops:
            self._last = tops[0]
        return tops[0] if len(tops) == 1 else tuple(tops)

    def _call(self, type: str, name: str, fields: Mapping[str, Any]) -> _Call:
        """Return the state shared by all calls of `layer` with these fields."""
        key = type, repr(fields)  # values may be dicts and lists, which have no hash
        if key not in self._calls:
            parameters = Message.of("LayerParameter", type=type)
            values = {field: value for field, value in fields.items() if value is not None}
            try:
                set_fields(parameters, type, {**self.defaults.get(type, {}), **values})
            except ProtogenError as error:
                raise NetError(f"layer {name!r} ({type}): {error}") from None
            self._calls[key] = _Call(parameters, {})
        return self._calls[key]

    def _append(self, layer: Layer, call: _Call) -> None:
        message = layer.message
        if active(message, self._state):
            if layer.name in self._names:
                raise NetError(f"{layer.label}: a layer of this name already exists; choose another name")
            for bottom in layer.bottoms:
                if bottom in self._elsewhere and not self.has_blob(bottom):
                    raise NetError(f"{layer.label}: {self._missing(bottom)}")
            self._analysis.add(layer, known=call.set_up)
            self._names.add(layer.name)
        else:
            self._inactive.add(layer.name)
            self._elsewhere.update(dict.fromkeys(layer.tops, message))
        self._messages.append(message)
        if layer.group:
            self._groups[layer.name] = layer.group

    def _tops(self, name: str, top: str | Sequence[str] | None, in_place: Sequence[str] | None, absolute: bool) -> list[str]:
        if in_place:
            return list(in_place)
        if top is None:
            return [name]
        names = [top] if isinstance(top, str) else list(top)
        return names if absolute else [self.qualified(each) for each in names]
