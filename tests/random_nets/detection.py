"""Offers of detection layers: what is found hangs on comparisons, so all bottoms are fed."""

from __future__ import annotations

import numpy as np

from tests.random_nets.growing import Blob, Grower, images, offer, source


@offer(images)
def prior_box(g: Grower, x: Blob) -> None:
    like = g.pick([blob for blob in g.blobs.values() if images(blob) and blob.whole][-4:])
    if g.flag():
        sizes = {"width": [3, 2], "height": [2, 4], "variance": [0.1, 0.1, 0.2, 0.2]}
        g.add("PriorBoxClustered", x, like, **sizes)
    else:
        g.add("PriorBox", x, like, min_size=4, max_size=g.pick((None, 6)), aspect_ratio=[2], clip=g.pick((None, True)))


@source
def detection_output(g: Grower) -> None:
    prior = g.input((1, 2, 24), lambda rng, shape: np.stack([_boxes(rng, 6), np.full(24, 0.1)])[None], hidden=True)
    location, confidence = g.input((1, 24), hidden=True), g.input((1, 18), hidden=True)
    nms = {"nms_threshold": g.pick((0.45, 0.3)), "top_k": 10}
    made = g.builder.layer(
        "DetectionOutput", location.name, confidence.name, prior.name, num_classes=3, nms_param=nms, keep_top_k=5,
        code_type="CENTER_SIZE", confidence_threshold=g.pick((0.1, -1)),
    )  # fmt: skip
    assert isinstance(made, str)


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    first = rng.uniform(0, 0.6, (number, 2))
    return np.concatenate([first, first + rng.uniform(0.1, 0.4, (number, 2))], axis=1).reshape(-1)


@source
def proposal(g: Grower) -> None:
    scores, offsets = g.input((1, 4, 3, 4), hidden=True), g.input((1, 8, 3, 4), hidden=True)
    info = g.input((1, 3), lambda rng, shape: np.array([[48, 64, 1]]), hidden=True)
    fields = {"feat_stride": 16, "ratio": 1, "scale": [1, 2], "min_size": 8, "pre_nms_topn": 20, "post_nms_topn": 6}
    g.builder.layer("Proposal", scores.name, offsets.name, info.name, **fields)


@source
def yolo(g: Grower) -> None:
    cells = g.input((1, 14, 3, 3), hidden=True)
    fields = {"num_classes": 2, "num_box": 2, "confidence_threshold": 0.3, "nms_threshold": 0.4}
    if g.flag():
        g.builder.layer("YoloDetectionOutput", cells.name, biases=[1, 1, 2, 1.5], **fields)
    else:
        fields |= {"mask": [0, 1], "mask_group_num": 1, "anchors_scale": 32}
        g.builder.layer("Yolov3DetectionOutput", cells.name, biases=[20, 30, 40, 25], **fields)
