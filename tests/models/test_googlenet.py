"""GoogLeNet: BVLC's file layer for layer, table 1 of the paper, and torchvision's weights."""

from __future__ import annotations

from protogen.models import googlenet, googlenet_solver
from protogen.prototxt.reader import read_solver
from tests.corpus import CORPUS, needs_corpus
from tests.models.published import assert_published
from tests.models.torchvision_nets import assert_computes_torchvision, assert_torchvision_weights_fit


@needs_corpus
def test_it_is_bvlcs() -> None:
    assert_published(googlenet(batch=10), "BVLC+caffe/models/bvlc_googlenet/deploy.prototxt")
    assert_published(googlenet(phase="TRAIN"), "BVLC+caffe/models/bvlc_googlenet/train_val.prototxt", trains=True)


@needs_corpus
def test_the_solver_is_bvlcs() -> None:
    theirs = read_solver((CORPUS / "BVLC+caffe/models/bvlc_googlenet/quick_solver.prototxt").read_text())
    assert googlenet_solver(theirs.net, snapshot_prefix=theirs.snapshot_prefix) == theirs


def test_three_losses_in_training() -> None:
    net = googlenet(phase="TRAIN")
    weights = {layer.name: layer.message.loss_weight for layer in net.layers if layer.type == "SoftmaxWithLoss"}
    assert {name: [round(value, 3) for value in values] for name, values in weights.items()} == {
        "loss1/loss": [0.3], "loss2/loss": [0.3], "loss": [],
    }  # fmt: skip


def test_the_papers_table() -> None:
    """Output sizes of table 1, which also counts 1.5 thousand million operations."""
    net = googlenet()
    sizes = [net.shapes[f"inception_{module}/output"][1:] for module in ("3a", "3b", "4a", "4e", "5a", "5b")]
    assert sizes == [(256, 28, 28), (480, 28, 28), (512, 14, 14), (832, 14, 14), (832, 7, 7), (1024, 7, 7)]
    assert net.macs == 1_582_671_872


def test_torchvisions_weights() -> None:
    assert_torchvision_weights_fit(googlenet(preset="torchvision"), "googlenet", without=("aux1", "aux2"))
    options = {"aux_logits": False, "init_weights": False}
    assert_computes_torchvision(googlenet(preset="torchvision", batch=2), "googlenet", **options)
