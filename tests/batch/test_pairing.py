"""Which weights a net of a folder gets: only those that can be meant, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.batch.pairing import Paired, Reader
from tests.batch.nets import save_weights, text, write

TRAIN = text().replace('"Input"', '"DummyData"').replace("input_param", "dummy_data_param") + (
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }'
)
TRAIN = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 } } }' + TRAIN


def read(path: Path, **settings: object) -> Paired:
    return Reader({"phase": None, **settings}).read(str(path))


def assert_loaded(paired: Paired, content: str, seed: int = 3) -> None:
    np.testing.assert_array_equal(paired.net.weights["fc"][0], protogen.loads(content).fill(seed).weights["fc"][0])


def test_weights_of_the_same_name(tmp_path: Path) -> None:
    """Even if those of another name fit as well."""
    write(tmp_path, net=text())
    save_weights(tmp_path / "net.caffemodel", text(), seed=5)
    save_weights(tmp_path / "other.caffemodel", text(), seed=6)
    paired = read(tmp_path / "net.prototxt")
    assert (Path(str(paired.weights)).name, paired.matched_by, paired.note) == ("net.caffemodel", "name", "")
    assert_loaded(paired, text(), seed=5)


def test_hdf5_weights_of_the_same_name(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    write(tmp_path, net=text())
    save_weights(tmp_path / "net.caffemodel.h5", text())
    assert_loaded(read(tmp_path / "net.prototxt"), text())


def test_weights_of_the_same_name_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, net=text())
    save_weights(tmp_path / "net.caffemodel", text(channels=7))
    with pytest.raises(protogen.WeightsError, match="conv"):
        read(tmp_path / "net.prototxt")


def test_the_only_weights_serve_the_train_and_the_deploy_file_of_one_net(tmp_path: Path) -> None:
    write(tmp_path, deploy=text(), train_val=TRAIN, solver='net: "train_val.prototxt"')
    save_weights(tmp_path / "model.caffemodel", text())
    for name in ("deploy", "train_val"):
        paired = read(tmp_path / f"{name}.prototxt")
        assert (paired.matched_by, paired.unsure) == ("layers", False)
        assert_loaded(paired, text())


def unsure(paired: Paired) -> str:
    """The note of a net without weights that may have some."""
    assert (paired.weights, paired.matched_by, paired.unsure) == (None, None, True)
    assert list(paired.net.weights) == []
    assert paired.note.endswith("; no weights given; random ones from the layers' fillers are used")
    return paired.note


def test_snapshots_of_one_net_are_not_chosen_from(tmp_path: Path) -> None:
    write(tmp_path, net=text())
    for step in ("1000", "2000"):
        save_weights(tmp_path / f"snap_iter_{step}.caffemodel", text())
    note = unsure(read(tmp_path / "net.prototxt"))
    assert note.startswith("'snap_iter_1000.caffemodel', 'snap_iter_2000.caffemodel' all fit: convert this file alone")


def test_two_nets_whose_layers_have_the_same_names_and_shapes(tmp_path: Path) -> None:
    """As AlexNet and CaffeNet: a file's layers alone do not tell whose weights they are."""
    write(tmp_path, one=text(how="MAX"), two=text(how="AVE"))
    save_weights(tmp_path / "model.caffemodel", text())
    assert "'model.caffemodel' also fits 'two.prototxt', which is another net" in unsure(read(tmp_path / "one.prototxt"))
    assert "'model.caffemodel' also fits 'one.prototxt'" in unsure(read(tmp_path / "two.prototxt"))


def test_weights_that_are_called_like_another_net_are_that_nets(tmp_path: Path) -> None:
    write(tmp_path, one=text(), two=text(how="AVE"))
    save_weights(tmp_path / "one.caffemodel", text())
    paired = read(tmp_path / "two.prototxt")
    assert (paired.weights, paired.unsure) == (None, False)
    assert paired.note == "no weights given; random ones from the layers' fillers are used"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (text(channels=7), "model.caffemodel: "),
        (text().replace('"fc"', '"classifier"'), "'model.caffemodel' has no weights for 'fc'"),
    ],
)
def test_weights_that_do_not_fit_are_told(tmp_path: Path, content: str, reason: str) -> None:
    write(tmp_path, net=text())
    save_weights(tmp_path / "model.caffemodel", content)
    assert reason in unsure(read(tmp_path / "net.prototxt"))


def test_weights_of_a_net_whose_layers_stand_in_another_order(tmp_path: Path) -> None:
    parts = text().strip().split("\nlayer")
    moved = parts[-1].replace('bottom: "pool"', 'bottom: "data"').replace("num_output: 5", "num_output: 5 axis: 3")
    other = "\nlayer".join([parts[0], moved, *parts[1:-1]])
    square = text().replace('bottom: "pool"', 'bottom: "conv"').replace("num_output: 5", "num_output: 5 axis: 3")
    square = square.replace("dim: 8 }", "dim: 10 }")
    write(tmp_path, net=square)
    save_weights(tmp_path / "model.caffemodel", other)
    assert "has the layers in another order" in unsure(read(tmp_path / "net.prototxt"))


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    write(tmp_path, net=text())
    (tmp_path / "model.caffemodel").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "is a Git LFS pointer" in unsure(read(tmp_path / "net.prototxt"))


def test_weights_in_the_prototxt_itself(tmp_path: Path) -> None:
    blobs = "blobs { shape { dim: 2 dim: 3 } " + " ".join(f"data: {value}" for value in range(6)) + " }"
    source = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }'
    layer = 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 bias_term: false }'
    write(tmp_path, net=f"{source} {layer} {blobs} }}")
    save_weights(tmp_path / "model.caffemodel", text())
    paired = read(tmp_path / "net.prototxt")
    assert (paired.weights, paired.note) == (None, "")
    np.testing.assert_array_equal(paired.net.weights["fc"][0], np.arange(6).reshape(2, 3))


def test_settings_that_concern_no_part_of_a_file_are_ignored_and_told(tmp_path: Path) -> None:
    write(tmp_path, net=text().replace("num_output: 5", "num_output: $CLASSES$"))
    inputs = {"data": (2, 3, 10, 10), "image": (1, 3, 4, 4)}
    paired = read(tmp_path / "net.prototxt", inputs=inputs, define={"CLASSES": "6", "WIDTH": "3"})
    assert paired.net.shapes["fc"] == (2, 6)
    assert paired.ignored == ["word 'WIDTH'", "input 'image'"]
