"""PriorBox and PriorBoxClustered: what Caffe refuses, every form, boxes worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from protogen.prototxt.message import Message
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.oracle import cases
from tests.running import NEWEST, by_onnx, by_torch, session

SHAPES = [(2, 4, 3, 2), (2, 3, 60, 40)]


def prior(param: str, kind: str = "PriorBox") -> str:
    return f'type: "{kind}" bottom: "a" bottom: "b" top: "y" prior_box_param {{ {param} }}'


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (prior("max_size: 3"), SHAPES, "min_size is missing"),
        (prior("min_size: 0"), SHAPES, "min_size must be positive"),
        (prior("min_size: 4 min_size: 5 max_size: 6"), SHAPES, "1 max_size for 2 min_size"),
        (prior("min_size: 4 max_size: 4"), SHAPES, "must be greater than min_size"),
        (prior("min_size: 4 aspect_ratio: 0"), SHAPES, "aspect_ratio must be positive"),
        (prior("min_size: 4 variance: 0.1 variance: 0.2"), SHAPES, "one variance or four, not 2"),
        (prior("min_size: 4 variance: 0"), SHAPES, "variance must be positive"),
        (prior("min_size: 4 step: 0"), SHAPES, "step must be positive"),
        (prior("min_size: 4 step_h: 8"), SHAPES, "step_h and step_w must be positive"),
        (prior("min_size: 4 step: 8 step_w: 8"), SHAPES, "either step or step_h"),
        (prior("min_size: 4 img_size: 0"), SHAPES, "img_size must be positive"),
        (prior("min_size: 4 img_size: 9 img_h: 3 img_w: 3"), SHAPES, "either img_size or img_h"),
        (prior("min_size: 4"), [(2, 4, 3), SHAPES[1]], "4 axes"),
        (prior("min_size: 4"), [(2, 4, 0, 3), SHAPES[1]], "is empty"),
        (prior("height: 4", "PriorBoxClustered"), SHAPES, "width is missing"),
        (prior("width: 4 width: 5 height: 4", "PriorBoxClustered"), SHAPES, "2 width and 1 height"),
        (prior("width: 4 height: 0", "PriorBoxClustered"), SHAPES, "must be positive"),
        (prior("min_size: 4 width: 4 height: 4"), SHAPES, "width and height are PriorBoxClustered's"),
        (prior("width: 4 height: 4 denser_prior_boxes: true", "PriorBoxClustered"), SHAPES, "denser_prior_boxes is PriorBox's"),
        (prior("min_size: 4 offset_h: 0.5 offset_h: 1 offset_w: 0.5"), SHAPES, "2 offset_h and 1 offset_w; give as many of each"),
        (prior("min_size: 4 offset_w: 0.5"), SHAPES, "0 offset_h and 1 offset_w"),
        (prior("min_size: 4 offset: 0.5 offset_h: 0.5 offset_w: 0.5"), SHAPES, "either offset or offset_h and offset_w"),
        (prior("min_size: 4" + 3 * " offset_h: 0.5 offset_w: 0.5"), SHAPES, "one or two pairs of offset_h and offset_w, not 3"),
        (prior("min_size: 4 offset_h: 0.5 offset_w: 0.5 img_h: 9 img_w: 9"), SHAPES, "img_h and img_w with OpenCV's offsets"),
        (prior("min_size: 4 offset_h: 0.5 offset_w: 0.5 denser_prior_boxes: true"), SHAPES, "give only one"),
        (prior("min_size: 4 offset_h: 0.5 offset_w: 0.5 additional_y_offset: true"), SHAPES, "either additional_y_offset or"),
        (prior("min_size: 4 offset: 0.3 additional_y_offset: true"), SHAPES, "additional_y_offset needs offset 0.5, not 0.3"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(layer, *shapes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "layer",
    [
        prior("min_size: 15.2 max_size: 30.7 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: true variance: 0.1"),
        prior("width: 8.5 width: 20 height: 9 height: 4.25 step_h: 20 step_w: 10 img_h: 64 img_w: 32", "PriorBoxClustered"),
        prior("min_size: 8.7 aspect_ratio: 2 offset_h: 0.5 offset_w: 0.5 offset_h: 1 offset_w: 0.5"),
    ],
)
def test_every_form_agrees(layer: str) -> None:
    check_every_form(net_of(layer, *SHAPES))


OPEN = [
    prior("min_size: 15.2 max_size: 30.7 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: true variance: 0.1"),
    prior("min_size: 9 min_size: 31 offset: 0.3 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4"),
    prior("min_size: 7 aspect_ratio: 3 step: 7.3 offset: 0"),
    prior("min_size: 7 img_size: 300 clip: true"),
    prior("width: 8.5 width: 20 height: 9 height: 4.25 step_h: 20 step_w: 10 img_h: 64 img_w: 32", "PriorBoxClustered"),
]
# Fields of OpenCV, and of TextBoxes++, without type and braces.
OPENCV = [
    "min_size: 8.7 aspect_ratio: 2 flip: false clip: false variance: 0.1 offset_h: 0.5 offset_w: 0.5 offset_h: 1 offset_w: 0.5",
    "min_size: 8.7 max_size: 19.3 aspect_ratio: 2 aspect_ratio: 1 aspect_ratio: 3 variance: 0.1 variance: 0.2 variance: 0.3 "
    "variance: 0.4 offset_h: 0.25 offset_w: 0.75 offset_h: 1 offset_w: 0",
    "min_size: 8.7 min_size: 11 max_size: 19.3 max_size: 12.2 flip: true aspect_ratio: 2.5 clip: true variance: 0.2 step_h: 7.3 "
    "step_w: 5 offset_h: 0.3 offset_w: 0.7",
]
DENSER = [
    "min_size: 15.2 max_size: 30.7 aspect_ratio: 2 aspect_ratio: 5 flip: true clip: true denser_prior_boxes: true",
    "min_size: 9.9 min_size: 31 aspect_ratio: 3 flip: false offset: 0.25 denser_prior_boxes: true step: 7.3 "
    "variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4",
]


def message(param: str) -> Message:
    return net_of(prior(param), *SHAPES).layers[-1].message.prior_box_param


def opencv_boxes(p: Message, size: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """OpenCV's prior_box_layer.cpp (4.x): every size of box at every pair of offsets, in float32."""
    f = np.float32
    ratios: list[np.float32] = []
    for ratio in map(f, p.aspect_ratio):
        if abs(ratio - f(1)) >= 1e-6 and all(abs(ratio - other) >= 1e-6 for other in ratios):
            ratios += [ratio, f(1 / ratio)] if p.flip else [ratio]
    boxes = list(zip(map(f, p.width), map(f, p.height)))
    for i, small in enumerate(map(f, p.min_size)):
        boxes.append((small, small))
        if p.max_size:
            boxes.append((np.sqrt(small * f(p.max_size[i])),) * 2)
        boxes += [(small * np.sqrt(ratio), small / np.sqrt(ratio)) for ratio in ratios]
    pairs = [(0.5, 0.5), (1, 0.5)] if p.additional_y_offset else list(zip(p.offset_h, p.offset_w))
    step_h = f(p.step_h) or f(image[0]) / f(size[0])
    step_w = f(p.step_w) or f(image[1]) / f(size[1])
    values: list[np.float32] = []
    for h in range(size[0]):
        for w in range(size[1]):
            for width, height in boxes:
                for offset_h, offset_w in pairs:
                    x, y = (f(w) + f(offset_w)) * step_w, (f(h) + f(offset_h)) * step_h
                    values += [(x - width * f(0.5)) / f(image[1]), (y - height * f(0.5)) / f(image[0])]
                    values += [(x + width * f(0.5)) / f(image[1]), (y + height * f(0.5)) / f(image[0])]
    clip = p.clip if "clip" in p else True
    places = [min(max(value, f(0)), f(1)) if clip else value for value in values]
    variances = [f(p.variance[i % 4 if len(p.variance) > 1 else 0]) for i in range(len(values))]
    return np.array([places, variances], f)[None]


