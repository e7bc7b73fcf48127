"""The part of a train/val graph to deploy: what stands in for losses, what goes, how the batch changes."""

from __future__ import annotations

import pytest

import protogen
from protogen import ConversionError, LayerError
from protogen.graph.deploy import deploy_part, with_batch
from protogen.graph.graph import Graph

DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { crop_size: 4 } data_param { batch_size: 6 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
"""


def part(*layers: str, head: str = DATA) -> Graph:
    return deploy_part(protogen.loads(head + "".join(f"layer {{ {layer} }}\n" for layer in layers)).graph(None))


def ends(graph: Graph) -> list[tuple[str, str]]:
    makers = {value: node for node in graph.nodes for value in node.outputs}
    return [(value.name, makers[value].op.layer.type) for value in graph.outputs]


LOSS = 'name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"'


def test_a_softmax_takes_the_place_of_its_loss() -> None:
    graph = part('name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"', LOSS)
    assert [node.op.layer.type for node in graph.nodes] == ["Input", "InnerProduct", "Softmax"]
    assert ends(graph) == [("prob", "Softmax")]
    assert [value.name for value in graph.inputs] == ["data"], "no labels"
    assert graph.nodes[-1].op.layer.name == "prob"


def test_a_sigmoid_does_so_too() -> None:
    loss = 'name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "goal"'
    goal = (
        'name: "goal" type: "DummyData" top: "goal" dummy_data_param { shape { dim: 6 dim: 3 } data_filler { type: "uniform" } }'
    )
    assert ends(part(goal, loss)) == [("prob", "Sigmoid")]


@pytest.mark.parametrize("type", ["HingeLoss", "MultinomialLogisticLoss"])
def test_what_other_losses_read_is_the_prediction(type: str) -> None:
    assert ends(part(f'name: "loss" type: "{type}" bottom: "fc" bottom: "label" top: "loss"')) == [("fc", "InnerProduct")]


def test_several_losses_give_several_names() -> None:
    second = 'name: "fc2" type: "InnerProduct" bottom: "data" top: "fc2" inner_product_param { num_output: 2 }'
    graph = part(second, LOSS, 'name: "b" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "b"')
    assert ends(graph) == [("fc/prob", "Softmax"), ("fc2/prob", "Softmax")]


def test_losses_of_the_same_scores_share_one() -> None:
    graph = part(LOSS, 'name: "again" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "again"')
    assert ends(graph) == [("prob", "Softmax")]


@pytest.mark.parametrize("first", [True, False])
def test_a_softmax_that_is_there_already_is_used(first: bool) -> None:
    own = 'name: "p" type: "Softmax" bottom: "fc" top: "p"'
    assert ends(part(*([own, LOSS] if first else [LOSS, own]))) == [("p", "Softmax")]


def test_a_softmax_over_another_axis_is_another_one() -> None:
    own = 'name: "p" type: "Softmax" bottom: "fc" top: "p" softmax_param { axis: 0 }'
    assert ends(part(own, LOSS)) == [("p", "Softmax"), ("prob", "Softmax")]


MAPS = """
layer { name: "data" type: "Input" top: "data" top: "label" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } %s } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 5 kernel_size: 1 } }
"""


@pytest.mark.parametrize(
    ("type", "more", "label"),
    [
        ("SoftmaxWithLoss", "softmax_param { axis: -1 }", "dim: 2 dim: 5 dim: 4 dim: 1"),
        ("InfogainLoss", "infogain_loss_param { axis: -1 source: 'h' }", "dim: 2 dim: 5 dim: 4 dim: 1"),
        ("SoftmaxWithLoss", "", "dim: 2 dim: 1 dim: 4 dim: 5"),
    ],
)
def test_the_axis_of_the_classes_is_the_losss(type: str, more: str, label: str) -> None:
    loss = f'name: "loss" type: "{type}" bottom: "conv" bottom: "label" top: "loss" {more}'
    op = part(loss, head=MAPS % f"shape {{ {label} }}").nodes[-1].op
    assert (op.layer.type, op.layer.message.softmax_param.axis) == ("Softmax", -1 if more else 1)


WITH_TOP = LOSS + ' top: "p" loss_weight: 1 loss_weight: 0'


def test_a_losss_second_top_gives_the_name_and_keeps_its_readers() -> None:
    assert ends(part(WITH_TOP)) == [("p", "Softmax")]
    graph = part(WITH_TOP, 'name: "best" type: "ArgMax" bottom: "p" top: "best"')
    assert [node.op.layer.type for node in graph.nodes] == ["Input", "InnerProduct", "Softmax", "ArgMax"]
    assert ends(graph) == [("best", "ArgMax")]


def test_a_second_top_that_is_only_silenced_gives_none() -> None:
    graph = part(WITH_TOP, 'name: "hush" type: "Silence" bottom: "p"')
    assert ends(graph) == [("prob", "Softmax")]


def test_names_that_are_taken() -> None:
    taken = 'name: "prob" type: "Dropout" bottom: "fc" top: "prob"'
    graph = part(taken, LOSS.replace('"fc"', '"prob"'))
    assert ends(graph) == [("prob_", "Softmax")]


def test_labels_and_all_that_only_they_feed_go() -> None:
    graph = part(
        'name: "half" type: "Power" bottom: "label" top: "half" power_param { scale: 0.5 }',
        'name: "hush" type: "Silence" bottom: "half"',
        LOSS.replace('"label"', '"half"'),
    )
    assert [node.op.layer.name for node in graph.nodes] == ["data", "fc", "prob"]


def test_labels_that_nothing_reads_go() -> None:
    assert [value.name for value in part().inputs] == ["data"]


def test_a_blob_that_only_silence_reads_is_the_result_if_there_is_no_other() -> None:
    graph = part('name: "hush" type: "Silence" bottom: "fc"')
    assert ends(graph) == [("fc", "InnerProduct")]
    assert [node.op.layer.name for node in graph.nodes] == ["data", "fc"]


def test_what_cannot_be_deployed() -> None:
    twice = 'name: "twice" type: "Power" bottom: "loss" top: "twice" power_param { scale: 2 }'
    with pytest.raises(ConversionError, match=r"layer 'loss' \(SoftmaxWithLoss\): used only in training, but the predictions"):
        part(LOSS, twice)
    with pytest.raises(ConversionError, match="nothing to deploy"):
        part(head=DATA.splitlines()[1])


def test_another_batch_reaches_inputs_and_outputs() -> None:
    graph = with_batch(part(LOSS), 2, ["data"])
    assert [value.shape for value in (*graph.inputs, *graph.outputs)] == [(2, 3, 4, 4), (2, 3)]
    assert [list(shape.dim) for shape in graph.nodes[0].op.param.shape] == [[2, 3, 4, 4]]


@pytest.mark.parametrize(
    ("first", "error", "message"),
    [(6, ConversionError, r"does not reach output 'flat', of shape \(6, 8\)"), (9, LayerError, r"layer 'flat' \(Reshape\)")],
)
def test_a_batch_that_a_layer_states_itself(first: int, error: type[Exception], message: str) -> None:
    reshape = f'name: "flat" type: "Reshape" bottom: "data" top: "flat" reshape_param {{ shape {{ dim: {first} dim: -1 }} }}'
    graph = part(reshape, head=DATA.splitlines()[1])
    with pytest.raises(error, match=message):
        with_batch(graph, 1, ["data"])
