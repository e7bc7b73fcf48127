"""CIFAR-10 full: Caffe's example layer for layer, and its solver."""

from __future__ import annotations

from protogen.models import cifar10_full, cifar10_full_solver
from protogen.prototxt.reader import read_solver
from tests.corpus import CORPUS, needs_corpus
from tests.models.published import assert_published

EXAMPLE = "BVLC+caffe/examples/cifar10/cifar10_full"


@needs_corpus
def test_it_is_the_example() -> None:
    assert_published(cifar10_full(), f"{EXAMPLE}.prototxt")
    assert_published(cifar10_full(phase="TRAIN"), f"{EXAMPLE}_train_test.prototxt", trains=True)


@needs_corpus
def test_the_solver_is_the_examples() -> None:
    theirs = read_solver((CORPUS / f"{EXAMPLE}_solver.prototxt").read_text())
    assert cifar10_full_solver(theirs.net, snapshot_prefix=theirs.snapshot_prefix) == theirs


def test_parameters_by_hand() -> None:
    assert cifar10_full().param_count == 32 * 75 + 32 + 32 * 800 + 32 + 64 * 800 + 64 + 10 * 64 * 16 + 10
