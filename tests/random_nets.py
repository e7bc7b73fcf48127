"""Random nets over all layer families, for property tests.

A net grows from a table of offers. Each offer says which blobs it can read (`fits`), which input it makes for itself where no
blob at hand fits (`fresh`), and appends one layer, or the few that belong together.

Both sides of a comparison round differently, so what is discontinuous (Threshold, ArgMax, pooling masks, detections) reads
only blobs known to the last bit: inputs, and what was merely moved. Steep functions read only `tame` blobs (|x| <= 2), logarithms
and roots only `positive` ones.
"""

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


# ---- elementwise


@offer(rows=True)
def relu(g: Grower, x: Blob) -> None:
    slope = g.pick((None, 0.1))
    g.elementwise("ReLU", x, {"positive": slope is None, "tame": x.tame}, negative_slope=slope)


@offer(rows=True)
def relu6(g: Grower, x: Blob) -> None:
    g.elementwise("ReLU6", x, {"positive": True, "tame": x.tame})


@offer(rows=True)
def sigmoid(g: Grower, x: Blob) -> None:
    g.elementwise("Sigmoid", x, {"positive": True, "tame": True})


@offer(rows=True)
def tanh(g: Grower, x: Blob) -> None:
    g.elementwise("TanH", x, {"tame": True})


@offer(rows=True)
def smooth(g: Grower, x: Blob) -> None:
    g.elementwise(g.pick(("ELU", "SELU", "SeLu", "BNLL", "SeLuDropout")), x)


@offer(rows=True)
def swish(g: Grower, x: Blob) -> None:
    g.elementwise("Swish", x, beta=g.pick((None, 0.5)))


@offer(rows=True)
def absval(g: Grower, x: Blob) -> None:
    g.add("AbsVal", x, facts={"positive": True, "tame": x.tame})


@offer(rows=True)
def clip(g: Grower, x: Blob) -> None:
    low = g.pick((-1, 0))
    g.elementwise("Clip", x, {"tame": True, "positive": low == 0}, min=low, max=1.5)


@offer(rows=True)
def dropout(g: Grower, x: Blob) -> None:
    g.elementwise("Dropout", x, dropout_ratio=g.pick((None, 0.3)), scale_train=g.pick((None, False)))


@offer(rows=True)
def power(g: Grower, x: Blob) -> None:
    scale = g.pick((None, -0.5, 0))
    g.elementwise("Power", x, {"varied": x.varied and scale != 0}, scale=scale, shift=g.pick((None, 0.25)))


@offer(lambda x: x.tame, rows=True)
def square(g: Grower, x: Blob) -> None:
    g.elementwise("Power", x, {"positive": True}, power=2, shift=g.pick((None, 0.5)))


@offer(lambda x: x.positive, rows=True)
def root(g: Grower, x: Blob) -> None:
    g.elementwise("Power", x, {"positive": True, "tame": x.tame}, power=0.5, shift=0.5)


@offer(lambda x: x.tame, rows=True)
def exp(g: Grower, x: Blob) -> None:
    g.elementwise("Exp", x, {"positive": True}, base=g.pick((None, 2)), scale=g.pick((None, -0.5)), shift=g.pick((None, 0.5)))


@offer(lambda x: x.positive, rows=True)
def log(g: Grower, x: Blob) -> None:
    g.elementwise("Log", x, base=g.pick((None, 10)), scale=g.pick((None, 0.5)), shift=1)


@offer(lambda x: x.exact, rows=True)
def threshold(g: Grower, x: Blob) -> None:
    g.elementwise("Threshold", x, {"exact": True, "tame": True, "positive": True}, threshold=0.25)


@offer(lambda x: x.ndim >= 2)
def prelu(g: Grower, x: Blob) -> None:
    g.elementwise("PReLU", x, channel_shared=g.pick((None, True)))


# ---- learned and given factors, normalization


@offer(lambda x: x.ndim >= 2)
def scale_or_bias(g: Grower, x: Blob) -> None:
    type, axis = g.pick(("Scale", "Bias")), g.pick(range(x.ndim))
    fields = {
        "axis": axis,
        "num_axes": g.pick((1, -1)) if axis else 1,
        "bias_term": True if type == "Scale" and g.flag() else None,
    }
    g.elementwise(type, x, **fields)


