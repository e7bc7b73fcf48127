"""What layer types emit ONNX into: nodes, constants and names, with helpers that hide the differences of opsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from ...errors import ConversionError

if TYPE_CHECKING:
    import numpy as np
    import onnx

Shape = tuple[int, ...]
_TYPES = {"float32": 1, "int64": 7, "bool": 9, "float64": 11}  # TensorProto.DataType by numpy's name
MAX_COMPARED = 64  # values of a constant that is stored once for all that are equal
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}  # second operands that change nothing


class OpenValue:
    """A number or an array that is known only when the model runs; to compute with it is to emit nodes.

    So a formula written for numbers and numpy arrays serves open sizes, too: `(h - 1) // 2` is a number as long as `h` is
    one. It has the operators and methods of an array that such formulas need. Its nodes are emitted once its name is asked
    for; constants take its element type. `//` and `%` are for integers that are not negative.

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
        """What nodes call it."""
        return self._emit()

    def astype(self, dtype: str) -> OpenValue:
        """Another element type."""
        if dtype == self.dtype:
            return self
        return OpenValue(self.graph, lambda: self.graph.cast(self.name, dtype), dtype)

    def reshape(self, *shape: int) -> OpenValue:
        """Another shape; one -1 is inferred."""
        return OpenValue(self.graph, lambda: self.graph.reshape(self.name, shape), self.dtype)

    def scalar(self) -> OpenValue:
        """Without its only axis, of size 1."""
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
    """Nodes and initializers of a model in the making.

    Attributes:
        opset: version of the standard operator set that nodes must keep to.
        dynamic_batch: whether the first axis of the inputs is open.
        dynamic_size: whether height and width of the inputs are open: what is emitted must not depend on them.
        layer: name of the layer that is emitting; nodes and values are named after it.
        initializers: constants and weights by name.
        constants: names of those that layers made (`<layer>/...`); the others hold weights (`<layer>.<blob>`).
        views: names of weights in another shape, with those of the weights.
    """

    def __init__(self, opset: int, dynamic_batch: bool = False, dynamic_size: bool = False) -> None:
        self.opset, self.dynamic_batch, self.dynamic_size = opset, dynamic_batch, dynamic_size
        self.layer = ""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.constants: set[str] = set()
        self.views: dict[str, str] = {}
        self._names: set[str] = set()
        self._node_names: set[str] = set()
        self._constants: dict[tuple[Any, ...], str] = {}

    # ---- names

    def unique(self, name: str) -> str:
        """`name`, with a number behind it if it is taken; taken from now on."""
        return _unique(name, self._names)

    def reserve(self, names: Sequence[str]) -> None:
        """Keep names for values that get them later (blobs)."""
        self._names.update(names)

    # ---- building

    @overload
    def add(self, op_type: str, *inputs: str, outputs: None = None, **attributes: Any) -> str: ...

    @overload
    def add(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]: ...

    def add(self, op_type: str, *inputs: str, outputs: int | None = None, **attributes: Any) -> str | list[str]:
        """Append a node; what is made of nothing but constants is a constant, too, where `computed` knows the op.

        Args:
            op_type: the standard operator.
            inputs: names of its inputs; an empty one ("") skips an optional input.
            outputs: how many outputs it has, for operators with several.
            attributes: its attributes; those that are None are left out.

        Returns:
            The output's name, or a list of names if `outputs` is given.
        """
        names = self._outputs(op_type, inputs, outputs or 1, attributes)
        return names[0] if outputs is None else names

    def _outputs(self, op_type: str, inputs: Sequence[str], outputs: int, attributes: Mapping[str, Any]) -> list[str]:
        from onnx import helper

        if inputs and self.constants.issuperset(inputs):
            arrays = computed(op_type, [self.initializers[name] for name in inputs], attributes)
            if arrays is not None:
                return [self.constant(array, array.dtype.name) for array in arrays]
        stated = {key: value for key, value in attributes.items() if value is not None}
        names = [self.unique(f"{self.layer}/{op_type}:{i}" if outputs > 1 else f"{self.layer}/{op_type}") for i in range(outputs)]
        inputs = inputs[: max((i + 1 for i, name in enumerate(inputs) if name), default=0)]
        node_name = self.layer if not any(node.name == self.layer for node in self.nodes[-1:]) else f"{self.layer}/{op_type}"
        self.nodes.append(helper.make_node(op_type, inputs, names, name=self.unique_node(node_name), **stated))
        return names

    def cast(self, x: str, dtype: str) -> str:
        """Another element type, by numpy's name: "float32", "float64", "int64" or "bool"."""
        return self.add("Cast", x, to=_TYPES[dtype])

    def loop(self, going: str, state: Sequence[tuple[str, str]], step: Callable[..., Sequence[str]]) -> list[str]:
        """A Loop: while it is `going`, `step` makes the next state of the one before; returns the last one.

        Args:
            going: a bool scalar, whether there is anything to do at all.
            state: name and element type (as numpy calls it) of vectors whose lengths stay what they are.
            step: from a graph for the body and the names of the state there to [whether it goes on, the next state]; it must
                read nothing else, for what is cleaned up afterwards does not look into bodies.
        """
        from onnx import TensorProto, helper, numpy_helper

        body = OnnxGraph(self.opset, self.dynamic_batch, self.dynamic_size)
        body.layer, body._names, body._node_names = self.layer, self._names, self._node_names
        count, before = self.unique(f"{self.layer}/step"), self.unique(f"{self.layer}/going")
        names = [self.unique(f"{self.layer}/state") for _ in state]
        outputs = list(step(body, names))
        kinds = [TensorProto.BOOL, *(_TYPES[dtype] for _, dtype in state)]
        made = [helper.make_tensor_value_info(name, kind, [None] * (i > 0)) for i, (name, kind) in enumerate(zip(outputs, kinds))]
        taken = [helper.make_tensor_value_info(count, TensorProto.INT64, []), helper.make_tensor_value_info(before, kinds[0], [])]
        taken += [helper.make_tensor_value_info(name, kind, [None]) for name, kind in zip(names, kinds[1:])]
        constants = [numpy_helper.from_array(array, name) for name, array in body.initializers.items()]
        graph = helper.make_graph(body.nodes, f"{self.layer}/body", taken, made, constants)
        return self.add("Loop", "", going, *(name for name, _ in state), outputs=len(state), body=graph)

    def unique_node(self, name: str) -> str:
        """`name` for a node, with a number behind it if another node has it; taken from now on."""
        return _unique(name, self._node_names)

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """The name of an initializer with this value; equal small ones are stored once. A `OpenValue` has its name already.

        Args:
            value: number, sequence or array, or a `OpenValue` of that type.
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
        """The name of an initializer for an array of the layer's own, such as its boxes; not copied."""
        return self._keep(f"{self.layer}/{what}", array, is_constant=True)

    def weight(self, name: str, array: np.ndarray) -> str:
        """The name of an initializer for learned values: `name`, or one like it if that is taken; not copied."""
        return self._keep(name, array, is_constant=False)

    def ints(self, *values: Size) -> str:
        """An int64 vector (shapes, axes, indices): a constant, if none of it is open."""
        if not any(isinstance(value, OpenValue) for value in values):
            return self.constant(list(values), "int64")
        parts = [self.constant(value if isinstance(value, OpenValue) else [value], "int64") for value in values]
        return self.add("Concat", *parts, axis=0)

    def scalar(self, value: float | OpenValue) -> str:
        """A float32 scalar: a constant, or what a size becomes."""
        return self.constant(value.astype("float32").scalar() if isinstance(value, OpenValue) else value)

    def _keep(self, name: str, array: np.ndarray, is_constant: bool) -> str:
        name = self.unique(name)
        self.initializers[name] = array
        if is_constant:
            self.constants.add(name)
        return name

    def refuse(self, why: str) -> ConversionError:
        """An error that says why this layer cannot be emitted as asked."""
        return ConversionError(f"layer {self.layer!r}: {why}")

    # ---- sizes, numbers where they are known

    def dim(self, x: str, axis: int, size: int) -> Size:
        """The size of an axis of `x`: `size`, or a vector of one where it is open.

        The first axis is open with `dynamic_batch`; with `dynamic_size` those from the third on may be.
        """
        is_open = self.dynamic_batch if axis == 0 else self.dynamic_size and axis > 1
        return OpenValue(self, lambda: self.size_of(x, axis)) if is_open else size

    def size_of(self, x: str, axis: int) -> str:
        """The size of an axis as an int64 vector of one, read when the model runs."""
        return self.slice(self.add("Shape", x), [axis], [axis + 1], [0])

    def at_most(self, size: Size, most: int | None) -> Size:
        """`size`, or `most` if that is less; None sets no limit."""
        if most is None:
            return size
        if isinstance(size, int):
            return min(size, most)
        names = [size.name, self.ints(most)]  # Min takes no integers before opset 12
        return OpenValue(self, lambda: self.add("Where", self.add("Less", *names), *names))

    def range(self, size: Size, dtype: str = "int64") -> np.ndarray | OpenValue:
        """0, 1, 2, ... up to `size`: an array, or a `OpenValue`."""
        import numpy as np

        if isinstance(size, int):
            return np.arange(size, dtype=dtype)
        first, step = (self.constant(number, "int64") for number in (0, 1))
        return OpenValue(self, lambda: self.add("Range", first, size.scalar().name, step)).astype(dtype)

    # ---- ops whose form depends on the opset, and small combinations

    def reshape(self, x: str, shape: Sequence[Size]) -> str:
        """Reshape; 0 copies the axis of `x`, -1 is inferred (one at most, otherwise a single open size is).

        Weights are stored in that shape at once: OpenCV 5 crashes on a PRelu whose slopes a node makes.
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
            return self.add("Split", x, self.ints(*sizes), outputs=len(sizes), axis=axis)
        return self.add("Split", x, outputs=len(sizes), axis=axis, split=list(sizes))

    def slice(self, x: str, starts: Sequence[int], ends: Sequence[Size], axes: Sequence[int], steps: Sequence[int] = ()) -> str:
        """Slice; an end of 2**62 means "to the end"."""
        extra = [self.ints(*steps)] if steps else []
        return self.add("Slice", x, self.ints(*starts), self.ints(*ends), self.ints(*axes), *extra)

    def pad(self, x: str, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> str:
        """Pad every axis with a constant."""
        return self.add("Pad", x, self.ints(*before, *after), self.scalar(value), mode="constant")

    def clip(self, x: str, low: float | None, high: float | Size | None) -> str:
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

    def filled(self, shape: str, value: float) -> str:
        """A float32 tensor of a shape that is itself a value, filled with one number."""
        import numpy as np
        from onnx import numpy_helper

        return self.add("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([value], np.float32)))

    def positions(self, mask: str) -> str:
        """Places (M,) of the ones in a mask, counted through all its axes, in ascending order, as int64."""
        return self.squeeze(self.add("NonZero", self.reshape(mask, [-1])), [0])

    def count(self, x: str) -> str:
        """0, 1, 2, ... as int64, one for each item along axis 0."""
        return self.positions(self.filled(self.size_of(x, 0), 1.0))

    def round_away(self, x: str) -> str:
        """Rounded to whole numbers, halves away from zero (ONNX's Round takes them to the even number)."""
        size = self.add("Abs", x)
        whole = self.add("Floor", size)
        down = self.add("Less", self.add("Sub", size, whole), self.scalar(0.5))
        rounded = self.add("Where", down, whole, self.add("Add", whole, self.scalar(1.0)))
        return self.add("Mul", rounded, self.add("Sign", x))

    def affine(self, x: str, scale: str | None, shift: str | None) -> str:
        """x * scale + shift, either of them optional."""
        if scale is not None:
            x = self.add("Mul", x, scale)
        return x if shift is None else self.add("Add", x, shift)


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def computed(op_type: str, inputs: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> list[np.ndarray] | None:
    """What an op makes of known arrays, bit for bit what it would make when the model runs; None for ops that are left to that.

    Powers and exponentials are: their last bits differ from one library to the next.

    >>> import numpy as np
    >>> computed("Split", [np.arange(6), np.array([2, 4])], {"axis": 0})
    [array([0, 1]), array([2, 3, 4, 5])]
    """
    import numpy as np

    x, *rest = inputs
    if op_type in ("Add", "Sub", "Mul", "Div"):
        if op_type == "Div" and x.dtype.kind != "f":
            return None  # ONNX cuts what is behind the point, numpy does not
        functions = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
        with np.errstate(all="ignore"):
            return [functions[op_type](x, *rest)]
    if op_type == "Concat":
        return [np.concatenate(inputs, attributes["axis"])]
    if op_type == "Transpose":
        return [x.transpose(attributes["perm"])]
    if op_type == "Split":
        sizes = rest[0] if rest else attributes["split"]
        return np.split(x, np.cumsum(sizes)[:-1], attributes["axis"])
    if op_type == "Slice":
        starts, ends, axes, *steps = rest
        cuts = [slice(None)] * x.ndim
        for axis, *cut in zip(axes, starts, ends, *steps):
            cuts[axis] = slice(*cut)
        return [x[tuple(cuts)]]
    return None
