"""Caffe's `include`/`exclude` rules, which select the active layers (`Net::FilterNet` in caffe/net.cpp)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ..errors import NetError, did_you_mean
from .message import Message

PHASES = ("TRAIN", "TEST")


@dataclass(frozen=True)
class State:
    """The state that rules are matched against (Caffe's NetState): phase, level and stages."""

    phase: str = "TEST"
    level: int = 0
    stages: Collection[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise NetError(f"unknown phase {self.phase!r}{did_you_mean(self.phase, PHASES)} (known: TRAIN, TEST)")

    @classmethod
    def of(cls, definition: Message, phase: str = "TEST", level: int = 0, stages: Iterable[str] = ()) -> State:
        """Return the state in which a net is read: what the reader asks for, with the stages of the net's own `state`.

        >>> State.of(Message.of("NetParameter", state={"stage": ["deploy"]})).stages
        frozenset({'deploy'})
        """
        return cls(phase, level, frozenset(stages) | frozenset(definition.state.stage))


def active(layer: Message, state: State) -> bool:
    """Return whether a layer is active in a state: it meets an `include` rule, or no `exclude` rule.

    Raises:
        NetError: the layer has both kinds of rules, which Caffe rejects.

    >>> dropout = Message.of("LayerParameter", name="d", include={"phase": "TRAIN"})
    >>> active(dropout, State("TEST")), active(dropout, State("TRAIN"))
    (False, True)
    """
    if "include" not in layer and "exclude" not in layer:
        return True  # most layers, and this is asked of each several times
    include, exclude = layer.get("include", []), layer.get("exclude", [])
    if include and exclude:
        raise NetError(f"layer {layer.name!r} has both include and exclude rules; give one kind only")
    if include:
        return any(_meets(state, rule) for rule in include)
    return not any(_meets(state, rule) for rule in exclude)


def without_rules(definition: Message, state: State) -> Message:
    """Return a NetParameter with only the layers that are active in a state, and without their rules.

    >>> layers = [{"name": "a", "include": {"phase": "TEST"}}, {"name": "b", "exclude": {"phase": "TEST"}}]
    >>> without_rules(Message.of("NetParameter", layer=layers), State("TEST")).layer
    [LayerParameter(name='a')]
    """
    part = definition.without("layer", "state")
    part.store("layer", [layer.without("include", "exclude", "phase") for layer in definition.layer if active(layer, state)])
    return part


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


def required_state(layer: Message) -> str:
    """Describe the state in which an inactive layer would be active.

    >>> required_state(Message.of("LayerParameter", include=[{"phase": "TEST", "stage": ["val", "deep"]}, {"min_level": 2}]))
    "phase TEST with stage 'val', stage 'deep'; or level 2 or more"
    """
    if layer.get("exclude", []):
        return "a state that none of its exclude rules matches"
    return "; or ".join(map(_described, layer.include))


def _described(rule: Message) -> str:
    conditions = [f"stage {stage!r}" for stage in rule.stage] + [f"no stage {stage!r}" for stage in rule.not_stage]
    conditions += [f"level {rule.min_level} or more"] if "min_level" in rule else []
    conditions += [f"level {rule.max_level} or less"] if "max_level" in rule else []
    phase = f"phase {rule.phase}" if "phase" in rule else ""
    return " with ".join(filter(None, [phase, ", ".join(conditions)])) or "any state"
