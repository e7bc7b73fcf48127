"""`--crop`: where a Crop without `crop_param` begins, in every command that reads a net."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import protogen
from protogen.cli import main
from tests.layers.test_crop import CASE


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process: exit code, output, warnings of offsets."""

    def call(*arguments: str | Path) -> tuple[int, str, list[str]]:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, [line for line in err.splitlines() if "crop" in line]

    return call


@pytest.fixture
def case(tmp_path: Path) -> Path:
    path = tmp_path / "case.prototxt"
    path.write_text(CASE)
    return path


def offsets(path: Path) -> list[list[int]]:
    crops = [op for op in protogen.load(path, crop="bvlc").ops if op.layer.type == "Crop"]
    return [op.offsets for op in crops]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command",
    [
        ("summary", "{case}"),
        ("verify", "{case}"),
        ("verify", "{case}", "--dynamic-size", "--dynamic-batch"),
        ("convert", "{case}", "-o", "{folder}/net.onnx"),
        ("convert", "{case}", "-o", "{folder}/net.pt2"),
        ("convert", "{case}", "-o", "{folder}/net.caffemodel"),
        ("convert", "{case}", "-o", "{folder}/net.prototxt"),
    ],
)
def test_each_crop_is_named_once_and_not_at_all_by_bvlcs_rule(run, case: Path, tmp_path: Path, command: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    arguments = [argument.format(case=case, folder=tmp_path) for argument in command]
    code, _, told = run(*arguments)
    assert (code, len(told)) == (0, 2)
    assert told[0].startswith(f"Warning: {case}:8:7: layer 'cut1' (Crop): has no crop_param, so it crops at offset 5, ")
    code, _, told = run(*arguments, "--crop", "bvlc")
    assert (code, told) == (0, [])


def test_what_convert_and_fold_write_states_the_offsets(run, case: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    weights, written, new = (tmp_path / name for name in ("net.caffemodel", "written.prototxt", "new.prototxt"))
    protogen.load(case, crop="bvlc").fill().save_caffemodel(weights)
    for rule, expected in (("aligned", [[5, 5], [6, 6]]), ("BVLC", [[0, 0], [0, 0]])):
        assert run("convert", case, "--crop", rule, "-o", written)[0] == 0
        assert run("fold", case, weights, "--crop", rule, "-o", new)[0] == 0
        assert offsets(written) == offsets(new) == expected
        assert run("diff", case, written, "--crop", rule.lower())[:2] == (0, "")


def test_upgrade_leaves_them_as_they_are(run, case: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, told = run("upgrade", case)
    assert (code, told) == (0, [])
    assert "crop_param" not in out


def test_an_unknown_rule_is_usage_error(run, case: Path) -> None:  # type: ignore[no-untyped-def]
    code, _, told = run("summary", case, "--crop", "centre")
    assert code == 2
    assert "'centre' is not one of 'aligned', 'bvlc'" in told[0]
