"""What train/val nets share: data layers of both phases, losses, learning rates of blobs, and the solver's settings.

A model's file calls these for its `phase="TRAIN"`; so can any net of one's own:

>>> import protogen
>>> b = protogen.NetBuilder("Own", phase="TRAIN", defaults=with_train_defaults())
>>> x = b.conv_block(data_layers(b, 64), 8, 3)
>>> losses(b, b.fc(b.global_pool(x), 10, bias_term=True, name="classifier"))
'loss'
>>> b.build().at("TEST").outputs
['loss', 'accuracy/top1', 'accuracy/top5']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import NetError, ProtogenError, did_you_mean
from .prototxt.message import Message

if TYPE_CHECKING:
    from .builder import NetBuilder

PHASES = ("TEST", "TRAIN")
IMAGENET_MEAN = (103.94, 116.78, 123.68)  # in blue, green, red
IMAGENET_SCALE = 0.017  # about 1 / the standard deviation of ImageNet's values
TRAIN_BATCH, VAL_BATCH = 64, 32
TOP_1_AND_5: Mapping[str, int | None] = {"accuracy/top1": 1, "accuracy/top5": 5}

_WEIGHT, _BIAS, _NO_DECAY = {"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}, {"lr_mult": 1, "decay_mult": 0}
# As is usual in Caffe: biases learn twice as fast, and neither biases nor Scale decay.
TRAIN_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "Convolution": {"param": [_WEIGHT]},
    "InnerProduct": {"param": [_WEIGHT, _BIAS]},
    "Scale": {"param": [_NO_DECAY, _NO_DECAY]},
}
# What each policy reads (caffe/solvers/sgd_solver.cpp, GetLearningRate). Caffe takes 0 for what is left out, in silence.
POLICIES: Mapping[str, Sequence[str]] = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power",),
    "sigmoid": ("gamma", "stepsize"),
}


def is_train(phase: str) -> bool:
    """Whether a model's `phase` asks for a train/val net.

    Raises:
        NetError: it is neither TRAIN nor TEST.
    """
    if phase not in PHASES:
        raise NetError(f"phase must be TRAIN or TEST, not {phase!r}")
    return phase == "TRAIN"


def with_train_defaults(defaults: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Mapping[str, Any]]:
    """A builder's defaults with those of `TRAIN_DEFAULTS` over them, type by type."""
    own = defaults or {}
    return {kind: {**own.get(kind, {}), **TRAIN_DEFAULTS.get(kind, {})} for kind in {**own, **TRAIN_DEFAULTS}}


