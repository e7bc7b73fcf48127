"""torchvision's and timm's modules against our nets with their weights, in three engines: a sample; all by the script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protogen.graph import by_order
from tests.models.counterparts import COUNTERPARTS, Counterpart, check, is_good

SAMPLE = ("mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18", "mobilenetv1_100", "ghostnet_050", "repvgg_a0")


@pytest.mark.filterwarnings("ignore::protogen.ProtogenNote")
@pytest.mark.parametrize("counterpart", [each for each in COUNTERPARTS if each.theirs in SAMPLE], ids=str)
def test_three_engines_give_the_modules_numbers(counterpart: Counterpart, tmp_path: Path) -> None:
    errors = check(counterpart, tmp_path)
    assert is_good(errors), errors


def test_known_pairings_are_of_models_that_were_run() -> None:
    texts = list(json.loads(by_order.PAIRINGS.read_bytes()).values())
    assert len(set(texts)) == len(texts)
    run = {f"{each.library} {each.theirs}" for each in COUNTERPARTS}
    assert {text.partition(":")[0] for text in texts} <= run


def test_a_swapped_pairing_is_not_known() -> None:
    """The digest is of names in order: with two of them swapped, the same weights are refused."""
    counterpart = next(each for each in COUNTERPARTS if each.theirs == "shufflenet_v2_x0_5")
    module = counterpart.module()
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    ops = counterpart.net().ops
    by_order.pair(state, ops)
    swapped = {"stage2.0.branch1.2": "stage2.0.branch2.0", "stage2.0.branch2.0": "stage2.0.branch1.2"}
    renamed = {}
    for key, value in state.items():
        name, _, tensor = key.rpartition(".")
        renamed[f"{swapped.get(name, name)}.{tensor}"] = value
    with pytest.raises(by_order.MismatchError, match="lie side by side and have equal shapes"):
        by_order.pair(renamed, ops)
