"""Every field of every layer type: computed, inert or refused, as `examples/fields.md` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

import protogen
from protogen.layers.base import LayerType
from protogen.layers.fields import COMMON
from protogen.layers.registry import layer_type, layer_types
from protogen.prototxt.message import Message
from protogen.report.fields import COMPUTED, REFUSED, FieldUse, field_uses
from protogen.schema import Field, message_type
from tests.layers.alone import Alone, altered, rows
from tests.layers.examples import example
from tests.layers.nets import net_of
from tests.layers.test_against_caffe import assert_caffes
from tests.oracle import Case, case_ids, cases, families

USES = [use for use in field_uses() if use.type not in ("(any)", "Python")]
WORDS = {"metric": "MeanIU", "source": "matrix.binaryproto"}
# Values that a field's kind does not tell: a whole number that fits, a list of the right length.
VALUES: dict[str, list[Any]] = {
    "slice_point": [[1]], "order": [[0, 2, 1, 3], [0, 2, 3, 1], [1, 0]], "normalize_type": ["L1", "L2"], "biases": [[1.0] * 12],
    "pooled_size": [[2, 3], [3]], "variance": [[0.5]], "anchors_scale": [[8], [8, 8, 8], 8], "mask": [[1, 0], [1, 0] * 3],
    "eta": [0.5], "dropout_ratio": [0.25], "top_k": [2, 1], "slice_dim": [2, 3], "concat_dim": [2, 0],
    "hole_h": [2], "hole_w": [2], "label_smooth_eps": [0.3],
}  # fmt: skip


def test_every_built_in_type_declares_its_fields() -> None:
    silent = [name for name, cls in layer_types().items() if not cls.is_input and cls.param_name and cls.fields is None]
    assert not silent, f"without `fields`, every field would count as computed: {silent}"


def test_declared_fields_are_fields_of_the_schema() -> None:
    known = {use.path for use in field_uses()}
    for name, cls in layer_types().items():
        if name.startswith("Python ("):
            continue  # stands as "Python"
        own, fields = cls.param_name or "", cls.known_fields()
        stray = (fields.computed(own) | fields.inert(own).keys()) - known
        assert cls.is_input or not stray, f"{name}: {stray}"


def test_an_inert_field_cites_fork_file_and_line() -> None:
    for use in field_uses():
        assert not use.inert or re.search(r"[\w.-]+/[\w.-]+ [\w/.-]+\.(cpp|cu|hpp|proto):\d+", use.use), use


# ---- each field alone


def candidates(path: str) -> list[Any]:
    """Values for a field that are not its default."""
    kind, name = message_type("LayerParameter"), path.rpartition(".")[2]
    for parent in path.split(".")[:-1]:
        kind = kind.fields[parent].message_type
    field = kind.fields[name]
    scalars = [value for value in VALUES.get(name) or _scalars(field) if value != field.default]
    return [value if isinstance(value, list) or not field.repeated else [value] for value in scalars]


def _scalars(field: Field) -> list[Any]:
    if field.kind == "enum":
        return list(field.values)
    if field.kind == "message":
        return [{"type": "constant", "value": 0.5}] if field.message_type.name == "FillerParameter" else []
    if field.kind in ("string", "bytes"):
        return [WORDS.get(field.name, "text")]
    return [not field.default] if field.kind == "bool" else [1, 2, 3, 0, 4, 5] if field.range else [0.5, 0.3, 2.0, 3.0, 40.0]


@lru_cache(maxsize=8)
def base(type: str) -> tuple[protogen.Net, dict[str, np.ndarray]]:
    return example(type)


def results(net: protogen.Net, values: dict[str, np.ndarray], training: bool) -> list[np.ndarray]:
    """All that a layer makes of some values: outputs, gradients of inputs and blobs, blobs afterwards."""
    torch.manual_seed(0)
    module = net.to_torch().train(training)
    inputs = [torch.tensor(values[name], requires_grad=True) for name in net.inputs]
    tops = [top for top in module.blobs(*inputs).values() if top.requires_grad]
    leaves = [*inputs, *(leaf for leaf in module.parameters() if leaf.requires_grad)]
    made = [blob.detach().numpy().copy() for blob in module.blobs(*inputs).values()]
    if tops:
        sum((top * torch.linspace(0.5, 1.5, top.numel()).reshape(top.shape)).sum() for top in tops).backward()
    return [*made, *(leaf.grad.numpy() for leaf in leaves if leaf.grad is not None), *(b.numpy() for b in module.buffers())]


def observed(net: protogen.Net, type: str, values: dict[str, np.ndarray]) -> Iterator[Any]:
    """What a user can see of a net: shapes, fillers, results in both phases."""
    yield net.analysis.shapes
    op = next(op for op in net.ops if op.layer.full_type == type)
    yield [(blob.name, blob.shape, blob.filler) for blob in op.blobs]
    if net.inputs and all(net.shapes[name] == values[name].shape for name in net.inputs):
        for training in (False, True):
            yield results(net, values, training)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and a and isinstance(a[0], np.ndarray):
        return len(a) == len(b) and all(x.shape == y.shape and np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b))
    return bool(a == b)


def id_of(use: FieldUse) -> str:
    return f"{use.type}-{use.path}"


INERT = [use for use in USES if use.inert]
OPPOSITES = {"convolution_param.num_output", "convolution_param.group"}  # of depthwise types: see test_convolution.py


@pytest.mark.parametrize("use", [use for use in INERT if use.path not in OPPOSITES], ids=id_of)
def test_an_inert_field_changes_nothing(use: FieldUse) -> None:
    net, values = base(use.type)
    weights = dict(net.weights.filled(0))
    for value in candidates(use.path):
        other = altered(net, use.type, use.path, value)
        for twin in (net, other):
            twin.weights.update(weights)
        assert all(map(same, observed(net, use.type, values), observed(other, use.type, values)))


@pytest.mark.parametrize("use", [use for use in USES if use.use == REFUSED], ids=id_of)
def test_a_refused_field_is_named(use: FieldUse) -> None:
    net, _ = base(use.type)
    for value in candidates(use.path):
        with pytest.raises(protogen.ProtogenError, match=re.escape(use.path.rpartition(".")[2]) + "|unknown layer type"):
            altered(net, use.type, use.path, value).to_torch()


# ---- computed ones


# Names of the layers that set a field, by (family, case).
Places = dict[tuple[str, str], set[str]]


@lru_cache(maxsize=1)
def caffes() -> dict[type[LayerType], dict[str, Places]]:
    """Where cases of real Caffe set fields to something else than their default, by the class that computes them and by path."""
    paths: dict[type[LayerType], dict[str, Places]] = {}
    for family, name in case_ids():
        case = cases(family)[name]
        for op in protogen.loads(case.prototxt, phase=case.phase).ops:
            for path in _set(op.layer.message):
                places = paths.setdefault(type(op), {}).setdefault(path, {})
                places.setdefault((family, name), set()).add(op.layer.name)
    return paths


def _set(message: Message, prefix: str = "") -> Iterator[str]:
    for name, value in message.fields():
        field = message.descriptor.fields[name]
        if value != field.default:
            yield prefix + name
        if field.kind == "message" and prefix + name not in COMMON:
            for part in value if field.repeated else [value]:
                yield from _set(part, prefix + name + ".")


def notices(case: Case, layers: set[str], path: str) -> bool:
    """Whether layers of the case without a field of theirs are refused, or no longer give Caffe's numbers."""
    definition = protogen.loads(case.prototxt, phase=case.phase).definition.copy()
    for message in definition.layer:
        if message.name in layers:
            _unset(message, path.split("."))
    try:
        net = protogen.Net(definition, phase=case.phase)
        net.weights.update(case.per_layer("param"))
        assert_caffes(case, net)
    except (AssertionError, protogen.ProtogenError):
        return True
    return False


