"""Older dialects to today's, as Caffe's `UpgradeNetAsNeeded` does it (caffe/util/upgrade_proto.cpp)."""

from __future__ import annotations

import warnings

from ..errors import NetError, ProtogenError, ProtogenWarning
from .message import Message
from .upgrade_v0 import is_v0, upgrade_v0
from .upgrade_v1 import place, upgrade_v1

_INPUT_FIELDS = ("input", "input_dim", "input_shape")
_SOLVER_TYPES = {
    "SGD": "SGD", "NESTEROV": "Nesterov", "ADAGRAD": "AdaGrad", "RMSPROP": "RMSProp", "ADADELTA": "AdaDelta", "ADAM": "Adam",
}  # fmt: skip


def upgrade(definition: Message, source: str = "<text>") -> Message:
    """Bring a NetParameter up to today's dialect, in place.

    V0 layers (`layers { layer { ... } }`) and V1 layers (`layers { ... }`) become `layer`, padding layers the padding of
    the layer behind them, `input:` fields an Input layer; a BatchNorm with three `param` entries gets their rates
    set to 0, and Intel's `bn_stats_batch_size` goes to every BatchNorm. Layers keep their place in the text (`Message.origin`).

    Args:
        definition: a NetParameter as parsed; changed.
        source: name of the text in error messages.

    Returns:
        `definition`.

    Raises:
        NetError: the net mixes V0 with V1 layers, has a V0 layer that no Caffe knows, or a V1 layer with a field of today's whose
            value does not fit it; or its input fields do not fit together.

    >>> from .parser import parse
    >>> net = upgrade(parse('layers { name: "r" type: RELU bottom: "x" top: "x" blobs_lr: 1 }'))
    >>> net.layer[0].type, net.layer[0].param[0].lr_mult
    ('ReLU', 1.0)
    """
    _refuse_mixture(definition, source)
    todays = list(definition.layer) if definition.layers else []
    if is_v0(definition):
        upgrade_v0(definition, source)
    if definition.layers:
        upgrade_v1(definition, source)
    if todays:
        _merge(definition, todays, source)
    if definition.input:
        _upgrade_inputs(definition, source)
    _upgrade_batch_norm(definition)
    _spread_stats_batch_size(definition)
    return definition


def upgrade_solver(solver: Message, source: str = "<text>") -> Message:
    """Bring a SolverParameter up to today's dialect, in place: the enum `solver_type` becomes the string `type`.

    Raises:
        ProtogenError: it gives both.
    """
    if "solver_type" not in solver:
        return solver
    if "type" in solver:
        raise ProtogenError(f"{source}: has both solver_type (the old field) and type; give type only")
    solver.set("type", _SOLVER_TYPES[solver.solver_type])
    solver.remove("solver_type")
    return solver


def _refuse_mixture(definition: Message, source: str) -> None:
    if not definition.layers:
        return
    unplaced = [layer for layer in (*definition.layer, *definition.layers) if layer.origin is None]
    if definition.layer and unplaced:  # nothing says in which order they go
        _refuse(source, definition.layer[0], "layer", definition.layers[0], "layers (the old dialect)")
    old = is_v0(definition)
    if old:
        newer = next((layer for layer in definition.layers if "layer" not in layer), None)
        if newer is not None:
            _refuse(source, newer, "layers without a layer block inside", old, "layers with one (the V0 dialect)")


def _refuse(source: str, one: Message, what: str, other: Message, other_what: str) -> None:
    line = f" in line {other.origin[0]}" if other.origin else ""
    raise NetError(f"{place(one, source)}: the net mixes dialects: {what} here, {other_what}{line}; write all layers in one")


def _merge(definition: Message, todays: list[Message], source: str) -> None:
    """Put layers that were in today's dialect already among the upgraded ones, in the order of the text.

    Caffe drops them, with an error in its log, and then misses what they make: such files were made for other programs.
    """
    definition.store("layer", sorted([*definition.layer, *todays], key=lambda layer: layer.origin or (0, 0)))
    text = (
        f"{place(todays[0], source)}: the net mixes layer with layers (the old dialect); Caffe ignores the former, they are kept"
    )
    warnings.warn(text, ProtogenWarning, stacklevel=3)


def _upgrade_inputs(definition: Message, source: str) -> None:
    """`input:` with `input_shape` or `input_dim` to one layer "input" of type Input in front."""
    names, dims, shapes = list(definition.input), list(definition.input_dim), list(definition.input_shape)
    layer = Message.of("LayerParameter", name="input", type="Input", top=names)
    if shapes:  # Caffe takes them and ignores input_dim when both are there
        layer.origin = shapes[0].origin
        _check_count(source, "input_shape fields", len(names), len(shapes))
        layer.set("input_param", {"shape": shapes[: len(names)]})
    elif dims:
        _check_count(source, "input_dim values", 4 * len(names), len(dims))
        layer.set("input_param", {"shape": [{"dim": dims[4 * i : 4 * i + 4]} for i in range(len(names))]})
    for name in _INPUT_FIELDS:
        definition.remove(name)
    definition.store("layer", [layer, *definition.layer])


def _check_count(source: str, what: str, needed: int, given: int) -> None:
    if given < needed:
        raise NetError(f"{source}: its inputs need {needed} {what}, not {given}")
    if given > needed:
        warnings.warn(f"{source}: its inputs need {needed} {what}; the last {given - needed} of {given} are ignored",
                      ProtogenWarning, stacklevel=2)  # fmt: skip


def _spread_stats_batch_size(definition: Message) -> None:
    """Intel's `bn_stats_batch_size` of a net to its BatchNorm layers, whatever they say (apply_bn_stats_batch_size.cpp)."""
    if "bn_stats_batch_size" not in definition:
        return
    for layer in definition.layer:
        if layer.type == "BatchNorm":
            settings = layer.batch_norm_param
            settings.set("stats_batch_size", definition.bn_stats_batch_size)
            layer.set("batch_norm_param", settings)
    definition.remove("bn_stats_batch_size")


def _upgrade_batch_norm(definition: Message) -> None:
    """Rates of 0 for a BatchNorm that lists its three statistics as `param`: they are not trained."""
    for layer in definition.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.update({"lr_mult": 0, "decay_mult": 0})
