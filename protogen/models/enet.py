"""ENet: a deep encoder of narrow bottlenecks and a small decoder, for video of streets.

Paszke, Chaurasia, Kim, Culurciello: ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation, arXiv
1606.02147, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..builder import NetBuilder
from ..builder.arguments import Window
from ..errors import NetError
from ..net import Net
from ..prototxt.message import Message
from ..training import solver
from .common import check_positive, classifier, constant, image_size
from .dense import pixels, segmented
from .registry import chosen, model

# The middle convolutions of stages 2 and 3: plain, dilated by a number, or 5x1 and 1x5.
MIDDLES: tuple[int | str, ...] = (1, 2, "asymmetric", 4, 1, 8, "asymmetric", 16)
CHANNELS = {1: 64, 2: 128, 3: 128, 4: 64, 5: 16}


def enet_solver(net: str, *, snapshot_prefix: str = "enet", iterations: int = 75000) -> Message:
    """Return the SolverParameter of TimoSaemann/ENet for a net of phase TRAIN.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations.
    """
    return solver(
        net, base_lr=0.005, lr_policy="multistep", gamma=0.1, stepvalue=[18750, 37500, 56250], max_iter=iterations, test_iter=1,
        test_interval=10000000, weight_decay=2e-4, display=20, snapshot=10000, snapshot_prefix=snapshot_prefix, type="Adam",
        momentum2=0.999,
    )  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """The layers between ENet's convolutions, which a net with merged normalisation has fewer of.

    Attributes:
        b: the builder.
        phase: the model's own option.
        merged: normalisation is merged into the convolutions before it, and there is no dropout.
    """

    b: NetBuilder
    phase: str
    merged: bool

    def conv(self, x: str, num_output: int, kernel_size: Window, name: str, *, bias: bool = False, **options: Any) -> str:
        """A convolution; those that merged normalisation have biases."""
        bias_term = None if self.merged or bias else False
        return self.b.conv(x, num_output, kernel_size, bias_term=bias_term, weight_filler="msra", name=name, **options)

    def norm(self, x: str, number: str, *, kept: bool = False) -> str:
        """BN of SegNet's Caffe; `kept` where it follows no convolution."""
        if self.merged and not kept:
            return x
        rates = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 1, "decay_mult": 0}]
        options: dict[str, Any] = {"param": rates} if self.phase == "TRAIN" else {"bn_mode": "INFERENCE"}
        fillers: dict[str, Any] = {"scale_filler": constant(1), "shift_filler": constant(0.001)}
        return str(self.b.layer("BN", x, name=f"bn{number}", **fillers, **options))

    def activated(self, x: str, number: str) -> str:
        """A PReLU, in the decoder a ReLU; both are called prelu."""
        return str(self.b.layer("PReLU" if number < "4" else "ReLU", x, name=f"prelu{number}"))

    def dropped(self, x: str, number: str) -> str:
        """Dropout of whole channels, a Python layer; the encoder's first stage drops less."""
        if self.merged:
            return x
        p = "0.01" if number < "2" else "0.1"
        settings = f"{{'phase': '{self.phase}', 'p': '{p}'}}"
        param = {"module": "spatial_dropout", "layer": "SpatialDropoutLayer", "param_str": settings}
        return str(self.b.layer("Python", x, name=f"drop{number}", python_param=param))

    def added(self, x: str, shortcut: str, number: str) -> str:
        """The sum and its activation; where normalisation is merged, the summands come the other way round."""
        summands = (shortcut, x) if self.merged else (x, shortcut)
        return self.activated(self.b.eltwise(*summands, operation="SUM", name=f"eltwise{number}"), number)


