"""`torch.compile(fullgraph=True)` and `torch.export` for every layer type whose shapes are static, on oracle cases."""

from __future__ import annotations

import pytest
import torch

import protogen
from protogen.layers.registry import layer_types
from protogen.report.layers import INPUT, ROWS, support_table
from tests.layers.examples import SMALL, example
from tests.layers.test_against_caffe import load
from tests.oracle import cases, families
from tests.running import compile_whole

# Shapes that follow from the data, and a layer that evaluates row by row, are no graphs.
DYNAMIC = {row.type for row in support_table().rows if row.note == ROWS} | {"DetectionEvaluate"}
DYNAMIC |= {name for name, cls in layer_types().items() if name.startswith("Python (") and cls.dynamic_rows is not None}
UNEXPORTABLE = {name for name, cls in layer_types().items() if not cls.is_exportable}
STATIC = [name for name in families() if name not in DYNAMIC]


def first_test_case(family: str) -> tuple[protogen.Net, tuple[torch.Tensor, ...]]:
    """The family's first case, in phase TEST, with its inputs."""
    case = next(iter(cases(family).values()))
    net = load(case).at("TEST")
    return net, tuple(torch.tensor(case.of("in")[name]) for name in net.inputs)


def small_net(type: str) -> tuple[protogen.Net, tuple[torch.Tensor, ...]]:
    net, values = example(type)
    return net, tuple(torch.tensor(values[name]) for name in net.inputs)


NETS = [pytest.param(first_test_case, family, id=family) for family in STATIC]
NETS += [pytest.param(small_net, type, id=type) for type in SMALL if type not in DYNAMIC]


def assert_equal(actual: object, expected: object) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.fixture
def module_and_inputs(make, name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    net, inputs = make(name)
    if not net.outputs:
        pytest.skip("a sink makes nothing")
    return net.to_torch(), inputs


@pytest.mark.parametrize(("make", "name"), NETS)
def test_compiles_as_one_graph(module_and_inputs) -> None:
    module, inputs = module_and_inputs
    assert_equal(compile_whole(module)(*inputs), module(*inputs))


@pytest.mark.parametrize(("make", "name"), [case for case in NETS if case.id not in UNEXPORTABLE])
def test_exports(module_and_inputs) -> None:
    module, inputs = module_and_inputs
    assert_equal(torch.export.export(module, inputs).module()(*inputs), module(*inputs))


@pytest.mark.parametrize("type", sorted(DYNAMIC | UNEXPORTABLE))
def test_what_torch_export_cannot_follow_is_known(type: str) -> None:
    net, inputs = small_net(type)
    module = net.to_torch()
    if layer_types()[type].is_exportable:
        assert_equal(torch.export.export(module, inputs).module()(*inputs), module(*inputs))
        return
    with pytest.raises(Exception, match=r"data|equal"):  # of many kinds
        torch.export.export(module, inputs)


def test_every_static_type_is_among_these_nets() -> None:
    covered = {layer.full_type for parameter in NETS for layer in parameter.values[0](parameter.values[1])[0].layers}
    wanted = {row.type for row in support_table().rows if row.torch and row.note != INPUT}
    assert wanted - DYNAMIC <= covered
