"""CTCGreedyDecoder by the loops of senlinuc/caffe_ocr's ctc_decoder_layer.cpp."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.errors import ConversionError
from tests.layers.alone import Alone
from tests.layers.nets import OPSETS, over
from tests.running import Arrays, assert_same, by_onnx, by_torch, compile_whole, tensors_of

SHAPE = (9, 3, 4)


def decoded(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    p, x = net.layers[-1].message.ctc_decoder_param, values["a"]
    blank = p.blank_index if p.blank_index >= 0 else x.shape[2] - 1
    top = np.full((x.shape[1], x.shape[0], 1, 1), -1, np.float32)
    for n in range(x.shape[1]):
        labels, before = [], -1
        for t in range(x.shape[0]):
            best = int(np.argmax(x[t, n]))
            if best != blank and not (p.ctc_merge_repeated and best == before):
                labels.append(best)
            before = best
        top[n, : len(labels), 0, 0] = labels
    return [top]


def scores() -> np.ndarray:
    """Whole numbers, of which some are equal."""
    return np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.float32)


@pytest.mark.parametrize("more", ["", "blank_index: -1", "blank_index: 2 ctc_merge_repeated: false"])
@pytest.mark.parametrize("axes", [(), (1,)])
def test_labels_are_the_forks(more: str, axes: tuple[int, ...]) -> None:
    net = over(f'type: "CTCGreedyDecoder" ctc_decoder_param {{ {more} }}', (*SHAPE, *axes))
    values = {"a": scores().reshape(*SHAPE, *axes)}
    expected = decoded(net, values)
    assert (expected[0] == -1).any()
    assert (expected[0] > 0).any()
    assert_same(by_torch(net, values), expected)
    assert_same([compile_whole(net.to_torch())(*tensors_of(net, values)).numpy()], expected)
    for opset in OPSETS:
        assert_same(by_onnx(net, values, opset=opset), expected)
    with pytest.raises(ConversionError, match="fixed batch"):
        net.to_onnx(dynamic_batch=True)


def test_with_labels_it_measures_and_is_left_out_of_models() -> None:
    net = over('type: "CTCGreedyDecoder"', SHAPE, (3, 5))
    assert net.shapes["out"] == (1, 2, 1, 1)
    with pytest.raises(ConversionError, match="the accuracy of a CTCGreedyDecoder with labels is not computed"):
        net.to_torch()


LAYER = 'bottom: "a" top: "y"'
ALONE = [
    Alone("CTCGreedyDecoder", "ctc_decoder_param.blank_index", 2, LAYER, [SHAPE], decoded, inputs=lambda: [scores()]),
    Alone("CTCGreedyDecoder", "ctc_decoder_param.ctc_merge_repeated", False, LAYER, [SHAPE], decoded, inputs=lambda: [scores()]),
]
