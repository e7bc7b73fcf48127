"""Older dialects, held against what Caffe's own upgrade makes of them; fields for inputs, and solvers."""

from __future__ import annotations

import pytest

from protogen.errors import NetError, ProtogenError, ProtogenWarning
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_definition, read_solver
from protogen.prototxt.upgrade import upgrade
from protogen.prototxt.writer import write
from protogen.reading import load, loads
from tests.oracle import LEGACY
from tests.prototxt.dialects import upgraded


@pytest.mark.parametrize("name", ["v0", "v1", "batchnorm_old"])
def test_as_caffe_does_it(name: str) -> None:
    definition = read_definition((LEGACY / f"{name}.prototxt").read_text())
    expected = parse((LEGACY / f"{name}.upgraded.prototxt").read_text())
    assert definition == expected
    assert upgrade(definition.copy()) == expected, "upgrading twice changes nothing"
    assert parse(write(definition)) == expected


def test_upgraded_nets_load() -> None:
    assert load(LEGACY / "v0.prototxt").shapes["prob"] == (2, 5)
    assert load(LEGACY / "v1.prototxt").shapes["prob"] == (2, 4)


def test_layers_of_two_dialects_keep_the_order_of_the_text() -> None:
    with pytest.warns(ProtogenWarning, match=r"^net.prototxt:1:7: the net mixes layer with layers \(the old dialect\)"):
        net = upgraded("""layer { name: 'a' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 } } }
            layers { name: 'b' type: RELU bottom: 'x' top: 'y' } layer { name: 'c' type: 'TanH' bottom: 'y' top: 'z' }
            layers { name: 'd' type: SIGMOID bottom: 'z' top: 'z' }""")
    assert [(layer.name, layer.type) for layer in net.layer] == [("a", "Input"), ("b", "ReLU"), ("c", "TanH"), ("d", "Sigmoid")]
    assert not net.layers


def test_layers_of_two_dialects_without_an_order_are_refused() -> None:
    net = parse("layer { name: 'a' } layers { name: 'b' }")
    for layer in (*net.layer, *net.layers):
        layer.origin = None
    with pytest.raises(NetError, match="the net mixes dialects: layer here, layers"):
        upgrade(net)


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("input: 'x' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9", {"x": (1, 3, 8, 9)}),
        ("input: 'x' input_dim: [1, 3, 8, 9] input: 'y' input_dim: [1, 1, 2, 2]", {"x": (1, 3, 8, 9), "y": (1, 1, 2, 2)}),
        ("input: 'x' input_shape { dim: 1 dim: 3 }", {"x": (1, 3)}),
        ("input: 'x' input: 'y' input_shape { dim: 1 } input_shape { dim: 2 }", {"x": (1,), "y": (2,)}),
        ("input: 'x' input_shape { dim: 1 dim: 3 } input_dim: [9, 9, 9, 9]", {"x": (1, 3)}),
    ],
)
def test_input_fields(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    net = loads(text + " layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }")
    assert net.shapes == shapes
    assert net.layers[0].name == "input"


def test_too_many_input_dims_are_ignored_as_caffe_does() -> None:
    with pytest.warns(ProtogenWarning, match="the last 1 of 5 are ignored"):
        assert loads("input: 'x' input_dim: [1, 3, 8, 9, 7]").shapes == {"x": (1, 3, 8, 9)}


def test_an_input_without_a_shape_waits_for_one() -> None:
    text = "input: 'x' layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'y' }"
    assert loads(text, inputs={"x": (2, 3)}).shapes == {"x": (2, 3), "y": (2, 3)}
    with pytest.raises(NetError, match="the shape of input 'x' is not in the file"):
        loads(text).require_shapes()


def test_batch_norm_with_two_param_entries_is_left_alone() -> None:
    text = "layer { name: 'b' type: 'BatchNorm' param { lr_mult: 1 } param { lr_mult: 1 } }"
    assert upgraded(text) == parse(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [("SGD", "SGD"), ("NESTEROV", "Nesterov"), ("ADAGRAD", "AdaGrad"), ("RMSPROP", "RMSProp"), ("ADADELTA", "AdaDelta"),
     ("ADAM", "Adam"), ("1", "Nesterov")],
)  # fmt: skip
def test_solver_type(old: str, new: str) -> None:
    assert read_solver(f"base_lr: 1 solver_type: {old}") == Message.of("SolverParameter", base_lr=1, type=new)


def test_old_solver_file() -> None:
    solver = read_solver((LEGACY / "solver_old.prototxt").read_text())
    assert (solver.type, solver.train_net, "solver_type" in solver) == ("Nesterov", "train.prototxt", False)


def test_solver_with_both_types() -> None:
    with pytest.raises(ProtogenError, match=r"^s.prototxt: has both type and solver_type"):
        read_solver("solver_type: ADAM type: 'Adam'", "s.prototxt")


def test_intels_batch_of_statistics_goes_to_every_batch_norm() -> None:
    text = """bn_stats_batch_size: 2  input: "x" input_shape { dim: 4 dim: 3 }
        layer { name: "a" type: "BatchNorm" bottom: "x" top: "a" batch_norm_param { eps: 1 stats_batch_size: 4 } }
        layer { name: "b" type: "BatchNorm" bottom: "a" top: "b" }  layer { name: "c" type: "ReLU" bottom: "b" top: "c" }"""
    net = upgraded(text)
    assert [layer.batch_norm_param.stats_batch_size for layer in net.layer[1:3]] == [2, 2]
    assert net.layer[1].batch_norm_param.eps == 1 and "batch_norm_param" not in net.layer[3]
    assert "bn_stats_batch_size" not in net and upgrade(net.copy()) == net
    with pytest.raises(ProtogenError, match=r"layer 'b' .*: batch_norm_param.stats_batch_size is not computed"):
        loads(text, phase="TRAIN").to_torch()
    loads(text).to_torch()  # where the stored statistics are used, it does not count
