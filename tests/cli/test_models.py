"""`protogen models`: what is listed, with costs, and for machines."""

from __future__ import annotations

import json

import pytest

from protogen.models import models
from tests.cli.own_model import register_full
from tests.commands import Run

pytestmark = pytest.mark.usefixtures("own_registry")


def test_without_a_name_the_models_are_listed(run: Run) -> None:
    register_full()
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert run("build") == (0, out, "")
    assert run("models", "--cost") == (0, out, ""), "an option of the time when costs took long"
    lines = out.strip("\n").splitlines()
    assert lines[0].split() == ["model", "year", "parameters", "MACs", "paper"]
    assert [line.split()[0] for line in lines[2:]] == list(models())
    assert [line.split() for line in lines if line.startswith(" own")] == [
        ["own", "2030", "0", "0", "Nobody:", "Own,", "Workshop"]
    ]
    assert "  own " in run("build", "--help")[1]


def test_models_with_their_cost_for_one_image(run: Run) -> None:
    lines = {line.split()[0]: line.split() for line in run("models")[1].splitlines() if line}
    assert lines["lenet"][1:4] == ["1998", "431,080", "2,293,000"]
    assert lines["peleenet"][1:4] == ["2018", "2,802,248", "507,757,568"]


def test_models_for_machines(run: Run) -> None:
    lenet = {entry["name"]: entry for entry in json.loads(run("models", "--json")[1])}["lenet"]
    assert lenet == {
        "name": "lenet", "summary": models()["lenet"].summary, "paper": models()["lenet"].paper, "year": 1998,
        "parameters": 431080, "macs": 2293000,
    }  # fmt: skip


def test_models(run: Run) -> None:
    result = run("models")
    assert result.code == 0
    assert "\n peleenet " in result.out
    assert "Pelee, NeurIPS" in result.out
