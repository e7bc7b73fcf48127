"""Weights of the size of VGG-16's (553 MB): how fast, and in how much memory: `python -m tests.benchmarks.bench_weights`.

Times are ratios to reading the file's bytes. Memory is the peak of a process of its own, less what its imports take, over the
size of the file; pages of the mapped file count as the system counts them (resident).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import protogen
from protogen.schema import message_class

from .timing import best, row

# What one process does after `import torch` or `import onnx`; its peak memory is compared with that of the import alone.
WORK = {
    "load": ("numpy", "net"),
    "convert to PyTorch": ("torch", "net.to_torch()"),
    "convert to PyTorch and save the state dict": ("torch", "net.save(folder + '/a.pth')"),
    "write ONNX (to_onnx(path))": ("onnx", "net.to_onnx(folder + '/a.onnx')"),
    "write ONNX (protogen convert)": ("onnx", "net.save(folder + '/b.onnx')"),
    "write ONNX with external data": ("onnx", "net.to_onnx(folder + '/c.onnx', external_data=True)"),
    "write a caffemodel": ("numpy", "net.save(folder + '/d.caffemodel')"),
}
CHILD = """
import sys
import {module}
import protogen, protogen.reading, protogen.graph.store, protogen.layers.convolution
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
folder, size = sys.argv[1], int(sys.argv[2])
{warm_up}
before = peak()
net = protogen.load(folder + "/vgg.prototxt", folder + "/vgg.caffemodel")
{work}
print((peak() - before) / size)
"""
# A first, small conversion brings in whatever is imported on first use.
WARM_UP = """
net = protogen.load(folder + "/small.prototxt", folder + "/small.caffemodel")
{work}
"""


def vgg16(width: int = 64, size: int = 224, hidden: int = 4096) -> protogen.Net:
    """VGG-16 (arXiv:1409.1556, configuration D)."""
    b = protogen.NetBuilder("VGG16")
    b.input("data", (1, 3, size, size))
    for stage, (layers, factor) in enumerate(((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)), 1):
        for i in range(1, layers + 1):
            b.relu(b.conv(factor * width, 3, pad=1, name=f"conv{stage}_{i}"))
        b.pool("MAX", 2, stride=2, name=f"pool{stage}")
    for name in ("fc6", "fc7"):
        b.dropout(b.relu(b.fc(hidden, name=name)))
    b.fc(1000, name="fc8")
    b.softmax(name="prob")
    return b.build()


def write(net: protogen.Net, path: Path) -> None:
    """Prototxt and caffemodel of a net, with random weights."""
    rng = np.random.default_rng(0)
    for layer, shapes in net.param_shapes.items():
        net.weights[layer] = [rng.random(shape, np.float32) for shape in shapes]
    path.with_suffix(".prototxt").write_text(net.to_prototxt())
    net.save_caffemodel(path.with_suffix(".caffemodel"))


def memory(module: str, work: str, folder: str, size: int) -> float:
    """Peak memory of some work in a process of its own, over `size`."""
    code = CHILD.format(module=module, work=work, warm_up=WARM_UP.format(work=work))
    command = [sys.executable, "-W", "ignore", "-c", code, folder, str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(vgg16(4, 32, 16), Path(folder) / "small")
        write(vgg16(), Path(folder) / "vgg")
        path = Path(folder) / "vgg.caffemodel"
        size = path.stat().st_size
        print(f"{size / 1e6:.0f} MB caffemodel")
        net = vgg16()
        plain = best(path.read_bytes, 5)
        row("read the file's bytes", plain)
        row("load it into a Net", best(lambda: net.weights.load(path), 5), plain, "reading")
        row("load it and look at every value", best(lambda: _touch(net, path), 3), plain, "reading")
        parse = message_class("NetParameter").FromString
        row("parse it by protobuf", best(lambda: parse(path.read_bytes()), 2), plain, "reading")
        if sys.platform == "linux":
            for what, (module, work) in WORK.items():
                print(f"{what:60} {memory(module, work, folder, size):9.2f} x the file in peak memory")


def _touch(net: protogen.Net, path: Path) -> float:
    net.weights.load(path)
    return sum(float(blob.max()) for blobs in net.weights.values() for blob in blobs)


if __name__ == "__main__":
    main()
