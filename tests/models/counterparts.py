"""Models of torchvision and timm that our models have weights of: `python -m tests.models.counterparts [NAME ...]` runs them.

Each module gets random weights and statistics, saved as a state dict. Our net, with the weights of that file, must give the
module's own scores in PyTorch, ONNX Runtime and OpenCV's Caffe importer. Pairings for which order and shape leave a doubt go to
protogen/graph/pairings.json once they passed: `--write` does so.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import protogen
from protogen.graph import by_order
from protogen.models import find
from tests.models.torchvision_nets import timm_net, torchvision_net

ITS: Mapping[str, Any] = {"preset": "torchvision"}


@dataclass(frozen=True)
class Counterpart:
    """A model here and there.

    Attributes:
        model, options: ours.
        library, theirs: "torchvision" or "timm", and the name there.
        size: an image size at which padding and rounding matter.
        lacking: engines that do not compute a field of the net.
    """

    model: str
    theirs: str
    library: str = "torchvision"
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int = 97
    lacking: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.model} {self.library}.{self.theirs}"

    def module(self) -> Any:
        """Their module; skips the test where the library is not installed."""
        module = (torchvision_net if self.library == "torchvision" else timm_net)(self.theirs, device="cpu")
        if self.model == "repvgg":
            from timm.utils.model import reparameterize_model

            return reparameterize_model(module)
        return module

    def net(self) -> protogen.Net:
        return find(self.model).build(size=self.size, batch=2, **self.options)


COUNTERPARTS = [
    Counterpart("mobilenet_v1", "mobilenetv1_100", "timm", {"preset": "timm"}),
    Counterpart("mobilenet_v2", "mobilenet_v2", options=ITS),
    Counterpart("mobilenet_v2", "mobilenetv2_100", "timm", ITS),
    Counterpart("mobilenet_v2", "mobilenetv2_050", "timm", {**ITS, "width": 0.5}),
    Counterpart("mobilenet_v2", "mobilenetv2_140", "timm", {**ITS, "width": 1.4}),
    Counterpart("mobilenet_v3_large", "mobilenet_v3_large"),
    Counterpart("mobilenet_v3_small", "mobilenet_v3_small"),
    Counterpart("mobilenet_v3_large", "mobilenetv3_large_100", "timm", {"preset": "timm"}),
    Counterpart("mobilenet_v3_small", "mobilenetv3_small_100", "timm", {"preset": "timm"}),
    Counterpart("mobilenet_v3_large", "mobilenetv3_large_075", "timm", {"preset": "timm", "width": 0.75}),
    Counterpart("mnasnet", "mnasnet1_0"),
    Counterpart("mnasnet", "mnasnet0_5", options={"width": 0.5}),
    Counterpart("mnasnet", "mnasnet_100", "timm"),
    Counterpart("mnasnet", "semnasnet_100", "timm", {"version": "a1"}),
    *[
        Counterpart("shufflenet_v2", f"shufflenet_v2_x{f'{width}'.replace('.', '_')}", options={**ITS, "width": width})
        for width in (0.5, 1.0, 1.5, 2.0)
    ],
    *[Counterpart("ghostnet", f"ghostnet_{int(width * 100):03}", "timm", {"width": width}) for width in (0.5, 1.0, 1.3)],
    *[Counterpart("repvgg", f"repvgg_{version}", "timm", {"version": version}) for version in ("a0", "a1", "a2", "b0", "b1")],
    Counterpart("efficientnet_lite0", "efficientnet_lite0", "timm"),
    Counterpart("efficientnet_lite", "efficientnet_lite3", "timm", {"version": "lite3"}),
    Counterpart("alexnet", "alexnet", options=ITS, size=224),
    *[Counterpart(name, name, size=224) for name in ("vgg11", "vgg13", "vgg16", "vgg19")],
    Counterpart("googlenet", "googlenet", options=ITS),
    Counterpart("inception_v3", "inception_v3", size=299),
    *[Counterpart(name, name, options=ITS) for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")],
    *[Counterpart(name, name, options=ITS) for name in ("wide_resnet50_2", "wide_resnet101_2")],
    Counterpart("resnext50", "resnext50_32x4d", options=ITS),
    Counterpart("resnext101", "resnext101_32x8d", options=ITS),
    *[Counterpart(name, name, options=ITS) for name in ("densenet121", "densenet161", "densenet169", "densenet201")],
    Counterpart("resnet50", "resnet50", "timm", ITS),
    Counterpart("densenet121", "densenet121", "timm", ITS),
    Counterpart("vgg11", "vgg11", "timm", size=224),
    *[Counterpart("inception_v3", "inception_v3", "timm", size=size) for size in (139, 160)],
    *[
        Counterpart(name, name, "timm", {"preset": "timm"}, size=160, lacking=("OpenCV",))
        for name in ("inception_v4", "inception_resnet_v2")
    ],
    Counterpart("xception", "legacy_xception", "timm", {"preset": "timm"}),
    Counterpart("se_resnet50", "legacy_seresnet50", "timm", {"gate": "scale"}),
    Counterpart("se_resnext50", "legacy_seresnext50_32x4d", "timm", {"gate": "scale"}),
    Counterpart("squeezenet1_0", "squeezenet1_0", options=ITS),
    Counterpart("squeezenet1_1", "squeezenet1_1"),
]


def randomize(module: Any, x: Any, seed: int = 0) -> Any:
    """Give a module random weights and biases, and statistics near those of the images `x`, so that values keep their size."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        if value.ndim > 1:
            value.data.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        else:
            value.data.uniform_(-0.1, 0.1, generator=generator)
    norms = [each for each in module.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
    with torch.no_grad():
        module.train()(x)
    for norm in norms:
        # The difference of large, nearly equal numbers would enlarge rounding.
        norm.running_var.add_((norm.running_mean * 0.5) ** 2).clamp_(min=float(norm.running_var.mean()) / 2)
        norm.running_mean.mul_(0.5)
        norm.running_var.mul_(torch.rand(norm.running_var.shape, generator=generator) * 0.5 + 0.75)
        norm.running_mean.add_(torch.randn(norm.running_mean.shape, generator=generator) * norm.running_var.sqrt() * 0.1)
    return module.eval()


def images(size: int, seed: int = 1) -> Any:
    """Two images with large and small patterns, which no pooling makes alike."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, 3, 5, 5, generator=generator) * 2
    large = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return large + torch.randn(2, 3, size, size, generator=generator) * 0.5


def check(counterpart: Counterpart, folder: Path) -> dict[str, float]:
    """Return the largest difference of each engine's scores from the module's in float64, relative to the largest of them.

    What float32 costs the module itself is the difference of the engine "their own".
    """
    import torch

    x = images(counterpart.size)
    module = randomize(counterpart.module(), x)
    weights, prototxt = folder / "theirs.pth", folder / "net.prototxt"
    torch.save(module.state_dict(), weights)
    counterpart.net().save(prototxt)
    net = protogen.load(prototxt, weights)
    with torch.no_grad():
        own = module(x).numpy()
        expected = module.double()(x.double()).numpy()
    largest = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 0.03 * largest, "the scores depend on the image"
    results = {**engines(net, x.numpy(), folder, counterpart.lacking), "their own": own}
    return {
        engine: float(np.abs(scores.reshape(expected.shape) - expected).max() / largest) for engine, scores in results.items()
    }


def is_good(errors: Mapping[str, float]) -> bool:
    """Whether all engines are within 1e-5, or as near as the module itself where float32 costs it more than that."""
    return max(errors.values()) < max(1e-5, 3 * errors["their own"])


def engines(net: protogen.Net, x: np.ndarray, folder: Path, lacking: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The blob before the Softmax, from PyTorch, ONNX Runtime, and OpenCV's Caffe importer, but for those that lack something."""
    import cv2
    import onnxruntime
    import torch

    scores = net.layers[-1].bottoms[0]
    net.save_caffemodel(folder / "ours.caffemodel")
    with torch.no_grad():
        results = {"PyTorch": net.to_torch().eval().blobs(torch.from_numpy(x))[scores].numpy()}
    net.to_onnx(folder / "ours.onnx", outputs=[scores])
    session = onnxruntime.InferenceSession(folder / "ours.onnx", providers=["CPUExecutionProvider"])
    results["ONNX Runtime"] = session.run(None, {"data": x})[0]
    if "OpenCV" in lacking:
        return results
    reader = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "ours.caffemodel"))
    reader.enableWinograd(False)  # whose transforms cost accuracy
    reader.setInput(x, "data")
    results["OpenCV"] = reader.forward(scores)
    return results


