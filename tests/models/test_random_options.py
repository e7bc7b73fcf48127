"""Random options of every family: a model builds, and reads back as it was built, or says in one sentence why it cannot."""

from __future__ import annotations

import inspect
import random
from typing import Any

import pytest

import protogen
from protogen import NetError
from protogen.models import Model, models

SIZES = (1, 8, 32, 33, 64, 96, 188, (32, 64), (65, 33), 0, (8, 8, 8))
WHOLE, PARTS = (1, 2, 3, 4, 7, 8, 32, 0, -1), (0.25, 0.5, 1.0, 1.3, 2.0, 0.0, float("nan"))


def families() -> list[str]:
    """The models with all options: members of families lack some."""
    return [name for name, model in models().items() if inspect.unwrap(model.build).__name__ == name]


def value(model: Model, parameter: inspect.Parameter, draw: random.Random) -> Any:
    """A random value of an option, sometimes one that cannot be."""
    name, default = parameter.name, parameter.default
    if name in model.choices:
        return draw.choice(list(model.choices[name]))
    if name == "size":
        return draw.choice(SIZES)
    if name == "phase":
        return draw.choice(("TEST", "TRAIN"))
    if isinstance(default, bool):
        return draw.random() < 0.5
    if isinstance(default, int):
        return draw.choice(WHOLE)
    if isinstance(default, float):
        return draw.choice(PARTS)
    if isinstance(default, tuple):
        return tuple(draw.choice(WHOLE[:5]) for _ in range(len(default) + draw.choice((0, 0, 0, 1))))
    return default


def options(model: Model, draw: random.Random) -> dict[str, Any]:
    """Some of the options; without `size`, the net would be as large as published."""
    parameters = inspect.signature(model.build).parameters.values()
    return {each.name: value(model, each, draw) for each in parameters if each.name == "size" or draw.random() < 0.4}


@pytest.mark.parametrize("name", families())
def test_it_builds_or_says_why_not(name: str) -> None:
    model, refused = models()[name], 0
    for seed in range(12):
        chosen = options(model, random.Random(f"{name} {seed}"))
        try:
            net = model.build(**chosen)
        except NetError as error:
            assert str(error), chosen
            assert "\n" not in str(error), chosen
            refused += 1
            continue
        again = protogen.loads(net.to_prototxt(), phase=net.phase)
        assert (again.shapes, again.param_shapes, again.macs) == (net.shapes, net.param_shapes, net.macs), chosen
    assert refused > 0
