"""Fields of losses set alone: rows that test_fields.py runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from tests.layers.alone import Alone
from tests.layers.test_loss import PER_ITEM, A, B, X, Y, labels, random, smooth

PLAIN = 'bottom: "a" bottom: "b" top: "y" '
MATRIX = torch.tensor([[1, 0.5, 0], [0.25, 2, -1], [0, 0.5, 3]])  # tests/data/infogain.binaryproto holds it, too
CUBE, CUBE_LABELS = random(2, 3, 3), labels(2, 3, classes=3)  # three classes along axis 1 or along axis 2
BITS = labels(3, 4, 2, 5, classes=2)


def alone(type: str, path: str, value: object, layer: str, inputs: list[torch.Tensor], loss: torch.Tensor, **options: object):
    """The layer's one top is `loss`."""
    arrays = [value.numpy() for value in inputs]
    shapes = [array.shape for array in arrays]
    return Alone(type, path, value, layer, shapes, lambda net, values: [loss.numpy()], inputs=lambda: arrays, **options)


def gains(x: torch.Tensor, y: torch.Tensor, axis: int = 1) -> torch.Tensor:
    """The loss of each item: the row of its label times the logarithms."""
    return -(MATRIX[y.long()] * x.log_softmax(axis).movedim(axis, -1)).sum(-1)


def turning(d: torch.Tensor, point: float) -> torch.Tensor:
    """happynear's form: a parabola as far as `point`, and on in a straight line."""
    return torch.where(d.abs() < point, d * d / 2, d.abs() - point + point**2 / 2)


SIGMOID = F.binary_cross_entropy_with_logits(X, BITS, reduction="none")
PRE_FIXED = PLAIN + "loss_param { normalization: PRE_FIXED }"
ALONE = [
    *(
        row
        for type in ("SoftmaxWithLoss", "SoftmaxWithLossOHEM")
        for row in (
            alone(type, "loss_param.normalize", True, PLAIN + "loss_param { normalize: false }", [X, Y], PER_ITEM.mean()),
            alone(type, "loss_param.pre_fixed_normalizer", 7, PRE_FIXED, [X, Y], PER_ITEM.sum() / 7),
            alone(
                type, "softmax_param.axis", 2, PLAIN, [CUBE, CUBE_LABELS],
                F.cross_entropy(CUBE.reshape(6, 3), CUBE_LABELS.flatten().long()),
            ),
        )
    ),
    alone(
        "InfogainLoss", "infogain_loss_param.source", str(Path(__file__).parents[1] / "data/infogain.binaryproto"), PLAIN,
        [CUBE, CUBE_LABELS], gains(CUBE, CUBE_LABELS).mean(), refused="needs the infogain matrix",
    ),
    *(
        alone("InfogainLoss", path, value, layer + 'bottom: "c"', [CUBE, CUBE_LABELS, MATRIX], loss)
        for path, value, layer, loss in (
            ("infogain_loss_param.axis", 2, PLAIN, gains(CUBE, CUBE_LABELS, 2).mean()),
            ("loss_param.normalization", "BATCH_SIZE", PLAIN, gains(CUBE, CUBE_LABELS).sum() / 2),
            ("loss_param.ignore_label", 1, PLAIN, gains(CUBE, CUBE_LABELS)[CUBE_LABELS != 1].mean()),
            ("loss_param.pre_fixed_normalizer", 7, PRE_FIXED, gains(CUBE, CUBE_LABELS).sum() / 7),
        )
    ),
    alone("SigmoidCrossEntropyLoss", "loss_param.normalize", True, PLAIN, [X, BITS], SIGMOID.mean()),
    *(
        alone("SmoothL1Loss", path, value, layer, [A, B], loss)
        for path, value, layer, loss in (
            ("loss_param.normalize", True, PLAIN, smooth(A - B).sum() / 12),
            ("loss_param.normalization", "NONE", PLAIN, smooth(A - B).sum()),
            ("loss_param.pre_fixed_normalizer", 7, PRE_FIXED, smooth(A - B).sum() / 7),
            ("smooth_l1_loss_param.sigma", 3, PLAIN, smooth(A - B, 3).sum() / 3),
            ("smoothl1_param.turn_point", 0.5, PLAIN, turning(A - B, 0.5).sum() / 3),
        )
    ),
    *(
        alone("SmoothL1LossOHEM", path, value, layer, [A, B], smooth(A - B).sum() / divisor)
        for path, value, layer, divisor in (
            ("loss_param.normalize", True, PLAIN + "loss_param { normalize: false }", 12),
            ("loss_param.normalization", "NONE", PLAIN, 1),
            ("loss_param.pre_fixed_normalizer", 7, PRE_FIXED, 7),
        )
    ),
]  # fmt: skip
