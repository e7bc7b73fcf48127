"""AlexNet and CaffeNet: BVLC's files layer for layer, their solver, torchvision's weights, and wrong values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import protogen
from protogen import NetError
from protogen.models import alexnet, alexnet_solver, caffenet
from protogen.prototxt.reader import read_solver
from tests.corpus import CORPUS, needs_corpus
from tests.models.published import assert_published
from tests.models.torchvision_nets import assert_torchvision_weights_fit

BOTH = pytest.mark.parametrize(("build", "folder"), [(alexnet, "bvlc_alexnet"), (caffenet, "bvlc_reference_caffenet")])
Build = Callable[..., protogen.Net]


@needs_corpus
@BOTH
def test_they_are_bvlcs(build: Build, folder: str) -> None:
    assert_published(build(batch=10), f"BVLC+caffe/models/{folder}/deploy.prototxt")
    assert_published(build(phase="TRAIN"), f"BVLC+caffe/models/{folder}/train_val.prototxt", trains=True)


@needs_corpus
@BOTH
def test_the_initial_weights_are_bvlcs(build: Build, folder: str) -> None:
    theirs = protogen.load(CORPUS / f"BVLC+caffe/models/{folder}/train_val.prototxt", phase="TRAIN")
    ours = build(phase="TRAIN")
    for layer in theirs.layers:
        for param in ("convolution_param", "inner_product_param"):
            if param in layer.message:
                mine, other = getattr(ours.layer(layer.name).message, param), getattr(layer.message, param)
                assert (mine.weight_filler, mine.bias_filler) == (other.weight_filler, other.bias_filler)


@needs_corpus
def test_the_solver_is_bvlcs() -> None:
    theirs = read_solver((CORPUS / "BVLC+caffe/models/bvlc_alexnet/solver.prototxt").read_text())
    assert alexnet_solver(theirs.net, snapshot_prefix=theirs.snapshot_prefix) == theirs


def test_parameters_by_hand() -> None:
    """Table 1 of many a lecture: 96 of 11x11x3, 256 of 5x5x48, 384 of 3x3x256, and so on; two groups halve the depth."""
    convolutions = 96 * 363 + 256 * 25 * 48 + 384 * 9 * 256 + 384 * 9 * 192 + 256 * 9 * 192
    connected = 4096 * 9216 + 4096 * 4096 + 1000 * 4096
    biases = 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 1000
    assert alexnet().param_count == caffenet().param_count == convolutions + connected + biases


def test_torchvisions_weights() -> None:
    assert_torchvision_weights_fit(alexnet(preset="torchvision"), "alexnet")


def test_an_unknown_preset() -> None:
    with pytest.raises(NetError, match=r"unknown preset 'bvcl'; did you mean 'bvlc'\? \(known: bvlc, torchvision\)"):
        alexnet(preset="bvcl")
