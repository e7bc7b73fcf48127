"""First and last layers of nets for pixels."""

from __future__ import annotations

import pytest

import protogen
from protogen import NetBuilder, NetError
from protogen.models.dense import READERS, pixels, segmented


@pytest.mark.parametrize("reader", READERS)
def test_readers_give_images_and_maps_in_both_phases(reader: str) -> None:
    b = NetBuilder("Own", phase="TRAIN")
    x = pixels(b, (32, 48), batch=2, phase="TRAIN", channels=1, reader=reader, mean=(127,))
    net = segmented(b, b.conv(x, 3, 1, name="score"), "TRAIN")
    for phase in ("TRAIN", "TEST"):
        again = protogen.loads(net.to_prototxt(), phase=phase)
        assert (again.shapes["data"], again.shapes["label"]) == ((2, 1, 32, 48), (2, 1, 32, 48))
    assert net.layer("loss").message.loss_param.ignore_label == 255


def test_a_deploy_net_ends_with_a_softmax_if_it_shall() -> None:
    for prob in ("prob", None):
        b = NetBuilder("Own")
        score = b.conv(pixels(b, 8, batch=1, phase="TEST"), 3, 1, name="score")
        assert segmented(b, score, "TEST", prob=prob).outputs == [prob or "score"]


def test_wrong_values() -> None:
    for options, message in (({"batch": 0}, "batch must be positive"), ({"channels": 2}, "1 or 3 channels, not 2")):
        with pytest.raises(NetError, match=message):
            pixels(NetBuilder("Own", phase="TRAIN"), 8, **{"batch": 1, "phase": "TRAIN", **options})  # type: ignore[arg-type]
