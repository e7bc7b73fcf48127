"""`ReadingRules`: how to read what a prototxt leaves open and forks of Caffe decide differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from .errors import NetError, did_you_mean


def _rule(*values: str, help: str) -> Any:
    """A field of `ReadingRules`: its values, the default first, and the help of its command-line option."""
    return field(default=values[0], metadata={"values": values, "help": help})


@dataclass(frozen=True)
class ReadingRules:
    """One value per rule; each is a keyword argument of `load` and `loads`, and an option of commands that read a net.

    Attributes:
        crop: offset of a Crop layer without `crop_param`. "aligned": where the pixels of its bottoms coincide, as in the
            Caffe of HED and of the first FCNs, with a warning if that is not 0 or undefined; "bvlc": 0, as in BVLC Caffe.
        pooling: size of the top of a Pooling layer. "caffe": rounded up; "floor": rounded down, as in PyTorch, where the layer
            does not say how (by `round_mode`, `ceil_mode` or `torch_pooling`); "same": as "caffe", but MAX pooling with a kernel
            of 2, stride 1 and no pad has a row and a column of padding behind the image, so that the map keeps its size, as in
            darknet, whose converters cannot write that.
        same_names: layers with weights that have one name. "caffe": each has its own weights, and a file's go to the first, as in
            Caffe; "shared": they share their weights, as in OpenCV up to 3.4.1. In both cases the others are renamed.
        priors: boxes of a PriorBox layer. "ssd": around the middle of each cell; "textboxes": around the middle of its lower
            edge, too, as in the Caffe of TextBoxes, whose files do not say so.

    Raises:
        NetError: a rule does not have this value; the message lists those it has.

    >>> ReadingRules(pooling="floor")
    ReadingRules(crop='aligned', pooling='floor', same_names='caffe', priors='ssd')
    """

    crop: str = _rule(
        "aligned", "bvlc",
        help="Offset of a Crop without crop_param: aligned with its bottoms' pixels, as in HED's Caffe, or 0, as in BVLC's.",
    )  # fmt: skip
    pooling: str = _rule(
        "caffe", "floor", "same",
        help="Sizes of pooled maps: rounded up; rounded down where the layer does not say, as in PyTorch; or kept by 2x2 max "
        "pooling of stride 1, padded on one side, as in darknet.",
    )  # fmt: skip
    same_names: str = _rule(
        "caffe",
        "shared",
        help="Layers with weights that have one name: each with its own, a file's going to the first, as in Caffe; or shared.",
    )
    priors: str = _rule(
        "ssd",
        "textboxes",
        help="Boxes of a PriorBox: around the middle of each cell, or around its lower edge, too, as in TextBoxes' Caffe.",
    )

    def __post_init__(self) -> None:
        for name, (values, _) in RULES.items():
            value = getattr(self, name)
            if value not in values:
                known = ", ".join(values)
                raise NetError(f"unknown value {value!r} of {name}{did_you_mean(str(value), values)} (known: {known})")

    @classmethod
    def of(cls, values: Mapping[str, str]) -> ReadingRules:
        """The rules with these values, by name; the others have their defaults.

        Raises:
            TypeError: there is no such rule, and so no such keyword argument.
            NetError: a rule does not have its value.
        """
        for name in values:
            if name not in RULES:
                raise TypeError(f"unexpected keyword argument {name!r}{did_you_mean(name, RULES)}")
        return cls(**values)


class Rule(NamedTuple):
    """A rule's values, the default first, and the help of its command-line option."""

    values: tuple[str, ...]
    help: str


RULES = {rule.name: Rule(**rule.metadata) for rule in fields(ReadingRules)}

DEFAULT = ReadingRules()
