"""Models whose height and width are open: the numbers of every size, and refusals that name the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import protogen
from protogen import ConversionError, NetBuilder
from tests.layers.nets import net_of, values_for
from tests.running import NEWEST, assert_same, by_onnx, by_torch, run_model, session, shape_of

SIZES = [(32, 32), (33, 47), (64, 64), (50, 70), (71, 38), (96, 35), (45, 128)]
HEADER = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }'
GAUSS = 'weight_filler { type: "gaussian" std: 0.2 } bias_filler { type: "gaussian" std: 0.5 }'


def conv(name: str, bottom: str, outputs: int, kernel: int, more: str = "", kind: str = "Convolution") -> str:
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} {GAUSS} }} }}\n"
    )


def layer(name: str, kind: str, bottoms: str, more: str = "") -> str:
    bottom = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottom} top: "{name}" {more} }}\n'


def pool(name: str, bottom: str, method: str = "MAX", kernel: int = 2, stride: int = 2, pad: int = 0, more: str = "") -> str:
    window = f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} {more}"
    return layer(name, "Pooling", bottom, f"pooling_param {{ {window} }}")


HED = (
    HEADER
    + conv("conv1", "data", 6, 3, "pad: 35")
    + layer("relu1", "ReLU", "conv1")
    + conv("side1", "relu1", 1, 1)
    + layer("out1", "Crop", "side1 data", "crop_param { axis: 2 offset: 34 }")
    + pool("pool1", "relu1")
    + conv("conv2", "pool1", 6, 3, "pad: 1")
    + conv("side2", "conv2", 1, 1)
    + conv("up2", "side2", 1, 4, "stride: 2", "Deconvolution")
    + layer("out2", "Crop", "up2 data", "crop_param { axis: 2 offset: 34 offset: 35 }")
    + layer("joined", "Concat", "out1 out2")
    + conv("fused", "joined", 1, 1)
    + layer("sigmoid", "Sigmoid", "fused")
)
FCN = (
    HEADER
    + conv("conv1", "data", 6, 3, "pad: 20")
    + layer("relu1", "ReLU", "conv1")
    + pool("pool1", "relu1")
    + conv("conv2", "pool1", 6, 3, "pad: 1 stride: 2")
    + conv("fc", "conv2", 6, 3)
    + layer("drop", "Dropout", "fc")
    + conv("score", "drop", 4, 1)
    + conv("up", "score", 4, 4, "stride: 2", "Deconvolution")
    + conv("score_pool1", "pool1", 4, 1)
    + layer("cropped", "Crop", "score_pool1 up", "crop_param { axis: 2 offset: 1 }")
    + layer("sum", "Eltwise", "up cropped")
    + conv("up2", "sum", 4, 4, "stride: 2 group: 4", "Deconvolution")
    + layer("score_out", "Crop", "up2 data", "crop_param { axis: 2 offset: 5 }")
    + layer("prob", "Softmax", "score_out")
)
OPENPOSE = (
    HEADER
    + conv("conv1", "data", 8, 3, "pad: 1")
    + layer("relu1", "ReLU", "conv1")
    + pool("pool1", "relu1")
    + conv("conv2", "pool1", 8, 3, "pad: 1")
    + pool("pool2", "conv2")
    + conv("L1", "pool2", 4, 3, "pad: 1")
    + conv("L2", "pool2", 3, 3, "pad: 1")
    + layer("stage2", "Concat", "L1 L2 pool2")
    + conv("L1_2", "stage2", 4, 7, "pad: 3")
    + conv("L2_2", "stage2", 3, 7, "pad: 3")
    + layer("out", "Concat", "L2_2 L1_2")
)
CLASSIFIER = (
    HEADER
    + conv("conv1", "data", 6, 7, "pad: 3 stride: 2")
    + layer("norm", "LRN", "conv1")
    + pool("pool1", "norm", kernel=3)
    + pool("global", "pool1", "AVE", more="global_pooling: true").replace("kernel_size: 2 stride: 2 pad: 0", "")
    + layer("fc", "InnerProduct", "global", f"inner_product_param {{ num_output: 5 {GAUSS} }}")
)


def head(name: str, bottom: str, boxes: int, sizes: str) -> str:
    """Locations, confidences and prior boxes of one map of an SSD."""
    text = layer(f"{name}_prior", "PriorBox", f"{bottom} data", f"prior_box_param {{ {sizes} clip: true }}")
    for what, values in (("loc", 4), ("conf", 3)):
        text += conv(f"{name}_{what}", bottom, boxes * values, 1)
        order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
        text += layer(f"{name}_{what}_perm", "Permute", f"{name}_{what}", order)
        text += layer(f"{name}_{what}_flat", "Flatten", f"{name}_{what}_perm")
    return text


NMS = "nms_param { nms_threshold: 0.45 top_k: 60 } code_type: CENTER_SIZE keep_top_k: 40"
SSD = (
    HEADER
    + conv("conv1", "data", 6, 3, "pad: 1 stride: 4")
    + conv("conv2", "conv1", 6, 3, "pad: 1 stride: 2")
    + conv("conv3", "conv2", 6, 3, "pad: 1 stride: 8")
    + head("a", "conv2", 2, "min_size: 9 max_size: 17")
    + head("b", "conv3", 3, "min_size: 20 aspect_ratio: 2 offset: 0.4 step: 64")
    + layer("loc", "Concat", "a_loc_flat b_loc_flat")
    + layer("conf", "Concat", "a_conf_flat b_conf_flat")
    + layer("prior", "Concat", "a_prior b_prior", "concat_param { axis: 2 }")
    + layer("shaped", "Reshape", "conf", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }")
    + layer("prob", "Softmax", "shaped", "softmax_param { axis: 2 }")
    + layer("flat", "Flatten", "prob")
    + layer("found", "DetectionOutput", "loc flat prior", f"detection_output_param {{ num_classes: 3 {NMS} }}")
)
NETS = {"HED": HED, "FCN": FCN, "OpenPose": OPENPOSE, "classifier": CLASSIFIER}
POOLS = [
    (method, kernel, stride, pad, more)
    for method in ("MAX", "AVE")
    for kernel, stride, pad in ((2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2), (4, 3, 1), (5, 1, 2), (3, 3, 0), (7, 4, 3))
    for more in ("", "round_mode: FLOOR")
]


def check(text: str, **options: Any) -> onnx.ModelProto:
    """Hold one model against PyTorch at every size."""
    net = protogen.loads(text).fill(3)
    model = net.to_onnx(dynamic_size=True, **options)
    onnx.checker.check_model(model, full_check=True)
    engine = session(model)
    rng = np.random.default_rng(0)
    batch = 3 if options.get("dynamic_batch") else 1
    for size in SIZES:
        x = rng.standard_normal((batch, 3, *size), dtype=np.float32)
        twin = protogen.loads(text, inputs={"data": x.shape})
        twin.weights = dict(net.weights.items())
        for actual, wanted in zip(engine.run(None, {"data": x}), by_torch(twin, {"data": x})):
            assert actual.shape == wanted.shape
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4 * max(1, np.abs(wanted).max()), err_msg=str(size))
    return model


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_every_size_gives_its_own_numbers(name: str, fold: bool) -> None:
    model = check(NETS[name], fold=fold)
    assert shape_of(model.graph.input[0]) == [1, 3, "H", "W"]


@pytest.mark.parametrize("name", NETS)
def test_with_an_open_batch_too(name: str) -> None:
    model = check(NETS[name], dynamic_batch=True, opset=13)
    assert shape_of(model.graph.input[0]) == ["N", 3, "H", "W"]
    assert shape_of(model.graph.output[-1])[0] == "N"


@pytest.mark.parametrize("opset", [11, 17, NEWEST])
def test_a_detector_whose_number_of_boxes_follows_the_size(opset: int) -> None:
    model = check(SSD, opset=opset)
    assert shape_of(model.graph.output[0]) == [1, 1, 0, 7]
    stated = {info.name: shape_of(info) for info in model.graph.value_info}
    # 1 x 1 at the size given and at twice that: what hardly grows is open all the same.
    assert stated["conv3"] == [1, 6, 0, 0]
    assert stated["prior"] == [1, 2, 0]
    check(SSD, opset=opset, dynamic_batch=True)


PROPOSAL = """proposal_param { feat_stride: 8 base_size: 8 ratio: 0.5 ratio: 1 scale: 2 scale: 3.3 min_size: 4
                               pre_nms_topn: 60 post_nms_topn: 9 nms_thresh: 0.6 }"""
BIASES = "num_classes: 2 num_box: 2 biases: 1.5 biases: 2 biases: 3 biases: 1 confidence_threshold: 0.4 nms_threshold: 0.5"
LAYERS = [  # and the shapes of their inputs
    (f'type: "Proposal" bottom: "a" bottom: "b" bottom: "c" top: "y" top: "z" {PROPOSAL}', [(1, 8, 6, 5), (1, 16, 6, 5), (1, 3)]),
    ('type: "ROIPooling" bottom: "a" bottom: "b" top: "y" roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }',
     [(2, 4, 9, 8), (7, 5, 1, 1)]),
    ('type: "ROIPooling" bottom: "a" bottom: "b" top: "y" roi_pooling_param { pooled_size: 3 spatial_scale: 0.5 pad_ratio: 0.4 }',
     [(2, 4, 9, 8), (7, 5)]),
    ('type: "PSROIPooling" bottom: "a" bottom: "b" top: "y" psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 1 }',
     [(2, 18, 9, 8), (7, 5)]),
    (f'type: "YoloDetectionOutput" bottom: "a" top: "y" yolo_detection_output_param {{ {BIASES} }}', [(1, 14, 4, 4)]),
    (f'type: "Yolov3DetectionOutput" bottom: "a" top: "y" yolov3_detection_output_param {{ {BIASES} mask: 1 mask: 0 '
     "mask_group_num: 1 anchors_scale: 8 }", [(1, 14, 4, 4)]),
    ('type: "ShuffleChannel" bottom: "a" top: "y" shuffle_channel_param { group: 3 }', [(1, 6, 5, 4)]),
    ('type: "Reorg" bottom: "a" top: "y" reorg_param { stride: 2 }', [(1, 8, 6, 4)]),
    ('type: "MaskPooling" bottom: "a" bottom: "b" top: "y"', [(1, 6, 5, 4), (1, 1, 5, 4)]),
    ('type: "Transpose" bottom: "a" top: "y" transpose_param { dim: 0 dim: 2 dim: 3 dim: 1 }', [(1, 6, 5, 4)]),
    ('type: "BilinearInterpolation" bottom: "a" bottom: "b" top: "y"', [(1, 6, 5, 4), (1, 1, 9, 7)]),
    ('type: "Quant" bottom: "a" top: "y" quant_param { centers: 0.5 centers: 1 }', [(1, 6, 5, 4)]),
    ('type: "BinaryConvolution" bottom: "a" top: "y" convolution_param { num_output: 3 kernel_size: 3 }', [(1, 6, 5, 4)]),
    ('type: "Flatten" bottom: "a" top: "y" flatten_param { axis: 1 end_axis: 2 }', [(1, 6, 5, 4)]),
    ('type: "Reshape" bottom: "a" top: "y" reshape_param { axis: 1 num_axes: 1 shape { dim: 2 dim: 3 } }', [(1, 6, 5, 4)]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shapes"), LAYERS, ids=[text.split('"')[1] for text, _ in LAYERS])
def test_layers_that_read_the_size(text: str, shapes: list[tuple[int, ...]]) -> None:
    net = net_of(text, *shapes)
    newest = 21 if "ROIPooling" in text and "PSROI" not in text else NEWEST  # see test_roi.py
    for opset, batch, (rows, columns) in ((11, 0, (0, 0)), (17, 0, (2, 2)), (newest, 2, (14, 14)), (17, 0, (6, 20))):
        if "Yolo" in text and rows != columns:
            continue  # square images only
        larger = [(*s[:2], s[2] + rows, s[3] + columns) if len(s) == 4 and s[1] != 5 else s for s in shapes]
        larger = [(shape[0] + batch, *shape[1:]) for shape in larger]
        values = values_for(net_of(text, *larger))
        height, width = larger[0][2:]
        if "Proposal" in text:
            values["c"] = np.tile(np.float32([8 * height, 8 * width, 1]), (1 + batch, 1))
        if "ROI" in text:
            region = np.random.default_rng(1).random(larger[1]).reshape(-1, 5) * [2, width, height, width, height]
            region[:, 3:] += region[:, 1:3]
            values["b"] = np.floor(region).astype(np.float32).reshape(larger[1])
        made = by_onnx(net, values, opset=opset, dynamic_size=True, dynamic_batch=True)
        assert_same(made, by_torch(net_of(text, *larger), values))


def test_a_net_that_takes_square_images_only_says_so() -> None:
    model = net_of(*LAYERS[4][:1], *LAYERS[4][1]).to_onnx(dynamic_size=True)
    assert shape_of(model.graph.input[0]) == [1, 14, "H", "H"]


def test_an_image_of_one_pixel_and_regions_of_one_value() -> None:
    """OpenPose's hand net states 1 x 1 pixels; regions (R, 5, 1, 1) beside an image have no size."""
    model = net_of('type: "ReLU" bottom: "a" top: "y"', (1, 3, 1, 1)).to_onnx(dynamic_size=True)
    assert shape_of(model.graph.input[0]) == [1, 3, "H", "W"]
    text, shapes = LAYERS[1]
    assert [shape_of(node) for node in net_of(text, *shapes).to_onnx(dynamic_size=True).graph.input] == [
        [2, 4, "H", "W"],
        [7, 5, 1, 1],
    ]


