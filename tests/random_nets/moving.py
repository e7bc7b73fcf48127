"""Offers that only move values."""

from __future__ import annotations

from dataclasses import replace

from tests.random_nets.growing import MAX_VALUES, Blob, Grower, images, offer, small, up_to


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
