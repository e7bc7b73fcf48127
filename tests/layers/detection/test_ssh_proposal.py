"""SSH's ProposalLayer against its Python, restated step by step (SSH/layers/proposal_layer.py, lib/utils/bbox_transform.py)."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.nets import net_of
from tests.running import NEWEST, Arrays, by_onnx, by_torch

# Around (3.5, 3.5) for cells of 8 pixels: 8x8 and 32x32.
ANCHORS = np.float32([[0, 0, 7, 7], [-12, -12, 19, 19]])
HEIGHT, WIDTH = 24, 26


def ssh(text: str = "{'feat_stride': 8, 'scales': [1, 4], 'ratios': [1,], 'base_size': 8}", phase: str = "TEST") -> protogen.Net:
    param = f'module: "SSH.layers.proposal_layer" layer: "ProposalLayer" param_str: "{text}"'
    layer = f'type: "Python" bottom: "a" bottom: "b" bottom: "c" top: "boxes" top: "scores" python_param {{ {param} }}'
    return net_of(layer, (1, 4, HEIGHT, WIDTH), (1, 8, HEIGHT, WIDTH), (1, 3), phase=phase)


def values() -> Arrays:
    rng = np.random.default_rng(0)
    scores = rng.permutation(4 * HEIGHT * WIDTH).reshape(1, 4, HEIGHT, WIDTH) / (4.0 * HEIGHT * WIDTH)
    offsets = rng.standard_normal((1, 8, HEIGHT, WIDTH)) * 0.5
    return {"a": scores.astype(np.float32), "b": offsets.astype(np.float32), "c": np.float32([[180, 200, 1.5]])}


def plain(given: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """All boxes, clipped to the image, the 1000 best of them in descending order."""
    rows = []
    for y, x, a in np.ndindex(HEIGHT, WIDTH, len(ANCHORS)):
        anchor = ANCHORS[a] + np.float32([x, y, x, y]) * 8
        size = anchor[2:] - anchor[:2] + 1
        offset = given["b"][0, 4 * a : 4 * a + 4, y, x]
        center = offset[:2] * size + anchor[:2] + 0.5 * size
        half = 0.5 * np.exp(offset[2:]) * size
        box = np.concatenate([center - half, center + half]).clip(0, [199, 179, 199, 179])
        rows.append([given["a"][0, 2 + a, y, x], 0, *box])
    best = np.array(sorted(rows, reverse=True)[:1000], np.float32)
    return best[:, 1:], best[:, :1].reshape(-1, 1, 1, 1)


def test_the_best_boxes_of_a_module_are_returned_whether_or_not_they_overlap() -> None:
    net, given = ssh(), values()
    expected = plain(given)
    for made in (by_torch(net, given), *(by_onnx(net, given, opset=opset) for opset in (11, 17, NEWEST))):
        np.testing.assert_allclose(made[0], expected[0], rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(made[1], expected[1])


@pytest.mark.parametrize(("text", "phase", "message"), [
    ("{'scales': [1]}", "TEST", "must set feat_stride"),
    ("{'feat_stride': 8, 'scales': [1, 4], 'ratios': 1}", "TEST", "ratios must be a list of numbers, not 1"),
    ("{'feat_stride': 8, 'scales': [1, 4], 'ratios': [1]}", "TRAIN", "phase TEST only"),
])  # fmt: skip
def test_what_cannot_be_computed_is_refused(text: str, phase: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        ssh(text, phase)
