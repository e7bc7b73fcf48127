"""Parts of train/val nets: data layers of both phases, losses, learning rates of blobs, and the solver's settings.

Models use these for `phase="TRAIN"`; so can your own nets:

>>> import protogen
>>> b = protogen.NetBuilder("Own", phase="TRAIN", defaults=with_train_defaults())
>>> x = b.conv_block(data_layers(b, 64), 8, 3)
>>> losses(b, b.fc(b.global_pool(x), 10, bias_term=True, name="classifier"))
'loss'
>>> b.build().at("TEST").outputs
['loss', 'accuracy/top1', 'accuracy/top5']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import NetError, ProtogenError, did_you_mean
from .files import write_text
from .prototxt.message import Message
from .prototxt.reader import read_solver, read_source
from .prototxt.writer import write

if TYPE_CHECKING:
    from .builder import NetBuilder

PHASES = ("TEST", "TRAIN")
IMAGENET_MEAN = (103.94, 116.78, 123.68)  # blue, green, red
IMAGENET_SCALE = 0.017  # about 1 / standard deviation of ImageNet's pixel values
TRAIN_BATCH, VAL_BATCH = 64, 32
# Data of BVLC's ImageNet models: pixels of 0 to 255, and where Caffe's scripts put the databases.
BVLC_DATA: Mapping[str, Any] = {
    "mean": (104, 117, 123),
    "scale": 1,
    "train": "examples/imagenet/ilsvrc12_train_lmdb",
    "val": "examples/imagenet/ilsvrc12_val_lmdb",
}
TOP_1_AND_5: Mapping[str, int | None] = {"accuracy/top1": 1, "accuracy/top5": 5}

_WEIGHT, _BIAS, _NO_DECAY = {"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}, {"lr_mult": 1, "decay_mult": 0}
# Caffe's convention: biases learn twice as fast; biases and Scale have no weight decay.
TRAIN_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "Convolution": {"param": [_WEIGHT]},
    "InnerProduct": {"param": [_WEIGHT, _BIAS]},
    "Scale": {"param": [_NO_DECAY, _NO_DECAY]},
}
WEIGHT_AND_BIAS = (_WEIGHT, _BIAS)
# The same for nets whose convolutions have biases.
BIASED: Mapping[str, Mapping[str, Any]] = {**TRAIN_DEFAULTS, "Convolution": {"param": WEIGHT_AND_BIAS}}
# Settings each policy reads (caffe/solvers/sgd_solver.cpp, GetLearningRate). Caffe silently takes 0 for a missing one.
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
    """Return whether a model's `phase` is that of a train/val net.

    Raises:
        NetError: `phase` is neither TRAIN nor TEST.
    """
    if phase not in PHASES:
        raise NetError(f"phase must be TRAIN or TEST, not {phase!r}")
    return phase == "TRAIN"


def with_train_defaults(
    defaults: Mapping[str, Mapping[str, Any]] | None = None, train: Mapping[str, Mapping[str, Any]] = TRAIN_DEFAULTS
) -> dict[str, Mapping[str, Any]]:
    """Merge the settings of training into a builder's defaults, type by type; those of training take precedence."""
    own = defaults or {}
    return {kind: {**own.get(kind, {}), **train.get(kind, {})} for kind in {**own, **train}}


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
    """Add a Data layer for each phase, with tops `data` and `label`; values become (x - mean) * scale, by default ImageNet's.

    Both layers crop, so that the blob's shape is known without the data: randomly in TRAIN, the centre in TEST.

    Args:
        b: the builder.
        size: of the crop in pixels; if (height, width), both must be equal.
        name: of both layers.
        channels: 3, or 1 for grey images.
        mean: subtracted from the image: one value per channel, one for all channels, or none.
        scale: factor for the difference.
        mirror: mirror images at random in TRAIN.
        train, val: paths of the databases.
        train_batch, val_batch: images per pass.
        backend: "LMDB" or "LEVELDB".

    Returns:
        The images (batch, channels, size, size).

    Raises:
        NetError: a crop that is not square, or means that do not match the channels.
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
            # Caffe takes a single value to mean grey images.
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
    """Add a SoftmaxWithLoss named "loss", and Accuracy layers for phase TEST; return the loss blob.

    Args:
        b: the builder.
        scores: (N, classes), before any Softmax.
        label: (N,), the correct classes.
        accuracies: top_k of each Accuracy layer by name (None: Caffe's default, 1); layers whose top_k exceeds the number of
            classes are omitted.
    """
    loss = b.softmax_loss(scores, label, name="loss")
    for name, top_k in accuracies.items():
        if top_k is None or top_k <= b.channels(scores):
            b.accuracy(scores, label, name=name, top_k=top_k, include={"phase": "TEST"})
    return loss


def passes(images: int, batch: int) -> int:
    """Return the number of iterations with `batch` images each that cover all `images`.

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
    """Return a SolverParameter: SGD with momentum, and a learning rate schedule whose settings are checked against its policy.

    Args:
        net: path of the train/val prototxt.
        base_lr: the initial learning rate, lr below.
        max_iter: training iterations.
        test_iter: iterations per validation.
        test_interval: iterations between validations.
        snapshot_prefix: path prefix of the snapshots.
        lr_policy: lr at iteration n: "fixed"; "step", lr * gamma ^ floor(n / stepsize); "exp", lr * gamma ^ n; "inv",
            lr * (1 + gamma * n) ^ -power; "multistep", lr * gamma for each stepvalue passed; "poly",
            lr * (1 - n / max_iter) ^ power; "sigmoid", lr / (1 + e ^ (-gamma * (n - stepsize))).
        gamma, power, stepsize, stepvalue: settings of the policy.
        momentum: fraction of the last update added to the next.
        weight_decay: factor of the L2 penalty, times each blob's decay_mult.
        snapshot: iterations between snapshots; by default test_interval.
        display: iterations between log lines.
        solver_mode: "GPU" or "CPU".
        fields: further fields of SolverParameter.

    Raises:
        ProtogenError: an unknown policy, a setting that the policy lacks or does not read, or a number out of range.

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


def imagenet_solver(
    name: str, *, base_lr: float, epochs: int, batch: int = TRAIN_BATCH, val_batch: int = VAL_BATCH,
    step_epochs: int | None = None, **settings: Any,
) -> Callable[..., Message]:  # fmt: skip
    """Return the function that makes a model's solver: a schedule in epochs of the training images, ImageNet's by default.

    Args:
        name: of the model, for the snapshots' names.
        base_lr: the initial learning rate.
        epochs: passes over the training images.
        batch, val_batch: images per pass of the data layers.
        step_epochs: epochs between two drops of the learning rate; it then falls by `gamma`, a tenth by default.
        settings: further arguments of `solver`.

    >>> solve = imagenet_solver("own", base_lr=0.1, epochs=90, batch=256, step_epochs=30)
    >>> step = solve("net.prototxt", images=2560)
    >>> step.lr_policy, step.stepsize, step.max_iter
    ('step', 300, 900)
    """

    def solve(net: str, *, snapshot_prefix: str = name, epochs: int = epochs, images: int = 1281167) -> Message:
        per_epoch = passes(images, batch)
        steps = {"lr_policy": "step", "gamma": 0.1, "stepsize": per_epoch * step_epochs} if step_epochs else {}
        return solver(
            net, base_lr=base_lr, max_iter=per_epoch * epochs, test_iter=passes(50000, val_batch), test_interval=per_epoch,
            test_initialization=False, snapshot_prefix=snapshot_prefix, **{**steps, **settings},
        )  # fmt: skip

    solve.__name__ = solve.__qualname__ = f"{name}_solver"
    solve.__doc__ = f"""Return the SolverParameter for a net of `{name}(phase="TRAIN")`: SGD with momentum.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        epochs: passes over the training images.
        images: number of training images (ImageNet's by default).
    """
    return solve


def load_solver(path: str | Path, strict: bool | None = None) -> Message:
    """Read a solver file ("-": standard input), in today's dialect.

    Args:
        path: the file.
        strict: True rejects fields that Caffe's schema lacks, False keeps them; by default those are rejected that look misspelt.

    Returns:
        The SolverParameter: settings are attributes, with Caffe's defaults where the file has none; `set` and `update` change
        them, checked against the schema.

    Raises:
        ProtogenError: the file cannot be read, or is no solver.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "solver.prototxt")
    >>> save_solver(Message.of("SolverParameter", net="train_val.prototxt", base_lr=0.01, lr_policy="fixed"), path)
    >>> tuned = load_solver(path).update({"net": "finetune.prototxt", "base_lr": 0.001})
    >>> save_solver(tuned, path)
    >>> load_solver(path).net
    'finetune.prototxt'
    """
    text, source = read_source(path)
    return read_solver(text, source, strict)


def save_solver(solver: Message, path: str | Path, templates: str | Path | None = None) -> None:
    """Write a solver to a file, atomically.

    Args:
        solver: a SolverParameter, from `load_solver` or `solver`.
        path: the file to write.
        templates: a folder whose `solver.prototxt.j2` takes precedence over the built-in one.

    Raises:
        ProtogenError: it is no SolverParameter, or the file cannot be written.
    """
    if not isinstance(solver, Message) or solver.descriptor is None or solver.descriptor.name != "SolverParameter":
        raise ProtogenError("save_solver writes what load_solver or protogen.training.solver returns; a net has save_prototxt")
    write_text(path, write(solver, templates))


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
            raise ProtogenError(f"gamma must not be negative, but is {value}")
