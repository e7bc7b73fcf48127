"""What models share: first and last layers, and checks of options."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models.common import check_positive, classified, classifier, image_size, images, stages


def test_a_deploy_net() -> None:
    b = classifier("Own", "TEST")
    net = classified(b, b.fc(images(b, (8, 6), batch=2, phase="TEST", channels=5), 4, name="fc"), "TEST", prob="p")
    assert (net.inputs, net.outputs, net.shapes["data"], net.shapes["p"]) == (["data"], ["p"], (2, 5, 8, 6), (2, 4))


def test_a_train_val_net() -> None:
    b = classifier("Own", "TRAIN")
    x = images(b, 8, batch=2, phase="TRAIN", data_name="pictures", train_batch=7, val_batch=3)
    net = classified(b, b.fc(x, 4, name="fc"), "TRAIN")
    assert net.shapes["data"] == (7, 3, 8, 8), "data layers have their own batch sizes"
    assert [layer.name for layer in net.layers][:2] == ["pictures", "fc"]
    assert [spec.lr_mult for spec in net.layer("fc").message.param] == [1, 2]
    assert net.at("TEST").outputs == ["loss", "accuracy/top1"], "four classes have no top 5"


def test_sizes() -> None:
    assert (image_size(3), image_size([3, 4])) == ((3, 3), (3, 4))
    for size, message in (((1, 2, 3), "not 3 numbers"), ((), "not 0 numbers"), ((0, 1), "height must be positive, not 0")):
        with pytest.raises(NetError, match=message):
            image_size(size)


def test_checks() -> None:
    check_positive(one=1, two=2)
    with pytest.raises(NetError, match="two must be positive, not -2"):
        check_positive(one=1, two=-2)
    assert stages([1, 2], 2) == [1, 2]
    for numbers in ([1], [1, 0], []):
        with pytest.raises(NetError, match="modules takes 2 positive numbers, one per stage, not"):
            stages(numbers, 2)
    with pytest.raises(NetError, match="phase must be TRAIN or TEST, not 'VAL'"):
        classifier("Own", "VAL")
