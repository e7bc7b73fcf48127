"""Statistics of weights files: numpy's numbers, whatever the format, in little memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.weights import caffemodel
from tests.bounds import bounded

VALUES = np.array([[1.5, -2.0, 0.0], [0.0, 3.0, 8.0]], np.float32)


def written(folder: Path, blob: np.ndarray, ending: str = ".caffemodel") -> Path:
    net = protogen.loads(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "d" top: "fc" inner_product_param { num_output: 2 bias_term: false } }'
    )
    net.weights["fc"] = [blob]
    net.save(folder / f"w{ending}")
    return folder / f"w{ending}"


@pytest.mark.parametrize("ending", [".caffemodel", ".h5", ".pth"])
def test_every_format_gives_the_same_statistics(tmp_path: Path, ending: str) -> None:
    if ending == ".h5":
        pytest.importorskip("h5py")
    (row,) = protogen.weights_summary(written(tmp_path, VALUES, ending)).rows
    assert (row.layer, row.shape, row.count) == ("fc", (2, 3), 6)
    assert (row.min, row.max, row.mean) == (-2.0, 8.0, pytest.approx(10.5 / 6))
    assert (row.zeros, row.nan, row.infinite) == (2, 0, 0)
    assert row.type == ("InnerProduct" if ending == ".caffemodel" else "")


def test_what_is_no_number_is_counted_and_left_out_of_the_rest(tmp_path: Path) -> None:
    blob = np.array([[np.nan, 1, 0], [np.inf, -np.inf, 3]], np.float32)
    summary = protogen.weights_summary(written(tmp_path, blob))
    (row,) = summary.rows
    assert (row.nan, row.infinite, row.zeros, row.min, row.max) == (1, 2, 1, 0.0, 3.0)
    assert row.mean == pytest.approx(4 / 3)
    assert summary.warnings == ["layer 'fc', blob 0: 1 NaN and 2 infinite of 6 values"]
    json.dumps(summary.as_dict(), allow_nan=False)
    (row,) = protogen.weights_summary(written(tmp_path, np.full((2, 3), np.nan, np.float32))).rows
    assert (row.min, row.max, row.mean, row.nan) == (None, None, None, 6)


def test_a_large_file_costs_little_memory(tmp_path: Path) -> None:
    values = np.arange(1 << 23, dtype=np.float32)
    values[5] = np.nan
    path = tmp_path / "large.caffemodel"
    caffemodel.write(path, "net", [("fc", "InnerProduct", [], [], [values])])
    with bounded(megabytes=40, seconds=20):
        (row,) = protogen.weights_summary(path).rows
    assert row.max == float(2**23 - 1)
    assert row.mean == pytest.approx((np.arange(1 << 23, dtype=np.float64).sum() - 5) / (2**23 - 1))


def test_empty_blobs(tmp_path: Path) -> None:
    path = tmp_path / "empty.caffemodel"
    caffemodel.write(path, "net", [("fc", "InnerProduct", [], [], [np.zeros((0, 3), np.float32)])])
    (row,) = protogen.weights_summary(path).rows
    assert (row.count, row.min, row.zeros) == (0, None, 0)
    assert "0x3" in str(protogen.weights_summary(path))
