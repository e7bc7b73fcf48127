"""The same input through several backends, compared blob by blob."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .backends import BACKENDS, OF_ONNX
from .backends.setting import Setting
from .errors import ProtogenError, did_you_mean, printable
from .graph.cut import measures, without_measures, without_postprocess
from .graph.fold import folded as fold
from .progress import track
from .targets.onnx.options import OnnxOptions

if TYPE_CHECKING:
    import numpy as np

    from .backends.setting import Blobs
    from .graph.graph import Graph, Value, Weight
    from .layers.base import Shape
    from .net import Net
    from .targets.onnx.options import Preprocess

NUDGE = 1e-6  # of each input value: about what rounding in the first layers amounts to
# Of the largest value of a blob. A half-precision run rounds every intermediate result to 11 (or 8) bits.
TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}


@dataclass(frozen=True)
class Row:
    """One blob of one comparison.

    Attributes:
        comparison: what is compared with what ("onnxruntime / torch").
        blob, shape: the blob, with the reference's shape.
        max_abs: largest difference.
        max_rel: the same, over the reference's largest value.
        ok: whether it is within the tolerance.
    """

    comparison: str
    blob: str
    shape: tuple[int, ...]
    max_abs: float
    max_rel: float
    ok: bool


@dataclass
class Report:
    """What `verify` found: `rows`, `ok`, and `first_difference`, the first blob that differs; `print` shows a table.

    Attributes:
        tolerance: largest error allowed, relative to a blob's largest value.
        outputs: the net's outputs; without postprocessing, what is left of it has others.
        rows: one for each blob of each comparison.
        left_out: blobs that are not compared: with weights or values in half precision, detections change places.
        rounding: of the first blob that differs, how far the reference is from PyTorch in float64, with the inputs as they are
            or changed by a millionth, relative to its largest value. More than half the tolerance, and rounding decides what
            the blob is (near ties of an ArgMax, a pooling mask, detections): it tells nothing about the conversion then.
    """

    tolerance: float
    outputs: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    rounding: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every blob agrees (and there was something to compare)."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def first_difference(self) -> Row | None:
        """The first blob, in the order they are made, that differs by more than the tolerance."""
        return next((row for row in self.rows if not row.ok), None)

    def worst(self, comparison: str) -> Row:
        """The blob of a comparison with the largest relative error."""
        return max((row for row in self.rows if row.comparison == comparison), key=lambda row: row.max_rel)

    @property
    def comparisons(self) -> list[str]:
        """Names of the comparisons made."""
        return list(dict.fromkeys(row.comparison for row in self.rows))

    @property
    def verdict(self) -> str:
        """One line: agreement, or the first blob that differs."""
        row = self.first_difference
        if row is None:
            worst = max((row.max_rel for row in self.rows), default=0.0)
            left_out = ", ".join(map(printable, self.left_out))
            note = f"; not compared, as half precision reorders rows: {left_out}" if left_out else ""
            return f"all {len(self.rows)} comparisons agree within {self.tolerance:g} (largest relative error {worst:.2g}){note}"
        text = f"{row.comparison}: blob {row.blob!r} {row.shape} is the first that differs: relative error {row.max_rel:.2g}"
        if self.rounding > self.tolerance / 2:
            text += f" (rounding decides this blob: with inputs changed by a millionth it differs by {self.rounding:.2g})"
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
    opset: int = 17,
    folded: bool = True,
    **options: Any,
) -> Report:
    """Run a net through several backends and compare every blob with the first backend's.

    Args:
        net: a net in phase TEST; blobs without weights get random values, as `with_random_weights` draws them.
        backends: names from `protogen.backends.BACKENDS`; the first is the reference.
        device: where "torch" runs: "cpu", "cuda", "cuda:1". TF32 is off.
        tolerance: largest error allowed, relative to a blob's largest value; by default that of `dtype`, or of float16 for a
            model with weights stored so.
        dtype: "float32", or "float16" / "bfloat16": then PyTorch in that type is compared with PyTorch in float32.
        inputs: values by input name; standard normal ones of `seed` for the rest. With `preprocess`, the image is that which
            the model takes.
        seed: for inputs and fillers.
        opset: of the ONNX model.
        folded: whether the folded forms are compared too, output by output.
        options: more of `Net.to_onnx`'s, for the ONNX model: `dynamic_batch`, `dynamic_size`, `preprocess`, `rename`, `fp16`,
            `postprocess`, `external_data`. What is left open is tried with a larger batch, or size, than the net's.

    Raises:
        ProtogenError: an unknown backend or input, a missing package, a device that is not there, a net without layers to run,
            or options that do not fit it.

    >>> import protogen
    >>> report = verify(protogen.models.peleenet(size=32, classes=10))
    >>> report.ok, report.comparisons
    (True, ['onnxruntime / torch', 'torch folded / torch', 'onnxruntime folded / torch'])
    """
    _check_request(net, backends, dtype)
    onnx = OnnxOptions.of({**options, "opset": opset, "seed": seed})
    half = "float16" if onnx.fp16 else dtype
    graph = _as_modelled(with_random_weights(net.graph(seed), seed), onnx.postprocess)
    report = Report(TOLERANCES[half] if tolerance is None else tolerance, _shown(graph))
    report.left_out = _picked(graph) if half != "float32" else []
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
    """The graph without what would give its ONNX model other rows: detection layers, if they are cut off there, and layers that
    sample regions to train with."""
    if not postprocess:
        graph = without_postprocess(graph)
    return without_measures(graph) if any(node.op.passes_first for node in graph.nodes) else graph


def _shown(graph: Graph) -> list[str]:
    """The graph's outputs, and the predictions that are outputs of its model, where there are no losses."""
    read = [value for value in measures(graph)[1] if value not in graph.inputs]
    return list(dict.fromkeys(value.name for value in (*graph.outputs, *read)))


