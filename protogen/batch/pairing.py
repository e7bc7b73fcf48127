"""Which weights file of a folder belongs to which net: the one of its name or, if only one can be meant, one with its layers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError, printable, some
from .tree import CERTAIN, POSSIBLE, is_candidate, siblings, stem

if TYPE_CHECKING:
    from ..net import Net
    from ..prototxt.message import Message

WEIGHTS = (".caffemodel", ".caffemodel.h5")
_INERT = {"batch_norm_param", "dropout_param"}  # parameters that differ between the train and deploy files of one net


@dataclass(frozen=True)
class _Fit:
    """Whether a net and a weights file fit.

    Attributes:
        layers: what the net's layers compute, by name, up to the last one with weights; empty if the file does not fit.
        reason: why it does not fit, "" if it does.
    """

    layers: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Paired:
    """A net with its weights; the other fields are those of `FileRow`."""

    net: Net
    weights: str | None = None
    matched_by: str | None = None
    note: str = ""
    unsure: bool = False
    ignored: Sequence[str] = ()


@dataclass
class Reader:
    """Reads nets with the weights that lie beside them.

    Args:
        settings: keyword arguments of `protogen.load` for every file.
    """

    settings: Mapping[str, Any]
    _fits: dict[tuple[str, str], _Fit] = field(default_factory=dict)

    def read(self, path: str) -> Paired:
        """Read a net and choose its weights.

        Raises:
            ProtogenError: as `protogen.load`.
        """
        files = list(siblings(path, WEIGHTS))
        named = [file for file in files if stem(file) == stem(path)]
        if named:
            net, ignored = self._load(path, named[0])
            return Paired(net, named[0], "name", ignored=ignored)
        net, ignored = self._load(path)
        if not net.weights.missing:
            return Paired(net, ignored=ignored)
        taken = {stem(file) for file in siblings(path, (CERTAIN, *POSSIBLE))}
        free = [file for file in files if stem(file) not in taken]
        fitting = [file for file in free if not self._fit(path, file).reason]
        doubt = self._doubt(path, free, fitting)
        if len(fitting) == 1 and not doubt:
            return Paired(self._load(path, fitting[0])[0], fitting[0], "layers", ignored=ignored)
        note = net.weights.fill_note
        return Paired(net, note=f"{doubt}; {note}" if doubt else note, unsure=bool(doubt), ignored=ignored)

    def _doubt(self, path: str, free: Sequence[str], fitting: Sequence[str]) -> str:
        """Say why weights in the folder are not used for a net, "" if there are none or exactly one must be meant."""
        names = [os.path.basename(file) for file in fitting]
        if len(fitting) > 1:
            return f"{some(names, 3)} all fit: convert this file alone with the right one"
        if fitting:
            other = self._other_net(path, fitting[0])
            return f"{names[0]!r} also fits {other!r}, which is another net: convert this file alone" if other else ""
        return self._fit(path, free[0]).reason if free else ""

    def _other_net(self, path: str, weights: str) -> str:
        """Return the name of a different net in the folder that the weights fit as well, "" if there is none.

        The train and deploy files of one net differ in their ends, but not in the layers up to the last one with weights.
        """
        own = self._fit(path, weights).layers
        for other in siblings(path, (CERTAIN, *POSSIBLE)):
            if other == path or not is_candidate(other):
                continue
            fit = self._fit(other, weights)
            if not fit.reason and any(own[layer] != fit.layers[layer] for layer in own.keys() & fit.layers.keys()):
                return os.path.basename(other)
        return ""

    def _fit(self, path: str, weights: str) -> _Fit:
        key = (path, weights)
        if key not in self._fits:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    self._fits[key] = _fit(self._load(path, weights)[0], weights)
                except ProtogenError as error:
                    folder = printable(os.path.join(os.path.dirname(path), ""))
                    self._fits[key] = _Fit(reason=error.lines[0].removeprefix(folder))
        return self._fits[key]

    def _load(self, path: str, weights: str | None = None) -> tuple[Net, list[str]]:
        """Read a net with those settings that concern it; return what the others were."""
        from ..prototxt.reader import read_source
        from ..prototxt.template import fill, has_word
        from ..reading import loads

        text, source = read_source(path)
        settings = dict(self.settings)
        ignored = []
        define = settings.pop("define", None) or {}
        here = {word: value for word, value in define.items() if has_word(text, word)}
        ignored += [f"word {word!r}" for word in define if word not in here]
        text = fill(text, here) if here else text
        if settings.get("inputs"):
            blobs = _blobs(text, source, settings.get("strict"))
            ignored += [f"input {name!r}" for name in settings["inputs"] if name not in blobs]
            settings["inputs"] = {name: shape for name, shape in settings["inputs"].items() if name in blobs}
        return loads(text, weights, source=source, **settings), ignored


def _blobs(text: str, source: str, strict: bool | None) -> set[str]:
    """Return the names of all blobs of a net."""
    from ..prototxt.reader import read_definition

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {top for layer in read_definition(text, source, strict).layer for top in layer.top}


def _fit(net: Net, weights: str) -> _Fit:
    """Compare a net that has the weights of a file with that file: are they all there, and in the net's order?"""
    from ..weights.content import read_content

    file = os.path.basename(weights)
    if net.weights.missing:
        return _Fit(reason=f"{file!r} has no weights for {some(net.weights.missing, 3)}")
    order = {entry.name: place for place, entry in enumerate(read_content(weights).layers)}
    places = [order[layer.name] for layer in net.layers if layer.name in order]
    if places != sorted(places):
        return _Fit(reason=f"{file!r} has the layers in another order")
    last = max(place for place, layer in enumerate(net.layers) if layer.name in net.param_shapes)
    computed = {top for layer in net.layers if layer.bottoms for top in layer.tops}
    layers = {
        layer.name: ([bottom for bottom in layer.bottoms if bottom in computed], _parameters(layer.message))
        for layer in net.layers[: last + 1]
        if layer.bottoms
    }
    return _Fit(layers)


def _parameters(message: Message) -> dict[str, Message]:
    """Return the parameters of a layer that decide what it computes in inference."""
    params = {name: value for name, value in message.fields() if name.endswith("_param") and name not in _INERT}
    return {name: value.without(*(key for key, _ in value.fields() if key.endswith("filler"))) for name, value in params.items()}
