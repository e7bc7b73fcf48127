"""BoxOutput, BoxGroupOutput and DecodeBBox, box by box as in zhaoweicai's mscnn and cascade-rcnn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import NEWEST, Arrays, by_onnx, by_torch

Box = tuple[float, list[float]]  # score; x1, y1, x2, y2
_MEANS = "bbox_mean: 0.1 bbox_mean: 0 bbox_mean: 0 bbox_mean: 0.2"
UNITS = f"bbox_reg_param {{ {_MEANS} bbox_std: 0.1 bbox_std: 0.2 bbox_std: 0.3 bbox_std: 0.2 }}"
ONE = "fg_thr: -2 iou_thr: 0.3 field_w: 20 field_w: 40 field_h: 30 field_h: 40 downsample_rate: 8 downsample_rate: 16 min_size: 4"
SHAPES = [(2, 7, 6, 7), (2, 7, 3, 4)]
GROUP = (
    "fg_thr: 0.2 iou_thr: 0.3 min_size: 4 box_group_param { field_w: 20 field_w: 30 field_h: 24 field_h: 20 stride: 8 } "
    "box_group_param { field_w: 40 field_h: 50 stride: 16 }"
)
GROUP_SHAPES = [(4, 3, 6, 7), (4, 4, 6, 7), (2, 3, 3, 4), (2, 4, 3, 4)]


def units(net: protogen.Net) -> tuple[np.ndarray, np.ndarray]:
    p = net.layers[-1].message.bbox_reg_param
    if not p.bbox_mean or not p.bbox_std:
        return np.zeros(4, np.float32), np.ones(4, np.float32)
    return np.array(p.bbox_mean, np.float32), np.array(p.bbox_std, np.float32)


def decoded(
    net: protogen.Net, offset: np.ndarray, size: tuple[int, int], cell: tuple[int, int], stride: int, p: object
) -> list[float]:
    """First corner, width and height, before clipping."""
    mean, deviation = units(net)
    x, y, w, h = (offset * deviation + mean).tolist()
    x, y = (min(max(v, -1 / p.field_xyr), 1 / p.field_xyr) for v in (x, y))  # type: ignore[attr-defined]
    w, h = (min(max(v, math.log(1 / p.field_whr)), math.log(p.field_whr)) for v in (w, h))  # type: ignore[attr-defined]
    width, height = size[0] * math.exp(w), size[1] * math.exp(h)
    return [
        x * size[0] + (cell[1] + 0.5) * stride - width / 2,
        y * size[1] + (cell[0] + 0.5) * stride - height / 2,
        width,
        height,
    ]


def found_by_box_output(net: protogen.Net, values: Arrays, image: int) -> list[Box]:
    p, boxes = net.layers[-1].message.box_output_param, []
    for j, x in enumerate(values.values()):
        rate, size = p.downsample_rate[j], (p.field_w[j], p.field_h[j])
        for cell in np.ndindex(*x.shape[2:]):
            here = x[(image, slice(None), *cell)]
            score = float(here[1:-4].max() - here[0])
            left, top, width, height = decoded(net, here[-4:], size, cell, rate, p)
            left, top = max(left, 0), max(top, 0)
            width, height = min(width, x.shape[3] * rate - left), min(height, x.shape[2] * rate - top)
            if score >= p.fg_thr and width >= p.min_size and height >= p.min_size:
                boxes.append((score, [left, top, left + width, top + height]))
    return boxes


def found_by_group_output(net: protogen.Net, values: Arrays, image: int) -> list[Box]:
    p, boxes, blobs = net.layers[-1].message.box_group_output_param, [], list(values.values())
    for j, group in enumerate(p.box_group_param):
        scores, offsets = blobs[2 * j], blobs[2 * j + 1]
        limit = (scores.shape[3] * group.stride, scores.shape[2] * group.stride)
        for k, size in enumerate(zip(group.field_w, group.field_h)):
            row = image * len(group.field_w) + k
            for cell in np.ndindex(*scores.shape[2:]):
                score = float(1 - scores[(row, 0, *cell)])
                left, top, width, height = decoded(net, offsets[(row, slice(None), *cell)], size, cell, group.stride, p)
                x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + width - 1, limit[0]), min(top + height - 1, limit[1])
                if score >= p.fg_thr and x2 - x1 + 1 >= p.min_size and y2 - y1 + 1 >= p.min_size:
                    boxes.append((score, [x1, y1, x2, y2]))
    return boxes


def overlap(a: list[float], b: list[float], pixel: int) -> float:
    width, height = (min(a[2 + i], b[2 + i]) - max(a[i], b[i]) for i in (0, 1))
    if width < 0 or height < 0:
        return 0.0
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b)]
    shared = (width + pixel) * (height + pixel)
    return shared / (sum(areas) - shared)


def proposals(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """`Forward_cpu` from the ranking on."""
    message = net.layers[-1].message
    groups = net.layers[-1].type == "BoxGroupOutput"
    p = message.box_group_output_param if groups else message.box_output_param
    find: Callable[..., list[Box]] = found_by_group_output if groups else found_by_box_output
    images = len(values["a"]) // (len(p.box_group_param[0].field_w) if groups else 1)
    rows = []
    for image in range(images):
        boxes = [
            box for _, box in sorted(enumerate(find(net, values, image)), key=lambda item: (item[1][0], item[0]), reverse=True)
        ]
        boxes, kept = boxes[: p.max_nms_num or len(boxes)], []
        for score, box in boxes:
            if all(overlap(box, other, int(groups)) <= p.iou_thr for _, other in kept):
                kept.append((score, box))
        rows += [[image, *box, score] for score, box in kept[: p.max_post_nms_num or len(kept)]]
    if not rows:
        tops = [np.float32([[0, 1, 1, 10, 10]]), np.zeros((1, 6), np.float32)]
    else:
        tops = [np.float32(rows)[:, :5], np.float32(rows)]
    return [top[:, :, None, None] for top in tops[: len(net.layers[-1].tops)]]


def predictions(shapes: list[tuple[int, ...]]) -> Callable[[], list[np.ndarray]]:
    def values() -> list[np.ndarray]:
        rng = np.random.default_rng(3)
        return [(rng.random(shape) if shape[1] == 3 else rng.standard_normal(shape)).astype(np.float32)
                for shape in shapes]  # fmt: skip

    return values


def assert_close(made: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(made) == len(expected)
    for one, other in zip(made, expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-4)


CASES = [
    ("BoxOutput", f"box_output_param {{ {ONE} }}", SHAPES, "y z"),
    (
        "BoxOutput",
        f"box_output_param {{ {ONE} field_whr: 4 field_xyr: 1 max_nms_num: 30 max_post_nms_num: 5 }} {UNITS}",
        SHAPES,
        "y",
    ),
    ("BoxOutput", f"box_output_param {{ {ONE} }}".replace("fg_thr: -2", "fg_thr: 100"), SHAPES, "y z"),
    ("BoxGroupOutput", f"box_group_output_param {{ {GROUP} }}", GROUP_SHAPES, "y z"),
    (
        "BoxGroupOutput",
        f"box_group_output_param {{ {GROUP} max_nms_num: 40 max_post_nms_num: 6 field_xyr: 1 }} {UNITS}",
        GROUP_SHAPES,
        "y",
    ),
]


@pytest.mark.parametrize(("kind", "param", "shapes", "tops"), CASES)
def test_proposals_are_the_forks(kind: str, param: str, shapes: list[tuple[int, ...]], tops: str) -> None:
    net = over(f'type: "{kind}" {param}', *shapes, tops=tops)
    values = dict(zip("abcd", predictions(shapes)()))
    expected = proposals(net, values)
    assert len(expected[0]) == 1 or set(expected[0][:, 0, 0, 0]) == {0, 1}
    assert_close(by_torch(net, values), expected)
    for opset in (11, 17, NEWEST):
        assert_close(by_onnx(net, values, opset=opset), expected)
    if kind == "BoxOutput":
        assert_close(by_onnx(net, values, dynamic_batch=True), expected)


def test_of_equal_scores_mscnn_takes_the_later_box_first() -> None:
    net = over(f'type: "BoxOutput" box_output_param {{ {ONE} max_nms_num: 9 }}', *SHAPES)
    values = dict(zip("ab", predictions(SHAPES)()))
    for x in values.values():
        x[:, :3] = np.float32([0, 1, 1])[:, None, None]
    expected = proposals(net, values)
    assert_close(by_torch(net, values), expected)
    assert_close(by_onnx(net, values), expected)


def refined(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """`DecodeBBoxesWithPrior`, for the second class."""
    mean, deviation = units(net)
    rows = []
    for offset, region in zip(values["a"].reshape(-1, 8), values["b"].reshape(-1, 5)):
        x, y, w, h = offset[4:] * deviation + mean
        image, x1, y1, x2, y2 = region
        width, height = (x2 - x1 + 1) * np.exp(w), (y2 - y1 + 1) * np.exp(h)
        left = x * (x2 - x1 + 1) + 0.5 * (x1 + x2) - (width - 1) / 2
        top = y * (y2 - y1 + 1) + 0.5 * (y1 + y2) - (height - 1) / 2
        rows.append([image, left, top, left + width - 1, top + height - 1])
    return [np.float32(rows)[:, :, None, None]]


@pytest.mark.parametrize("shapes", [[(6, 8), (6, 5, 1, 1)], [(6, 8, 1, 1), (6, 5)]])
def test_regions_are_refined_by_the_object_class(shapes: list[tuple[int, ...]]) -> None:
    net = over(f'type: "DecodeBBox" {UNITS}', *shapes)
    values = dict(zip("ab", predictions(shapes)()))
    assert_close(by_torch(net, values), refined(net, values))
    check_every_form(net)


@pytest.mark.parametrize(("text", "shapes", "message"), [
    (f'type: "BoxOutput" box_output_param {{ {ONE} field_w: 3 }}', SHAPES, "needs a positive field_w for each of 2 bottoms"),
    (f'type: "BoxOutput" box_output_param {{ {ONE} }}', [(2, 5, 6, 7), (2, 5, 3, 4)], "scores of two classes and boxes"),
    (f'type: "BoxGroupOutput" box_group_output_param {{ {GROUP} }}', GROUP_SHAPES[:2], "two bottoms for each box_group_param"),
    (f'type: "BoxOutput" box_output_param {{ {ONE} }} bbox_reg_param {{ bbox_mean: 1 bbox_std: 1 }}', SHAPES, "four values of"),
    ('type: "DecodeBBox"', [(6, 12), (6, 5)], r"takes rows of 8 values, not \(6, 12\)"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        over(text, *shapes)


def test_other_overlaps_are_refused() -> None:
    with pytest.raises(protogen.ProtogenError, match=r"box_output_param.nms_type is not computed"):
        over(f'type: "BoxOutput" box_output_param {{ {ONE} nms_type: "IOMU" }}', *SHAPES).to_torch()


def rows(type: str, param: str, base: str, shapes: list[tuple[int, ...]], fields: dict[str, object]) -> list[Alone]:
    bottoms = " ".join(f'bottom: "{name}"' for name, _ in zip("abcd", shapes))
    return [
        Alone(type, f"{param}.{name}", value, f'{bottoms} top: "y" {param} {{ {without(base, name)} }}', shapes, proposals,
              inputs=predictions(shapes), tolerance=1e-4, refused=refusal(name))
        for name, value in fields.items()
    ]  # fmt: skip


def without(base: str, name: str) -> str:
    """The parameters less those of a name."""
    words = base.split()
    return " ".join(word for i, word in enumerate(words) if name + ":" not in (word, words[i - 1] if i else ""))


def refusal(name: str) -> str:
    return f"needs a positive {name}" if name in ("field_w", "field_h", "downsample_rate") else ""


COMMON = {"iou_thr": 0.2, "field_whr": 1.5, "field_xyr": 8.0, "max_nms_num": 20, "max_post_nms_num": 3}
REG = 'bottom: "a" bottom: "b" top: "y" box_output_param { %s } bbox_reg_param { %s }'
MEANS, STDS = [0.5, 0.0, 0.2, 0.0], [0.1, 0.2, 0.3, 0.1]


def reg(type: str, layer: str, shapes: list[tuple[int, ...]], expected: Callable[..., list[np.ndarray]]) -> list[Alone]:
    bottoms = " ".join(f'bottom: "{name}"' for name, _ in zip("abcd", shapes))
    means, stds = (
        " ".join(f"{name}: {value}" for value in values) for name, values in (("bbox_mean", MEANS), ("bbox_std", STDS))
    )
    return [
        Alone(type, f"bbox_reg_param.{name}", value, f'{bottoms} top: "y" {layer} bbox_reg_param {{ {other} }}', shapes, expected,
              inputs=predictions(shapes), tolerance=1e-4)
        for name, value, other in (("bbox_mean", MEANS, stds), ("bbox_std", STDS, means))
    ]  # fmt: skip


ALONE = [
    *rows("BoxOutput", "box_output_param", ONE, SHAPES,
          {"fg_thr": 2.5, "min_size": 25.0, "field_w": [20, 40], "field_h": [30, 40], "downsample_rate": [8, 16], **COMMON}),
    *rows("BoxGroupOutput", "box_group_output_param", GROUP, GROUP_SHAPES, {"fg_thr": 0.5, "min_size": 25.0, **COMMON}),
    Alone("BoxGroupOutput", "box_group_output_param.box_group_param", [{"field_w": [20, 30], "field_h": [24, 20], "stride": 8}],
          'bottom: "a" bottom: "b" top: "y" box_group_output_param { fg_thr: 0.2 iou_thr: 0.3 }', GROUP_SHAPES[:2], proposals,
          inputs=predictions(GROUP_SHAPES[:2]), tolerance=1e-4, refused="two bottoms for each box_group_param"),
    *reg("BoxOutput", f"box_output_param {{ {ONE} }}", SHAPES, proposals),
    *reg("BoxGroupOutput", f"box_group_output_param {{ {GROUP} }}", GROUP_SHAPES, proposals),
    *reg("DecodeBBox", "", [(6, 8), (6, 5)], refined),
]  # fmt: skip
