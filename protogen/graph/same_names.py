"""Layers with weights that have one name: told apart by new names, so that weights can be found by name.

Caffe builds such layers like any others (Net::Init in caffe/net.cpp), each with its own weights. Those of a .caffemodel go to the
first layer of their name (Net::CopyTrainedLayersFrom), so that the others keep their fillers' values. OpenCV up to 3.4.1 gives
the file's weights to all of them (extractBinaryLayerParams in dnn's caffe_importer.cpp).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from itertools import count
from typing import TYPE_CHECKING

from ..errors import WeightsError
from ..prototxt.message import Message
from ..prototxt.phase import State, active

if TYPE_CHECKING:
    from ..layers.base import LayerType

SHARED_RULE = '(--same-names shared, or same_names="shared")'


class Names:
    """Tells layers of one name apart.

    Args:
        taken: names of layers and of shared weights (`param { name }`) that a new name must differ from.

    Attributes:
        rewritten: by `id` of a layer's message as it was read, the message that has taken its place.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.rewritten: dict[int, Message] = {}
        self._taken = set(taken)

    def copy(self) -> Names:
        """A copy; changes of either one do not affect the other."""
        twin = Names(self._taken)
        twin.rewritten = dict(self.rewritten)
        return twin

    def tell_apart(self, first: LayerType, op: LayerType) -> str:
        """Rename a layer, and have it share the weights of the first layer of its name if that is the rule (`same_names`).

        The messages of the layers' `Layer`s are replaced, not modified.

        Args:
            first, op: both have weights.

        Returns:
            The text of a warning.

        Raises:
            LayerError: it cannot share them: its blobs have other shapes, or its `param` another name.
        """
        old, shared = op.layer.name, op.rules.same_names == "shared"
        text = f"{op.label}: layer {old!r} ({first.layer.type}) has the same name, and both have weights; "
        message = op.layer.message.copy().update({"name": self._unused(old)})
        if shared:
            names = self._shared_names(first, op)
            _set_param_names(message, names)
            if _param_names(first) != names:
                named = first.layer.message.copy()
                _set_param_names(named, names)
                self._replace(first, named)
        self._replace(op, message)
        op.layer.name = message.name
        if shared or ("" not in _param_names(op) and _param_names(first) == _param_names(op)):
            return f"{text}they share them, and this one is called {message.name!r} here"
        return (
            f"{text}as in Caffe, each has its own, a caffemodel's go to the first, and this one is called {message.name!r} here; "
            f"they can share them, too {SHARED_RULE}"
        )

    def _replace(self, op: LayerType, message: Message) -> None:
        self.rewritten[id(op.layer.message)] = message
        op.layer.message = message

    def _unused(self, name: str) -> str:
        """The name with the first number that makes it a new one."""
        new = next(new for new in (f"{name}_{number}" for number in count(1)) if new not in self._taken)
        self._taken.add(new)
        return new

    def _shared_names(self, first: LayerType, op: LayerType) -> list[str]:
        """A name for each weight that both layers have, the first one's own if it has one."""
        shapes, others = ([blob.shape for blob in layer.blobs] for layer in (op, first))
        if shapes != others:
            raise op.error(
                f"cannot share the weights of layer {first.layer.name!r} ({first.layer.type}), which has the same "
                f"name: its blobs have the shapes {shapes}, not {others}; rename one of them"
            )
        names = [name or self._unused(f"{first.layer.name}_shared") for name in _param_names(first)]
        for own, name in zip(_param_names(op), names):
            if own not in ("", name):
                raise op.error(
                    f"cannot share the weights of the other layer of its name, as its param has the name {own!r}, "
                    f"not {name!r}; rename one of the layers"
                )
        return names


def check_cut_names(learnable: Set[str], definition: Message, state: State) -> None:
    """Check that no weights of a file could be those of a layer that was cut off.

    Args:
        learnable: names of the layers with weights that are left.
        definition: the NetParameter before it was cut.
        state: which of its layers are active.

    Raises:
        WeightsError: a layer of the same name and type was active in it.
    """
    kinds = [(layer.name, layer.type) for layer in definition.layer if active(layer, state)]
    for (name, kind), number in Counter(kinds).items():
        if number > 1 and name in learnable:
            raise WeightsError(
                f"{number} layers ({kind}) of the uncut net have the name {name!r}, so that it is not clear which one a file's "
                "weights are for; load the whole net, and cut it with net.cut"
            )


def _param_names(op: LayerType) -> list[str]:
    """The name under which each of a layer's weights is shared, "" where it has none."""
    names = [spec.name for spec in op.layer.message.param]
    return [*names, *[""] * len(op.blobs)][: len(op.blobs)]


def _set_param_names(message: Message, names: list[str]) -> None:
    specs = [spec.copy() for spec in message.param]
    specs += [Message.of("ParamSpec") for _ in names[len(specs) :]]
    message.set("param", [spec.update({"name": name}) for spec, name in zip(specs, names)] + specs[len(names) :])
