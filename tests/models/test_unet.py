"""U-Net: figure 1 of the paper, padded and not, the sizes that fit, and labels in the middle of the image."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from protogen import NetError
from protogen.models import unet


def test_the_papers_figure() -> None:
    """Sizes and channels along figure 1."""
    net = unet()
    assert net.outputs == ["prob"]
    sides = [net.shapes[f"conv_d{i}b-c"][1:3] for i in range(5)]
    assert sides == [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]
    assert [net.shapes[f"conv_u{i}c-d"][1:3] for i in range(4)] == [(64, 388), (128, 196), (256, 100), (512, 52)]
    assert net.shapes["conv_u0d-score"] == (1, 2, 388, 388)
    assert net.shapes["concat_d3cc_u3a-b"] == (1, 1024, 56, 56)
    assert sum(layer.type == "Convolution" for layer in net.layers) + 4 == 23, "the paper: 23 convolutional layers in total"


def test_skips_are_cut_from_the_middle() -> None:
    """The part of an earlier stage that is joined lies in its middle, as the paper's arrows show."""
    net = unet()
    for i in range(4):
        whole, part = (net.shapes[blob][2] for blob in (f"conv_d{i}b-c", f"crop_d{i}c-d{i}cc"))
        assert set(net.layer(f"crop_d{i}c-d{i}cc").message.crop_param.offset) == {(whole - part) // 2}


def test_padding_keeps_the_size() -> None:
    net = unet((64, 96), channels=3, classes=4, width=8, pad=True, batch_norm=True)
    assert net.shapes["prob"] == (1, 4, 64, 96)
    kinds = {layer.type for layer in net.layers}
    assert "Crop" not in kinds
    assert "BatchNorm" in kinds
    assert net.param_shapes["conv_d0a-b"] == [(8, 3, 3, 3)], "BatchNorm takes the bias's part"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depths(depth: int) -> None:
    size = 8 * 2**depth + 4 * (2**depth - 1)
    net = unet(size, depth=depth, width=4)
    assert net.shapes["prob"] == (1, 2, 4, 4)
    assert net.shapes[f"conv_d{depth}b-c"][1] == 4 * 2**depth


def test_train_val_net_sees_the_middle_of_the_labels() -> None:
    net = unet(188, width=4, phase="TRAIN")
    assert (net.shapes["label"], net.shapes["label_crop"]) == ((1, 1, 188, 188), (1, 1, 4, 4))
    label = torch.arange(188.0 * 188).view(1, 1, 188, 188)
    cropped = net.to_torch().blobs(torch.zeros(1, 1, 188, 188), label % 2)["label_crop"]
    assert torch.equal(cropped, (label % 2)[:, :, 92:96, 92:96])
    assert unet(64, width=4, pad=True, phase="TRAIN").outputs == ["loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 512}, r"16 \* n \+ 60 and at least 188, .* not 512; 508 is the nearest"),
        ({"size": 172}, "not 172; 188 is the nearest"),
        ({"size": 100, "pad": True}, r"size must be 16 \* n and at least 16, .* not 100; 96 is the nearest"),
        ({"depth": 9}, "depth must be at most 8"),
        ({"width": 0}, "width must be positive"),
        ({"channels": 2, "phase": "TRAIN"}, "1 or 3 channels"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        unet(**options)
