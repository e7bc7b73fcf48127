"""Edits of definitions: what is read, made and called how afterwards, in every phase; and what is refused."""

from __future__ import annotations

import pytest

from protogen.errors import NetError
from protogen.prototxt import surgery
from protogen.prototxt.message import Message
from protogen.prototxt.reader import read_definition

# A pooled map that two branches read; one of them works in place on its own blob.
BRANCHES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv" type: "Convolution" bottom: "pool" top: "conv" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "other" type: "Power" bottom: "pool" top: "other" power_param { scale: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "other" top: "sum" }
"""
PHASES = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } data_param { source: "train" } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } data_param { source: "test" } }
layer { name: "fc8" type: "InnerProduct" bottom: "data" top: "fc8" inner_product_param { num_output: 5 } }
layer { name: "drop" type: "Dropout" bottom: "fc8" top: "fc8" include { phase: TRAIN } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" include { phase: TRAIN } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc8" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


def wiring(definition: Message) -> dict[str, tuple[list[str], list[str]]]:
    return {layer.name: (layer.get("bottom", []), layer.get("top", [])) for layer in definition.layer}


def test_readers_of_a_removed_layer_read_its_bottom_and_overwrite_it_not() -> None:
    edit = surgery.without(read_definition(BRANCHES), ["conv"])
    links = wiring(edit.definition)
    assert "conv" not in links
    # Not in place any more: "other" still reads the pooled map as it was.
    assert links["relu"] == (["pool"], ["conv"])
    assert links["other"] == (["pool"], ["other"])
    assert links["sum"] == (["conv", "other"], ["sum"])


def test_a_chain_of_layers_can_be_removed_at_once() -> None:
    edit = surgery.without(read_definition(BRANCHES), ["conv", "relu", "pool"])
    assert wiring(edit.definition) == {
        "data": ([], ["data"]),
        "other": (["data"], ["other"]),
        "sum": (["data", "other"], ["sum"]),
    }
    assert edit.blobs == {"conv": "data", "pool": "data"}


def test_a_layer_in_place_leaves_all_blobs_as_they_are() -> None:
    before = read_definition(BRANCHES)
    after = surgery.without(before, ["relu"]).definition
    assert list(after.layer) == [layer for layer in before.layer if layer.name != "relu"]
    assert wiring(before)["relu"] == (["conv"], ["conv"])  # what was given is not changed


def test_inputs_that_only_removed_layers_read_go_too() -> None:
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }"""
    assert list(wiring(surgery.without(read_definition(text), ["loss"]).definition)) == ["data", "fc"]


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (BRANCHES, ["rely"], "no layer 'rely' in this net; did you mean 'relu'"),
        (BRANCHES, ["data"], "'data' cannot be removed alone: layer 'pool' reads its top 'data', and it has no bottom"),
        (BRANCHES + 'layer { name: "end" type: "ReLU" bottom: "sum" top: "end" }', ["sum"], "'sum' cannot .* several bottoms"),
        (BRANCHES, ["pool", "conv", "relu", "other", "sum"], "nothing but inputs would be left"),
        (
            BRANCHES.replace('bottom: "pool" top: "other"', 'bottom: "pool" top: "pool"').replace(
                'bottom: "other"', 'bottom: "pool"'
            ),
            ["conv", "relu"],
            "layer 'sum' cannot read 'pool' instead of 'conv', because layer 'other' changes that blob in place before",
        ),
    ],
)
def test_removals_that_cannot_be_are_refused(text: str, names: list[str], message: str) -> None:
    with pytest.raises(NetError, match=message):
        surgery.without(read_definition(text), names)


def test_a_layer_is_renamed_with_its_blob_in_both_phases() -> None:
    edit = surgery.renamed(read_definition(PHASES), {"fc8": "fc20"})
    links = wiring(edit.definition)
    assert links["fc20"] == (["data"], ["fc20"])
    assert links["drop"] == (["fc20"], ["fc20"])
    assert links["loss"][0] == links["accuracy"][0] == ["fc20", "label"]
    assert edit.layers == edit.blobs == {"fc8": "fc20"}


