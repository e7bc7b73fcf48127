"""Each field of MultiBoxLoss alone, held against the plain loop of `plain_multibox.py`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.layers.alone import Alone
from tests.layers.detection.plain_multibox import CLASSES, IMAGES, PRIORS, case, plain_loss

SEED = 3
TEXT = 'bottom: "a" bottom: "b" bottom: "c" bottom: "d" top: "loss" multibox_loss_param {{ {} }} {}'
# Fields, their values, the other fields they need, and all of it as `plain_loss` calls it.
FIELDS: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("loc_loss_type", "L2", "", {"loc_loss": "L2"}),
    ("conf_loss_type", "LOGISTIC", "", {"conf_loss": "LOGISTIC"}),
    ("loc_weight", 0.25, "", {"weight": 0.25}),
    ("match_type", "BIPARTITE", "", {"per_prediction": False}),
    ("overlap_threshold", 0.25, "", {"threshold": 0.25}),
    ("use_prior_for_matching", False, "", {"use_prior": False}),
    ("use_difficult_gt", False, "", {"difficult": False}),
    ("neg_pos_ratio", 1.5, "", {"ratio": 1.5}),
    ("neg_overlap", 0.125, "", {"neg_overlap": 0.125}),
    ("code_type", "CENTER_SIZE", "", {"code": "CENTER_SIZE"}),
    ("encode_variance_in_target", True, "", {"in_target": True}),
    ("ignore_cross_boundary_bbox", True, "", {"inside_only": True}),
    ("bp_inside", True, "", {"bp_inside": True}),
    ("mining_type", "HARD_EXAMPLE", "sample_size: 4", {"mining": "HARD_EXAMPLE", "sample": 4}),
    ("sample_size", 4, "mining_type: HARD_EXAMPLE", {"mining": "HARD_EXAMPLE", "sample": 4}),
    ("nms_param.nms_threshold", 0.125, "nms_param { top_k: 8 }", {"nms": (0.125, 8)}),
    ("nms_param.top_k", 6, "nms_param { nms_threshold: 0.2 }", {"nms": (0.2, 6)}),
    ("use_prior_for_nms", True, "nms_param { nms_threshold: 0.2 top_k: 8 }", {"nms": (0.2, 8), "nms_prior": True}),
]


def row(path: str, value: Any, others: str = "", *, classes: int = CLASSES, loss: str = "", **more: Any) -> Alone:
    """A field of the layer; `how` is what `plain_loss` calls it and the others."""
    how = more.pop("how", {})
    sets = 1 if how.get("share", True) else classes
    own = others if path == "multibox_loss_param.num_classes" else f"num_classes: {classes} {others}"
    shapes = [(IMAGES, PRIORS * 4 * sets), (IMAGES, PRIORS * classes), (1, 2, PRIORS * 4), (1, 1, 7, 8)]

    def expected(net, values):
        return [np.float32(plain_loss(*values.values(), classes=classes, **how)[0])]

    options = {"inputs": partial(case, SEED, sets, classes), "phase": "TRAIN", **more}
    return Alone("MultiBoxLoss", path, value, TEXT.format(own, loss), shapes, expected, **options)


def around_background() -> list[np.ndarray]:
    """Boxes of classes 0, 1 and 3."""
    values = case(SEED)
    labels = values[3][..., 1]
    labels[labels == 2] = 0
    return values


ALONE = [
    *(row(f"multibox_loss_param.{field}", value, others, how=how) for field, value, others, how in FIELDS),
    row("multibox_loss_param.num_classes", CLASSES, refused="num_classes must be set"),
    row(
        "multibox_loss_param.share_location", False, "mining_type: NONE", how={"mining": "NONE", "share": False},
        refused=f"{PRIORS} priors need {PRIORS * 4} location predictions",
    ),
    row("multibox_loss_param.background_label_id", 2, how={"background": 2}, inputs=around_background),
    # Nothing but a check: it has to say what mining_type does.
    row(
        "multibox_loss_param.do_neg_mining", False, "mining_type: NONE do_neg_mining: true", how={"mining": "NONE"},
        refused="do_neg_mining contradicts mining_type NONE",
    ),
    # Boxes of a class that the layer does not tell apart.
    row(
        "multibox_loss_param.map_object_to_agnostic", True, "conf_loss_type: LOGISTIC", classes=2,
        how={"conf_loss": "LOGISTIC", "agnostic": True}, inputs=partial(case, SEED, 1, 2, 3),
    ),
    *(
        row(f"loss_param.{field}", value, loss="loss_param { }", how={"normalization": same})
        for field, value, same in (("normalize", False, "BATCH_SIZE"), ("normalization", "FULL", "FULL"))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("background", "label"), [(1, 2), (3, 1)])
def test_another_background_with_boxes_per_class(background: int, label: int) -> None:
    """The background's own boxes match nothing, and all that is unmatched is of that class."""
    how = {"mining": "NONE", "share": False, "background": background}
    others = "mining_type: NONE share_location: false"
    inputs = partial(case, SEED, CLASSES, CLASSES, label)
    row("multibox_loss_param.background_label_id", background, others, how=how, inputs=inputs).check()