def digest_if_needed(counterpart: Counterpart) -> str | None:
    """The pairing's digest, if order and shape alone leave a doubt."""
    ops, proven = counterpart.net().ops, by_order._proven
    state = {key: value.numpy() for key, value in counterpart.module().state_dict().items()}
    by_order._proven = dict  # type: ignore[assignment]
    try:
        by_order.pair(state, ops)
    except by_order.MismatchError:
        return by_order.pairing_of(state, ops).digest
    finally:
        by_order._proven = proven
    return None


def main(*names: str, write: bool = False) -> int:
    pairings, failed = dict(json.loads(by_order.PAIRINGS.read_bytes())), 0
    for counterpart in COUNTERPARTS:
        if names and counterpart.model not in names:
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            digest = digest_if_needed(counterpart)
            if digest and write:
                by_order._proven = lambda digest=digest: {digest: ""}  # type: ignore[assignment]
            try:
                errors = check(counterpart, Path(folder))
            except Exception as error:
                print(f"{counterpart}: {type(error).__name__}: {error}", flush=True)
                failed += 1
                continue
        good = is_good(errors)
        failed += not good
        if good and digest and write:
            options = "".join(f" --{name} {value}" for name, value in counterpart.options.items())
            pairings[digest] = f"{counterpart.library} {counterpart.theirs}: protogen build {counterpart.model}{options}"
        listed = ", ".join(f"{engine} {error:.1e}" for engine, error in errors.items())
        print(f"{counterpart}: {'' if good else 'FAILED '}{listed}; {time.perf_counter() - start:.0f} s", flush=True)
        if write:
            by_order.PAIRINGS.write_text(json.dumps(pairings, indent=1) + "\n", encoding="utf-8")
    return failed


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(*[each for each in arguments if each != "--write"], write="--write" in arguments))