def _picked(graph: Graph) -> list[str]:
    """Blobs whose rows the data pick (detections, proposals), and all that follows from them."""
    picked: set[Value] = set()
    for node in graph.nodes:
        if node.op.dynamic_rows is not None or not picked.isdisjoint(node.inputs):
            picked.update(node.outputs)
    return [value.name for value in graph.blobs if value in picked]


def _rounding(blob: str, trial: _Trial, reference: Blobs, device: str) -> float:
    """How far a blob of the reference is from that in float64, as it is and with inputs nudged by about a rounding."""
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
    """One run whose blobs are compared with the first backend's on the same values.

    Attributes:
        name: what it is called in the report.
        backend: which one runs.
        graph: what it runs.
        of: what the first backend runs: the same graph, before it was folded.
        feed: the values fed.
        setting: how it runs.
    """

    name: str
    backend: str
    graph: Graph
    of: Graph
    feed: Blobs
    setting: Setting


def _trials(graph: Graph, inference: Graph | None, feed: Blobs, backends: Sequence[str], setting: Setting) -> Iterator[_Trial]:
    """The other backends, then all of them on the folded graph, if there is one."""
    for name in backends[1:]:
        yield _Trial(name, name, graph, graph, feed, setting)
    if inference is not None:
        for name in backends:
            yield _Trial(f"{name} folded", name, inference, graph, feed, replace(setting, outputs_only=True))


def _larger_trials(graph: Graph, inference: Graph | None, backends: Sequence[str], setting: Setting) -> Iterator[_Trial]:
    """Models with an open batch or size, at larger ones than they were made with."""
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
            wanted = replace(setting, outputs_only=inference is not None, made_at=inference or graph)
            yield _Trial(f"{name} at {shown}", name, larger, larger, feed, wanted)