def test_sizes_that_agree_by_chance() -> None:
    """At 32 x 32 Interp has nothing to do, and a model for this size alone leaves it out."""
    text = HEADER + conv("conv", "data", 2, 2, "stride: 2") + pool("pool", "data")
    text += layer("resized", "Interp", "conv pool") + layer("out", "Concat", "resized pool")
    assert [node.op_type for node in protogen.loads(text).fill().to_onnx().graph.node].count("Resize") == 0
    check(text)


@pytest.mark.parametrize(("method", "kernel", "stride", "pad", "more"), POOLS)
def test_pooling_of_any_size(method: str, kernel: int, stride: int, pad: int, more: str) -> None:
    text = HEADER + pool("pool", "data", method, kernel, stride, pad, more)
    if pad > kernel - stride and not more:
        with pytest.raises(ConversionError, match=r"layer 'pool'.* its windows depend on the image's size"):
            protogen.loads(text).to_onnx(dynamic_size=True)
    else:
        for opset in (11, 19, NEWEST):
            check(text, opset=opset)


def test_outputs_of_the_images_size_say_so() -> None:
    model = protogen.loads(OPENPOSE + layer("same", "Crop", "conv1 data")).fill().to_onnx(dynamic_size=True)
    stated = {info.name: shape_of(info) for info in (*model.graph.output, *model.graph.value_info)}
    assert stated["same"] == [1, 8, "H", "W"]
    assert stated["out"] == [1, 7, 0, 0]  # no value and no name: open


