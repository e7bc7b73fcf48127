"""Overlaps and codes of boxes: hand-made values where the forks' arithmetic differs."""

from __future__ import annotations

import math

import pytest
import torch

from protogen.layers.detection.boxes import areas, decode, encode, iou

BOX, SHIFTED, APART = [0.0, 0.0, 4.0, 2.0], [2.0, 0.0, 6.0, 2.0], [10.0, 0.0, 12.0, 2.0]
EMPTY, TURNED = [1.0, 1.0, 1.0, 1.0], [4.0, 2.0, 0.0, 0.0]


def overlap(a: list[float], b: list[float], **rules: object) -> float:
    return iou(torch.tensor(a), torch.tensor(b), **rules).item()


def test_edges_and_last_pixels_are_counted_as_each_fork_counts_them() -> None:
    assert overlap(BOX, SHIFTED) == pytest.approx(4 / 12)
    assert overlap(BOX, SHIFTED, pixel=1.0, least=-1.0) == pytest.approx(9 / 21)  # 5 x 3 pixels each, 3 x 3 shared
    assert overlap(BOX, APART) == 0
    beside = [5.0, 0.0, 9.0, 2.0]  # begins a pixel behind the last of BOX
    assert overlap(BOX, beside, pixel=1.0, least=-1.0) == 0
    assert overlap(BOX, beside, pixel=1.0) == 0
    half = [4.5, 0.0, 9.0, 2.0]  # begins within the last pixel: py-faster-rcnn takes what is left of it, Caffe's nms.cpp nothing
    assert overlap(BOX, half, pixel=1.0, least=-1.0) == pytest.approx(1.5 / (15 + 16.5 - 1.5))
    assert overlap(BOX, half, pixel=1.0) == 0


def test_only_ssds_overlap_of_empty_boxes_is_a_number() -> None:
    assert math.isnan(overlap(EMPTY, EMPTY))
    assert overlap(EMPTY, EMPTY, guarded=True) == 0
    assert overlap(BOX, TURNED, guarded=True) == overlap(BOX, TURNED) == 0


def test_boxes_turned_inside_out_have_no_area_unless_signed() -> None:
    boxes = torch.tensor([BOX, TURNED, [4.0, 0.0, 0.0, 2.0]])
    assert areas(boxes).tolist() == [8, 0, 0]
    assert areas(boxes, signed=True).tolist() == [8, 8, -8]


@pytest.mark.parametrize(
    ("code", "offsets"),
    [
        ("CORNER", [1.0, 0.0, 1.0, 0.0]),
        ("CORNER_SIZE", [0.25, 0.0, 0.25, 0.0]),
        ("CENTER_SIZE", [0.25, 0.0, math.log(1.0), 0.0]),
    ],
)
def test_each_code_says_by_how_much_a_prior_is_moved(code: str, offsets: list[float]) -> None:
    prior, box, variances = torch.tensor(BOX), torch.tensor([1.0, 0.0, 5.0, 2.0]), torch.tensor([0.5, 0.5, 0.25, 0.25])
    assert encode(box, prior, None, code).tolist() == pytest.approx(offsets)
    scaled = encode(box, prior, variances, code)
    assert torch.equal(scaled * variances, torch.tensor(offsets))
    assert torch.equal(decode(scaled, prior, variances, code), box)
