"""The table of numbers: it holds what the forks' schemas say, and each layer type's parameters are known for its own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from protogen.layers.registry import layer_types
from protogen.schema import message_type
from protogen.weights.numbers import all_forks, belongs, enum_meanings, field_meanings
from tests.commands import ROOT
from tests.corpus import REFERENCE, needs_reference
from tests.weights.forks import table

# The collected facts' names of forks, and the table's.
FORKS = {
    "bvlc": "BVLC/caffe", "ssd": "weiliu89/caffe", "nvidia": "NVIDIA/caffe", "intel": "intel/caffe",
    "happynear": "happynear/caffe-windows", "mobilenet-yolo": "eric612/MobileNet-YOLO", "pspnet": "hszhao/PSPNet",
    "flownet2": "lmb-freiburg/flownet2",
}  # fmt: skip


@needs_reference
@pytest.mark.parametrize("fork", list(FORKS))
def test_numbers_mean_what_the_forks_schemas_say(fork: str) -> None:
    facts = json.loads((Path(REFERENCE) / "caffe_schema.json").read_text())[fork]["messages"]
    index = table()["forks"].index(FORKS[fork])
    compared = 0
    for message in (
        "LayerParameter",
        "ConvolutionParameter",
        "PoolingParameter",
        "BatchNormParameter",
        "TransformationParameter",
    ):
        for name, (number, *_) in facts.get(message, {}).items():
            meanings = [meaning for meaning in field_meanings(message, number) if index in meaning.forks]
            assert [meaning.name for meaning in meanings] == [name], (message, number)
            compared += 1
    assert compared


def test_an_undisputed_number_has_one_meaning_in_all_forks() -> None:
    (meaning,) = field_meanings("ConvolutionParameter", 4)
    assert meaning.name == "kernel_size" and meaning.forks == all_forks()
    assert not field_meanings("ConvolutionParameter", 4999)
    assert [meaning.name for meaning in enum_meanings(message_type("PoolingParameter").fields["pool"], 1)] == ["AVE"]


def test_numbers_that_caffe_proto_gave_itself_have_no_meaning_in_files() -> None:
    own = [(name, f.number) for name in ("LayerParameter", "PoolingParameter") for f in message_type(name).fields.values()
           if f.number >= 5000]  # fmt: skip
    assert own
    disputed = {(name, int(number)) for name, numbers in table()["fields"].items() for number in numbers}
    assert all(not field_meanings(*pair) for pair in own if pair not in disputed)


def test_parameters_of_layer_types_belong_to_them() -> None:
    """Of two `foo_param` of one number, a layer has the one of its type: so each type must know its own."""
    strange = []
    for kind, layer_class in layer_types().items():
        name = layer_class.param_name
        disputed = any(name in names for names in table()["fields"]["LayerParameter"].values())
        has_fields = name in {path.partition(".")[0] for path in layer_class.field_paths()[0]}  # BilinearInterpolation reads none
        if name is not None and disputed and has_fields and not belongs(name, kind):
            strange.append((kind, name))
    assert not strange


FORK = """syntax = "proto2"; package caffe;
message NetParameter { optional string name = 1; repeated LayerParameter layer = 100; }
message LayerParameter { optional string name = 1; optional MineParameter mine_param = 106; optional float wide = 9000; }
message MineParameter { optional int32 a = 1; }
"""


def test_a_fork_is_added_by_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new number is its own, and one that it uses otherwise is disputed from then on."""
    pytest.importorskip("grpc_tools")
    spec = importlib.util.spec_from_file_location("numbers_tool", ROOT / "proto" / "numbers.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(str(ROOT / "proto"))
    spec.loader.exec_module(tool)
    (tmp_path / "fork.proto").write_text(FORK)
    before = json.loads(tool.NUMBERS.read_bytes())
    made = tool.Table(anew=False)
    made.add("some/fork", tmp_path / "fork.proto")
    after = json.loads(made.content())
    new = len(before["forks"])
    assert after["forks"] == [*before["forks"], "some/fork"]
    layer = after["fields"]["LayerParameter"]
    assert layer.pop("106") == {"convolution_param": list(range(new)), "mine_param": [new]}
    assert layer.pop("9000") == {"wide": [new]}
    assert after["fields"] == before["fields"] and after["enums"] == before["enums"]
