"""Peak memory of `protogen verify`, over that of one forward pass: `python -m tests.benchmarks.bench_verify_memory [NAME...]`.

Both are whole processes, imports included, that load the same caffemodel; the peak is the largest resident set, in which pages of
mapped files count. NAME is a part of a net's name. FCN-8s is read from ../shared/corpus, and left out where that is not at hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import protogen
from protogen import Net
from tests.corpus import CORPUS

from .bench_weights import vgg16
from .nets import ssd512, unet

FCN = CORPUS / "dgschwend+netscope" / "presets" / "fcn-8s-pascal.prototxt"
FORWARD = """
import sys
import torch
import protogen
net = protogen.load(sys.argv[1], sys.argv[2])
module = net.to_torch().eval()
with torch.no_grad():
    module(*(torch.randn(net.shapes[name]) for name in net.inputs))
"""
NETS: dict[str, Callable[[], Net | None]] = {
    "U-Net, 1x3x480x480": unet,
    "U-Net, 10x3x480x480": lambda: unet(batch=10),
    "FCN-8s": lambda: protogen.load(FCN) if FCN.is_file() else None,
    "VGG-16": vgg16,
    "SSD-512": ssd512,
}


def main() -> None:
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[2], Path(sys.argv[3]))
        return
    for name in NETS:
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:]):
            compare(name)


def compare(name: str) -> None:
    """Print the peaks of both processes, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: what this one takes would count as the peak of those that it starts.
        subprocess.run([sys.executable, "-W", "ignore", "-m", __spec__.name, "--write", name, folder], check=True)
        if not (Path(folder) / "net.prototxt").exists():
            print(f"{name:24} is left out: {FCN} is not here")
            return
        files = [str(Path(folder) / "net.prototxt"), str(Path(folder) / "net.caffemodel")]
        plain = peak([sys.executable, "-W", "ignore", "-c", FORWARD, *files])
        shape = (Path(folder) / "input").read_text()
        checked = peak([sys.executable, "-W", "ignore", "-m", "protogen", "verify", *files, "--input", shape])
    peaks = f"forward {plain / 2**20:8.0f} MiB   verify {checked / 2**20:8.0f} MiB"
    print(f"{name:24} {peaks}   {checked / plain:5.2f} x", flush=True)


def write(name: str, folder: Path) -> None:
    """Write a net's prototxt, a caffemodel with random weights, and the shape of its input; nothing if it is not at hand."""
    net = NETS[name]()
    if net is not None:
        net.save_prototxt(folder / "net.prototxt")
        with_varied_weights(net).save_caffemodel(folder / "net.caffemodel")
        (folder / "input").write_text(f"{net.inputs[0]}={','.join(map(str, net.shapes[net.inputs[0]]))}")


def with_varied_weights(net: Net) -> Net:
    """Give a net the random weights that `verify` draws, which keep values in range and differ everywhere."""
    from protogen.verification import with_random_weights

    graph = with_random_weights(net.graph())
    net.weights.update({node.op.layer.name: node.arrays for node in graph.nodes if node.weights})
    return net


def peak(command: list[str]) -> int:
    """Run a command; return its largest resident set in bytes.

    Raises:
        RuntimeError: it failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[-1]}: exit code {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
