"""HED: the authors' files layer for layer, and the offsets that their Crop finds out by itself."""

from __future__ import annotations

import pytest

import protogen
from protogen import ProtogenWarning
from protogen.models import hed
from protogen.models.hed import hed_solver
from protogen.prototxt.lexer import read_text
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_definition, read_solver
from tests.corpus import CORPUS, needs_corpus
from tests.models.published import Line, layers

AUTHORS = "s9xie+hed/examples/hed"


def ours(line: Line) -> Line:
    """In the file all Crops are called crop, and losses have no name; the offsets are found out when it runs."""
    _, kind, bottoms, tops, rest = line
    return (tops[0], kind, bottoms, tops, rest) if kind in ("Crop", "SigmoidCrossEntropyLoss") else line


def without_offsets(net: protogen.Net) -> list[Line]:
    lines = layers(parse(net.to_prototxt()), net.phase == "TRAIN")
    return [(*line[:4], {}) if line[1] == "Crop" else line for line in lines]


@needs_corpus
def test_the_deploy_net_is_the_authors() -> None:
    path = f"{AUTHORS}/deploy.prototxt"
    theirs = [ours(line) for line in layers(read_definition(read_text(CORPUS / path), path), False)]
    assert without_offsets(hed()) == theirs


@needs_corpus
def test_the_train_val_net_is_the_authors() -> None:
    """With their learning rates; the data layers resize, and the images' folder is not theirs."""
    path = f"{AUTHORS}/train_val.prototxt"
    theirs = [ours(line) for line in layers(read_definition(read_text(CORPUS / path), path), True)]
    mine = without_offsets(hed(phase="TRAIN"))
    assert [line for line in mine if line[1] != "ImageLabelmapData"] == [
        line for line in theirs if line[1] != "ImageLabelmapData"
    ]


@needs_corpus
@pytest.mark.parametrize("size", [(321, 481), (100, 64)])
def test_it_crops_where_the_authors_layer_does(size: tuple[int, int]) -> None:
    with pytest.warns(ProtogenWarning, match="crops at offset"):
        theirs = protogen.load(CORPUS / AUTHORS / "deploy.prototxt", inputs={"data": (1, 3, *size)}, crop="aligned")
    offsets = [[set(op.offsets) for op in net.ops if op.layer.type == "Crop"] for net in (hed(size), theirs)]
    assert offsets == [[{34}, {35}, {36}, {38}, {42}]] * 2
    assert hed(size).shapes["upscore-fuse"] == theirs.shapes["upscore-fuse"] == (1, 1, *size)


@needs_corpus
def test_the_solver_has_the_authors_settings() -> None:
    theirs = read_solver((CORPUS / AUTHORS / "solver.prototxt").read_text())
    mine = hed_solver("train_val.prototxt", snapshot_prefix="hed")
    for field in ("base_lr", "lr_policy", "gamma", "stepsize", "iter_size", "momentum", "weight_decay", "max_iter", "snapshot"):
        assert getattr(mine, field) == getattr(theirs, field), field


def test_the_default_net() -> None:
    net = hed(64)
    assert net.outputs == [*(f"sigmoid-dsn{i}" for i in range(1, 6)), "sigmoid-fuse"]
    assert {net.shapes[output] for output in net.outputs} == {(1, 1, 64, 64)}
    train = hed((64, 80), phase="TRAIN")
    assert train.outputs == [*(f"dsn{i}_loss" for i in range(1, 6)), "fuse_loss"]
    assert train.shapes["label"] == (1, 1, 64, 80)
