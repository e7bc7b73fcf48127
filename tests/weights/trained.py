"""A net with its state dict, as a training leaves it."""

from __future__ import annotations

import torch

import protogen

TEXT = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv.1" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3
  weight_filler { type: "xavier" } bias_filler { type: "gaussian" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "loss" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true filler { type: "gaussian" } } }
layer { name: "module" type: "PReLU" bottom: "c" top: "c" }
layer { name: "fc" type: "InnerProduct" bottom: "c" top: "y"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


def small() -> protogen.Net:
    return protogen.loads(TEXT)


def trained() -> tuple[protogen.Net, dict[str, torch.Tensor]]:
    net = small().fill(5)
    return net, net.to_torch().state_dict()
