"""The learnable blobs of a net as arrays, by layer name, always in the net's shapes."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..arguments import float32
from ..errors import MissingWeightsError, ProtogenError, ProtogenWarning, WeightsError, did_you_mean, nearest, some
from ..layers.readings import conflict
from ..weights.blobs import LayerBlobs
from ..weights.content import Content, read_content
from ..weights.fillers import fill
from .graph import Weight

if TYPE_CHECKING:
    from ..layers.base import BlobSpec, LayerType, Shape

MAX_DRAWN = 1 << 29
"""Limit on the values that fillers draw for one net (2 GB): more must be a mistake in the prototxt."""

Key = tuple[str, int]  # layer, index of the blob
Arrays = dict[Key, np.ndarray]


@dataclass
class LoadReport:
    """The result of loading a weights file; `str` sums it up in one line.

    Attributes:
        loaded: layers that received weights.
        without_weights: layers of the net that the file has no weights for and that had none before.
        unused: layers of the file (of a state dict: keys) that the net does not have.
    """

    loaded: list[str] = field(default_factory=list)
    without_weights: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} layers loaded"]
        if self.without_weights:
            parts.append(f"{len(self.without_weights)} without weights ({some(self.without_weights)})")
        if self.unused:
            parts.append(f"{len(self.unused)} in the file but not in the net ({some(self.unused)})")
        return ", ".join(parts)


class WeightStore(MutableMapping[str, "list[np.ndarray]"]):
    """`{layer: [array, ...]}`; assignment checks number and shapes against the net, and blobs shared by name are one array.

    Initially it holds the weights in the net's definition, the `blobs` of its layers.

    Args:
        ops: the net's layers, set up.
        shared: (layer, index) of each blob that another layer owns, mapped to its owner.
        like: the store of another form of the same definition; its weights are taken over for the layers that both have.

    Attributes:
        shapes: shapes of each layer's blobs.
        source: the file loaded last, "" if none.

    >>> import numpy as np, protogen
    >>> net = protogen.loads('''layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
    ...     layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }''')
    >>> net.weights["fc"] = [np.ones((3, 2)), np.zeros(3)]
    >>> net.weights["fc"][0].dtype, list(net.weights)
    (dtype('float32'), ['fc'])
    """

    def __init__(self, ops: Sequence[LayerType], shared: Mapping[Key, Key], like: WeightStore | None = None) -> None:
        self._ops, self._owner = ops, shared
        self._specs = {op.layer.name: op.blobs for op in ops if op.blobs}
        self._undecided = {op.layer.name: op for op in ops if not op.text_decides}
        self.shapes: dict[str, list[Shape]] = {layer: [blob.shape for blob in specs] for layer, specs in self._specs.items()}
        self._replaced: set[Key] = set()  # blobs set or deleted since the definition was read
        self.source = ""
        self._arrays: Arrays = self._written(like.shapes if like is not None else ())
        if like is not None:
            self.update({layer: blobs for layer, blobs in like.items() if layer in self.shapes})
            self.source, self._replaced = like.source, set(like._replaced)

    def __getitem__(self, layer: str) -> list[np.ndarray]:
        self._require(layer)
        blobs = [self._blob(layer, i) for i in range(len(self.shapes[layer]))]
        if any(blob is None for blob in blobs):
            raise MissingWeightsError(f"layer {layer!r} has no weights; load or set them, or let net.fill() draw them")
        return [blob for blob in blobs if blob is not None]

    def __setitem__(self, layer: str, blobs: Sequence[np.ndarray]) -> None:
        self._check_readings({layer: len(blobs)})
        self._require(layer)
        self._update(self._fitted(layer, blobs))

    def __delitem__(self, layer: str) -> None:
        self[layer]
        for i in range(len(self.shapes[layer])):
            self._arrays.pop((layer, i), None)
            self._replaced.add((layer, i))

    def __iter__(self) -> Iterator[str]:
        return (layer for layer in self.shapes if self._complete(layer))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, layer: object) -> bool:
        return isinstance(layer, str) and layer in self.shapes and self._complete(layer)

    def __repr__(self) -> str:
        return f"WeightStore({len(self)} of {len(self.shapes)} layers)"

    def owner(self, layer: str, index: int) -> Key:
        """The (layer, index) of the blob that holds a blob's values: itself, or the one that it is shared from."""
        return self._owner.get((layer, index), (layer, index))

    @property
    def outdated(self) -> set[str]:
        """Layers whose `blobs` in the net's definition are no longer their weights."""
        return {
            op.layer.name
            for op in self._ops
            if "blobs" in op.layer.message and any(self.owner(op.layer.name, i) in self._replaced for i in range(len(op.blobs)))
        }

    @property
    def missing(self) -> list[str]:
        """Layers of the net that lack some or all of their blobs; `filled` draws these from the fillers."""
        return [layer for layer in self.shapes if not self._complete(layer)]

    @property
    def zero_filled(self) -> list[str]:
        """Layers of `missing` whose fillers give only zeros (Caffe's default filler), statistics aside."""
        return [layer for layer in self.missing if self._is_zero_filled(layer)]

    @property
    def fill_note(self) -> str:
        """What the layers of `missing` get instead of weights, in words, for a conversion without a weights file."""
        missing, zeros = self.missing, self.zero_filled
        where = f" for {some(missing)}" if len(missing) < len(self.shapes) else ""  # the prototxt contains the others
        if not zeros:
            return f"no weights given{where}; random ones from the layers' fillers are used"
        return f"no weights given{where}; those of the layers' fillers are used: all zeros in {some(zeros)}"

    def _is_zero_filled(self, layer: str) -> bool:
        trained = [self.owner(layer, i) for i, spec in enumerate(self._specs[layer]) if spec.trainable]
        fillers = [self._specs[name][i].filler for name, i in trained]
        untouched = not any(key in self._arrays for key in trained)
        return bool(trained) and untouched and all(filler.type == "constant" and filler.value == 0 for filler in fillers)

    def _blob(self, layer: str, index: int) -> np.ndarray | None:
        array = self._arrays.get(self.owner(layer, index))
        return None if array is None else array.reshape(self.shapes[layer][index])

    def _complete(self, layer: str) -> bool:
        return all(self.owner(layer, i) in self._arrays for i in range(len(self.shapes[layer])))

    def _require(self, layer: str) -> None:
        if layer not in self.shapes:
            raise MissingWeightsError(f"no layer {layer!r} with weights{did_you_mean(layer, self.shapes)}")

    def _update(self, arrays: Arrays) -> None:
        self._arrays.update(arrays)
        self._replaced.update(arrays)

    def _written(self, but: Container[str] = ()) -> Arrays:
        """The weights in the definition: the `blobs` of layers, as Caffe reads them. Of shared blobs, the owner's are used.

        Args:
            but: layers to leave out.

        Raises:
            WeightsError: they do not fit the net; the layer and its place are named.
        """
        arrays: Arrays = {}
        for op in self._ops:
            if "blobs" not in op.layer.message or op.layer.name in but:
                continue
            from ..weights import text

            name, blobs = op.layer.name, text.read(op.layer.message, op.label)
            if not op.blobs:
                raise WeightsError(f"{op.label}: its type has no learnable blobs, but the prototxt has {len(blobs)}")
            own = [None if (name, i) in self._owner else blob for i, blob in enumerate(blobs)]
            arrays.update(self._fitted(name, own, op.label))
        return arrays

    def _fitted(self, layer: str, blobs: Sequence[np.ndarray | None], label: str = "") -> Arrays:
        """A layer's blobs in the net's shapes, by owner; None marks a blob that another layer holds."""
        shapes, label = self.shapes[layer], label or f"layer {layer!r}"
        if len(blobs) != len(shapes):
            blob_shapes = [None if blob is None else np.shape(blob) for blob in blobs]
            raise WeightsError(f"{label} has {len(shapes)} blobs {list(shapes)}, not {len(blobs)} {blob_shapes}")
        arrays: Arrays = {}
        for i, (blob, shape) in enumerate(zip(blobs, shapes)):
            if blob is None:
                if (layer, i) not in self._owner:
                    raise WeightsError(f"{label}, blob {i}: no values; the net's shape is {shape}")
                continue
            array = float32(blob, f"{label}, blob {i}", WeightsError)
            if array.shape != shape:
                array = _reshaped(array, shape, f"{label}, blob {i}")
            arrays[self.owner(layer, i)] = array
        return arrays

    def weights(self, seed: int | None = 0) -> dict[Key, Weight]:
        """All blobs for the graph, by layer and index; layers that share a blob get the same object.

        Args:
            seed: see `filled`; None gives blobs that are not set zeros that take no memory, for what looks at no values.

        Raises:
            WeightsError: see `filled`.
        """
        if seed is not None:
            self._refuse_absurd_sizes()
        owned: dict[Key, Weight] = {}
        result: dict[Key, Weight] = {}
        for layer, specs in self._specs.items():
            for i, spec in enumerate(specs):
                owner = self.owner(layer, i)
                if owner not in owned:
                    drawn = owner not in self._arrays
                    owned[owner] = Weight(_drawn(layer, i, spec, seed) if drawn else self._arrays[owner], drawn)
                result[layer, i] = owned[owner]
        return result

    def filled(self, seed: int = 0) -> dict[str, list[np.ndarray]]:
        """All blobs: those that are set, and the others drawn from their fillers by `seed` and the layer's name.

        The same seed gives the same values in every call and every process.

        Raises:
            WeightsError: a filler does not suit its blob (the layer is named), or more than 2^29 values would be drawn.
        """
        weights = self.weights(seed)
        return {
            layer: [weights[layer, i].values.reshape(spec.shape) for i, spec in enumerate(specs)]
            for layer, specs in self._specs.items()
        }

    def adopt(self, other: WeightStore, names: Mapping[str, str]) -> dict[str, str]:
        """Take over the weights of another net where they fit; the arrays are shared, not copied.

        Args:
            other: the other net's store.
            names: the layers to take over, by their names in the other net; here they may have other names.

        Returns:
            Why weights do not fit, by this net's layers.
        """
        self.source = other.source
        unfit = {}
        for old, layer in names.items():
            if layer in self.shapes:
                try:
                    self._update(self._fitted(layer, other[old]))
                except WeightsError as error:
                    unfit[layer] = str(error)
        return unfit

    def _refuse_absurd_sizes(self) -> None:
        undrawn = {
            (layer, i): spec.count
            for layer, specs in self._specs.items()
            for i, spec in enumerate(specs)
            if (layer, i) not in self._owner and (layer, i) not in self._arrays
        }
        total = sum(undrawn.values())
        if total > MAX_DRAWN:
            layer, i = max(undrawn, key=undrawn.__getitem__)
            raise WeightsError(
                f"the net has {total:,} values without weights, most of them in layer {layer!r} {self.shapes[layer][i]}: "
                f"at most {MAX_DRAWN:,} are drawn at random; load a weights file, or use a smaller net"
            )

    def load(self, path: str | Path | Content) -> LoadReport:
        """Load the weights of a file, matched by name. If the file does not fit, nothing changes.

        Args:
            path: a `.caffemodel` or `.caffemodel.h5` (matched by layer name, as in Caffe), or a state dict of the module that
                `Net.to_torch` returns, saved by `torch.save` (`.pth`, `.pt`) or as `.safetensors`; one whose names are others is
                matched by order and shape (see `by_order.py`). The format is recognised by the file's content. Or the `Content`
                that `read_content` returned for a file.

        Returns:
            The layers loaded, the layers without weights, and the layers or keys that the net does not have; a warning lists
            each of the latter two.

        Raises:
            WeightsError: the file is damaged or in an unknown format, none of its names is one of the net's, or the number or
                shapes of some layers' blobs differ from the net's (all of these layers are named).
        """
        content = path if isinstance(path, Content) else read_content(path)
        source = content.source
        entries: list[LayerBlobs]
        foreign: list[LayerBlobs] = []
        unused: list[str]
        self._check_readings(content.blob_counts(self._undecided), f"{source}: ")
        if content.state is not None:
            from .state_dict import match

            entries, unused = match(content.state, self._ops, self._owner, source)
        else:
            entries = [entry for entry in content.layers if entry.name in self.shapes]
            foreign = [entry for entry in content.layers if entry.blobs and entry.name not in self.shapes]
            unused = [entry.name for entry in foreign]
            doubled = [entry.name for entry, other in zip(entries, _earlier(entries)) if other and not _same(entry, other)]
            if doubled:
                self._warn(f"{source}: several layers have one name and different weights ({some(doubled)}): "
                           "the last one's are taken, as in Caffe")  # fmt: skip
        report = LoadReport(unused=unused)
        self._update(self._taken(entries, report, source))
        self.source = source
        report.without_weights = self.missing
        if not report.loaded:
            raise WeightsError(
                f"{source}: none of its layers has the name of a layer of this net (it has {some(unused) or 'no weights'}); "
                "does it belong to another net?"
            )
        if report.without_weights:
            zeros = self.zero_filled
            values = "they keep their fillers' values" + (f", all zeros in {some(zeros)}" if zeros else "")
            self._warn(f"{source}: layers without weights: {some(report.without_weights)}; {values}")
        if foreign:
            hint = self._renamed(foreign, report.without_weights)
            self._warn(f"{source}: weights of layers that the net does not have: {some(unused)}{hint}")
        elif unused:
            self._warn(f"{source}: keys that the net does not have: {some(unused)}")
        return report

    def _check_readings(self, counts: Mapping[str, int], place: str = "") -> None:
        """Refuse weights whose number of blobs shows a layer to be of another form of its type than assumed."""
        for layer, held in counts.items():
            op = self._undecided.get(layer)
            if op is not None and held and held != len(op.blobs) and held in op.readings:
                raise WeightsError(place + conflict(f"layer {layer!r} ({op.layer.type})", op.readings, len(op.blobs), held))

    def _renamed(self, foreign: Sequence[LayerBlobs], without_weights: Sequence[str]) -> str:
        """A hint that a layer of the file may be one of the net's under another name, "" if no shapes match."""
        for entry in foreign:
            shapes = [None if blob is None else core_shape(blob.shape) for blob in entry.blobs]
            fitting = [layer for layer in without_weights if shapes == [core_shape(shape) for shape in self.shapes[layer]]]
            if fitting:
                layer = nearest(entry.name, fitting, cutoff=0)
                return f"; {entry.name!r} has the shapes of the net's {layer!r}: was that layer renamed?"
        return ""

    def _warn(self, message: str) -> None:
        warnings.warn(message, ProtogenWarning, stacklevel=4)

    def _taken(self, entries: Sequence[LayerBlobs], report: LoadReport, source: str) -> Arrays:
        """The blobs of a file's layers, checked; HDF5 files omit blobs that a layer shares from another."""
        arrays: Arrays = {}
        problems: list[str] = []
        for entry in entries:
            n = len(self.shapes[entry.name])
            blobs = list(entry.blobs)
            while len(blobs) < n and (entry.name, len(blobs)) in self._owner:
                blobs.append(None)
            if not entry.blobs and len(blobs) < n:
                continue
            try:
                arrays.update(self._fitted(entry.name, blobs))
                report.loaded.append(entry.name)
            except WeightsError as error:
                problems.append(f"{source}: {error}")
        if problems:
            more = [f"... and {len(problems) - 10} more layers that do not fit"] if len(problems) > 10 else []
            raise WeightsError(*problems[:10], *more)
        return arrays

    def require_complete(self) -> None:
        """Check that every layer has weights.

        Raises:
            WeightsError: it names the layers without weights.
        """
        missing = self.missing
        if missing:
            raise WeightsError(f"layers without weights: {some(missing)}; load or set them, or let net.fill() draw them")


