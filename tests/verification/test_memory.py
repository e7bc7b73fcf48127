"""What `verify` needs is said before it starts what cannot fit."""

from __future__ import annotations

import pytest

from protogen import NetBuilder, ProtogenError, verify
from protogen.graph.batch import with_batch
from protogen.verification import memory
from protogen.verification.memory import BASE, needed_memory
from tests.nets import small_net


def test_a_pass_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    b = NetBuilder("large")
    b.relu(b.conv(b.input("data", (1, 3, 4800, 4800)), 64, 3, pad=1), in_place=False)
    monkeypatch.setattr(memory, "available_memory", lambda: 8 << 30)
    with pytest.raises(ProtogenError) as error:
        verify(b.build())
    assert str(error.value) == (
        "verify needs about 22.5 GiB of memory for blobs and weights at data 1x3x4800x4800, and 8.0 GiB are available: take a "
        "smaller image with --input data=1,3,2400,2400"
    )


def test_where_nothing_is_known_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert verify(small_net()).ok


def test_the_estimate_grows_with_the_batch() -> None:
    graph = small_net().graph()
    weights = sum(weight.values.nbytes for node in graph.nodes for weight in node.weights)
    needed = [needed_memory(with_batch(graph, batch)) - BASE - 2 * weights for batch in (4, 400)]
    assert needed[1] > 90 * needed[0] > 0
