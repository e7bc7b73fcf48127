"""`protogen build`: every model by its defaults, train/val nets with their solvers, and names that are none."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import protogen
from protogen import NetError
from protogen.cli.model_options import argument_texts
from protogen.models import models
from tests.cli.own_model import register
from tests.commands import Run

pytestmark = pytest.mark.usefixtures("own_registry")


FAMILIES = [name for name, each in models().items() if inspect.unwrap(each.build) is each.build]  # not their members


@pytest.mark.parametrize("name", [*FAMILIES, "vgg11", "resnext50"])
def test_models_build_by_their_defaults(run: Run, name: str) -> None:
    assert run("build", name) == (0, models()[name].build().to_prototxt(), "")


@pytest.mark.parametrize("name", list(models()))
def test_every_model_explains_its_options(run: Run, name: str) -> None:
    each = models()[name]
    code, out, _ = run("build", name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: protogen build {name} [OPTIONS]\n")
    assert " ".join(each.summary.split()[:4]) in out
    assert f"protogen build {name} -o {name}.prototxt" in out
    texts = argument_texts(each.build.__doc__ or "")
    for parameter in inspect.signature(each.build).parameters:
        assert f"  --{parameter.replace('_', '-')}" in out
        assert texts[parameter], f"the docstring says nothing of {parameter}"


@pytest.mark.parametrize("name", [name for name in [*FAMILIES, "resnet18"] if models()[name].solver is not None])
def test_every_train_val_net_with_its_solver(run: Run, name: str, tmp_path: Path) -> None:
    path, solver = tmp_path / "train_val.prototxt", tmp_path / "solver.prototxt"
    assert run("build", name, "--phase", "train", "-o", path, "--solver", solver) == (0, "", "")
    train = protogen.load(path, phase="TRAIN")
    assert train.outputs
    assert all("loss" in output for output in train.outputs), "GoogLeNet has three"
    assert {"data", "label"} <= set(train.shapes)
    assert protogen.load(path).shapes["label"][0] == protogen.load(path).shapes["data"][0]
    assert solver.read_text() == protogen.prototxt.writer.write(models()[name].solver(str(path)))  # type: ignore[misc]


@pytest.mark.parametrize(
    "options", [["--size", "64x96", "--stem", "8", "--transition-pool", "AVE"], ["--preset", "official", "--phase", "train"]]
)
def test_the_shortcut_is_the_command(run: Run, options: list[str]) -> None:
    code, out, err = run("build", "peleenet", *options)
    assert (code, err) == (0, "")
    assert run("peleenet", *options) == (0, out, "")
    assert run("peleenet", *[option.replace("--stem", "--stem-channels") for option in options]) == (0, out, "")


def test_a_shortcut_calls_itself_by_its_name(run: Run) -> None:
    assert "(see 'protogen peleenet --help')" in run("peleenet", "--size", "0")[2]
    assert "(see 'protogen build peleenet --help')" in run("build", "peleenet", "--size", "0")[2]
    own, other = run("peleenet", "--help")[1], run("build", "peleenet", "--help")[1]
    assert own == other.replace("protogen build peleenet", "protogen peleenet")


def test_what_the_model_refuses_is_usage_error(run: Run, tmp_path: Path) -> None:
    def refuse(size: int = 1) -> protogen.Net:
        raise NetError(f"size must be even, not {size}")

    register(refuse)
    code, _, err = run("build", "own", "-o", tmp_path / "net.prototxt")
    assert (code, err) == (2, "Error: size must be even, not 1 (see 'protogen build own --help')\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("pelenet", "; did you mean 'peleenet'?"),
        ("PeleeNet", "; did you mean 'peleenet'?"),
        ("../lenet", "; did you mean 'lenet'?"),
        ("-", ""),
        ("", ""),
        ("registry", ""),
    ],
)
def test_unknown_names_are_one_line(run: Run, name: str, offered: str) -> None:
    code, out, err = run("build", name)
    assert (code, out) == (2, "")
    assert err == f"Error: unknown model {name!r}{offered} (`protogen models` lists all) (see 'protogen build --help')\n"


def test_a_summary_instead_of_the_net(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    assert run("build", "lenet", "--batch", "1", "-o", path) == (0, "", "")
    code, out, err = run("build", "lenet", "--batch", "1", "--summary")
    assert (code, out, err) == (0, run("summary", path)[1], "")
    assert "9 layers, 431,080 parameters, 2,293,000 multiply-accumulates" in out
    for more in (["-o", tmp_path / "other.prototxt"], ["--solver", tmp_path / "solver.prototxt"]):
        code, out, err = run("build", "lenet", "--summary", *more)
        assert (code, out) == (2, "")
        assert "--summary shows the net instead of writing it" in err
    assert list(tmp_path.iterdir()) == [path]
