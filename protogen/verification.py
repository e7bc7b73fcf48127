"""Run a net through several backends and compare them blob by blob."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from .backends import BACKENDS, OF_ONNX
from .backends.setting import Setting
from .errors import ProtogenError, did_you_mean, printable
from .graph.cut import measures, without_measures, without_postprocess
from .graph.fold import folded as fold
from .graph.names import with_text_names
from .progress import track
from .targets.onnx.from_data import with_data_preprocessing
from .targets.onnx.opsets import DEFAULT_OPSET
from .targets.onnx.options import OnnxOptions

if TYPE_CHECKING:
    import numpy as np

    from .backends.setting import Blobs
    from .graph.graph import Graph, Value, Weight
    from .layers.base import Shape
    from .net import Net
    from .targets.onnx.options import Preprocess

NUDGE = 1e-6  # relative change of each input value, about the rounding error of the first layers
# Relative to the largest value of a blob. Half precision rounds every intermediate result to 11 (or 8) bits.
TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}


@dataclass(frozen=True)
class Row:
    """One blob of one comparison.

    Attributes:
        comparison: the run and its reference ("onnxruntime / torch").
        blob, shape: the blob's name, and its shape in the reference.
        max_abs: largest absolute difference.
        max_rel: `max_abs` over the reference's largest value.
        ok: whether `max_rel` is within the tolerance.
    """

    comparison: str
    blob: str
    shape: tuple[int, ...]
    max_abs: float
    max_rel: float
    ok: bool


@dataclass
class Report:
    """Result of `verify`: `rows`, `ok`, and `first_difference`, the first blob that differs; `print` shows a table.

    Attributes:
        tolerance: largest error allowed, relative to a blob's largest value.
        outputs: outputs of the net, or of the part before its postprocessing if that is cut off.
        rows: one for each blob of each comparison.
        left_out: blobs that are not compared, because half-precision weights or values reorder detections.
        rounding: sensitivity of the first blob that differs: the largest error of the reference against PyTorch in float64,
            with the inputs as they are and changed by a millionth, relative to the blob's largest value. Above half the
            tolerance, rounding determines the blob (near ties of an ArgMax, a pooling mask, detections), and the difference
            says nothing about the conversion.
    """

    tolerance: float
    outputs: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    rounding: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every blob agrees, and there was at least one."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def first_difference(self) -> Row | None:
        """The first row that differs by more than the tolerance."""
        return next((row for row in self.rows if not row.ok), None)

    def worst(self, comparison: str) -> Row:
        """Return the row with the largest relative error in a comparison."""
        return max((row for row in self.rows if row.comparison == comparison), key=lambda row: row.max_rel)

    @property
    def comparisons(self) -> list[str]:
        """Names of the comparisons, in order."""
        return list(dict.fromkeys(row.comparison for row in self.rows))

    @property
    def verdict(self) -> str:
        """One line: agreement, or the first blob that differs."""
        row = self.first_difference
        if row is None:
            worst = max((row.max_rel for row in self.rows), default=0.0)
            left_out = ", ".join(map(printable, self.left_out))
            note = f"; not compared, because half precision reorders rows: {left_out}" if left_out else ""
            return f"all {len(self.rows)} comparisons agree within {self.tolerance:g} (largest relative error {worst:.2g}){note}"
        text = f"{row.comparison}: blob {row.blob!r} {row.shape} is the first that differs: relative error {row.max_rel:.2g}"
        if self.rounding > self.tolerance / 2:
            text += f" (rounding decides this blob: changing the inputs by a millionth changes it by {self.rounding:.2g})"
        return text

    def __str__(self) -> str:
        lines = [
            f"{row.comparison:24} {printable(row.blob):32} {row.shape!s:20} {row.max_abs:9.2e} {row.max_rel:9.2e}"
            + ("" if row.ok else "  DIFFERS")
            for row in self.rows
        ]
        return "\n".join([*lines, self.verdict])


def verify(
    net: Net,
    backends: Sequence[str] = ("torch", "onnxruntime"),
    device: str = "cpu",
    *,
    tolerance: float | None = None,
    dtype: str = "float32",
    inputs: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    opset: int = DEFAULT_OPSET,
    folded: bool = True,
    **options: Any,
) -> Report:
    """Run a net through several backends and compare every blob with the first backend's.

    Args:
        net: the net; learnable blobs without weights get random values, see `with_random_weights`.
        backends: names from `protogen.backends.BACKENDS`; the first is the reference.
        device: device of the "torch" backend: "cpu", "cuda", "cuda:1". TF32 is off.
        tolerance: largest error allowed, relative to a blob's largest value; by default that of `TOLERANCES` for `dtype`, or
            for float16 if the model stores its weights so.
        dtype: "float32"; with "float16" or "bfloat16", PyTorch in that type is compared with PyTorch in float32 instead.
        inputs: values by input name; other inputs are random, see `random_inputs`. With `preprocess`, the image is the model's
            input, before preprocessing.
        seed: for inputs and fillers.
        opset: of the ONNX model.
        folded: also compare the outputs of the folded forms.
        options: further options of `Net.to_onnx`: `dynamic_batch`, `dynamic_size`, `preprocess`, `preprocess_from_data`,
            `rename`, `fp16`, `postprocess`, `external_data`. A model with a dynamic batch or size also runs at a larger one than
            the net's.

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
    _check_request(net, backends, dtype)
    half = "float16" if onnx.fp16 else dtype
    whole = with_text_names(with_random_weights(net.graph(seed), seed))
    onnx = with_data_preprocessing(onnx, whole)
    graph = _as_modelled(whole, onnx.postprocess)
    report = Report(TOLERANCES[half] if tolerance is None else tolerance, _shown(graph))
    report.left_out = _data_dependent(graph) if half != "float32" else []
    setting = Setting(device=device, onnx=onnx)
    feed = random_inputs(graph, seed, inputs or {}, setting.preprocess)
    trials = [_Trial(f"torch {dtype}", "torch", graph, graph, feed, replace(setting, dtype=dtype))]
    if dtype == "float32":
        inference = fold(graph) if folded and graph.phase == "TEST" else None
        trials = [*_trials(graph, inference, feed, backends, setting), *_larger_trials(graph, inference, backends, setting)]
    references: dict[Graph, Blobs] = {}
    for trial in track("verifying", trials):
        if trial.of not in references:
            references[trial.of] = BACKENDS[backends[0]](trial.of, trial.feed, setting)
        reference = references[trial.of]
        blobs = BACKENDS[trial.backend](trial.graph, trial.feed, trial.setting)
        name = f"{trial.name} / {backends[0]}"
        blobs = {blob: value for blob, value in blobs.items() if blob not in report.left_out}
        rows = compare(name, blobs, reference, report.tolerance, trial.of)
        first = None if report.first_difference else next((row for row in rows if not row.ok), None)
        if first is not None and dtype == "float32":
            report.rounding = _rounding(first.blob, trial, reference, device)
        report.rows += rows
    return report


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


