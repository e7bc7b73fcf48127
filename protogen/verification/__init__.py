"""Run a net through several backends and compare them blob by blob."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..backends import BACKENDS
from ..backends.other_model import OtherModel
from ..backends.setting import Setting
from ..errors import ProtogenError, did_you_mean, some
from ..graph.cut import measures, without_measures, without_postprocess
from ..graph.fold import folded as fold
from ..graph.names import with_text_names
from ..progress import track
from ..targets.onnx.emit import emit
from ..targets.onnx.from_data import with_data_preprocessing
from ..targets.onnx.opsets import DEFAULT_OPSET
from ..targets.onnx.options import OnnxOptions
from .against import Comparison, require_applicable
from .group import Group, groups
from .inputs import in_batch, random_inputs, with_random_weights
from .memory import require_memory
from .report import Report, Row
from .trials import Trial, larger_trials, trials

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph, Value
    from ..net import Net

__all__ = ["TOLERANCES", "Report", "Row", "random_inputs", "verify", "with_random_weights"]

# Relative to the largest value of a blob. Half precision rounds every intermediate result to 11 (or 8) bits.
TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}


def verify(
    net: Net,
    backends: Sequence[str] = ("torch", "onnxruntime"),
    device: str = "cpu",
    *,
    against: str | os.PathLike[str] | None = None,
    tolerance: float | None = None,
    dtype: str = "float32",
    inputs: Mapping[str, np.ndarray] | None = None,
    batch: int | str | None = None,
    seed: int = 0,
    opset: int = DEFAULT_OPSET,
    folded: bool = True,
    **options: Any,
) -> Report:
    """Run a net through several backends and compare every blob with the first backend's.

    A blob that exceeds the tolerance is judged by PyTorch in float64: what rounding to float32 accounts for is no difference, see
    `Arbiter`. With `against`, the net is compared with the ONNX model that another converter made of it instead.

    Args:
        net: the net; learnable blobs without weights get random values, see `with_random_weights`.
        backends: names from `protogen.backends.BACKENDS`; the first is the reference.
        device: device of the "torch" backend: "cpu", "cuda", "cuda:1". TF32 is off.
        against: an .onnx to run in ONNX Runtime on the same inputs. Each of its tensors that has the name of a blob or a layer is
            compared, and outputs by position or shape; `Report.notes` says what is not obvious. The net must have weights. Of
            `options`, `rename` gives its names of blobs, `preprocess` what it does with its image.
        tolerance: largest error allowed, relative to a blob's largest value; by default that of `TOLERANCES` for `dtype`, or
            for float16 if the model stores its weights so.
        dtype: "float32"; with "float16" or "bfloat16", PyTorch in that type is compared with PyTorch in float32 instead.
        inputs: values by input name; other inputs are random, see `random_inputs`. With `preprocess`, the image is the model's
            input, before preprocessing.
        batch: images per pass, in place of the net's own batch; "one" is 1, unless the net only works with its own.
        seed: for inputs and fillers.
        opset: of the ONNX model.
        folded: also compare the outputs of the folded forms.
        options: further options of `Net.to_onnx`: `dynamic_batch`, `dynamic_size`, `preprocess`, `preprocess_from_data`,
            `rename`, `names`, `fp16`, `postprocess`, `external_data`. A model with a dynamic batch or size also runs at a larger
            one than the net's.

    Raises:
        ProtogenError: an unknown backend or input, a missing package, an unavailable device, a net without layers to run, or
            options that do not suit it.

    >>> import protogen
    >>> report = verify(protogen.models.peleenet(size=32, classes=10))
    >>> report.ok, report.comparisons
    (True, ['onnxruntime / torch', 'torch folded / torch', 'onnxruntime folded / torch'])
    """
    onnx = OnnxOptions.of({**options, "opset": opset, "seed": seed})
    net = net.known_part(onnx.postprocess)
    _check_request(net, backends, dtype, tolerance)
    if against is not None:
        _check_against(net, against, backends, dtype, onnx)
    whole = with_text_names(with_random_weights(net.graph(seed), seed))
    onnx = with_data_preprocessing(onnx, whole)
    whole, note = in_batch(whole, batch)
    graph = _as_modelled(whole, onnx.postprocess)
    setting = Setting(device=device, onnx=onnx)
    if against is not None:
        require_memory([graph])
        return _compared_with(OtherModel(against), graph, inputs or {}, setting, tolerance)
    if onnx.dynamic_batch or onnx.dynamic_size:
        emit(graph, onnx, check=False)  # refuses what `convert` refuses, in the same words
    half = "float16" if onnx.fp16 else dtype
    report = Report(TOLERANCES[half] if tolerance is None else tolerance, _shown(graph), notes=note)
    report.left_out = _data_dependent(graph) if half != "float32" else []
    feed = random_inputs(graph, seed, inputs or {}, setting.preprocess)
    runs = [Trial(f"torch {dtype}", "torch", graph, graph, feed, replace(setting, dtype=dtype))]
    if dtype == "float32":
        inference = fold(graph) if folded and graph.phase == "TEST" else None
        runs = [*trials(graph, inference, feed, backends, setting), *larger_trials(graph, inference, backends, setting)]
    _run(runs, backends[0], setting, report, judge=half == "float32")
    return report


def _compared_with(
    model: OtherModel, graph: Graph, inputs: Mapping[str, np.ndarray], setting: Setting, tolerance: float | None
) -> Report:
    """Compare a graph with another converter's model of it."""
    standard = TOLERANCES["float16" if model.in_half else "float32"]
    report = Report(standard if tolerance is None else tolerance, _shown(graph))
    Comparison(graph, model, inputs, setting).add_rows(report)
    if model.in_half and tolerance is None:
        report.notes.append(f"its weights are float16, so the tolerance is {standard:g} (--tolerance)")
    return report


