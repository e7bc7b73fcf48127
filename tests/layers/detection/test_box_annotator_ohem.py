"""R-FCN's mining of boxes: which are kept, every form, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.running import compile_whole

OHEM = """
layer { name: "in" type: "Input" top: "rois" top: "loss" top: "label" top: "weight" input_param {
  shape { dim: 9 dim: 5 } shape { dim: 9 dim: 1 dim: 1 dim: 1 } shape { dim: 9 } shape { dim: 9 dim: 8 } } }
layer { name: "op" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "loss" bottom: "label" bottom: "weight" top: "kept" top: "used"
  box_annotator_ohem_param { roi_per_img: 2 ignore_label: -7 } }"""


def ohem_inputs(n: int = 9) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    rois = rng.random((n, 5)).astype(np.float32)
    rois[:, 0] = rng.integers(0, 3, n)
    loss, label = rng.permutation(n).astype(np.float32).reshape(n, 1, 1, 1), rng.integers(0, 5, n).astype(np.float32)
    return [torch.tensor(value) for value in (rois, loss, label, rng.random((n, 8)).astype(np.float32))]


def hardest(
    rois: np.ndarray, loss: np.ndarray, label: np.ndarray, weight: np.ndarray, number: int, ignored: int
) -> list[np.ndarray]:
    """The tops: labels and weights of the `number` boxes of each image with the highest loss, of others `ignored` and 0."""
    kept, used = np.full((len(rois), 1, 1, 1), ignored, np.float32), np.zeros((len(rois), 8, 1, 1), np.float32)
    for image in range(3):
        own = [i for i in range(len(rois)) if rois[i, 0] == image]
        for i in sorted(own, key=lambda i: -loss[i].item())[:number]:
            kept[i], used[i] = label[i], weight[i].reshape(8, 1, 1)
    return [kept, used]


def test_the_hardest_boxes_of_each_image_are_kept() -> None:
    module = protogen.loads(OHEM, phase="TRAIN").to_torch()
    for n in (9, 14):
        rois, loss, label, weight = ohem_inputs(n)
        made = module(rois, loss, label, weight)
        for actual, wanted in zip(made, hardest(rois.numpy(), loss.numpy(), label.numpy(), weight.numpy(), 2, -7), strict=True):
            assert np.array_equal(actual.numpy(), wanted)


def test_box_annotator_compiles_and_exports() -> None:
    module, inputs = protogen.loads(OHEM, phase="TRAIN").to_torch(), ohem_inputs()
    expected = module(*inputs)
    for other in (compile_whole(module), torch.export.export(module, tuple(inputs), strict=False).module()):
        assert all(torch.equal(a, b) for a, b in zip(other(*inputs), expected))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("roi_per_img: 2", "roi_per_img: 0", "roi_per_img"),
        ("dim: 9 dim: 5", "dim: 9 dim: 4", "rois"),
        ("dim: 9 dim: 8", "dim: 8 dim: 8", "agree"),
    ],
)
def test_box_annotator_refuses(old: str, new: str, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        protogen.loads(OHEM.replace(old, new), phase="TRAIN")
    assert "'op'" in str(error.value)


def row(field: str, value: int, others: str, number: int, ignored: int) -> Alone:
    text = "".join(f'bottom: "{name}" ' for name in "abcd") + 'top: "y" top: "z"'
    return Alone(
        "BoxAnnotatorOHEM", f"box_annotator_ohem_param.{field}", value, f"{text} box_annotator_ohem_param {{ {others} }}",
        [(9, 5), (9, 1, 1, 1), (9,), (9, 8)], lambda net, values: hardest(*values.values(), number, ignored),
        lambda: [value.numpy() for value in ohem_inputs()],
    )  # fmt: skip


ALONE = [row("roi_per_img", 1, "roi_per_img: 2", 1, -1), row("ignore_label", -7, "roi_per_img: 2", 2, -7)]
