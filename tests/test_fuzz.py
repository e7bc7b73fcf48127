"""Readers on damaged files, and all forms and commands on hostile nets: a `ProtogenError` or a result, nothing else, and soon.

`PROTOGEN_FUZZ=20000 pytest tests/test_fuzz.py` tries that many files in each test, in place of a few hundred;
`PROTOGEN_FUZZ_SEED` draws others.
"""

from __future__ import annotations

import io
import os
import random
import resource
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path

import onnx
import pytest

import protogen
from protogen.files import _machine
from protogen.weights import definition, read_weights
from tests import hostile
from tests.commands import exit_code
from tests.oracle import LEGACY, cases, families
from tests.weights.forks import encoded, table

EXAMPLES = int(os.environ.get("PROTOGEN_FUZZ", "0"))
SEED = int(os.environ.get("PROTOGEN_FUZZ_SEED", "1"))
SLOWEST = 5.0  # seconds for one small file
MOST_MEMORY = 256 << 20

pytestmark = [
    pytest.mark.filterwarnings("ignore::protogen.ProtogenWarning"),
    pytest.mark.skipif(sys.platform == "win32", reason="no resource limits on Windows"),
]
WORDS = [
    "{",
    "}",
    "-",
    ":",
    "[",
    "]",
    '"',
    "#",
    "0",
    "-1",
    "4294967295",
    "2147483647",
    "1e99",
    "nan",
    "true",
    "MAX",
    "dim: 0",
    "<",
    "\\",
    "\0",
    "\x1b[31m",
    "\u202e",
    r'"\033]0;\007\302\233\n\377"',
]


def damaged(samples: list[bytes], insertions: list[bytes]) -> Iterator[bytes]:
    """Endless variations of the samples: bytes flipped, pieces cut, doubled, moved between samples, words put in."""
    draw = random.Random(SEED)
    while True:
        data = bytearray(draw.choice(samples))
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(data) + 1)
            kind = draw.randrange(5)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            elif kind == 1:
                del data[at : at + draw.randint(1, 40)]
            elif kind == 2:
                data[at:at] = data[max(0, at - draw.randint(1, 80)) : at]
            elif kind == 3:
                other = draw.choice(samples)
                start = draw.randrange(len(other))
                data[at:at] = other[start : start + draw.randint(1, 120)]
            else:
                data[at:at] = draw.choice(insertions)
        yield bytes(data)


def run(inputs: Iterator[bytes], read: Callable[[bytes], object], examples: int) -> None:
    """Read so many damaged inputs, one after the other."""
    tracemalloc.start()
    try:
        for _ in range(EXAMPLES or examples):
            data = next(inputs)
            with harmless(data):
                read(data)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@contextmanager
def harmless(data: object, seconds: float = SLOWEST) -> Iterator[None]:
    """The block may end with an error of ours, with a message fit to print, but with no other, and not late."""
    begun = time.process_time()
    shown = repr(data)[:2000]
    try:
        yield
    except protogen.ProtogenError as error:
        assert str(error), shown
        assert all(line.isprintable() for line in str(error).split("\n")), shown
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\nfor {shown}") from error
    assert time.process_time() - begun < seconds, shown


