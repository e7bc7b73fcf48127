"""Values to run a net on: inputs, and weights where the net has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ProtogenError, did_you_mean
from ..graph.batch import batch_inputs, with_batch

if TYPE_CHECKING:
    import numpy as np

    from ..backends.setting import Blobs
    from ..graph.graph import Graph, Weight
    from ..targets.onnx.options import Preprocess


def in_batch(graph: Graph, batch: int | str | None) -> tuple[Graph, list[str]]:
    """Return a graph for another number of images per pass, and a note that says so.

    Args:
        graph: the graph.
        batch: the number; None for the graph's own; "one" for 1 if the graph allows that: if it works, and in phase TEST, as
            statistics of a batch of one image may have nothing to average.

    Raises:
        ProtogenError: `batch` is none of these, or a layer does not work with it.
    """
    inputs = batch_inputs(graph)
    own = inputs[0].shape[0] if inputs else None
    if batch is None or own in (batch, None) or (batch == "one" and (own == 1 or graph.phase == "TRAIN")):
        return graph, []
    if batch != "one" and (not isinstance(batch, int) or batch < 1):
        raise ProtogenError(f"a batch is a whole number of at least 1, or 'one', not {batch!r}")
    try:
        number = 1 if batch == "one" else int(batch)
        return with_batch(graph, number), [f"with a batch of {number} in place of the net's own, {own} (--batch)"]
    except ProtogenError:
        if batch == "one":
            return graph, []
        raise


def random_inputs(graph: Graph, seed: int, fixed: Mapping[str, np.ndarray], preprocess: Preprocess | None = None) -> Blobs:
    """Return a value for every input: that of `fixed`, an example of `LayerType.example` (labels, boxes), or normal noise.

    Args:
        graph: the graph.
        seed: of the random values.
        fixed: values by input name.
        preprocess: if set, the image is one that preprocessing maps to such values.

    Raises:
        ProtogenError: a value in `fixed` has no input, another shape than its input, or is not made of finite real numbers.
    """
    import numpy as np

    shapes = {value.name: value.shape for value in graph.inputs}
    image = preprocess.image_of(graph.inputs).name if preprocess else None
    for name, value in fixed.items():
        if name not in shapes:
            raise ProtogenError(f"no input {name!r}{did_you_mean(name, shapes)} (inputs: {', '.join(shapes)})")
        shape = preprocess.shape_of(shapes[name]) if preprocess and name == image else shapes[name]
        if tuple(np.shape(value)) != shape:
            raise ProtogenError(f"input {name!r} has shape {shape}, but its value has shape {tuple(np.shape(value))}")
        if np.asarray(value).dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise ProtogenError(f"input {name!r}: the values must be finite real numbers")
    rng = np.random.default_rng(seed)
    examples = examples_for(graph, rng)
    feed: Blobs = {}
    for name in shapes:
        drawn = examples[name] if name in examples else rng.standard_normal(shapes[name])
        if preprocess and name == image:
            drawn = preprocess.undo(drawn)
        feed[name] = np.asarray(fixed.get(name, drawn), dtype=np.float32)
    return feed


def examples_for(graph: Graph, rng: np.random.Generator) -> Blobs:
    """Return values for inputs that layers do not read as images: labels, boxes, sizes."""
    examples: Blobs = {}
    for node in graph.nodes:
        for i, value in enumerate(node.inputs):
            example = node.op.example(i, rng) if value in graph.inputs else None
            if example is not None:
                examples.setdefault(value.name, example)
    return examples


def with_random_weights(graph: Graph, seed: int = 0) -> Graph:
    """Return the graph with random weights for layers that have none: those of their fillers, but no blob constant.

    Most deploy files name no fillers. Caffe's default, 0, would make every blob 0, on which any two backends agree. So
    kernels of zeros become normal noise of variance 1 / fan-in, as in "xavier" (residual sums of deep nets stay in range),
    and constant vectors (biases, scales, BatchNorm's statistics) get normal noise of deviation 0.05 added.
    """
    import zlib

    import numpy as np

    replaced: dict[Weight, Weight] = {}
    for node in graph.nodes:
        if not any(weight.drawn for weight in node.weights):
            continue
        name = node.op.layer.name.encode("utf-8", "surrogatepass")
        rng = np.random.default_rng([seed, zlib.crc32(name), len(node.weights)])
        for weight, values in zip(node.weights, node.arrays):
            if values.ndim > 1 and not values.any():
                deviation = np.sqrt(values.shape[0] / values.size, dtype=np.float32)
                values = deviation * rng.standard_normal(values.shape, dtype=np.float32)
            elif values.ndim < 2 and (values == values.flat[0]).all():
                values = values + np.float32(0.05) * rng.standard_normal(values.shape, dtype=np.float32)
            replaced[weight] = replace(weight, values=values)
    nodes = [replace(node, weights=[replaced.get(weight, weight) for weight in node.weights]) for node in graph.nodes]
    return replace(graph, nodes=nodes)