def denser_boxes(p: Message, size: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """TextBoxes++'s prior_box_layer.cpp: each box again at the lower edge of its cell; sizes are whole numbers."""
    f = np.float32
    ratios = [f(1)]
    for ratio in map(f, p.aspect_ratio):
        if all(abs(ratio - other) >= 1e-6 for other in ratios):
            ratios += [ratio, f(1 / ratio)] if p.flip else [ratio]
    step_h, step_w = (f(p.step) or f(side) / f(cells) for side, cells in zip(image, size))
    values = []
    for h in range(size[0]):
        for w in range(size[1]):
            x, y = (f(w) + f(p.offset)) * step_w, (f(h) + f(p.offset)) * step_h
            below = f((h + 1.0) * float(step_h))
            for i, small in enumerate(map(int, p.min_size)):
                boxes = [(f(small), f(small))]
                if p.max_size:
                    boxes.append((f(np.sqrt(small * int(p.max_size[i]))),) * 2)
                boxes += [(f(small) * np.sqrt(ratio), f(small) / np.sqrt(ratio)) for ratio in ratios[1:]]
                for half_w, half_h in ((float(width) / 2, float(height) / 2) for width, height in boxes):
                    for middle in map(float, (y, below)):
                        values += [(float(x) - half_w) / image[1], (middle - half_h) / image[0]]
                        values += [(float(x) + half_w) / image[1], (middle + half_h) / image[0]]
    places = [min(max(value, 0), 1) if p.clip else value for value in values]
    variances = [p.variance[i % len(p.variance)] if p.variance else 0.1 for i in range(len(values))]
    return np.array([places, variances], f)[None]


@pytest.mark.parametrize("size", [(2, 3), (5, 1)])
@pytest.mark.parametrize("param", OPENCV)
def test_offsets_are_those_of_opencvs_steps(param: str, size: tuple[int, int]) -> None:
    net = net_of(prior(param), (1, 4, *size), (1, 3, 60, 41))
    expected = opencv_boxes(message(param), size, (60, 41))
    for made in (by_torch(net, values_for(net))[0], by_onnx(net, values_for(net))[0]):
        assert made.shape == expected.shape == net.shapes["y"]
        assert made.tobytes() == expected.tobytes()


@pytest.mark.parametrize("param", [*OPENCV, "width: 8.5 width: 20 height: 9 height: 4 variance: 0.1 offset_h: 0.3 offset_w: 0.6"])
def test_offsets_are_opencvs_own_numbers(param: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe nets")
    text = f"""
        input: "b" input_shape {{ dim: 1 dim: 3 dim: 48 dim: 80 }}
        layer {{ name: "a" type: "Pooling" bottom: "b" top: "a" pooling_param {{ pool: AVE kernel_size: 16 stride: 16 }} }}
        layer {{ name: "op" {prior(param, "PriorBoxClustered" if "width" in param else "PriorBox")} }}"""
    file = tmp_path / "net.prototxt"
    file.write_text(text)
    opencv = cv2.dnn.readNetFromCaffe(str(file))
    opencv.setInput(np.zeros((1, 3, 48, 80), np.float32))
    expected = opencv.forward("op")  # it goes by layers' names
    net = protogen.loads(text)
    assert expected.reshape(1, 2, -1).tobytes() == by_torch(net, values_for(net))[0].tobytes()


def test_the_older_field_of_opencv_has_the_two_centers_of_textboxes() -> None:
    pairs = "offset_h: 0.5 offset_w: 0.5 offset_h: 1 offset_w: 0.5"
    older, newer = (
        net_of(prior(f"min_size: 9.5 aspect_ratio: 3 {text}"), *SHAPES) for text in ("additional_y_offset: true", pairs)
    )
    assert by_torch(older, values_for(older))[0].tobytes() == by_torch(newer, values_for(newer))[0].tobytes()
    plain = net_of(prior("min_size: 9 aspect_ratio: 3 additional_y_offset: false"), *SHAPES)
    assert plain.shapes["y"][2] * 2 == older.shapes["y"][2]


@pytest.mark.parametrize("size", [(2, 3), (5, 1)])
@pytest.mark.parametrize("param", DENSER)
def test_denser_boxes_are_those_of_textboxes_steps(param: str, size: tuple[int, int]) -> None:
    net = net_of(prior(param), (1, 4, *size), (1, 3, 60, 41))
    expected = denser_boxes(message(param), size, (60, 41))
    for made in (by_torch(net, values_for(net))[0], by_onnx(net, values_for(net))[0]):
        assert made.shape == expected.shape == net.shapes["y"]
        assert made.tobytes() == expected.tobytes()


@pytest.mark.parametrize("opset", [11, 17, NEWEST])
@pytest.mark.parametrize("layer", [*OPEN, *map(prior, OPENCV), *map(prior, DENSER)])
def test_computed_for_any_size_they_are_the_same_bits(layer: str, opset: int) -> None:
    net = net_of(layer, *SHAPES)
    engine = session(net.to_onnx(opset=opset, dynamic_size=True, dynamic_batch=True))
    for size, image in (((3, 2), (60, 40)), ((7, 11), (97, 131)), ((1, 1), (33, 500)), ((38, 57), (300, 451))):
        bottoms = {"a": np.zeros((1, 4, *size), np.float32), "b": np.zeros((3, 3, *image), np.float32)}
        (made,) = engine.run(None, bottoms)
        wanted = by_torch(net, bottoms)[0]
        assert made.shape == wanted.shape
        assert made.tobytes() == wanted.tobytes()


def test_a_file_of_textboxes_is_read_by_a_rule_which_its_prototxt_spells_out() -> None:
    """MhLiao/TextBoxes, src/caffe/layers/prior_box_layer.cpp: each box again around the lower edge of its cell."""
    param = "min_size: 30 max_size: 40 aspect_ratio: 2 aspect_ratio: 5 flip: false clip: true"
    values = {name: np.zeros(shape, np.float32) for name, shape in zip("ab", SHAPES)}
    net = net_of(prior(param), *SHAPES, priors="textboxes")
    expected = by_torch(net_of(prior(param + " denser_prior_boxes: true"), *SHAPES), values)
    for twin in (net, protogen.loads(net.to_prototxt())):
        np.testing.assert_array_equal(by_torch(twin, values)[0], expected[0])
    assert net_of(prior(param), *SHAPES).shapes["y"][2] * 2 == net.shapes["y"][2]
    assert net_of(prior(param + " offset: 0.5"), *SHAPES, priors="textboxes").shapes["y"][2] * 2 == net.shapes["y"][2]
    with pytest.raises(LayerError, match="min_size and max_size must be whole numbers"):
        net_of(prior("min_size: 30.5"), *SHAPES, priors="textboxes")


def test_sizes_are_cut_to_whole_pixels_and_ratios_come_once_with_their_inverses() -> None:
    layer = prior("min_size: 15.9 max_size: 26.9 aspect_ratio: 4 aspect_ratio: 1 aspect_ratio: 4")
    net = net_of(layer, (1, 1, 1, 1), (1, 3, 100, 100))
    boxes = by_torch(net, values_for(net))[0][0, 0].reshape(-1, 4) * 100
    middle = np.sqrt(15 * 26)
    widths_and_heights = [(15, 15), (middle, middle), (30, 7.5), (7.5, 30)]
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], widths_and_heights, rtol=1e-5)
    np.testing.assert_allclose((boxes[:, 2:] + boxes[:, :2]) / 2, 50, rtol=1e-6)