def test_damaged_prototxts() -> None:
    samples = [case.prototxt.encode() for family in families() for case in list(cases(family).values())[:2]]
    samples += [path.read_bytes() for path in LEGACY.glob("*.prototxt")]
    words = [f" {word} ".encode() for word in WORDS]

    def read(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        return protogen.loads(text, phase="TRAIN" if len(data) % 2 else "TEST")

    run(damaged(samples, words), read, 300)


def test_damaged_weights(tmp_path: Path) -> None:
    samples = [path.read_bytes() for ending in ("*.caffemodel", "*.h5") for path in LEGACY.glob(ending)]
    numbers = [
        b"\xff" * 9 + b"\x01",
        b"\x00",
        b"\x80" * 12,
        b"\x0a",
        b"\x2a\xff\xff\xff\xff\x0f",
        b"\x08\x80\x80\x80\x80\x80\x80\x40",
    ]
    path = tmp_path / "damaged.caffemodel"

    def read(data: bytes) -> object:
        path.unlink(missing_ok=True)  # arrays may still look into the file before
        path.write_bytes(data)
        return [len(blob.tobytes()) for layer in read_weights(path) for blob in layer.blobs if blob is not None]

    run(damaged(samples, numbers), read, 800)


def test_damaged_definitions(tmp_path: Path) -> None:
    samples = [path.read_bytes() for path in LEGACY.glob("*.new.caffemodel")]
    for number, text in enumerate(path.read_text() for path in LEGACY.glob("v?.prototxt")):
        samples.append(encoded(text, table()["forks"][number]))
    numbers = [b"\xff" * 9 + b"\x01", b"\x80" * 12, b"\x0a", b"\xa2\x06", b"\xba\x08\x02", b"\x08\x80\x80\x80\x80\x80\x80\x40"]

    def read(data: bytes) -> object:
        return definition.parse(data, "damaged.caffemodel")

    run(damaged(samples, numbers), read, 800)


FORMS = ("onnx", "pth", "prototxt", "caffemodel", "h5")


@pytest.mark.parametrize("kind", hostile.NETS)
def test_hostile_nets(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every form is refused or written whole, on a full disk too; engines agree on what is converted."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(f"{kind} {SEED}")
    for number in range(EXAMPLES or 12):
        data = hostile.NETS[kind](draw)
        Path("net.prototxt").write_bytes(data)
        with harmless(data, 4 * SLOWEST):
            net = protogen.load("net.prototxt", phase=draw.choice(["TEST", "TEST", "TRAIN"]))
            assert len(str(net.summary())) < 10 * len(data) + 100_000
            for form in FORMS:
                with harmless((form, data), 4 * SLOWEST):
                    write(net, form, draw)
            # In TRAIN, models compute what they will in inference, which BatchNorm does differently.
            if number % 10 == 0 and net.phase == "TEST" and sum(map(prod, net.shapes.values())) < 1 << 20:
                report = protogen.verify(net)
                assert report.ok, (report.verdict, data[:2000])
        assert {path.name for path in tmp_path.iterdir()} <= {"net.prototxt"}


def write(net: protogen.Net, form: str, draw: random.Random) -> None:
    """Write a form beside what a killed process left of it, half of the times on a disk that is soon full; read it again."""
    path = Path(f"out.{form}")
    stale = Path(f".{path.name}.{_machine()}-4194305-0.tmp")
    stale.write_bytes(b"half of a file")
    room = draw.choice([0, 100, 5000, None, None, None])
    try:
        with limited(room):
            net.save(path)
        if form == "onnx":
            onnx.checker.check_model(onnx.load(path), full_check=True)
        assert path.stat().st_size
        assert not stale.exists(), "the next run removes it"
    finally:
        assert {each.name for each in Path().iterdir()} <= {"net.prototxt", path.name, stale.name}
        stale.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


@contextmanager
def limited(room: int | None) -> Iterator[None]:
    """Let files grow no larger than so many bytes, as on a full disk, while the block runs; not those of Python's imports."""
    before, compiles = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    try:
        if room is not None:
            sys.dont_write_bytecode = True
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = compiles


def test_hostile_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result, one clear error or wrong use, whatever the options and wherever the output goes; an error leaves no file."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(f"commands {SEED}")
    kinds = list(hostile.NETS.values())
    for _ in range(EXAMPLES or 150):
        data, words = draw.choice(kinds)(draw), hostile.command(draw)
        Path("net.prototxt").write_bytes(data)
        output = draw.choice(["utf-8", "ascii", "latin-1", "full", "closed"])
        with harmless((words, output, data), 4 * SLOWEST):
            code, shown = command(words, output)
        where = (words, output, shown, data[:2000])
        assert code in (0, 1, 2), where
        assert "Traceback" not in shown, where
        assert "report this" not in shown, where
        if {"nan", "inf", "x", "1/0"} & set(words):
            assert code == 2 or (code == 1 and output in ("full", "closed")), where
        for path in tmp_path.iterdir():
            assert path.name == "net.prototxt" or (code == 0 and path.name.startswith("out.")), where
            path.unlink()


def command(words: list[str], output: str) -> tuple[int, str]:
    """Run a command whose standard output has an encoding, is full, or was closed; what it says of errors."""
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    before = sys.stdout, sys.stderr
    try:
        if output == "closed":
            sys.stdout = None  # type: ignore[assignment]
        else:
            sys.stdout = open("/dev/full", "w") if output == "full" else io.TextIOWrapper(io.BytesIO(), output)  # noqa: SIM115
        sys.stderr = errors
        with warnings.catch_warnings():
            code = exit_code(*words)
    finally:
        with suppress(OSError, AttributeError):
            sys.stdout.close()
        sys.stdout, sys.stderr = before
    return code, errors.buffer.getvalue().decode()  # type: ignore[attr-defined]
