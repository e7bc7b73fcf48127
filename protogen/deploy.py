"""From a net to train to the net to deploy: `Net.to_deploy`, and what to tell whoever deploys it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ConversionError, NetError, ProtogenError, ProtogenNote, printable, some

if TYPE_CHECKING:
    from .graph.graph import Graph
    from .layers.transform import Transform
    from .net import Net


@dataclass(frozen=True)
class Deployment:
    """A net to deploy, and what became of the rest of the train/val net.

    Attributes:
        net: the net to deploy.
        left_out: names of the layers that it does without.
        transforms: what the data layers did to the images that are now fed from outside.
    """

    net: Net
    left_out: Sequence[str]
    transforms: Sequence[Transform]

    @property
    def comments(self) -> str:
        """Comment lines for the head of its prototxt: what to do to the images, as the data layers did."""
        return "".join(f"# {printable(str(transform))}: not part of this net\n" for transform in self.transforms)


def to_deploy(net: Net, batch: int | None = None) -> Net:
    """Return the net to deploy of a train/val net: fed from outside, without labels and losses, ending in its predictions.

    Its layers are those of phase TEST or, if the file is for phase TRAIN only, of that phase; either way they behave as in TEST.
    Data layers become Input layers. A SoftmaxWithLoss becomes a Softmax "prob", a SigmoidCrossEntropyLoss a Sigmoid; of other
    losses, the blobs that they compare with labels are outputs. All else stays as it was written, rules aside: names, so that the
    weights fit, rates and fillers, too.

    Args:
        net: the net; not changed. Its weights come along.
        batch: images per pass; by default 1 where a data layer states another, and otherwise the net's own.

    Raises:
        ConversionError: nothing but inputs would be left, a layer that stays reads one that only trains, or an output does not
            follow the batch.
        NetError, LayerError: unknown shapes, or a layer that does not work with this batch.

    >>> import protogen
    >>> net = protogen.loads('''
    ...     layer { name: "data" type: "MemoryData" top: "data" top: "label"
    ...             memory_data_param { batch_size: 64 channels: 3 height: 8 width: 8 } }
    ...     layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 10 } }
    ...     layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }''')
    >>> to_deploy(net).shapes
    {'data': (1, 3, 8, 8), 'fc': (1, 10), 'prob': (1, 10)}
    """
    return deployment(net, batch).net


def deployment(net: Net, batch: int | None = None, outputs: Sequence[str] | None = None, own_phase: bool = False) -> Deployment:
    """Return the net to deploy, as `to_deploy` does, with what became of the rest; notes tell what is to be done outside of it.

    Args:
        net, batch: as for `to_deploy`.
        outputs: blobs of the net to deploy that are its outputs; by default all predictions.
        own_phase: take the layers of the net's own phase, even if that is TRAIN and there are some for TEST.

    Raises:
        ProtogenError: as `to_deploy`.
    """
    from .graph.deploy import deploy_part
    from .graph.transforms import transforms

    if batch is not None and batch < 1:
        raise ConversionError(f"a batch must have at least one image, not {batch}")
    net = _in_test(net, own_phase).known_part(unfit=False)  # a known loss tells what its prediction is
    full = net.graph(seed=None)
    deployed = net.with_graph(_with_batch(net, full, deploy_part(full), batch), drawn=False)
    stated = list(transforms(full).values())
    notes = [f"{transform}: not part of the net to deploy" for transform in stated if transform.changes_values]
    for note in notes if outputs else [*notes, *_on_outputs(full)]:
        warnings.warn(note, ProtogenNote, stacklevel=4)
    if outputs:
        deployed = deployed.cut(outputs=outputs)
    kept = {(layer.name, layer.type) for layer in deployed.layers}
    left_out = [layer.name or layer.type for layer in net.layers if layer.bottoms and (layer.name, layer.type) not in kept]
    return Deployment(deployed, left_out, stated)


def _on_outputs(graph: Graph) -> list[str]:
    """What someone who deploys the net of a train/val graph should know about its outputs."""
    nodes = [node for node in graph.nodes if node.op.only_trains]
    lines = []
    for node in nodes:
        if node.op.decoder:
            read = some([value.name for value in node.inputs if value not in graph.inputs])
            lines.append(f"{node.op.label}: its predictions {read} are outputs as they are; for boxes, add {node.op.decoder}")
    weights = {node.op.layer.name: float(next(iter(node.op.layer.message.loss_weight), 1)) for node in nodes if node.op.is_loss}
    minor = [name for name, weight in weights.items() if 0 < weight < max(weights.values())]
    if minor:
        lines.append(f"the predictions of losses that weigh less than others are outputs, too: {some(minor)}; "
                     "if these only help training, leave them out with --outputs or Net.cut")  # fmt: skip
    return lines


def _in_test(net: Net, own_phase: bool) -> Net:
    """Return the net in TEST, with losses that only TRAIN has.

    If only its own phase is complete, or `own_phase` is wanted, it is its own layers in TEST.
    """
    from .graph.deploy import with_losses
    from .prototxt.phase import without_rules

    test = net if net.phase == "TEST" else None if own_phase else _at_test(net)
    definition = without_rules(net.definition, net.state) if test is None else with_losses(test.definition, test.state)
    if definition is net.definition and test is net:
        return net
    return net.redefined(definition, net.analysis.input_shapes, phase="TEST")


def _at_test(net: Net) -> Net | None:
    """Return the net in phase TEST, None if the file has none."""
    with suppress(NetError):
        twin = net.at("TEST", weights=False)
        if any(layer.bottoms for layer in twin.layers):
            return twin
    return None


def _with_batch(net: Net, full: Graph, graph: Graph, batch: int | None) -> Graph:
    """Return the graph to deploy with this batch or, by default, with 1 where data layers state another."""
    from .graph.deploy import with_batch

    if batch is not None:
        return with_batch(graph, batch, [value.name for value in graph.inputs])
    read = [node for node in full.nodes if node.op.is_input and node.op.layer.type != "Input"]
    names = {value.name for node in read for value in node.outputs} - net.analysis.input_shapes.keys()
    if all(value.shape[:1] in ((), (1,)) for value in graph.inputs if value.name in names):
        return graph
    try:
        return with_batch(graph, 1, names)
    except ProtogenError as error:
        text = f"the batch stays as the data layers state it, because the net does not work with 1 (--batch N sets one): {error}"
        warnings.warn(text, ProtogenNote, stacklevel=5)
        return graph