def data_layers(
    b: NetBuilder,
    size: int | Sequence[int],
    *,
    name: str = "data",
    channels: int = 3,
    mean: Sequence[float] = IMAGENET_MEAN,
    scale: float = IMAGENET_SCALE,
    mirror: bool = True,
    train: str = "train_lmdb",
    val: str = "val_lmdb",
    train_batch: int = TRAIN_BATCH,
    val_batch: int = VAL_BATCH,
    backend: str = "LMDB",
) -> str:
    """A Data layer for each phase, with the tops `data` and `label`; (x - mean) * scale is ImageNet's usual one by default.

    Both crop, so that the blob's shape is known without the data: in TRAIN at random, in TEST in the middle.

    Args:
        b: the builder.
        size: of the crop, in pixels, or (height, width), which must be equal.
        name: of both layers.
        channels: 3, or 1 for grey images.
        mean: what is taken off: a value per channel, one for all, or none.
        scale: what the difference is multiplied with.
        mirror: whether half of the images of TRAIN are mirrored.
        train, val: paths of the data bases.
        train_batch, val_batch: images per pass.
        backend: "LMDB" or "LEVELDB".

    Returns:
        The images (batch, channels, size, size).

    Raises:
        NetError: a crop that is no square, or means that do not fit the channels.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise NetError(f"Caffe's data layers crop squares; a train/val net cannot be {height}x{width}")
    if channels not in (1, 3):
        raise NetError(f"Caffe's data layers read images of 1 or 3 channels, not {channels}")
    if len(mean) not in (0, 1, channels):
        raise NetError(f"mean has {len(mean)} values for {channels} channels; give one for each, or one for all")
    for what, value in (("size", height), ("train_batch", train_batch), ("val_batch", val_batch)):
        if value < 1:
            raise NetError(f"{what} must be positive, not {value}")
    for phase, source, batch in (("TRAIN", train, train_batch), ("TEST", val, val_batch)):
        transform = {
            "scale": scale if scale != 1 else None,
            "mirror": phase == "TRAIN" if mirror else None,
            "crop_size": height,
            # A single value would be read as grey images.
            "mean_value": list(mean) * channels if len(mean) == 1 else list(mean),
            "force_gray": True if channels == 1 else None,
        }
        b.layer(
            "Data", name=name, top=["data", "label"], include={"phase": phase},
            transform_param={field: value for field, value in transform.items() if value is not None},
            data_param={"source": source, "batch_size": batch, "backend": backend},
        )  # fmt: skip
    return "data"


def losses(b: NetBuilder, scores: str, label: str = "label", *, accuracies: Mapping[str, int | None] = TOP_1_AND_5) -> str:
    """SoftmaxWithLoss named "loss", and Accuracy layers for the phase TEST; returns the loss.

    Args:
        b: the builder.
        scores: (N, classes), before any Softmax.
        label: (N,), the right classes.
        accuracies: names of Accuracy layers and how many best scores count (None: Caffe's default, 1); those of more than there
            are classes are left out.
    """
    loss = b.softmax_loss(scores, label, name="loss")
    for name, top_k in accuracies.items():
        if top_k is None or top_k <= b.channels(scores):
            b.accuracy(scores, label, name=name, top_k=top_k, include={"phase": "TEST"})
    return loss


def passes(images: int, batch: int) -> int:
    """Iterations of `batch` images that show each of `images` at least once.

    >>> passes(50000, 32)
    1563
    """
    return -(-images // batch)


def solver(
    net: str,
    *,
    base_lr: float,
    max_iter: int,
    test_iter: int,
    test_interval: int,
    snapshot_prefix: str,
    lr_policy: str = "fixed",
    gamma: float | None = None,
    power: float | None = None,
    stepsize: int | None = None,
    stepvalue: Sequence[int] | None = None,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    snapshot: int | None = None,
    display: int = 100,
    solver_mode: str = "GPU",
    **fields: Any,
) -> Message:
    """A SolverParameter: SGD with momentum, and a schedule whose settings are checked against its policy.

    Args:
        net: path of the train/val prototxt.
        base_lr: the learning rate, lr, at the start.
        max_iter: iterations of the training.
        test_iter: iterations of one validation.
        test_interval: iterations between validations.
        snapshot_prefix: path snapshots begin with.
        lr_policy: lr after n iterations: "fixed"; "step", lr * gamma ^ floor(n / stepsize); "exp", lr * gamma ^ n; "inv",
            lr * (1 + gamma * n) ^ -power; "multistep", lr * gamma for each of stepvalue that is passed; "poly",
            lr * (1 - n / max_iter) ^ power; "sigmoid", lr / (1 + e ^ (-gamma * (n - stepsize))).
        gamma, power, stepsize, stepvalue: the policy's.
        momentum: share of the last step that goes into the next.
        weight_decay: L2, times each blob's decay_mult.
        snapshot: iterations between snapshots; by default as between validations.
        display: iterations between lines of the log.
        solver_mode: "GPU" or "CPU".
        fields: further fields of SolverParameter.

    Raises:
        ProtogenError: an unknown policy, one that lacks a setting or has one it does not read, a number that cannot be.

    >>> step = solver("net.prototxt", base_lr=0.1, max_iter=90, test_iter=5, test_interval=30, snapshot_prefix="net",
    ...               lr_policy="step", gamma=0.1, stepsize=30)
    >>> step.lr_policy, step.stepsize, step.snapshot
    ('step', 30, 30)
    """
    schedule = {"gamma": gamma, "power": power, "stepsize": stepsize, "stepvalue": stepvalue}
    settings = {name: value for name, value in schedule.items() if value is not None}
    _check_schedule(lr_policy, settings)
    for what, number in (("max_iter", max_iter), ("test_iter", test_iter), ("test_interval", test_interval)):
        if number < 1:
            raise ProtogenError(f"{what} must be positive, not {number}")
    return Message.of(
        "SolverParameter", net=net, test_iter=[test_iter], test_interval=test_interval, base_lr=base_lr, lr_policy=lr_policy,
        **settings, max_iter=max_iter, momentum=momentum, weight_decay=weight_decay, display=display,
        snapshot=test_interval if snapshot is None else snapshot, snapshot_prefix=snapshot_prefix, solver_mode=solver_mode,
        **fields,
    )  # fmt: skip


def _check_schedule(policy: str, settings: Mapping[str, Any]) -> None:
    if policy not in POLICIES:
        raise ProtogenError(f"unknown lr_policy {policy!r}{did_you_mean(policy, POLICIES)} (known: {', '.join(POLICIES)})")
    for name in POLICIES[policy]:
        if name not in settings:
            raise ProtogenError(f"lr_policy {policy!r} needs {name}")
    for name, value in settings.items():
        if name not in POLICIES[policy]:
            raise ProtogenError(f"lr_policy {policy!r} does not read {name}; it reads {', '.join(POLICIES[policy]) or 'nothing'}")
        if name == "stepsize" and value < 1:
            raise ProtogenError(f"stepsize must be positive, not {value}")
        if name == "gamma" and value < 0:
            raise ProtogenError(f"gamma must not be negative, as {value} is")
