"""Inception-ResNet v2: soeaver's file layer for layer but for names of ReLUs."""

from __future__ import annotations

from protogen.models import inception_resnet_v2
from tests.corpus import needs_corpus
from tests.models.published import assert_published
from tests.models.test_inception_v3 import relu_names
from tests.models.torchvision_nets import caffe_weights, timm_net, weights_in_order


@needs_corpus
def test_it_is_soeavers() -> None:
    path = "soeaver+caffe-model/cls/inception/deploy_inception-resnet-v2.prototxt"
    assert_published(inception_resnet_v2(), path, names=relu_names)


def test_the_papers_sizes() -> None:
    """Figure 15 of the paper; with 320 channels at 35x35, as in the authors' code, where the figure has 384."""
    net = inception_resnet_v2(modules=(1, 1, 1))
    names = ("stem_concat", "reduction_a_concat", "reduction_b_concat", "conv6_1x1")
    assert [net.shapes[name][1:] for name in names] == [(320, 35, 35), (1088, 17, 17), (2080, 8, 8), (1536, 8, 8)]


def test_timms_weights_fit() -> None:
    assert caffe_weights(inception_resnet_v2(preset="timm")) == weights_in_order(timm_net("inception_resnet_v2"))
    poolings = [layer.message.pooling_param for layer in inception_resnet_v2(preset="timm").layers if layer.type == "Pooling"]
    assert {(p.pool, p.avg_include_pad) for p in poolings if p.pad} == {("AVE", False)}