def test_preprocessing_goes_with_it() -> None:
    from protogen.targets.onnx.options import Preprocess

    what = Preprocess((104, 117, 123), 0.017, swap_rb=True, nhwc=True)
    model = protogen.loads(FCN).fill().to_onnx(dynamic_size=True, preprocess=what)
    assert shape_of(model.graph.input[0]) == [1, "H", "W", 3]


def test_a_net_that_wants_certain_sizes_only() -> None:
    """Down and up again: other sizes than multiples of 4 do not fit together, in Caffe neither."""
    text = (
        HEADER
        + pool("down", "data")
        + pool("down2", "down")
        + conv("up", "down2", 3, 4, "stride: 4", "Deconvolution")
        + layer("sum", "Eltwise", "up data")
    )
    net = protogen.loads(text).fill()
    model = net.to_onnx(dynamic_size=True)
    assert run_model(model, np.zeros((1, 3, 40, 20), np.float32))["sum"].shape == (1, 3, 40, 20)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            layer("fc", "InnerProduct", "conv", "inner_product_param { num_output: 2 }"),
            "layer 'fc' .*its weights depend on the size",
        ),
        (layer("fold", "Reshape", "conv", "reshape_param { shape { dim: 0 dim: 0 dim: 450 dim: 2 } }"), "of the image, .*'fold'"),
        (layer("same", "Reshape", "conv", "reshape_param { shape { dim: 0 dim: 0 dim: 30 dim: 30 } }"), "of the image, .*'same'"),
        (layer("spp", "SPP", "conv", "spp_param { pyramid_height: 2 }"), "layer 'spp' .*its ONNX form depends on the size"),
    ],
)
def test_nets_whose_form_depends_on_the_size(more: str, message: str) -> None:
    text = HEADER + conv("conv", "data", 2, 3) + more
    with pytest.raises(ConversionError, match=f"(?s)size cannot be dynamic.*{message}"):
        protogen.loads(text).to_onnx(dynamic_size=True)


def test_a_net_without_images() -> None:
    b = NetBuilder()
    b.fc(b.input("data", (1, 4)), 3)
    with pytest.raises(ConversionError, match="no input has height and width"):
        b.build().to_onnx(dynamic_size=True)


def test_layers_behind_a_filter_state_no_number_of_rows() -> None:
    net = protogen.loads(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } } }'
        'layer { name: "keep" type: "Input" top: "keep" input_param { shape { dim: 2 } } }'
        'layer { name: "filter" type: "Filter" bottom: "x" bottom: "keep" top: "kept" }'
        'layer { name: "exp" type: "Exp" bottom: "kept" top: "exp" exp_param { scale: 0.5 } }'
        'layer { name: "relu" type: "ReLU" bottom: "exp" top: "relu" }'
    )
    (output,) = net.to_onnx().graph.output
    assert not output.type.tensor_type.shape.dim[0].HasField("dim_value")
    assert protogen.verify(net, inputs={"keep": [1, 0]}).ok
