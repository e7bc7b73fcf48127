"""What protogen does with every field of every layer type: computed, inert (and what shows it), or refused."""

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
        type: Caffe's name of the layer type; "(any)" for the fields that all layers have.
        path: the field within LayerParameter, such as "pooling_param.pool".
        use: "computed", "refused", or, for a field that changes no result, the fork, file and line that show it.
    """

    type: str
    path: str
    use: str

    @property
    def inert(self) -> bool:
        """Whether the field is known to change nothing."""
        return self.use not in (COMPUTED, REFUSED)


def field_uses() -> list[FieldUse]:
    """Every field that the schema has for the messages of built-in and registered layer types, by type.

    Types whose blobs are fed from outside are left out: what they read is not computed here. All Python layers are one type.

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
    """Paths of all fields of these messages; one of a message that is listed itself stands for no field of its own."""
    paths = []
    for message in filter(None, messages):
        kind = message_type("LayerParameter")
        for part in message.split("."):
            kind = kind.fields[part].message_type
        paths += [f"{message}.{name}" for name in kind.fields if f"{message}.{name}" not in messages]
    return paths


def fields_page() -> str:
    """The table as Markdown, ending with a line break."""
    uses = field_uses()
    counts = [sum(use.use == kind for use in uses) for kind in (COMPUTED, REFUSED)]
    rows = [f"| `{use.type}` | `{use.path}` | {use.use} |" for use in uses]
    return "\n".join(
        [
            "# Fields of layer types",
            "",
            "What protogen does with each field that its schema has for a layer type: it computes it; it leaves it out because",
            "it changes no result, which the line of a fork's source shows; or it refuses to convert a layer that sets it.",
            "`protogen layers --fields` writes this page.",
            "",
            f"{len(uses)} fields: {counts[0]} computed, {len(uses) - sum(counts)} inert, {counts[1]} refused.",
            "",
            "| type | field | use |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
