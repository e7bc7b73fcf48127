"""What train/val nets share: data layers, losses and learning rates in the prototxt, and solvers that Caffe takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import protogen
from protogen import NetBuilder, NetError, ProtogenError
from protogen.prototxt.message import Message
from protogen.prototxt.reader import read_solver
from protogen.prototxt.writer import write
from protogen.training import (
    TRAIN_DEFAULTS,
    data_layers,
    is_train,
    losses,
    passes,
    solver,
    with_train_defaults,
)


def data(**options: Any) -> tuple[Message, Message]:
    """The data layers of both phases, as they read back from the prototxt."""
    b = NetBuilder(phase="TRAIN")
    assert data_layers(b, options.pop("size", 8), **options) == "data"
    train, val = protogen.loads(b.build().to_prototxt(), phase="TRAIN").definition.layer
    return train, val


def test_data_layers_preprocess_as_is_usual_for_imagenet() -> None:
    train, val = data(size=224)
    assert [(layer.name, layer.type, layer.top) for layer in (train, val)] == [("data", "Data", ["data", "label"])] * 2
    assert [rule.phase for layer in (train, val) for rule in layer.include] == ["TRAIN", "TEST"]
    for layer in (train, val):
        assert layer.transform_param.crop_size == 224
        assert layer.transform_param.scale == pytest.approx(0.017)
        assert layer.transform_param.mean_value == pytest.approx([103.94, 116.78, 123.68])
        assert layer.data_param.backend == "LMDB"
    assert (train.transform_param.mirror, val.transform_param.mirror) == (True, False)
    assert (train.data_param.source, val.data_param.source) == ("train_lmdb", "val_lmdb")
    assert (train.data_param.batch_size, val.data_param.batch_size) == (64, 32)


def test_data_layers_of_another_data_set() -> None:
    train, val = data(
        size=(28, 28), name="digits", channels=1, mean=(33.3,), scale=1, mirror=False, train="a", val="b", train_batch=7,
        val_batch=9, backend="LEVELDB",
    )  # fmt: skip
    for layer in (train, val):
        assert layer.name == "digits"
        assert sorted(name for name, _ in layer.transform_param.fields()) == ["crop_size", "force_gray", "mean_value"]
        assert layer.transform_param.mean_value == pytest.approx([33.3])
        assert layer.data_param.backend == "LEVELDB"
    assert (train.data_param.source, val.data_param.source) == ("a", "b")
    assert (train.data_param.batch_size, val.data_param.batch_size) == (7, 9)


@pytest.mark.parametrize(("channels", "mean"), [(3, ()), (3, (127.5,)), (3, (1, 2, 3)), (1, ()), (1, (127.5,))])
def test_shapes_of_data_are_known_in_both_phases(channels: int, mean: tuple[float, ...]) -> None:
    """One mean for all channels is written for each: alone, it would stand for grey images."""
    b = NetBuilder(phase="TRAIN")
    data_layers(b, 12, channels=channels, mean=mean, train_batch=4, val_batch=2)
    net = b.build()
    assert net.shapes == {"data": (4, channels, 12, 12), "label": (4,)}
    assert net.at("TEST").shapes == {"data": (2, channels, 12, 12), "label": (2,)}
    if mean:
        assert len(net.layers[0].message.transform_param.mean_value) == channels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (8, 9)}, "crop squares; a train/val net cannot be 8x9"),
        ({"size": 0}, "size must be positive, not 0"),
        ({"channels": 4}, "1 or 3 channels, not 4"),
        ({"channels": 1}, "mean has 3 values for 1 channels"),
        ({"mean": (1, 2)}, "mean has 2 values for 3 channels"),
        ({"train_batch": 0}, "train_batch must be positive"),
        ({"val_batch": -1}, "val_batch must be positive"),
        ({"backend": "HDF5"}, "'HDF5'"),
    ],
)
def test_data_layers_that_caffe_would_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        data(**options)


def scores(classes: int) -> NetBuilder:
    b = NetBuilder(phase="TRAIN")
    b.fc(data_layers(b, 8), classes, name="scores")
    return b


@pytest.mark.parametrize(("classes", "names"), [(10, ["accuracy/top1", "accuracy/top5"]), (4, ["accuracy/top1"])])
def test_losses(classes: int, names: list[str]) -> None:
    b = scores(classes)
    assert losses(b, "scores") == "loss"
    net = b.build()
    assert net.outputs == ["loss"]
    val = net.at("TEST")
    assert val.outputs == ["loss", *names]
    assert [layer.bottoms for layer in val.layers[-1 - len(names) :]] == [["scores", "label"]] * (1 + len(names))
    assert [val.layer(name).message.accuracy_param.top_k for name in names] == [1, 5][: len(names)]


def test_accuracies_of_ones_own() -> None:
    b = scores(10)
    losses(b, "scores", accuracies={"best": None, "three": 3, "all": 11})
    val = b.build().at("TEST")
    assert val.outputs == ["loss", "best", "three"]
    assert "accuracy_param" not in val.layer("best").message


def test_train_defaults_go_over_a_builders_own() -> None:
    own = {"Convolution": {"pad": 1, "param": [{"lr_mult": 7}]}, "BatchNorm": {"eps": 0.5}}
    defaults = with_train_defaults(own)
    assert defaults["Convolution"] == {"pad": 1, **TRAIN_DEFAULTS["Convolution"]}
    assert defaults["BatchNorm"] == {"eps": 0.5}
    assert set(defaults) == {"Convolution", "BatchNorm", "InnerProduct", "Scale"}
    assert own["Convolution"]["param"] == [{"lr_mult": 7}]
    b = NetBuilder(defaults=defaults)
    b.input("data", (1, 3, 8, 8))
    b.fc(b.bn(b.conv(4, 1, name="conv", bias_term=False)), 2, name="fc")
    params = {layer.name: [(spec.lr_mult, spec.decay_mult) for spec in layer.message.param] for layer in b.build().layers}
    assert params["conv"] == [(1, 1)]
    assert params["fc"] == [(1, 1), (2, 0)]
    assert params["conv/scale"] == [(1, 0), (1, 0)]


def test_phases() -> None:
    assert [is_train(phase) for phase in ("TRAIN", "TEST")] == [True, False]
    with pytest.raises(NetError, match="phase must be TRAIN or TEST, not 'train'"):
        is_train("train")


def test_passes_show_every_image() -> None:
    assert [passes(images, 64) for images in (1, 64, 65, 128)] == [1, 1, 2, 2]


def simple(**options: Any) -> Message:
    wanted = {"base_lr": 0.1, "max_iter": 9, "test_iter": 4, "test_interval": 3, "snapshot_prefix": "s", **options}
    return solver("net.prototxt", **wanted)


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        ("fixed", {}),
        ("step", {"gamma": 0.5, "stepsize": 10}),
        ("exp", {"gamma": 0.5}),
        ("inv", {"gamma": 0.5, "power": 0.25}),
        ("multistep", {"gamma": 0.5, "stepvalue": [10, 20]}),
        ("poly", {"power": 2.0}),
        ("sigmoid", {"gamma": 0.5, "stepsize": 10}),
    ],
)
def test_solvers_of_every_policy_read_back(policy: str, settings: dict[str, Any]) -> None:
    made = simple(lr_policy=policy, **settings, iter_size=2, solver_mode="CPU")
    assert {name: getattr(made, name) for name in settings} == settings
    assert (made.lr_policy, made.net, made.test_iter, made.max_iter) == (policy, "net.prototxt", [4], 9)
    assert (made.snapshot, made.iter_size, made.solver_mode) == (3, 2, "CPU")
    assert read_solver(write(made)) == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_policy": "pol"}, "unknown lr_policy 'pol'; did you mean 'poly'"),
        ({"lr_policy": "poly"}, "'poly' needs power"),
        ({"lr_policy": "step", "gamma": 0.1}, "'step' needs stepsize"),
        ({"lr_policy": "step", "gamma": 0.1, "stepsize": 0}, "stepsize must be positive"),
        ({"lr_policy": "exp", "gamma": -0.1}, "gamma must not be negative"),
        ({"gamma": 0.1}, "'fixed' does not read gamma; it reads nothing"),
        ({"lr_policy": "poly", "power": 1, "stepsize": 3}, "'poly' does not read stepsize; it reads power"),
        ({"max_iter": 0}, "max_iter must be positive"),
        ({"test_interval": 0}, "test_interval must be positive"),
        ({"weight_decy": 1}, "unknown field 'weight_decy' in SolverParameter; did you mean 'weight_decay'"),
    ],
)
def test_schedules_that_caffe_would_refuse_or_read_as_zeros(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtogenError, match=message):
        simple(**options)


def test_a_net_of_ones_own_trains() -> None:
    """A few steps downhill on one batch."""
    import torch

    torch.manual_seed(0)
    b = NetBuilder(phase="TRAIN", defaults=with_train_defaults())
    losses(b, b.fc(b.conv_block(data_layers(b, 8), 4, 3), 3, bias_term=True, name="scores"))
    module = b.build().to_torch(seed=1)
    x, label = torch.randn(6, 3, 8, 8), torch.tensor([0.0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = module.loss(x, label).item()
    for _ in range(3):
        optimizer.zero_grad()
        module.loss(x, label).backward()
        optimizer.step()
    assert module.loss(x, label).item() < before


def test_a_solver_is_read_changed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text('net: "a.prototxt" base_lr: 0.1 solver_type: ADAM stepvalue: 10 stepvalue: 20')
    read = protogen.load_solver(path)
    assert (read.net, read.type, read.momentum, list(read.stepvalue)) == ("a.prototxt", "Adam", 0.0, [10, 20])
    protogen.save_solver(read.update({"net": "b.prototxt", "stepvalue": [5]}), path)
    assert 'net: "b.prototxt"' in path.read_text().splitlines()
    assert protogen.load_solver(path) == read
    with pytest.raises(protogen.ProtogenError, match="unknown field 'base_rl' in SolverParameter; did you mean 'base_lr'"):
        read.set("base_rl", 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_rl: 0.1", "solver.prototxt:1:1: unknown field 'base_rl' in SolverParameter; did you mean 'base_lr'"),
        ('layer { name: "a" }', "solver.prototxt: this is a net, not a solver"),
        ("base_lr: fast", "solver.prototxt:1:10: "),
    ],
)
def test_what_is_no_solver_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "solver.prototxt").write_text(text)
    with pytest.raises(protogen.ProtogenError, match=message):
        protogen.load_solver(tmp_path / "solver.prototxt")


def test_only_solvers_are_saved_as_such(tmp_path: Path) -> None:
    for wrong in (Message.of("NetParameter"), {"base_lr": 0.1}):
        with pytest.raises(protogen.ProtogenError, match="a net has save_prototxt"):
            protogen.save_solver(wrong, tmp_path / "x")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
