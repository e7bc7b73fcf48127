"""What every call of a builder goes through: names, scopes, groups, shapes, defaults, and refusals that change nothing."""

from __future__ import annotations

import pytest

import protogen
from protogen import NetBuilder, NetError
from tests.nets import begun


def test_branches_read_naturally() -> None:
    b = begun()
    left = b.conv("data", 4, 1, name="left")
    right = b.pool("data", "MAX", 3, stride=1, pad=1, name="right")
    assert b.concat(left, right, name="both") == "both"
    b.relu()
    assert b.last == "both"
    net = b.build()
    assert net.layer("both").bottoms == ["left", "right"]
    assert net.outputs == ["both"]


def test_names_made_up_are_readable_and_unused() -> None:
    b = begun()
    assert [b.conv(4, 1), b.conv(4, 1), b.pool(), b.fc(3)] == ["conv1", "conv2", "pool1", "fc1"]
    b.bn("conv2")
    b.relu("conv2")
    b.relu("conv2")
    names = [layer.name for layer in b.build().layers]
    assert names[5:] == ["conv2/bn", "conv2/scale", "conv2/relu", "conv2/relu2"]
    assert len(set(names)) == len(names)
    b = begun()
    b.conv("data", 4, 1, name="conv1")
    assert b.conv("data", 4, 1) == "conv2"


def test_defaults_by_type() -> None:
    b = NetBuilder(defaults={"Convolution": {"param": [{"lr_mult": 3}], "bias_term": False}, "BatchNorm": {"eps": 0.25}})
    b.input("data", (1, 3, 8, 8))
    b.bn(b.conv(4, 1, name="plain"))
    b.conv(4, 1, bias_term=True, name="own")
    net = b.build()
    assert net.layer("plain").message.param[0].lr_mult == 3
    assert [len(net.param_shapes[name]) for name in ("plain", "own")] == [1, 2]
    assert net.layer("plain/bn").message.batch_norm_param.eps == 0.25


def test_data_layers_of_both_phases_share_a_name() -> None:
    b = NetBuilder(phase="TRAIN")
    for phase, size in (("TRAIN", 8), ("TEST", 2)):
        b.layer(
            "Data",
            name="data",
            top=["data", "label"],
            include={"phase": phase},
            transform_param={"crop_size": 8},
            data_param={"source": "db", "batch_size": size},
        )
    b.relu("data")
    net = b.build()
    assert net.inputs == ["data", "label"]
    assert net.shapes["data"] == (8, 3, 8, 8)
    assert net.at("TEST").shapes["data"] == (2, 3, 8, 8)


def test_layer_with_several_tops_or_none() -> None:
    b = begun((2, 4, 8, 8))
    left, right = b.layer("Slice", "data", top=["left", "right"], slice_point=[1])
    assert (b.shape(left), b.shape(right)) == ((2, 1, 8, 8), (2, 3, 8, 8))
    assert b.layer("Silence", right, top=[]) == ()
    assert b.build().outputs == ["left"]


def test_a_layer_of_an_unknown_type_is_taken_as_it_is() -> None:
    b = begun()
    b.layer("MyOwn", "data", name="mine", my_param={"depth": 3, "mode": "FAST"})
    net = b.build()
    assert net.unknown_types == ["MyOwn"]
    assert "my_param {" in net.to_prototxt()
    with pytest.raises(NetError, match="shape of blob 'mine' is unknown"):
        b.channels("mine")


def test_nothing_to_continue_from() -> None:
    with pytest.raises(NetError, match="start with input"):
        NetBuilder().relu()


def test_a_refused_call_leaves_the_builder_as_it_was() -> None:
    b = begun()
    b.conv(4, 1, name="conv")
    for attempt in (
        lambda: b.conv(3, 99, name="bad"),
        lambda: b.eltwise("conv", "data", name="bad"),
        lambda: b.relu("none", name="bad"),
    ):
        with pytest.raises(NetError):
            attempt()
    assert b.last == "conv"
    b.relu(name="bad")  # the name is still free
    assert [layer.name for layer in b.build().layers] == ["data", "conv", "bad"]


def test_it_goes_on_after_build() -> None:
    b = begun()
    b.conv(4, 1, name="one")
    first = b.build()
    b.conv(5, 1, name="two")
    assert [layer.name for layer in first.layers] == ["data", "one"]
    assert first.outputs == ["one"]
    assert b.build().outputs == ["two"]


def test_scopes_prefix_and_group() -> None:
    b = begun()
    with b.scope("stage"):
        b.conv(4, 1, name="a")
        with b.scope("inner"):
            b.conv(4, 1, name="a")
            b.conv(4, 1)
    net = b.build()
    assert [layer.name for layer in net.layers] == ["data", "stage/a", "stage/inner/a", "stage/inner/conv1"]
    assert [layer.group for layer in net.layers] == ["", "stage", "stage/inner", "stage/inner"]


def test_names_are_data() -> None:
    """Quotes, newlines and template marks in names come back as they were."""
    b = NetBuilder('a "net"\n{{ 7 * 7 }}')
    odd = "x\n\"y\" {{ z }} {% raw %} \\ é __import__('os')"
    b.conv(b.input(odd, (1, 3, 4, 4)), 2, 1, name=f"{odd}/conv")
    again = protogen.loads(b.build().to_prototxt())
    assert (again.name, again.layers[1].name, again.inputs) == ('a "net"\n{{ 7 * 7 }}', f"{odd}/conv", [odd])


def test_made_up_names_differ_from_those_of_the_other_phase() -> None:
    b = protogen.NetBuilder()
    x = b.input("data", (2, 3))
    label = b.input("label", (2,))
    for _ in range(2):
        b.softmax_loss(x, label, include={"phase": "TRAIN"})
    assert [layer.name for layer in b.build().at("TRAIN").layers[2:]] == ["loss1", "loss2"]


@pytest.mark.parametrize(("phase", "other"), [("TEST", "TRAIN"), ("TRAIN", "TEST")])
def test_a_net_for_one_phase_need_not_fit_the_other(phase: str, other: str) -> None:
    b = NetBuilder(phase=phase)
    b.layer("Input", name="data", shape={"dim": [1, 3, 8, 8]}, include={"phase": phase})
    b.conv(4, 3, name="conv")
    net = b.build()
    assert net.shapes["conv"] == (1, 4, 6, 6)
    with pytest.raises(NetError, match=f"in phase {other}; layer 'data' does in phase {phase}"):
        net.at(other)


def test_the_other_phase_must_fit_if_it_has_layers_of_its_own() -> None:
    b = NetBuilder()
    b.layer("Input", name="data", shape={"dim": [1, 3, 8, 8]}, include={"phase": "TEST"})
    b.layer("Input", name="small", top="data", shape={"dim": [1, 3, 2, 2]}, include={"phase": "TRAIN"})
    b.conv("data", 4, 3, name="conv")
    with pytest.raises(NetError, match=r"layer 'conv' .*the kernel covers 3 pixels, its bottom has 2"):
        b.build()
