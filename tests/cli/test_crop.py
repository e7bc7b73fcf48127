"""`--crop`: where a Crop without `crop_param` begins, in every command that reads a net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import protogen
from tests.commands import Run
from tests.layers.test_crop import CASE

Told = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def told(run: Run) -> Told:
    """Run the command line in this process: exit code, output, warnings of offsets."""

    def call(*arguments: object) -> tuple[int, str, list[str]]:
        code, out, err = run(*arguments)
        return code, out, [line for line in err.splitlines() if "crop" in line]

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
def test_each_crop_is_named_once_and_not_at_all_by_bvlcs_rule(
    told: Told, case: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    arguments = [argument.format(case=case, folder=tmp_path) for argument in command]
    code, _, lines = told(*arguments)
    assert (code, len(lines)) == (0, 2)
    assert lines[0].startswith(f"Warning: {case}:8:7: layer 'cut1' (Crop): has no crop_param, so it crops at offset 5, ")
    code, _, lines = told(*arguments, "--crop", "bvlc")
    assert (code, lines) == (0, [])


def test_what_convert_and_fold_write_states_the_offsets(told: Told, case: Path, tmp_path: Path) -> None:
    weights, written, new = (tmp_path / name for name in ("net.caffemodel", "written.prototxt", "new.prototxt"))
    protogen.load(case, crop="bvlc").fill().save_caffemodel(weights)
    for rule, expected in (("aligned", [[5, 5], [6, 6]]), ("BVLC", [[0, 0], [0, 0]])):
        assert told("convert", case, "--crop", rule, "-o", written)[0] == 0
        assert told("fold", case, weights, "--crop", rule, "-o", new)[0] == 0
        assert offsets(written) == offsets(new) == expected
        assert told("diff", case, written, "--crop", rule.lower())[:2] == (0, "")


def test_upgrade_leaves_them_as_they_are(told: Told, case: Path) -> None:
    code, out, lines = told("upgrade", case)
    assert (code, lines) == (0, [])
    assert "crop_param" not in out


def test_an_unknown_rule_is_usage_error(told: Told, case: Path) -> None:
    code, _, lines = told("summary", case, "--crop", "centre")
    assert code == 2
    assert "'centre' is not one of 'aligned', 'bvlc'" in lines[0]
