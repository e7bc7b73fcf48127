"""Nets that several test files work on."""

from __future__ import annotations

import protogen
from protogen import NetBuilder, blocks


def begun(shape: tuple[int, ...] = (2, 3, 16, 16)) -> NetBuilder:
    """A builder whose net has one input, "data", of this shape."""
    b = NetBuilder("net")
    b.input("data", shape)
    return b


DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n'


SMALL = (
    'name: "small"\n'
    + DATA
    + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "side" type: "Pooling" bottom: "conv" top: "side" pooling_param { pool: AVE global_pooling: true } }
"""
)


def layers(*texts: str) -> str:
    return DATA + "\n".join(f"layer {{ {text} }}" for text in texts)


SSD = """
name: "tiny ssd"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 8 kernel_size: 3 stride: 4 weight_filler { type: "xavier" } } }
layer { name: "loc" type: "Convolution" bottom: "conv" top: "loc"
        convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf" type: "Convolution" bottom: "conv" top: "conf"
        convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_reshape" type: "Reshape" bottom: "conf_perm" top: "conf_reshape"
        reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "conf_softmax" type: "Softmax" bottom: "conf_reshape" top: "conf_softmax" softmax_param { axis: 2 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_softmax" top: "conf_flat" }
layer { name: "prior" type: "PriorBox" bottom: "conv" bottom: "data" top: "prior"
        prior_box_param { min_size: 4 aspect_ratio: 2 flip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "detection_out" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat" bottom: "prior" top: "detection_out"
        detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 10
                                 nms_param { nms_threshold: 0.45 top_k: 20 } } }
"""


def small_net() -> protogen.Net:
    """A convolution with BatchNorm, a residual block that halves, two outputs, "map" and "prob"; no weights."""
    b = NetBuilder("small")
    x = b.conv_block(b.input("data", (2, 3, 12, 12)), 6, 3, name="one")
    x = blocks.basic_block(b, x, 8, 2, name="two")
    b.conv(x, 2, 1, name="map")
    b.softmax(b.fc(b.global_pool(x, name="pool"), 5, name="fc"))
    return b.build()
