"""The ONNX graph that layer types emit into: nodes, constants and names, with helpers that hide differences between opsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from ...errors import ConversionError
from .constant_folding import computed

if TYPE_CHECKING:
    import numpy as np
    import onnx

Shape = tuple[int, ...]
_TYPES = {"float32": 1, "int64": 7, "bool": 9, "float16": 10, "float64": 11}  # TensorProto.DataType by numpy's name
MAX_COMPARED = 64  # constants of up to this many values are stored once if equal
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}  # second operands that change nothing


class OpenValue:
    """A number or an array that is only known when the model runs; arithmetic with it emits nodes.

    Formulas written for numbers and numpy arrays thus work for dynamic sizes, too: `(h - 1) // 2` is a number if `h` is one. It
    has the array operators and methods that these formulas use. Its nodes are emitted when `name` is first read; constants take
    its element type. `//` and `%` are for non-negative integers only.

    >>> graph = OnnxGraph(17, dynamic_size=True)
    >>> half = (graph.dim("data", 2, 224) - 1) // 2
    >>> half.name, [node.op_type for node in graph.nodes]
    ('/Div', ['Shape', 'Slice', 'Sub', 'Div'])
    """

    __array_ufunc__ = None  # numpy leaves `array * value` to `__rmul__`

    def __init__(self, graph: OnnxGraph, emit: Callable[[], str], dtype: str = "int64") -> None:
        self.graph, self.dtype, self._emit = graph, dtype, emit

    @cached_property
    def name(self) -> str:
        """The name of the value, for use as an input of nodes."""
        return self._emit()

    def astype(self, dtype: str) -> OpenValue:
        """Cast to another element type, by numpy's name."""
        if dtype == self.dtype:
            return self
        return OpenValue(self.graph, lambda: self.graph.cast(self.name, dtype), dtype)

    def reshape(self, *shape: int) -> OpenValue:
        """Reshape; one -1 is inferred."""
        return OpenValue(self.graph, lambda: self.graph.reshape(self.name, shape), self.dtype)

    def scalar(self) -> OpenValue:
        """Drop its only axis, which has size 1."""
        return OpenValue(self.graph, lambda: self.graph.squeeze(self.name, [0]), self.dtype)

    def _op(self, op_type: str, other: Any) -> OpenValue:
        if isinstance(other, (int, float)) and other == _NEUTRAL.get(op_type):
            return self
        graph = self.graph
        return OpenValue(graph, lambda: graph.add(op_type, self.name, graph.constant(other, self.dtype)), self.dtype)

    def __add__(self, other: Any) -> OpenValue:
        return self._op("Add", other)

    def __sub__(self, other: Any) -> OpenValue:
        return self._op("Sub", other)

    def __mul__(self, other: Any) -> OpenValue:
        return self._op("Mul", other)

    def __truediv__(self, other: Any) -> OpenValue:
        return self._op("Div", other)

    def __rtruediv__(self, other: Any) -> OpenValue:
        graph = self.graph
        return OpenValue(graph, lambda: graph.add("Div", graph.constant(other, self.dtype), self.name), self.dtype)

    def __floordiv__(self, other: Any) -> OpenValue:
        return self._op("Div", other)

    def __mod__(self, other: Any) -> OpenValue:
        return self._op("Mod", other)

    __radd__, __rmul__ = __add__, __mul__


Size = int | OpenValue


