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


def test_models(run: Run) -> None:
    result = run("models")
    assert result.code == 0
    assert "\npeleenet " in f"\n{result.out}"
    assert "NeurIPS 2018" in result.out
