"""Network in Network: the authors' file layer for layer."""

from __future__ import annotations

from protogen.models import nin
from tests.corpus import needs_corpus
from tests.models.published import assert_published


@needs_corpus
def test_it_is_the_authors() -> None:
    assert_published(nin(phase="TRAIN"), "ethereon+netscope/presets/nin.prototxt", trains=True)


def test_the_average_is_of_the_whole_image_at_other_sizes() -> None:
    assert nin(320, classes=7).shapes["pool4"] == (1, 7, 1, 1)
