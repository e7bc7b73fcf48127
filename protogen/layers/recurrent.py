"""LSTM and RNN over sequences delimited by `cont` marks.

Sources: caffe/layers/recurrent_layer.cpp, lstm_layer.cpp, lstm_unit_layer.cpp, rnn_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from .base import BlobSpec, LayerType, count
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


class Recurrent(LayerType):
    """The base of the recurrent layers; bottoms x (T, N, ...), cont (T, N), optionally x_static (N, ...), optionally states.

    `cont` is 0 where a sequence begins: the state before that step is taken as 0. The state before the first step is 0; Caffe
    keeps the last one of the previous batch, which a stateless module cannot. With `expose_hidden` it is passed in as bottoms
    (1, N, num_output) and returned as tops; as in Caffe, no gradient flows through either.

    Attributes:
        T, N, size: numbers of time steps and of streams, and `num_output`.
        static: whether there is an x_static.
        exposed: whether states are passed in and returned.
        states: names of the states.
        gates: number of gates; a step sums up `num_output` values for each.
    """

    param_name = "recurrent_param"
    fields = Fields(
        "num_output weight_filler bias_filler expose_hidden",
        debug_info="BVLC/caffe src/caffe/layers/recurrent_layer.cpp:109: prints statistics",
    )
    n_bottoms: ClassVar[tuple[int, int | None]] = (2, None)
    n_tops: ClassVar[tuple[int, int | None]] = (1, None)
    states: tuple[str, ...] = ("h",)
    gates = 1
    operator = "RNN"  # ONNX's

    @property
    def sees_all(self) -> bool:
        return True

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.size, self.exposed = int(p.num_output), bool(p.expose_hidden)
        self.check(self.size > 0, "num_output must be positive")
        self.check(len(shape) >= 3, f"its first bottom must be (time steps, streams, features...), not {shape}")
        self.T, self.N = shape[:2]
        self.check(self.T > 0, "needs at least one time step")
        self.check(
            self.bottoms[1] == (self.T, self.N),
            f"its second bottom, the sequence marks, must be {(self.T, self.N)}, not {self.bottoms[1]}",
        )
        hidden = len(self.states) if self.exposed else 0
        self.static = len(self.bottoms) > 2 + hidden
        bottoms, tops = 2 + hidden + self.static, 1 + hidden
        names = f"x, cont{', x_static' if self.static else ''}{', ' + ', '.join(self.states) if hidden else ''}"
        self.check(len(self.bottoms) == bottoms, f"needs {bottoms} bottoms ({names}), has {len(self.bottoms)}")
        self.check(len(self.layer.tops) == tops, f"needs {tops} tops, has {len(self.layer.tops)}")
        self._check_static()
        state = (1, self.N, self.size)
        for bottom in self.bottoms[len(self.bottoms) - hidden :] if hidden else ():
            self.check(bottom == state, f"states must have the shape {state}, not {bottom}")
        self.tops = [(self.T, self.N, self.size), *[state] * hidden]
        self.blobs = self._specs()
        # Each matrix is used once per step and stream, that of x_static once per stream.
        matrices = sum(blob.count for blob in self.blobs if len(blob.shape) == 2)
        fixed = self.blobs[2].count if self.static else 0
        self.macs = self.T * self.N * (matrices - fixed) + self.N * fixed

    def _check_static(self) -> None:
        if self.static:
            shape = self.bottoms[2]
            self.check(len(shape) >= 2 and shape[0] == self.N, f"its static bottom must be ({self.N}, features...), not {shape}")

    def _specs(self) -> list[BlobSpec]:
        p, rows = self.param, self.gates * self.size
        specs = [
            BlobSpec("weight_x", (rows, count(self.bottoms[0][2:])), p.weight_filler),
            BlobSpec("bias", (rows,), p.bias_filler),
        ]
        if self.static:
            specs.append(BlobSpec("weight_static", (rows, count(self.bottoms[2][1:])), p.weight_filler))
        return [*specs, BlobSpec("weight_h", (rows, self.size), p.weight_filler)]

    # ---- PyTorch

    def forward(self, x: Tensor, cont: Tensor, *others: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor | list[Tensor]:
        import torch
        from torch.nn import functional as F

        inputs = F.linear(x.flatten(2), blobs[0], blobs[1])
        if self.static:
            inputs = inputs + F.linear(others[0].flatten(1), blobs[2])
        if self.exposed:
            state = [bottom.detach()[0] for bottom in others[int(self.static) :]]
        else:
            state = [x.new_zeros(x.shape[1], self.size) for _ in self.states]
        weight, hidden = blobs[2 + self.static], []
        for t, marks in enumerate(cont.detach().to(x.dtype).unsqueeze(2).unbind(0)):
            state = self.step(inputs[t] + self.carried(state[0], marks, weight), state, marks)
            hidden.append(state[0])
        top = self.output(torch.stack(hidden), blobs)
        return [top, *(last.detach().unsqueeze(0) for last in state)] if self.exposed else top

    def carried(self, hidden: Tensor, cont: Tensor, weight: Tensor) -> Tensor:
        """What the hidden state (N, size) before a step adds to the sums (N, gates * size) of the step."""
        from torch.nn import functional as F

        return F.linear(hidden * cont, weight)

    def step(self, gates: Tensor, state: list[Tensor], cont: Tensor) -> list[Tensor]:
        """Advance the state by one step.

        Args:
            gates: the sums (N, gates * size) of this step.
            state: tensors (N, size) of the state before it.
            cont: the marks (N, 1).

        Returns:
            The state after the step.
        """
        raise NotImplementedError

    def output(self, hidden: Tensor, blobs: Sequence[Tensor]) -> Tensor:
        """The top, from the hidden state (T, N, size) after each step."""
        return hidden

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> list[str]:
        x, cont, states = bottoms[0], bottoms[1], list(bottoms[2:])
        static = states.pop(0) if self.static else None
        if not self.static and self.runs_through(graph, cont):
            hidden, *last = self._as_operator(graph, x, states, blobs)
        elif graph.dynamic_batch:
            raise graph.refuse(
                "the steps of a sequence with marks (cont) are unrolled, which needs a fixed number of steps; "
                "convert with a fixed batch"
            )
        else:
            hidden, *last = self._unrolled(graph, x, cont, static, states, blobs)
        return [self.onnx_output(graph, hidden, blobs), *(last if self.exposed else [])]

    def runs_through(self, graph: OnnxGraph, cont: str) -> bool:
        """Whether `cont` is known not to reset any state: it is 1, except perhaps at the first step, whose state is 0 anyway."""
        if self.T == 1 and not self.exposed and not graph.dynamic_batch:
            return True
        marks = _constant(graph, cont)
        return marks is not None and bool((marks[0 if self.exposed else 1 :] == 1).all())

    def _as_operator(self, graph: OnnxGraph, x: str, states: Sequence[str], blobs: Sequence[str]) -> list[str]:
        """Emit ONNX's LSTM or RNN; returns the hidden states (T, N, size) of all steps, then the last states."""
        import numpy as np

        arrays = [self.onnx_gates(graph.initializers[name]) for name in blobs[:3]]
        arrays[1] = np.concatenate([arrays[1], np.zeros_like(arrays[1])])  # ONNX has a second bias, for the recurrence
        weight_x, bias, weight_h = (graph.own_array("constant", array[None]) for array in arrays)
        values = graph.add(
            self.operator, self._features(graph, x), weight_x, weight_h, bias, "", *states,
            outputs=1 + len(self.states), hidden_size=self.size,
        )  # fmt: skip
        return [graph.squeeze(values[0], [1]), *values[1:]]

    def _features(self, graph: OnnxGraph, x: str) -> str:
        return x if len(self.bottoms[0]) == 3 else graph.reshape(x, (0, 0, count(self.bottoms[0][2:])))

    def _unrolled(
        self, graph: OnnxGraph, x: str, cont: str, static: str | None, states: Sequence[str], blobs: Sequence[str]
    ) -> list[str]:
        """Emit the same step by step, in plain ops."""
        sums = graph.add("Add", graph.add("MatMul", self._features(graph, x), graph.transpose(blobs[0], (1, 0))), blobs[1])
        if static is not None:
            flat = static if len(self.bottoms[2]) == 2 else graph.add("Flatten", static, axis=1)
            sums = graph.add("Add", sums, graph.add("MatMul", flat, graph.transpose(blobs[2], (1, 0))))
        steps = graph.split(sums, [1] * self.T, 0)
        marks = graph.split(graph.unsqueeze(cont, [2]), [1] * self.T, 0)
        weight = graph.transpose(blobs[2 + self.static], (1, 0))
        state, hidden = list(states), []
        for step, mark in zip(steps, marks):
            if state:
                kept = graph.add("Mul", state[0], mark)
                step = graph.add("Add", step, graph.add("MatMul", kept, weight))
            state = self.onnx_step(graph, step, state, mark)
            hidden.append(state[0])
        return [graph.add("Concat", *hidden, axis=0), *state]

    def onnx_gates(self, rows: np.ndarray) -> np.ndarray:
        """A blob with the rows of its gates in ONNX's order."""
        return rows

    def onnx_step(self, graph: OnnxGraph, gates: str, state: Sequence[str], cont: str) -> list[str]:
        """Emit `step`.

        Args:
            graph: the graph to emit into.
            gates: the sums (1, N, gates * size) of this step.
            state: values (1, N, size) of the state before it; empty before the first step if that state is 0.
            cont: the marks (1, N, 1).

        Returns:
            Values of the state after the step.
        """
        raise NotImplementedError

    def onnx_output(self, graph: OnnxGraph, hidden: str, blobs: Sequence[str]) -> str:
        """Emit `output`.

        Args:
            graph: the graph to emit into.
            hidden: the hidden state (T, N, size) after each step.
            blobs: the learnable blobs.
        """
        return hidden


