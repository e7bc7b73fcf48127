"""Offers that make one blob of several, or several of one."""

from __future__ import annotations

from tests.random_nets.growing import MAX_VALUES, Blob, Grower, Shape, images, offer, up_to


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
