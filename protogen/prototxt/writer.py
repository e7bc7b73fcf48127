"""Definitions to prototxt text, laid out by the Jinja2 templates of `templates/prototxt/`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ProtogenError
from ..schema import resource
from . import format as text_format
from .message import Message


def write(definition: Message, templates: str | Path | None = None) -> str:
    """A NetParameter or SolverParameter as prototxt.

    Args:
        definition: what to write.
        templates: a folder with templates of one's own: those it has (`net.prototxt.j2`, `layer.prototxt.j2` with the
            macro `layer_text`, `layers/<Type>.prototxt.j2`, `solver.prototxt.j2`) go before the built-in ones.

    Raises:
        ProtogenError: the folder is missing, or a template of it fails.
    """
    from jinja2 import TemplateError

    name = "solver" if definition.descriptor and definition.descriptor.name == "SolverParameter" else "net"
    environment = _environment(str(templates) if templates is not None else None)
    try:
        return environment.get_template(f"{name}.prototxt.j2").render({name: definition})
    except Exception as error:
        if templates is None and not isinstance(error, TemplateError):
            raise  # a fault of ours, not of the user's template
        raise ProtogenError(f"template {getattr(error, 'name', None) or name!r} in {templates}: {error}") from error


@lru_cache(maxsize=8)
def _environment(folder: str | None) -> Any:
    """A Jinja2 environment over the built-in templates, those of `folder` first."""
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

    if folder is not None and not Path(folder).is_dir():
        raise ProtogenError(f"{folder}: no such folder of templates")
    own = [FileSystemLoader(folder)] if folder is not None else []
    environment = Environment(
        loader=ChoiceLoader([*own, FileSystemLoader(resource("templates", "prototxt"))]),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False, auto_reload=False,
    )  # fmt: skip
    environment.filters.update(quote=text_format.quote, number=text_format.number, fields=text_format.fields)
    names = (name.removeprefix("layers/") for name in environment.list_templates() if name.startswith("layers/"))
    environment.globals["own_templates"] = {name.removesuffix(".prototxt.j2") for name in names}
    return environment
