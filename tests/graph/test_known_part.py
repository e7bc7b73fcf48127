"""What is left out of a net because it cannot be set up and only trains or measures it, and when nothing is."""

from __future__ import annotations

import warnings

import pytest

import protogen

DATA = 'layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { batch_size: 2 } }'
CONV = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 1 kernel_size: %d } }'
LOSS = 'layer { name: "loss" type: "%s" bottom: "c" bottom: "label" top: "loss" }'
DATA_SHAPE, LABEL_SHAPE = {"data": (2, 3, 8, 8)}, {"label": (2, 5)}


def ends(
    loss: str = "EuclideanLoss", kernel: int = 3, inputs: dict[str, tuple[int, ...]] | None = None, unfit: bool = True
) -> list[str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = protogen.loads("\n".join((DATA, CONV % kernel, LOSS % loss)), inputs=inputs, lenient=True)
        return net.analysis.known_ends(unfit=unfit)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"inputs": {**DATA_SHAPE, "label": (2, 1, 6, 6)}}, None),  # all is set up
        ({"inputs": DATA_SHAPE}, ["c"]),  # nothing but the loss needs the labels
        ({"inputs": {**DATA_SHAPE, **LABEL_SHAPE}}, ["c"]),  # a loss that Caffe would reject
        ({"inputs": {**DATA_SHAPE, **LABEL_SHAPE}, "unfit": False}, None),
        ({"inputs": {**DATA_SHAPE, **LABEL_SHAPE}, "kernel": 30}, None),  # the convolution is needed
        ({"inputs": {}}, None),  # shapes are missing anyway
        ({"inputs": {}, "loss": "ForeignLoss"}, ["c"]),
        ({"inputs": DATA_SHAPE, "loss": "Foreign"}, None),  # may be what the net is for
    ],
)
def test_what_is_kept(case: dict[str, object], expected: list[str] | None) -> None:
    assert ends(**case) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ('type: "MarginInnerProduct"', True),
        ('type: "Python" python_param { module: "a" layer: "RBoxLossLayer" }', True),
        ('type: "Python" python_param { module: "lossy" layer: "Proposals" }', False),
        ('type: "InnerProductLike"', False),
    ],
)
def test_what_is_known_to_train_only_by_its_name(layer: str, expected: bool) -> None:
    text = f'{DATA} {CONV % 3} layer {{ name: "x" {layer} bottom: "c" bottom: "label" top: "x" }}'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (protogen.loads(text, inputs=DATA_SHAPE).analysis.known_ends() == ["c"]) is expected


@pytest.mark.parametrize(
    ("reader", "expected"), [('type: "SoftmaxWithLoss" bottom: "y" bottom: "label"', ["c"]), ('type: "ReLU" bottom: "y"', None)]
)
def test_what_only_leads_from_a_measure_to_another_goes_with_them(reader: str, expected: list[str] | None) -> None:
    """Scores of two training layers of a fork, joined before the loss; but not if something else reads them."""
    text = f"""{DATA} {CONV % 3}
        layer {{ name: "l" type: "LabeledMatching" bottom: "c" bottom: "label" top: "l" }}
        layer {{ name: "y" type: "Concat" bottom: "l" bottom: "l" top: "y" }}
        layer {{ name: "z" {reader} top: "z" }}"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert protogen.loads(text, inputs=DATA_SHAPE).analysis.known_ends() == expected
