"""Upgrade older dialects to today's, as Caffe's `UpgradeNetAsNeeded` does (caffe/util/upgrade_proto.cpp)."""

from __future__ import annotations

import warnings

from ..errors import NetError, ProtogenError, ProtogenWarning
from .message import Message
from .upgrade_v0 import first_v0_layer, upgrade_v0
from .upgrade_v1 import place, upgrade_v1

_INPUT_FIELDS = ("input", "input_dim", "input_shape")
_SOLVER_TYPES = {
    "SGD": "SGD", "NESTEROV": "Nesterov", "ADAGRAD": "AdaGrad", "RMSPROP": "RMSProp", "ADADELTA": "AdaDelta", "ADAM": "Adam",
}  # fmt: skip


def upgrade(definition: Message, source: str = "<text>") -> Message:
    """Upgrade a NetParameter to today's dialect, in place.

    V0 layers (`layers { layer { ... } }`) and V1 layers (`layers { ... }`) become `layer`; padding layers become the padding
    of the layers that read them; `input:` fields become an Input layer; the rates of a BatchNorm with three `param` entries
    are set to 0; and Intel's `bn_stats_batch_size` is copied to every BatchNorm. Layers keep their position in the text
    (`Message.origin`).

    Args:
        definition: a NetParameter as parsed; modified.
        source: name of the text in error messages.

    Returns:
        `definition`.

    Raises:
        NetError: the net mixes V0 and V1 layers, has an unknown V0 layer type, or a V1 layer with an invalid value in a field
            of today's schema; or its input fields do not match.

    >>> from .parser import parse
    >>> net = upgrade(parse('layers { name: "r" type: RELU bottom: "x" top: "x" blobs_lr: 1 }'))
    >>> net.layer[0].type, net.layer[0].param[0].lr_mult
    ('ReLU', 1.0)
    """
    _refuse_mixture(definition, source)
    todays = list(definition.layer) if definition.layers else []
    if first_v0_layer(definition):
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
    """Upgrade a SolverParameter to today's dialect, in place: the enum `solver_type` becomes the string `type`.

    Raises:
        ProtogenError: the solver has both fields.
    """
    if "solver_type" not in solver:
        return solver
    if "type" in solver:
        raise ProtogenError(f"{source}: has both type and solver_type (its old form); keep only type")
    solver.set("type", _SOLVER_TYPES[solver.solver_type])
    solver.remove("solver_type")
    return solver


def _refuse_mixture(definition: Message, source: str) -> None:
    if not definition.layers:
        return
    unplaced = [layer for layer in (*definition.layer, *definition.layers) if layer.origin is None]
    if definition.layer and unplaced:  # their order is unknown
        _refuse(source, definition.layer[0], "layer", definition.layers[0], "layers (the old dialect)")
    old = first_v0_layer(definition)
    if old:
        newer = next((layer for layer in definition.layers if "layer" not in layer), None)
        if newer is not None:
            _refuse(source, newer, "layers without a layer block inside", old, "layers with one (the V0 dialect)")


def _refuse(source: str, one: Message, what: str, other: Message, other_what: str) -> None:
    line = f" on line {other.origin[0]}" if other.origin else ""
    raise NetError(f"{place(one, source)}: the net mixes dialects: {what} here, {other_what}{line}; use one for all layers")


def _merge(definition: Message, todays: list[Message], source: str) -> None:
    """Merge layers that already were in today's dialect with the upgraded ones, in the order of the text.

    Caffe drops them, logs an error, and then lacks their tops: such files were written for other programs.
    """
    definition.store("layer", sorted([*definition.layer, *todays], key=lambda layer: layer.origin or (0, 0)))
    text = f"{place(todays[0], source)}: the net mixes layer with layers (the old dialect); Caffe drops the former, they are kept"
    warnings.warn(text, ProtogenWarning, stacklevel=3)


def _upgrade_inputs(definition: Message, source: str) -> None:
    """Replace `input:` with `input_shape` or `input_dim` by an Input layer "input" in front."""
    names, dims, shapes = list(definition.input), list(definition.input_dim), list(definition.input_shape)
    if (
        not shapes and not dims
    ):  # as in Caffe, such a name makes no layer; one that no layer makes either is an input all the same
        made = {top for layer in definition.layer if not layer.bottom for top in layer.top}
        names = [name for name in names if name not in made]
    layer = Message.of("LayerParameter", name="input", type="Input", top=names)
    if shapes:  # Caffe ignores input_dim if both are present
        layer.origin = shapes[0].origin
        _check_count(source, "input_shape fields", len(names), len(shapes))
        layer.set("input_param", {"shape": shapes[: len(names)]})
    elif dims:
        _check_count(source, "input_dim values", 4 * len(names), len(dims))
        layer.set("input_param", {"shape": [{"dim": dims[4 * i : 4 * i + 4]} for i in range(len(names))]})
    for name in _INPUT_FIELDS:
        definition.remove(name)
    if names:
        definition.store("layer", [layer, *definition.layer])


def _check_count(source: str, what: str, needed: int, count: int) -> None:
    if count < needed:
        raise NetError(f"{source}: the inputs need {needed} {what}, not {count}")
    if count > needed:
        warnings.warn(f"{source}: the inputs need {needed} {what}; the last {count - needed} of {count} are ignored",
                      ProtogenWarning, stacklevel=2)  # fmt: skip


def _spread_stats_batch_size(definition: Message) -> None:
    """Move Intel's `bn_stats_batch_size` from the net to all its BatchNorm layers (apply_bn_stats_batch_size.cpp)."""
    if "bn_stats_batch_size" not in definition:
        return
    for layer in definition.layer:
        if layer.type == "BatchNorm":
            settings = layer.batch_norm_param
            settings.set("stats_batch_size", definition.bn_stats_batch_size)
            layer.set("batch_norm_param", settings)
    definition.remove("bn_stats_batch_size")


def _upgrade_batch_norm(definition: Message) -> None:
    """Set the rates of a BatchNorm with three `param` entries to 0: its statistics are not trained."""
    for layer in definition.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.update({"lr_mult": 0, "decay_mult": 0})
