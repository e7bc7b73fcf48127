"""The same input through several backends, compared blob by blob."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .backends.opencv import run_opencv
from .errors import ProtogenError, did_you_mean
from .progress import track

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from .net import Net

Blobs = dict[str, "np.ndarray"]
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
    """What `verify` found: `rows`, `ok`, and `first_difference`, the first blob that differs; `print` shows a table."""

    tolerance: float
    rows: list[Row] = field(default_factory=list)

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
            return f"all {len(self.rows)} comparisons agree within {self.tolerance:g} (largest relative error {worst:.2g})"
        return f"{row.comparison}: blob {row.blob!r} {row.shape} is the first that differs: relative error {row.max_rel:.2g}"

    def __str__(self) -> str:
        lines = [
            f"{row.comparison:24} {row.blob:32} {row.shape!s:20} {row.max_abs:9.2e} {row.max_rel:9.2e}"
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
) -> Report:
    """Run a net through several backends and compare every blob with the first backend's.

    Args:
        net: a net in phase TEST; blobs without weights get random values, as `with_random_weights` draws them.
        backends: names from `BACKENDS`; the first is the reference.
        device: where "torch" runs: "cpu", "cuda", "cuda:1". TF32 is off.
        tolerance: largest error allowed, relative to a blob's largest value; by default that of `dtype`.
        dtype: "float32", or "float16" / "bfloat16": then PyTorch in that type is compared with PyTorch in float32.
        inputs: values by input name; standard normal ones of `seed` for the rest.
        seed: for inputs and fillers.
        opset: of the ONNX model.
        folded: whether the folded forms are compared too, output by output.

    Raises:
        ProtogenError: an unknown backend or input, a missing package, a device that is not there, a net without layers to run.

    >>> import protogen
    >>> report = verify(protogen.models.peleenet(size=32, classes=10))
    >>> report.ok, report.comparisons
    (True, ['onnxruntime / torch', 'torch folded / torch', 'onnxruntime folded / torch'])
    """
    if dtype not in TOLERANCES:
        raise ProtogenError(f"unknown dtype {dtype!r}{did_you_mean(dtype, TOLERANCES)} (known: {', '.join(TOLERANCES)})")
    for name in backends:
        if name not in BACKENDS:
            raise ProtogenError(f"unknown backend {name!r}{did_you_mean(name, BACKENDS)} (known: {', '.join(BACKENDS)})")
    if not backends:
        raise ProtogenError(f"no backends given (known: {', '.join(BACKENDS)})")
    if set(net.shapes) <= set(net.inputs):
        raise ProtogenError("there is nothing to verify: this net only has inputs")
    report = Report(TOLERANCES[dtype] if tolerance is None else tolerance)
    net = with_random_weights(net, seed)
    feed = random_inputs(net, seed, inputs or {})
    options: dict[str, Any] = {"device": device, "seed": seed, "opset": opset}
    first, *others = backends
    runs: list[tuple[str, Callable[[], Blobs]]] = []
    if dtype != "float32":
        runs.append((f"torch {dtype}", lambda: BACKENDS["torch"](net, feed, dtype=dtype, **options)))
    else:
        runs += [(name, lambda name=name: BACKENDS[name](net, feed, **options)) for name in others]  # type: ignore[misc]
        if folded and net.phase == "TEST":
            runs += [(f"{name} folded", lambda name=name: BACKENDS[name](net, feed, fold=True, **options)) for name in backends]  # type: ignore[misc]
    reference = BACKENDS[first](net, feed, **options)
    for name, run in track("verifying", runs):
        report.rows += compare(f"{name} / {first}", run(), reference, report.tolerance, net)
    return report


def compare(comparison: str, blobs: Blobs, reference: Blobs, tolerance: float, net: Net) -> list[Row]:
    """Compare the blobs that both sides have, inputs excepted, in the order of the reference."""
    fed = set(net.inputs) - set(net.computed)
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


def random_inputs(net: Net, seed: int, given: Mapping[str, np.ndarray]) -> Blobs:
    """A value for every input: the one given, small whole numbers for labels, else standard normal ones.

    Raises:
        ProtogenError: a value is given for no input, or has another shape than the input.
    """
    import numpy as np

    for name, value in given.items():
        if name not in net.inputs:
            raise ProtogenError(f"no input {name!r}{did_you_mean(name, net.inputs)} (inputs: {', '.join(net.inputs)})")
        if tuple(np.shape(value)) != net.shapes[name]:
            raise ProtogenError(f"input {name!r} has the shape {net.shapes[name]}, the value given {tuple(np.shape(value))}")
    labels = {op.layer.bottoms[i] for op in net.ops for i in op.index_bottoms if i < len(op.layer.bottoms)}
    rng = np.random.default_rng(seed)
    feed: Blobs = {}
    for name in net.inputs:
        shape = net.shapes[name]
        drawn = rng.integers(0, 2, shape) if name in labels else rng.standard_normal(shape)
        feed[name] = np.asarray(given.get(name, drawn), dtype=np.float32)
    return feed


def with_random_weights(net: Net, seed: int = 0) -> Net:
    """A copy of a net whose layers without weights get random ones: their fillers' values, but no blob is one constant.

    Most deploy files name no fillers. Caffe's default, 0, would make every blob 0, and any two backends agree on that.
    So kernels of zeros become normal values of variance 1 / fan-in, as "xavier" has it (residual sums of deep nets stay in
    range), and vectors of one value (biases, scales, BatchNorm's statistics) get normal noise of 0.05 added.
    """
    import zlib

    import numpy as np

    twin = net.at(net.phase)
    filled = twin.weights.filled(seed)
    for layer, blobs in filled.items():
        if layer in net.weights:
            continue
        rng = np.random.default_rng([seed, zlib.crc32(layer.encode("utf-8", "surrogatepass")), len(blobs)])
        for i, blob in enumerate(blobs):
            if blob.ndim > 1 and not blob.any():
                deviation = np.sqrt(blob.shape[0] / blob.size, dtype=np.float32)
                blobs[i] = deviation * rng.standard_normal(blob.shape, dtype=np.float32)
            elif blob.ndim < 2 and (blob == blob.flat[0]).all():
                blobs[i] = blob + np.float32(0.05) * rng.standard_normal(blob.shape, dtype=np.float32)
        twin.weights[layer] = blobs
    return twin


def run_torch(
    net: Net, feed: Blobs, *, device: str = "cpu", seed: int = 0, opset: int = 17, fold: bool = False, dtype: str = "float32"
) -> Blobs:
    """Every blob by PyTorch, on a device, in float32 without TF32 or in half precision; folded, only the outputs."""
    import torch

    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ProtogenError(f"unknown device {device!r}; name one as 'cpu', 'cuda' or 'cuda:1'") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ProtogenError("device 'cuda' was asked for, but PyTorch sees no CUDA device here")
    kind = getattr(torch, dtype)
    module: Any = net.to_torch(fold=fold, seed=seed).to(device=place, dtype=kind)
    tensors = [torch.tensor(feed[name]).to(device=place, dtype=kind) for name in net.inputs]
    with torch.no_grad(), _exact_float32():
        blobs = module.blobs(*tensors)
    wanted = net.outputs if fold else blobs
    return {name: blobs[name].float().cpu().numpy() for name in wanted}


class _exact_float32:  # noqa: N801  # a context manager, used like a function
    """CUDA without TF32, which keeps only 10 bits of the inputs' mantissas; the settings before are put back."""

    def __enter__(self) -> None:
        import torch

        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *error: object) -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before


def run_onnxruntime(net: Net, feed: Blobs, *, device: str = "cpu", seed: int = 0, opset: int = 17, fold: bool = False) -> Blobs:
    """Every blob by ONNX Runtime, on the CPU; folded, only the outputs."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ProtogenError("backend 'onnxruntime' needs the package onnxruntime: pip install 'protogen[verify]'") from error
    from .convert.onnx import to_onnx

    model = to_onnx(net, opset=opset, fold=fold, seed=seed, all_blobs=not fold)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    used = {value.name for value in session.get_inputs()}
    return dict(zip(onnx_blobs(model), session.run(None, {name: value for name, value in feed.items() if name in used})))


def onnx_blobs(model: onnx.ModelProto) -> list[str]:
    """The blobs behind the outputs of a model: an input that is overwritten in place is an output of another name."""
    return [value.doc_string or value.name for value in model.graph.output]


BACKENDS: dict[str, Callable[..., Blobs]] = {"torch": run_torch, "onnxruntime": run_onnxruntime, "opencv": run_opencv}
