"""PriorBox and PriorBoxClustered: what Caffe refuses, every form, boxes worked out by hand."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from protogen.errors import LayerError
from tests.layers.forms import by_onnx, by_torch, check_every_form, net_of, values_for

SHAPES = [(2, 4, 3, 2), (2, 3, 60, 40)]


def prior(param: str, kind: str = "PriorBox") -> str:
    return f'type: "{kind}" bottom: "a" bottom: "b" top: "y" prior_box_param {{ {param} }}'


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (prior("max_size: 3"), SHAPES, "min_size is missing"),
        (prior("min_size: 0"), SHAPES, "min_size must be positive"),
        (prior("min_size: 4 min_size: 5 max_size: 6"), SHAPES, "1 max_size for 2 min_size"),
        (prior("min_size: 4 max_size: 4"), SHAPES, "must be greater than min_size"),
        (prior("min_size: 4 aspect_ratio: 0"), SHAPES, "aspect_ratio must be positive"),
        (prior("min_size: 4 variance: 0.1 variance: 0.2"), SHAPES, "one variance or four, not 2"),
        (prior("min_size: 4 variance: 0"), SHAPES, "variance must be positive"),
        (prior("min_size: 4 step: 0"), SHAPES, "step must be positive"),
        (prior("min_size: 4 step_h: 8"), SHAPES, "step_h and step_w must be positive"),
        (prior("min_size: 4 step: 8 step_w: 8"), SHAPES, "either step or step_h"),
        (prior("min_size: 4 img_size: 0"), SHAPES, "img_size must be positive"),
        (prior("min_size: 4 img_size: 9 img_h: 3 img_w: 3"), SHAPES, "either img_size or img_h"),
        (prior("min_size: 4"), [(2, 4, 3), SHAPES[1]], "4 axes"),
        (prior("min_size: 4"), [(2, 4, 0, 3), SHAPES[1]], "is empty"),
        (prior("height: 4", "PriorBoxClustered"), SHAPES, "width is missing"),
        (prior("width: 4 width: 5 height: 4", "PriorBoxClustered"), SHAPES, "2 width and 1 height"),
        (prior("width: 4 height: 0", "PriorBoxClustered"), SHAPES, "must be positive"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(layer, *shapes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "layer",
    [
        prior("min_size: 15.2 max_size: 30.7 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: true variance: 0.1"),
        prior("width: 8.5 width: 20 height: 9 height: 4.25 step_h: 20 step_w: 10 img_h: 64 img_w: 32", "PriorBoxClustered"),
    ],
)
def test_every_form_agrees(layer: str) -> None:
    check_every_form(net_of(layer, *SHAPES))


OPEN = [
    prior("min_size: 15.2 max_size: 30.7 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: true variance: 0.1"),
    prior("min_size: 9 min_size: 31 offset: 0.3 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4"),
    prior("min_size: 7 aspect_ratio: 3 step: 7.3 offset: 0"),
    prior("min_size: 7 img_size: 300 clip: true"),
    prior("width: 8.5 width: 20 height: 9 height: 4.25 step_h: 20 step_w: 10 img_h: 64 img_w: 32", "PriorBoxClustered"),
]


@pytest.mark.parametrize("opset", [11, 17, 21])
@pytest.mark.parametrize("layer", OPEN)
def test_computed_for_any_size_they_are_the_same_bits(layer: str, opset: int) -> None:
    net = net_of(layer, *SHAPES)
    session = onnxruntime.InferenceSession(net.to_onnx(opset=opset, dynamic_size=True, dynamic_batch=True).SerializeToString())
    for size, image in (((3, 2), (60, 40)), ((7, 11), (97, 131)), ((1, 1), (33, 500)), ((38, 57), (300, 451))):
        bottoms = {"a": np.zeros((1, 4, *size), np.float32), "b": np.zeros((3, 3, *image), np.float32)}
        made = session.run(None, bottoms)[0]
        wanted = by_torch(net, bottoms)[0]
        assert made.shape == wanted.shape
        assert made.tobytes() == wanted.tobytes()


def test_sizes_are_cut_to_whole_pixels_and_ratios_come_once_with_their_inverses() -> None:
    layer = prior("min_size: 15.9 max_size: 26.9 aspect_ratio: 4 aspect_ratio: 1 aspect_ratio: 4")
    net = net_of(layer, (1, 1, 1, 1), (1, 3, 100, 100))
    boxes = by_torch(net, values_for(net))[0][0, 0].reshape(-1, 4) * 100
    middle = np.sqrt(15 * 26)
    widths_and_heights = [(15, 15), (middle, middle), (30, 7.5), (7.5, 30)]
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], widths_and_heights, rtol=1e-5)
    np.testing.assert_allclose((boxes[:, 2:] + boxes[:, :2]) / 2, 50, rtol=1e-6)


def test_boxes_go_cell_by_cell_through_rows_and_variances_repeat() -> None:
    net = net_of(prior("min_size: 10 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4"), (1, 1, 2, 3), (1, 3, 40, 60))
    y = by_onnx(net, values_for(net))[0]
    centers = y[0, 0].reshape(-1, 4)[:, :2] * (60, 40) + 5
    np.testing.assert_allclose(centers, [(10, 10), (30, 10), (50, 10), (10, 30), (30, 30), (50, 30)], rtol=1e-5)
    np.testing.assert_allclose(y[0, 1].reshape(-1, 4), [[0.1, 0.2, 0.3, 0.4]] * 6, rtol=1e-6)


def test_the_module_follows_the_shapes_it_is_given() -> None:
    net = net_of(prior("min_size: 10"), *SHAPES)
    other = net_of(prior("min_size: 10"), (1, 4, 5, 6), (1, 3, 50, 90))
    bottoms = [torch.zeros(1, 4, 5, 6), torch.zeros(1, 3, 50, 90)]
    assert torch.equal(net.to_torch()(*bottoms), other.to_torch()(*bottoms))
    assert net.to_torch()(*[bottom.double() for bottom in bottoms]).dtype == torch.float64