@register("LSTM")
class LSTM(Recurrent):
    """Long short-term memory: (i, f, o, g) = W_x x + b (+ W_s x_static) + W_h (cont h); c = cont f c + i g; h = o tanh(c).

    i, f, o go through a sigmoid, g through tanh; the top is h (T, N, num_output). Blobs: W_x (4D, features), b (4D,), W_s
    (4D, features) if there is an x_static, W_h (4D, D). States h and c.
    """

    states = ("h", "c")
    gates = 4
    operator = "LSTM"

    def step(self, gates: Tensor, state: list[Tensor], cont: Tensor) -> list[Tensor]:
        i, f, o, g = gates.chunk(4, dim=1)
        c = cont * f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]

    def onnx_gates(self, rows: np.ndarray) -> np.ndarray:
        import numpy as np

        i, f, o, g = np.split(rows, 4)
        return np.concatenate([i, o, f, g])

    def onnx_step(self, graph: OnnxGraph, gates: str, state: Sequence[str], cont: str) -> list[str]:
        i, f, o, g = graph.split(gates, [self.size] * 4, 2)
        c = graph.add("Mul", graph.add("Sigmoid", i), graph.add("Tanh", g))
        if state:
            kept = graph.add("Mul", graph.add("Mul", graph.add("Sigmoid", f), cont), state[1])
            c = graph.add("Add", kept, c)
        return [graph.add("Mul", graph.add("Sigmoid", o), graph.add("Tanh", c)), c]


