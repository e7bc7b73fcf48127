"""AssistedExcitation: which cells light up, and that only training knows it."""

from __future__ import annotations

import pytest
import torch

import protogen
from protogen.errors import LayerError, ProtogenWarning
from tests.layers.nets import net_of

BOXES = (1, 1, 300, 5)
EXCITE = 'type: "AssistedExcitation" bottom: "a" bottom: "b" bottom: "c" top: "y"'


def excitation_inputs() -> list[torch.Tensor]:
    x = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    label = torch.zeros(2, 1, 4, 5)
    label[:, 0, 0] = torch.tensor([1, 0.25, 0.5, 0.3, 0.5])  # columns 0.8 to 3.2, rows 1 to 3
    label[:, 0, 1] = torch.tensor([1, 0.99, 0.01, 0.001, 0.001])  # within one cell
    label[:, 0, 3] = 0.5  # after the end
    return [x, label, x.detach().mean(1)]


def test_boxes_of_the_first_image_are_excited_in_training() -> None:
    x, label, mean = excitation_inputs()
    module = net_of(EXCITE, x.shape, label.shape, mean.shape, phase="TRAIN").to_torch()
    mask = torch.zeros(4, 8)
    mask[1:3, 0:4] = mask[0, 7] = 1
    module.op.strength.fill_(0.5)
    y = module(x, label, mean)
    assert torch.allclose(y[0], x[0] + 0.5 * mask * mean[0])
    assert torch.equal(y[1], x[1])
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert torch.equal(module.eval()(x, label, mean), x)
    assert not module.state_dict()  # as deploy nets know no such layer


def test_excitation_is_left_out_of_onnx() -> None:
    text = """
    layer { name: "in" type: "Input" top: "data" top: "label" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 }
      shape { dim: 1 dim: 1 dim: 300 dim: 5 } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 1 } }
    layer { name: "permute" type: "Permute" bottom: "conv" top: "permute" permute_param { order: 0 order: 2 order: 3 order: 1 } }
    layer { name: "mean" type: "Reduction" bottom: "permute" top: "mean" reduction_param { axis: 3 operation: MEAN } }
    layer { name: "AE" type: "AssistedExcitation" bottom: "conv" bottom: "label" bottom: "mean" top: "AE" }
    layer { name: "relu" type: "ReLU" bottom: "AE" top: "relu" }"""
    with pytest.warns(ProtogenWarning, match="left out"):
        graph = protogen.loads(text, phase="TRAIN").to_onnx().graph
    assert [value.name for value in graph.input] == ["data"]
    assert "relu" in {value.name for value in graph.output}
    assert not {node.op_type for node in graph.node} & {"Add", "Identity"}


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ([(1, 2, 4, 4), BOXES, (1, 4, 5)], "mean of the channels"),
        ([(1, 2, 4, 4), (1, 1, 3, 8), (1, 4, 4)], r"labels \(N, 1, 300, 5\)"),
        ([(1, 2, 4, 4), (2, 1, 300, 5), (1, 4, 4)], "first axis"),
    ],
)
def test_mistakes_name_the_layer(shapes: list, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        net_of(EXCITE, *shapes, phase="TRAIN")
    assert "'op'" in str(error.value)
