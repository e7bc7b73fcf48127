"""The layers of a net that are needed to use it, where those at its end that only train or measure it cannot be set up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..layers.registry import class_for
from ..prototxt.layer import Layer

if TYPE_CHECKING:
    from .analysis import Analysis

# Types of forks that stand before a loss or measure the net, and read its labels, so that no net to deploy has them.
TRAINING_TYPES = frozenset(
    (
        "LabeledMatching",  # ShuangLI59/person_search models/psdb/resnet50/train.prototxt; its test nets have none
        "UnlabeledMatching",  # the same
        "MarginInnerProduct",  # wy1iu/sphereface margin_inner_product_layer.cpp
        "PR",  # ctensmeyer/binarization_2017 train_val.prototxt: tops precision, recall, accuracy, nmr, fmeasure
        "AnchorTargetLayer",  # of Faster R-CNN's programs; SSH's in SSH/layers/anchor_target_layer.py of mahyarnajibi/SSH
        "ClusterGroundtruth",  # DetectNet's python/caffe/layers/detectnet/clustering.py of NVIDIA/caffe
        "ScoreDetections",  # the same, in mean_ap.py
        "mAP",  # the same
    )
)


def known_and_dropped(analysis: Analysis, postprocess: bool, unfit: bool = False) -> tuple[list[Layer], list[Layer]]:
    """Split the layers of a net into those to keep and those to leave out; see `Analysis.known_ends`.

    Args:
        analysis: of the net.
        postprocess, unfit: as for `Analysis.known_ends`.

    Returns:
        The layers to keep and the others; none of the latter if one is needed that is not set up.
    """
    lost: set[str] = set()
    kept: list[Layer] = []
    dropped: list[Layer] = []
    read = {bottom for layer in analysis.layers for bottom in layer.bottoms}
    only_unfit = True
    for layer, op in zip(analysis.layers, analysis.ops):
        layer_class = class_for(layer)
        measures = is_measure(layer) if layer_class is None else layer_class.only_trains
        is_unfit = unfit and measures and op is None and layer_class is not None and not layer_class.passes_first
        if layer_class is not None and not is_unfit and lost.isdisjoint(layer.bottoms):
            if layer in analysis.errors:
                return analysis.layers, []
            kept.append(layer)
            continue
        serves_measures = measures or (layer_class is not None and read.issuperset(layer.tops))  # its readers are lost, too
        if (postprocess and not serves_measures) or not set(layer.tops).isdisjoint(layer.bottoms):
            return analysis.layers, []
        only_unfit &= is_unfit
        lost.update(layer.tops)
        dropped.append(layer)
    lacking_shapes = {layer for layer, op in zip(analysis.layers, analysis.ops) if op is None}
    if only_unfit and not lacking_shapes.isdisjoint(kept):
        return analysis.layers, []  # that is what to tell
    return kept, dropped


def is_measure(layer: Layer) -> bool:
    """Whether a layer of an unknown type is one that only trains or measures a net, by its `loss_weight` or its name.

    The name of a Python layer is that of its class.
    """
    name = layer.message.python_param.layer if layer.type == "Python" else layer.type
    is_named_so = name.lower().removesuffix("layer").endswith(("loss", "accuracy"))
    return is_named_so or name in TRAINING_TYPES or bool(layer.message.loss_weight)


def ends_of(layers: Sequence[Layer]) -> list[str]:
    """The blobs that layers compute and none of them reads."""
    read = {bottom for layer in layers for bottom in layer.bottoms if bottom not in layer.tops}
    return list(dict.fromkeys(top for layer in layers if layer.bottoms for top in layer.tops if top not in read))