def test_the_bits_are_caffes() -> None:
    """Roots of aspect ratios are rounded to float32 before they meet the size."""
    for case in cases("PriorBox").values():
        net = protogen.loads(case.prototxt)
        boxes = next(op for op in net.ops if op.layer.type == "PriorBox")
        made = boxes.boxes(boxes.bottoms[0][2:], boxes.bottoms[1][2:], np)
        assert made.tobytes() == case.of("out")[boxes.layer.tops[0]].tobytes()


def test_boxes_go_cell_by_cell_through_rows_and_variances_repeat() -> None:
    net = net_of(prior("min_size: 10 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4"), (1, 1, 2, 3), (1, 3, 40, 60))
    y = by_onnx(net, values_for(net))[0]
    centers = y[0, 0].reshape(-1, 4)[:, :2] * (60, 40) + 5
    np.testing.assert_allclose(centers, [(10, 10), (30, 10), (50, 10), (10, 30), (30, 30), (50, 30)], rtol=1e-5)
    np.testing.assert_allclose(y[0, 1].reshape(-1, 4), [[0.1, 0.2, 0.3, 0.4]] * 6, rtol=1e-6)


def test_the_module_follows_the_shapes_it_is_given() -> None:
    net = net_of(prior("min_size: 10"), *SHAPES)
    other = net_of(prior("min_size: 10"), (1, 4, 5, 6), (1, 3, 50, 90))
    bottoms = [torch.zeros(1, 4, 5, 6), torch.zeros(1, 3, 50, 90)]
    assert torch.equal(net.to_torch()(*bottoms), other.to_torch()(*bottoms))
    assert net.to_torch()(*[bottom.double() for bottom in bottoms]).dtype == torch.float64


