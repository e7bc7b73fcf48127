"""The schema, proto/caffe.proto and its compiled form: complete, up to date, and out of everybody's way."""

from __future__ import annotations

import importlib.util
import json
import struct
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

import protogen
from protogen.schema import message_type
from tests.commands import ROOT, fresh_python

DESC = ROOT / "proto" / "caffe.desc"
FACTS = ROOT.parent / "shared" / "reference" / "caffe_schema.json"
CORPUS = ROOT.parent / "shared" / "corpus"

PSPNET = "soeaver+caffe-model/seg/pspnet/models/pascal_voc/resnet101-v2"

SCALARS = ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32")
OWN_NUMBERS = range(5000, 5100)

# Where forks disagree, the form that reads both.
REPEATED_HERE = {"TransformationParameter.resize_param"}
FLOAT_HERE = {"UpsampleParameter.scale"}


def load_pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(DESC.read_bytes())
    return pool


@pytest.fixture(scope="module")
def pool() -> Any:
    return load_pool()


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """Per fork, its messages and enums; BVLC's first, for others only what differs from it."""
    if not FACTS.exists():
        pytest.skip("the collected facts about Caffe's forks are not here")
    return dict(json.loads(FACTS.read_text()))


def message_class(pool: Any, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))


def each_field(facts: dict[str, Any]) -> Iterator[tuple[str, str, str, list[Any]]]:
    """Yield (fork, message, field, [number, label, type, options])."""
    for fork, schema in facts.items():
        for message, fields in schema["messages"].items():
            for field, spec in fields.items():
                yield fork, message, field, spec


