"""What all layer types share: numbers of bottoms and tops, loss weights, sizes, forms that a type does not have."""

from __future__ import annotations

import pytest
import torch

import protogen
from protogen import ConversionError, NetBuilder, ProtogenError
from tests.layers.nets import net_of


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("loss_weight: 1", "2 tops and 1 of loss_weight"),
        ("loss_weight: [1, 2, 3]", "2 tops and 3"),
        ("", "loss_weight 2 times"),
    ],
)
def test_loss_weights_go_with_the_tops(weights: str, message: str) -> None:
    """Caffe's SetLossWeights; a loss layer's own default is one, which does not go with two tops either."""
    text = """
        layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "loss" top: "p" %s }"""
    with pytest.raises(protogen.LayerError, match=rf"layer 'loss' .*{message}"):
        protogen.loads(text % weights)
    assert protogen.loads(text % "loss_weight: 1 loss_weight: 0").to_torch().loss(torch.zeros(4, 3), torch.zeros(4)) > 1


def test_layers_without_a_pytorch_form_are_all_named() -> None:
    from protogen.layers import registry

    class Formless(protogen.LayerType):
        def setup(self) -> None:
            self.tops = [self.bottoms[0]]

    protogen.register("Formless")(Formless)
    try:
        b = NetBuilder()
        x = b.input("data", (1, 2))
        b.layer("Formless", b.layer("Formless", x, name="first"), name="second")
        module = b.build().to_torch()  # nothing is known to be missing before it runs
        with pytest.raises(ProtogenError, match=r"layer 'first' .*no PyTorch form"):
            module(torch.zeros(1, 2))
        with pytest.raises(ConversionError, match=r"layer 'first' [\s\S]*layer 'second' "):
            b.build().to_onnx()
    finally:
        registry.unregister("Formless")


ONE = 'bottom: "a" top: "y" '


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        ('type: "ReLU" top: "y"', [], "needs 1 bottom, has 0"),
        ('type: "Concat" top: "y"', [], "needs at least 1 bottoms?, has 0"),
        ('type: "Softmax" bottom: "a" top: "y" top: "z"', [(1, 2)], "needs 1 top, has 2"),
        (ONE + 'type: "ReLU" propagate_down: true propagate_down: false', [(1, 2)], "2 values of propagate_down for 1"),
        (ONE + 'type: "Tile" tile_param { tiles: 2147483647 }', [(1, 2)], "4,294,967,294 values, more than Caffe's"),
        (ONE + 'type: "Softmax" softmax_param { axis: -3 }', [(1, 2)], r"axis -3 is out of range for 2 axes of shape \(1, 2\)"),
    ],
)  # fmt: skip
def test_what_any_type_refuses_is_told_with_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(protogen.LayerError, match=rf"layer 'op' .*{message}"):
        net_of(layer, *shapes)


def test_set_up_for_other_shapes_it_is_another_one() -> None:
    op = net_of('type: "Pooling" bottom: "a" top: "y" pooling_param { kernel_size: 2 stride: 2 }', (1, 3, 8, 8)).ops[-1]
    other = op.at([(2, 3, 6, 4)])
    assert (op.tops, other.tops) == ([(1, 3, 4, 4)], [(2, 3, 3, 2)])
    assert other.layer is op.layer
