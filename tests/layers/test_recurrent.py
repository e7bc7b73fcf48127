"""LSTM and RNN beyond the cases of real Caffe: exposed states, marks in the middle, static inputs, ONNX's own operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from tests.layers.alone import Alone
from tests.layers.nets import OPSETS
from tests.running import assert_same, by_onnx, by_torch, compile_whole, model_of, run_model

T, N, D = 4, 3, 2


def dims(shape: tuple[int, ...]) -> str:
    return " ".join(f"dim: {dim}" for dim in shape)


def text(
    type: str, features: tuple[int, ...] = (5,), static: tuple[int, ...] = (), exposed: bool = False, cont: str = "", t: int = T
) -> str:
    """A net of one recurrent layer "op" over inputs x, cont (or what `cont` makes), static, h0, c0."""
    shapes = {"x": (t, N, *features), "cont": (t, N), "static": (N, *static), "h0": (1, N, D), "c0": (1, N, D)}
    states = (["h0", "c0"] if type == "LSTM" else ["h0"]) if exposed else []
    bottoms = ["x", "cont", *(["static"] if static else []), *states]
    tops = ["out", *(f"{state}_out" for state in states)]
    layers = [
        f'layer {{ name: "{b}" type: "Input" top: "{b}" input_param {{ shape {{ {dims(shapes[b])} }} }} }}'
        for b in bottoms
        if not (b == "cont" and cont)
    ]
    names = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{name}"' for name in tops)])
    filler = 'weight_filler { type: "uniform" min: -1 max: 1 } bias_filler { type: "uniform" min: -1 max: 1 }'
    expose = "expose_hidden: true" if exposed else ""
    return "\n".join(
        [*layers, cont, f'layer {{ name: "op" type: "{type}" {names} recurrent_param {{ num_output: {D} {filler} {expose} }} }}']
    )


def net_of(*args: object, **options: object) -> protogen.Net:
    return protogen.loads(text(*args, **options)).fill(1)  # type: ignore[arg-type]


def inputs_of(net: protogen.Net, seed: int = 0) -> list[torch.Tensor]:
    """Random inputs; the sequences of some streams begin anew in the middle."""
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(net.shapes[name], generator=generator) for name in net.inputs}
    if "cont" in values:
        values["cont"] = (torch.rand(net.shapes["cont"], generator=generator) > 0.4).float()
    return list(values.values())


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def plain(net: protogen.Net, inputs: list[torch.Tensor], static: bool, exposed: bool) -> list[np.ndarray]:
    """The recurrence, stream by stream, in the words of the papers."""
    values = [value.double().numpy() for value in inputs]
    x, cont = values[0].reshape(*values[0].shape[:2], -1), values[1]
    blobs = [blob.astype(np.float64) for blob in net.weights["op"]]
    lstm = net.layers[-1].type == "LSTM"
    wx, b = blobs[:2]
    ws, wh = (blobs[2], blobs[3]) if static else (None, blobs[2])
    top, last = np.zeros((len(x), N, D)), np.zeros((2, N, D))
    for n in range(N):
        h, c = (
            (values[-2][0, n], values[-1][0, n])
            if exposed and lstm
            else (values[-1][0, n], None)
            if exposed
            else (np.zeros(D), np.zeros(D))
        )
        for t in range(len(x)):
            if not cont[t, n]:
                h, c = np.zeros(D), np.zeros(D)
            total = wx @ x[t, n] + b + wh @ h
            if ws is not None:
                total = total + ws @ values[2][n].ravel()
            if lstm:
                i, f, o, g = total.reshape(4, D)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = top[t, n] = sigmoid(o) * np.tanh(c)
            else:
                h = np.tanh(total)
                top[t, n] = np.tanh(blobs[-2] @ h + blobs[-1])
        last[0, n], last[1, n] = h, 0 if c is None else c
    return [top, *([last[:1], last[1:]] if lstm else [last[:1]])] if exposed else [top]


FORMS = [
    {},
    {"features": (2, 3)},
    {"static": (4,)},
    {"static": (2, 2)},
    {"exposed": True},
    {"exposed": True, "static": (4,)},
    {"t": 1},
    {"t": 1, "exposed": True},
]


@pytest.mark.parametrize("options", FORMS, ids=str)
@pytest.mark.parametrize("type", ["LSTM", "RNN"])
def test_every_form_equals_the_plain_recurrence(type: str, options: dict) -> None:
    net = net_of(type, **options)
    inputs = inputs_of(net)
    expected = plain(net, inputs, "static" in options, "exposed" in options)
    assert_same(by_torch(net, inputs), [value.astype(np.float32) for value in expected])
    assert [net.shapes[name] for name in net.outputs] == [value.shape for value in expected]
    for opset in OPSETS:
        assert_same(by_onnx(net, inputs, opset=opset), by_torch(net, inputs))


@pytest.mark.parametrize("type", ["LSTM", "RNN"])
def test_compile_export_and_other_numbers_of_streams(type: str) -> None:
    net = net_of(type, static=(4,), exposed=True)
    module, inputs = net.to_torch(), inputs_of(net)
    expected = by_torch(net, inputs)
    for other in (compile_whole(module), torch.export.export(module, tuple(inputs)).module()):
        assert_same([value.detach().numpy() for value in other(*inputs)], expected)
    two = [value[:2] if value.shape[0] == N and value.dim() == 2 and value.shape[1] == 4 else value[:, :2] for value in inputs]
    assert_same(by_torch(net, two), [value[:, :2] for value in expected])


def test_no_gradient_through_exposed_states_as_in_caffe() -> None:
    net = net_of("LSTM", exposed=True)
    inputs = [value.requires_grad_() for value in inputs_of(net)]
    out, h, c = net.to_torch()(*inputs)
    assert not h.requires_grad
    assert not c.requires_grad
    out.sum().backward()
    assert inputs[0].grad is not None
    assert all(value.grad is None for value in inputs[1:])


@pytest.mark.parametrize("type", ["LSTM", "RNN"])
def test_a_mark_cuts_the_gradient(type: str) -> None:
    net = net_of(type)
    x, cont = inputs_of(net)
    cont[:] = 1
    cont[2, 0] = 0
    x.requires_grad_()
    net.to_torch()(x, cont)[3].sum().backward()
    assert not x.grad[:2, 0].any()
    assert x.grad[:2, 1].any()


def test_names_shapes_and_cost() -> None:
    net = net_of("LSTM", static=(4,))
    assert net.param_shapes["op"] == [(8, 5), (8,), (8, 4), (8, 2)]
    assert [name for name, _ in net.to_torch().op.named_parameters()] == ["weight_x", "bias", "weight_static", "weight_h"]
    assert net.macs == T * N * (8 * 5 + 8 * 2) + N * 8 * 4
    net = net_of("RNN")
    assert net.param_shapes["op"] == [(2, 5), (2,), (2, 2), (2, 2), (2,)]
    assert net.macs == T * N * (2 * 5 + 2 * 2 + 2 * 2)


ONES = f"""layer {{ name: "ones" type: "DummyData" top: "cont"
  dummy_data_param {{ data_filler {{ value: 1 }} shape {{ {dims((T, N))} }} }} }}"""


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("type", ["LSTM", "RNN"])
def test_constant_marks_give_onnxs_own_operator(type: str, exposed: bool) -> None:
    from protogen.layers.forms.onnx_graph import OnnxGraph

    net = net_of(type, exposed=exposed)
    op = net.ops[-1]
    for ones, own in ((np.ones((T, N), np.float32), True), (np.eye(T, N, dtype=np.float32), False)):
        graph = OnnxGraph(17)
        graph.layer = "op"
        cont = graph.weight("cont", ones)
        blobs = [graph.weight(blob.name, value) for blob, value in zip(op.blobs, net.weights["op"])]
        tops = op.onnx(graph, ["x", cont, "h0", "c0"][: len(op.bottoms)], blobs)
        assert (type in [node.op_type for node in graph.nodes]) == own
        # The same numbers as the steps written out.
        x, _, *states = inputs_of(net)
        feeds = {"x": x.numpy(), **{name: value.numpy() for name, value in zip(("h0", "c0"), states)}}
        made = run_model(model_of(graph, dict.fromkeys(feeds), dict.fromkeys(tops)), feeds)
        assert_same([made[top] for top in tops], by_torch(net, [x, torch.tensor(ones), *states]))


@pytest.mark.parametrize("type", ["LSTM", "RNN"])
def test_marks_from_dummy_data_are_known(type: str) -> None:
    net = net_of(type, cont=ONES)
    assert type in [node.op_type for node in net.to_onnx().graph.node]
    inputs = inputs_of(net)
    for opset in OPSETS:
        assert_same(by_onnx(net, inputs, opset=opset), by_torch(net, inputs))


def test_steps_written_out_refuse_an_open_number_of_them() -> None:
    with pytest.raises(ConversionError, match=r"'op'.*fixed"):
        net_of("LSTM").to_onnx(dynamic_batch=True)


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (text("LSTM").replace(f"num_output: {D}", "num_output: 0"), "num_output"),
        (text("RNN", features=()), "time steps, streams, features"),
        (
            text("LSTM").replace(f'"cont" input_param {{ shape {{ dim: {T}', '"cont" input_param { shape { dim: 3'),
            "sequence marks",
        ),
        (text("LSTM", static=(4,)).replace(f"dim: {N} dim: 4", "dim: 9 dim: 4"), "static"),
        (text("RNN", static=(4,)).replace(f"dim: {N} dim: 4", f"dim: {N}"), "static"),
        (text("LSTM", exposed=True).replace("expose_hidden: true", ""), "3 bottoms"),
        (text("LSTM").replace(f"num_output: {D}", f"num_output: {D} expose_hidden: true"), "4 bottoms"),
        (text("LSTM", exposed=True).replace('top: "c0_out"', ""), "3 tops"),
        (text("LSTM", exposed=True).replace(f"num_output: {D}", "num_output: 3"), "states must have the shape"),
        (text("LSTM").replace('bottom: "cont"', ""), "2 bottoms"),
    ],
)
def test_refusals(net: str, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        protogen.loads(net)
    assert "'op'" in str(error.value)


def with_states(net: protogen.Net, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    return plain(net, [torch.tensor(value) for value in values.values()], static=False, exposed=True)


def marked(states: int) -> list[np.ndarray]:
    """Random features and states; one stream begins anew in the middle."""
    rng, cont = np.random.default_rng(0), np.ones((T, N))
    cont[2, 1] = 0
    values = [rng.standard_normal((T, N, 5)), cont, *rng.standard_normal((states, 1, N, D))]
    return [value.astype(np.float32) for value in values]


# Without the field, a state is one bottom too many, or is no x_static.
FILLED = f'recurrent_param {{ num_output: {D} weight_filler {{ type: "uniform" min: -1 }} bias_filler {{ value: 0.5 }} }}'
ALONE = [
    Alone(
        "LSTM", "recurrent_param.expose_hidden", True,
        f'bottom: "a" bottom: "b" bottom: "c" bottom: "d" top: "y" top: "h" top: "i" {FILLED}',
        [(T, N, 5), (T, N), (1, N, D), (1, N, D)], with_states, inputs=lambda: marked(2), refused="needs 3 bottoms",
    ),
    Alone(
        "RNN", "recurrent_param.expose_hidden", True, f'bottom: "a" bottom: "b" bottom: "c" top: "y" top: "h" {FILLED}',
        [(T, N, 5), (T, N), (1, N, D)], with_states, inputs=lambda: marked(1), refused="needs 1 top",
    ),
]  # fmt: skip
