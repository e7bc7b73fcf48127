"""ClusterDetections as ONNX: opsets, other batches, and groups that only hold together through many boxes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.detection.test_cluster_detections import CASES, detectnet, plain, values
from tests.running import NEWEST, by_onnx, by_torch


@pytest.mark.parametrize("opset", [11, 13, 18, NEWEST])
def test_every_opset_and_other_batches(opset: int) -> None:
    text = CASES[2][0]
    net, given = detectnet(text, 1, 3), values(3, 3)
    for made in (by_onnx(net, given, opset=opset, dynamic_batch=True), by_torch(net, given)):
        for top, wanted in zip(made, plain(text, given), strict=True):
            np.testing.assert_array_equal(top, wanted)


def test_long_chains_of_similar_boxes_are_one_group() -> None:
    text = "640, 16, 16, 0.5, 1, 0.1, 1, 1"
    given = {"a": np.ones((1, 1, 1, 40), np.float32), "b": np.zeros((1, 4, 1, 40), np.float32)}
    given["b"][0, 0], given["b"][0, 2], given["b"][0, 3] = -14 * np.arange(40), -14 * np.arange(40) + 30, 30
    net = detectnet(text, grid=(1, 40))
    made = by_torch(net, given)[0]
    np.testing.assert_array_equal(made, plain(text, given)[0])
    np.testing.assert_array_equal(by_onnx(net, given)[0], made)
    assert (made[0, :, 4] != 0).sum() == 1