def test_names_can_be_swapped_and_blobs_renamed_alone() -> None:
    links = wiring(surgery.renamed(read_definition(BRANCHES), {"conv": "other", "other": "conv", "sum": "total"}).definition)
    assert links["total"] == (["other", "conv"], ["total"])
    text = BRANCHES.replace('top: "sum"', 'top: "result"')
    assert wiring(surgery.renamed(read_definition(text), {"result": "y"}).definition)["sum"][1] == ["y"]
    assert surgery.renamed(read_definition(BRANCHES), {"relu": "act"}).blobs == {}  # it only works on a blob in place


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"cov": "x"}, "no layer or blob 'cov' in this net; did you mean 'conv'"),
        ({"conv": "pool"}, "'conv' cannot be renamed 'pool': there is already a layer of this name"),
        ({"conv": "x", "pool": "x"}, "already a layer of this name"),
        ({"conv": ""}, "a name is a text that is not empty"),
    ],
)
def test_names_that_cannot_be_are_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(NetError, match=message):
        surgery.renamed(read_definition(BRANCHES), names)


def test_a_replaced_layer_keeps_its_place_in_the_net_and_its_phases() -> None:
    message = Message.of("LayerParameter", name="drop", type="Sigmoid")
    layer = surgery.replaced(read_definition(PHASES), "drop", message).definition.layer[3]
    expected = read_definition(PHASES.replace('"Dropout"', '"Sigmoid"')).layer[3]
    assert layer == expected


def new(name: str = "new") -> Message:
    return Message.of("LayerParameter", name=name, type="Power", power_param={"scale": 2})


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        # Behind the convolution: the ReLU goes on in place, on the new blob, and so does all that follows.
        ({"after": "conv"}, {"new": (["conv"], ["new"]), "relu": (["new"], ["new"]), "sum": (["new", "other"], ["sum"])}),
        ({"after": "relu"}, {"new": (["conv"], ["new"]), "relu": (["conv"], ["conv"]), "sum": (["new", "other"], ["sum"])}),
        ({"after": "conv", "in_place": True}, {"new": (["conv"], ["conv"]), "relu": (["conv"], ["conv"])}),
        # Before one reader: the other one reads what it read.
        ({"before": "conv"}, {"new": (["pool"], ["new"]), "conv": (["new"], ["conv"]), "other": (["pool"], ["other"])}),
        ({"before": "relu"}, {"new": (["conv"], ["new"]), "relu": (["new"], ["new"]), "sum": (["new", "other"], ["sum"])}),
        ({"before": "other"}, {"new": (["pool"], ["new"]), "conv": (["pool"], ["conv"]), "other": (["new"], ["other"])}),
    ],
)
def test_a_layer_is_inserted_between_a_blob_and_its_readers(place: dict[str, str], expected: dict[str, object]) -> None:
    links = wiring(surgery.inserted(read_definition(BRANCHES), new(), **place).definition)  # type: ignore[arg-type]
    assert {name: links[name] for name in expected} == expected
    order = list(links)
    anchor = place.get("after") or place["before"]
    assert abs(order.index("new") - order.index(anchor)) == 1


def test_an_inserted_layer_has_the_phases_of_its_neighbour() -> None:
    definition = surgery.inserted(read_definition(PHASES), new(), after="drop", in_place=True).definition
    layer = next(layer for layer in definition.layer if layer.name == "new")
    assert [rule.phase for rule in layer.include] == ["TRAIN"]
    both = surgery.inserted(read_definition(PHASES), new(), after="data").definition
    assert "include" not in both.layer[2]
    assert wiring(both)["fc8"][0] == ["new"]


@pytest.mark.parametrize(
    ("layer", "place", "message"),
    [
        (new("conv"), {"after": "pool"}, "cannot be called 'conv'"),
        (new(), {"before": "data"}, "layer 'data' has no bottom for the new layer to read"),
        (new(), {"after": "con"}, "did you mean 'conv'"),
    ],
)
def test_insertions_that_cannot_be_are_refused(layer: Message, place: dict[str, str], message: str) -> None:
    with pytest.raises(NetError, match=message):
        surgery.inserted(read_definition(BRANCHES), layer, **place)  # type: ignore[arg-type]


def test_a_blob_of_one_phase_is_not_renamed_for_the_other() -> None:
    text = PHASES.replace('name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }',
                          'name: "val" type: "Data" top: "data" top: "label" include { phase: TEST }')  # fmt: skip
    message = "'{}' is not there in every phase, but blob '{}' is: .* insert it in place, or before a reader"
    with pytest.raises(NetError, match=message.format("data", "data")):
        surgery.inserted(read_definition(text), new(), after="data")
    for place in ({"after": "drop"}, {"before": "drop"}):
        with pytest.raises(NetError, match=message.format("drop", "fc8")):
            surgery.inserted(read_definition(PHASES), new(), **place)  # type: ignore[arg-type]
