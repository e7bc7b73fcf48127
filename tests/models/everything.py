"""What holds for every model: `python -m tests.models.everything [NAME ...]` checks all, or some.

Each builds at three sizes and for odd numbers of classes, as a deploy and as a train/val net, reads back as it was built, gives
the same numbers in PyTorch and ONNX, and gets a smaller loss in two steps on one batch.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import time
from functools import partial
from typing import Any

import protogen
from protogen.models import find, models

# The best-known member of each family, and the sizes to try beside the default.
SIZES: dict[str, tuple[int, int]] = {
    "alexnet": (195, 260), "cifar10_full": (28, 45), "densenet121": (97, 160), "googlenet": (129, 192),
    "inception_v3": (139, 203), "inception_v4": (139, 203), "inception_resnet_v2": (139, 203), "lenet": (20, 33),
    "nin": (195, 260), "peleenet": (65, 192),
    "resnet50": (65, 160), "resnext50": (65, 160), "resnet50_v2": (65, 160), "se_resnet50": (65, 160), "squeezenet1_1": (65, 160),
    "vgg11": (65, 96), "xception": (96, 203), "caffenet": (195, 260),
    "mobilenet_v1": (65, 160), "mobilenet_v2": (65, 160), "mobilenet_v3_small": (65, 160), "shufflenet_v1": (65, 160),
    "shufflenet_v2": (65, 160), "mnasnet": (65, 160), "efficientnet_lite0": (65, 160), "ghostnet": (65, 160),
    "repvgg_a0": (65, 160), "unet": (188, 204), "fcn8s": (33, 70), "segnet": (33, 96), "enet": (32, 64), "hed": (33, 70),
}  # fmt: skip
FAMILIES = list(SIZES)


def sizes(name: str) -> tuple[int, int]:
    """Two sizes that a model takes beside its default one."""
    if name in SIZES:
        return SIZES[name]
    module = find(name).build.__module__
    return next((each for other, each in SIZES.items() if find(other).build.__module__ == module), (65, 160))


def classes(net: protogen.Net) -> int:
    """Of a deploy net that ends in scores or a Softmax."""
    return net.shapes[net.outputs[-1]][1]


def build_with(name: str, **options: Any) -> protogen.Net:
    """The model, without the number of classes if it has no such option (HED)."""
    build = find(name).build
    known = inspect.signature(build).parameters
    return build(**{option: value for option, value in options.items() if option != "classes" or option in known})


def check_building(name: str) -> None:
    """Deploy and train/val nets at three sizes, of odd numbers of classes, read back as they were built."""
    build = partial(build_with, name)
    small, large = sizes(name)
    deploy = build()
    for options in ({"size": small, "classes": 3}, {"size": large, "classes": 37, "batch": 2}, {"size": (small, large)}):
        net = build(**options)
        assert classes(net) == (1 if name == "hed" else options.get("classes", classes(deploy)))
        again = protogen.loads(net.to_prototxt())
        assert (again.shapes, again.param_count, again.macs) == (net.shapes, net.param_count, net.macs)
    for options in ({}, {"size": large, "classes": 7}):
        net = build(phase="TRAIN", **options)
        text = net.to_prototxt()
        for phase in ("TRAIN", "TEST"):
            again = protogen.loads(text, phase=phase)
            assert again.shapes["data"][2] == options.get("size", deploy.shapes["data"][2])
            assert ("loss" if phase == "TRAIN" or name == "hed" else "accuracy") in "".join(again.outputs)
        assert net.param_shapes.items() >= build(**options).param_shapes.items(), "weights fit both"


def check_converting(name: str) -> None:
    """PyTorch and ONNX Runtime agree on every blob."""
    net = build_with(name, size=sizes(name)[0], classes=7, batch=1)
    if any(layer.type == "BatchNorm" for layer in net.layers):
        load_statistics(net, name)
    report = protogen.verify(net.fill())
    assert report.ok, report.verdict


def load_statistics(net: protogen.Net, name: str) -> None:
    """Random weights, and the statistics of one batch: without them, values grow or vanish until only rounding is left."""
    import torch

    train = build_with(name, size=sizes(name)[0], classes=7, phase="TRAIN")
    module, (x, label) = train.to_torch(seed=0).train(), batch_of(train)
    with torch.no_grad():
        module.loss(x, label)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(module.state_dict(), f"{folder}/a.pth")
        net.weights.load(f"{folder}/a.pth")


def batch_of(net: protogen.Net) -> tuple[Any, Any]:
    """Four random images with labels: four, or of two classes for each pixel."""
    import torch

    torch.manual_seed(0)
    channels, height, width = net.shapes["data"][1:]
    x = torch.randn(4, channels, height, width)
    if len(net.shapes["label"]) == 4:
        return x, torch.randint(0, 2, (4, 1, height, width)).float()
    return x, torch.tensor([0.0, 1, 2, 3])


def check_training(name: str, size: int | None = None) -> None:
    """Two steps on a batch of four images make their loss smaller."""
    import torch

    net = build_with(name, size=size or sizes(name)[0], classes=5, phase="TRAIN")
    module, (x, label) = net.to_torch(seed=0).train(), batch_of(net)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)
    seen = []
    for _ in range(3):
        torch.manual_seed(1)  # the same values dropped
        loss = module.loss(x, label)
        seen.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen[-1] < seen[0], f"{name}: losses {seen}"


CHECKS: list[Any] = [check_building, check_converting, check_training]


def main(names: list[str]) -> int:
    """Check the models and print a line for each; returns how many failed."""
    failed = 0
    for name in names or models():
        for check in CHECKS:
            start = time.perf_counter()
            try:
                check(name)
                result = "ok"
            except Exception as error:
                failed += 1
                result = f"{type(error).__name__}: {error}"
            print(f"{name:20} {check.__name__:17} {time.perf_counter() - start:6.1f} s  {result}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
