"""How protogen treats every field of every layer type: computed, inert (with a proof), or refused."""

from __future__ import annotations

from dataclasses import dataclass

from ..layers.base import LayerType
from ..layers.fields import COMMON, INERT, MODIFIERS
from ..layers.registry import layer_types
from ..schema import message_type

COMPUTED, REFUSED = "computed", "refused"


@dataclass(frozen=True)
class FieldUse:
    """One field of one layer type.

    Attributes:
        type: Caffe's name of the layer type; "(any)" for fields common to all layers.
        path: of the field within LayerParameter, such as "pooling_param.pool".
        use: "computed", "refused", or, for a field that affects no result, the fork, file and line that prove it.
    """

    type: str
    path: str
    use: str

    @property
    def inert(self) -> bool:
        """Whether the field affects no result."""
        return self.use not in (COMPUTED, REFUSED)


def field_uses() -> list[FieldUse]:
    """Return all schema fields of the parameters of built-in and registered layer types, by type.

    Input and data layers are omitted: protogen does not compute what they read. All Python layers are one type.

    >>> uses = {(use.type, use.path): use.use for use in field_uses()}
    >>> uses["Pooling", "pooling_param.pool"], uses["Convolution", "convolution_param.shape_offset"]
    ('computed', 'refused')
    """
    common = [FieldUse("(any)", path, COMPUTED) for path in sorted(COMMON)]
    common += [FieldUse("(any)", path, proof) for path, proof in INERT.items()]
    common += [FieldUse("(any)", path, REFUSED) for path in sorted(MODIFIERS)]
    types = [(name, cls) for name, cls in layer_types().items() if not (cls.is_input or name.startswith("Python ("))]
    return common + [use for name, cls in types for use in _uses_of(name, cls)]


def _uses_of(name: str, cls: type[LayerType]) -> list[FieldUse]:
    own, fields = cls.param_name or "", cls.known_fields()
    computed, inert = fields.computed(own), fields.inert(own)
    uses = []
    for path in _paths(sorted({path.rpartition(".")[0] for path in computed | inert.keys()} | {own} - {""}), inert):
        uses.append(FieldUse(name, path, COMPUTED if path in computed else inert.get(path, REFUSED)))
    return uses


def _paths(messages: list[str], inert: dict[str, str]) -> list[str]:
    """Return the paths of all fields of these messages, except those fields that are themselves among the messages."""
    paths = []
    for message in filter(None, messages):
        kind = message_type("LayerParameter")
        for part in message.split("."):
            kind = kind.fields[part].message_type
        paths += [f"{message}.{name}" for name in kind.fields if f"{message}.{name}" not in messages]
    return paths


def fields_page() -> str:
    """Return the table as a Markdown page, ending with a line break."""
    uses = field_uses()
    counts = [sum(use.use == kind for use in uses) for kind in (COMPUTED, REFUSED)]
    rows = [f"| `{use.type}` | `{use.path}` | {use.use} |" for use in uses]
    return "\n".join(
        [
            "# Fields of layer types",
            "",
            "How protogen treats each field that its schema has for a layer type: it computes the field; ignores it as inert,",
            "because the cited line of a fork's source shows that it affects no result; or refuses to convert a layer that sets",
            "it. This page is written by `protogen layers --fields`.",
            "",
            f"{len(uses)} fields: {counts[0]} computed, {len(uses) - sum(counts)} inert, {counts[1]} refused.",
            "",
            "| type | field | use |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