@offer(lambda x: x.ndim >= 2)
def factor_given(g: Grower, x: Blob) -> None:
    """Scale or Bias by another blob: one whose shape is a run of the axes of `x`."""
    runs = {x.shape[a:b]: a for a in range(x.ndim) for b in range(a + 1, x.ndim + 1)}
    other = g.pick([blob for blob in g.blobs.values() if blob.shape in runs and blob.whole][-4:])
    g.add(g.pick(("Scale", "Bias")), x, other, axis=runs[other.shape])


@offer(lambda x: x.ndim >= 2)
def channel_factor(g: Grower, x: Blob) -> None:
    """Squeeze and excitation: a factor per item and channel, by Scale or Axpy."""
    squeezed = g.add("InnerProduct", x, num_output=x.shape[1])[0]
    gate = g.add("Sigmoid", squeezed)[0]
    if g.flag():
        g.add("Axpy", gate, x, x)
    else:
        g.add("Scale", x, gate, axis=0)


@offer(lambda x: x.ndim >= 2)
def batch_norm(g: Grower, x: Blob) -> None:
    g.elementwise("BatchNorm", x, eps=g.pick((None, 1e-3)), scale_bias=g.pick((None, None, True)))


@offer(lambda x: 2 <= x.ndim <= 4)
def bn(g: Grower, x: Blob) -> None:
    g.add("BN", x, **g.pick(({"momentum": 0.9}, {"bn_mode": "INFERENCE"})))


@offer(lambda x: images(x) and x.varied)
def batch_statistics(g: Grower, x: Blob) -> None:
    """Normalization by the batch's own statistics, also in TEST."""
    if g.flag():
        g.add("BN", x, bn_mode="LEARN")
    else:
        g.add("BatchNorm", x, use_global_stats=False, eps=0.01)


@offer(images)
def lrn(g: Grower, x: Blob) -> None:
    g.add("LRN", x, local_size=g.pick((3, 5)), alpha=g.pick((None, 0.1)), norm_region=g.pick((None, "WITHIN_CHANNEL")))


@offer(lambda x: images(x) and x.shape[2] * x.shape[3] > 3 and x.varied)
def mvn(g: Grower, x: Blob) -> None:
    g.add("MVN", x, across_channels=g.pick((None, True)), normalize_variance=g.pick((None, False)), eps=0.01)


@offer(images)
def normalize(g: Grower, x: Blob) -> None:
    fields = {"across_spatial": g.flag(), "channel_shared": g.flag(), "scale_filler": {"type": "constant", "value": 2}}
    g.add("Normalize", x, norm_param=fields)


@offer(lambda x: images(x) and x.positive)
def l2_normalization(g: Grower, x: Blob) -> None:
    """Away from 0, which has no direction."""
    shifted = g.add("Power", x, shift=0.5)[0]
    g.add("L2Normalization", shifted, facts={"tame": True, "positive": True})


@offer(lambda x: x.ndim >= 1)
def softmax(g: Grower, x: Blob) -> None:
    g.add("Softmax", x, axis=g.pick(range(-1, x.ndim)), facts={"tame": True, "positive": True})


# ---- convolutions and other products


@offer(lambda x: images(x) and small(x))
def convolution(g: Grower, x: Blob) -> None:
    high, wide = (min(size, g.pick((1, 2, 3))) for size in x.shape[2:])
    group = g.pick([n for n in (1, 2, 3, x.shape[1]) if x.shape[1] % n == 0])
    kernel = {"kernel_size": high} if high == wide else {"kernel_h": high, "kernel_w": wide}
    fields = {"stride": g.pick((None, 2)), "pad": g.pick((None, 1)), "bias_term": g.pick((None, False)), "group": group}
    dilation = 2 if min(x.shape[2:]) >= 5 and g.flag() else None
    g.learn("Convolution", x, num_output=group * g.pick((1, 2)), dilation=dilation, **kernel, **fields)


@offer(lambda x: x.ndim in (3, 5) and small(x) and x.size > 0, fresh=(2, 2, 4, 5, 3))
def convolution_nd(g: Grower, x: Blob) -> None:
    kernel = [min(2, size) for size in x.shape[2:]]
    g.learn("Convolution", x, num_output=g.pick((2, 3)), kernel_size=kernel, pad=g.pick((None, 1)), stride=g.pick((None, 2)))


