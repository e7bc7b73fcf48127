"""A model of a test's own, with an option of every kind, for `protogen build`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import protogen
from protogen import NetBuilder
from protogen.models import model

got: dict[str, Any] = {}  # what the model was last called with


def net(**values: Any) -> protogen.Net:
    """A small net, and a note of the values it was called with."""
    got.update(values)
    b = NetBuilder("own")
    b.input("data", (1, 1, 2, 2))
    return b.build()


def register(build: Callable[..., protogen.Net], **options: Any) -> None:
    """Put a function among the models as "own", until the test is over (the fixture `own_registry`)."""
    got.clear()
    build.__name__ = "own"
    model(paper="Nobody: Own, Workshop", year=2030, **options)(build)


def full(
    size: int | Sequence[int] = (3, 4),
    *,
    deep_layers: int = 2,
    width: float = 1.5,
    name: str | None = None,
    text: str = "t",
    blocks: Sequence[int] = (1, 2),
    spare: Sequence[int] = (),
    depth: Literal[18, 34] = 18,
    pool: Literal["MAX", "AVE"] | None = None,
    style: str = "New",
    batch_norm: bool = True,
    se: bool = False,
) -> protogen.Net:
    """A net with an option of every kind.

    It has more to say here.

    Args:
        size: of the image,
            in pixels.
        deep_layers: layers down there.
        width, text: shared words.
        pool: "MAX" or "AVE".

    Raises:
        NetError: never.
    """
    return net(**locals())


DEFAULTS = {
    "size": (3, 4), "deep_layers": 2, "width": 1.5, "name": None, "text": "t", "blocks": (1, 2), "spare": (), "depth": 18,
    "pool": None, "style": "New", "batch_norm": True, "se": False,
}  # fmt: skip


def register_full() -> None:
    register(full, choices={"style": ("New", "Old")}, options={"deep_layers": "deep"})