def _unset(message: Message, path: list[str]) -> None:
    if len(path) == 1:
        message.remove(path[0])
    elif path[0] in message:
        value = getattr(message, path[0])
        for part in value if message.descriptor.fields[path[0]].repeated else [value]:
            _unset(part, path[1:])


@pytest.mark.parametrize("family", families())
def test_a_case_that_lacks_no_field_notices_nothing(family: str) -> None:
    assert not notices(next(iter(cases(family).values())), set(), "")


def kin(cls: type[LayerType]) -> Iterator[type[LayerType]]:
    """Classes that read a message with the same code: those that share a base below LayerType."""
    own = {base for base in cls.__mro__ if issubclass(base, LayerType) and base.__dict__.get("param_name")}
    return (other for other in caffes() if other is cls or own & set(other.__mro__))


FILLERS = re.compile(r"[._]filler$", re.IGNORECASE)  # held by test_a_filler_fills_its_blob


ALONE = list(rows())


@pytest.mark.parametrize("row", ALONE, ids=lambda row: f"{row.type}-{row.path}")
def test_a_computed_field_alone_gives_what_the_reference_says(row: Alone) -> None:
    row.check()


@pytest.mark.parametrize("use", [use for use in USES if use.use == COMPUTED and not FILLERS.search(use.path)], ids=id_of)
def test_a_computed_field_is_held_against_a_reference(use: FieldUse) -> None:
    """By a row of `ALONE`, or by a case of real Caffe that sets it and notices when it is gone."""
    cls = layer_type(use.type)
    assert cls is not None
    if (use.type, use.path) in {(row.type, row.path) for row in ALONE}:
        return
    places = [place for other in kin(cls) for place in caffes()[other].get(use.path, {}).items()]
    assert any(notices(cases(family)[name], layers, use.path) for (family, name), layers in places)


