"""A net for each layer type: an oracle case, or the smallest net that has one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

import protogen
from tests.layers.nets import net_of
from tests.oracle import cases, families

Values = dict[str, np.ndarray]

IMAGE, MAP = (2, 4, 6, 6), (1, 16, 4, 4)
YOLO = "num_classes: 3 num_box: 2 biases: 1.5 biases: 2 biases: 4 biases: 3"
# Types without an oracle case: the layer, and its bottoms' shapes.
SMALL: dict[str, tuple[str, list[tuple[int, ...]]]] = {
    "ConvDepthwise": ('bottom: "a" top: "y" convolution_param { kernel_size: 3 }', [IMAGE]),
    "SELU": ('bottom: "a" top: "y"', [IMAGE]),
    "SeLuDropout": ('bottom: "a" top: "y"', [IMAGE]),
    "DummyData": ('top: "y" dummy_data_param { shape { dim: 2 } }', []),
    "AutoCrop": ('bottom: "a" bottom: "a" top: "y"', [IMAGE]),
    "Silence": ('bottom: "a"', [IMAGE]),
    "HDF5Output": ('bottom: "a" bottom: "b" hdf5_output_param { file_name: "f" }', [IMAGE, (2,)]),
    "YoloDetectionOutput": (f'bottom: "a" top: "y" yolo_detection_output_param {{ {YOLO} }}', [MAP]),
    "Yolov3DetectionOutput": (
        f'bottom: "a" top: "y" yolov3_detection_output_param {{ {YOLO} mask: 0 mask: 1 anchors_scale: 32 mask_group_num: 1 }}',
        [MAP],
    ),
    "DetectionEvaluate": (
        'bottom: "a" bottom: "b" top: "y" detection_evaluate_param { num_classes: 3 background_label_id: 0 }',
        [(1, 1, 4, 7), (1, 1, 3, 8)],
    ),
    "MultiBoxLoss": (
        'bottom: "a" bottom: "b" bottom: "c" bottom: "d" top: "y" multibox_loss_param { num_classes: 3 }',
        [(1, 24), (1, 18), (1, 2, 24), (1, 1, 2, 8)],
    ),
    "RegionLoss": (
        f'bottom: "a" bottom: "b" top: "y" region_loss_param {{ num_class: 3 num: 2 {"biases: 1.5 " * 10} }}',
        [MAP, (1, 1, 3, 5)],
    ),
    "Yolov3": (
        'bottom: "a" bottom: "b" top: "y" yolov3_param { num_class: 3 num: 2 biases: 40 biases: 60 biases: 90 biases: 80 '
        'mask: 0 mask: 1 }', [MAP, (1, 1, 3, 5)],
    ),
    "YoloSeg": ('bottom: "a" bottom: "b" bottom: "c" top: "y"', [IMAGE, IMAGE, (2, 4)]),
    "AssistedExcitation": ('bottom: "a" bottom: "b" bottom: "c" top: "y"', [IMAGE, (2, 1, 3, 5), (2, 6, 6)]),
    "BoxAnnotatorOHEM": (
        'bottom: "a" bottom: "b" bottom: "c" bottom: "d" top: "y" top: "z" box_annotator_ohem_param { roi_per_img: 2 }',
        [(4, 5, 1, 1), (4, 1, 1, 1), (4, 1, 1, 1), (4, 8, 1, 1)],
    ),
    "SegmentationEvaluate": (
        'bottom: "a" bottom: "b" top: "y" segmentation_evaluate_param { num_classes: 3 }', [(2, 3, 4, 4), (2, 3, 4, 4)]
    ),
    "BilinearInterpolation": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, (2, 1, 9, 7)]),
    "BinaryConvolution": ('bottom: "a" top: "y" convolution_param { num_output: 3 kernel_size: 3 }', [IMAGE]),
    "BinaryInnerProduct": ('bottom: "a" top: "y" inner_product_param { num_output: 3 }', [IMAGE]),
    "Correlation": (
        'bottom: "a" bottom: "b" top: "y" correlation_param { kernel_size: 1 max_displacement: 1 }', [IMAGE, IMAGE]
    ),
    "FlowWarp": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, (2, 2, 6, 6)]),
    "MaskPooling": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, (2, 1, 6, 6)]),
    "Quant": ('bottom: "a" top: "y" quant_param { centers: 0.5 centers: 1 }', [IMAGE]),
    "Transpose": ('bottom: "a" top: "y" transpose_param { dim: 2 dim: 0 dim: 1 dim: 3 }', [IMAGE]),
    "Unpooling": ('bottom: "a" bottom: "b" top: "y" unpooling_param { kernel_size: 2 stride: 2 }', [IMAGE, IMAGE]),
    "Warp": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, (2, 2, 6, 6)]),
    "BoxGroupOutput": (
        'bottom: "a" bottom: "b" top: "y" box_group_output_param { box_group_param { field_w: 20 field_h: 20 stride: 8 } }',
        [(1, 2, 3, 4), (1, 4, 3, 4)],
    ),
    "BoxOutput": (
        'bottom: "a" top: "y" box_output_param { field_w: 20 field_h: 20 downsample_rate: 8 }', [(1, 6, 3, 4)]
    ),
    "CTCGreedyDecoder": ('bottom: "a" top: "y"', [(5, 2, 4)]),
    "DecodeBBox": ('bottom: "a" bottom: "b" top: "y"', [(3, 8), (3, 5)]),
    "DenseBlock": ('bottom: "a" top: "y" denseblock_param { numTransition: 2 growthRate: 2 }', [IMAGE]),
    "Downsample": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, (2, 1, 3, 3)]),
    "FLOWriter": ('bottom: "a"', [(2, 2, 4, 4)]),
    "GuidedDropout": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, (2, 4, 1, 1)]),
    "InnerDistance": ('bottom: "a" top: "y" inner_distance_param { num_output: 3 }', [IMAGE]),
    "LabelSpecificRescale": ('bottom: "a" bottom: "b" top: "y"', [(2, 4), (2,)]),
    "Mean": ('bottom: "a" top: "y" mean_param { operation: ADD value: 1 }', [IMAGE]),
    "Noise": ('bottom: "a" top: "y" noise_param { gaussian_std: 0.5 }', [IMAGE]),
    "Resample": ('bottom: "a" top: "y" resample_param { height: 3 width: 3 }', [IMAGE]),
    "AbsLoss": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, IMAGE]),
    "L1Loss": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, IMAGE]),
    "Lstm": ('bottom: "a" top: "y" lstm_param { num_output: 2 }', [(4, 5)]),
    "Warping": ('bottom: "a" bottom: "b" bottom: "c" top: "y"', [IMAGE, (2, 1, 6, 6), (2, 1, 6, 6)]),
    "SegAccuracy": ('bottom: "a" bottom: "b" top: "y"', [(2, 3, 4, 4), (2, 1, 4, 4)]),
    "SmoothL1LossOHEM": ('bottom: "a" bottom: "b" top: "y"', [(2, 3, 4, 4), (2, 3, 4, 4)]),
    "SoftmaxWithLossOHEM": ('bottom: "a" bottom: "b" top: "y"', [(2, 3, 4, 4), (2, 1, 4, 4)]),
    "Python (pyloss.EuclideanLossLayer)": ('bottom: "a" bottom: "b" top: "y"', [IMAGE, IMAGE]),
    "Python (rpn.anchor_target_layer.AnchorTargetLayer)": (
        'bottom: "a" bottom: "b" bottom: "c" top: "w" top: "x" top: "y" top: "z"', [(1, 18, 4, 5), (3, 5), (1, 3)],
    ),
    "Python (rpn.proposal_target_layer.ProposalTargetLayer)": (
        'bottom: "a" bottom: "b" top: "v" top: "w" top: "x" top: "y" top: "z"', [(6, 5), (3, 5)],
    ),
    "Python (rpn.proposal_layer.ProposalLayer)": (
        'bottom: "a" bottom: "b" bottom: "c" top: "y"', [(1, 18, 4, 5), (1, 36, 4, 5), (1, 3)],
    ),
    "Python (SSH.layers.proposal_layer.ProposalLayer)": (
        'bottom: "a" bottom: "b" bottom: "c" top: "y"', [(1, 18, 4, 5), (1, 36, 4, 5), (1, 3)],
    ),
    "Python (caffe.layers.detectnet.clustering.ClusterDetections)": (
        'bottom: "a" bottom: "b" top: "y"', [(1, 1, 4, 6), (1, 4, 4, 6)],
    ),
    "Python (ordinal_decode_layer.OrdinalDecodeLayer)": ('bottom: "a" top: "y"', [(1, 4, 3, 3)]),
    "Python (spatial_dropout.SpatialDropoutLayer)": ('bottom: "a" top: "y"', [IMAGE]),
    **{
        f"Python (visualization_layer{kind}.VisualizationLayer)": ('bottom: "a" top: "y"', [IMAGE]) for kind in ("", "_norm")
    },
}  # fmt: skip
PARAM_STR = {
    "ClusterDetections": "96, 64, 16, 0.5, 1, 0.2, 1",
    "AnchorTargetLayer": "'feat_stride': 16",
    "ProposalLayer": "'feat_stride': 16",
    "ProposalTargetLayer": "'num_classes': 3",
    "SpatialDropoutLayer": "{'phase': 'TEST', 'p': '0.1'}",
}


@lru_cache(maxsize=1)
def oracle_nets() -> dict[str, list[tuple[str, str]]]:
    """(family, case) of the first cases of families in which a type occurs: TEST before TRAIN, the layer tested before others."""
    found: dict[str, list[tuple[str, str]]] = {}
    for family in families():
        for name, case in sorted(cases(family).items(), key=lambda item: item[1].phase != "TEST")[:1]:
            for layer in protogen.loads(case.prototxt, phase=case.phase).layers:
                known = found.setdefault(layer.full_type, [])
                known.insert(0 if layer.name == "op" else len(known), (family, name))
    return found


def example(type: str) -> tuple[protogen.Net, Values]:
    """A net in which a layer type occurs, filled, and inputs for it."""
    if type in oracle_nets():
        family, name = oracle_nets()[type][0]
        case = cases(family)[name]
        net = protogen.loads(case.prototxt, phase=case.phase)
        net.weights.update(case.per_layer("param"))
        return net, case.of("in")
    text, shapes = SMALL[type]
    plain, _, python = type.partition(" ")
    if python:
        module, _, layer = python.strip("()").rpartition(".")
        text += f' python_param {{ module: "{module}" layer: "{layer}" param_str: "{PARAM_STR.get(layer, "")}" }}'
    net = net_of(f'type: "{plain}" {text}', *shapes).fill()
    rng = np.random.default_rng(0)
    return net, {name: rng.integers(0, 2, net.shapes[name]).astype(np.float32) for name in net.inputs}
