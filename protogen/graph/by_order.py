"""Match a state dict to layers by order and shape: weights of torchvision and timm, whose names are not the layers' own.

Modules of the state dict and layers with weights must be the same ones in the same order: as many, each of the same kind and the
same shapes. That settles the matter where data passes all layers one after the other, as a module's parts are written in that
order. Layers side by side may be written in any: if two of them have equal shapes, order alone would be a guess. Such a pairing
is accepted if pairings.json has it, which `python -m tests.models.counterparts --write` makes of pairings that gave the module's
own numbers. All others are refused, and the two layers named.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import excerpt
from ..weights.blobs import LayerBlobs

if TYPE_CHECKING:
    from ..layers.base import LayerType

PAIRINGS = Path(__file__).with_name("pairings.json")
Shape = tuple[int, ...]

_COUNTER = "num_batches_tracked"  # of BatchNorm, for training
_STATISTICS = {"running_mean": "mean", "running_var": "variance"}
_SIDE = re.compile(r"(?i)aux")  # classifiers halfway, which only train: AuxLogits, aux1
_PYTORCH_TYPES = frozenset((
    "Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "ConvDepthwise", "Deconvolution", "InnerProduct", "PReLU",
))  # fmt: skip


class MismatchError(Exception):
    """The state dict's order does not fit the net; the message says where, and ends a sentence."""


@dataclass(frozen=True)
class Module:
    """A module of a state dict, with its tensors by the names that layers give their blobs."""

    name: str
    tensors: Mapping[str, np.ndarray]


@dataclass
class Unit:
    """A layer with weights; for a BatchNorm with the Scale that follows it, both.

    Attributes:
        ops: the layers, of which the first gives the unit its name.
        place: among the units.
        before: the places of the units that its bottoms depend on, as a set of bits.
        continues: it is a normalisation of what the unit before it makes.
    """

    ops: list[LayerType]
    place: int = 0
    before: int = 0
    continues: bool = False

    @property
    def name(self) -> str:
        return self.ops[0].layer.name

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the blobs that a PyTorch module has, too."""
        return {blob.name: blob.shape for op in self.ops for blob in op.blobs if blob.name != "factor"}


@dataclass(frozen=True)
class Pairing:
    """Which module is which layer.

    Attributes:
        pairs: modules with the units of the net, in order.
        left_out: modules of classifiers halfway, which the net does not have.
    """

    pairs: list[tuple[Module, Unit]]
    left_out: list[Module] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Stands for the names on both sides, in order."""
        text = "\n".join(f"{module.name}\t{unit.name}" for module, unit in self.pairs)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def twins(self) -> tuple[tuple[Module, Unit], tuple[Module, Unit]] | None:
        """Two units of equal shapes neither of which depends on the other; a convolution counts with its normalisation."""
        alike: dict[tuple[object, ...], list[Unit]] = {}
        units = [unit for _, unit in self.pairs]
        for unit in units:
            if unit.continues:
                continue
            rest = units[unit.place + 1 : unit.place + 2]
            signature = tuple(tuple(each.shapes.items()) for each in (unit, *rest) if each is unit or each.continues)
            for other in alike.setdefault(signature, []):
                if not unit.before >> other.place & 1:
                    return self.pairs[other.place], self.pairs[unit.place]
            alike[signature].append(unit)
        return None

    def layer_of(self, key: str) -> str | None:
        """The layer that a key of the state dict belongs to, None if it is left out."""
        name, _, tensor = key.rpartition(".")
        found = next((unit for module, unit in self.pairs if module.name == name), None)
        if found is None:
            return None
        return next(op.layer.name for op in found.ops if _STATISTICS.get(tensor, tensor) in {b.name for b in op.blobs})

    def entries(self) -> list[LayerBlobs]:
        """The blobs of each layer."""
        return [entry for module, unit in self.pairs for entry in _entries(module, unit)]

    def __str__(self) -> str:
        (first, one), (last, other) = self.pairs[0], self.pairs[-1]
        return f"{excerpt(first.name)} is {excerpt(one.name)}, ..., {excerpt(last.name)} is {excerpt(other.name)}"


def pair(state: Mapping[str, np.ndarray], ops: Sequence[LayerType]) -> Pairing:
    """Return the pairing of a state dict with layers by order and shape.

    Args:
        state: tensors by key, in the module's order.
        ops: the net's layers.

    Raises:
        MismatchError: numbers, kinds or shapes differ, or two layers side by side could be swapped.
    """
    pairing = pairing_of(state, ops)
    twins = pairing.twins
    if twins is not None and pairing.digest not in _proven():
        (first, one), (second, other) = twins
        raise MismatchError(
            f"layers {excerpt(one.name)} and {excerpt(other.name)} lie side by side and have equal shapes, so order does not "
            f"tell which of {excerpt(first.name)} and {excerpt(second.name)} is which; name the tensors as "
            "net.to_torch().state_dict() does"
        )
    return pairing


