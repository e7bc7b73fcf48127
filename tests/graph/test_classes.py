"""The layers that decide a net's number of classes: found, or refused by name."""

from __future__ import annotations

import pytest

import protogen
from protogen import NetBuilder, NetError
from protogen.graph.classes import check_classes, class_changes
from tests.nets import SSD, begun


def changes(net: protogen.Net, classes: int = 7) -> dict[str, dict[str, object]]:
    return class_changes([net.graph(seed=None)], classes)


def head(classes: int = 5) -> NetBuilder:
    b = begun((2, 8, 4, 4))
    b.conv(classes, 1, name="score")
    return b


def test_the_layer_before_a_softmax() -> None:
    b = begun()
    b.softmax(b.dropout(b.fc(b.conv(8, 3), 5, name="fc8")))
    assert changes(b.build()) == {"fc8": {"num_output": 7}}


def test_a_convolution_before_pooling_as_in_squeezenet() -> None:
    b = head()
    b.softmax(b.global_pool(b.relu()))
    assert changes(b.build()) == {"score": {"num_output": 7}}


def test_every_loss_and_accuracy_counts() -> None:
    b = begun()
    b.input("label", (2,))
    side = b.fc("data", 5, name="side")
    b.softmax_loss(side)
    main = b.fc("data", 5, name="main")
    b.softmax_loss(main)
    b.accuracy(main)
    assert changes(b.build()) == {"side": {"num_output": 7}, "main": {"num_output": 7}}


def test_an_ssd_with_its_reshape_and_its_detections() -> None:
    assert changes(protogen.loads(SSD)) == {
        "detection_out": {"num_classes": 7},
        "conf_reshape": {"shape": {"dim": [0, -1, 7]}},
        "conf": {"num_output": 14},  # two boxes
    }


def test_scores_that_are_upsampled_cropped_and_added_as_in_fcn() -> None:
    b = begun((1, 8, 16, 16))
    low = b.conv(b.pool("data", "MAX", 2, stride=2), 5, 1, name="score_low")
    up = b.deconv(low, 5, 4, stride=2, pad=1, name="up")
    channelwise = b.deconv(low, 5, 4, stride=2, pad=1, group=5, name="each")
    skip = b.conv("data", 5, 1, name="score_skip")
    b.softmax(b.eltwise(up, channelwise, b.crop(skip, up, offset=[0])))
    assert changes(b.build()) == {
        "up": {"num_output": 7},
        "each": {"num_output": 7, "group": 7},
        "score_low": {"num_output": 7},
        "score_skip": {"num_output": 7},
    }


def test_a_net_that_ends_in_scores() -> None:
    assert changes(head().build()) == {"score": {"num_output": 7}}


def test_a_softmax_inside_a_net_reads_no_classes() -> None:
    b = begun((1, 8, 4, 4))
    attention = b.softmax(b.conv("data", 8, 1, name="gate"), name="attention")
    b.softmax(b.fc(b.eltwise("data", attention, operation="PROD"), 5, name="fc"), name="prob")
    assert changes(b.build()) == {"fc": {"num_output": 7}}


def two_tasks() -> NetBuilder:
    b = begun()
    b.softmax(b.fc("data", 8, name="age"), name="p1")
    b.softmax(b.fc("data", 2, name="gender"), name="p2")
    return b


def boxes() -> NetBuilder:
    b = begun()
    b.softmax(b.fc("data", 21, name="cls"))
    b.fc("data", 84, name="bbox")
    return b


def backbone() -> NetBuilder:
    b = head()
    b.relu()
    return b


def halves() -> NetBuilder:
    b = begun()
    b.softmax(b.concat(b.fc("data", 2, name="one"), b.fc("data", 3, name="two")))
    return b


def noise() -> NetBuilder:
    b = head()
    b.softmax(b.lrn())
    return b


def groups() -> NetBuilder:
    b = begun((1, 8, 4, 4))
    b.softmax(b.conv("data", 4, 1, group=2, name="grouped"))
    return b


def fed() -> NetBuilder:
    b = begun()
    b.softmax("data")
    return b


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (two_tasks, r"layer 'p1' .Softmax. has 8; layer 'p2' .Softmax. has 2; .*layers={'gender': N}"),
        (boxes, r"whether 'bbox' has values for each of the 21 classes.*layers={'cls': N, 'bbox': 4 \* N}"),
        (backbone, "no layer of this net reads scores of classes.*layers={'score': N}"),
        (halves, "cannot be told at layer 'concat1' .Concat.: its parts have not all of the 5 classes"),
        (noise, "cannot be told at layer 'norm1' .LRN."),
        (groups, "'grouped' .*: it has 2 groups"),
        (fed, "cannot be told at layer 'data' .Input."),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(builder: object, message: str) -> None:
    with pytest.raises(NetError, match=message):
        changes(builder().build())  # type: ignore[operator]


def test_locations_of_each_class_are_refused() -> None:
    text = SSD.replace("num_classes: 3", "num_classes: 3 share_location: false").replace(
        "num_output: 8 kernel_size: 1", "num_output: 24 kernel_size: 1"
    )
    with pytest.raises(NetError, match=r"'detection_out' .*share_location: false"):
        changes(protogen.loads(text))


def test_a_layer_that_counts_classes_in_its_own_way_is_refused() -> None:
    b = begun((1, 8, 2, 2))
    b.softmax(b.fc("data", 5, name="fc"), name="prob")
    b.layer("YoloDetectionOutput", b.conv("data", 10, 1), name="yolo", num_classes=5, num_box=1, biases=[1.0, 1.0])
    with pytest.raises(NetError, match=r"'yolo' .*states num_classes: 5"):
        changes(b.build())


def test_the_result_is_checked() -> None:
    graph = head().build().graph(seed=None)
    check_classes([graph], 5)
    with pytest.raises(NetError, match="output 'score' would have 5 classes, not 7"):
        check_classes([graph], 7)