def row(type: str, field: str, value: object, others: str, expected: Callable[[protogen.Net], np.ndarray]) -> Alone:
    text = f'bottom: "a" bottom: "b" top: "y" prior_box_param {{ {others} }}'
    return Alone(type, f"prior_box_param.{field}", value, text, SHAPES, lambda net, values: [expected(net)], tolerance=0)


def of_an_image(type: str, param: str, size: tuple[int, int]) -> Callable[[protogen.Net], np.ndarray]:
    """The boxes for an image of a size, which needs no field to say so."""
    twin = net_of(prior(param, type), SHAPES[0], (2, 3, *size))
    return lambda net: by_torch(twin, values_for(twin))[0]


def stepwise(boxes: Callable[[Message, tuple[int, int], tuple[int, int]], np.ndarray]) -> Callable[[protogen.Net], np.ndarray]:
    return lambda net: boxes(net.layers[-1].message.prior_box_param, (3, 2), (60, 40))


BOXES = {"PriorBox": "min_size: 9.5 aspect_ratio: 3 variance: 0.2", "PriorBoxClustered": "width: 9.5 height: 4 variance: 0.2"}
ALONE = [
    *(
        each
        for type, boxes in BOXES.items()
        for each in (
            row(type, "img_size", 75, boxes, of_an_image(type, boxes, (75, 75))),
            row(type, "img_h", 75, f"{boxes} img_h: 60 img_w: 40", of_an_image(type, boxes, (75, 40))),
            row(type, "img_w", 75, f"{boxes} img_h: 60 img_w: 40", of_an_image(type, boxes, (60, 75))),
            row(type, "offset_h", [0.25, 1.0], f"{boxes} offset_h: 0.5 offset_h: 0.5 offset_w: 0.5 offset_w: 0",
                stepwise(opencv_boxes)),
            row(type, "offset_w", [0.75], f"{boxes} offset_h: 0.5 offset_w: 0.5", stepwise(opencv_boxes)),
            row(type, "additional_y_offset", True, boxes, stepwise(opencv_boxes)),
        )
    ),
    row("PriorBox", "denser_prior_boxes", True, BOXES["PriorBox"], stepwise(denser_boxes)),
]  # fmt: skip
