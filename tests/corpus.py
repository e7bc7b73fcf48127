"""The collection of published files and reference results beside the repository (../shared), where it is at hand."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import protogen

SHARED = Path(__file__).parents[2] / "shared"
CORPUS, ORACLE, REFERENCE = SHARED / "corpus", SHARED / "oracle", SHARED / "reference"

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the collection of published files (../shared/corpus) is not here")
needs_oracle = pytest.mark.skipif(
    not (CORPUS.is_dir() and ORACLE.is_dir()), reason="Caffe's results for published nets (../shared/oracle) are not here"
)
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference files (../shared/reference) are not here")


@lru_cache(maxsize=1)
def seeded() -> ModuleType:
    """How the reference runs filled weights and inputs: its own script, imported from where it lies."""
    spec = importlib.util.spec_from_file_location("seeded", ORACLE / "seeded.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def oracle_id(path: str) -> str:
    """What the reference results of a net are called: its path in the collection, with other separators."""
    return path.replace("/", "__").replace("+", "_")


def facts(path: str) -> dict[str, Any]:
    """Layers, blob shapes, parameter shapes, inputs and outputs as Caffe states them after loading."""
    stated: dict[str, Any] = json.loads((ORACLE / "nets" / f"{oracle_id(path)}.json").read_text())
    return stated


def samples(path: str) -> dict[str, np.ndarray]:
    """Sampled values of blobs after one forward pass of Caffe with seeded weights and inputs, by blob."""
    with np.load(ORACLE / "nets" / f"{oracle_id(path)}.npz") as data:
        return {key.partition("/")[2]: data[key] for key in data.files}


def fill_as_seeded(net: protogen.Net) -> dict[str, np.ndarray]:
    """Give `net` the seeded weights; returns the seeded inputs."""
    types = {layer.name: layer.type for layer in net.layers}
    for layer, shapes in net.param_shapes.items():
        net.weights[layer] = [seeded().fill_blob(types[layer], layer, i, shape) for i, shape in enumerate(shapes)]
    return {name: seeded().fill_input(name, net.shapes[name]) for name in net.inputs}
