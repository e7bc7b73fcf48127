"""ONNX models against `torch.onnx.export`, simplified, and OpenCV's Caffe importer: `python -m tests.benchmarks.bench_onnx`.

Needs onnxscript and onnxslim, and for the last comparison OpenCV 4. Names of built-in models may be given as arguments.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

import protogen
from tests.running import session

ROUNDS, SESSIONS = 18, 11


def main() -> None:
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or ["peleenet"]:
        compare(name, getattr(protogen.models, name)())


def compare(name: str, net: protogen.Net) -> None:
    """Print node counts, and the CPU time of one thread: other work on the machine changes that less than the wall clock."""
    net.fill(1)
    x = np.random.default_rng(0).standard_normal(net.shapes[net.inputs[0]], dtype=np.float32)
    models = {"protogen": net.to_onnx(), "torch.onnx.export + onnxslim": exported(net, torch.from_numpy(x))}
    times: dict[str, list[float]] = {}
    for _ in range(SESSIONS):  # where a session's memory happens to lie changes its time by several percent
        runs: dict[str, Callable[[], np.ndarray]] = {what: run_of(model, x) for what, model in models.items()}
        caffe = by_opencv(net, x)
        if caffe is not None:
            runs["OpenCV's readNetFromCaffe"] = caffe
        results = [run() for run in runs.values()]
        for what, result in zip(runs, results):
            assert np.abs(result - results[0]).max() <= 1e-4 * np.abs(results[0]).max(), what
        for what, seconds in zip(runs, interleaved(list(runs.values()))):
            times.setdefault(what, []).append(seconds)
    medians = {what: statistics.median(taken) for what, taken in times.items()}
    for what, seconds in medians.items():
        nodes = f"{len(models[what].graph.node):5} nodes" if what in models else " " * 11
        ratio = f"   protogen takes {medians['protogen'] / seconds:5.3f} of it" if what != "protogen" else ""
        print(f"{name:12} {what:32} {nodes} {seconds * 1e3:9.2f} ms{ratio}", flush=True)


def exported(net: protogen.Net, x: torch.Tensor) -> onnx.ModelProto:
    """What PyTorch's own exporter makes of the net as a user would write it (BatchNorm apart), simplified."""
    import onnxslim  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "net.onnx")
        torch.onnx.export(net.to_torch().eval(), (x,), path, dynamo=True, verbose=False)
        return onnxslim.slim(onnx.load(path))


def run_of(model: onnx.ModelProto, x: np.ndarray) -> Callable[[], np.ndarray]:
    """A run of the model in ONNX Runtime on one thread."""
    engine = session(model)
    feed = {engine.get_inputs()[0].name: x}
    return lambda: engine.run(None, feed)[0]


def by_opencv(net: protogen.Net, x: np.ndarray) -> Callable[[], np.ndarray] | None:
    """A run by OpenCV's own Caffe importer, if this OpenCV still has one."""
    try:
        import cv2
    except ImportError:
        return None
    if not hasattr(cv2.dnn, "readNetFromCaffe") or cv2.__version__ >= "5":
        return None
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        prototxt, weights = str(Path(folder) / "net.prototxt"), str(Path(folder) / "net.caffemodel")
        Path(prototxt).write_text(net.to_prototxt())
        net.save_caffemodel(weights)
        made = cv2.dnn.readNetFromCaffe(prototxt, weights)
    made.setInput(x)
    return lambda: np.asarray(made.forward())


def interleaved(runs: list[Callable[[], np.ndarray]], rounds: int = ROUNDS) -> list[float]:
    """Median seconds of each, taking turns: what slows the machine down for a while slows them all.

    Every round begins with another one, for what ran before has filled the caches.
    """
    times: list[list[float]] = [[] for _ in runs]
    for i in range(rounds + 3):
        for j in range(len(runs)):
            which = (i + j if i % 2 else i - j) % len(runs)
            begun = time.thread_time()
            runs[which]()
            if i >= 3:
                times[which].append(time.thread_time() - begun)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
