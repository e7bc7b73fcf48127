"""RegionLoss against a plain loop over cells, anchors and boxes."""

from __future__ import annotations

import pytest

from tests.layers.detection.plain_yolo import (
    case,
    check,
    plain_region,
    region_text,
    run,
)  # fmt: skip  # fmt: skip

REGION_SETTINGS = [
    {},
    {"rescore": 0},
    {"bias_match": 0},
    {"object": 5.0, "noobject": 1.0, "coord": 1.0, "thresh": 0.6},
    {"thresh": 0.0, "class": 2.5, "bias_match": 0, "rescore": 0},
]


@pytest.mark.parametrize("settings", REGION_SETTINGS, ids=str)
def test_region_loss_is_the_plain_loop(settings: dict) -> None:
    for seed in range(3):
        x, label = case(2, 5, seed)
        check(run(region_text(**settings), x, label), plain_region(x, label, **settings))
