"""Whether weights fit a net: each kind of difference, all at once, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

import protogen
from tests.corpus import CORPUS, needs_corpus
from tests.oracle import LEGACY
from tests.weights.saved import TEXT, net_file

MTCNN = CORPUS / "kpzhang93+MTCNN_face_detection_alignment/code/codes/MTCNNv2/model"
TWO = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "fc" type: "InnerProduct" bottom: "bn" top: "fc" inner_product_param { num_output: 5 } }
"""


@pytest.mark.parametrize("weights", ["v1.caffemodel", "v1.double.caffemodel", "v1.new.caffemodel", "v1.caffemodel.h5"])
def test_a_net_and_its_own_weights_of_any_age_fit(weights: str) -> None:
    if weights.endswith(".h5"):
        pytest.importorskip("h5py")
    result = protogen.fit(protogen.load(LEGACY / "v1.prototxt"), LEGACY / weights)
    assert str(result) == "" and result.equal


def test_every_difference_is_listed_at_once(tmp_path: Path) -> None:
    other = (
        TWO.replace("num_output: 4", "num_output: 6 bias_term: false").replace('"fc"', '"fc9"').replace('"BatchNorm"', '"PReLU"')
    )
    protogen.loads(other.replace("num_output: 5", "num_output: 5")).fill().save_caffemodel(tmp_path / "w.caffemodel")
    result = protogen.fit(protogen.loads(TWO), tmp_path / "w.caffemodel")
    assert str(result).splitlines() == [
        "- layer 'fc' (InnerProduct): no weights in the file",
        "+ layer 'fc9' (InnerProduct): only in the file",
        "~ layer 'conv' (Convolution): 2 blobs [(4, 3, 3, 3), (4,)] -> 1 [(6, 3, 3, 3)]",
        "~ layer 'bn' (BatchNorm): 3 blobs [(4,), (4,), (1,)] -> 1 [(6,)]",
        "~ layer 'bn': type: 'BatchNorm' -> 'PReLU'",
    ]
    numbers = "1 layer without weights, 1 only in the file, 2 do not fit"
    assert result.summary() == f"{numbers}, 1 of another type or with other parameters"


def test_a_renamed_layer_is_told_by_its_shapes(tmp_path: Path) -> None:
    protogen.loads(TWO.replace('"fc"', '"classifier"')).fill().save_caffemodel(tmp_path / "w.caffemodel")
    result = protogen.fit(protogen.loads(TWO), tmp_path / "w.caffemodel")
    assert result.renamed == {"classifier": "fc"}
    assert "has the shapes of the net's 'fc': renamed?" in str(result)


def test_parameters_that_no_shape_shows(tmp_path: Path) -> None:
    """The weights fit, but were trained with another stride and slope."""
    model = net_file(tmp_path, TEXT)
    net = protogen.loads(TEXT.replace("stride: 2 weight", "stride: 1 weight").replace("negative_slope: 0.25", ""))
    result = protogen.fit(net, model)
    assert str(result).splitlines() == [
        "~ layer 'conv'",
        "    convolution_param.stride: [1] -> [2]",
        "~ layer 'relu'",
        "    relu_param.negative_slope: 0 -> 0.25",
    ]
    assert protogen.fit(protogen.load(model), model).equal


def test_state_dicts(tmp_path: Path) -> None:
    protogen.loads(TWO).fill().save(tmp_path / "w.pth")
    assert protogen.fit(protogen.loads(TWO), tmp_path / "w.pth").equal
    result = protogen.fit(protogen.loads(TWO.replace("num_output: 5", "num_output: 7")), tmp_path / "w.pth")
    assert [misfit.layer for misfit in result.misfits] == ["fc"]


@needs_corpus
def test_published_pairs() -> None:
    """det2 was published with a layer that its prototxt lacks. Nothing else differs, though both files are of training."""
    assert protogen.fit(protogen.load(MTCNN / "det1.prototxt"), MTCNN / "det1.caffemodel").equal
    result = protogen.fit(protogen.load(MTCNN / "det2.prototxt"), MTCNN / "det2.caffemodel")
    assert str(result) == "+ layer 'conv5-3' (InnerProduct): only in the file"
