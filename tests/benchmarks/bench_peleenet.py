"""How fast the main job is: `python -m tests.benchmarks.bench_peleenet`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from google.protobuf import text_format

import protogen
from protogen.schema import message_class

from .timing import best, process, row

IMPORTS = "import click, jinja2, google.protobuf.text_format"


def main() -> None:
    python = [sys.executable]
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        print("note: PYTHONDONTWRITEBYTECODE is set; without compiled files, every process compiles protogen first")
    imports = process([*python, "-c", IMPORTS])
    row(f"python -c '{IMPORTS}'", imports)
    row("protogen peleenet -o /dev/null", process([*python, "-m", "protogen", "peleenet", "-o", os.devnull]), imports, "imports")

    net = protogen.models.peleenet()
    text = net.to_prototxt()
    built, written = best(protogen.models.peleenet), best(net.to_prototxt)
    row("build and check PeleeNet", built)
    row("write PeleeNet", written)
    row("build, check and write PeleeNet", built + written)
    by_protobuf = best(lambda: text_format.Parse(text, message_class("NetParameter")()), 5)
    row("read PeleeNet by protobuf's text_format, unchecked", by_protobuf)
    row("read and check PeleeNet", best(lambda: protogen.loads(text), 5), by_protobuf, "text_format")

    with tempfile.TemporaryDirectory() as folder:
        prototxt, weights, onnx = (str(Path(folder) / f"peleenet.{ending}") for ending in ("prototxt", "caffemodel", "onnx"))
        Path(prototxt).write_text(text)
        net.fill().save_caffemodel(weights)
        just_onnx = process([*python, "-c", "import onnx"], 5)
        row("python -c 'import onnx'", just_onnx)
        command = [*python, "-m", "protogen", "convert", prototxt, weights, "-o", onnx]
        row("protogen convert peleenet.caffemodel -o peleenet.onnx", process(command, 5), just_onnx, "import onnx")


if __name__ == "__main__":
    main()