def pairing_of(state: Mapping[str, np.ndarray], ops: Sequence[LayerType]) -> Pairing:
    """Return the pairing by order and shape, whether or not layers could be swapped.

    Raises:
        MismatchError: numbers, kinds or shapes differ.
    """
    modules, units = list(_modules(state)), _units(ops)
    side = [module for module in modules if _SIDE.match(module.name)] if len(modules) != len(units) else []
    main = [module for module in modules if module not in side]
    for module, unit in zip(main, units):
        _check(module, unit)
    if len(main) != len(units):
        many = f"the file has {len(main)} modules with weights and the net {len(units)} layers"
        left = main[len(units)].name if len(main) > len(units) else units[len(main)].name
        raise MismatchError(f"{many}; {excerpt(left)} is left over")
    return Pairing(list(zip(main, units)), side)


def _modules(state: Mapping[str, np.ndarray]) -> Iterator[Module]:
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, array in state.items():
        name, _, tensor = key.rpartition(".")
        if tensor != _COUNTER:
            groups.setdefault(name, {})[_STATISTICS.get(tensor, tensor)] = array
    for name, tensors in groups.items():
        unknown = [tensor for tensor in tensors if tensor not in ("weight", "bias", "mean", "variance")]
        if unknown:
            raise MismatchError(f"{excerpt(f'{name}.{unknown[0]}')} is no tensor of a convolution, a linear layer or a BatchNorm")
        yield Module(name, tensors)


def _units(ops: Iterable[LayerType]) -> list[Unit]:
    """The layers with weights, in order."""
    units: list[Unit] = []
    before: dict[str, int] = {}  # the units that each blob depends on
    makers: dict[str, Unit] = {}  # the unit that made a blob, if no other layer has changed it since
    for op in ops:
        reached = 0
        for bottom in op.layer.bottoms:
            reached |= before.get(bottom, 0)
        source = makers.get(op.layer.bottoms[0]) if op.layer.bottoms else None
        unit = None
        if op.blobs:
            unit = source if source is not None and _is_affine_part(op, source) else None
            if unit is not None:
                unit.ops.append(op)
            else:
                continues = bool(units) and source is units[-1] and _is_norm(op)
                unit = Unit([_known(op)], len(units), reached, continues)
                units.append(unit)
            reached |= 1 << unit.place
        for top in op.layer.tops:
            before[top] = reached
            makers.pop(top, None)
            if unit is not None:
                makers[top] = unit
    return units


def _known(op: LayerType) -> LayerType:
    """The layer, if PyTorch has modules with the same weights."""
    known = _is_norm(op) or op.layer.type in _PYTORCH_TYPES
    if not known or getattr(op, "transpose", False):
        raise MismatchError(f"{op.label} has weights for which PyTorch has no module of the same form")
    return op


def _is_norm(op: LayerType) -> bool:
    return {"mean", "variance"} <= {blob.name for blob in op.blobs}


def _is_affine_part(op: LayerType, source: Unit) -> bool:
    """Whether a Scale holds the factors and offsets of the BatchNorm before it."""
    return op.layer.type == "Scale" and len(source.ops) == 1 and _is_norm(source.ops[0]) and "weight" not in source.shapes


def _check(module: Module, unit: Unit) -> None:
    theirs, ours = {name: tuple(array.shape) for name, array in module.tensors.items()}, unit.shapes
    if theirs.keys() == ours.keys() and all(_fits(theirs[name], ours[name]) for name in ours):
        return
    raise MismatchError(
        f"where the net has layer {excerpt(unit.name)} ({unit.ops[0].layer.type}) with {_listed(ours)}, "
        f"the file has {excerpt(module.name)} with {_listed(theirs)}"
    )


def _fits(theirs: Shape, ours: Shape) -> bool:
    """Whether shapes are equal, but for axes of 1 and for a fully connected layer that one side has as a convolution."""
    if _trimmed(theirs) == _trimmed(ours) or (len(theirs) == 1 and max(ours) == math.prod(ours) == theirs[0]):
        return True
    flat = len(theirs) == 2 or len(ours) == 2
    return flat and theirs[:1] == ours[:1] and math.prod(theirs) == math.prod(ours)


def _trimmed(shape: Shape) -> Shape:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())


def _entries(module: Module, unit: Unit) -> Iterator[LayerBlobs]:
    for op in unit.ops:
        blobs: list[np.ndarray | None] = []
        for spec in op.blobs:
            # PyTorch keeps the statistics themselves; Caffe divides by this factor.
            values = np.ones(1, np.float32) if spec.name == "factor" else module.tensors[spec.name]
            blobs.append(values.reshape(spec.shape))
        yield LayerBlobs(op.layer.name, op.layer.type, blobs)


@lru_cache(maxsize=1)
def _proven() -> Mapping[str, str]:
    pairings: dict[str, str] = json.loads(PAIRINGS.read_bytes())
    return pairings
