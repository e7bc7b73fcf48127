"""Both readers on damaged files, for half a minute each: a `ProtogenError` or a result, never anything else, and soon.

`PROTOGEN_FUZZ_SECONDS=600 pytest tests/test_fuzz.py` goes on for longer; `PROTOGEN_FUZZ_SEED` draws other damage.
"""

from __future__ import annotations

import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import protogen
from protogen.weights import definition, read_weights
from tests.oracle import LEGACY, cases, families
from tests.weights.forks import encoded, table

SECONDS = float(os.environ.get("PROTOGEN_FUZZ_SECONDS", "30"))
SEED = int(os.environ.get("PROTOGEN_FUZZ_SEED", "1"))
SLOWEST = 5.0  # seconds for one small file
MOST_MEMORY = 256 << 20

pytestmark = pytest.mark.filterwarnings("ignore::protogen.ProtogenWarning")
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


def run(inputs: Iterator[bytes], read: Callable[[bytes], object]) -> int:
    """Read one damaged input after the other until the time is over; the number read."""
    end, count = time.monotonic() + SECONDS, 0
    tracemalloc.start()
    try:
        while time.monotonic() < end:
            begun = time.process_time()
            data = next(inputs)
            try:
                read(data)
            except protogen.ProtogenError as error:
                assert str(error), data
                assert all(line.isprintable() for line in str(error).split("\n")), data
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\nfor {data!r}") from error
            assert time.process_time() - begun < SLOWEST, data
            count += 1
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    return count


def test_damaged_prototxts() -> None:
    samples = [case.prototxt.encode() for family in families() for case in list(cases(family).values())[:2]]
    samples += [path.read_bytes() for path in LEGACY.glob("*.prototxt")]
    words = [f" {word} ".encode() for word in WORDS]

    def read(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        return protogen.loads(text, phase="TRAIN" if len(data) % 2 else "TEST")

    assert run(damaged(samples, words), read) > 100


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

    assert run(damaged(samples, numbers), read) > 100


def test_damaged_definitions(tmp_path: Path) -> None:
    samples = [path.read_bytes() for path in LEGACY.glob("*.new.caffemodel")]
    for number, text in enumerate(path.read_text() for path in LEGACY.glob("v?.prototxt")):
        samples.append(encoded(text, table()["forks"][number]))
    numbers = [b"\xff" * 9 + b"\x01", b"\x80" * 12, b"\x0a", b"\xa2\x06", b"\xba\x08\x02", b"\x08\x80\x80\x80\x80\x80\x80\x40"]

    def read(data: bytes) -> object:
        return definition.parse(data, "damaged.caffemodel")

    assert run(damaged(samples, numbers), read) > 100
