"""What a random net grows by: the table of offers, the blobs at hand, and the net with its weights and inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import protogen
from protogen.prototxt.message import Message

Shape = tuple[int, ...]
Feed = Callable[[np.random.Generator, Shape], np.ndarray]
MAX_VALUES = 3000  # of one blob: nets stay quick
LEAST, MOST, LONGEST_OFFER = 5, 40, 4


@dataclass(frozen=True)
class Blob:
    """What is known about a blob.

    Attributes:
        name, shape: as in the net.
        exact: fed from outside or merely moved, so that its values are known to the last bit.
        tame: |x| <= 2, or nearly so.
        positive: x >= 0.
        whole: its number of rows is the stated one (Filter's is not).
        varied: not the same value everywhere, so that it has a variance.
    """

    name: str
    shape: Shape
    exact: bool = False
    tame: bool = False
    positive: bool = False
    whole: bool = True
    varied: bool = True

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Offer:
    """A way to go on: `grow(grower, blob)` appends layers that read a blob for which `fits` holds."""

    name: str
    fits: Callable[[Blob], bool]
    fresh: Shape | None
    grow: Callable[[Grower, Any], None]


OFFERS: list[Offer] = []


def offer(
    fits: Callable[[Blob], bool] = lambda x: True, fresh: Shape = (2, 4, 6, 6), rows: bool = False
) -> Callable[[Callable[[Grower, Blob], None]], Callable[[Grower, Blob], None]]:
    """Decorator: put a function into the table; with `rows` it may read blobs whose number of rows only the data tell."""

    def add(grow: Callable[[Grower, Blob], None]) -> Callable[[Grower, Blob], None]:
        OFFERS.append(Offer(grow.__name__.strip("_"), lambda x: (rows or x.whole) and fits(x), fresh, grow))
        return grow

    return add


def source(grow: Callable[[Grower], None]) -> Callable[[Grower], None]:
    """Decorator: an offer that reads no blob at hand."""
    OFFERS.append(Offer(grow.__name__, lambda x: False, None, lambda grower, x: grow(grower)))
    return grow


class Grower:
    """A net while it grows.

    Args:
        pick: draws one of a sequence.

    Attributes:
        builder: takes the layers.
        blobs: those at hand, by name, in the order they are made.
        feeds: how inputs other than standard normal ones are drawn.
    """

    def __init__(self, pick: Callable[[Sequence[Any]], Any]) -> None:
        self.pick = pick
        self.builder = protogen.NetBuilder("random")
        self.blobs: dict[str, Blob] = {}
        self.feeds: dict[str, Feed] = {}
        self._named: list[tuple[str, Shape, dict[str, Any]]] = []  # layers whose learnable blobs have names to share

    @property
    def count(self) -> int:
        """Layers so far, those of the other phase included."""
        return len(self.builder._messages)

    def step(self) -> None:
        """Append what one offer makes, to one of the last blobs that fit it."""
        chosen = self.pick(OFFERS)
        fitting = [blob for blob in reversed(self.blobs.values()) if chosen.fits(blob)][:6]
        chosen.grow(self, self.pick(fitting) if fitting else self._fresh(chosen))

    def _fresh(self, chosen: Offer) -> Blob | None:
        """An input that an offer can read: standard normal, or from 0 to 1 where that is wanted."""
        if chosen.fresh is None:
            return None
        if chosen.fits(Blob("", chosen.fresh, exact=True)):
            return self.input(chosen.fresh)
        blob = self.input(chosen.fresh, lambda rng, shape: rng.uniform(0, 1, shape))
        self.blobs[blob.name] = replace(blob, tame=True, positive=True)
        return self.blobs[blob.name]

    def flag(self) -> bool:
        return bool(self.pick((False, True)))

    def input(self, shape: Shape, feed: Feed | None = None, hidden: bool = False) -> Blob:
        """A new input; a `hidden` one (of indices, say) is nothing for other layers to read."""
        name = self.builder.input(self.builder.unused("in"), shape)
        if feed is not None:
            self.feeds[name] = feed
        blob = Blob(name, shape, exact=True)
        if not hidden:
            self.blobs[name] = blob
        return blob

    def add(
        self,
        type: str,
        *bottoms: Blob,
        tops: int = 1,
        in_place: bool = False,
        facts: dict[str, bool] | None = None,
        **fields: Any,
    ) -> list[Blob]:
        """Append a layer; `facts` hold for all its tops."""
        name = self.builder.unused(type.lower())
        top = None if tops == 1 else [f"{name}_{i}" for i in range(tops)]
        made = self.builder.layer(type, *[blob.name for blob in bottoms], name=name, top=top, in_place=in_place, **fields)
        names = [made] if isinstance(made, str) else list(made)
        known = {
            "whole": all(blob.whole for blob in bottoms),
            "varied": not bottoms or any(blob.varied for blob in bottoms),
            **(facts or {}),
        }
        blobs = [Blob(each, self.builder.shape(each), **known) for each in names]
        self.blobs.update((blob.name, blob) for blob in blobs)
        return blobs

    def move(self, type: str, *bottoms: Blob, tops: int = 1, also: Sequence[Blob] = (), **fields: Any) -> list[Blob]:
        """Append a layer that only moves the values of `bottoms`; `also` are further bottoms, which it does not show."""
        facts = {fact: all(getattr(blob, fact) for blob in bottoms) for fact in ("exact", "tame", "positive")}
        return self.add(type, *bottoms, *also, tops=tops, facts=facts, **fields)

    def elementwise(self, type: str, x: Blob, facts: dict[str, bool] | None = None, **fields: Any) -> None:
        """An elementwise layer, in place or not; now and then it is there in one phase only."""
        in_place = self.flag()
        rule = self.pick(
            (None,) * 6 + ({"include": {"phase": "TRAIN"}}, {"exclude": {"phase": "TEST"}}, {"include": {"phase": "TEST"}})
        )
        if rule is not None and in_place:
            fields = {**fields, **rule}
        if rule is not None and in_place and rule != {"include": {"phase": "TEST"}}:
            self.builder.layer(type, x.name, name=f"train_{type.lower()}{self.count}", in_place=True, **fields)
            return
        self.add(type, x, in_place=in_place, facts=facts, **fields)

    def learn(self, type: str, x: Blob, others: Sequence[Blob] = (), **fields: Any) -> None:
        """A layer with learnable blobs; now and then they have names, under which a later layer of the same kind shares them."""
        tops = 1 + len(others)
        if self.pick((False, False, True)):
            same = [entry for entry in self._named if entry[:2] == (type, x.shape[1:])]
            if same and not others:
                fields = self.pick(same)[2]
            else:
                names = [f"shared{len(self._named)}_{i}" for i in range(2)]
                fields = {**fields, "param": [{"name": name} for name in names]}
                self._named.append((type, x.shape[1:], fields))
        self.add(type, x, *others, tops=tops, **fields)


class RandomNet:
    """A net with weights, and values for its inputs; `text` is its prototxt."""

    def __init__(self, net: protogen.Net, values: dict[str, np.ndarray]) -> None:
        self.net, self.values = net, values

    @property
    def text(self) -> str:
        return self.net.to_prototxt()

    def __repr__(self) -> str:
        return f"<a net of {len(self.net.layers)} layers: {', '.join(layer.type for layer in self.net.layers)}>"

    def single_layers(self) -> Iterator[RandomNet]:
        """Each layer by itself, fed with what it reads in this net: where something goes wrong, one of them may show it."""
        read = self._bottoms()
        for op in self.net.ops:
            if op.layer.name in read:
                yield self._alone(op, read[op.layer.name])

    def _bottoms(self) -> dict[str, list[np.ndarray]]:
        """What each layer reads, by the layer's name."""
        import torch

        module, read = self.net.to_torch(), {}
        for layer, name in module.module_names.items():
            keep = lambda _, bottoms, tops, layer=layer: read.update({layer: [bottom.detach().numpy() for bottom in bottoms]})  # noqa: E731
            getattr(module, name).register_forward_hook(keep)
        module(*(torch.tensor(self.values[name]) for name in self.net.inputs))
        return read

    def _alone(self, op: protogen.LayerType, bottoms: Sequence[np.ndarray]) -> RandomNet:
        values = dict(zip(op.layer.bottoms, bottoms))
        definition = Message.of("NetParameter", name="one layer")
        for name, value in values.items():
            shape = {"shape": {"dim": list(value.shape)}}
            definition.append("layer", Message.of("LayerParameter", name=name, type="Input", top=[name], input_param=shape))
        layer = op.layer.message.copy()
        layer.set("top", [f"{top}_made" if top in values else top for top in op.layer.tops])
        layer.set("name", op.layer.name)
        definition.append("layer", layer)
        net = protogen.Net(definition)
        if op.blobs:
            net.weights[op.layer.name] = self.net.weights[op.layer.name]
        return RandomNet(net, values)


def random_net(seed: int, layers: int) -> RandomNet:
    """A net of `layers` layers of both phases, or up to `LONGEST_OFFER` - 1 more; with fewer, the same seed gives its beginning.

    >>> len(random_net(seed=1, layers=20).net.definition.layer) in range(20, 20 + LONGEST_OFFER)
    True
    """
    grower = Grower(random.Random(seed).choice)
    while grower.count < layers:
        grower.step()
    net = grower.builder.build()
    rng = np.random.default_rng(0)
    for op in net.ops:
        if op.blobs:
            net.weights[op.layer.name] = [_weights(blob, rng) for blob in op.blobs]
    standard: Feed = lambda rng, shape: rng.standard_normal(shape)  # noqa: E731
    values = {name: grower.feeds.get(name, standard)(rng, net.shapes[name]).astype(np.float32) for name in net.inputs}
    return RandomNet(net, values)


def _weights(blob: protogen.BlobSpec, rng: np.random.Generator) -> np.ndarray:
    """Values that keep the activations' size; variances and BatchNorm's factor are positive."""
    if blob.name in ("variance", "factor"):
        return rng.uniform(0.5, 1.5, blob.shape)
    fan_in = max(1, blob.count // blob.shape[0]) if blob.shape else 1
    return rng.standard_normal(blob.shape) / np.sqrt(fan_in)


def up_to(high: int, feed_low: int = 0) -> Feed:
    """Whole numbers from `feed_low` to below `high`."""
    return lambda rng, shape: rng.integers(feed_low, high, shape)


def images(x: Blob) -> bool:
    return x.ndim == 4 and x.size > 0


def small(x: Blob) -> bool:
    return x.size * 8 <= MAX_VALUES
