"""Which of a layer's fields matter: each is computed, proven inert, or refused by name when the net is converted.

A type declares its `Fields`. A field that it does not declare is refused if a file sets it to anything but its default, and so is
one that is not in the schema: a fork that reads it would compute other numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import ConversionError, ProtogenWarning
from ..prototxt.message import Message

if TYPE_CHECKING:
    from .base import LayerType

MAX_LISTED = 20  # refusals in one error message
# Read by the net itself (names, rules, weights, losses), for every layer type.
COMMON = frozenset(
    ("name", "type", "bottom", "top", "phase", "loss_weight", "param", "blobs", "propagate_down", "include", "exclude")
)
# Fields of every layer that only affect where, how fast or how precisely the same numbers are computed.
INERT: Mapping[str, str] = {
    "debug": "NVIDIA/caffe src/caffe/layer.cpp:11: prints statistics",
    "cudnn_math_override": "NVIDIA/caffe src/caffe/layers/cudnn_conv_layer.cpp:588: the precision of cuDNN's sums",
    "forward_type": "NVIDIA/caffe src/caffe/net.cpp:166: the type that activations are stored in",
    "backward_type": "NVIDIA/caffe src/caffe/net.cpp:159: the type that gradients are stored in",
    "forward_math": "NVIDIA/caffe src/caffe/layer.cpp:20: the precision of the forward pass",
    "backward_math": "NVIDIA/caffe src/caffe/layer.cpp:23: the precision of the backward pass",
    "engine": "intel/caffe src/caffe/layer_factory.cpp:102: the library that computes",
    "reshape_every_iter": "lmb-freiburg/flownet2 include/caffe/layer.hpp:489: when shapes are computed again",
    "multinode": "intel/caffe src/caffe/layer.cpp:69: how work is split across machines",
    "mn_grad_compress_param": "intel/caffe src/caffe/layer.cpp:110: how gradients travel between machines",
}
# Messages of LayerParameter that change what layers of other types compute even if they are empty: Intel's layers quantise as
# soon as there is a quantization_param (mkldnn_convolution_layer.cpp:159 of intel/caffe).
MODIFIERS = frozenset(("quantization_param", "trt_param"))
_KNOWN_WHOLE = frozenset(("FillerParameter", "BlobShape"))  # see weights/fillers.py
# Messages of every layer whose fields the net reads, all that are in the schema and no others.
_RULES = ("param", "include", "exclude")


class Fields:
    """The fields of a layer type's own message (`LayerType.param_name`) that its class handles.

    Args:
        computed: names of the computed fields, separated by spaces.
        inert: fields that change no result, each with the fork, file and line that prove it.

    >>> fields = Fields("negative_slope", engine="BVLC/caffe src/caffe/layer_factory.cpp:197").also("loss_param", "normalize")
    >>> sorted(fields.computed("relu_param")), sorted(fields.inert("relu_param"))
    (['loss_param.normalize', 'relu_param.negative_slope'], ['relu_param.engine'])
    """

    def __init__(self, computed: str = "", /, **inert: str) -> None:
        self._parts: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {"": (tuple(computed.split()), inert)}

    def also(self, message: str, computed: str = "", /, **inert: str) -> Fields:
        """These fields and those of another message: one of LayerParameter's, or one inside the own message (".nms_param").

        Args:
            message: the message's name in LayerParameter, or a dot and its path within the own message.
            computed, inert: as for the own message.
        """
        twin = Fields()
        twin._parts = {**self._parts, message: (tuple(computed.split()), inert)}
        return twin

    def but(self, computed: str = "", /, **inert: str) -> Fields:
        """These with more fields of the own message, for a subclass; fields that become inert are no longer computed."""
        names, idle = self._parts[""]
        twin = Fields()
        kept = tuple(name for name in (*names, *computed.split()) if name not in inert)
        twin._parts = {**self._parts, "": (kept, {**idle, **inert})}
        return twin

    def computed(self, own: str) -> frozenset[str]:
        """Paths of the computed fields within LayerParameter; `own` is the name of the own message."""
        return frozenset(f"{_path(own, part)}.{name}" for part, (names, _) in self._parts.items() for name in names)

    def inert(self, own: str) -> dict[str, str]:
        """The proof that a field changes nothing, by the field's path within LayerParameter."""
        parts = self._parts.items()
        return {f"{_path(own, part)}.{name}": proof for part, (_, inert) in parts for name, proof in inert.items()}

    def messages(self, own: str) -> set[str]:
        """Names of the messages of LayerParameter that have computed or inert fields."""
        return {_path(own, part).partition(".")[0] for part in self._parts}


def _path(own: str, part: str) -> str:
    return own + part if part.startswith(".") or not part else part


def unknown_fields(op: LayerType) -> list[str]:
    """Paths of the fields set in a layer's prototxt that its type neither computes nor declares inert.

    A field of the schema that is set to its default counts as unset; a message of `MODIFIERS` always counts as set.
    """
    if op.is_input:
        return []  # a data layer's settings do not matter: its blobs are fed from outside
    handled, read = op.field_paths()
    paths = [path for path in _set_fields(op.layer.message, handled) if "." not in path or path.partition(".")[0] in read]
    present = [name for name in sorted(MODIFIERS) if name in op.layer.message]
    bare = [name for name in present if not any(path.startswith(name + ".") for path in paths)]
    return paths + bare + _strange_rules(op.layer.message)


def field_paths(own: str, fields: Fields) -> tuple[frozenset[str], frozenset[str]]:
    """Paths of the fields that a type handles, and the messages of LayerParameter that it reads; `own` is the type's message."""
    handled = frozenset((*COMMON, *INERT, *fields.inert(own), *fields.computed(own)))
    return handled, frozenset((*fields.messages(own), *MODIFIERS))


def _strange_rules(message: Message) -> list[str]:
    """Paths of the fields within a layer's `param`, `include` and `exclude` that are not in the schema."""
    return [
        f"{rules}.{name}"
        for rules in _RULES
        for part in message.get(rules, [])
        for name, _ in part.fields()
        if name not in part.descriptor.fields
    ]


def _set_fields(message: Message, handled: frozenset[str], prefix: str = "") -> Iterator[str]:
    """Paths of the fields of a message, nested ones included, that are not `handled` and differ from their defaults."""
    for name, value in message.fields():
        path, field = prefix + name, message.descriptor.fields.get(name) if message.descriptor else None
        if path in handled or (field is not None and field.kind != "message" and value == field.default):
            continue
        if field is None or field.kind != "message" or field.message_type.name in _KNOWN_WHOLE:
            yield path
            continue
        for part in value if field.repeated else [value]:
            yield from _set_fields(part, handled, path + ".")


def require_computed(ops: Iterable[LayerType], strict: bool | None) -> None:
    """Refuse to convert layers whose prototxt sets fields that change results but that protogen does not compute.

    Args:
        ops: the layers to convert.
        strict: as for the net; if False, these fields are ignored with a `ProtogenWarning`.

    Raises:
        ConversionError: some layer has such a field; all of them are named, up to `MAX_LISTED`.
    """
    problems = [f"{op.label}: {refusal}" for op in ops for refusal in op.refusals()]
    if not problems:
        return
    if strict is False:
        for problem in problems:
            warnings.warn(f"{problem}; it is ignored", ProtogenWarning, stacklevel=4)
        return
    more = len(problems) - MAX_LISTED
    listed = problems[:MAX_LISTED] + ([f"and {more} more"] if more > 0 else [])
    raise ConversionError(*listed, "to convert as if these fields were not there: --no-strict, or strict=False")
