"""What Caffe checks of every layer: bottoms, tops, loss weights and sizes, each at its limit."""

from __future__ import annotations

from typing import Any

import pytest

import protogen
from protogen.errors import LayerError
from protogen.layers.checks import MAX_AXES, MAX_ELEMENTS
from protogen.layers.registry import unregister
from tests.layers.nets import net_of
from tests.nets import begun

RELU = 'type: "ReLU" bottom: "a" top: "y"'
LOSS = 'type: "EuclideanLoss" bottom: "a" bottom: "b" top: "y"'


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (f'{RELU} bottom: "b"', "needs 1 bottom, has 2"),
        (f'{RELU} top: "z"', "needs 1 top, has 2"),
        ('type: "Eltwise" bottom: "a" top: "y" eltwise_param { operation: PROD }', "PROD needs at least 2 bottoms, has 1"),
        ('type: "Pooling" bottom: "a" pooling_param { kernel_size: 1 }', "needs 1 to 2 tops, has 0"),
        (f"{RELU} loss_weight: 1 loss_weight: 2", "has 1 top and 2 of loss_weight"),
        (f"{LOSS} loss_weight: 1 loss_weight: 2", "has 1 top and 2 of loss_weight"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, message: str) -> None:
    with pytest.raises(LayerError, match=rf"layer 'op' \(\w+\): {message}"):
        net_of(layer, (1, 2, 3, 4), (1, 2, 3, 4))


@pytest.mark.parametrize("layer", [f"{RELU} loss_weight: 1", f"{LOSS} loss_weight: 2", LOSS])
def test_one_loss_weight_per_top_or_none(layer: str) -> None:
    assert "y" in net_of(layer, (1, 2, 3, 4), (1, 2, 3, 4)).shapes


def test_sizes_up_to_caffes_limits() -> None:
    for largest, larger, why in (
        ((1,) * MAX_AXES, (1,) * (MAX_AXES + 1), "33 axes, more than Caffe's 32"),
        ((MAX_ELEMENTS,), (MAX_ELEMENTS + 1,), r"2,147,483,648 values, more than Caffe's 2\^31-1"),
    ):
        net = net_of(RELU, (1,))
        assert net.at(inputs={"a": largest}).shapes["y"] == largest
        with pytest.raises(protogen.LayerError, match=why):
            net.at(inputs={"a": larger})


@pytest.mark.parametrize(
    ("tops", "message"),
    [
        ([], r"setup sets 0 tops, but the layer has 1: set self\.tops"),
        ([(1,), (2,)], "setup sets 2 tops, but the layer has 1"),
        (None, r"setup sets tops to None: set self\.tops"),
        ([5], r"setup sets tops to \[5\]: set self\.tops"),
        ([("a", 2)], r"setup sets .*set self\.tops"),
    ],
)
def test_what_setup_sets_is_checked(tops: Any, message: str) -> None:
    @protogen.register("Wrong")
    class Wrong(protogen.LayerType):
        def setup(self) -> None:
            self.tops = tops

    try:
        with pytest.raises(protogen.LayerError, match=f"layer 'wrong1' .Wrong.: .*Wrong.{message}"):
            begun().layer("Wrong", "data")
    finally:
        unregister("Wrong")
