"""The table of a summary: its columns, and the tree of its layers."""

from __future__ import annotations

import pytest

import protogen
from protogen.errors import ProtogenError
from protogen.report.summary_table import COLUMNS, DEFAULT, entries, sizes_table
from tests.nets import SMALL

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'


def named(*names: str) -> protogen.Net:
    """A net of 1x1 convolutions with these names; each has 12 parameters."""
    text, bottom = DATA, "data"
    for i, name in enumerate(names):
        text += f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "b{i}"
                    convolution_param {{ num_output: 3 kernel_size: 1 }} }}\n"""
        bottom = f"b{i}"
    return protogen.loads(text)


def tree(net: protogen.Net, depth: int | None = None) -> list[str]:
    return ["  " * entry.depth + entry.label for entry in entries(net.summary().rows, depth)]


def test_names_that_begin_alike_form_groups() -> None:
    net = named("a/x", "a/y", "b", "b/bn", "lone/c", "s/t/u", "s/t/v", "s/w", "a/z")
    assert tree(net) == [
        "data", "[a]", "  a/x", "  a/y", "[b]", "  b", "  b/bn", "lone/c", "[s]", "  [s/t]", "    s/t/u", "    s/t/v", "  s/w",
        "a/z",
    ]  # fmt: skip
    assert tree(net, 2) == [
        "data", "[a]", "  a/x", "  a/y", "[b]", "  b", "  b/bn", "lone/c", "[s]", "  [s/t]", "  s/w", "a/z",
    ]  # fmt: skip
    assert tree(net, 1) == ["data", "[a]", "[b]", "lone/c", "[s]", "a/z"]


def test_groups_of_one_group_are_one_line() -> None:
    assert tree(named("a/b/x", "a/b/y")) == ["data", "[a/b]", "  a/b/x", "  a/b/y"]


def test_names_of_many_levels() -> None:
    assert tree(named("/" * 5000 + "x", "/" * 5000 + "y"))[1].startswith("[/")


def test_groups_have_the_totals_of_their_layers() -> None:
    summary = named("a/x", "a/y", "b").summary()
    by_label = {entry.label: entry for entry in entries(summary.rows)}
    group, x, y = by_label["[a]"], by_label["a/x"], by_label["a/y"]
    assert (group.params, group.macs, group.memory) == (x.params + y.params, x.macs + y.macs, x.memory + y.memory)
    assert group.live == max(x.live, y.live) and group.type == "2 layers"
    for depth in (None, 1, 2):  # lines that stand for layers add up to the whole
        lines = [entry for entry in entries(summary.rows, depth) if not entry.is_open]
        assert sum(line.macs for line in lines) == summary.macs


def cells(net: protogen.Net, column: str) -> list[str]:
    """A column, below its head."""
    return [line.text.removeprefix(" data").strip() for line in net.summary().table(["layer", column]).lines()][3:-1]


def test_cells() -> None:
    net = protogen.loads(
        DATA
        + """layer { name: "c" type: "Convolution" bottom: "data" top: "c"
             convolution_param { num_output: 2 kernel_h: 3 kernel_w: 5 stride: 2 } }
             layer { name: "s" type: "Slice" bottom: "c" top: "s" top: "t" }
             layer { name: "r" type: "ReLU" bottom: "t" top: "t" }"""
    )
    shown = {name: cells(net, name) for name in COLUMNS if name != "layer"}
    assert shown["kernel"] == ["", "c       3x5", "s", "r"]
    assert shown["stride"] == ["", "c       2", "s", "r"]
    assert shown["input"] == ["", "c       1x3x8x8", "s       1x2x3x2", "r       1x1x3x2"]
    assert shown["output"] == ["1x3x8x8", "c       1x2x3x2", "s       1x1x3x2 1x1x3x2", "r       1x1x3x2"]
    assert shown["memory"] == ["768 B", "c         48 B", "s         48 B", "r"]
    assert shown["live"] == ["768 B", "c       816 B", "s        96 B", "r        48 B"]
    assert shown["field"] == ["1", "c       3x5", "s       3x5", "r       3x5"]
    assert shown["jump"] == ["1", "c       2", "s       2", "r       2"]
    assert shown["share"] == ["", "c       100.0% ██████████", "s", "r"]


def test_columns() -> None:
    summary = protogen.loads(SMALL).summary()
    head = str(summary.table()).splitlines()[1].lower().split()
    assert head == list(DEFAULT)
    assert str(summary.table(["all"])).splitlines()[1].lower().split() == list(COLUMNS)
    with pytest.raises(ProtogenError, match=r"no column 'kernal'; did you mean 'kernel'.*columns: layer, type, kernel"):
        summary.table(["layer", "kernal"])
    with pytest.raises(ProtogenError, match="column 'type' is named twice"):
        summary.table(["type", "type"])


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_numbers_are_whole_at_every_width(width: int) -> None:
    summary = protogen.models.peleenet().summary()
    table = summary.table(["all"])
    text = "\n".join(line.text for line in table.lines(width))
    shapes = {"x".join(map(str, shape)) for row in summary.rows for shape in row.shapes if shape}
    assert all(shape in text.split() for shape in shapes)
    if "parameters" in text.splitlines()[1]:
        assert all(f"{row.params:,}" in text.split() for row in summary.rows if row.params)
    left_out = text.partition("too few:")[2].replace(",", "").split()
    order = ["live", "jump", "field", "memory", "input", "share", "stride", "kernel", "type", "MACs", "parameters"]
    assert set(left_out) == set(order[: len(left_out)]), "columns are left out in the stated order"
    assert width < 120 or all(len(line) <= width for line in text.splitlines())


def test_totals_by_size() -> None:
    net = protogen.loads(SMALL)
    text = str(sizes_table(net.summary()))
    assert text.split()[:2] == ["output", "size"]
    assert sum(part.macs for part in net.summary().by_size()) == net.macs
    assert sum(part.layers for part in net.summary().by_size()) == len(net.layers)
