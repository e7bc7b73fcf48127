"""Classifiers of torchvision and timm, where the packages are at hand: whether their weights fit, and give the same scores."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import protogen


def torchvision_net(name: str, *, device: str = "meta", **options: Any) -> Any:
    """A module of torchvision, by default without memory for its weights; skips the test where there is no torchvision."""
    return made(lambda models: getattr(models, name)(weights=None, **options), "torchvision.models", device)


def timm_net(name: str, *, device: str = "meta") -> Any:
    """The same of timm."""
    return made(lambda timm: timm.create_model(name), "timm", device)


def made(make: Callable[[Any], Any], package: str, device: str) -> Any:
    torch = pytest.importorskip("torch")
    # torchvision's wheels for a GPU stand beside a torch for the CPU, too, if their operators are not registered.
    fake, torch.library.register_fake = torch.library.register_fake, lambda *_, **__: lambda function: function
    try:
        module = pytest.importorskip(package, exc_type=ImportError, reason=f"{package} is not installed")
    finally:
        torch.library.register_fake = fake
    with torch.device(device):
        return make(module)


def weights_in_order(module: Any) -> list[tuple[int, ...]]:
    """Shapes of a state dict's convolutions and fully connected layers, and of each BatchNorm's factors, without axes of 1 at the
    end."""
    shapes = []
    for name, value in module.state_dict().items():
        kind = name.rpartition(".")[2]
        if kind in ("weight", "bias") or kind == "running_mean":
            shapes.append(trimmed(tuple(value.shape)))
    return shapes


def caffe_weights(net: protogen.Net) -> list[tuple[int, ...]]:
    """Shapes of a net's weights in the order of PyTorch: a BatchNorm's factor and offset, which Scale has, before its mean."""
    shapes: list[tuple[int, ...]] = []
    mean: tuple[int, ...] | None = None
    for layer in net.layers:
        own = [trimmed(shape) for shape in net.param_shapes.get(layer.name, ())]
        if layer.type == "BatchNorm":
            mean = own[0]
        else:
            shapes += own
            if layer.type == "Scale" and mean is not None:
                shapes.append(mean)
    return shapes


def trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def assert_torchvision_weights_fit(net: protogen.Net, name: str, without: tuple[str, ...] = ()) -> None:
    """The net's weights are torchvision's in order and shape, but for those of the parts `without`."""
    module = torchvision_net(name)
    for part in without:
        setattr(module, part, None)
    assert caffe_weights(net) == weights_in_order(module)


def assert_computes_torchvision(net: protogen.Net, name: str, *, size: int = 224, **options: Any) -> None:
    """With torchvision's random weights the net gives the scores that torchvision's module gives."""
    assert_computes(net, torchvision_net(name, device="cpu", **options).eval(), size)


def assert_computes(net: protogen.Net, module: Any, size: int) -> None:
    """With a module's weights, made random, the net gives the scores that the module gives, in PyTorch, ONNX Runtime and, from a
    caffemodel, in OpenCV 4, which reads Caffe's files by itself."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for key, value in module.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.1, generator=generator)
        elif key.endswith("running_var") or value.ndim == 1:
            value.uniform_(0.5, 1.5, generator=generator)
    copy_weights(net, iter([value.numpy() for value in module.state_dict().values() if value.ndim]))
    x = torch.randn(2, 3, size, size, generator=generator)
    scores = net.layers[-1].bottoms[0]
    with torch.no_grad():
        theirs = module(x).numpy()
        ours = {"PyTorch": net.to_torch().eval().blobs(x)[scores].numpy()}
    ours["ONNX Runtime"] = by_onnx(net, scores, x.numpy())
    ours["OpenCV"] = by_opencv(net, scores, x.numpy())
    for engine, values in ours.items():
        assert np.abs(values.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max() < 1e-5, engine


def by_onnx(net: protogen.Net, scores: str, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(net.to_onnx(outputs=[scores]).SerializeToString())
    values: np.ndarray = session.run([scores], {net.inputs[0]: x})[0]
    return values


def by_opencv(net: protogen.Net, scores: str, x: np.ndarray) -> np.ndarray:
    """OpenCV's own reader of Caffe's files."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        net.save(Path(folder) / "net.caffemodel")
        net.save_prototxt(Path(folder) / "net.prototxt")
        read = cv2.dnn.readNetFromCaffe(f"{folder}/net.prototxt", f"{folder}/net.caffemodel")
    read.setInput(x)
    values: np.ndarray = read.forward(scores)
    return values


def copy_weights(net: protogen.Net, values: Iterator[np.ndarray]) -> None:
    """Give a net the arrays of a state dict, in order; a Scale's come before those of the BatchNorm that it follows."""
    norms: list[str] = []
    for layer in net.layers:
        shapes = net.param_shapes.get(layer.name, ())
        if layer.type == "BatchNorm":
            norms.append(layer.name)
            continue
        if shapes:
            net.weights[layer.name] = [next(values).reshape(shape) for shape in shapes]
        if layer.type == "Scale" and norms:
            net.weights[norms.pop()] = [next(values), next(values), np.ones(1, np.float32)]
    assert next(values, None) is None
