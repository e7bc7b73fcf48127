"""FCN: the authors' files layer for layer, deploy and train/val, and scores of the image's size."""

from __future__ import annotations

import pytest

import protogen
from protogen import NetError, ProtogenWarning
from protogen.models import fcn, fcn8s, find
from protogen.models.fcn import fcn_solver
from protogen.prototxt.lexer import read_text
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_definition, read_solver
from protogen.prototxt.writer import write
from tests.corpus import CORPUS, needs_corpus
from tests.models.published import assert_published, layers

AUTHORS = "shelhamer+fcn.berkeleyvision.org"


@needs_corpus
def test_the_deploy_net_is_the_authors() -> None:
    assert_published(fcn8s(), f"{AUTHORS}/voc-fcn8s/deploy.prototxt")


@needs_corpus
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_train_val_net_is_the_authors(stride: int) -> None:
    """All but the data layers, and the Accuracy, which they leave to a script; theirs share nothing between the phases."""
    path = f"{AUTHORS}/voc-fcn{stride}s/train.prototxt"
    ours = [line for line in layers(parse(find(f"fcn{stride}s").build(phase="TRAIN").to_prototxt()), False) if _shared(line)]
    theirs = [line for line in layers(read_definition(read_text(CORPUS / path), path, False), False) if _shared(line)]
    assert ours == theirs


def _shared(line: tuple[object, ...]) -> bool:
    return line[1] not in ("Python", "ImageSegData", "Accuracy")


@needs_corpus
def test_the_solver_has_the_authors_settings() -> None:
    theirs = read_solver((CORPUS / AUTHORS / "voc-fcn32s/solver.prototxt").read_text())
    ours = fcn_solver("net.prototxt", snapshot_prefix=theirs.snapshot_prefix)
    for field in ("base_lr", "lr_policy", "momentum", "weight_decay", "max_iter", "average_loss", "display", "snapshot"):
        assert getattr(ours, field) == getattr(theirs, field), field


@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 130), (500, 333)])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_scores_have_the_images_size(stride: int, height: int, width: int) -> None:
    net = fcn((height, width), classes=5, stride=stride)
    assert net.shapes["score"] == (1, 5, height, width)


def test_offsets_are_those_that_coordinates_give() -> None:
    """The constants in the authors' files, from the geometry of the layers alone."""
    definition = parse(fcn8s().to_prototxt())
    for layer in definition.layer:
        if layer.type == "Crop":
            layer.store("crop_param", [])
    with pytest.warns(ProtogenWarning, match="crops at offset"):
        aligned = protogen.loads(write(definition), crop="aligned")
    assert [set(op.offsets) for op in aligned.ops if op.layer.type == "Crop"] == [{5}, {9}, {31}]


def test_train_val_net() -> None:
    net = fcn(64, classes=5, phase="TRAIN")
    assert net.outputs == ["loss"]
    assert net.shapes["label"] == (1, 1, 64, 64)
    assert net.at("TEST").outputs == ["loss", "accuracy"]


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="stride takes 32, 16, 8, not 4"):
        fcn(stride=4)
    with pytest.raises(NetError, match="classes must be positive"):
        fcn(classes=0)