def _run(runs: Sequence[Trial], first: str, setting: Setting, report: Report, judge: bool) -> None:
    """Run the trials and the backend `first` on the same inputs; add their rows to the report."""
    together = groups(runs)
    require_memory([trials_of_graph[0].of for trials_of_graph in together])
    for trials_of_graph in track("verifying", together):
        group = Group(trials_of_graph, first, setting, report.tolerance, report.left_out, judge)
        report.rows += group.rows({*report.outputs, *(value.name for value in trials_of_graph[0].of.outputs)})


def _as_modelled(graph: Graph, postprocess: bool) -> Graph:
    """Return the part of the graph that its ONNX model computes: without postprocessing if that is cut off, and without
    training measures behind layers that sample regions."""
    if not postprocess:
        graph = without_postprocess(graph)
    return without_measures(graph) if any(node.op.passes_first for node in graph.nodes) else graph


def _shown(graph: Graph) -> list[str]:
    """Return the names of the graph's outputs and of the predictions that its ONNX model outputs in place of losses."""
    predictions = [value for value in measures(graph)[1] if value not in graph.inputs]
    return list(dict.fromkeys(value.name for value in (*graph.outputs, *predictions)))


def _data_dependent(graph: Graph) -> list[str]:
    """Return the blobs with data-dependent rows (detections, proposals), and those computed from them."""
    dependent: set[Value] = set()
    for node in graph.nodes:
        if node.op.dynamic_rows is not None or not dependent.isdisjoint(node.inputs):
            dependent.update(node.outputs)
    return [value.name for value in graph.blobs if value in dependent]


def _check_request(net: Net, backends: Sequence[str], dtype: str, tolerance: float | None) -> None:
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ProtogenError(f"a tolerance must be a finite number of at least 0, not {tolerance}")
    if dtype not in TOLERANCES:
        raise ProtogenError(f"unknown dtype {dtype!r}{did_you_mean(dtype, TOLERANCES)} (known: {', '.join(TOLERANCES)})")
    for name in backends:
        if name not in BACKENDS:
            raise ProtogenError(f"unknown backend {name!r}{did_you_mean(name, BACKENDS)} (known: {', '.join(BACKENDS)})")
    if not backends:
        raise ProtogenError(f"no backends given (known: {', '.join(BACKENDS)})")
    net.require_shapes()
    if not net.computed:
        raise ProtogenError("nothing to verify: this net has only inputs")


def _check_against(net: Net, path: str | os.PathLike[str], backends: Sequence[str], dtype: str, options: OnnxOptions) -> None:
    require_applicable(options)
    if dtype != "float32" or tuple(backends) not in (("torch",), ("torch", "onnxruntime")):
        raise ProtogenError("`against` compares PyTorch in float32 with ONNX Runtime: `dtype` and other `backends` do not apply")
    if net.weights.missing:
        missing = some(net.weights.missing)
        raise ProtogenError(f"comparing with {os.fspath(path)} needs the net's weights; there are none for {missing}")
