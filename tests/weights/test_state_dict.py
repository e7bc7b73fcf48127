"""State dicts of PyTorch: read as they are written, refused when they are anything else."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protogen.errors import WeightsError
from protogen.weights import state_dict
from tests.bounds import bounded
from tests.running import same_weights
from tests.weights.trained import small, trained


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
    assert same_weights(net, other)
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
    assert not same_weights(net, read)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    net, state = trained()
    torch.save(state, tmp_path / "a.pth", pickle_protocol=protocol)
    other = small()
    other.weights.load(tmp_path / "a.pth")
    assert same_weights(net, other)


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
    assert same_weights(net, other)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), r"contains a '\w+\.print'"),
        ({"a": bytearray(10)}, "not only tensors|opcode"),
        ({"a": 1}, "no dictionary of tensors"),
        ([torch.ones(1)], "no dictionary of tensors"),
        (torch.nn.Linear(2, 2), "contains a 'torch.nn.modules.linear.Linear'"),
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
