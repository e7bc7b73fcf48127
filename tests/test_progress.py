"""How work tells that it goes on: to whoever listens, and to nobody else."""

from __future__ import annotations

import protogen
from protogen.progress import listening, track
from tests.nets import small_net

Steps = list[tuple[str, int, int]]


def test_verifying_tells_each_of_its_steps() -> None:
    steps: Steps = []
    with listening(lambda *step: steps.append(step)):
        protogen.verify(small_net())
    assert steps == [("verifying", done, 1) for done in range(2)]  # runs on the same inputs go side by side


def test_how_many_there_are_may_not_be_known() -> None:
    steps: Steps = []
    with listening(lambda *step: steps.append(step)):
        assert list(track("reading", iter("ab"))) == ["a", "b"]
    assert steps == [("reading", 0, 0), ("reading", 1, 0), ("reading", 2, 0)]


def test_a_listener_within_another_hears_alone_and_none_afterwards() -> None:
    outer: Steps = []
    inner: Steps = []
    with listening(lambda *step: outer.append(step)):
        with listening(lambda *step: inner.append(step)):
            list(track("inner", [1]))
        list(track("outer", [1]))
    list(track("unheard", [1]))
    assert ([step[0] for step in inner], [step[0] for step in outer]) == (["inner"] * 2, ["outer"] * 2)
