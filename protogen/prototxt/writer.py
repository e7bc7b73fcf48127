"""Write definitions as prototxt, using the Jinja2 templates of `templates/prototxt/`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ProtogenError
from ..schema import resource
from . import format as text_format
from .message import Message

_SETTERS = {"append", "remove", "set", "store", "update"}


def write(definition: Message, templates: str | Path | None = None) -> str:
    """Return a NetParameter or SolverParameter as prototxt.

    Args:
        definition: the message to write.
        templates: a folder whose templates (`net.prototxt.j2`, `layer.prototxt.j2` with the macro `layer_text`,
            `layers/<Type>.prototxt.j2`, `solver.prototxt.j2`) take precedence over the built-in ones. They run in Jinja's
            sandbox: a template can read the definition, but has no access to the rest of the program.

    Raises:
        ProtogenError: the folder is missing, or a template fails or tries to leave the sandbox; the message has file:line.
    """
    name = "solver" if definition.descriptor and definition.descriptor.name == "SolverParameter" else "net"
    folder = os.fspath(templates) if templates is not None else None
    template = f"{name}.prototxt.j2"
    environment = _environment(folder)
    try:
        return environment.get_template(template).render({name: definition})
    except Exception as error:
        if folder is None:
            raise  # a bug of protogen, not of a user's template
        place = _place(error, folder) or os.path.join(folder, template)
        raise ProtogenError(f"{place}: the template fails: {_reason(error)}") from error


def _place(error: Exception, folder: str) -> str:
    """Return file:line of the innermost user's template in an error's traceback, "" if there is none."""
    from traceback import walk_tb

    line, file = getattr(error, "lineno", None), getattr(error, "filename", None)  # a syntax error's
    if line and file:
        return f"{file}:{line}"
    frames = [(frame.f_code.co_filename, number) for frame, number in walk_tb(error.__traceback__)]
    return next((f"{file}:{number}" for file, number in reversed(frames) if file.startswith(folder)), "")


def _reason(error: Exception) -> str:
    from jinja2 import TemplateNotFound

    if isinstance(error, TemplateNotFound):
        return f"template {error} not found"
    return " ".join(str(error).split()) or type(error).__name__


@lru_cache(maxsize=8)
def _environment(folder: str | None) -> Any:
    """Return a Jinja2 environment with the templates of `folder`, then the built-in ones."""
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

    kind = Environment if folder is None else _sandbox()
    if folder is not None and not Path(folder).is_dir():
        raise ProtogenError(f"{folder}: no such template folder")
    own = [FileSystemLoader(folder)] if folder is not None else []
    environment = kind(
        loader=ChoiceLoader([*own, FileSystemLoader(resource("templates", "prototxt"))]),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False, auto_reload=False,
    )  # fmt: skip
    environment.filters.update(quote=text_format.quote, number=text_format.number, fields=text_format.fields)
    names = (name.removeprefix("layers/") for name in environment.list_templates() if name.startswith("layers/"))
    environment.globals["own_templates"] = {name.removesuffix(".prototxt.j2") for name in names}
    return environment


def _sandbox() -> Any:
    """Return the environment class for users' templates: without access to the program or to setters of messages."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return super().is_safe_attribute(obj, attr, value) and not (isinstance(obj, Message) and attr in _SETTERS)

    return Sandbox
