"""What layer types emit ONNX into: nodes, constants and names, with helpers that hide the differences of opsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConversionError

if TYPE_CHECKING:
    import numpy as np
    import onnx

Shape = tuple[int, ...]


class OnnxGraph:
    """Nodes and initializers of a model in the making.

    Attributes:
        opset: version of the standard operator set that nodes must keep to.
        dynamic_batch: whether the first axis of the inputs is open.
        dynamic_size: whether height and width of the inputs are open: what is emitted must not depend on them.
        layer: name of the layer that is emitting; nodes and values are named after it.
        initializers: constants and weights by name.
    """

    def __init__(self, opset: int, dynamic_batch: bool = False, dynamic_size: bool = False) -> None:
        self.opset, self.dynamic_batch, self.dynamic_size = opset, dynamic_batch, dynamic_size
        self.layer = ""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self._names: set[str] = set()
        self._constants: dict[tuple[Any, ...], str] = {}

    # ---- names

    def unique(self, name: str) -> str:
        """`name`, with a number behind it if it is taken; taken from now on."""
        candidate, number = name, 1
        while candidate in self._names:
            number += 1
            candidate = f"{name}_{number}"
        self._names.add(candidate)
        return candidate

    def reserve(self, names: Sequence[str]) -> None:
        """Keep names for values that get them later (blobs)."""
        self._names.update(names)

    # ---- building

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Append a node and return its output's name, or a list of names if `outputs` is not 1.

        Attributes that are None are left out; an empty input name ("") skips an optional input. Constants are joined at once: a
        Concat of prior boxes, say, becomes an initializer.
        """
        from onnx import helper

        if op_type == "Concat" and all(name in self.initializers for name in inputs):
            import numpy as np

            joined = np.concatenate([self.initializers[name] for name in inputs], attributes["axis"])
            return self.initializer(f"{self.layer}/constant", joined)
        given = {key: value for key, value in attributes.items() if value is not None}
        names = [self.unique(f"{self.layer}/{op_type}:{i}" if outputs > 1 else f"{self.layer}/{op_type}") for i in range(outputs)]
        inputs = inputs[: max((i + 1 for i, name in enumerate(inputs) if name), default=0)]
        node_name = self.layer if not any(node.name == self.layer for node in self.nodes[-1:]) else f"{self.layer}/{op_type}"
        self.nodes.append(helper.make_node(op_type, inputs, names, name=self._node_name(node_name), **given))
        return names[0] if outputs == 1 else names

    def _node_name(self, name: str) -> str:
        return self.unique("node:" + name).removeprefix("node:")

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """The name of an initializer with this value; equal small ones are stored once.

        Args:
            value: number, sequence or array.
            dtype: numpy's name of the element type.
        """
        import numpy as np

        array = np.asarray(value, dtype=dtype, order="C")
        key = (dtype, array.shape, array.tobytes()) if array.size <= 64 else (id(value), dtype, len(self.initializers))
        if key not in self._constants:
            self._constants[key] = self.initializer(f"{self.layer}/constant", array)
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """An int64 vector constant (shapes, axes, indices)."""
        return self.constant(list(values), "int64")

    def scalar(self, value: float) -> str:
        """A float32 scalar constant."""
        return self.constant(value)

    def initializer(self, name: str, array: np.ndarray) -> str:
        """Keep an array under `name` (made unique) and return that name; not copied."""
        name = self.unique(name)
        self.initializers[name] = array
        return name

    def refuse(self, why: str) -> ConversionError:
        """An error that says why this layer cannot be emitted as asked."""
        return ConversionError(f"layer {self.layer!r}: {why}")

    # ---- ops whose form depends on the opset, and small combinations

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Reshape; 0 copies the axis of `x`, -1 is inferred (one at most)."""
        return self.add("Reshape", x, self.ints(*shape))

    def transpose(self, x: str, axes: Sequence[int]) -> str:
        """Permute axes."""
        return self.add("Transpose", x, perm=list(axes))

    def reduce(self, kind: str, x: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """ReduceSum, ReduceMean, ReduceMax, ... over axes; `kind` is "Sum", "Mean", "Max", "L1", "SumSquare", ..."""
        moved_at = 13 if kind == "Sum" else 18  # axes became an input, for Sum first
        if self.opset >= moved_at:
            return self.add(f"Reduce{kind}", x, self.ints(*axes), keepdims=int(keepdims))
        return self.add(f"Reduce{kind}", x, axes=list(axes), keepdims=int(keepdims))

    def squeeze(self, x: str, axes: Sequence[int]) -> str:
        """Drop axes of size 1."""
        if self.opset >= 13:
            return self.add("Squeeze", x, self.ints(*axes))
        return self.add("Squeeze", x, axes=list(axes))

    def unsqueeze(self, x: str, axes: Sequence[int]) -> str:
        """Insert axes of size 1."""
        if self.opset >= 13:
            return self.add("Unsqueeze", x, self.ints(*axes))
        return self.add("Unsqueeze", x, axes=list(axes))

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Cut an axis into pieces of the given sizes."""
        if self.opset >= 13:
            made = self.add("Split", x, self.ints(*sizes), outputs=len(sizes), axis=axis)
        else:
            made = self.add("Split", x, outputs=len(sizes), axis=axis, split=list(sizes))
        return made if isinstance(made, list) else [made]

    def slice(self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int] = ()) -> str:
        """Slice; an end of 2**62 means "to the end"."""
        extra = [self.ints(*steps)] if steps else []
        return self.add("Slice", x, self.ints(*starts), self.ints(*ends), self.ints(*axes), *extra)

    def pad(self, x: str, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> str:
        """Pad every axis with a constant."""
        return self.add("Pad", x, self.ints(*before, *after), self.scalar(value), mode="constant")

    def clip(self, x: str, low: float | None, high: float | None) -> str:
        """Limit values to [low, high]; None leaves a side open."""
        bounds = ["" if bound is None else self.scalar(bound) for bound in (low, high)]
        return self.add("Clip", x, *bounds)

    def softmax(self, x: str, axis: int, ndim: int, log: bool = False) -> str:
        """Softmax (or its logarithm) over one axis of a tensor with `ndim` axes."""
        op = "LogSoftmax" if log else "Softmax"
        if self.opset >= 13 or axis == ndim - 1:
            return self.add(op, x, axis=axis)
        # Before opset 13 Softmax flattened everything from `axis` on.
        swapped = [i for i in range(ndim) if i != axis] + [axis]
        back = [swapped.index(i) for i in range(ndim)]
        return self.transpose(self.add(op, self.transpose(x, swapped), axis=ndim - 1), back)

    def affine(self, x: str, scale: str | None, shift: str | None) -> str:
        """x * scale + shift, either of them optional."""
        if scale is not None:
            x = self.add("Mul", x, scale)
        return x if shift is None else self.add("Add", x, shift)
