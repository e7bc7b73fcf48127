"""Offers of pooling, other sizes, regions and reductions."""

from __future__ import annotations

import numpy as np

from tests.random_nets.growing import Blob, Feed, Grower, Shape, images, offer, small


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
