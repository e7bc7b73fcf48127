"""Which layers of a definition are active: Caffe's `include`/`exclude` rules (`Net::FilterNet` in caffe/net.cpp)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from ..errors import NetError, did_you_mean
from .message import Message

PHASES = ("TRAIN", "TEST")


@dataclass(frozen=True)
class State:
    """What the rules are held against: phase, level (default 0) and stages (default none)."""

    phase: str = "TEST"
    level: int = 0
    stages: Collection[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise NetError(f"unknown phase {self.phase!r}{did_you_mean(self.phase, PHASES)} (known: TRAIN, TEST)")


def active(layer: Message, state: State) -> bool:
    """Whether a layer takes part in a state: any `include` rule met, or no `exclude` rule met.

    Raises:
        NetError: the layer has both kinds of rules, which Caffe refuses.

    >>> dropout = Message.of("LayerParameter", name="d", include={"phase": "TRAIN"})
    >>> active(dropout, State("TEST")), active(dropout, State("TRAIN"))
    (False, True)
    """
    include, exclude = layer.get("include", []), layer.get("exclude", [])
    if include and exclude:
        raise NetError(f"layer {layer.name!r} has both include and exclude rules; give one kind only")
    if include:
        return any(_meets(state, rule) for rule in include)
    return not any(_meets(state, rule) for rule in exclude)


def _meets(state: State, rule: Message) -> bool:
    if "phase" in rule and rule.phase != state.phase:
        return False
    if "min_level" in rule and state.level < rule.min_level:
        return False
    if "max_level" in rule and state.level > rule.max_level:
        return False
    if any(stage not in state.stages for stage in rule.stage):
        return False
    return not any(stage in state.stages for stage in rule.not_stage)


def wanted(layer: Message) -> str:
    """In words, the state that an inactive layer's rules ask for.

    >>> wanted(Message.of("LayerParameter", include=[{"phase": "TEST", "stage": ["val", "deep"]}, {"min_level": 2}]))
    "phase TEST with stage 'val', stage 'deep'; or level 2 or more"
    """
    if layer.get("exclude", []):
        return "a state that its exclude rules leave out"
    return "; or ".join(map(_in_words, layer.include))


def _in_words(rule: Message) -> str:
    conditions = [f"stage {stage!r}" for stage in rule.stage] + [f"no stage {stage!r}" for stage in rule.not_stage]
    conditions += [f"level {rule.min_level} or more"] if "min_level" in rule else []
    conditions += [f"level {rule.max_level} or less"] if "max_level" in rule else []
    phase = f"phase {rule.phase}" if "phase" in rule else ""
    return " with ".join(filter(None, [phase, ", ".join(conditions)])) or "any state"
