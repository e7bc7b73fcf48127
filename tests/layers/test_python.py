"""Python layers: what their `param_str` says is read or refused, never dropped."""

from __future__ import annotations

import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.nets import net_of

SOFT = 'type: "Python" bottom: "a" bottom: "b" bottom: "c" top: "y" python_param { module: "rpn.proposal_layer" '
SHAPES = ((1, 18, 4, 5), (1, 36, 4, 5), (1, 3))


def proposal(param_str: str) -> protogen.Net:
    return net_of(SOFT + f'layer: "ProposalLayer" param_str: "{param_str}" }}', *SHAPES)


def test_a_param_str_is_read_as_yaml_or_python() -> None:
    for text in ("'feat_stride': 16", "{feat_stride: 16}", "feat_stride: 16"):
        assert proposal(text).ops[-1].layer.message.python_param.param_str == text
        proposal(text).to_torch()


def test_a_setting_that_the_class_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(protogen.ProtogenError, match="'colour' of its param_str is not computed"):
        proposal("'feat_stride': 16, 'colour': 1").to_torch()


def test_a_text_too_long_to_be_settings_is_refused_not_dropped() -> None:
    with pytest.raises(LayerError, match=r"its param_str has 5,00\d characters; at most 4,096 are allowed"):
        proposal("'feat_stride': 16 #" + "x" * 4985)


@pytest.mark.parametrize(
    "text", ["just words", "(" * 3000, "feat_stride 16", "[1, 2]", "a: [1", "a: !!python/object:os.system x"]
)
def test_a_text_that_names_no_values_is_refused_not_dropped(text: str) -> None:
    with pytest.raises(
        LayerError, match=r"layer 'op' \(Python\): its param_str (does not name its values|is neither YAML nor a dict)"
    ):
        proposal(text)


def test_tuples_that_pyyaml_writes_are_lists_of_numbers() -> None:
    written, plain = (
        proposal(f"'feat_stride': 16 \\n'scales': {scales}") for scales in ("!!python/tuple [4, 8, 32]", "[4, 8, 32]")
    )
    assert written.shapes == plain.shapes
    assert type(written.ops[-1]) is type(plain.ops[-1])
