"""`protogen peleenet`: its options, its solver, templates of one's own, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

import protogen
from tests.commands import ROOT, Run


def test_peleenet_to_stdout_and_to_a_file(run: Run, tmp_path: Path) -> None:
    printed = run("peleenet")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == protogen.models.peleenet().to_prototxt()
    path = tmp_path / "net.prototxt"
    result = run("peleenet", "--size", "224", "-o", path)
    assert (result.code, result.out) == (0, "")
    assert path.read_text() == printed.out


def test_peleenet_options(run: Run) -> None:
    result = run(
        "peleenet",
        "--size",
        "96x64",
        "--batch",
        "2",
        "--classes",
        "7",
        "--growth-rate",
        "16",
        "--blocks",
        "2,1",
        "--bottleneck",
        "1,2",
        "--stem",
        "8",
        "--transition-pool",
        "ave",
        "--name",
        "Tiny",
        "--preset",
        "official",
    )
    expected = protogen.models.peleenet(
        (96, 64),
        batch=2,
        classes=7,
        growth_rate=16,
        blocks=(2, 1),
        bottleneck=(1, 2),
        stem_channels=8,
        transition_pool="AVE",
        name="Tiny",
        preset="official",
    )
    assert result.out == expected.to_prototxt()


def test_peleenet_for_training_with_a_solver(run: Run, tmp_path: Path) -> None:
    net, solver = tmp_path / "train_val.prototxt", tmp_path / "solver.prototxt"
    assert run("peleenet", "--phase", "train", "-o", net, "--solver", solver).code == 0
    assert protogen.load(net, phase="TRAIN").outputs == ["loss"]
    assert f'net: "{net}"' in solver.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "0"], "positive"),
        (["--size", "big"], "'big' is not a size"),
        (["--size", "224x"], "not a size"),
        (["--size", "1x2x3"], "not a size"),
        (["--batch", "-1"], "positive"),
        (["--batch", "x"], "not a valid integer"),
        (["--classes", "0"], "positive"),
        (["--growth-rate", "3"], "even"),
        (["--blocks", "3,4"], "do not match"),
        (["--blocks", "3,a"], "not a list of whole numbers"),
        (["--blocks", ""], "not a list of whole numbers"),
        (["--bottleneck", "0,0,0,0"], "positive"),
        (["--stem", "7"], "even"),
        (["--transition-pool", "min"], "'min' is not one of"),
        (["--preset", "other"], "'other' is not one of"),
        (["--phase", "val"], "'val' is not one of"),
        (["--phase", "train", "--size", "10x20"], "squares"),
        (["--solver", "s.prototxt"], "--solver needs --phase train"),
        (["--nonsense"], "--nonsense"),
        (["extra"], "extra"),
    ],
)
def test_peleenet_with_bad_values(
    run: Run, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("peleenet", "-o", "net.prototxt", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_templates_of_ones_own(run: Run, tmp_path: Path) -> None:
    folder = ROOT / "templates" / "prototxt"
    own = tmp_path / "own"
    own.mkdir()
    for template in folder.iterdir():
        if template.name.startswith("net"):
            (own / template.name).write_text("# made here\n" + template.read_text())
    assert run("peleenet", "--templates", own).out.startswith("# made here\n")
    assert run("peleenet", "--templates", tmp_path / "missing").code in (1, 2)
