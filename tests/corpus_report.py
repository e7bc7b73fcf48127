"""Every file of the collection (../shared/corpus), how far it gets: `python -m tests.corpus_report [--opencv] [--markdown]`.

Columns, left to right:

    read     the text is understood, and written back it says the same
    shapes   blobs and parameters as Caffe states them; "built" where no statement of Caffe's is at hand
    PyTorch  the module is made, and run where Caffe's values are at hand
    ONNX     the model is made and passes ONNX's checker
    numbers  PyTorch's and ONNX Runtime's values are Caffe's, with the seeded weights
    OpenCV   OpenCV's outputs are Caffe's (only with --opencv)

"unstable" says that rounding decides the first blob that differs: PyTorch in float64, or with images changed by a millionth,
gives other values by more than half the tolerance, or Caffe's are farther from those in float64 than ours. Boxes whose scores
saturate and tie change places, or a very deep net with random weights blows rounding up. Nothing computed in float32, Caffe's
values included, is better there; OpenCV's column then says "runs".
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

import protogen
from protogen.prototxt.message import Message
from protogen.prototxt.reader import kind_of, read_definition, read_source
from protogen.prototxt.writer import write
from tests.corpus import CORPUS, ORACLE, facts, fill_as_seeded, oracle_id, samples, seeded

COLUMNS = ("read", "shapes", "PyTorch", "ONNX", "numbers")
KNOWN = {"im_info": (1, 3), "gt_boxes": (4, 5), "rois": (4, 5), "labels": (4,), "bbox_targets": (4, 84)}
KNOWN |= {f"bbox_{side}_weights": (4, 84) for side in ("inside", "outside")}
TOLERANCE = 1e-3  # of a blob's largest value, as ../shared/oracle/README.md has it
NUDGE = 1e-6  # of each pixel: about what rounding in the first layers amounts to
OPENCV_SECONDS = 300
# Layers that take their shapes from files that are not in the collection.
DATA = re.compile("Data|Input|Python")
Blobs = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


@dataclass
class Row:
    """One file: what it is ("net", "solver", ...), the state of each column, and reasons for anything short of full."""

    path: str
    kind: str = "net"
    states: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def short(self, column: str, state: str, reason: object) -> None:
        """Note a column that is not full."""
        self.states[column] = state
        text = " ".join(str(reason).replace(str(CORPUS / self.path), "").lstrip(":").split())
        self.reasons.append(f"{column}: {text[:157] + '...' if len(text) > 160 else text}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.corpus_report", description="How far every file of the collection gets."
    )
    parser.add_argument("--opencv", action="store_true", help="run the ONNX models in OpenCV too (opencv-python-headless>=5)")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--only", default="", metavar="REGEX", help="only files whose path matches")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    arguments = parser.parse_args()
    if not (CORPUS.is_dir() and ORACLE.is_dir()):
        print("skipped: the collection (../shared/corpus) and Caffe's results (../shared/oracle) are not here")
        return
    paths = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*") if path.is_file())
    paths = [path for path in paths if re.search(arguments.only, path)]
    columns = (*COLUMNS, "OpenCV") if arguments.opencv else COLUMNS
    form = markdown_line if arguments.markdown else text_line
    print(form((*columns, "file", "short of full")))
    if arguments.markdown:
        print("|" + " --- |" * (len(columns) + 2))
    rows = []
    # Each process ends after a few nets: the memory of a 500 MB net goes back.
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=8) as pool:
        for row in pool.imap(partial(examine, opencv=arguments.opencv), paths):
            rows.append(row)
            states = [row.states.get(column, "-") for column in columns]
            remark = "; ".join(row.reasons) if row.kind == "net" else row.kind
            print(form((*states, row.path, remark)), flush=True)
    print("\n" + "\n".join(totals(rows, columns)))


def text_line(cells: tuple[str, ...]) -> str:
    """One line of the plain table."""
    *states, path, reason = cells
    return " ".join(f"{state:8}" for state in states) + f" {path}" + (f"  ({reason})" if reason else "")


def markdown_line(cells: tuple[str, ...]) -> str:
    """One line of the Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def totals(rows: list[Row], columns: tuple[str, ...]) -> list[str]:
    """What the columns add up to."""
    kinds = Counter(row.kind for row in rows)
    nets = [row for row in rows if row.kind == "net"]
    lines = [f"{len(rows)} files: " + ", ".join(f"{n} x {kind}" for kind, n in kinds.most_common())]
    for column in columns:
        states = Counter(row.states.get(column, "-") for row in nets)
        lines.append(f"{column:8} " + ", ".join(f"{n} {state}" for state, n in states.most_common()))
    stated = [row for row in nets if "numbers" in row.states]
    for column in columns[2:4]:
        full = sum(row.states.get(column) == "ok" for row in stated)
        lines.append(f"{column} of the {len(stated)} nets with Caffe's values: {full}")
    return lines


