"""Layer types registered from outside the package, and the parameters they declare."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import protogen
from protogen.layers.registry import layer_type, unregister

HEAD = 'layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 dim: 2 } } }\n'
LAYER = HEAD + 'layer { name: "op" type: "Gain" bottom: "a" top: "y" gain_param { %s } }'


@pytest.fixture
def gain() -> Iterator[type[protogen.LayerType]]:
    """`Gain`: x * factor, with one parameter of each kind."""

    @protogen.register("Gain")
    class Gain(protogen.LayerType):
        param_name = "gain_param"
        param_fields = {"factor": 2.0, "steps": 1, "on": bool, "label": str, "powers": [float]}  # noqa: RUF012

        def setup(self) -> None:
            self.tops = [self.bottoms[0]]

    yield Gain
    unregister("Gain")


def read(fields: str, strict: bool = True) -> protogen.Net:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return protogen.loads(LAYER % fields, strict=strict)


@pytest.mark.usefixtures("gain")
class TestDeclaredParameters:
    def test_they_are_read_with_their_defaults_and_without_a_warning(self) -> None:
        param = read("steps: 3 powers: 1 powers: 0.5").ops[1].param
        assert (param.factor, param.steps, param.on, param.label, list(param.powers)) == (2.0, 3, False, "", [1.0, 0.5])
        assert "steps" in param
        assert "factor" not in param

    def test_they_are_written_and_read_back(self) -> None:
        net = read('factor: 0.1 on: true label: "x" powers: [2, 3]')
        assert read('factor: 0.1 on: true label: "x" powers: 2 powers: 3').definition == net.definition
        assert protogen.loads(net.to_prototxt(), strict=True).definition == net.definition

    @pytest.mark.parametrize(
        ("fields", "message"),
        [("factr: 1", "did you mean 'factor'"), ("steps: 1.5", "takes an int64"), ("factor: 1 factor: 2", "given twice")],
    )
    def test_bad_ones_are_refused_with_their_place(self, fields: str, message: str) -> None:
        with pytest.raises(protogen.ParseError, match=f":2:.*{message}"):
            read(fields)

    def test_the_builder_takes_them_as_fields_of_the_layer(self) -> None:
        b = protogen.NetBuilder()
        b.layer("Gain", b.input("a", (1, 2)), name="op", factor=4, powers=[1])
        assert b.build().ops[1].param.factor == 4
        with pytest.raises(protogen.ProtogenError, match="did you mean 'factor'"):
            b.layer("Gain", "a", fator=4)

    def test_a_net_with_them_can_be_pickled(self) -> None:
        definition = read("steps: 3").definition
        assert pickle.loads(pickle.dumps(definition)) == definition

    def test_declared_anew_the_new_fields_count(self) -> None:
        @protogen.register("Gain")
        class Gain(protogen.LayerType):
            param_name = "gain_param"
            param_fields = {"decibels": 0.0}  # noqa: RUF012

            def setup(self) -> None:
                self.tops = [self.bottoms[0]]

        assert read("decibels: 3").ops[1].param.decibels == 3
        with pytest.raises(protogen.ParseError, match="unknown field 'factor'"):
            read("factor: 1")


def test_an_installed_package_declares_them_when_they_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(group: str) -> None:
        @protogen.register("Offered")
        class Offered(protogen.LayerType):
            param_name = "offered_param"
            param_fields = {"factor": 2.0}  # noqa: RUF012

            def setup(self) -> None:
                self.tops = [self.bottoms[0]]

    monkeypatch.setattr("protogen.prototxt.parser.load_entry_points", offered)
    text = HEAD + 'layer { name: "op" type: "Offered" bottom: "a" top: "y" offered_param { factor: 3 } }'
    try:
        assert protogen.loads(text, strict=True).ops[1].param.factor == 3
    finally:
        unregister("Offered")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("convolution_param", {"factor": 1.0}, "Caffe's LayerParameter"),
        ("name", {"factor": 1.0}, "Caffe's LayerParameter"),
        ("own_param", {"factor": None}, "'factor': give a default or a type"),
        ("own_param", {"factor": [1, 2]}, "'factor': give a default or a type"),
    ],
)
def test_declarations_that_cannot_be_are_refused(name: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(protogen.ProtogenError, match=message):
        protogen.register("Gain")(type("Gain", (protogen.LayerType,), {"param_name": name, "param_fields": fields}))
    assert layer_type("Gain") is None


class TestMistakesInAClass:
    """An exception in a user's class names the layer and the class."""

    @pytest.fixture(autouse=True)
    def faulty(self) -> Iterator[None]:
        @protogen.register("Faulty")
        class Faulty(protogen.LayerType):
            param_name = "faulty_param"
            param_fields = {"fault": str}  # noqa: RUF012

            def setup(self) -> None:
                self.tops = {"none": [], "two": [self.bottoms[0]] * 2}.get(self.param.fault, [self.bottoms[0]])
                if self.param.fault == "setup":
                    self.bottoms[0][5]

            def forward(self, x: Any, *, blobs: Any, training: bool) -> Any:
                return x @ x if self.param.fault == "forward" else x + 1

            def onnx(self, graph: Any, bottoms: Any, blobs: Any) -> str:
                if self.param.fault == "onnx":
                    raise KeyError("scale")
                return graph.add("Relu", *bottoms, *bottoms) if self.param.fault == "op" else graph.add("Neg", bottoms[0])

        yield
        unregister("Faulty")

    def net(self, fault: str) -> protogen.Net:
        return protogen.loads(
            HEAD + f'layer {{ name: "op" type: "Faulty" bottom: "a" top: "y" faulty_param {{ fault: "{fault}" }} }}'
        )

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("setup", r"Faulty\.setup fails: IndexError: tuple index out of range"),
            ("none", r"Faulty\.setup sets 0 tops, but the layer has 1"),
            ("two", r"Faulty\.setup sets 2 tops, but the layer has 1"),
        ],
    )
    def test_in_setup(self, fault: str, message: str) -> None:
        with pytest.raises(protogen.LayerError, match=rf"layer 'op' \(Faulty\): {__name__}.*{message}"):
            self.net(fault)

    def test_in_forward(self) -> None:
        with pytest.raises(protogen.LayerError, match=r"layer 'op' \(Faulty\): .*Faulty\.forward fails: RuntimeError: mat1"):
            self.net("forward").to_torch()(torch.ones(1, 2))

    def test_in_onnx(self) -> None:
        with pytest.raises(protogen.ConversionError, match=r"layer 'op' \(Faulty\): .*Faulty\.onnx fails: KeyError: 'scale'"):
            self.net("onnx").to_onnx()

    def test_an_invalid_op_is_not_protogens_bug(self) -> None:
        with pytest.raises(protogen.ConversionError, match=r"invalid: .*; check the ONNX form of .*Faulty of <text>.*layer 'op'"):
            self.net("op").to_onnx()

    def test_what_does_not_fail_compiles(self) -> None:
        module = torch.compile(self.net("").to_torch(), fullgraph=True, backend="eager")
        assert torch.equal(module(torch.ones(1, 2)), torch.full((1, 2), 2.0))