def _check_request(net: Net, backends: Sequence[str], dtype: str) -> None:
    if dtype not in TOLERANCES:
        raise ProtogenError(f"unknown dtype {dtype!r}{did_you_mean(dtype, TOLERANCES)} (known: {', '.join(TOLERANCES)})")
    for name in backends:
        if name not in BACKENDS:
            raise ProtogenError(f"unknown backend {name!r}{did_you_mean(name, BACKENDS)} (known: {', '.join(BACKENDS)})")
    if not backends:
        raise ProtogenError(f"no backends given (known: {', '.join(BACKENDS)})")
    if set(net.shapes) <= set(net.inputs):
        raise ProtogenError("there is nothing to verify: this net only has inputs")


def compare(comparison: str, blobs: Blobs, reference: Blobs, tolerance: float, graph: Graph) -> list[Row]:
    """Compare the blobs that both sides have, inputs excepted, in the order of the reference."""
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
    same = actual == expected  # equal infinities have no difference
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(actual.astype(np.float64) - expected.astype(np.float64)))
    max_abs = float(np.max(difference))
    finite = np.abs(expected[np.isfinite(expected)])
    largest = float(finite.max()) if finite.size else 0.0
    max_rel = max_abs / largest if largest else (0.0 if max_abs == 0 else float("inf"))
    return Row(comparison, blob, shape, max_abs, max_rel, bool(max_rel <= tolerance))


def random_inputs(graph: Graph, seed: int, given: Mapping[str, np.ndarray], preprocess: Preprocess | None = None) -> Blobs:
    """A value for every input: the one given, what `LayerType.example` has (labels, boxes), else standard normal ones.

    With `preprocess`, the image is one that becomes such values.

    Raises:
        ProtogenError: a value is given for no input, or has another shape than the input.
    """
    import numpy as np

    shapes = {value.name: value.shape for value in graph.inputs}
    image = preprocess.image_of(graph.inputs).name if preprocess else None
    for name, value in given.items():
        if name not in shapes:
            raise ProtogenError(f"no input {name!r}{did_you_mean(name, shapes)} (inputs: {', '.join(shapes)})")
        shape = preprocess.shape_of(shapes[name]) if preprocess and name == image else shapes[name]
        if tuple(np.shape(value)) != shape:
            raise ProtogenError(f"input {name!r} has the shape {shape}, the value given {tuple(np.shape(value))}")
        if np.asarray(value).dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise ProtogenError(f"input {name!r}: the value given must be finite real numbers")
    rng = np.random.default_rng(seed)
    examples = _examples(graph, rng)
    feed: Blobs = {}
    for name in shapes:
        drawn = examples[name] if name in examples else rng.standard_normal(shapes[name])
        if preprocess and name == image:
            drawn = preprocess.undo(drawn)
        feed[name] = np.asarray(given.get(name, drawn), dtype=np.float32)
    return feed


def _examples(graph: Graph, rng: np.random.Generator) -> Blobs:
    """Values for inputs that layers read as something else than images: labels, boxes, sizes."""
    examples: Blobs = {}
    for node in graph.nodes:
        for i, value in enumerate(node.inputs):
            example = node.op.example(i, rng) if value in graph.inputs else None
            if example is not None:
                examples.setdefault(value.name, example)
    return examples


def with_random_weights(graph: Graph, seed: int = 0) -> Graph:
    """A graph whose layers without weights get random ones: their fillers' values, but no blob is one constant.

    Most deploy files name no fillers. Caffe's default, 0, would make every blob 0, and any two backends agree on that.
    So kernels of zeros become normal values of variance 1 / fan-in, as "xavier" has it (residual sums of deep nets stay in
    range), and vectors of one value (biases, scales, BatchNorm's statistics) get normal noise of 0.05 added.
    """
    import zlib

    import numpy as np

    others: dict[Weight, Weight] = {}
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
            others[weight] = replace(weight, values=values)
    nodes = [replace(node, weights=[others.get(weight, weight) for weight in node.weights]) for node in graph.nodes]
    return replace(graph, nodes=nodes)
