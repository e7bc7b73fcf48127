"""Fields set alone: a layer, one field of it, and what a reference says the layer then gives.

Each test file of a family keeps a list `ALONE` of those computed fields of its types that no case of real Caffe
notices, be they set in one; `test_fields.py` collects the lists, runs each row and demands one for every such field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from protogen.prototxt.layer import Layer
from protogen.prototxt.message import Message
from protogen.reading import read_definition
from tests.layers.nets import net_of, text_of, values_for
from tests.running import Arrays

Results = Sequence[np.ndarray]
# From the net with the field and its inputs by name to its outputs, followed by what `stored` and `gradient` ask for.
Reference = Callable[[protogen.Net, Arrays], Results]


@dataclass(frozen=True)
class Alone:
    """One field set alone.

    Args:
        type: Layer type.
        path: Field, from the layer on: "convolution_param.hole".
        value: What the field is set to; other than its default.
        layer: The layer without the field: the text between its braces, but for name and type.
        shapes: Shapes of the inputs "a", "b", ...
        expected: What the layer then gives: a function restating the fork's code, or the text of a layer (with its type) in
            fields whose results are known, on the same inputs and weights.
        inputs: Values of the inputs; random ones by default.
        phase: "TEST" or "TRAIN".
        gradient: Inputs and blobs ("a", "op[0]") whose gradients are compared too, of the sum of all outputs.
        tolerance: Of max(1, largest expected value).
        refused: Why the layer without the field is refused, for one that needs it or fits no other shapes.
        blobs: The layer's blobs; by default what its fillers give.
        stored: Which blobs are compared as well, as they are after the pass; after the outputs, before gradients.
    """

    type: str
    path: str
    value: Any
    layer: str
    shapes: Sequence[tuple[int, ...]]
    expected: Reference | str
    inputs: Callable[[], Results] | None = None
    phase: str = "TEST"
    gradient: tuple[str, ...] = ()
    tolerance: float = 1e-5
    refused: str = ""
    blobs: Results = ()
    stored: tuple[int, ...] = ()

    def check(self) -> None:
        """Hold the layer with the field against the reference, and see that the field makes a difference to it."""
        definition = read_definition(text_of(f'type: "{self.type}" {self.layer}', *self.shapes), "<text>", None)
        net = protogen.Net(with_field(definition, self.type, self.path, self.value), phase=self.phase)
        if self.blobs:
            net.weights["op"] = [np.asarray(blob, np.float32) for blob in self.blobs]
        net.fill(1)
        values = dict(zip("abcde", self.inputs())) if self.inputs else values_for(net)
        expected = self.expected(net, values) if callable(self.expected) else self._twin(net, values, self.expected)
        assert_close(self._results(net, values), expected, self.tolerance)
        if self.refused:
            with pytest.raises(LayerError, match=self.refused):
                protogen.Net(definition, phase=self.phase)
            return
        plain = protogen.Net(definition, phase=self.phase)
        plain.weights.update({name: blobs for name, blobs in net.weights.items() if fits(plain, name, blobs)})
        without = self._results(plain, values)
        assert not alike(without, expected, self.tolerance), f"{self.path} makes no difference here"

    def _twin(self, net: protogen.Net, values: Arrays, text: str) -> Results:
        twin = net_of(text, *self.shapes, phase=self.phase)
        twin.weights.update(dict(net.weights))
        return self._results(twin, values)

    def _results(self, net: protogen.Net, values: Arrays) -> Results:
        torch.manual_seed(0)
        module = net.fill(1).to_torch().train(self.phase == "TRAIN")
        tensors = {name: torch.tensor(values[name], requires_grad=name in self.gradient) for name in net.inputs}
        tops = [top for name, top in module.blobs(*tensors.values()).items() if name not in net.inputs]
        results = [top.detach().numpy().copy() for top in tops]
        results += [module.caffe_params("op")[i].detach().numpy().copy() for i in self.stored]
        if self.gradient:
            sum(top.sum() for top in tops if top.requires_grad).backward()
            results += [gradient_of(module, tensors, name) for name in self.gradient]
        return results


def gradient_of(module: torch.nn.Module, inputs: dict[str, torch.Tensor], name: str) -> np.ndarray:
    """Gradient of the input "a" or the blob "op[0]"; zeros where there is none."""
    layer, _, index = name.rstrip("]").partition("[")
    leaf = module.caffe_params(layer)[int(index)] if index else inputs[name]
    grad = module.caffe_grads(layer)[int(index)] if index else leaf.grad
    return np.zeros(leaf.shape, np.float32) if grad is None else grad.numpy()


def altered(net: protogen.Net, type: str, path: str, value: Any, **options: Any) -> protogen.Net:
    """`net` with one field of its layer of a type set."""
    return protogen.Net(with_field(net.definition, type, path, value), phase=net.phase, **options)


def with_field(definition: Message, type: str, path: str, value: Any) -> Message:
    """A copy of a net's definition with one field of its layer of a type set."""
    definition = definition.copy()
    message = next(m for m in definition.layer if Layer(m).full_type == type)
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in message:
            message.set(parent, {})
        message = getattr(message, parent)
    message.set(name, value)
    return definition


def fits(net: protogen.Net, layer: str, blobs: Results) -> bool:
    return [tuple(blob.shape) for blob in blobs] == net.param_shapes.get(layer)


def alike(a: Results, b: Results, tolerance: float) -> bool:
    """Whether two lists of results are equal up to rounding."""
    return [x.shape for x in a] == [y.shape for y in b] and all(
        np.allclose(x, y, rtol=0, atol=tolerance * max(1.0, float(np.abs(y).max(initial=0)))) for x, y in zip(a, b)
    )


def assert_close(actual: Results, expected: Results, tolerance: float) -> None:
    assert [x.shape for x in actual] == [y.shape for y in expected]
    for i, (x, y) in enumerate(zip(actual, expected)):
        bound = tolerance * max(1.0, float(np.abs(y).max(initial=0)))
        np.testing.assert_allclose(x, y, rtol=0, atol=bound, err_msg=f"result {i}")


def rows() -> Iterator[Alone]:
    """The rows of every test file that keeps some."""
    here = Path(__file__).parent
    for path in sorted(here.rglob("test_*.py")):
        if "\nALONE = [" in path.read_text(encoding="utf-8"):
            yield from import_module(".".join(("tests", "layers", *path.relative_to(here).with_suffix("").parts))).ALONE
