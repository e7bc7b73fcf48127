"""Inception v4: soeaver's file layer for layer, and the paper's sizes."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import inception_v4
from tests.corpus import needs_corpus
from tests.models.published import assert_published
from tests.models.torchvision_nets import caffe_weights, timm_net, weights_in_order


@needs_corpus
def test_it_is_soeavers() -> None:
    assert_published(inception_v4(), "soeaver+caffe-model/cls/inception/deploy_inception-v4.prototxt")


def test_the_papers_sizes() -> None:
    """Figure 9 of the paper."""
    net = inception_v4()
    names = ("inception_stem3", "inception_a4_concat", "reduction_a_concat", "inception_b7_concat", "inception_c3_concat")
    assert [net.shapes[name][1:] for name in names] == [
        (384, 35, 35), (384, 35, 35), (1024, 17, 17), (1024, 17, 17), (1536, 8, 8),
    ]  # fmt: skip


def test_fewer_modules() -> None:
    assert inception_v4(modules=(1, 1, 1)).param_count < inception_v4().param_count
    with pytest.raises(NetError, match="modules takes 3 positive numbers"):
        inception_v4(modules=(1, 1))


def test_timms_weights_fit() -> None:
    assert caffe_weights(inception_v4(preset="timm")) == weights_in_order(timm_net("inception_v4"))
    poolings = [layer.message.pooling_param for layer in inception_v4(preset="timm").layers if layer.type == "Pooling"]
    assert {(p.pool, p.avg_include_pad) for p in poolings if p.pad} == {("AVE", False)}
