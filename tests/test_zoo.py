"""The zoo's page, the published figures it cites, and each kind of model at other sizes, classes and phases."""

from __future__ import annotations

import pytest

from protogen.models import models
from tests.models.everything import FAMILIES, check_building, check_training
from tests.zoo import FIGURES, PAGE, Figure, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_model_has_a_row() -> None:
    assert {figure.model for figure in FIGURES} == set(models())


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.model}: {figure.source}")
def test_published_figures_are_ours_unless_a_note_says_why_not(figure: Figure) -> None:
    assert figure.agrees is not bool(figure.note)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_each_kind_builds_at_three_sizes_and_for_training(name: str) -> None:
    """All of them, and converted and trained, too: `python -m tests.models.everything`."""
    check_building(name)


def test_a_small_one_trains() -> None:
    check_training("squeezenet1_1", size=65)