def first_of_each_name(facts: dict[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield each field once, as the first fork (BVLC where it has it) defines it."""
    seen = set()
    for _, message, field, spec in each_field(facts):
        if (message, field) not in seen:
            seen.add((message, field))
            yield message, field, spec


def type_name(field: Any) -> str:
    for target in (field.message_type, field.enum_type):
        if target is not None:
            return str(target.full_name).removeprefix("caffe.")
    kinds = {getattr(field, f"TYPE_{name.upper()}"): name for name in SCALARS}
    return kinds[field.type]


def label_name(field: Any) -> str:
    message = descriptor_pb2.DescriptorProto()
    field.containing_type.CopyToProto(message)
    label = next(entry.label for entry in message.field if entry.name == field.name)
    return {1: "optional", 2: "required", 3: "repeated"}[label]


def parse_default(field: Any, text: str) -> Any:
    kind = type_name(field)
    if kind == "string":
        return text
    if kind == "bool":
        return {"true": True, "false": False}[text]
    if kind == "float":
        return struct.unpack("f", struct.pack("f", float(text)))[0]
    if field.enum_type is not None:
        return field.enum_type.values_by_name[text].number
    return int(text)


def test_compiled_form_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    build = import_build()
    assert build.main(["--check"]) == 0, capsys.readouterr().err


def test_check_notices_a_changed_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    build = import_build()
    changed = tmp_path / "caffe.proto"
    changed.write_text(build.PROTO.read_text() + "\nmessage Another {}\n")
    monkeypatch.setattr(build, "PROTO", changed)
    assert build.main(["--check"]) == 1


def import_build() -> Any:
    spec = importlib.util.spec_from_file_location("proto_build", ROOT / "proto" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_message_and_field_is_here(pool: Any, facts: dict[str, Any]) -> None:
    missing = []
    for fork, schema in facts.items():
        for message, fields in schema["messages"].items():
            try:
                known = pool.FindMessageTypeByName(f"caffe.{message}").fields_by_name
            except KeyError:
                missing.append(f"{fork}: {message}")
                continue
            missing += [f"{fork}: {message}.{field}" for field in fields if field not in known]
    assert missing == []


def test_labels_types_and_defaults(pool: Any, facts: dict[str, Any]) -> None:
    wrong = []
    for message, name, (_, label, kind, *options) in first_of_each_name(facts):
        where = f"{message}.{name}"
        field = pool.FindMessageTypeByName(f"caffe.{message}").fields_by_name[name]
        label = "repeated" if where in REPEATED_HERE else label
        kind = "float" if where in FLOAT_HERE else kind
        stated = options[0] if options else {}

        if (label_name(field), type_name(field)) != (label, kind):
            wrong.append(f"{where}: {label_name(field)} {type_name(field)}, not {label} {kind}")
        elif field.has_default_value != ("default" in stated):
            wrong.append(f"{where}: a default where there is none, or none where there is one")
        elif "default" in stated and field.default_value != parse_default(field, stated["default"]):
            wrong.append(f"{where}: default {field.default_value}, not {stated['default']}")
        elif bool(field.GetOptions().packed) != stated.get("packed", False):
            wrong.append(f"{where}: packed or not")
    assert wrong == []


def test_field_numbers(pool: Any, facts: dict[str, Any]) -> None:
    """BVLC's own; SSD's where BVLC left them free; otherwise some fork's, or one from our range."""
    bvlc = facts["bvlc"]["messages"]
    forks_numbers: dict[tuple[str, str], set[int]] = {}
    for _, message, name, spec in each_field(facts):
        forks_numbers.setdefault((message, name), set()).add(spec[0])

    wrong = []
    for fork, message, name, (number, *_) in each_field(facts):
        here = pool.FindMessageTypeByName(f"caffe.{message}").fields_by_name[name].number
        inherited = {spec[0] for spec in bvlc.get(message, {}).values()}
        must_keep = fork == "bvlc" or (fork == "ssd" and number not in inherited)
        allowed = {number} if must_keep else forks_numbers[message, name] | set(OWN_NUMBERS)
        if here not in allowed:
            wrong.append(f"{message}.{name} = {here}, {number} in {fork}")
    assert wrong == []


def test_enum_values(pool: Any, facts: dict[str, Any]) -> None:
    wrong = []
    for fork, schema in facts.items():
        for enum, values in schema["enums"].items():
            known = pool.FindEnumTypeByName(f"caffe.{enum}").values_by_name
            for value, number in values.items():
                if value not in known or (fork in ("bvlc", "ssd") and known[value].number != number):
                    wrong.append(f"{fork}: {enum}.{value} = {number}")
    assert wrong == []


@pytest.mark.parametrize(
    ("layer", "check"),
    [
        ("relu6_param { negative_slope: 0.1 }", "relu6_param"),
        ("selu_param { lambda: 1.05 alpha: 1.67 }", "selu_param"),
        ("selu_dropout_param { dropout_ratio: 0.1 alpha: -1.75 }", "selu_dropout_param"),
        ("upsample_param { scale: 2 pad_out_h: true upsample_w: 480 }", "upsample_param"),
        ("upsample_param { scale: 2.0 }", "upsample_param"),
        ("prior_box_param { width: 9.4 width: 25.1 height: 15 height: 39 step: 16 }", "prior_box_param"),
        ("pooling_param { pool: MAX kernel_size: 3 ceil_mode: false }", "pooling_param"),
        ("interp_param { use_blob_size: true }", "interp_param"),
        ("bn_param { bn_mode: INFERENCE shift_filler { value: 1 } }", "bn_param"),
        ("bn_param { slope_filler { value: 1 } frozen: true }", "bn_param"),
        ("batch_norm_param { scale_bias: true eps: 1e-4 }", "batch_norm_param"),
        ("norm_param { across_spatial: false scale_filler { value: 20 } }", "norm_param"),
        ("normalize_param { normalize_type: 'L2' }", "normalize_param"),
        ("loss_param { weight_by_label_freqs: true class_weighting: 0.2 }", "loss_param"),
        ("dense_image_data_param { source: 'train.txt' shuffle: true }", "dense_image_data_param"),
        ("transform_param { resize_param { prob: 1 } resize_param { prob: 0.5 } }", "transform_param"),
    ],
)
def test_reads_layers_of_forks(pool: Any, layer: str, check: str) -> None:
    parsed = text_format.Parse(layer, message_class(pool, "LayerParameter")())
    assert parsed.HasField(check)


def test_weights_have_bvlcs_wire_format(pool: Any) -> None:
    """A .caffemodel as real Caffe writes it: net name, one layer with name, type and a blob."""
    blob = b"\x3a\x04\x0a\x02\x01\x02" + b"\x2a\x08" + struct.pack("<2f", 0.5, -2)
    layer = b"\x0a\x02fc" + b"\x12\x0cInnerProduct" + b"\x3a" + bytes([len(blob)]) + blob
    net = message_class(pool, "NetParameter").FromString(b"\x0a\x01n" + b"\xa2\x06" + bytes([len(layer)]) + layer)
    assert (net.name, net.layer[0].name, net.layer[0].type) == ("n", "fc", "InnerProduct")
    assert list(net.layer[0].blobs[0].shape.dim) == [1, 2]
    assert list(net.layer[0].blobs[0].data) == [0.5, -2]


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("NetParameter", "BVLC+caffe/models/bvlc_googlenet/train_val.prototxt"),
        ("SolverParameter", "BVLC+caffe/models/bvlc_googlenet/solver.prototxt"),
        ("NetParameter", "dgschwend+netscope/presets/fcn-8s-pascal.prototxt"),
        ("NetParameter", "eric612+MobileNet-YOLO/models/yolov3/mobilenet_yolov3_lite_train.prototxt"),
        ("YoloSegLabel", "eric612+MobileNet-YOLO/data/bdd100k/labelmap.prototxt"),
        ("NetParameter", f"{PSPNET}/deploy_psp_resnet101-v2-merge-selu.prototxt"),
        ("NetParameter", "shicai+DenseNet-Caffe/DenseNet_121.prototxt"),
    ],
)
def test_reads_published_files(pool: Any, message: str, path: str) -> None:
    if not CORPUS.exists():
        pytest.skip("the collection of published files is not here")
    text_format.Parse((CORPUS / path).read_text(), message_class(pool, message)())


