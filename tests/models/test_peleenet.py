"""PeleeNet: the published definitions message for message, the paper's figures, train/val nets, solvers, and wrong values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import protogen
from protogen import NetError
from protogen.models import models, peleenet, peleenet_solver
from protogen.prototxt.lexer import read_text
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_definition, read_solver
from protogen.prototxt.writer import write
from tests.corpus import CORPUS, REFERENCE, needs_corpus, needs_reference

OFFICIAL = CORPUS / "Robert-JunWang+PeleeNet/caffe/peleenet.prototxt"


def assert_same_messages(ours: str, path: Path) -> None:
    """Both texts parse to equal messages; a difference is shown layer by layer."""
    mine, theirs = parse(ours), read_definition(read_text(path), str(path))
    for a, b in zip(mine.layer, theirs.layer):
        assert a == b
    assert mine == theirs


@needs_reference
def test_the_default_is_genpelees_message_for_message() -> None:
    assert_same_messages(peleenet(size=224).to_prototxt(), REFERENCE / "peleenet_genpelee.prototxt")


@needs_corpus
def test_the_official_preset_is_the_authors_message_for_message() -> None:
    assert_same_messages(peleenet(preset="official").to_prototxt(), OFFICIAL)


def test_the_papers_table() -> None:
    """2.8 M parameters and 508 M multiply-adds at 224 x 224 (Pelee, NeurIPS 2018), in convolutions and the classifier."""
    for preset in ("genpelee", "official"):
        net = peleenet(size=224, preset=preset)
        assert net.param_count == 2_802_248
        assert net.macs == 507_757_568
        assert {layer.type for layer, op in zip(net.layers, net.ops) if op.macs} == {"Convolution", "InnerProduct"}


def test_the_default_net() -> None:
    """What the reference file holds, for those who do not have it."""
    net = peleenet()
    assert (net.name, net.inputs, net.outputs, len(net.layers)) == ("PeleeNet", ["data"], ["prob"], 482)
    names = [layer.name for layer in net.layers]
    assert names[:6] == ["data", "stem1", "stem1/bn", "stem1/scale", "stem1/relu", "stem2a"]
    assert [name for name in names if name.startswith("stage1_1/")] == [
        f"stage1_1/{branch}{part}" for branch in ("a1", "a2", "b1", "b2", "b3") for part in ("", "/bn", "/scale", "/relu")
    ]
    assert [layer.name for layer in net.layers if layer.type == "Concat"] == [
        "stem/concat",
        *(f"stage{stage + 1}_{i + 1}" for stage, layers in enumerate((3, 4, 8, 6)) for i in range(layers)),
    ]
    pools = [layer for layer in net.layers if layer.type == "Pooling"]
    assert [(layer.name, layer.message.pooling_param.pool) for layer in pools] == [
        ("stem1/pool", "MAX"),
        ("stage1/pool", "MAX"),
        ("stage2/pool", "MAX"),
        ("stage3/pool", "MAX"),
        ("global_pool", "AVE"),
    ]
    assert names[-3:] == ["global_pool", "classifier", "prob"]
    assert net.shapes["stem"] == (1, 32, 56, 56)
    assert net.shapes["stage4"] == (1, 704, 7, 7)


def test_the_official_preset() -> None:
    net = peleenet(preset="official")
    names = [layer.name for layer in net.layers]
    assert {"stem3", "stage1_1/branch1a", "stage1_1/branch2c", "stage1_1/concat", "stage1_tb", "stage1_tb/pool"} <= set(names)
    assert net.layer("stage1_tb/pool").message.pooling_param.pool == "AVE"
    assert net.layer("stem1/bn").message.batch_norm_param.moving_average_fraction == pytest.approx(0.1)


def test_options() -> None:
    net = peleenet(
        (96, 64),
        batch=3,
        classes=7,
        growth_rate=16,
        blocks=(2, 1),
        bottleneck=(1, 3),
        stem_channels=8,
        transition_pool="ave",
        name="Tiny",
    )
    assert net.name == "Tiny"
    assert net.shapes["data"] == (3, 3, 96, 64)
    assert net.shapes["prob"] == (3, 7)
    assert net.shapes["stage1_2"] == (3, 8 + 2 * 16, 24, 16)
    assert net.shapes["stage2"] == (3, 8 + 3 * 16, 12, 8)
    assert net.shapes["stage2_1/a1"][1] == 16 // 2 * 3
    assert net.layer("stage1/pool").message.pooling_param.pool == "AVE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "height must be positive"),
        ({"size": (224, -1)}, "width must be positive"),
        ({"batch": 0}, "batch must be positive"),
        ({"classes": 0}, "classes must be positive"),
        ({"growth_rate": 33}, "growth_rate must be positive and even"),
        ({"growth_rate": 0}, "growth_rate must be positive"),
        ({"stem_channels": 31}, "stem must be positive and even"),
        ({"blocks": (3, 4)}, "2 and 4 do not match"),
        ({"blocks": (), "bottleneck": ()}, "one number per stage"),
        ({"blocks": (3, 4, 0, 6)}, "must be positive"),
        ({"bottleneck": (1, 2, 4, -4)}, "must be positive"),
        ({"transition_pool": "MIN"}, "MAX or AVE, not 'MIN'"),
        ({"preset": "genpele"}, "did you mean 'genpelee'"),
        ({"phase": "VAL"}, "TRAIN or TEST"),
        ({"phase": "TRAIN", "size": (224, 320)}, "crop squares"),
        ({"classes": 2**31}, "layer 'classifier' .*more than Caffe's"),
        ({"size": 2**30}, "more than Caffe's"),
    ],
)
def test_values_no_such_net_can_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        peleenet(**options)


def test_a_small_image_shrinks_to_one_pixel() -> None:
    net = peleenet(size=8)
    assert (net.shapes["stage4"], net.shapes["prob"]) == ((1, 704, 1, 1), (1, 1000))


def test_train_val_net() -> None:
    net = peleenet(phase="TRAIN", classes=10)
    assert net.phase == "TRAIN"
    assert [layer.type for layer in net.layers if layer.type in ("Data", "SoftmaxWithLoss", "Accuracy")] == [
        "Data",
        "SoftmaxWithLoss",
    ]
    assert net.inputs == ["data", "label"]
    val = net.at("TEST")
    assert [layer.type for layer in val.layers if layer.type in ("Data", "Accuracy")] == ["Data", "Accuracy", "Accuracy"]
    assert [layer.message.accuracy_param.top_k for layer in val.layers if layer.type == "Accuracy"] == [1, 5]
    assert "prob" not in val.outputs
    assert net.shapes["data"][0] > val.shapes["data"][0]


def test_multipliers_of_the_train_val_net() -> None:
    net = peleenet(phase="TRAIN")
    multipliers = {
        layer.type: [(spec.lr_mult, spec.decay_mult) for spec in layer.message.param]
        for layer in net.layers
        if layer.message.param
    }
    assert multipliers == {
        "Convolution": [(1, 1)],
        "BatchNorm": [(0, 0)] * 3,
        "Scale": [(1, 0), (1, 0)],
        "InnerProduct": [(1, 1), (2, 0)],
    }


def test_train_val_net_reads_back_in_both_phases() -> None:
    text = peleenet(phase="TRAIN", classes=10).to_prototxt()
    for phase, outputs in (("TRAIN", {"loss"}), ("TEST", {"loss", "accuracy/top1", "accuracy/top5"})):
        assert set(protogen.loads(text, phase=phase).outputs) == outputs


def test_weights_of_the_deploy_net_fit_the_train_val_net() -> None:
    assert peleenet().param_shapes == peleenet(phase="TRAIN").param_shapes


def test_a_net_of_few_classes_has_no_top5() -> None:
    assert [name for name in peleenet(phase="TRAIN", classes=2).at("TEST").outputs if "top5" in name] == []


def test_solver() -> None:
    solver = peleenet_solver("train_val.prototxt")
    assert solver.net == "train_val.prototxt"
    assert solver.max_iter > 0
    assert solver.test_iter
    assert solver.momentum == pytest.approx(0.9)
    assert read_solver(write(solver)) == solver


def test_it_trains() -> None:
    """One step downhill lowers the loss of the batch it was taken on."""
    import torch

    torch.manual_seed(0)
    net = peleenet(phase="TRAIN", classes=5, blocks=(1, 1), bottleneck=(1, 2))
    module = net.to_torch(seed=1)
    x, label = torch.randn(4, 3, 64, 64), torch.tensor([0.0, 1, 2, 3])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    before = module.loss(x, label)
    before.backward()
    optimizer.step()
    assert module.loss(x, label) < before


def test_models_are_listed() -> None:
    listed = models()["peleenet"]
    assert listed.build is peleenet
    assert listed.summary.startswith("PeleeNet")
    assert "NeurIPS 2018" in listed.paper


@pytest.mark.parametrize("preset", ["genpelee", "official"])
def test_both_presets_agree_between_pytorch_and_onnx(preset: str) -> None:
    report = protogen.verify(peleenet(size=96, classes=20, preset=preset))
    assert report.ok, report.verdict
