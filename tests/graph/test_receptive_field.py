"""Receptive fields: published ones, and those that gradients show."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import protogen
from protogen.graph.receptive_field import Field, receptive_fields
from protogen.net import Net
from tests.corpus import CORPUS, needs_corpus

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 40 dim: 44 } } }\n'


def fields(net: Net) -> dict[str, Field | None]:
    """The field of each blob."""
    tops = [op.tops if op is not None else [None] for op in net.analysis.ops]
    seen = receptive_fields(net.analysis.ops, tops)
    return {top: field for layer, made in zip(net.layers, seen) for top, field in zip(layer.tops, made)}


# Of the table in Araujo et al. (2019): pixels and jump of the last map.
@needs_corpus
@pytest.mark.parametrize(
    ("path", "blob", "size", "jump"),
    [
        ("BVLC+caffe/models/bvlc_alexnet/deploy.prototxt", "pool5", 195, 32),
        ("soeaver+caffe-model/cls/vgg/deploy_vgg16-pytorch.prototxt", "pool5", 212, 32),
        ("KaimingHe+deep-residual-networks/prototxt/ResNet-50-deploy.prototxt", "res5c", 483, 32),
        ("KaimingHe+deep-residual-networks/prototxt/ResNet-101-deploy.prototxt", "res5c", 1027, 32),
        ("KaimingHe+deep-residual-networks/prototxt/ResNet-152-deploy.prototxt", "res5c", 1507, 32),
    ],
)
def test_published(path: str, blob: str, size: int, jump: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        field = fields(protogen.load(CORPUS / path, lenient=True))[blob]
    assert field is not None and field.axes is not None
    assert [(axis.pixels, axis.jump) for axis in field.axes] == [(size, jump)] * 2


def step(name: str, kind: str, bottoms: str, more: str = "") -> str:
    bottom = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottom} top: "{name}" {more} }}\n'


def conv(name: str, bottom: str, settings: str, kind: str = "Convolution") -> str:
    filler = 'weight_filler { type: "constant" value: 1 }'
    return step(name, kind, bottom, f"convolution_param {{ num_output: 1 bias_term: false {settings} {filler} }}")


NETS = {
    "strides and padding": conv("a", "data", "kernel_size: 5 stride: 2 pad: 2") + conv("y", "a", "kernel_size: 3 stride: 3"),
    "dilation": conv("a", "data", "kernel_size: 3 dilation: 3 pad: 1") + conv("y", "a", "kernel_h: 2 kernel_w: 3"),
    "pooling": step("a", "Pooling", "data", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
    + conv("y", "a", "kernel_size: 3"),
    "branches": conv("a", "data", "kernel_size: 3 pad: 1")
    + conv("b", "data", "kernel_size: 1")
    + conv("c", "data", "kernel_size: 5 pad: 2")
    + step("d", "Eltwise", "a b")
    + step("y", "Concat", "d c"),
    "shifted branches": conv("a", "data", "kernel_size: 3 pad: 0")
    + conv("b", "data", "kernel_size: 4 pad_h: 2 pad_w: 2")
    + step("c", "Crop", "b a", "crop_param { axis: 2 offset: 3 }")
    + step("y", "Eltwise", "a c"),
    "within channels": conv("a", "data", "kernel_size: 3 stride: 2")
    + step("y", "LRN", "a", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"),
    "growing": conv("a", "data", "kernel_size: 3 stride: 4") + conv("y", "a", "kernel_size: 8 stride: 4 pad: 2", "Deconvolution"),
    "growing unevenly": conv("a", "data", "kernel_size: 3 stride: 2")
    + conv("b", "a", "kernel_size: 3 stride: 2", "Deconvolution")
    + conv("y", "b", "kernel_size: 3"),
    "to one value": conv("a", "data", "kernel_size: 3 stride: 2")
    + step("y", "Pooling", "a", "pooling_param { pool: AVE global_pooling: true }"),
    "products": conv("a", "data", "kernel_size: 4 stride: 4")
    + step("b", "Flatten", "a")
    + step("y", "InnerProduct", "b", 'inner_product_param { num_output: 2 weight_filler { type: "constant" value: 1 } }'),
    "squeeze": conv("a", "data", "kernel_size: 3")
    + step("p", "Pooling", "a", "pooling_param { pool: AVE global_pooling: true }")
    + step("q", "Sigmoid", "p")
    + step("f", "Flatten", "q")
    + step("y", "Scale", "a f", "scale_param { axis: 0 }"),
    "statistics": conv("a", "data", "kernel_size: 3") + step("y", "MVN", "a"),
}


@pytest.mark.parametrize("text", NETS.values(), ids=list(NETS))
def test_what_gradients_show(text: str) -> None:
    """Every pixel that has a gradient lies in the field, and some value sees as many pixels as the field has."""
    net = protogen.loads(DATA + text)
    field = fields(net)["y"]
    assert field is not None and field.axes is not None
    x = (1 + torch.rand(1, 1, 40, 44)).requires_grad_()
    y = net.fill().to_torch()(x)
    y = y if y.ndim == 4 else y.reshape(*y.shape, *[1] * (4 - y.ndim))
    widest = [0, 0]
    for row, column in [(i, j) for i in range(0, y.shape[2], 3) for j in range(0, y.shape[3], 2)]:
        (gradient,) = torch.autograd.grad(y[0, -1, row, column], x, retain_graph=True)
        for axis, place in enumerate((row, column)):
            seen = gradient[0, 0].abs().sum(1 - axis).nonzero().flatten()
            first, last = int(seen.min()), int(seen.max())
            low, high, jump = field.axes[axis]
            if "Deconvolution" not in text:  # whose values see differently many; the place is that of their middle
                assert math.ceil(low + place * jump) <= first and last <= math.floor(high + place * jump)
            widest[axis] = max(widest[axis], last - first + 1)
    assert widest == [axis.pixels for axis in field.axes]


PERMUTE = "permute_param { order: 0 order: 1 order: 2 order: 3 }"


def test_what_is_not_known_is_not_guessed() -> None:
    branches = conv("a", "data", "kernel_size: 3 stride: 2 pad: 1") + step("b", "Permute", "a", PERMUTE)
    seen = fields(protogen.loads(DATA + branches + step("y", "Concat", "a b") + step("z", "ReLU", "y")))
    assert seen["a"] is not None and seen["a"].axes is not None
    for blob in ("b", "y", "z"):
        field = seen[blob]
        assert field is not None and field.axes is None
    numbers = 'layer { name: "n" type: "Input" top: "n" input_param { shape { dim: 1 dim: 3 } } }'
    assert fields(protogen.loads(numbers + step("r", "ReLU", "n"))) == {"n": None, "r": None}
