"""How far every file of ../shared/corpus gets: `python -m tests.corpus_report [--opencv] [--opset N] [--markdown]`.

Columns, left to right:

    read     the text is understood, and written back it says the same
    shapes   blobs and parameters as Caffe states them; "built" where no statement of Caffe's is at hand
    PyTorch  the module is made, and run where Caffe's values are at hand
    ONNX     the model is made (in opset N with --opset N) and passes ONNX's checker
    numbers  PyTorch's and ONNX Runtime's values are Caffe's, with the seeded weights
    OpenCV   OpenCV's outputs are Caffe's (only with --opencv)

"unstable" says that rounding decides the first blob that differs: PyTorch in float64, or with images changed by a millionth,
gives other values by more than half the tolerance, or Caffe's are that far from those in float64, and farther than ours. Boxes
whose scores saturate and tie change places, or a very deep net with random weights blows rounding up. Nothing computed in
float32, Caffe's values included, is better there; OpenCV's column then says "runs".
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

import protogen
from protogen.prototxt.message import Message
from protogen.prototxt.reader import kind_of, read_definition, read_source
from protogen.prototxt.writer import write
from protogen.targets.onnx.opsets import DEFAULT_OPSET, OPSETS
from tests.corpus import CORPUS, ORACLE, facts, fill_as_seeded, oracle_id, samples, seeded
from tests.corpus_shapes import assumed_shapes

COLUMNS = ("read", "shapes", "PyTorch", "ONNX", "numbers")
TOLERANCE = 1e-3  # of a blob's largest value, as ../shared/oracle/README.md has it
NUDGE = 1e-6  # of each pixel: about what rounding in the first layers amounts to
OPENCV_SECONDS = 300
Blobs = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


@dataclass
class Row:
    """One file: what it is ("net", "solver", "template" whose placeholders a script fills in, ...), each column, and reasons."""

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
    parser.add_argument("--opset", type=int, choices=OPSETS, metavar="N", default=DEFAULT_OPSET, help="of ONNX models")
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
        for row in pool.imap(partial(examine, opencv=arguments.opencv, opset=arguments.opset), paths):
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


def examine(path: str, opencv: bool = False, opset: int = DEFAULT_OPSET) -> Row:
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
        elif "if it is a placeholder" in str(error):
            row.kind = "template"
        else:
            row.short("read", "no", error)
        return row
    written = write(definition)
    row.states["read"] = "ok"
    if write(read_definition(written)) != written:
        row.short("read", "no", "written back, it says something else")
    net = build(row, text, source, definition)
    if net is not None:
        try:
            convert(row, net, opencv, opset)
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
    crop = "bvlc" if stated else "aligned"  # the values stated are those of BVLC's Caffe
    for phase, inputs in attempts:
        try:
            net = protogen.loads(text, phase=phase, inputs=inputs, source=source, crop=crop)
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


def convert(row: Row, net: protogen.Net, opencv: bool, opset: int) -> None:
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
            outputs = [value.name for value in net.to_onnx(model, opset=opset).graph.output]
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
            compare_opencv(row, net, model, feed, {name: in_torch[name] for name in outputs}, expected)


def compare(row: Row, net: protogen.Net, feed: Blobs, results: dict[str, Blobs], expected: Blobs) -> None:
    """The column "numbers"."""
    wrong = [f"{engine}: {difference}" for engine, blobs in results.items() if (difference := first_difference(blobs, expected))]
    row.states["numbers"] = "ok"
    if not wrong:
        return
    beyond = {blob for blobs in results.values() for blob in blobs if blob in expected and not near(blobs[blob], expected[blob])}
    first = next(blob for blob in results["PyTorch"] if blob in beyond)  # in the order of the net: the rest follows from it
    decided = rounding_decides(net, feed, first, results["PyTorch"][first], expected[first])
    row.short("numbers", "unstable" if decided else "no", wrong[0])


def rounding_decides(net: protogen.Net, feed: Blobs, blob: str, ours: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a blob, `ours` by PyTorch and `expected` by Caffe, is what it is by rounding: see "unstable" at the top."""
    exact = run_torch(net, feed, "float64")[blob]
    if not near(ours, exact, TOLERANCE / 2) or error(expected, exact) > max(error(ours, exact), TOLERANCE / 2):
        return True
    rng = np.random.default_rng(0)
    images = {name: value * (1 + NUDGE * rng.standard_normal(value.shape)) for name, value in feed.items() if value.ndim == 4}
    return not near(run_torch(net, {**feed, **images}, "float64")[blob], exact, TOLERANCE / 2)


def compare_opencv(row: Row, net: protogen.Net, model: str, feed: Blobs, ours: Blobs, expected: Blobs) -> None:
    """The column "OpenCV"."""
    from protogen.backends.opencv import run_model

    try:
        values = run_model(model, feed, list(ours), OPENCV_SECONDS)
    except protogen.ProtogenError as refusal:
        row.short("OpenCV", "no", refusal)
        return
    blobs = {name: seeded().sample(name, value) for name, value in zip(ours, values)}
    difference = first_difference(blobs, expected)
    row.states["OpenCV"] = "ok"
    if not difference:
        return
    beyond = next(name for name in expected if name in blobs and not near(blobs[name], expected[name]))
    if row.states["numbers"] == "ok" and not rounding_decides(net, feed, beyond, ours[beyond], expected[beyond]):
        row.short("OpenCV", "wrong", difference)
    else:
        row.states["OpenCV"] = "runs"
        if row.states["numbers"] == "ok":
            row.short("OpenCV", "runs", difference)


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
    from tests.running import run_model

    values = run_model(model, feed)
    return {name: seeded().sample(name, values[name]) for name in outputs}


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
