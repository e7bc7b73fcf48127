"""Matching by order and shape: what fits, what is refused by name, and pairings that are known."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import protogen
from protogen import NetBuilder, ProtogenNote, WeightsError
from protogen.graph import by_order
from tests.running import same_weights


class Chain(nn.Module):
    """Convolution, BatchNorm, PReLU, pooling, and a linear layer, which the net has as a 4x4 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.PReLU(4))
        self.head = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x: Any) -> Any:
        return self.head(nn.functional.max_pool2d(self.stem(x), 2).flatten(1))


def chain(*, as_conv: bool = True) -> protogen.Net:
    b = NetBuilder("Chain")
    x = b.conv_block(b.input("data", (2, 3, 8, 8)), 4, 3, relu=False, name="first")
    x = b.pool(b.prelu(x), "MAX", 2, stride=2)
    _ = b.conv(x, 5, 4, name="last") if as_conv else b.fc(x, 5, name="last")
    return b.build()


def saved(module: nn.Module, path: Path) -> Path:
    for key, value in module.state_dict().items():
        if key.endswith(("running_var", "weight")):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(0, 0.3)
    torch.save(module.eval().state_dict(), path)
    return path


def loaded(net: protogen.Net, path: Path) -> str:
    """Load the weights; returns the note."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.weights.load(path)
    (note,) = [warning for warning in caught if warning.category is ProtogenNote]
    return str(note.message)


@pytest.mark.parametrize("as_conv", [True, False])
def test_a_chain_gives_the_modules_numbers_and_a_note(tmp_path: Path, as_conv: bool) -> None:
    module, net = Chain(), chain(as_conv=as_conv)
    note = loaded(net, saved(module, tmp_path / "a.pth"))
    assert "names are not this net's" in note
    assert "'stem.0' is 'first', ..., 'head' is 'last'" in note
    assert "red, green, blue" in note
    assert "protogen build NAME --help" in note
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(net.to_torch().eval()(x).flatten(1), module(x), atol=1e-5)
    assert float(net.weights["first/bn"][2][0]) == 1, "PyTorch's statistics are not sums"


def test_a_wrapped_module_and_half_precision_fit_as_well(tmp_path: Path) -> None:
    module = Chain()
    saved(module, tmp_path / "a.pth")
    torch.save({f"module.{key}": value.half() for key, value in module.state_dict().items()}, tmp_path / "half.pth")
    nets = chain(), chain()
    for net, name in zip(nets, ("a.pth", "half.pth")):
        loaded(net, tmp_path / name)
    for layer, blobs in nets[0].weights.items():
        for one, other in zip(blobs, nets[1].weights[layer]):
            np.testing.assert_allclose(one, other, rtol=1e-3)


def refusal(net: protogen.Net, state: dict[str, Any], tmp_path: Path) -> str:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError) as error:
        net.weights.load(tmp_path / "a.pth")
    assert len(net.weights) == 0, "nothing is taken"
    return str(error.value)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = Chain().state_dict()
    without = {key: value for key, value in state.items() if not key.startswith("head")}
    assert "the file has 3 modules with weights and the net 4 layers; 'last' is left over" in refusal(chain(), without, tmp_path)
    more = {**state, "extra.weight": torch.ones(2, 2)}
    assert "the file has 5 modules with weights and the net 4 layers; 'extra' is left over" in refusal(chain(), more, tmp_path)
    wide = {**state, "stem.0.weight": torch.ones(4, 3, 5, 5)}
    text = "where the net has layer 'first' (Convolution) with weight 4x3x3x3, the file has 'stem.0' with weight 4x3x5x5"
    assert text in refusal(chain(), wide, tmp_path)
    other = {**state, "scale": torch.ones(4)}
    assert "'.scale' is no tensor of a convolution" in refusal(chain(), other, tmp_path)


def test_a_bias_that_one_side_lacks_is_refused(tmp_path: Path) -> None:
    state = {key: value for key, value in Chain().state_dict().items() if key != "head.bias"}
    assert "with weight 5x4x4x4, bias 5, the file has 'head' with weight 5x64" in refusal(chain(), state, tmp_path)


def test_layers_that_pytorch_lacks_are_refused(tmp_path: Path) -> None:
    b = NetBuilder()
    x = b.conv(b.input("data", (1, 3, 8, 8)), 4, 1, name="a")
    b.layer("Normalize", x, name="norm", norm_param={})
    assert "layer 'norm' (Normalize) has weights for which PyTorch has no module" in refusal(
        b.build(), {"x.weight": torch.ones(4, 3, 1, 1)}, tmp_path
    )


class Branches(nn.Module):
    def __init__(self, second: int = 4) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, second, 1)


def branches(second: int = 4) -> protogen.Net:
    b = NetBuilder()
    x = b.input("data", (1, 3, 8, 8))
    b.concat(b.conv(x, 4, 1, name="one"), b.conv(x, second, 1, name="two"))
    return b.build()


def test_twins_side_by_side_are_refused_by_name(tmp_path: Path) -> None:
    message = refusal(branches(), Branches().state_dict(), tmp_path)
    assert "layers 'one' and 'two' lie side by side and have equal shapes" in message
    assert "which of 'left' and 'right' is which" in message


def test_brothers_of_other_shapes_are_matched(tmp_path: Path) -> None:
    module, net = Branches(6), branches(6)
    loaded(net, saved(module, tmp_path / "a.pth"))
    np.testing.assert_array_equal(net.weights["two"][0], module.right.weight.detach())


def test_twins_one_after_the_other_are_matched(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
    b = NetBuilder()
    b.conv(b.relu(b.conv(b.input("data", (1, 3, 8, 8)), 3, 1, name="a")), 3, 1, name="z")
    net = b.build()
    loaded(net, saved(module, tmp_path / "a.pth"))
    np.testing.assert_array_equal(net.weights["z"][0], module[2].weight.detach())


def test_a_pairing_that_is_known_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, net = Branches(), branches()
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    pairing = by_order.pairing_of(state, net.ops)
    monkeypatch.setattr(by_order, "_proven", lambda: {pairing.digest: "ours"})
    loaded(net, saved(module, tmp_path / "a.pth"))
    np.testing.assert_array_equal(net.weights["one"][0], module.left.weight.detach())


def test_a_name_in_another_place_is_refused(tmp_path: Path) -> None:
    """'two' is a layer's name, but the tensor stands where layer 'one' does."""
    b = NetBuilder()
    x = b.input("data", (1, 3, 8, 8))
    for name, num_output in (("one", 4), ("two", 6), ("three", 8)):
        x = b.conv(x, num_output, 1, bias_term=False, name=name)
    shapes = {"two": (4, 3), "b": (6, 4), "c": (8, 6)}
    state = {f"{name}.weight": torch.ones(*shape, 1, 1) for name, shape in shapes.items()}
    assert "'two.weight' has the name of layer 'two' and the place of 'one'" in refusal(b.build(), state, tmp_path)


