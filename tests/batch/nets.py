"""Folders of small nets, and a layer type that harms its process."""

from __future__ import annotations

from pathlib import Path

import protogen

NET = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param {{ num_output: {channels} kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "{pool}" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ pool: {how} kernel_size: 2 stride: 2 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
        inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
"""


def text(channels: int = 4, pool: str = "pool", how: str = "MAX") -> str:
    """A net with weights in "conv" and "fc"."""
    return NET.format(channels=channels, pool=pool, how=how)


def write(folder: Path, **files: str) -> None:
    """Write prototxt files: names with "__" for "/"."""
    for name, content in files.items():
        path = folder / (name.replace("__", "/") + ".prototxt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def save_weights(path: Path, content: str, seed: int = 3) -> None:
    """Write the weights of a net."""
    protogen.loads(content).fill(seed).save_caffemodel(path)


PLUGIN = """
import os, signal, sys, time
import protogen

@protogen.register("Harm")
class Harm(protogen.LayerType):
    param_name, param_fields = "harm_param", {"how": ""}

    def setup(self):
        how = self.param.how
        if how == "exit": os._exit(7)
        if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
        if how == "crash": os.abort()
        if how == "leave": sys.exit(3)
        if how == "bug": raise TypeError("a slip\\nof its author")
        if how == "print": os.write(1, b"noise"); os.write(2, b"noise")
        if how == "hang": time.sleep(600)
        if how == "exit before renaming": os.replace = lambda *paths: os._exit(7)
        if how == "hang before renaming": os.replace = lambda *paths: time.sleep(600)
        self.tops = [self.bottoms[0]]

    def onnx(self, graph, bottoms, blobs):
        return graph.add("Relu", bottoms[0])
"""


def harm(how: str) -> str:
    """A net that harms the process in which it is read or written."""
    return text() + f'layer {{ name: "harm" type: "Harm" bottom: "fc" top: "harm" harm_param {{ how: "{how}" }} }}'


def install_plugin(folder: Path) -> Path:
    """Install the layer type "Harm" into a folder; put that on Python's path to have it."""
    info = folder / "harm-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "harm_plugin.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: harm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protogen.layers]\nharm = harm_plugin\n")
    return folder
