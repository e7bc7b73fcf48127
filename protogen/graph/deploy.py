"""From a train/val graph to the graph of a net to deploy: fed from outside, without labels, ending in predictions."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from ..errors import ConversionError
from ..layers.base import LayerType
from ..layers.loss import ClassLoss
from ..layers.registry import class_for
from ..prototxt.inputs import input_layer
from ..prototxt.layer import Layer
from ..prototxt.message import Message
from ..prototxt.names import unused
from ..prototxt.phase import State, active
from .cut import needed_part, without_measures
from .graph import Graph, Node, Value

PREDICTION = "prob"  # what published deploy files call the layer in the loss's place, and its top


def deploy_part(graph: Graph) -> Graph:
    """`graph` as a net to deploy has it.

    Pre: phase TEST. Post: losses are replaced by what they train (`LayerType.prediction`), or gone, as are accuracies, Silence,
    labels and what only labels feed. Every source is an Input layer. The outputs are the values that no layer reads.

    Raises:
        ConversionError: nothing that is not an input would be left, or a layer that stays reads one that only trains.
    """
    trunk = without_measures(with_predictions(graph))
    read = {value for node in trunk.nodes if node.outputs for value in node.inputs}
    fed = set(trunk.inputs)
    results = [value for value in trunk.outputs if value not in read and value not in fed]
    if not results:  # as for any net (see `Net.outputs`)
        results = [value for node in trunk.nodes if not node.outputs for value in node.inputs if value not in read | fed]
    trunk = needed_part(replace(trunk, outputs=results))
    if not any(node.inputs for node in trunk.nodes):
        raise ConversionError("nothing to deploy: without what only trains it, this net has only inputs")
    stuck = [node.op.label for node in trunk.nodes if node.op.only_trains]
    if stuck:
        raise ConversionError(*(f"{label}: used only in training, but the predictions depend on its top" for label in stuck))
    return replace(trunk, nodes=[_fed_from_outside(node) for node in trunk.nodes])


def with_losses(definition: Message, state: State) -> Message:
    """Return a NetParameter with the layers that are active in a state of phase TEST and losses that only TRAIN has.

    Many files leave the loss out of TEST, and only it tells what the scores are. The NetParameter itself is returned if it has
    no such loss.
    """
    train = replace(state, phase="TRAIN")
    made = {top for layer in definition.layer if active(layer, state) for top in layer.top}
    missing = [
        layer
        for layer in definition.layer
        if not active(layer, state) and active(layer, train) and made.issuperset(layer.bottom) and made.isdisjoint(layer.top)
        if (layer_class := class_for(Layer(layer))) is not None and layer_class.prediction
    ]
    if not missing:
        return definition
    twin = definition.without("layer")
    layers = (layer.without("include", "exclude") if layer in missing else layer for layer in definition.layer)
    twin.store("layer", list(layers))
    return twin


def with_predictions(graph: Graph) -> Graph:
    """`graph` with a layer beside each loss that computes what the loss trains, such as the Softmax of a SoftmaxWithLoss.

    Losses of the same scores share it; where the graph has it already, none is added. A second top of a SoftmaxWithLoss gives it
    its name, and whoever reads that top reads the new layer's. A single one is else called `PREDICTION`.
    """
    pending = dict(_missing_predictions(graph))
    taken = {value.name for value in graph.values} | {node.op.layer.name for node in graph.nodes}
    nodes: list[Node] = []
    replaced: dict[Value, Value] = {}
    for node in graph.nodes:
        if replaced and node.outputs:  # whatever only a Silence reads would be gone
            node = replace(node, inputs=[replaced.get(value, value) for value in node.inputs])
        if node.op in pending:
            second, scores = pending[node.op], node.inputs[0]
            name = unused(PREDICTION if len(pending) == 1 else f"{scores.name}/{PREDICTION}", taken)
            taken.add(name)
            top = Value(second.name if second else name, scores.shape, (second or node.outputs[0]).place)
            nodes.append(Node(_prediction(node.op, name, scores, top), [scores], [top]))
            if second:
                replaced[second] = top
        nodes.append(node)
    return replace(graph, nodes=nodes)


def with_batch(graph: Graph, batch: int, inputs: Collection[str]) -> Graph:
    """`graph` with another size of the first axis of some inputs, given by name.

    Raises:
        LayerError: a layer does not work with it.
        ConversionError: an output does not follow, because a layer states a size for the batch.
    """
    fed = [value for value in graph.inputs if value.name in inputs and value.shape]
    twin = graph.at({value: (batch, *value.shape[1:]) for value in fed})
    old = {value.shape[0] for value in fed}
    for before, after in zip(graph.outputs, twin.outputs):
        if before.shape[:1] and before.shape[0] in old and after.shape[:1] != (batch,):
            raise ConversionError(f"a batch of {batch} does not reach output {before.name!r}, of shape {after.shape}: "
                                  "a layer states the size of the batch")  # fmt: skip
    return replace(twin, nodes=[_fed_from_outside(node) for node in twin.nodes])


def _missing_predictions(graph: Graph) -> Iterator[tuple[LayerType, Value | None]]:
    """The losses that need a layer beside them, each with its own top that this layer replaces, if it has one."""
    read = {value for node in graph.nodes if node.outputs for value in node.inputs}
    silenced = graph.readers().keys() - read
    present = {(node.op.layer.type, node.inputs[0], getattr(node.op, "over", None)) for node in graph.nodes if node.inputs}
    for node in graph.nodes:
        op = node.op
        if not (op.only_trains and op.prediction):
            continue
        key = (op.prediction, node.inputs[0], getattr(op, "over", None))
        tops = node.outputs[1:2] if isinstance(op, ClassLoss) else ()
        second = next((top for top in tops if top not in silenced), None)
        if key not in present or (second is not None and second in read):
            present.add(key)
            yield op, second


def _prediction(loss: LayerType, name: str, scores: Value, top: Value) -> LayerType:
    """The layer that computes what a loss trains, set up."""
    message = Message.of("LayerParameter", name=name, type=loss.prediction, bottom=[scores.name], top=[top.name])
    axis = loss.class_axis() if isinstance(loss, ClassLoss) else 1
    if axis != 1:
        message.set("softmax_param", {"axis": axis})
    layer = Layer(message)
    layer_class = class_for(layer)
    if layer_class is None:
        raise ConversionError(f"{loss.label}: its prediction has the unknown type {loss.prediction!r}")
    return layer_class(layer, [scores.shape], loss.phase)


def _fed_from_outside(node: Node) -> Node:
    """A source as an Input layer with the shapes of its values; any other layer as it is."""
    if not node.op.is_input:
        return node
    layer = Layer(input_layer(node.op.layer.name, {value.name: value.shape for value in node.outputs}))
    layer_class = class_for(layer)
    assert layer_class is not None
    return replace(node, op=layer_class(layer, [], node.op.phase))
