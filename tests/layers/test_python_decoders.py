"""DORN's OrdinalDecodeLayer against its Python (caffe/pylayer/ordinal_decode_layer.py of hufu6371/DORN)."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.errors import LayerError
from tests.layers.nets import check_every_form, over
from tests.running import assert_same, by_torch

PARAM = 'type: "Python" python_param { module: "ordinal_decode_layer" layer: "OrdinalDecodeLayer" }'


@pytest.mark.parametrize("channels", [6, 7])
def test_each_pair_adds_one_where_its_second_is_larger(channels: int) -> None:
    net = over(PARAM, (1, channels, 3, 4))
    x = np.random.default_rng(0).integers(0, 3, (1, channels, 3, 4)).astype(np.float32)  # some pairs are equal
    labels = sum(np.argmax(x[:, 2 * i : 2 * i + 2], axis=1) for i in range(channels // 2))
    assert_same(by_torch(net, {"a": x}), [labels[None].astype(np.float32)])
    check_every_form(net, below=3, batch=None)


def test_several_images_are_refused() -> None:
    with pytest.raises(LayerError, match="takes one image at a time, not 2"):
        over(PARAM, (2, 6, 3, 4))