# ---- one file


def examine(path: str, opencv: bool = False) -> Row:
    """All columns of one file."""
    warnings.simplefilter("ignore")
    row = Row(path)
    try:
        text, source = read_source(CORPUS / path)
        if kind_of(text) in ("solver", "label map"):
            row.kind = kind_of(text)
            return row
        definition = read_definition(text, source)
    except protogen.ProtogenError as error:
        if path.endswith((".caffemodel", ".h5")):
            row.kind = "weights"
            return row
        row.short("read", "no", error)
        return row
    written = write(definition)
    row.states["read"] = "ok"
    if write(read_definition(written)) != written:
        row.short("read", "no", "written back, it says something else")
    net = build(row, text, source, definition)
    if net is not None:
        try:
            convert(row, net, opencv)
        except Exception as error:  # a report shows what fails, whatever it is
            row.short("numbers", "error", f"{type(error).__name__}: {error}")
    return row


def build(row: Row, text: str, source: str, definition: Message) -> protogen.Net | None:
    """The net, in phase TEST or else TRAIN, its shapes held against Caffe's."""
    stated = (ORACLE / "nets" / f"{oracle_id(row.path)}.json").exists()
    attempts: list[tuple[str, Shapes | None]] = [("TEST", None)]
    if not stated:
        guesses = [None, *assumed_shapes(definition)]
        attempts = [(phase, shapes) for phase in ("TEST", "TRAIN") for shapes in guesses]
    errors = []
    for phase, inputs in attempts:
        try:
            net = protogen.loads(text, phase=phase, inputs=inputs, source=source)
            assert net.shapes  # worked out on demand: what does not fit shows here
            break
        except protogen.ProtogenError as error:
            errors.append(str(error))
    else:
        # A file for training alone has no inputs in phase TEST, which says little.
        row.short("shapes", "no", next((text for text in errors[1:] if "no layer before it" not in text), errors[0]))
        return None
    row.states["shapes"] = "ok" if stated else "built"
    if stated:
        expected = facts(row.path)
        ours = {blob: list(shape) for blob, shape in net.shapes.items()}
        params = {layer: [list(shape) for shape in shapes] for layer, shapes in net.param_shapes.items()}
        if (ours, params) != (expected["blobs"], expected["params"]):
            row.short("shapes", "no", "other shapes than Caffe's")
    elif net.phase == "TRAIN":
        row.reasons.append("only phase TRAIN is complete")
    return net


def assumed_shapes(definition: Message) -> Iterator[Shapes]:
    """Shapes for the tops of layers that read files, likely ones first: an image and one label, a map of labels, or boxes."""
    layers = [layer for layer in definition.layer if not layer.bottom and DATA.search(layer.type)]
    for channels, side in product((3, 1, 2), (0, 1, 8)):
        shapes: Shapes = {}
        for layer in layers:
            transform = layer.transform_param
            size = transform.crop_size or max((resize.height for resize in transform.resize_param), default=0) or 224
            label = {0: (1,), 1: (1, 1, size, size), 8: (1, 1, 1, 8)}[side]
            for i, top in enumerate(layer.top):
                image = (1, 2 if "pair" in top else channels, size, size)
                shapes[top] = KNOWN.get(top) or (image if i == 0 or top in ("depth", "hha") else label)
        if shapes:
            yield shapes


def convert(row: Row, net: protogen.Net, opencv: bool) -> None:
    """PyTorch, ONNX, and the numbers of both and of OpenCV."""
    measured = (ORACLE / "nets" / f"{oracle_id(row.path)}.npz").exists()
    feed = fill_as_seeded(net) if measured else {}
    try:
        in_torch: Blobs = {}
        if measured:
            in_torch = run_torch(net, feed, "float32")
        else:
            net.to_torch()
        row.states["PyTorch"] = "ok"
    except protogen.ProtogenError as error:
        row.short("PyTorch", "no", error)
        return
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "net.onnx")
        try:
            outputs = [value.name for value in net.to_onnx(model).graph.output]
            row.states["ONNX"] = "ok"
        except protogen.ProtogenError as error:
            row.short("ONNX", "no", str(error).splitlines()[0])
            return
        if not measured:
            return
        expected = samples(row.path)
        in_runtime = run_onnxruntime(model, feed, outputs)
        compare(row, net, feed, {"PyTorch": in_torch, "ONNX Runtime": in_runtime}, expected)
        if opencv:
            compare_opencv(row, folder, feed, outputs, expected)