@offer(lambda x: images(x) and small(x) and min(x.shape[2:]) >= 2)
def convolution_of_two(g: Grower, x: Blob) -> None:
    """One Convolution over two bottoms of a shape."""
    other = g.pick([blob for blob in g.blobs.values() if blob.shape == x.shape and blob.whole][-3:])
    g.learn("Convolution", x, [other], num_output=3, kernel_size=2)


@offer(lambda x: images(x) and small(x))
def depthwise(g: Grower, x: Blob) -> None:
    type, c = g.pick(("DepthwiseConvolution", "ConvolutionDepthwise", "ConvDepthwise")), x.shape[1]
    g.learn(
        type, x, num_output=c, group=c if type == "DepthwiseConvolution" else None, kernel_size=3, pad=1, stride=g.pick((None, 2))
    )


@offer(lambda x: images(x) and small(x) and x.shape[1] <= 12)
def deconvolution(g: Grower, x: Blob) -> None:
    group = g.pick([n for n in (1, 2) if x.shape[1] % n == 0])
    g.learn(
        "Deconvolution",
        x,
        num_output=2 * group,
        group=group,
        kernel_size=g.pick((2, 3)),
        stride=g.pick((None, 2)),
        pad=g.pick((None, 0)),
    )


@offer(lambda x: x.ndim >= 2 and small(x) and x.size > 0)
def inner_product(g: Grower, x: Blob) -> None:
    g.learn("InnerProduct", x, num_output=g.pick((3, 1, 6)), axis=g.pick((None, x.ndim - 1)), transpose=g.pick((None, True)))


@source
def embed(g: Grower) -> None:
    index = g.input(g.pick(((3,), (2, 3))), up_to(5), hidden=True)
    g.add("Embed", index, input_dim=5, num_output=g.pick((2, 4)), bias_term=g.pick((None, False)))


@offer(lambda x: x.ndim >= 3 and x.shape[0] <= 6 and small(x) and x.size > 0, fresh=(4, 2, 3))
def recurrent(g: Grower, x: Blob) -> None:
    bottoms = [x, g.input(x.shape[:2], up_to(2), hidden=True)]
    if g.flag():
        bottoms.append(g.input((x.shape[1], 3)))
    g.add(g.pick(("LSTM", "RNN")), *bottoms, num_output=g.pick((2, 3)), facts={"tame": True})


# ---- pooling, sizes, regions


@offer(images)
def pooling(g: Grower, x: Blob) -> None:
    method = g.pick(("MAX", "AVE") + (("STOCHASTIC",) if x.positive else ()))
    facts = {"tame": x.tame, "positive": x.positive, "exact": x.exact and method == "MAX"}
    if g.pick((False, False, False, True)):
        g.add("Pooling", x, pool=method, global_pooling=True, facts=facts)
        return
    kernel = g.pick((2, 3))
    pad = g.pick((None, 1)) if method != "STOCHASTIC" or min(x.shape[2:]) < kernel else None
    if min(x.shape[2:]) + 2 * (pad or 0) < kernel or (method == "STOCHASTIC" and min(x.shape[2:]) < kernel):
        return
    mode = g.pick(({}, {}, {"round_mode": "FLOOR"}, {"ceil_mode": False}))
    g.add("Pooling", x, pool=method, kernel_size=kernel, stride=g.pick((2, 1, kernel)), pad=pad, facts=facts, **mode)


@offer(lambda x: images(x) and x.exact and small(x) and min(x.shape[2:]) >= 2)
def pool_and_unpool(g: Grower, x: Blob) -> None:
    """SegNet: MAX pooling with a mask, something on the way, unpooling through the mask."""
    pooled, mask = g.add("Pooling", x, tops=2, pool="MAX", kernel_size=2, stride=2)
    g.blobs.pop(mask.name)
    g.add("Sigmoid", pooled, in_place=g.flag())
    g.add("Upsample", pooled, mask, upsample_h=x.shape[2], upsample_w=x.shape[3])


@offer(images)
def spp(g: Grower, x: Blob) -> None:
    g.add("SPP", x, pyramid_height=g.pick((1, 2)) if min(x.shape[2:]) > 1 else 1, pool=g.pick((None, "AVE")))


