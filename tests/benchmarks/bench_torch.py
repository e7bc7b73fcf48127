"""`to_torch()` against modules written by hand: `python -m tests.benchmarks.bench_torch [--device cuda] [--compile]`.

Forward passes (eval) and training steps, interleaved; each row has the medians and their ratio to the hand-written module.
ResNet-50 needs torchvision. On a GPU, half precision, channels_last and the peak of the device's memory come in addition.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from . import handwritten

Run = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """How a module is run."""

    device: str
    batch: int
    threads: int = 0  # 0: as many as PyTorch takes
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    def __str__(self) -> str:
        parts = [f"batch {self.batch}", str(self.dtype).removeprefix("torch.")]
        parts += [f"{self.threads} thread{'s' * (self.threads > 1)}"] * bool(self.threads)
        return ", ".join([*parts, *["channels_last"] * self.channels_last])

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module to the device, in this precision and layout of memory."""
        module = module.to(self.device, self.dtype)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        return module

    def images(self) -> torch.Tensor:
        """Random images (N, 3, 224, 224)."""
        images = torch.randn(self.batch, 3, 224, 224, device=self.device, dtype=self.dtype)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="peleenet, resnet50 (default: both)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compile", action="store_true", help="the modules through torch.compile, too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device
    print(f"PyTorch {torch.__version__} on {name}\n")
    print(
        f"{'network':10}{'what':16}{'setting':44}{'by hand':>10}{'to_torch':>10}{'ratio':>8}{'folded':>10}{'ratio':>8}   memory"
    )
    for network in arguments.networks or ["peleenet", "resnet50"]:
        for setting in settings(arguments.device):
            forward(network, setting, arguments.rounds, compiled=False)
            if arguments.compile and setting.batch > 1 and not setting.channels_last:
                forward(network, setting, arguments.rounds, compiled=True)
        for batch in (16, 64) if arguments.device != "cpu" else (16,):
            train(network, Setting(arguments.device, batch), arguments.rounds)


def settings(device: str) -> Iterable[Setting]:
    """The settings that a device is measured in."""
    if device == "cpu":
        return [Setting(device, batch, threads) for batch, threads in itertools.product((1, 16), (1, 2))]
    kinds = itertools.product((1, 64), (torch.float32, torch.float16), (False, True))
    return [Setting(device, batch, dtype=dtype, channels_last=last) for batch, dtype, last in kinds]


def by_hand(network: str) -> nn.Module:
    """The hand-written module."""
    if network == "peleenet":
        return handwritten.PeleeNet()
    import torchvision

    module: nn.Module = getattr(torchvision.models, network)()
    return module


def forward(network: str, setting: Setting, rounds: int, compiled: bool) -> None:
    """Print a row: inference."""
    net = getattr(handwritten, network)("TEST", setting.batch)
    modules = [by_hand(network).eval(), net.to_torch(), net.to_torch(fold=True)]
    assert sum(weight.numel() for weight in modules[0].parameters()) == net.param_count, "not the same network"
    images = setting.images()

    def run_of(module: nn.Module) -> Run:
        module = setting.place(module)
        module = torch.compile(module, fullgraph=True) if compiled else module
        return lambda: module(images)

    with torch.inference_mode():
        report(network, "compiled" if compiled else "forward", setting, [run_of(module) for module in modules], rounds)


def train(network: str, setting: Setting, rounds: int) -> None:
    """Print a row: forward, backward and a step of SGD with momentum."""
    images, labels = setting.images(), torch.randint(1000, (setting.batch,), device=setting.device)
    written = setting.place(by_hand(network).train())
    converted = setting.place(getattr(handwritten, network)("TRAIN", setting.batch).to_torch())
    losses: list[tuple[nn.Module, Callable[[], torch.Tensor]]] = [
        (written, lambda: nn.functional.cross_entropy(written(images), labels)),
        (converted, lambda: converted.loss(images, labels.float())),
    ]

    def run_of(module: nn.Module, loss: Callable[[], torch.Tensor]) -> Run:
        optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        return step

    report(network, "training step", setting, [run_of(module, loss) for module, loss in losses], max(rounds // 3, 3))


def report(network: str, what: str, setting: Setting, runs: list[Run], rounds: int) -> None:
    """Time the runs in turns and print their medians, ratios to the first, and peaks of memory."""
    torch.set_num_threads(setting.threads or torch.get_num_threads())
    on_gpu = setting.device.startswith("cuda")
    peaks = []
    for run in runs:
        run()
        run()
        peaks.append(peak(run) if on_gpu else 0)
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, measured in zip(runs, times):
            measured.append(seconds(run, on_gpu))
    medians = [statistics.median(measured) for measured in times]
    columns = f"{medians[0] * 1e3:10.2f}" + "".join(f"{median * 1e3:10.2f}{median / medians[0]:8.2f}" for median in medians[1:])
    memory = " / ".join(f"{size / 2**20:.0f}" for size in peaks) + " MiB" if on_gpu else ""
    print(f"{network:10}{what:16}{setting!s:44}{columns:46}   {memory}", flush=True)


def seconds(run: Run, on_gpu: bool) -> float:
    """Time of a run, the device's work included."""
    begun = time.perf_counter()
    run()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def peak(run: Run) -> int:
    """Memory of the device that a run takes beyond what was taken before it, in bytes."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


if __name__ == "__main__":
    main()
