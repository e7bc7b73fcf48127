"""Match the tensors of a state dict to the learnable blobs of layers: by the names in the net's PyTorch module, or by order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ProtogenNote, WeightsError
from ..weights.blobs import LayerBlobs
from ..weights.state_dict import PREFIXES

if TYPE_CHECKING:
    from ..layers.base import LayerType


Place = tuple[str, int]  # layer, index of the blob


def match(
    state: Mapping[str, np.ndarray], ops: Sequence[LayerType], shared: Mapping[Place, Place], source: str
) -> tuple[list[LayerBlobs], list[str]]:
    """Assign a state dict's tensors to layers, by the names that `Net.to_torch` gives modules and parameters.

    If most tensors, and most of the net's blobs, lack such a name, they are assigned by order and shape, with a note (see
    `by_order.py`).

    Args:
        state: tensors by key; the prefixes of DistributedDataParallel ("module.") and torch.compile ("_orig_mod.") are stripped.
        ops: the net's layers.
        shared: (layer, index) of each blob that another layer owns, mapped to its owner.
        source: the file's name, for messages.

    Returns:
        The blobs of each layer that the state dict has, and the unused keys.

    Raises:
        WeightsError: only some of a layer's blobs are present (the missing keys are named), two keys of one shared blob have
            different values, or neither names nor order fit.
    """
    keys = keys_of(ops)
    named = {key: keys[plain] for key in state if (plain := _without_prefixes(key, keys)) in keys}
    unused = [key for key in state if key not in named]
    if len(named) < len(unused) and 2 * len(named) < len(keys):
        return _by_order(state, ops, named, shared, source)
    return _by_name(state, ops, named, keys, shared, source), unused


def _by_name(
    state: Mapping[str, np.ndarray], ops: Sequence[LayerType], named: Mapping[str, Place], keys: Mapping[str, Place],
    shared: Mapping[Place, Place], source: str,
) -> list[LayerBlobs]:  # fmt: skip
    tensors: dict[Place, tuple[str, np.ndarray]] = {}
    for key, place in named.items():
        array, owner = state[key], shared.get(place, place)
        if owner in tensors and not np.array_equal(tensors[owner][1].ravel(), array.ravel(), equal_nan=True):
            raise WeightsError(f"{source}: {tensors[owner][0]!r} and {key!r} are the same shared blob in the net, but differ")
        if owner not in tensors or owner == place:
            tensors[owner] = key, array
    missing: list[str] = []
    entries = []
    names = {place: key for key, place in keys.items()}
    for op in ops:
        places = [(op.layer.name, i) for i in range(len(op.blobs))]
        blobs = [tensors.get(shared.get(place, place)) for place in places]
        if not any(blobs):
            continue
        missing += [names[place] for place, blob in zip(places, blobs) if blob is None]
        # Layers may share a blob under different shapes of the same size.
        arrays = [blob[1].reshape(spec.shape) if place in shared and blob[1].size == spec.count else blob[1]
                  for place, blob, spec in zip(places, blobs, op.blobs) if blob is not None]  # fmt: skip
        entries.append(LayerBlobs(op.layer.name, op.layer.type, list(arrays)))
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise WeightsError(f"{source}: keys missing: {', '.join(map(repr, missing[:10]))}{more}")
    return entries


def _by_order(
    state: Mapping[str, np.ndarray],
    ops: Sequence[LayerType],
    named: Mapping[str, Place],
    shared: Mapping[Place, Place],
    source: str,
) -> tuple[list[LayerBlobs], list[str]]:
    from .by_order import MismatchError, pair

    try:
        if shared:
            raise MismatchError(f"layers share weights ({next(iter(shared))[0]!r})")
        pairing = pair(state, ops)
        for key, (layer, _) in named.items():
            if pairing.layer_of(key) != layer:
                raise MismatchError(f"{key!r} has the name of layer {layer!r} and the place of {pairing.layer_of(key)!r}")
    except MismatchError as reason:
        some = f"only {len(named)} of its {len(state)} keys have" if named else "none of its keys has"
        raise WeightsError(
            f"{source}: {some} the name of a weight of this net, and the order does not fit, either: {reason}",
            "(models of protogen build have presets for the layers of other libraries: see their --help)",
        ) from None
    left_out = [key for module in pairing.left_out for key in state if key.rpartition(".")[0] == module.name]
    warnings.warn(
        ProtogenNote(
            f"{source}: the names are not this net's; all tensors were matched by order and shape: {pairing}",
            "weights do not say how a net pads, rounds and normalises: build it with the preset that `protogen build NAME --help`"
            " names for them; those of torchvision and timm mostly expect red, green, blue, (x / 255 - mean) / deviation",
        ),
        stacklevel=5,
    )
    return pairing.entries(), left_out


def keys_of(ops: Sequence[LayerType]) -> dict[str, Place]:
    """The (layer, index) of each learnable blob, by its key in the state dict."""
    from ..layers.forms.module_names import module_names

    ops = [op for op in ops if not op.is_input]
    return {
        f"{name}.{blob.name}": (op.layer.name, i) for op, name in zip(ops, module_names(ops)) for i, blob in enumerate(op.blobs)
    }


def _without_prefixes(key: str, keys: Mapping[str, Any]) -> str:
    """The key without wrappers' prefixes, stripped only until it is one of `keys`: a layer may itself be called "module"."""
    plain = key
    for _ in range(8):
        if plain in keys:
            return plain
        prefix = next((prefix for prefix in PREFIXES if plain.startswith(prefix)), "")
        plain = plain[len(prefix) :]
    return key
