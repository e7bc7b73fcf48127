"""Net to `torch.nn.Module`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...errors import ConversionError, ProtogenError
from ...layers.base import LayerType
from ...layers.fields import require_computed
from ...weights.pages import copy
from .module import NetModule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from ...net import Net


def to_torch(net: Net, fold: bool = False, seed: int = 0) -> NetModule:
    """See `Net.to_torch`."""
    require_computed(net.ops, net.strict)
    outputs = net.outputs  # a folded net may make them in another order
    if fold:
        from ...graph.fold import folded

        net = folded(net, seed)
    weights = net.weights.filled(seed)
    ops = [op for op in net.ops if not op.is_input]
    dead = _last_uses(ops, outputs)
    module = NetModule(net.inputs, outputs)
    problems: list[str] = []
    for op in ops:
        try:
            child = op.module()
        except ProtogenError as error:
            problems += error.lines
            continue
        if op.blobs:
            _set_blobs(op, child, weights[op.layer.name])
        module.add_layer(op, child, dead[id(op)], loss_weights(op))
    if problems:
        raise ConversionError(*problems)
    _share(net, module)
    module.train(net.phase == "TRAIN")
    return module


def loss_weights(op: LayerType) -> dict[str, float]:
    """Weight of each top in the net's loss: `loss_weight`, by default 1 for a loss layer's; {} if nothing states any."""
    weights = list(op.layer.message.loss_weight) or ([1.0] if op.is_loss else [])
    return dict(zip(op.layer.tops, weights))


def _last_uses(ops: Sequence[LayerType], outputs: Sequence[str]) -> dict[int, list[str]]:
    """For each layer (by `id`), the blobs it is the last to read or make, outputs excepted."""
    last = {blob: op for op in ops for blob in (*op.layer.bottoms, *op.own_tops)}
    dead: dict[int, list[str]] = {id(op): [] for op in ops}
    for blob, op in last.items():
        if blob not in outputs:
            dead[id(op)].append(blob)
    return dead


def _set_blobs(op: LayerType, module: nn.Module, values: Sequence[np.ndarray]) -> None:
    for blob, value in zip(op.blobs, values):
        # By numpy: a view into a mapped file is read-only and need not be aligned, which tensors cannot be.
        copy(getattr(module, blob.name).detach().numpy(), value)


def _share(net: Net, module: NetModule) -> None:
    """Let layers that share a blob through `param { name }` hold one and the same parameter."""
    ops: Mapping[str, LayerType] = {op.layer.name: op for op in net.ops if op.blobs}
    for (layer, index), (owner, owner_index) in net.shared_blobs.items():
        source = getattr(getattr(module, module.module_names[owner]), ops[owner].blobs[owner_index].name)
        setattr(getattr(module, module.module_names[layer]), ops[layer].blobs[index].name, source)
