"""Options of a model's command: derived from its signature, explained by its docstring, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

import protogen
from protogen.cli.model_options import argument_texts
from tests.cli.own_model import DEFAULTS, got, net, register, register_full
from tests.commands import Run

pytestmark = pytest.mark.usefixtures("own_registry")


def test_defaults_are_the_signatures(run: Run) -> None:
    register_full()
    assert run("build", "own")[0] == 0
    assert got == DEFAULTS
    assert [type(got[name]) for name in ("deep_layers", "width", "depth", "batch_norm")] == [int, float, int, bool]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        (["--size", "5"], {"size": (5, 5)}),
        (["--size", "5x6"], {"size": (5, 6)}),
        (["--deep-layers", "7"], {"deep_layers": 7}),
        (["--deep", "7"], {"deep_layers": 7}),
        (["--width", "0.25"], {"width": 0.25}),
        (["--name", "N"], {"name": "N"}),
        (["--text", ""], {"text": ""}),
        (["--blocks", "3,4,8,6", "--spare", "9"], {"blocks": (3, 4, 8, 6), "spare": (9,)}),
        (["--depth", "34"], {"depth": 34}),
        (["--pool", "ave"], {"pool": "AVE"}),
        (["--pool", "MAX", "--style", "old"], {"pool": "MAX", "style": "Old"}),
        (["--no-batch-norm", "--se"], {"batch_norm": False, "se": True}),
        (["--batch-norm", "--no-se"], {"batch_norm": True, "se": False}),
    ],
)
def test_values_reach_the_function_as_it_takes_them(run: Run, options: list[str], values: dict[str, Any]) -> None:
    register_full()
    assert run("build", "own", *options)[0] == 0
    assert got == {**DEFAULTS, **values}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "5x"], "'5x' is not a size"),
        (["--deep-layers", "1.5"], "'--deep-layers' / '--deep': '1.5' is not a valid integer"),
        (["--width", "wide"], "'wide' is not a valid float"),
        (["--blocks", "1,-2"], "'1,-2' is not a list of whole numbers"),
        (["--depth", "50"], "'50' is not one of '18', '34'"),
        (["--pool", "min"], "'min' is not one of 'max', 'ave'"),
        (["--style", "none"], "'none' is not one of 'new', 'old'"),
        (["--sized", "5"], "--sized"),
        (["--phase", "train"], "--phase"),
        (["--solver", "s"], "--solver"),
        (["more"], "more"),
    ],
)
def test_wrong_values_are_one_line(run: Run, options: list[str], message: str) -> None:
    register_full()
    code, out, err = run("build", "own", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert got == {}


def test_help_is_the_docstrings(run: Run) -> None:
    register_full()
    out = " ".join(run("build", "own", "--help")[1].split())
    for text in (
        "A net with an option of every kind. It has more to say here. Nobody: Own, Workshop 2030",
        "--size N|HxW Of the image, in pixels. [default: 3x4]",
        "--deep-layers, --deep INTEGER Layers down there. [default: 2]",
        "--width FLOAT Shared words. [default: 1.5]",
        "--name TEXT --text TEXT Shared words. [default: t]",
        "--blocks N,N,... [default: 1,2]",
        "--depth [18|34] [default: 18]",
        '--pool [max|ave] "MAX" or "AVE".',
        "--style [new|old] [default: new]",
        "--batch-norm / --no-batch-norm [default: batch-norm]",
    ):
        assert text in out
    assert "never" not in out and "--solver" not in out


def test_a_value_without_default_must_be_given(run: Run) -> None:
    def needs(classes: int) -> protogen.Net:
        return net(classes=classes)

    register(needs)
    assert run("build", "own")[::2] == (2, "Error: Missing option '--classes'. (see 'protogen build own --help')\n")
    assert run("build", "own", "--classes", "3")[0] == 0
    assert got == {"classes": 3}


def test_names_that_python_or_the_command_has(run: Run) -> None:
    def odd(model: int = 1, lambda_: int = 2, options: int = 3) -> protogen.Net:
        return net(model=model, lambda_=lambda_, options=options)

    register(odd)
    assert run("build", "own", "--model", "4", "--lambda", "5", "--options", "6")[0] == 0
    assert got == {"model": 4, "lambda_": 5, "options": 6}


def variadic(*sizes: int) -> protogen.Net:
    return net()


def output(output: str = "") -> protogen.Net:
    return net()


def untyped(size=3) -> protogen.Net:  # type: ignore[no-untyped-def]
    return net()


def mapping(sizes: Mapping[str, int] | None = None) -> protogen.Net:
    return net()


def either(size: int | str = 1) -> protogen.Net:
    return net()


def unreadable(size: Nowhere = 1) -> protogen.Net:  # type: ignore[name-defined]  # noqa: F821
    return net()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (variadic, "parameter 'sizes' cannot be passed by name"),
        (output, "parameter 'output' has the name of an option of every model's command"),
        (untyped, "parameter 'size' has no annotation; supported are bool"),
        (mapping, "parameter 'sizes' has the unsupported annotation collections.abc.Mapping[str, int] | None; supported are"),
        (either, "parameter 'size' has the unsupported annotation int | str"),
        (unreadable, "parameter 'size' has an annotation that cannot be evaluated: name 'Nowhere' is not defined"),
    ],
)
def test_signatures_that_no_command_line_can_give(run: Run, build: Callable[..., protogen.Net], message: str) -> None:
    """They are refused by name; the other commands go on."""
    register(build)
    code, _, err = run("build", "own")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("Error: model 'own': its ")
    assert message in err
    assert run("models")[0] == run("build")[0] == run("build", "lenet")[0] == 0


def test_a_result_annotated_for_type_checkers_only(run: Run) -> None:
    def own(size: int = 1) -> OnlyForCheckers:  # type: ignore[name-defined]  # noqa: F821
        return net(size=size)

    register(own)
    assert run("build", "own", "--size", "2")[0] == 0
    assert got == {"size": 2}


@pytest.mark.parametrize(
    ("doc", "texts"),
    [
        ("", {}),
        ("Only a summary.", {}),
        ("S.\n\n    Args:\n        a: one.\n        b (int): two,\n            and more.\n\n    Returns:\n        x: no.\n",
         {"a": "one.", "b": "two, and more."}),
        ("S.\n\nArgs:\n  a, b: both.\n  c:\n      below.\n>>> d: no", {"a": "both.", "b": "both.", "c": "below."}),
    ],
)  # fmt: skip
def test_docstrings(doc: str, texts: dict[str, str]) -> None:
    assert argument_texts(doc) == texts