def _rounding(blob: str, trial: _Trial, reference: Blobs, device: str) -> float:
    """Return the largest relative error of a blob against float64, with the inputs as they are and nudged."""
    import numpy as np

    setting = replace(trial.setting, device=device, outputs_only=False, dtype="float64")
    rng = np.random.default_rng(0)
    fixed = _examples(trial.of, rng)
    nudged = {
        name: value if name in fixed else value * (1 + NUDGE * rng.standard_normal(value.shape, np.float32))
        for name, value in trial.feed.items()
    }
    exact = [BACKENDS["torch"](trial.of, feed, setting)[blob] for feed in (trial.feed, nudged)]
    return max(_row("float64", blob, value, reference[blob], 0).max_rel for value in exact)


@dataclass(frozen=True)
class _Trial:
    """One run to compare with the first backend's on the same inputs.

    Attributes:
        name: its name in the report.
        backend: name of the backend.
        graph: the graph it runs.
        of: the graph the first backend runs: the same, before folding.
        feed: input values by blob.
        setting: of the backend.
    """

    name: str
    backend: str
    graph: Graph
    of: Graph
    feed: Blobs
    setting: Setting


def _trials(graph: Graph, inference: Graph | None, feed: Blobs, backends: Sequence[str], setting: Setting) -> Iterator[_Trial]:
    """Yield trials of the other backends, then of all backends on the folded graph, if there is one."""
    for name in backends[1:]:
        yield _Trial(name, name, graph, graph, feed, setting)
    if inference is not None:
        for name in backends:
            yield _Trial(f"{name} folded", name, inference, graph, feed, replace(setting, outputs_only=True))


def _larger_trials(graph: Graph, inference: Graph | None, backends: Sequence[str], setting: Setting) -> Iterator[_Trial]:
    """Yield trials of models with a dynamic batch or size, at larger ones than they were converted with."""
    from .targets.onnx.shapes import enlarged, growth

    batch = setting.onnx.dynamic_batch
    if not (batch or setting.onnx.dynamic_size):
        return
    shapes: Mapping[Value, Shape] = {value: value.shape for value in graph.inputs}
    if setting.onnx.dynamic_size:
        shapes = enlarged(graph, growth(graph))
    larger = graph.at({value: (shape[0] + batch, *shape[1:]) for value, shape in shapes.items() if shape})
    feed = random_inputs(larger, setting.onnx.seed, {}, setting.preprocess)
    shown = "x".join(map(str, feed[larger.inputs[0].name].shape))
    for name in backends:
        if name in OF_ONNX:
            at_larger = replace(setting, outputs_only=inference is not None, made_at=inference or graph)
            yield _Trial(f"{name} at {shown}", name, larger, larger, feed, at_larger)


def _check_request(net: Net, backends: Sequence[str], dtype: str) -> None:
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


