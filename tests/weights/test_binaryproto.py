"""Mean images: read as they are, and told apart from weights."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protogen.errors import WeightsError
from protogen.weights import binaryproto, caffemodel
from tests.oracle import LEGACY


def test_binaryproto_mean(tmp_path: Path, messages) -> None:
    values = numpy.arange(3 * 4 * 5, dtype=numpy.float32)
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(messages.Blob(num=1, channels=3, height=4, width=5, data=values).SerializeToString())
    numpy.testing.assert_array_equal(binaryproto.read(path), values.reshape(1, 3, 4, 5))


def test_a_caffemodel_is_no_mean() -> None:
    with pytest.raises(WeightsError, match=r"read as a \.binaryproto mean"):
        binaryproto.read(LEGACY / "v0.caffemodel")


def test_a_mean_is_no_caffemodel(tmp_path: Path, messages) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(messages.Blob(num=1, channels=1, height=1, width=1, data=[1]).SerializeToString())
    with pytest.raises(WeightsError):
        caffemodel.read(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_binaryproto_of_random_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.binaryproto"
    path.write_bytes(content)
    try:
        values = binaryproto.read(path)
    except WeightsError:
        return
    assert values.nbytes <= 2 * len(content)
