"""Match the tensors of a state dict to the learnable blobs of layers, by the names used in the net's PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import WeightsError
from ..weights.blobs import LayerBlobs
from ..weights.state_dict import PREFIXES

if TYPE_CHECKING:
    from ..layers.base import LayerType


def match(
    state: Mapping[str, np.ndarray], ops: Sequence[LayerType], shared: Mapping[tuple[str, int], tuple[str, int]], source: str
) -> tuple[list[LayerBlobs], list[str]]:
    """Assign a state dict's tensors to layers, by the names that `Net.to_torch` gives modules and parameters.

    Args:
        state: tensors by key; the prefixes of DistributedDataParallel ("module.") and torch.compile ("_orig_mod.") are stripped.
        ops: the net's layers.
        shared: (layer, index) of each blob that another layer owns, mapped to its owner.
        source: the file's name, for messages.

    Returns:
        The blobs of each layer that the state dict has, and the unused keys.

    Raises:
        WeightsError: only some of a layer's blobs are present (the missing keys are named), or two keys of one shared blob
            have different values.
    """
    keys = keys_of(ops)
    tensors: dict[tuple[str, int], tuple[str, np.ndarray]] = {}
    unused = []
    for key, array in state.items():
        place = keys.get(_without_prefixes(key, keys))
        if place is None:
            unused.append(key)
            continue
        owner = shared.get(place, place)
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
    return entries, unused


def keys_of(ops: Sequence[LayerType]) -> dict[str, tuple[str, int]]:
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