@model(
    paper="Paszke, Chaurasia, Kim, Culurciello: ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation, "
    "arXiv 1606.02147,",
    year=2016,
    solver=enet_solver,
    choices={"preset": ("deploy", "final")},
)
def enet(
    size: int | Sequence[int] = (512, 1024),
    *,
    batch: int = 1,
    classes: int = 19,
    preset: str = "deploy",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """ENet, with the layers of TimoSaemann/ENet; it needs SegNet's Caffe (BN, Upsample).

    Args:
        size: height and width of the image in pixels, multiples of 8; one number for a square.
        batch: images per pass.
        classes: of pixels.
        preset: "deploy" (enet_deploy.prototxt, with normalisation and dropout) or "final" (enet_deploy_final.prototxt, in which
            BN-absorber-enet.py has merged normalisation into convolutions; the published weights fit).
        phase: "TEST" for a deploy net with an Input layer that ends with scores; "TRAIN" for a train/val net with DenseImageData
            layers, SoftmaxWithLoss and Accuracy ("deploy" only).

    Raises:
        NetError: a value is out of range.

    >>> net = enet()
    >>> len(net.layers), net.param_count, net.macs
    (320, 372551, 4006920192)
    """
    merged = chosen(preset, {"deploy": False, "final": True})
    check_positive(classes=classes)
    height, width = image_size(size)
    if height % 8 or width % 8:
        raise NetError(f"size must be multiples of 8, as ENet halves images three times, not {height}x{width}")
    if merged and phase == "TRAIN":
        raise NetError("preset 'final' is for deployment only: its normalisation is merged; train preset 'deploy'")
    b = classifier("ENet", phase, train={})
    parts = Parts(b, phase, merged)
    x = _initial(parts, pixels(b, size, batch=batch, phase=phase))
    for stage in (1, 2, 3):
        if stage < 3:
            x = _narrowing(parts, x, stage)
        for i, middle in enumerate((1,) * 4 if stage == 1 else MIDDLES, 1):
            x = _bottleneck(parts, x, f"{stage}_{i}", CHANNELS[stage], middle)
    for stage, count in ((4, 2), (5, 1)):
        x = _widening(parts, x, stage)
        for i in range(1, count + 1):
            x = _bottleneck(parts, x, f"{stage}_{i}", CHANNELS[stage], 1)
    x = b.deconv(x, classes, 2, stride=2, weight_filler="msra", name="deconv6_0_0")
    return segmented(b, x, phase, prob=None)


def _initial(parts: Parts, x: str) -> str:
    """Figure 2a of the paper: 13 channels of a convolution beside the 3 of the pooled image."""
    y = parts.conv(x, 13, 3, "conv0_1", bias=True, stride=2, pad=1)
    pooled = parts.b.pool(x, "MAX", 2, stride=2, name="pool0_1")
    x = parts.b.concat(y, pooled, name="concat0_1")
    return parts.activated(parts.norm(x, "0_1", kept=True), "0_1")


def _bottleneck(parts: Parts, x: str, number: str, channels: int, middle: int | str) -> str:
    """Figure 2b of the paper, with a plain, dilated or asymmetric convolution in the middle."""
    inner = channels // 4
    with parts.b.scope(f"bottleneck{number}", prefix=False):
        y = parts.conv(x, inner, 1, f"conv{number}_0")
        y = parts.activated(parts.norm(y, f"{number}_0"), f"{number}_0")
        if middle == "asymmetric":
            y = parts.conv(y, inner, (5, 1), f"conv{number}_1_a", pad=1)
            y = parts.conv(y, inner, (1, 5), f"conv{number}_1", bias=True, pad=1)
        else:
            dilation = middle if middle != 1 else None
            y = parts.conv(y, inner, 3, f"conv{number}_1", bias=True, pad=int(middle), dilation=dilation)
        y = parts.activated(parts.norm(y, f"{number}_1"), f"{number}_1")
        y = parts.norm(parts.conv(y, channels, 1, f"conv{number}_2"), f"{number}_2")
        return parts.added(parts.dropped(y, f"{number}_3"), x, f"{number}_4")


def _narrowing(parts: Parts, x: str, stage: int) -> str:
    """A bottleneck that halves the image, beside a pooling that remembers where the maxima were."""
    number, channels = f"{stage}_0", CHANNELS[stage]
    inner = channels // 4
    with parts.b.scope(f"bottleneck{number}", prefix=False):
        y = parts.conv(x, inner, 2, f"conv{number}_0", stride=2)
        y = parts.activated(parts.norm(y, f"{number}_0"), f"{number}_0")
        y = parts.conv(y, inner, 3, f"conv{number}_1", bias=True, pad=1)
        y = parts.activated(parts.norm(y, f"{number}_1"), f"{number}_1")
        y = parts.dropped(parts.norm(parts.conv(y, channels, 1, f"conv{number}_2"), f"{number}_2"), f"{number}_3")
        pool = f"pool{number}_4"
        parts.b.layer("Pooling", x, name=pool, top=[pool, f"{pool}_mask"], pool="MAX", kernel_size=2, stride=2)
        shortcut = parts.norm(parts.conv(pool, channels, 1, f"conv{number}_4"), f"{number}_4")
        return parts.added(y, shortcut, f"{number}_4")


def _widening(parts: Parts, x: str, stage: int) -> str:
    """A bottleneck that doubles the image, beside an unpooling to where the maxima were."""
    number, channels = f"{stage}_0", CHANNELS[stage]
    inner = channels // 4
    with parts.b.scope(f"bottleneck{number}", prefix=False):
        y = parts.conv(x, inner, 1, f"conv{number}_0")
        y = parts.activated(parts.norm(y, f"{number}_0"), f"{number}_0")
        y = parts.b.deconv(y, inner, 2, stride=2, weight_filler="msra", name=f"deconv{number}_1")
        y = parts.activated(parts.norm(y, f"{number}_1", kept=True), f"{number}_1")
        y = parts.dropped(parts.norm(parts.conv(y, channels, 1, f"conv{number}_2"), f"{number}_2"), f"{number}_3")
        shortcut = parts.norm(parts.conv(x, channels, 1, f"conv{number}_4"), f"{number}_4")
        mask = f"pool{6 - stage}_0_4_mask"
        shortcut = str(parts.b.layer("Upsample", shortcut, mask, name=f"upsample{number}_4", scale=2))
        return parts.added(y, shortcut, f"{number}_4")
