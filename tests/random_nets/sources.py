"""Offers that read no blob at hand."""

from __future__ import annotations

from tests.random_nets.growing import Blob, Grower, source


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
