"""`protogen build` and `protogen models`: options derived from signatures, what they refuse, and what is listed."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

import protogen
from protogen import NetBuilder, NetError
from protogen.cli import main
from protogen.cli.model_options import argument_texts
from protogen.models import model, models, registry

Run = Callable[..., tuple[int, str, str]]
got: dict[str, Any] = {}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit code, output, errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return (int(end.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    models()
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    got.clear()
    return


def net(**values: Any) -> protogen.Net:
    """A small net, and a note of the values it was called with."""
    got.update(values)
    b = NetBuilder("own")
    b.input("data", (1, 1, 2, 2))
    return b.build()


def register(build: Callable[..., protogen.Net], **options: Any) -> None:
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


# ---- every registered model


@pytest.mark.parametrize("name", list(models()))
def test_every_model_builds_by_its_defaults_and_explains_its_options(run: Run, name: str) -> None:
    each = models()[name]
    assert run("build", name) == (0, each.build().to_prototxt(), "")
    code, out, _ = run("build", name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: protogen build {name} [OPTIONS]\n")
    assert " ".join(each.summary.split()[:4]) in out
    assert f"protogen build {name} -o {name}.prototxt" in out
    texts = argument_texts(each.build.__doc__ or "")
    for parameter in inspect.signature(each.build).parameters:
        assert f"  --{parameter.replace('_', '-')}" in out
        assert texts[parameter], f"the docstring says nothing of {parameter}"


@pytest.mark.parametrize("name", [name for name, each in models().items() if each.solver is not None])
def test_every_train_val_net_with_its_solver(run: Run, name: str, tmp_path: Path) -> None:
    path, solver = tmp_path / "train_val.prototxt", tmp_path / "solver.prototxt"
    assert run("build", name, "--phase", "train", "-o", path, "--solver", solver) == (0, "", "")
    train = protogen.load(path, phase="TRAIN")
    assert train.outputs == ["loss"]
    assert train.shapes["data"][0] > 1
    assert protogen.load(path).shapes["label"][0] > 1
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


# ---- options from a signature


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


def test_what_the_model_refuses_is_usage_error(run: Run, tmp_path: Path) -> None:
    def refuse(size: int = 1) -> protogen.Net:
        raise NetError(f"size must be even, not {size}")

    register(refuse)
    code, _, err = run("build", "own", "-o", tmp_path / "net.prototxt")
    assert (code, err) == (2, "Error: size must be even, not 1 (see 'protogen build own --help')\n")
    assert list(tmp_path.iterdir()) == []


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


# ---- names and lists, completion, imports


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
    known = ", ".join(models())
    assert (code, out) == (2, "")
    assert err == f"Error: unknown model {name!r}{offered} (known: {known}) (see 'protogen build --help')\n"


def test_without_a_name_the_models_are_listed(run: Run) -> None:
    register_full()
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert run("build") == (0, out, "")
    lines = out.splitlines()
    assert len(lines) == 2 * len(models())
    assert [line.split()[0] for line in lines[::2]] == list(models())
    at = lines.index("own          A net with an option of every kind.")
    assert lines[at + 1] == "             Nobody: Own, Workshop 2030"
    assert "  own       A net with an option of every kind." in run("build", "--help")[1]


def test_models_with_their_cost_for_one_image(run: Run) -> None:
    code, out, _ = run("models", "--cost")
    assert code == 0
    assert "431,080 parameters, 2,293,000 multiply-accumulates" in out
    assert "2,802,248 parameters, 507,757,568 multiply-accumulates" in out


def test_models_for_machines(run: Run) -> None:
    lenet = {entry["name"]: entry for entry in json.loads(run("models", "--json")[1])}["lenet"]
    assert (lenet["name"], lenet["year"], sorted(lenet)) == ("lenet", 1998, ["name", "paper", "summary", "year"])
    costs = {entry["name"]: (entry["parameters"], entry["macs"]) for entry in json.loads(run("models", "--json", "--cost")[1])}
    assert (costs["lenet"], costs["peleenet"]) == ((431080, 2293000), (2802248, 507757568))


def process(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    environment["PYTHONPATH"] = str(Path(protogen.__file__).parents[1])
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize(
    ("words", "offered"), [("build pe", "peleenet"), ("build lenet --ch", "--channels"), ("peleenet --st", "--stem")]
)
def test_completion(words: str, offered: str) -> None:
    code = "import sys; sys.argv[0] = 'protogen'; from protogen.cli import main; main()"
    count = str(len(words.split()))
    out = process(code, _PROTOGEN_COMPLETE="bash_complete", COMP_WORDS=f"protogen {words}", COMP_CWORD=count)
    assert f"plain,{offered}" in out.splitlines()


def test_a_build_imports_that_model_and_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from protogen.cli import main\n"
        f"try: main(['build', 'lenet', '--phase', 'train', '-o', {str(tmp_path / 'net.prototxt')!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*sys.modules)"
    )
    loaded = set(process(code).split())
    assert "protogen.models.lenet" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "numpy", "rich", "importlib.metadata", "protogen.models.peleenet"}