def test_lives_beside_another_caffe_schema() -> None:
    """pycaffe and others put a package "caffe" into protobuf's default pool; ours must neither clash nor show."""
    fresh_python(
        textwrap.dedent("""
        from pathlib import Path
        from google.protobuf import descriptor_pb2, descriptor_pool

        ours = descriptor_pool.DescriptorPool()
        ours.AddSerializedFile(Path("proto/caffe.desc").read_bytes())
        default = descriptor_pool.Default()
        try:
            default.FindMessageTypeByName("caffe.NetParameter")
        except KeyError:
            pass
        else:
            raise SystemExit("the schema is in the default pool")

        other = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
        other.message_type.add(name="NetParameter")
        default.AddSerializedFile(other.SerializeToString())
        assert not default.FindMessageTypeByName("caffe.NetParameter").fields
        assert "layer" in ours.FindMessageTypeByName("caffe.NetParameter").fields_by_name
        """)
    )


def test_importing_protogen_leaves_the_default_pool_alone() -> None:
    fresh_python(
        textwrap.dedent("""
        import protogen
        from google.protobuf import descriptor_pool

        try:
            descriptor_pool.Default().FindFileContainingSymbol("caffe.NetParameter")
        except KeyError:
            pass
        else:
            raise SystemExit("importing protogen put its schema into the default pool")
        """)
    )


def test_types_at_run_time_are_those_of_the_compiled_schema(pool: Any) -> None:
    """protogen reads `caffe.json`, protobuf `caffe.desc`: two compiled forms of one schema."""
    for name in ("NetParameter", "LayerParameter", "ConvolutionParameter", "SolverParameter", "PoolingParameter"):
        theirs = pool.FindMessageTypeByName(f"caffe.{name}").fields_by_name
        ours = message_type(name).fields
        # Layer types of other tests in this process may have declared more.
        assert set(ours) >= set(theirs)
        assert all(ours[key].number >= protogen.schema._OWN_FIELDS for key in set(ours) - set(theirs))
        for key in theirs:
            field = ours[key]
            assert (field.number, field.repeated) == (theirs[key].number, label_name(theirs[key]) == "repeated")
            if not (field.repeated or field.kind == "message"):
                value = theirs[key].default_value
                assert field.default == (field.enum_name(value) if field.kind == "enum" else value), key


def test_messages_for_protobuf_are_of_a_pool_of_our_own() -> None:
    layer = protogen.schema.message_class("LayerParameter")(name="fc", type="InnerProduct")
    assert layer.DESCRIPTOR.full_name == "caffe.LayerParameter"
    assert protogen.schema.message_class("LayerParameter") is type(layer)
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.LayerParameter")