def compare(row: Row, net: protogen.Net, feed: Blobs, results: dict[str, Blobs], expected: Blobs) -> None:
    """The column "numbers"."""
    wrong = [f"{engine}: {difference}" for engine, blobs in results.items() if (difference := first_difference(blobs, expected))]
    row.states["numbers"] = "ok"
    if not wrong:
        return
    ours, exact = results["PyTorch"], run_torch(net, feed, "float64")
    beyond = {blob for blobs in results.values() for blob in blobs if blob in expected and not near(blobs[blob], expected[blob])}
    first = next(blob for blob in ours if blob in beyond)  # in the order of the net: what follows only shows the same
    rng = np.random.default_rng(0)
    images = {name: value * (1 + NUDGE * rng.standard_normal(value.shape)) for name, value in feed.items() if value.ndim == 4}
    nudged = run_torch(net, {**feed, **images}, "float64")
    unstable = any(not near(blobs[first], exact[first], TOLERANCE / 2) for blobs in (ours, nudged))
    caffes = not near(expected[first], exact[first], error(ours[first], exact[first]))
    row.short("numbers", "unstable" if unstable or caffes else "no", wrong[0])


def compare_opencv(row: Row, folder: str, feed: Blobs, outputs: list[str], expected: Blobs) -> None:
    """The column "OpenCV"; in a process of its own, which may crash."""
    np.savez(Path(folder) / "feed.npz", **{f"in{i}": value for i, value in enumerate(feed.values())})
    command = "import sys; from tests.corpus_report import opencv_process as run; run(*sys.argv[1:])"
    given = [sys.executable, "-c", command, folder, "\n".join(feed), "\n".join(outputs)]
    try:
        done = subprocess.run(given, capture_output=True, text=True, timeout=OPENCV_SECONDS, cwd=Path(__file__).parents[1])
    except subprocess.TimeoutExpired:
        row.short("OpenCV", "no", f"not done within {OPENCV_SECONDS} s")
        return
    if done.returncode:
        row.short("OpenCV", "no", done.stdout.strip() or f"ended with {done.returncode}: {done.stderr.strip()[-160:]}")
        return
    with np.load(Path(folder) / "out.npz") as data:
        blobs = {name: seeded().sample(name, data[f"out{i}"]) for i, name in enumerate(outputs)}
    difference = first_difference(blobs, expected)
    row.states["OpenCV"] = "ok"
    if difference and row.states["numbers"] != "ok":
        row.states["OpenCV"] = "runs"
    elif difference:
        row.short("OpenCV", "wrong", difference)


def opencv_process(folder: str, inputs: str, outputs: str) -> None:
    """Run `net.onnx` of a folder on `feed.npz`, write `out.npz`; OpenCV's message goes to stdout."""
    import cv2

    from protogen.backends.opencv import run_model

    cv2.setNumThreads(1)
    with np.load(Path(folder) / "feed.npz") as data:
        feed = {name: data[f"in{i}"] for i, name in enumerate(inputs.split("\n"))}
    try:
        values = run_model(str(Path(folder) / "net.onnx"), feed, outputs.split("\n"))
    except cv2.error as error:
        print(error)
        sys.exit(1)
    np.savez(Path(folder) / "out.npz", **{f"out{i}": value for i, value in enumerate(values)})


# ---- values


def run_torch(net: protogen.Net, feed: Blobs, dtype: str) -> Blobs:
    """Every blob by PyTorch, sampled as the reference is."""
    import torch

    torch.set_num_threads(1)
    kind = getattr(torch, dtype)
    module = net.to_torch().to(kind)
    with torch.no_grad():
        blobs = module.blobs(*[torch.tensor(feed[name], dtype=kind) for name in net.inputs])
    return {name: seeded().sample(name, value.numpy()) for name, value in blobs.items()}


def run_onnxruntime(model: str, feed: Blobs, outputs: list[str]) -> Blobs:
    """Outputs by ONNX Runtime, sampled as the reference is."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level, settings.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    used = {value.name for value in session.get_inputs()}
    values = session.run(outputs, {name: value for name, value in feed.items() if name in used})
    return {name: seeded().sample(name, value) for name, value in zip(outputs, values)}


def near(actual: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Whether values agree within a part of the largest one."""
    return error(actual, expected) <= tolerance


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a part of the largest value expected."""
    if actual.shape != expected.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    difference, largest = np.max(np.abs(actual.astype(np.float64) - expected)), np.max(np.abs(expected))
    return float(difference / largest) if largest else (0.0 if difference == 0 else float("inf"))


def first_difference(blobs: Blobs, expected: Blobs) -> str:
    """What differs first, "" if nothing does."""
    for name, value in expected.items():
        if name in blobs and not near(blobs[name], value):
            if blobs[name].shape != value.shape:
                return f"blob {name!r} has {blobs[name].size} values sampled, Caffe's {value.size}"
            off = np.max(np.abs(blobs[name].astype(np.float64) - value))
            return f"blob {name!r} is off by {off:.2g}, Caffe's largest value is {np.max(np.abs(value)):.2g}"
    return ""


if __name__ == "__main__":
    main()
