"""The model that a backend reads: made with the options asked for, its outputs known by the net's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import protogen
from protogen.backends.model_file import model_of, saved
from protogen.backends.setting import Setting
from protogen.targets.onnx.options import OnnxOptions, Preprocess
from protogen.verification import verify
from tests.nets import small_net

BGR = Preprocess(mean=(104, 117, 123), scale=(0.017, 0.018, 0.019), swap_rb=True, nhwc=True)


SHAPED = ("torch folded / torch", "onnxruntime folded / torch")


@pytest.mark.parametrize(
    ("options", "further"),
    [
        ({"preprocess": BGR}, []),
        ({"preprocess": Preprocess(mean=127.5, scale=0.0078125)}, []),
        ({"rename": {"data": "image", "prob": "scores"}}, []),
        ({"external_data": True, "opset": 11}, []),
        ({"fp16": True}, []),
        ({"dynamic_batch": True}, ["onnxruntime at 3x3x12x12 / torch"]),
        ({"dynamic_batch": True, "dynamic_size": True}, ["onnxruntime at 3x3x44x76 / torch"]),
        ({"dynamic_size": True, "preprocess": BGR, "rename": {"data": "image"}}, ["onnxruntime at 2x44x76x3 / torch"]),
    ],
)
def test_the_model_that_was_asked_for(options: dict[str, Any], further: list[str]) -> None:
    net = small_net()
    report = verify(net, **options)
    assert report.ok, report.verdict
    assert report.comparisons == ["onnxruntime / torch", *SHAPED, *further]
    blobs = [blob for blob in net.shapes if blob != "data"]
    assert [row.blob for row in report.rows if row.comparison == "onnxruntime / torch"] == blobs
    assert [row.blob for row in report.rows if row.comparison in further] == net.outputs * len(further)


def test_renamed_outputs_and_inputs_overwritten_in_place_stand_for_their_blobs() -> None:
    net = protogen.loads(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }'
        'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }'
        'layer { name: "tanh" type: "TanH" bottom: "x" top: "y" }'
    )
    feed = {"x": np.float32([[-1, 1]])}
    model = model_of(net.graph(), feed, Setting(onnx=OnnxOptions(rename={"x": "image", "y": "scores"})))
    assert (list(model.feed), model.outputs[-1]) == (["image"], "scores")
    assert model.blobs == ["x", "y"]


def test_the_file_is_there_only_for_a_while() -> None:
    model = model_of(small_net().graph(), {"data": np.zeros((2, 3, 12, 12), np.float32)}, Setting())
    with saved(model.model) as path:
        assert Path(path).exists()
    assert not Path(path).parent.exists()
