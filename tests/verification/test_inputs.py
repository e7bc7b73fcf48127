"""What nets are run on: values of one's own, meaningful examples, and weights that are not all zero."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen import NetBuilder, ProtogenError
from protogen.verification import random_inputs, verify, with_random_weights
from tests.nets import small_net


def test_given_inputs_are_used() -> None:
    net = small_net()
    given = np.full((2, 3, 12, 12), 3, np.float64)
    feed = random_inputs(net.graph(), 0, {"data": given})
    assert feed["data"].dtype == np.float32
    assert (feed["data"] == 3).all()
    assert verify(net, inputs={"data": given}).ok


def test_the_seed_decides_the_inputs() -> None:
    net = small_net()
    first, again, other = (random_inputs(net.graph(), seed, {})["data"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_labels_are_small_whole_numbers() -> None:
    b = NetBuilder()
    b.accuracy(b.input("data", (8, 3)), b.input("label", (8,)), name="accuracy")
    labels = random_inputs(b.build().graph(), 0, {})["label"]
    assert set(labels) <= {0.0, 1.0, 2.0}
    assert verify(b.build(), backends=["torch"]).ok


def test_regions_and_image_sizes_mean_something() -> None:
    """With normal numbers for these, no proposal would be large enough, and no region would lie in the map."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "map" input_param { shape { dim: 2 dim: 6 dim: 5 dim: 7 } } }
        layer { name: "rois" type: "Input" top: "rois" top: "im_info"
                input_param { shape { dim: 9 dim: 5 } shape { dim: 2 dim: 3 } } }
        layer { name: "move" type: "Convolution" bottom: "map" top: "move" convolution_param { num_output: 12 kernel_size: 1 } }
        layer { name: "proposal" type: "Proposal" bottom: "map" bottom: "move" bottom: "im_info" top: "proposals"
                proposal_param { feat_stride: 16 min_size: 4 ratio: 1 scale: 2 scale: 4 scale: 8 } }
        layer { name: "pool" type: "ROIPooling" bottom: "map" bottom: "rois" top: "pool"
                roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }""")
    feed = random_inputs(net.graph(), 0, {})
    np.testing.assert_array_equal(feed["im_info"], [[80, 112, 1]] * 2)
    image, x1, y1, x2, y2 = feed["rois"].T
    assert set(image) == {0, 1}
    assert (x1 >= 0).all() and (x1 <= x2).all() and (x2 <= 112).all() and (y1 <= y2).all() and (y2 <= 80).all()
    report = verify(net)
    assert report.ok, report.verdict
    assert next(row for row in report.rows if row.blob == "proposals").shape[0] > 10


def test_blobs_without_fillers_are_not_zero() -> None:
    """Deploy files name no fillers; with Caffe's default, 0, every form would give the same zeros."""
    net = protogen.loads("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
        layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
        layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }""")
    filled = {node.op.layer.name: node.arrays for node in with_random_weights(net.graph()).nodes}
    for layer, arrays in filled.items():
        for array in arrays:
            assert array.any(), layer
            assert array.size == 1 or array.std() > 0, layer
    assert (filled["bn"][1] > 0).all()
    assert dict(net.weights) == {}
    report = verify(net)
    assert report.ok
    assert {row.max_abs for row in report.rows} != {0.0}


def test_weights_given_are_kept() -> None:
    net = small_net().fill()
    filled = {node.op.layer.name: node.arrays for node in with_random_weights(net.graph()).nodes}
    for layer, arrays in net.weights.items():
        for given, kept in zip(arrays, filled[layer]):
            np.testing.assert_array_equal(given, kept)


@pytest.mark.parametrize("bad", [np.full((2, 3, 12, 12), np.nan), np.full((2, 3, 12, 12), "a")])
def test_inputs_that_are_no_numbers(bad: np.ndarray) -> None:
    with pytest.raises(ProtogenError, match="input 'data': the values must be finite real numbers"):
        verify(small_net(), inputs={"data": bad})
