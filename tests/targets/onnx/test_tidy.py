"""Values that are reshaped twice in a row are reshaped once."""

from __future__ import annotations

import onnx
import pytest

import protogen
from protogen import NetBuilder
from tests.running import ops_of
from tests.targets.onnx.nets import assert_gives, value


def reshaping(*layers: str) -> protogen.Net:
    """A chain of layers, the first on "data" (2, 6, 4, 5); "flat" is Flatten, numbers are a Reshape's `shape`."""
    b = NetBuilder()
    x = b.input("data", (2, 6, 4, 5))
    for i, layer in enumerate(layers):
        if layer == "fc":
            x = b.fc(x, 3, name=f"x{i}")
        elif layer == "flat":
            x = b.layer("Flatten", x, name=f"x{i}")
        else:
            x = b.layer("Reshape", x, name=f"x{i}", shape={"dim": [int(number) for number in layer.split()]})
    return b.build().fill(1)


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        (["flat", "0 -1 3"], [[0, -1, 3]]),
        (["0 0 20", "flat", "0 -1 5"], [[0, -1, 5]]),
        (["0 0 20", "0 0 -1 2"], [[0, 0, -1, 2]]),  # both copy the channels
        (["0 8 15", "0 0 5 -1"], [[0, 8, 5, -1]]),  # the second copies what the first makes
        (["4 -1 3", "0 0 3"], [[4, -1, 3]]),
        (["0 -1 5", "-1 0 10"], [[0, -1, 5], [-1, 0, 10]]),  # two to be inferred
        (["-1 12 5", "flat"], [[-1, 60]]),
        (["-1 240 1 1", "fc"], [[-1, 240]]),
        (["2 12 10", "flat"], [[2, 120]]),
        (["2 -1 10", "flat"], [[2, -1]]),
        (["0 12 10", "flat"], ["Flatten"]),
        (["flat", "0 -1 2", "0 30 4", "fc"], ["Flatten"]),
        (["-1", "2 120"], [[2, 120]]),
    ],
    ids=str,
)
@pytest.mark.parametrize("opset", [11, 17])
def test_reshaped_twice(layers: list[str], left: list[object], opset: int) -> None:
    net = reshaping(*layers)
    model = net.to_onnx(opset=opset)
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    made = [shapes[node.input[1]] if node.op_type == "Reshape" else node.op_type for node in model.graph.node]
    assert [step for step in made if step != "Gemm"] == left
    assert {info.name for info in model.graph.value_info} <= {name for node in model.graph.node for name in node.output}
    assert_gives(net, value(net), opset=opset)


def test_reshaped_twice_but_read_in_between() -> None:
    b = NetBuilder()
    flat = b.layer("Flatten", b.input("data", (2, 3, 4)), name="flat")
    b.layer("Reshape", flat, name="again", shape={"dim": [0, 4, 3]})
    b.relu(flat, in_place=False, name="reader")
    net = b.build()
    assert ops_of(net.to_onnx()) == ["Flatten", "Reshape", "Relu"]
    chain = reshaping("flat", "0 -1 3")
    assert ops_of(chain.to_onnx(all_blobs=True)) == ["Flatten", "Reshape"]