# Nets with the blob, where the type's example has none of that name.
FILLED = {
    "bn_param.slope_filler": ('bottom: "a" top: "y" bn_param { momentum: 0.9 }', [(2, 4, 3, 3)]),
    "bn_param.bias_filler": ('bottom: "a" top: "y" bn_param { momentum: 0.9 }', [(2, 4, 3, 3)]),
    "convolution_param.bias_filler": ('bottom: "a" top: "y" convolution_param { num_output: 4 kernel_size: 1 }', [(1, 4, 3, 3)]),
    "scale_param.filler": ('bottom: "a" top: "y"', [(1, 4, 3, 3)]),
    "bias_param.filler": ('bottom: "a" top: "y"', [(1, 4, 3, 3)]),
    "norm_param.scale_filler": ('bottom: "a" top: "y" norm_param { channel_shared: false }', [(1, 4, 3, 3)]),
}


@pytest.mark.parametrize("use", [use for use in USES if use.use == COMPUTED and FILLERS.search(use.path)], ids=id_of)
def test_a_filler_fills_its_blob(use: FieldUse) -> None:
    text, shapes = FILLED.get(use.path, ("", []))
    net = net_of(f'type: "{use.type}" {text}', *shapes) if text else base(use.type)[0]
    other = altered(net, use.type, use.path, {"type": "constant", "value": 0.375})
    if use.type == "DummyData":
        assert all(bool((blob == 0.375).all()) for blob in other.to_torch().blobs().values())
        return
    blobs = [blob for op in other.ops if op.layer.full_type == use.type for blob in other.weights.filled(0)[op.layer.name]]
    assert any(np.all(blob == 0.375) for blob in blobs)


class Recorder:
    """Notes which fields of messages are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[tuple[str, str]] = set()
        for method in ("__getattr__", "get", "__contains__"):
            monkeypatch.setattr(Message, method, self.noting(getattr(Message, method)))

    def noting(self, read: Any) -> Any:
        def noted(message: Message, name: str, *default: Any) -> Any:
            if name[0] != "_" and message.descriptor is not None:
                self.names.add((message.descriptor.name, name))
            return read(message, name, *default)

        return noted


TYPES = sorted({use.type for use in USES})
# Read only together with another field, or by another class of the type; the reference tests above set them.
CONDITIONAL = {
    "bbox_std", "negative_weight", "positive_weight", "sigmoid_scaler", "top_height", "top_width",
    "accumulate", "bias_filler", "bp_norm", "decay", "eta", "filler", "fix_gradient", "hole", "hole_w", "iou_normalizer", "k",
    "kernel_w", "label_smooth_eps", "max_delta", "moving_average", "neg_overlap", "negative_slope", "nms_threshold",
    "normalize_type", "num_axes", "object_scale", "objectness_score", "pad_out_h", "pad_out_w", "pad_w", "pre_fixed_normalizer",
    "sample_size", "scale", "scale_h", "scale_w", "source", "stride", "stride_h", "stride_w", "top_k", "upsample_w",
    "use_blob_size", "use_prior_for_nms", "var_eps",
}  # fmt: skip


@pytest.mark.parametrize("type", TYPES)
def test_a_computed_field_is_read(type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, values = base(type)
    recorder = Recorder(monkeypatch)
    twin = protogen.Net(net.definition, phase=net.phase)
    for training in (False, True):
        results(twin, values, training)
    cls = layer_type(type)
    assert cls is not None
    unread = set()
    for use in USES:
        if use.type == type and use.use == COMPUTED:
            *parents, name = use.path.split(".")
            kind = message_type("LayerParameter")
            for parent in parents:
                kind = kind.fields[parent].message_type
            unread |= {name} - {field for message, field in recorder.names if message == kind.name}
    assert not unread - CONDITIONAL