def test_most_names_settle_it(tmp_path: Path) -> None:
    """Two of three layers have names: the third keeps its filler, as before, whatever else is in the file."""
    net = chain()
    state = {f"{name}.{key}": torch.ones(5) for name in ("x", "y", "z") for key in ("a", "b", "c")}
    own = {key: value for key, value in chain().fill().to_torch().state_dict().items() if not key.startswith("last")}
    torch.save({**state, **own}, tmp_path / "a.pth")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = net.weights.load(tmp_path / "a.pth")
    assert report.without_weights == ["last"]
    assert len(report.unused) == 9
    assert len(caught) == 2


def test_classifiers_halfway_are_left_out_and_named(tmp_path: Path) -> None:
    module, net = Branches(6), branches(6)
    saved(module, tmp_path / "a.pth")
    torch.save({**torch.load(tmp_path / "a.pth"), "AuxLogits.fc.weight": torch.ones(2, 2)}, tmp_path / "b.pth")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = net.weights.load(tmp_path / "b.pth")
    assert report.unused == ["AuxLogits.fc.weight"]
    assert any(re.search("keys that the net does not have: 'AuxLogits.fc.weight'", str(each.message)) for each in caught)


def test_names_come_first(tmp_path: Path) -> None:
    """A state dict of the net's own module is matched by name, in whatever order its keys are."""
    net = branches().fill()
    state = net.to_torch().state_dict()
    torch.save(dict(reversed(state.items())), tmp_path / "a.pth")
    other = branches()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.weights.load(tmp_path / "a.pth")
    assert same_weights(net, other)
