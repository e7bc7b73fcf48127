"""PyTorch's files of a net: exported programs and state dicts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

import protogen
from protogen import NetBuilder, ProtogenWarning
from protogen.errors import ConversionError
from tests.nets import SSD
from tests.targets.nets import TEXT
from tests.targets.torch.nets import assert_alike, image, small_net


@pytest.mark.parametrize("fold", [False, True], ids=["as it is", "folded"])
def test_export(fold: bool) -> None:
    net = small_net()
    module = net.to_torch(fold=fold)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module, (image(net),), dynamic_shapes=(({0: batch},),) if fold else None)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    assert_alike(again(image(net)), module(image(net)))
    if fold:
        assert_alike(again(image(net, 7)), module(image(net, 7)))


def test_state_dict_saved_and_loaded() -> None:
    net = small_net()
    module = net.to_torch()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    blank = protogen.loads(net.to_prototxt()).to_torch(seed=5)
    assert not torch.equal(blank(image(net))[0], module(image(net))[0])
    blank.load_state_dict(torch.load(file, weights_only=True))
    assert_alike(blank(image(net)), module(image(net)), 0)


NAMES = [
    *('quo"ted', "com,ma", "semi;colon", "back\\slash", "(", ")", "[", "]", "line\nbreak", "nul\x00", "\x1b[31m", "half\udcff"),
    *("None", "def", "class", "True", "self", "forward", "a/b", "a b", "it's", "{x}", "#", "名前", "a.b", "a_b", "__init__"),
    'x"), open("pwned", "w"), getattr(self, "y',
    "x'), open('pwned', 'w'), ('y",
    'x"\nopen("pwned", "w")\n"',
    """x'''\nopen("pwned", "w")\n'''""",
]


def test_names_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported program is Python code with the submodules' names in it: these must not become statements of it."""
    monkeypatch.chdir(tmp_path)
    b = NetBuilder()
    x = b.input("data", (2, 3, 4, 4))
    for name in NAMES:
        x = b.conv(x, 3, 1, name=name)
    net = b.build().fill(1)
    module = net.to_torch()
    assert list(module.module_names) == NAMES
    assert len(set(module.module_names.values())) == len(NAMES)
    expected = module(image(net))
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (image(net),)), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    torch.testing.assert_close(loaded(image(net)), expected)
    assert list(tmp_path.iterdir()) == []
    torch.save(module.state_dict(), "net.pth")
    again = protogen.loads(net.to_prototxt(), "net.pth")
    assert all((again.weights[name][0] == net.weights[name][0]).all() for name in NAMES)


def test_a_batch_that_cannot_be_left_open_is_refused_for_an_exported_program(tmp_path: Path) -> None:
    fixed = protogen.loads(
        TEXT + 'layer { name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: 8 } } }'
    )
    with pytest.raises(ConversionError, match=r"the batch cannot be dynamic \(--dynamic-batch\)"):
        fixed.save(tmp_path / "net.pt2", dynamic_batch=True)


@pytest.mark.parametrize("ending", [".pt2", ".pth"])
def test_without_postprocessing_an_ssd_ends_in_its_heads(tmp_path: Path, ending: str) -> None:
    net = protogen.loads(SSD).fill(1)
    net.save(tmp_path / f"heads{ending}", postprocess=False)
    if ending == ".pth":
        assert torch.load(tmp_path / "heads.pth", weights_only=True).keys() == net.to_torch().state_dict().keys()
        return
    x = image(net, 1)
    blobs = net.to_torch().blobs(x)
    assert_alike(
        torch.export.load(tmp_path / "heads.pt2").module()(x), [blobs[name] for name in ("loc_flat", "conf_flat", "prior")]
    )


def test_a_layer_that_cannot_be_exported_is_named_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ConversionError, match=r"layer 'detection_out' \(DetectionOutput\): torch.export .*--no-postprocess"
    ) as error:
        protogen.loads(SSD).save(tmp_path / "net.pt2")
    assert (len(error.value.lines), capfd.readouterr(), list(tmp_path.iterdir())) == (1, ("", ""), [])


def test_an_own_layer_that_cannot_be_exported_is_told_in_one_line(tmp_path: Path) -> None:
    @protogen.register("ByData")
    class ByData(protogen.LayerType):
        def setup(self) -> None:
            self.tops = [self.bottoms[0]]

        def forward(self, x: torch.Tensor, *, blobs: object, training: bool) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x

    net = protogen.loads(TEXT + 'layer { name: "own" type: "ByData" bottom: "conv" top: "own" }')
    with pytest.raises(ConversionError, match=r"^torch\.export cannot follow this net: .*data-dependent") as error:
        net.save(tmp_path / "net.pt2")
    assert (len(error.value.lines), list(tmp_path.iterdir())) == (1, [])


def test_nothing_to_cut_off_is_told(tmp_path: Path) -> None:
    with pytest.warns(ProtogenWarning, match="no postprocessing to cut off"):
        protogen.loads(TEXT).save(tmp_path / "net.pth", postprocess=False)