class OnnxGraph:
    """Nodes and initializers of a model under construction.

    Attributes:
        opset: version of the standard operator set.
        dynamic_batch: whether the first axis of the inputs is dynamic.
        dynamic_size: whether height and width of the inputs are dynamic; then nothing emitted may depend on them.
        layer: name of the layer that is emitting; nodes and values are named after it.
        initializers: constants and weights by name.
        constants: names of the initializers that layers created (`<layer>/...`); the others are weights (`<layer>.<blob>`).
        views: weights in another shape: their names, mapped to those of the original weights.
    """

    def __init__(self, opset: int, dynamic_batch: bool = False, dynamic_size: bool = False) -> None:
        self.opset, self.dynamic_batch, self.dynamic_size = opset, dynamic_batch, dynamic_size
        self.layer = ""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.constants: set[str] = set()
        self.views: dict[str, str] = {}
        self._names: dict[str, int] = {}
        self._node_names: dict[str, int] = {}
        self._constants: dict[tuple[Any, ...], str] = {}

    # ---- names

    def unique(self, name: str) -> str:
        """`name`, with a number appended if it is taken; the result is taken from then on."""
        return _unique(name, self._names)

    def reserve(self, names: Sequence[str]) -> None:
        """Reserve names for values that are created later (blobs)."""
        for name in names:
            self._names.setdefault(name, 1)

    # ---- building

    @overload
    def add(self, op_type: str, *inputs: str, outputs: None = None, **attributes: Any) -> str: ...

    @overload
    def add(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]: ...

    def add(self, op_type: str, *inputs: str, outputs: int | None = None, **attributes: Any) -> str | list[str]:
        """Append a node; if all inputs are constants and `computed` supports the op, fold it into a constant instead.

        Args:
            op_type: the standard operator.
            inputs: names of its inputs; an empty one ("") skips an optional input.
            outputs: number of outputs, for operators with several.
            attributes: its attributes; those that are None are left out.

        Returns:
            The output's name, or a list of names if `outputs` is set.
        """
        names = self._outputs(op_type, inputs, outputs or 1, attributes)
        return names[0] if outputs is None else names

    def _outputs(self, op_type: str, inputs: Sequence[str], outputs: int, attributes: Mapping[str, Any]) -> list[str]:
        from onnx import helper

        if inputs and self.constants.issuperset(inputs):
            arrays = computed(op_type, [self.initializers[name] for name in inputs], attributes)
            if arrays is not None:
                return [self.constant(array, array.dtype.name) for array in arrays]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        names = [self.unique(f"{self.layer}/{op_type}:{i}" if outputs > 1 else f"{self.layer}/{op_type}") for i in range(outputs)]
        inputs = inputs[: max((i + 1 for i, name in enumerate(inputs) if name), default=0)]
        node_name = self.layer if not any(node.name == self.layer for node in self.nodes[-1:]) else f"{self.layer}/{op_type}"
        self.nodes.append(helper.make_node(op_type, inputs, names, name=self.unique_node(node_name), **attributes))
        return names

    def cast(self, x: str, dtype: str) -> str:
        """Cast to another element type, by numpy's name: "float16", "float32", "float64", "int64" or "bool"."""
        return self.add("Cast", x, to=_TYPES[dtype])

    def rows(self, x: str, index: str) -> str:
        """Items of `x` along axis 0 by an index of floats. One below 0, which Gather takes from the end, is out of range."""
        whole = self.cast(index, "int64")
        below = self.add("Less", whole, self.constant(0, "int64"))
        return self.add("Gather", x, self.add("Where", below, self.constant(2**31 - 1, "int64"), whole), axis=0)

    def loop(self, going: str, state: Sequence[tuple[str, str]], step: Callable[..., Sequence[str]]) -> list[str]:
        """Emit a Loop that replaces the state by the next one as long as a condition holds.

        Args:
            going: name of a bool scalar: whether to run the first iteration.
            state: name and element type (numpy's name) of each vector of the state; lengths must not change.
            step: emits the body: from the body's graph and the names of the state in it to the names of [whether to continue,
                *the next state]. It must not read any other values, as later clean-up passes do not look into bodies.

        Returns:
            The names of the final state.
        """
        from onnx import TensorProto, helper, numpy_helper

        body = OnnxGraph(self.opset, self.dynamic_batch, self.dynamic_size)
        body.layer, body._names, body._node_names = self.layer, self._names, self._node_names
        count, before = self.unique(f"{self.layer}/step"), self.unique(f"{self.layer}/going")
        names = [self.unique(f"{self.layer}/state") for _ in state]
        outputs = list(step(body, names))
        kinds = [TensorProto.BOOL, *(_TYPES[dtype] for _, dtype in state)]
        info = helper.make_tensor_value_info
        results = [info(name, kind, [None] * (i > 0)) for i, (name, kind) in enumerate(zip(outputs, kinds))]
        inputs = [info(count, TensorProto.INT64, []), info(before, kinds[0], [])]
        inputs += [info(name, kind, [None]) for name, kind in zip(names, kinds[1:])]
        constants = [numpy_helper.from_array(array, name) for name, array in body.initializers.items()]
        graph = helper.make_graph(body.nodes, f"{self.layer}/body", inputs, results, constants)
        return self.add("Loop", "", going, *(name for name, _ in state), outputs=len(state), body=graph)

    def unique_node(self, name: str) -> str:
        """`name` for a node, with a number appended if another node has it; the result is taken from then on."""
        return _unique(name, self._node_names)

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """The name of an initializer with this value; equal small ones are stored once. An `OpenValue` already has a name.

        Args:
            value: number, sequence or array, or an `OpenValue` of that element type.
            dtype: numpy's name of the element type.
        """
        import numpy as np

        if isinstance(value, OpenValue):
            assert value.dtype == dtype, (value.dtype, dtype)
            return value.name

        array = np.asarray(value, dtype=dtype, order="C")
        if array.size > MAX_COMPARED:
            return self.own_array("constant", array)
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.own_array("constant", array)
        return self._constants[key]

    def own_array(self, what: str, array: np.ndarray) -> str:
        """The name of an initializer for an array that the layer computed, such as its boxes; not copied."""
        return self._keep(f"{self.layer}/{what}", array, is_constant=True)

    def weight(self, name: str, array: np.ndarray) -> str:
        """The name of an initializer for weights: `name`, with a number appended if it is taken; not copied."""
        return self._keep(name, array, is_constant=False)

    def ints(self, *values: Size) -> str:
        """An int64 vector (shapes, axes, indices); a constant if none of the values is dynamic."""
        if not any(isinstance(value, OpenValue) for value in values):
            return self.constant(list(values), "int64")
        parts = [self.constant(value if isinstance(value, OpenValue) else [value], "int64") for value in values]
        return self.add("Concat", *parts, axis=0)

    def scalar(self, value: float | OpenValue) -> str:
        """A float32 scalar: a constant, or a dynamic size cast to float."""
        return self.constant(value.astype("float32").scalar() if isinstance(value, OpenValue) else value)

    def _keep(self, name: str, array: np.ndarray, is_constant: bool) -> str:
        name = self.unique(name)
        self.initializers[name] = array
        if is_constant:
            self.constants.add(name)
        return name

    def refuse(self, why: str) -> ConversionError:
        """The error that the current layer cannot be emitted with these options; `why` completes the message."""
        return ConversionError(f"layer {self.layer!r}: {why}")

    # ---- sizes: numbers where they are static

    def dim(self, x: str, axis: int, size: int) -> Size:
        """The size of an axis of `x`: a number if it is static, else a vector of one value.

        The first axis is dynamic with `dynamic_batch`, the third and later ones with `dynamic_size`.

        Args:
            x: name of the value.
            axis: the axis.
            size: its size at the shapes that the layer is set up for.
        """
        is_open = self.dynamic_batch if axis == 0 else self.dynamic_size and axis > 1
        return OpenValue(self, lambda: self.size_of(x, axis)) if is_open else size

    def size_of(self, x: str, axis: int) -> str:
        """The size of an axis as an int64 vector of one value, read when the model runs."""
        return self.slice(self.add("Shape", x), [axis], [axis + 1], [0])

    def at_most(self, size: Size, most: int | None) -> Size:
        """The smaller of `size` and `most`; None means no limit."""
        if most is None:
            return size
        if isinstance(size, int):
            return min(size, most)
        names = [size.name, self.ints(most)]  # Min takes no integers before opset 12
        return OpenValue(self, lambda: self.add("Where", self.add("Less", *names), *names))

    def range(self, size: Size, dtype: str = "int64") -> np.ndarray | OpenValue:
        """0, 1, 2, ... size - 1: an array, or an `OpenValue`."""
        import numpy as np

        if isinstance(size, int):
            return np.arange(size, dtype=dtype)
        first, step = (self.constant(number, "int64") for number in (0, 1))
        return OpenValue(self, lambda: self.add("Range", first, size.scalar().name, step)).astype(dtype)

    # ---- ops whose form depends on the opset, and small combinations

    def reshape(self, x: str, shape: Sequence[Size]) -> str:
        """Reshape; 0 copies the axis of `x`, and one -1 is inferred (a single dynamic size is treated as -1).

        Initializers are stored in the new shape directly: OpenCV 5 crashes on a PRelu whose slopes come from a node.
        """
        numbers = [size for size in shape if isinstance(size, int) and size]
        if x in self.initializers and len(numbers) == len(shape):
            view = self._keep(x, self.initializers[x].reshape(numbers), x in self.constants)
            self.views[view] = x
            return view
        if -1 not in shape and sum(isinstance(size, OpenValue) for size in shape) == 1:
            shape = [-1 if isinstance(size, OpenValue) else size for size in shape]
        return self.add("Reshape", x, self.ints(*shape))

    def transpose(self, x: str, axes: Sequence[int]) -> str:
        """Permute axes."""
        return self.add("Transpose", x, perm=list(axes))

    def reduce(self, kind: str, x: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """Reduce over axes.

        Args:
            kind: the operator's name without "Reduce": "Sum", "Mean", "Max", "L1", "SumSquare", ...
            x: name of the value.
            axes: axes to reduce.
            keepdims: whether they stay, with size 1.
        """
        moved_at = 13 if kind == "Sum" else 18  # opset in which axes became an input, for Sum first
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
        """Split an axis into pieces.

        Args:
            x: name of the value.
            sizes: sizes of the pieces.
            axis: axis to split.
        """
        if self.opset >= 13:
            return self.add("Split", x, self.ints(*sizes), outputs=len(sizes), axis=axis)
        return self.add("Split", x, outputs=len(sizes), axis=axis, split=list(sizes))

    def slice(self, x: str, starts: Sequence[int], ends: Sequence[Size], axes: Sequence[int], steps: Sequence[int] = ()) -> str:
        """Slice along some axes.

        Args:
            x: name of the value.
            starts, ends: range along each of `axes`; an end of 2**62 means "to the end".
            axes: axes to slice.
            steps: step along each of `axes`, by default 1.
        """
        extra = [self.ints(*steps)] if steps else []
        return self.add("Slice", x, self.ints(*starts), self.ints(*ends), self.ints(*axes), *extra)

    def pad(self, x: str, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> str:
        """Pad with a constant.

        Args:
            x: name of the value.
            before, after: number of values to add to each axis.
            value: the constant.
        """
        return self.add("Pad", x, self.ints(*before, *after), self.scalar(value), mode="constant")

    def clip(self, x: str, low: float | None, high: float | Size | None) -> str:
        """Limit values to a range.

        Args:
            x: name of the value.
            low, high: the range, inclusive; None leaves a side open.
        """
        bounds = ["" if bound is None else self.scalar(bound) for bound in (low, high)]
        return self.add("Clip", x, *bounds)

    def softmax(self, x: str, axis: int, ndim: int) -> str:
        """Softmax over one axis.

        Args:
            x: name of the value.
            axis: the axis.
            ndim: number of axes of `x`.
        """
        if self.opset >= 13 or axis == ndim - 1:
            return self.add("Softmax", x, axis=axis)
        # Before opset 13 Softmax flattened everything from `axis` on.
        swapped = [i for i in range(ndim) if i != axis] + [axis]
        back = [swapped.index(i) for i in range(ndim)]
        return self.transpose(self.add("Softmax", self.transpose(x, swapped), axis=ndim - 1), back)

    def filled(self, shape: str, value: float) -> str:
        """A float32 tensor filled with one number; `shape` is the name of a value that holds its shape."""
        import numpy as np
        from onnx import numpy_helper

        return self.add("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([value], np.float32)))

    def positions(self, mask: str) -> str:
        """Flat indices (M,) of the non-zero values of a mask, in ascending order, as int64."""
        return self.squeeze(self.add("NonZero", self.reshape(mask, [-1])), [0])

    def count(self, x: str) -> str:
        """0, 1, 2, ... as int64, one per item along axis 0."""
        return self.positions(self.filled(self.size_of(x, 0), 1.0))

    def round_away(self, x: str) -> str:
        """Round to whole numbers, halves away from zero (ONNX's Round takes them to the even number)."""
        size = self.add("Abs", x)
        whole = self.add("Floor", size)
        down = self.add("Less", self.add("Sub", size, whole), self.scalar(0.5))
        rounded = self.add("Where", down, whole, self.add("Add", whole, self.scalar(1.0)))
        return self.add("Mul", rounded, self.add("Sign", x))

    def affine(self, x: str, scale: str | None, shift: str | None) -> str:
        """x * scale + shift.

        Args:
            x: name of the value.
            scale, shift: names of values that broadcast against it, None to leave one out.
        """
        if scale is not None:
            x = self.add("Mul", x, scale)
        return x if shift is None else self.add("Add", x, shift)


def _unique(name: str, taken: dict[str, int]) -> str:
    """Return `name`, with the first number that makes it new if it is taken, and take it.

    Args:
        name: the name.
        taken: for each name that is taken, the number up to which it is taken with a number, too: an unrolled sequence asks for
            one name thousands of times.
    """
    candidate, number = name, taken.get(name, 1)
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken[name] = number
    taken.setdefault(candidate, 1)
    return candidate