@offer(lambda x: images(x) and small(x) and max(x.shape[2:]) <= 8)
def larger(g: Grower, x: Blob) -> None:
    if g.flag():
        g.add("Upsample", x, scale=2, facts={"tame": x.tame, "positive": x.positive})
    else:
        size = g.pick(({"zoom_factor": 2}, {"shrink_factor": 2}, {"height": 5, "width": 4}))
        g.add("Interp", x, facts={"tame": x.tame, "positive": x.positive}, **size)


@offer(lambda x: images(x) and small(x))
def interp_like(g: Grower, x: Blob) -> None:
    other = g.pick([blob for blob in g.blobs.values() if images(blob) and blob.whole and max(blob.shape[2:]) < 10] or [x])
    g.add("Interp", x, other)


@offer(lambda x: images(x) and x.shape[1] <= 16)
def roi_pooling(g: Grower, x: Blob) -> None:
    regions = g.input((3, 5), _regions(x.shape[0]), hidden=True)
    g.add("ROIPooling", x, regions, pooled_h=2, pooled_w=g.pick((2, 3)), spatial_scale=0.5)


@offer(lambda x: images(x) and x.shape[1] % 4 == 0)
def psroi_pooling(g: Grower, x: Blob) -> None:
    regions = g.input((3, 5), _regions(x.shape[0]), hidden=True)
    g.add("PSROIPooling", x, regions, output_dim=x.shape[1] // 4, group_size=2, spatial_scale=0.5)


def _regions(images: int) -> Feed:
    """Image, corner, and the corner across."""

    def feed(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        first, size = rng.uniform(0, 8, (shape[0], 2)), rng.uniform(0, 8, (shape[0], 2))
        return np.concatenate([rng.integers(0, images, (shape[0], 1)), first, first + size], axis=1)

    return feed


@offer(images)
def reduction(g: Grower, x: Blob) -> None:
    g.add("Reduction", x, operation=g.pick(("SUM", "MEAN", "ASUM", "SUMSQ")), axis=g.pick((1, 0, 2)), coeff=g.pick((None, 0.5)))


@offer(lambda x: x.exact and x.ndim >= 1 and x.size > 0)
def argmax(g: Grower, x: Blob) -> None:
    made = g.add("ArgMax", x, axis=g.pick((None, -1)), out_max_val=g.pick((None, True)))
    g.add("Power", *made, in_place=True, scale=0.02)  # indices are large for what may come


# ---- several to one, one to several


@offer()
def concat(g: Grower, x: Blob) -> None:
    axis = g.pick(range(1, x.ndim)) if x.ndim > 1 else 0
    alike = [b for b in g.blobs.values() if b.ndim == x.ndim and b.whole and _without(b.shape, axis) == _without(x.shape, axis)]
    if x.ndim:
        others = [g.pick(alike[-5:]) for _ in range(g.pick((1, 2, 0)))]
        if sum(blob.size for blob in (x, *others)) <= MAX_VALUES:
            g.move("Concat", x, *others, axis=axis)


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


@offer()
def eltwise(g: Grower, x: Blob) -> None:
    alike = [blob for blob in g.blobs.values() if blob.shape == x.shape and blob.whole]
    bottoms = [x, *(g.pick(alike[-5:]) for _ in range(g.pick((1, 2))))]
    tame = all(blob.tame for blob in bottoms)
    operation = g.pick(("SUM", "MAX") + (("PROD",) if tame else ()))
    coeff = [g.pick((1, -0.5, 2)) for _ in bottoms] if operation == "SUM" and g.flag() else None
    g.add("Eltwise", *bottoms, operation=operation, coeff=coeff, facts={"tame": tame and operation == "MAX"})


@offer(lambda x: x.ndim >= 2 and max(x.shape[1:]) > 1)
def slice(g: Grower, x: Blob) -> None:
    axis = g.pick([i for i in range(1, x.ndim) if x.shape[i] > 1])
    g.move("Slice", x, tops=2, axis=axis, slice_point=g.pick(range(1, x.shape[axis])))


@offer()
def split(g: Grower, x: Blob) -> None:
    g.move("Split", x, tops=g.pick((2, 1)))


@offer()
def silence(g: Grower, x: Blob) -> None:
    g.builder.layer("Silence", x.name, top=())


@offer(lambda x: x.ndim >= 1)
def hdf5_output(g: Grower, x: Blob) -> None:
    g.builder.layer("HDF5Output", x.name, x.name, top=(), file_name="out.h5")


@offer(lambda x: x.exact and x.ndim >= 2)
def losses_in_training(g: Grower, x: Blob) -> None:
    """A loss that TEST does not have; its label stands in both phases."""
    label = g.input((x.shape[0], *x.shape[2:]), up_to(x.shape[1]), hidden=True)
    g.builder.layer("SoftmaxWithLoss", x.name, label.name, name=f"loss{g.count}", include={"phase": "TRAIN"})


@offer(lambda x: images(x) and min(x.shape[2:]) >= 2)
def pooling_by_phase(g: Grower, x: Blob) -> None:
    """Two layers of one top, one in each phase."""
    top = g.builder.unused("phased")
    g.builder.layer(
        "Pooling", x.name, name=top + "_train", top=top, pool="MAX", kernel_size=2, stride=2, include={"phase": "TRAIN"}
    )
    g.builder.layer(
        "Pooling", x.name, name=top + "_test", top=top, pool="AVE", kernel_size=2, stride=2, include={"phase": "TEST"}
    )
    g.blobs[top] = Blob(top, g.builder.shape(top), tame=x.tame, positive=x.positive)


# ---- moving values


@offer(lambda x: x.ndim >= 2)
def flatten(g: Grower, x: Blob) -> None:
    g.move("Flatten", x, axis=g.pick((None, *range(1, x.ndim))))


@offer(lambda x: x.ndim >= 2)
def reshape(g: Grower, x: Blob) -> None:
    dims = g.pick(([0, -1], [0, x.shape[1], -1], [0, -1, 1, 1], [-1, *x.shape[1:]]))
    if x.size:
        g.move("Reshape", x, shape={"dim": dims})


@offer(lambda x: x.ndim >= 3)
def reshape_some(g: Grower, x: Blob) -> None:
    if x.size:
        g.move("Reshape", x, shape={"dim": g.pick(([-1], [x.shape[1], 1, -1]))}, axis=1)


@offer(lambda x: x.ndim >= 2)
def permute(g: Grower, x: Blob) -> None:
    first = g.pick(range(1, x.ndim))
    rest = [i for i in range(1, x.ndim) if i != first]
    g.move("Permute", x, order=[0, first, *(reversed(rest) if g.flag() else rest)])


@offer(lambda x: x.ndim >= 2 and x.size * 2 <= MAX_VALUES)
def tile(g: Grower, x: Blob) -> None:
    g.move("Tile", x, axis=g.pick(range(1, x.ndim)), tiles=2)


@offer(images)
def crop(g: Grower, x: Blob) -> None:
    smaller = [b for b in g.blobs.values() if images(b) and b.whole and all(p <= q for p, q in zip(b.shape[2:], x.shape[2:]))]
    like = g.pick(smaller[-4:])
    room = min(p - q for p, q in zip(x.shape[2:], like.shape[2:]))
    g.move("Crop", x, also=[like], axis=2, offset=g.pick(range(room + 1)))


@offer(lambda x: x.ndim >= 2 and x.shape[1] % 2 == 0 and x.size > 0)
def shuffle_channel(g: Grower, x: Blob) -> None:
    g.move("ShuffleChannel", x, group=g.pick((2, x.shape[1])))


@offer(lambda x: images(x) and (x.shape[2] % 2 == x.shape[3] % 2 == 0 or x.shape[1] % 4 == 0))
def reorg(g: Grower, x: Blob) -> None:
    possible = [
        reverse for reverse in (False, True) if (reverse or x.shape[2] % 2 == x.shape[3] % 2 == 0) and x.shape[1] % 4 == 0
    ]
    if possible:
        g.move("Reorg", x, stride=2, reverse=g.pick(possible))


@offer(images)
def flip(g: Grower, x: Blob) -> None:
    g.move("Flip", x, flip_width=g.pick((None, False)), flip_height=g.pick((None, True)))


@offer(lambda x: images(x) and small(x) and min(x.shape[2:]) >= 2)
def im2col(g: Grower, x: Blob) -> None:
    g.add("Im2col", x, kernel_size=2, pad=g.pick((None, 1)), stride=g.pick((None, 2)))


@offer(lambda x: x.ndim >= 1 and x.shape[0] > 0)
def batch_reindex(g: Grower, x: Blob) -> None:
    index = g.input((g.pick((3, 1)),), up_to(x.shape[0]), hidden=True)
    if x.size // x.shape[0] * 3 <= MAX_VALUES:
        g.move("BatchReindex", x, also=[index])


@offer(lambda x: x.ndim >= 1)
def filter(g: Grower, x: Blob) -> None:
    selector = g.input((x.shape[0], 1), up_to(2), hidden=True)
    for blob in g.move("Filter", x, also=[selector]):
        g.blobs[blob.name] = replace(blob, whole=False)


# ---- sources


@source
def dummy_data(g: Grower) -> None:
    shape = g.pick(((2, 3), (2, 4, 6, 6), (3,)))
    g.add(
        "DummyData",
        shape={"dim": shape},
        data_filler={"type": "constant", "value": g.pick((0.5, 0))},
        facts={"exact": True, "tame": True, "varied": False},
    )


@source
def parameter(g: Grower) -> None:
    g.add("Parameter", shape={"dim": g.pick(((2, 4, 6, 6), (4,)))}, facts={"exact": True})


@source
def data_layer(g: Grower) -> None:
    name = g.builder.unused("data")
    if g.flag():
        g.builder.layer("MemoryData", name=name, top=[name, name + "_label"], batch_size=2, channels=3, height=5, width=4)
    else:
        g.builder.layer(
            "Data", name=name, top=[name, name + "_label"], data_param={"batch_size": 2}, transform_param={"crop_size": 6}
        )
    g.blobs[name] = Blob(name, g.builder.shape(name), exact=True)


# ---- detection: what is found hangs on comparisons, so all bottoms are fed


@offer(images)
def prior_box(g: Grower, x: Blob) -> None:
    like = g.pick([blob for blob in g.blobs.values() if images(blob) and blob.whole][-4:])
    if g.flag():
        sizes = {"width": [3, 2], "height": [2, 4], "variance": [0.1, 0.1, 0.2, 0.2]}
        g.add("PriorBoxClustered", x, like, **sizes)
    else:
        g.add("PriorBox", x, like, min_size=4, max_size=g.pick((None, 6)), aspect_ratio=[2], clip=g.pick((None, True)))


@source
def detection_output(g: Grower) -> None:
    prior = g.input((1, 2, 24), lambda rng, shape: np.stack([_boxes(rng, 6), np.full(24, 0.1)])[None], hidden=True)
    location, confidence = g.input((1, 24), hidden=True), g.input((1, 18), hidden=True)
    nms = {"nms_threshold": g.pick((0.45, 0.3)), "top_k": 10}
    made = g.builder.layer(
        "DetectionOutput", location.name, confidence.name, prior.name, num_classes=3, nms_param=nms, keep_top_k=5,
        code_type="CENTER_SIZE", confidence_threshold=g.pick((0.1, -1)),
    )  # fmt: skip
    assert isinstance(made, str)


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    first = rng.uniform(0, 0.6, (number, 2))
    return np.concatenate([first, first + rng.uniform(0.1, 0.4, (number, 2))], axis=1).reshape(-1)


@source
def proposal(g: Grower) -> None:
    scores, offsets = g.input((1, 4, 3, 4), hidden=True), g.input((1, 8, 3, 4), hidden=True)
    info = g.input((1, 3), lambda rng, shape: np.array([[48, 64, 1]]), hidden=True)
    fields = {"feat_stride": 16, "ratio": 1, "scale": [1, 2], "min_size": 8, "pre_nms_topn": 20, "post_nms_topn": 6}
    g.builder.layer("Proposal", scores.name, offsets.name, info.name, **fields)


@source
def yolo(g: Grower) -> None:
    cells = g.input((1, 14, 3, 3), hidden=True)
    fields = {"num_classes": 2, "num_box": 2, "confidence_threshold": 0.3, "nms_threshold": 0.4}
    if g.flag():
        g.builder.layer("YoloDetectionOutput", cells.name, biases=[1, 1, 2, 1.5], **fields)
    else:
        fields |= {"mask": [0, 1], "mask_group_num": 1, "anchors_scale": 32}
        g.builder.layer("Yolov3DetectionOutput", cells.name, biases=[20, 30, 40, 25], **fields)
