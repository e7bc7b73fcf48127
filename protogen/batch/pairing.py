"""Which weights file of a folder belongs to which net: the one of its name or, if only one can be meant, one with its layers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError, some
from .tree import CERTAIN, POSSIBLE, is_candidate, siblings, stem

if TYPE_CHECKING:
    from ..net import Net
    from ..prototxt.message import Message

WEIGHTS = (".caffemodel", ".caffemodel.h5")
_INERT = {"batch_norm_param", "dropout_param"}  # parameters that differ between the train and deploy files of one net

Settings = Mapping[str, Any]


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
    _forms: dict[tuple[str, str], Settings | str] = field(default_factory=dict)

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
        reasons = {file: form for file in free if isinstance(form := self._form(path, file), str)}
        fitting = [file for file in free if file not in reasons]
        doubt = self._doubt(path, fitting, reasons)
        if len(fitting) == 1 and not doubt:
            return Paired(self._load(path, fitting[0])[0], fitting[0], "layers", ignored=ignored)
        note = net.weights.fill_note
        return Paired(net, note=f"{doubt}; {note}" if doubt else note, unsure=bool(doubt), ignored=ignored)

    def _doubt(self, path: str, fitting: Sequence[str], reasons: Mapping[str, str]) -> str:
        """Say why weights in the folder are not used for a net, "" if there are none or exactly one must be meant."""
        if len(fitting) > 1:
            return f"{some([os.path.basename(file) for file in fitting], 3)} all fit: convert this file alone with the right one"
        if fitting:
            other = self._other_net(path, fitting[0])
            return f"{os.path.basename(fitting[0])!r} also fits {other!r}, another net: convert this file alone" if other else ""
        return next(iter(reasons.values()), "")

    def _other_net(self, path: str, weights: str) -> str:
        """Return the name of a different net in the folder that the weights fit as well, "" if there is none.

        The train and deploy files of one net differ in their ends, but not in the layers up to the last one with weights.
        """
        own = self._form(path, weights)
        for other in siblings(path, (CERTAIN, *POSSIBLE)):
            form = self._form(other, weights) if other != path and is_candidate(other) else ""
            fit = not isinstance(form, str) and not isinstance(own, str)
            if fit and any(own[layer] != form[layer] for layer in own.keys() & form.keys()):
                return os.path.basename(other)
        return ""

    def _form(self, path: str, weights: str) -> Settings | str:
        """Return what a net's layers compute if a weights file has all of its layers, in the net's order; else why not."""
        key = (path, weights)
        if key not in self._forms:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    self._forms[key] = _form(self._load(path, weights)[0], weights)
                except (ProtogenError, OSError) as error:
                    self._forms[key] = getattr(error, "lines", (str(error),))[0]
        return self._forms[key]

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


def _form(net: Net, weights: str) -> Settings | str:
    """Return the parameters of a net's layers by name, up to the last one with weights, or why the weights do not fit it."""
    from ..weights.content import read_content

    file = os.path.basename(weights)
    if net.weights.missing:
        return f"{file!r} has no weights for {some(net.weights.missing, 3)}"
    if not net.param_shapes:
        return "no layer has weights"
    order = {entry.name: place for place, entry in enumerate(read_content(weights).layers)}
    places = [order[layer.name] for layer in net.layers if layer.name in order]
    if places != sorted(places):
        return f"{file!r} has the layers in another order"
    last = max(place for place, layer in enumerate(net.layers) if layer.name in net.param_shapes)
    computed = {top for layer in net.layers if layer.bottoms for top in layer.tops}
    return {
        layer.name: ([bottom for bottom in layer.bottoms if bottom in computed], _parameters(layer.message))
        for layer in net.layers[: last + 1]
        if layer.bottoms
    }


def _parameters(message: Message) -> dict[str, Message]:
    """Return the parameters of a layer that decide what it computes in inference."""
    params = {name: value for name, value in message.fields() if name.endswith("_param") and name not in _INERT}
    return {name: value.without(*(key for key, _ in value.fields() if key.endswith("filler"))) for name, value in params.items()}