def _drawn(layer: str, index: int, spec: BlobSpec, seed: int | None) -> np.ndarray:
    if seed is None:
        return np.broadcast_to(np.float32(0), spec.shape)
    own_seed = (seed, zlib.crc32(layer.encode("utf-8", "surrogatepass")), index)
    try:
        return fill(spec.filler, spec.shape, own_seed)
    except ProtogenError as error:
        raise WeightsError(f"layer {layer!r}, blob {index} ({spec.name}): {error}") from error


def _reshaped(array: np.ndarray, shape: Shape, what: str) -> np.ndarray:
    """The array in the net's shape; leading ones do not matter, as old files store (64,) as (1, 1, 1, 64)."""
    if core_shape(array.shape) != core_shape(shape) or array.size != math.prod(shape):
        raise WeightsError(f"{what}: the net's shape is {shape}, the weights' {array.shape}")
    return array.reshape(shape)


def _earlier(entries: Iterable[LayerBlobs]) -> Iterator[LayerBlobs | None]:
    """For each layer of a file, the last one before it that has the same name, and weights; None if there is none."""
    last: dict[str, LayerBlobs] = {}
    for entry in entries:
        yield last.get(entry.name)
        if entry.blobs:
            last[entry.name] = entry


def _same(one: LayerBlobs, other: LayerBlobs) -> bool:
    """Whether two layers have the same weights, or the first one has none."""
    pairs = [(a, b) for a, b in zip(one.blobs, other.blobs) if a is not None and b is not None]
    return not one.blobs or (len(one.blobs) == len(other.blobs) and all(np.array_equal(a, b) for a, b in pairs))


def core_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without leading ones, in which files of different ages differ."""
    dims = tuple(shape)
    while dims and dims[0] == 1:
        dims = dims[1:]
    return dims
