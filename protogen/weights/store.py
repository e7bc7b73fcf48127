"""The learnable blobs of a net as arrays, by layer name, always of the shapes the net has."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ProtogenWarning, WeightsError, did_you_mean
from .blobs import LayerBlobs
from .fillers import fill

if TYPE_CHECKING:
    from ..layers.base import LayerType, Shape
    from ..net import Net


@dataclass
class LoadReport:
    """What loading a weights file did: layers filled, layers left without weights, and weights no layer takes."""

    loaded: list[str] = field(default_factory=list)
    without_weights: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} layers loaded"]
        if self.without_weights:
            parts.append(f"{len(self.without_weights)} without weights ({_some(self.without_weights)})")
        if self.unused:
            parts.append(f"{len(self.unused)} in the file that the net lacks ({_some(self.unused)})")
        return ", ".join(parts)


class WeightStore(MutableMapping[str, "list[np.ndarray]"]):
    """`{layer: [array, ...]}`; setting checks number and shapes against the net, blobs shared by name are one array.

    >>> import numpy as np, protogen
    >>> net = protogen.loads('''layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
    ...     layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }''')
    >>> net.weights["fc"] = [np.ones((3, 2)), np.zeros(3)]
    >>> net.weights["fc"][0].dtype, list(net.weights)
    (dtype('float32'), ['fc'])
    """

    def __init__(self, net: Net) -> None:
        self.shapes: dict[str, list[Shape]] = net.param_shapes
        self._specs = {op.layer.name: op.blobs for op in net.ops if op.blobs}
        self._owner = net.shared_blobs
        self._net_name, self._ops = net.name, net.ops
        self._arrays: dict[tuple[str, int], np.ndarray] = {}

    def __getitem__(self, layer: str) -> list[np.ndarray]:
        self._require(layer)
        blobs = [self._blob(layer, i) for i in range(len(self.shapes[layer]))]
        if any(blob is None for blob in blobs):
            raise KeyError(layer)
        return [blob for blob in blobs if blob is not None]

    def __setitem__(self, layer: str, blobs: Sequence[np.ndarray]) -> None:
        self._require(layer)
        shapes = self.shapes[layer]
        if len(blobs) != len(shapes):
            raise WeightsError(
                f"layer {layer!r} has {len(shapes)} blobs {list(shapes)}, not {len(blobs)} {[np.shape(b) for b in blobs]}"
            )
        for i, (blob, shape) in enumerate(zip(blobs, shapes)):
            array = np.asarray(blob, dtype=np.float32)
            if array.shape != shape:
                array = _reshaped(array, shape, f"layer {layer!r}, blob {i}")
            self._arrays[self._owner.get((layer, i), (layer, i))] = array

    def __delitem__(self, layer: str) -> None:
        self[layer]
        for i in range(len(self.shapes[layer])):
            self._arrays.pop((layer, i), None)

    def __iter__(self) -> Iterator[str]:
        return (layer for layer in self.shapes if self._complete(layer))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"WeightStore({len(self)} of {len(self.shapes)} layers)"

    def _blob(self, layer: str, index: int) -> np.ndarray | None:
        array = self._arrays.get(self._owner.get((layer, index), (layer, index)))
        return None if array is None else array.reshape(self.shapes[layer][index])

    def _complete(self, layer: str) -> bool:
        return all(self._blob(layer, i) is not None for i in range(len(self.shapes[layer])))

    def _require(self, layer: str) -> None:
        if layer not in self.shapes:
            raise WeightsError(f"no layer {layer!r} with weights{did_you_mean(layer, self.shapes)}")

    def filled(self, seed: int = 0) -> dict[str, list[np.ndarray]]:
        """All blobs: those set, and for the rest what their fillers make of `seed` and the layer's name.

        The same seed gives the same values in every call and every process.
        """
        made: dict[tuple[str, int], np.ndarray] = dict(self._arrays)
        result: dict[str, list[np.ndarray]] = {}
        for layer, specs in self._specs.items():
            blobs = []
            for i, spec in enumerate(specs):
                key = self._owner.get((layer, i), (layer, i))
                if key not in made:
                    rng = np.random.default_rng([seed, zlib.crc32(layer.encode()), i])
                    made[key] = fill(spec.filler, spec.shape, rng)
                blobs.append(made[key].reshape(spec.shape))
            result[layer] = blobs
        return result

    def load(self, path: str | Path) -> LoadReport:
        """Take the weights of a `.caffemodel` or `.caffemodel.h5`, matched by layer name as Caffe does.

        Raises:
            WeightsError: the file is damaged, or a layer's number or shapes of blobs differ from the net's.
        """
        from . import read_weights

        report = LoadReport()
        for entry in read_weights(path):
            if entry.name not in self.shapes:
                if entry.blobs:
                    report.unused.append(entry.name)
                continue
            if entry.blobs:
                self._take(entry, str(path))
                report.loaded.append(entry.name)
        report.without_weights = [layer for layer in self.shapes if not self._complete(layer)]
        if not report.loaded:
            raise WeightsError(
                f"{path}: no layer of it has a name of this net's layers (it has {_some(report.unused) or 'no weights'}); is it another net's?"
            )
        if report.without_weights:
            warnings.warn(
                f"{path}: layers without weights: {_some(report.without_weights)}",
                ProtogenWarning,
                stacklevel=2,
            )
        return report

    def _take(self, entry: LayerBlobs, source: str) -> None:
        blobs = [
            self._blob(entry.name, i) if blob is None and i < len(self.shapes[entry.name]) else blob
            for i, blob in enumerate(entry.blobs)
        ]
        try:
            self[entry.name] = [blob for blob in blobs if blob is not None]
        except WeightsError as error:
            raise WeightsError(f"{source}: {error}") from error

    def save_caffemodel(self, path: str | Path) -> None:
        """See `Net.save_caffemodel`."""
        from .caffemodel import write

        missing = [layer for layer in self.shapes if not self._complete(layer)]
        if missing:
            raise WeightsError(f"layers without weights: {_some(missing)}; load or set them, or let net.fill() draw them")
        write(path, self._net_name, (self._record(op) for op in self._ops))


    def _record(self, op: LayerType) -> tuple[str, str, list[str], list[str], list[np.ndarray]]:
        layer = op.layer
        return layer.name, layer.type, layer.bottoms, layer.tops, self[layer.name] if op.blobs else []

    def __contains__(self, layer: object) -> bool:
        return isinstance(layer, str) and layer in self.shapes and self._complete(layer)


def _reshaped(array: np.ndarray, shape: Shape, what: str) -> np.ndarray:
    """Old blobs are padded with leading ones ((1, 1, 1, 64) for (64,)): the same values, so they fit."""
    if _core(array.shape) != _core(shape):
        raise WeightsError(f"{what}: the net's shape is {shape}, the weights' {array.shape}")
    return array.reshape(shape)


def _core(shape: Sequence[int]) -> tuple[int, ...]:
    dims = tuple(shape)
    while dims and dims[0] == 1:
        dims = dims[1:]
    return dims


def _some(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