def compare(comparison: str, blobs: Blobs, reference: Blobs, tolerance: float, graph: Graph) -> list[Row]:
    """Compare the blobs that both sides have, except inputs, in the order of the reference.

    Args:
        comparison: its name, for the rows.
        blobs: values by blob.
        reference: expected values by blob.
        tolerance: largest relative error allowed.
        graph: the graph that computes them.
    """
    fed = {value.name for value in graph.blobs if value in graph.inputs}
    return [
        _row(comparison, blob, blobs[blob], reference[blob], tolerance) for blob in reference if blob in blobs and blob not in fed
    ]


def _row(comparison: str, blob: str, actual: np.ndarray, expected: np.ndarray, tolerance: float) -> Row:
    import numpy as np

    shape = tuple(int(dim) for dim in expected.shape)
    if actual.shape != expected.shape:
        return Row(comparison, blob, shape, float("inf"), float("inf"), False)
    if not expected.size:
        return Row(comparison, blob, shape, 0.0, 0.0, True)
    with np.errstate(invalid="ignore"):
        difference = np.subtract(actual, expected, dtype=np.float64)
    max_abs, largest = _magnitude(difference), _magnitude(expected)
    if not (isfinite(max_abs) and isfinite(largest)):
        max_abs = _magnitude(np.where(actual == expected, 0.0, difference))  # inf - inf is NaN, but equal infinities agree
        largest = _magnitude(expected[np.isfinite(expected)])
    max_rel = max_abs / largest if largest else (0.0 if max_abs == 0 else float("inf"))
    return Row(comparison, blob, shape, max_abs, max_rel, bool(max_rel <= tolerance))


def _magnitude(values: np.ndarray) -> float:
    """Return the largest absolute value, 0 of no values, NaN if there is one."""
    return max(float(values.max()), -float(values.min())) if values.size else 0.0


def random_inputs(graph: Graph, seed: int, fixed: Mapping[str, np.ndarray], preprocess: Preprocess | None = None) -> Blobs:
    """Return a value for every input: that of `fixed`, an example of `LayerType.example` (labels, boxes), or normal noise.

    Args:
        graph: the graph.
        seed: of the random values.
        fixed: values by input name.
        preprocess: if set, the image is one that preprocessing maps to such values.

    Raises:
        ProtogenError: a value in `fixed` has no input, another shape than its input, or is not made of finite real numbers.
    """
    import numpy as np

    shapes = {value.name: value.shape for value in graph.inputs}
    image = preprocess.image_of(graph.inputs).name if preprocess else None
    for name, value in fixed.items():
        if name not in shapes:
            raise ProtogenError(f"no input {name!r}{did_you_mean(name, shapes)} (inputs: {', '.join(shapes)})")
        shape = preprocess.shape_of(shapes[name]) if preprocess and name == image else shapes[name]
        if tuple(np.shape(value)) != shape:
            raise ProtogenError(f"input {name!r} has shape {shape}, but its value has shape {tuple(np.shape(value))}")
        if np.asarray(value).dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise ProtogenError(f"input {name!r}: the values must be finite real numbers")
    rng = np.random.default_rng(seed)
    examples = _examples(graph, rng)
    feed: Blobs = {}
    for name in shapes:
        drawn = examples[name] if name in examples else rng.standard_normal(shapes[name])
        if preprocess and name == image:
            drawn = preprocess.undo(drawn)
        feed[name] = np.asarray(fixed.get(name, drawn), dtype=np.float32)
    return feed


def _examples(graph: Graph, rng: np.random.Generator) -> Blobs:
    """Return values for inputs that layers do not read as images: labels, boxes, sizes."""
    examples: Blobs = {}
    for node in graph.nodes:
        for i, value in enumerate(node.inputs):
            example = node.op.example(i, rng) if value in graph.inputs else None
            if example is not None:
                examples.setdefault(value.name, example)
    return examples


def with_random_weights(graph: Graph, seed: int = 0) -> Graph:
    """Return the graph with random weights for layers that have none: those of their fillers, but no blob constant.

    Most deploy files name no fillers. Caffe's default, 0, would make every blob 0, on which any two backends agree. So
    kernels of zeros become normal noise of variance 1 / fan-in, as in "xavier" (residual sums of deep nets stay in range),
    and constant vectors (biases, scales, BatchNorm's statistics) get normal noise of deviation 0.05 added.
    """
    import zlib

    import numpy as np

    replaced: dict[Weight, Weight] = {}
    for node in graph.nodes:
        if not any(weight.drawn for weight in node.weights):
            continue
        name = node.op.layer.name.encode("utf-8", "surrogatepass")
        rng = np.random.default_rng([seed, zlib.crc32(name), len(node.weights)])
        for weight, values in zip(node.weights, node.arrays):
            if values.ndim > 1 and not values.any():
                deviation = np.sqrt(values.shape[0] / values.size, dtype=np.float32)
                values = deviation * rng.standard_normal(values.shape, dtype=np.float32)
            elif values.ndim < 2 and (values == values.flat[0]).all():
                values = values + np.float32(0.05) * rng.standard_normal(values.shape, dtype=np.float32)
            replaced[weight] = replace(weight, values=values)
    nodes = [replace(node, weights=[replaced.get(weight, weight) for weight in node.weights]) for node in graph.nodes]
    return replace(graph, nodes=nodes)
