"""Net analysis: checks that the layers' names fit together and infers blob shapes, inputs and outputs.

Follows Caffe's `Net::Init` and `AppendTop`/`AppendBottom` (caffe/net.cpp).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import LayerError, NetError, ProtogenWarning, did_you_mean
from ..layers.base import LayerType, Shape
from ..layers.checks import check_fillers, check_size
from ..layers.registry import class_for, layer_type, unknown_type_hint
from ..layers.source import UnknownSource
from ..plugins import LAYERS, load_entry_points
from ..prototxt.inputs import with_layers
from ..prototxt.layer import Layer
from ..prototxt.message import Message
from ..prototxt.names import unused
from ..prototxt.phase import required_state
from ..prototxt.slips import misspelling
from ..rules import DEFAULT, ReadingRules
from .known_part import ends_of, is_measure, known_and_dropped
from .pooling_hint import with_pooling_hint
from .same_names import Names

MAX_LISTED = 20  # layers named in one error message


class Analysis:
    """The layers of a net, set up in order, with all blob shapes, the sources and the outputs.

    Attributes:
        layers: the layers.
        ops: each layer set up, None where its type or the shape of a bottom is unknown.
        shapes: blob shapes in the order the blobs are first made, None where unknown.
        outputs: blobs that nothing reads (see the property for nets without any).
        first_makers: the layer that first made each blob; those that write it in place later do not count.
        sources: the layers among `ops` with tops fed from outside, the net's inputs.
        rules: how to read what the prototxt leaves open.
        warned: texts of the warnings issued about layers so far; none is issued twice.
        lenient: record the errors of layers that cannot be set up in `errors` instead of raising them; `require_shapes` does.
        errors: what was recorded, by layer.
        shared_blobs: blobs shared through `param { name }`: (layer, index) of each one that another layer owns, mapped to its
            owner.
        learnable: the layers with weights, by name.
        names: tells those of one name apart.
    """

    def __init__(
        self,
        phase: str,
        input_shapes: Mapping[str, Shape],
        inactive: Mapping[str, Message] | None = None,
        rules: ReadingRules = DEFAULT,
        warned: set[str] | None = None,
        lenient: bool = False,
    ) -> None:
        self.phase, self.input_shapes, self._inactive = phase, input_shapes, inactive or {}
        self.rules, self.warned = rules, set() if warned is None else warned
        self.layers: list[Layer] = []
        self.ops: list[LayerType | None] = []
        self.lenient, self.errors = lenient, dict[Layer, LayerError]()
        self.sources: list[LayerType] = []
        self.shapes: dict[str, Shape | None] = {}
        self.makers: dict[str, Layer] = {}
        self.first_makers: dict[str, LayerType] = {}
        self.learnable: dict[str, LayerType] = {}
        self.names = Names()
        self.shared_blobs: dict[tuple[str, int], tuple[str, int]] = {}
        self._owners: dict[str, tuple[LayerType, int]] = {}
        self._unread: dict[str, None] = {}

    def rewritten(self, definition: Message) -> Message:
        """The definition with the names that layers of one name were told apart by, or itself if there are none."""
        return with_layers(definition, {key: [message] for key, message in self.names.rewritten.items()})

    @property
    def complete(self) -> bool:
        """Whether every layer is set up and every shape is known."""
        return None not in self.ops and None not in self.shapes.values()

    @property
    def outputs(self) -> list[str]:
        """Blobs that nothing reads after they were last written, in blob order.

        If there are none, the blobs that only Silence layers read: some nets (colourisation) silence their result so that
        Caffe does not print it.
        """
        return [blob for blob in self.shapes if blob in (self._unread or self._silenced())]

    def _silenced(self) -> set[str]:
        read = {blob for layer in self.layers if layer.tops for blob in layer.bottoms if blob not in layer.tops}
        fed = {top for op in self.sources for top in op.fed_tops}
        return {blob for layer in self.layers if not layer.tops for blob in layer.bottoms} - read - fed

    @property
    def inputs(self) -> list[str]:
        """Blobs fed from outside, in layer order."""
        return [top for op in self.sources for top in op.fed_tops]

    @property
    def computed(self) -> list[str]:
        """Blobs that layers compute: all but the inputs, plus the inputs that a layer overwrites in place."""
        fed = {top: op.layer for op in self.sources for top in op.fed_tops}
        return [blob for blob, maker in self.makers.items() if fed.get(blob) is not maker]

    @property
    def param_count(self) -> int:
        """Number of trained values: all learnable blobs but statistics, shared ones counted once."""
        shared = self.shared_blobs
        keys = ((op.layer.name, i, blob) for op in self.known_ops for i, blob in enumerate(op.blobs))
        return sum(blob.count for layer, i, blob in keys if blob.trainable and (layer, i) not in shared)

    def check_inputs(self) -> None:
        """Check that every input shape belongs to an input.

        Raises:
            NetError: names the first that does not.
        """
        for name in self.input_shapes:
            if name not in self.inputs:
                known = ", ".join(self.inputs) or "none"
                raise NetError(f"no input {name!r}{did_you_mean(name, self.inputs)} (inputs: {known})")

    @property
    def known_ops(self) -> list[LayerType]:
        """The layers that are set up, in order; others have an unknown type or lack the shape of a bottom."""
        return [op for op in self.ops if op is not None]

    @property
    def unknown_layers(self) -> list[Layer]:
        """Layers whose type no class defines."""
        return [layer for layer, op in zip(self.layers, self.ops) if op is None and class_for(layer) is None]

    @property
    def unknown_types(self) -> list[str]:
        """Types that no class defines; a Python layer's includes its class: "Python (module.Class)"."""
        return sorted({layer.full_type for layer in self.unknown_layers})

    def require_shapes(self, source: str = "") -> None:
        """Check that every blob's shape is known.

        Args:
            source: the file's name, for the message.

        Raises:
            NetError: it names the layers of unknown types or, if there are none, the inputs without a shape.
        """
        if self.complete:
            return
        if self.errors:
            raise next(iter(self.errors.values()))
        unknown = self.unknown_layers
        if unknown:
            kept, dropped = known_and_dropped(self, postprocess=False)
            raise NetError(*_unknown_types(unknown, self.unknown_types, ends_of(kept) if dropped else []))
        missing = [top for top in self.inputs if self.shapes[top] is None]
        example = ", ".join(f"{name!r}: (1, 3, 224, 224)" for name in missing[:1])
        raise NetError(
            f"{source + ': ' if source else ''}the shape of input {', '.join(map(repr, missing))} is not in the "
            f"file; set it with inputs={{{example}}} or --input {missing[0] if missing else 'data'}=1,3,224,224"
        )

    def known_ends(self, postprocess: bool = True, unfit: bool = True) -> list[str] | None:
        """The outputs of a net without the layers at its end that are not set up, if those are not needed to use it.

        A warning names what is left out.

        Args:
            postprocess: whether only losses and accuracies are not needed, those of unknown types by `is_measure`; otherwise no
                layer of an unknown type is.
            unfit: whether they are left out, too, if their type is known, but Caffe would reject them (of a `lenient` net) or
                the shape of their labels is unknown.

        Returns:
            The outputs; None if all layers are set up, or if one is needed that is not.
        """
        if self.complete:
            return None
        kept, dropped = known_and_dropped(self, postprocess, unfit)
        if not dropped:  # some unknown layer is needed, or only shapes of inputs are missing
            return None
        ends = ends_of(kept)
        if ends:
            self._warn(f"left out, as nothing that is kept needs them: {', '.join(layer.label for layer in dropped)}")
            for layer in dropped:
                if layer in self.errors:
                    self._warn(f"left out, although Caffe would reject it: {self.errors[layer]}")
        return ends or None

    def copy(self) -> Analysis:
        """A copy; `add` on either one does not affect the other."""
        twin = Analysis(self.phase, self.input_shapes, self._inactive, self.rules, set(self.warned))
        twin.layers, twin.ops, twin.sources = list(self.layers), list(self.ops), list(self.sources)
        twin.shapes, twin.makers, twin.first_makers = dict(self.shapes), dict(self.makers), dict(self.first_makers)
        twin.learnable, twin._unread, twin.names = dict(self.learnable), dict(self._unread), self.names.copy()
        twin.shared_blobs, twin._owners = dict(self.shared_blobs), dict(self._owners)
        return twin

    def by_rules(self, rules: ReadingRules) -> Analysis:
        """The same layers by other rules; those that then cannot be set up, or lack a shape, are None among its `ops`."""
        twin = Analysis(self.phase, self.input_shapes, self._inactive, rules, lenient=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for layer in self.layers:
                twin.add(layer)
        return twin

    def add(
        self, layer: Layer, later: Mapping[str, Layer] | None = None, known: dict[Any, LayerType] | None = None
    ) -> LayerType | None:
        """Append the next layer: check its names, set it up, and record the shapes of its tops.

        Args:
            layer: the layer.
            later: the layers that make blobs further on, by blob: they distinguish a cycle from a misspelt bottom.
            known: cache of layers of the same type and parameters that are already set up, by their shapes; the layer is
                added to it unless one of them has its shapes.

        Returns:
            The layer set up, or None if its type or the shape of a bottom is unknown.

        Raises:
            NetError, LayerError: the layer does not fit.
        """
        layer_class = class_for(layer)
        if later is not None and self._lacks_labels(layer, layer_class, later):
            return None
        self._check_bottoms(layer, later or {})
        bottoms = [self.shapes[bottom] for bottom in layer.bottoms]
        if layer_class is not None and layer_class.is_loss and not layer.tops:
            layer.tops = [unused(layer.name or layer.type, self.shapes)]  # as in Caffe: a loss layer creates its own top
        self._check_tops(layer)
        op = None
        if layer_class is not None and None not in bottoms:
            try:
                op = self._set_up(layer_class, layer, bottoms, known)
                if op.fed_tops:
                    self._feed(op)
                self._place(op)
                self._warn(op.doubt)
                self._check_in_place(op)
                self._learn(op)
            except LayerError as reason:
                error = reason if later is None else with_pooling_hint(reason, layer, self)
                if not self.lenient:
                    raise error from None
                self.errors[layer] = error
                op = None
        tops = op.tops if op is not None else [None] * len(layer.tops)
        for bottom in layer.bottoms:
            self._unread.pop(bottom, None)
        for top, shape in zip(layer.tops, tops):
            self.shapes[top] = shape
            self.makers[top] = layer
            self._unread[top] = None
        self.layers.append(layer)
        self.ops.append(op)
        return op

    def _set_up(
        self, layer_class: type[LayerType], layer: Layer, bottoms: list[Any], known: dict[Any, LayerType] | None
    ) -> LayerType:
        if known is None or not bottoms:  # a source's shapes do not follow from bottoms
            return layer_class(layer, bottoms, self.phase, self.rules)
        key = (*bottoms, len(layer.tops))
        if key in known:
            return known[key].for_layer(layer)
        op = layer_class(layer, bottoms, self.phase, self.rules)
        check_fillers(op)  # a builder's call, to be told of a mistake at once
        known[key] = op
        return op

    def _place(self, op: LayerType) -> None:
        """Resolve what depends on earlier layers (`LayerType.place`), then register the layer as the maker of its tops."""
        warning = op.place(self.first_makers)
        for top in op.layer.tops:
            self.first_makers.setdefault(top, op)
        self._warn(warning)

    def _warn(self, warning: str) -> None:
        if warning and warning not in self.warned:
            self.warned.add(warning)
            warnings.warn(warning, ProtogenWarning, stacklevel=2)

    def _feed(self, op: LayerType) -> None:
        self.sources.append(op)
        op.feed(self.input_shapes)
        for top, shape in zip(op.layer.tops, op.tops):
            if shape is not None:
                check_size(op, f"input {top!r}" if top in op.fed_tops else "top", shape)

    def _lacks_labels(self, layer: Layer, layer_class: type[LayerType] | None, later: Mapping[str, Layer]) -> bool:
        """Whether a layer is a loss or accuracy left in a deploy file, without its labels: left out, with a warning."""
        if not (layer_class.only_trains if layer_class is not None else is_measure(layer)):
            return False
        missing = [
            bottom for bottom in layer.bottoms if not any(bottom in blobs for blobs in (self.shapes, later, self._inactive))
        ]
        if not missing or any(misspelling(bottom, self.shapes) for bottom in missing):
            return False
        self._warn(f"{layer.label}: left out, because nothing makes its bottom {missing[0]!r}; it is used only in training")
        return True

    def _check_bottoms(self, layer: Layer, later: Mapping[str, Layer]) -> None:
        if not layer.type:
            raise NetError(f"{layer.label}: has no type")
        for bottom in layer.bottoms:
            if bottom not in self.shapes:
                raise NetError(f"{layer.label}: {self._unmade(bottom, later)}")

    def _check_tops(self, layer: Layer) -> None:
        for i, top in enumerate(layer.tops):
            in_place = i < len(layer.bottoms) and layer.bottoms[i] == top
            if top in self.shapes and not in_place:
                raise NetError(f"{layer.label}: its top {top!r} is already made by layer {self.makers[top].name!r}; "
                               "rename it (only a layer that reads a blob may write it, in place)")  # fmt: skip
        if "" in layer.tops:
            raise NetError(f"{layer.label}: the name of a top is empty")
        if len(layer.tops) > 1 and len(set(layer.tops)) != len(layer.tops):
            raise NetError(f"{layer.label}: two of its tops have the same name")

    @staticmethod
    def _check_in_place(op: LayerType) -> None:
        """Check that a layer that writes to its bottom keeps its shape: Caffe would reshape the blob that is being read."""
        for bottom, top, before, after in zip(op.layer.bottoms, op.layer.tops, op.bottoms, op.tops):
            if top == bottom and before != after:
                op.check(False, f"cannot work in place, as it changes the shape of {top!r} from {before} to {after}; "
                                "give its top another name")  # fmt: skip

    def _learn(self, op: LayerType) -> None:
        """Register a layer with weights, and check what Caffe checks: shared blobs have one shape.

        Caffe allows equal names, but finds weights by name: the second layer of a name gets one of its own.
        """
        if not op.blobs:
            return
        first = self.learnable.setdefault(op.layer.name, op)
        if first is not op:
            self._warn(self.names.tell_apart(first, op))
            self.learnable[op.layer.name] = op
        for layer in (op,) if first is op else (first, op):
            for i, spec in enumerate(layer.layer.message.get("param", ())[: len(layer.blobs)]):
                if spec.name:
                    self._share(layer, i, spec)

    def _share(self, op: LayerType, index: int, spec: Message) -> None:
        """Record a blob of a name, and check that its shape (PERMISSIVE: its size) is that of the first blob of this name."""
        owner, at = self._owners.setdefault(spec.name, (op, index))
        if owner is op and at == index:
            return
        blob, shared = op.blobs[index], owner.blobs[at]
        fits = blob.count == shared.count if spec.share_mode == "PERMISSIVE" else blob.shape == shared.shape
        op.check(fits, f"its {blob.name} {blob.shape} cannot share param {spec.name!r} with {shared.name} {shared.shape} "
                       f"of layer {owner.layer.name!r}: the shapes differ")  # fmt: skip
        self.shared_blobs[op.layer.name, index] = owner.layer.name, at

    def _unmade(self, bottom: str, later: Mapping[str, Layer]) -> str:
        if bottom in later:
            return (f"its bottom {bottom!r} is only made later, by layer {later[bottom].name!r}; "
                    "layers must come after the layers they read from (is this a cycle?)")  # fmt: skip
        if bottom in self._inactive:
            maker = self._inactive[bottom]
            state = f"layer {maker.name!r} does in {required_state(maker)}"
            return f"no layer before it makes its bottom {bottom!r} in phase {self.phase}; {state}"
        return f"no layer before it makes its bottom {bottom!r}{did_you_mean(bottom, self.shapes)}"


def _names(messages: Iterable[Message]) -> Iterator[str]:
    """Names of layers, and those under which they share weights."""
    for message in messages:
        yield from (message.get("name", ""), *(spec.name for spec in message.get("param", ())))


def _unknown_types(layers: Sequence[Layer], types: Sequence[str], ends: Sequence[str]) -> list[str]:
    """Error messages for layers whose type no class defines, and how to stop before them at `ends`, if there are any."""
    lines = [
        f"{layer.label}: unknown layer type {layer.full_type!r}{unknown_type_hint(layer.full_type)}"
        for layer in layers[:MAX_LISTED]
    ]
    if len(layers) > MAX_LISTED:
        lines.append(f"{len(layers) - MAX_LISTED} more layers of types {', '.join(types)}")
    lines[-1] += ' (to define a type, see protogen.register, --plugin and "Your own templates and layer types" in the README)'
    if 0 < len(ends) <= MAX_LISTED:
        from shlex import quote

        lines.append(
            f"nothing else needs these layers: to stop before them, use --outputs {quote(','.join(ends))} or outputs={list(ends)}"
        )
    return lines


def analyse(
    layers: Sequence[Layer],
    inactive: Mapping[str, Message],
    phase: str,
    input_shapes: Mapping[str, Shape],
    rules: ReadingRules = DEFAULT,
    warned: set[str] | None = None,
    lenient: bool = False,
) -> Analysis:
    """Set up `layers` in order and infer every blob's shape; tops of unknown types have unknown shapes.

    Args:
        layers: the layers of the net in this phase.
        inactive: messages of the layers that other states have, by top: an error about a missing bottom mentions them.
        phase: "TRAIN" or "TEST".
        input_shapes: shapes of inputs, by blob.
        rules, warned, lenient: see `Analysis`.

    Raises:
        NetError, LayerError: the layers do not fit together.
    """
    undefined = {name for name in {layer.full_type for layer in layers} if layer_type(name) is None}
    unknown = [layer for layer in layers if layer.full_type in undefined]
    if unknown:
        load_entry_points(LAYERS)
    read = {bottom for layer in layers for bottom in layer.bottoms}
    for layer in unknown:
        if class_for(layer) is UnknownSource:  # its shapes must be given, so only those that matter count
            layer.tops = [top for top in layer.tops if top in read] or layer.tops
    later = {top: layer for layer in layers for top in layer.tops}
    analysis = Analysis(phase, input_shapes, inactive, rules, warned, lenient)
    analysis.names = Names(_names([*(layer.message for layer in layers), *inactive.values()]))
    for layer in layers:
        analysis.add(layer, later)
    return analysis
