"""Softmax (caffe/layers/softmax_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import torch

    from .forms.onnx_graph import OnnxGraph


@register("Softmax")
class Softmax(LayerType):
    """exp(x) / sum of exp(x) along an axis (1: channels)."""

    param_name = "softmax_param"
    fields = Fields(
        "axis",
        engine="BVLC/caffe src/caffe/layer_factory.cpp:245",
        hard_ratio="happynear/caffe-windows src/caffe/layers/softmax_loss_layer.cpp:14-73 alone reads it",
        class_weight="happynear/caffe-windows src/caffe/layers/softmax_loss_layer.cpp:14-73 alone reads it",
        hard_mining_label="happynear/caffe-windows src/caffe/layers/softmax_loss_layer.cpp:14-73 alone reads it",
        cutting_point="happynear/caffe-windows src/caffe/layers/softmax_loss_layer.cpp:14-73 alone reads it",
        normalize_type="happynear/caffe-windows src/caffe/layers/softmax_loss_layer.cpp:14-73 alone reads it",
        label_smooth_factor="happynear/caffe-windows src/caffe/layers/softmax_loss_layer.cpp:14-73 alone reads it",
    )
    keeps_place = True

    @property
    def sees_all(self) -> bool:
        return self.over >= 2

    def setup(self) -> None:
        self.over = self.axis(self.param.axis)
        self.tops = [self.bottoms[0]]

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.Softmax(dim=self.over)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.softmax(bottoms[0], self.over, len(self.bottoms[0]))
