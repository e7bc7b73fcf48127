"""State dicts of PyTorch: read as they are written, refused when they are anything else."""

from __future__ import annotations

import io
import json
import pickle
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ProtogenWarning, WeightsError
from protogen.weights import state_dict

TEXT = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv.1" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3
  weight_filler { type: "xavier" } bias_filler { type: "gaussian" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "loss" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true filler { type: "gaussian" } } }
layer { name: "module" type: "PReLU" bottom: "c" top: "c" }
layer { name: "fc" type: "InnerProduct" bottom: "c" top: "y"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""
SHARED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "z" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "a" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 } }
"""


@contextmanager
def bounded(megabytes: float = 8, seconds: float = 10) -> Iterator[None]:
    begun = time.process_time()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * (1 << 20)
    assert time.process_time() - begun < seconds


def small() -> protogen.Net:
    return protogen.loads(TEXT)


def same(a: protogen.Net, b: protogen.Net) -> bool:
    return list(a.weights) == list(b.weights) and all(
        one.tobytes() == other.tobytes() for layer in a.weights for one, other in zip(a.weights[layer], b.weights[layer])
    )


def trained() -> tuple[protogen.Net, dict[str, torch.Tensor]]:
    net = small().fill(5)
    return net, net.to_torch().state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
def test_round_trip_bit_for_bit(tmp_path: Path, prefix: str, ending: str) -> None:
    net, state = trained()
    state = {prefix + key: value for key, value in state.items()}
    path = tmp_path / f"a{ending}"
    if ending == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)
    other = small()
    report = other.weights.load(path)
    assert same(net, other)
    assert not report.unused
    assert not report.without_weights


def test_module_trained_in_torch_goes_back_to_caffe(tmp_path: Path) -> None:
    net = small().fill()
    module = net.to_torch()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module(torch.randn(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    torch.save({"epoch": 3, "state_dict": module.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pth")
    other = small()
    other.weights.load(tmp_path / "a.pth")
    other.save_caffemodel(tmp_path / "a.caffemodel")
    read = small()
    read.weights.load(tmp_path / "a.caffemodel")
    for layer in net.weights:
        for stored, live in zip(read.weights[layer], module.caffe_params(layer)):
            assert stored.tobytes() == live.detach().numpy().tobytes()
    assert not same(net, read)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    net, state = trained()
    torch.save(state, tmp_path / "a.pth", pickle_protocol=protocol)
    other = small()
    other.weights.load(tmp_path / "a.pth")
    assert same(net, other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_other_types_become_float32(tmp_path: Path, dtype: torch.dtype, ending: str) -> None:
    state = {key: (100 * value).to(dtype) for key, value in trained()[1].items()}
    path = tmp_path / f"a{ending}"
    if ending == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    net = small()
    net.weights.load(path)
    np.testing.assert_array_equal(net.weights["fc"][0], state["fc.weight"].float().numpy())


def test_strides_and_offsets(tmp_path: Path) -> None:
    state = trained()[1]
    weight = state["fc.weight"]
    wide = torch.randn(weight.shape[1], 2 * weight.shape[0])
    state["fc.weight"] = wide.t()[3 : 3 + weight.shape[0]]
    state["conv_1.weight"] = state["conv_1.weight"].to(memory_format=torch.channels_last)
    torch.save(state, tmp_path / "a.pth")
    net = small()
    net.weights.load(tmp_path / "a.pth")
    np.testing.assert_array_equal(net.weights["fc"][0], state["fc.weight"].numpy())
    net.save_caffemodel(tmp_path / "a.caffemodel")
    other = small()
    other.weights.load(tmp_path / "a.caffemodel")
    assert same(net, other)


@pytest.mark.parametrize("dropped", [[], ["a.weight", "a.bias"], ["z.weight", "z.bias"]])
def test_shared_blobs_need_one_key(tmp_path: Path, dropped: list[str]) -> None:
    net = protogen.loads(SHARED).fill()
    state = {key: value for key, value in net.to_torch().state_dict().items() if key not in dropped}
    torch.save(state, tmp_path / "a.pth")
    other = protogen.loads(SHARED)
    other.weights.load(tmp_path / "a.pth")
    assert same(net, other)


def test_shared_blobs_that_differ_are_refused(tmp_path: Path) -> None:
    state = protogen.loads(SHARED).fill().to_torch().state_dict()
    torch.save({**state, "a.weight": state["a.weight"] + 1}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"'z\.weight' and 'a\.weight' are the same shared blob"):
        protogen.loads(SHARED).weights.load(tmp_path / "a.pth")


def test_missing_and_unexpected_keys_are_named(tmp_path: Path) -> None:
    state = trained()[1]
    without = {key: value for key, value in state.items() if key != "fc.bias"}
    torch.save(without, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth: keys missing: 'fc\.bias'$"):
        small().weights.load(tmp_path / "a.pth")
    whole_layer = {key: value for key, value in state.items() if not key.startswith("fc.")}
    torch.save({**whole_layer, "extra.weight": torch.ones(1)}, tmp_path / "a.pth")
    net = small()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = net.weights.load(tmp_path / "a.pth")
    assert (report.without_weights, report.unused) == (["fc"], ["extra.weight"])
    texts = [str(warning.message) for warning in caught if warning.category is ProtogenWarning]
    assert any("'fc'" in text for text in texts)
    assert any("'extra.weight'" in text for text in texts)


def test_wrong_shapes_are_all_named_and_nothing_is_taken(tmp_path: Path) -> None:
    state = trained()[1]
    torch.save({**state, "fc.bias": torch.ones(6), "conv_1.bias": torch.ones(2)}, tmp_path / "a.pth")
    net = small()
    with pytest.raises(WeightsError) as error:
        net.weights.load(tmp_path / "a.pth")
    assert "layer 'fc', blob 1: the net's shape is (5,), the weights' (6,)" in str(error.value)
    assert "layer 'conv.1', blob 1: the net's shape is (4,), the weights' (2,)" in str(error.value)
    assert len(net.weights) == 0


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), r"holds a '\w+\.print'"),
        ({"a": bytearray(10)}, "not only tensors|opcode"),
        ({"a": 1}, "no dictionary of tensors"),
        ([torch.ones(1)], "no dictionary of tensors"),
        (torch.nn.Linear(2, 2), "holds a 'torch.nn.modules.linear.Linear'"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=message):
        small().weights.load(tmp_path / "a.pth")
    assert not capsys.readouterr().out


def test_old_pickles_and_programs_are_told(tmp_path: Path) -> None:
    torch.save(trained()[1], tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"before 1\.6"):
        small().weights.load(tmp_path / "a.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(tmp_path / "b.pt"))
    with pytest.raises(WeightsError, match="TorchScript"):
        small().weights.load(tmp_path / "b.pt")


def archive(path: Path, pickled: bytes, data: bytes = bytes(4), compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/data/0", data)
    return path


class Claim:
    """Pickles as a tensor of any shape over storage 0."""

    def __init__(self, shape: Any, strides: Any, offset: Any = 0) -> None:
        self.arguments = (shape, strides, offset)


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", 1) if obj == "STORAGE" else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Claim):
            shape, strides, offset = obj.arguments
            return torch._utils._rebuild_tensor_v2, ("STORAGE", offset, shape, strides, False, None)
        return NotImplemented


def pickled(content: Any) -> bytes:
    out = io.BytesIO()
    Pickler(out, 2).dump(content)
    return out.getvalue()


def test_the_archive_maker_makes_sound_ones(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pth", pickled({"x": Claim((1,), (1,))}), struct.pack("<f", 2))
    assert state_dict.read(path)["x"].tolist() == [2]


@pytest.mark.parametrize(
    "claim",
    [
        Claim((1 << 40,), (1,)),
        Claim((1 << 40,), (0,)),
        Claim((1 << 20, 1 << 20), (0, 0)),
        Claim((2,), (1,)),
        Claim((1,), (1,), 1),
        Claim((1,), (1,), -1),
        Claim((1,), (-1,)),
        Claim((-1,), (1,)),
        Claim((1, 1), (1,)),
        Claim((1 << 2000,) * 3, (0,) * 3),
        Claim((1,) * 100_000, (1,) * 100_000),
        Claim((1 << 70, 0), (1, 1)),
        Claim([1], (1,)),
        Claim((1.0,), (1,)),
        Claim((1,), (1,), "0"),
    ],
)
def test_tensors_that_claim_too_much(tmp_path: Path, claim: Claim) -> None:
    path = archive(tmp_path / "a.pth", pickled({"x": claim}))
    with bounded(32), pytest.raises(WeightsError):
        state_dict.read(path)


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",  # BYTEARRAY8
        b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFFF) + b".",  # LONG_BINPUT: a memo of 2^31 entries
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02" + b"(" * 100_000,
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
        b"\x80\x02X\x01\x00\x00\x00OX\x01\x00\x00\x000X\x01\x00\x00\x000K\x01tQ.",
        b"",
        b".",
        b"\x80\x02N.",
    ],
)
def test_pickle_bombs(tmp_path: Path, code: bytes) -> None:
    path = archive(tmp_path / "a.pth", code)
    with bounded(64), pytest.raises(WeightsError):
        state_dict.read(path)


def test_zip_bombs(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pth", pickled({}), bytes(1 << 28), zipfile.ZIP_DEFLATED)
    with bounded(), pytest.raises(WeightsError, match="compressed"):
        state_dict.read(path)
    # Entries that overlap: each of them is as long as the file.
    raw = bytearray(archive(tmp_path / "b.pth", pickled({"x": Claim((1,), (1,))}), bytes(1000)).read_bytes())
    for signature, offset in ((b"PK\x01\x02", 20), (b"PK\x03\x04", 18)):
        at = 0
        while (at := raw.find(signature, at)) >= 0:
            raw[at + offset : at + offset + 8] = struct.pack("<II", 900, 900)
            at += 4
    (tmp_path / "b.pth").write_bytes(raw)
    with bounded(), pytest.raises(WeightsError):
        state_dict.read(tmp_path / "b.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_damage_is_an_error_or_harmless(tmp_path: Path, ending: str) -> None:
    state = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.ones(2)}
    path = tmp_path / f"a{ending}"
    if ending == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    with bounded(64, 60):
        for i in range(400):
            damaged = bytearray(whole[: rng.integers(9, len(whole))] if i % 2 else whole)
            for _ in range(rng.integers(1, 4)):
                damaged[rng.integers(8, len(damaged))] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                arrays = state_dict.read(path)
            except WeightsError:
                continue
            assert sum(array.nbytes for array in arrays.values()) <= 2 * len(whole)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]},
        {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32"},
        [],
        None,
    ],
)
def test_safetensors_that_lie(tmp_path: Path, entry: Any) -> None:
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with bounded(), pytest.raises(WeightsError, match="damaged safetensors"):
        state_dict.read(tmp_path / "a.safetensors")


def test_deep_json(tmp_path: Path) -> None:
    header = b'{"x":' + b"[" * 200_000
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(WeightsError):
        state_dict.read(tmp_path / "a.safetensors")