@register("RNN")
class RNN(Recurrent):
    """h = tanh(W_x x + b (+ W_s x_static) + W_h (cont h)); the top is tanh(W_o h + b_o) (T, N, num_output).

    Blobs: W_x (D, features), b (D,), W_s (D, features) if there is an x_static, W_h (D, D), W_o (D, D), b_o (D,). State h.
    """

    def _specs(self) -> list[BlobSpec]:
        p = self.param
        out = [BlobSpec("weight_o", (self.size, self.size), p.weight_filler), BlobSpec("bias_o", (self.size,), p.bias_filler)]
        return super()._specs() + out

    def step(self, gates: Tensor, state: list[Tensor], cont: Tensor) -> list[Tensor]:
        return [gates.tanh()]

    def output(self, hidden: Tensor, blobs: Sequence[Tensor]) -> Tensor:
        from torch.nn import functional as F

        return F.linear(hidden, blobs[-2], blobs[-1]).tanh()

    def onnx_step(self, graph: OnnxGraph, gates: str, state: Sequence[str], cont: str) -> list[str]:
        return [graph.add("Tanh", gates)]

    def onnx_output(self, graph: OnnxGraph, hidden: str, blobs: Sequence[str]) -> str:
        linear = graph.add("MatMul", hidden, graph.transpose(blobs[-2], (1, 0)))
        return graph.add("Tanh", graph.add("Add", linear, blobs[-1]))


def _constant(graph: OnnxGraph, name: str) -> np.ndarray | None:
    """The array of a constant value, an initializer or DummyData's ConstantOfShape; None for any other value."""
    import numpy as np
    from onnx import helper, numpy_helper

    if name in graph.initializers:
        return graph.initializers[name]
    for node in graph.nodes:
        if name in node.output and node.op_type == "ConstantOfShape" and node.input[0] in graph.initializers:
            shape = graph.initializers[node.input[0]]
            value = numpy_helper.to_array(helper.get_node_attr_value(node, "value"))
            return np.full(tuple(shape), value[0])
    return None
