"""Every public file at hand reads, and what is written of it reads back the same."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import pytest
from google.protobuf import text_format

from protogen.errors import LayerError, NetError, ProtogenError
from protogen.net import Net
from protogen.prototxt.lexer import read_text
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import kind_of, read_definition, read_solver
from protogen.prototxt.writer import write
from protogen.reading import load
from protogen.schema import message_class
from tests.corpus import CORPUS

FILES = sorted(path for ending in ("*.prototxt", "*.pt") for path in CORPUS.rglob(ending))
TYPES = {"net": "NetParameter", "solver": "SolverParameter", "label map": "LabelMap"}

# No Caffe reads these: sed templates with words in place of numbers.
BROKEN = {
    "chuanqi305+MobileNet-SSD/template/MobileNetSSD_deploy_template.prototxt": "2397:17: .* not 'cls3x'",
    "chuanqi305+MobileNet-SSD/template/MobileNetSSD_test_template.prototxt": "2422:17: .* not 'cls3x'",
    "chuanqi305+MobileNet-SSD/template/MobileNetSSD_train_template.prototxt": "2527:17: .* not 'cls3x'",
}

# These read, but their layers do not fit together, in Caffe neither: a misspelt bottom (made for a drawing tool), a loss without
# labels, a Reshape of 30 channels to 18.
UNFIT = {
    "dgschwend+netscope/presets/fcn-16s.prototxt": "no layer before it makes its bottom 'score-pool4c'",
    "dgschwend+netscope/presets/inceptionv3.prototxt": "'loss' .* needs 2",
    "dgschwend+netscope/presets/inceptionv3_orig.prototxt": "'loss' .* needs 2",
    "dgschwend+netscope/presets/inceptionv4_resnet.prototxt": "'loss' .* needs 2",
    "soeaver+caffe-model/det/faster_rcnn/models/coco/air101/rpn_rcnn_deploys/"
    "rpn_deploy_faster_coco_air101-merge-fc2-multigrid.prototxt": "'rpn_cls_prob_reshape' .* do not divide",
    "soeaver+caffe-model/det/rfcn/models/coco/inception-v4/rpn_rcnn_deploys/"
    "rpn_deploy_rfcn_coco_inception-v4-merge-aligned.prototxt": "'rpn_cls_prob_reshape' .* do not divide",
    "soeaver+caffe-model/det/rfcn/models/coco/resnext101-32x4d/"
    "deploy_rfcn_coco_resnext101-32x4d-merge.prototxt": "'cls_prob_reshape' .* do not divide",
}

pytestmark = [
    pytest.mark.skipif(not FILES, reason="the collection of published files (../shared/corpus) is not here"),
    pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning"),
]


def name(path: Path) -> str:
    return path.relative_to(CORPUS).as_posix()


@lru_cache(maxsize=1)
def kinds() -> dict[Path, str]:
    return {path: kind_of(read_text(path)) for path in FILES}


def of_kind(kind: str) -> list[Path]:
    return [path for path, found in kinds().items() if found == kind and name(path) not in BROKEN]


def test_every_file_is_recognised() -> None:
    assert set(kinds().values()) <= set(TYPES)


@pytest.mark.parametrize("path", of_kind("net"), ids=name)
def test_nets(path: Path) -> None:
    definition = read_definition(read_text(path), str(path))
    assert parse(write(definition)) == definition
    if name(path) in UNFIT:
        with pytest.raises((LayerError, NetError), match=UNFIT[name(path)]):
            in_one_phase(definition, str(path))
    else:
        assert in_one_phase(definition, str(path)).layers


def in_one_phase(definition: Message, source: str) -> Net:
    """The net for TEST or, if its data layer is for training only, for TRAIN."""
    try:
        return Net(definition, phase="TEST", source=source)
    except NetError as error:
        if "no layer before it makes its bottom" not in str(error):
            raise
        return Net(definition, phase="TRAIN", source=source)


@pytest.mark.parametrize("path", of_kind("solver"), ids=name)
def test_solvers(path: Path) -> None:
    solver = read_solver(read_text(path), str(path))
    assert parse(write(solver), "SolverParameter") == solver
    if any(field in solver for field in ("net_param", "train_net_param", "test_net_param")):
        assert read_definition(read_text(path), str(path)).layer, "a solver that holds its net is read as that net"
        return
    with pytest.raises(NetError, match="this is a solver, not a net"):
        load(path)


@pytest.mark.parametrize("path", of_kind("label map"), ids=name)
def test_label_maps(path: Path) -> None:
    with pytest.raises(NetError, match="this is a label map"):
        load(path)


@pytest.mark.parametrize("path", sorted(BROKEN))
def test_files_that_no_caffe_reads(path: str) -> None:
    with pytest.raises(ProtogenError, match=BROKEN[path]):
        load(CORPUS / path)


@pytest.mark.parametrize("path", [path for kind in TYPES for path in of_kind(kind)[::10]], ids=name)
def test_protobufs_own_parser_agrees(path: Path) -> None:
    """It reads the same from the file as from what we write of it, and the same as we do."""
    text, type_name = read_text(path), TYPES[kinds()[path]]
    theirs = text_format.Parse(text, message_class(type_name)(), allow_unknown_field=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = parse(text, type_name)
    assert parse(text_format.MessageToString(theirs), type_name) == known_fields(ours)


def known_fields(message: Message) -> Message:
    """The message without the fields that the schema lacks."""
    twin = Message(message.descriptor)
    for field, value in message.fields():
        if field in message.descriptor.fields:
            items = [known_fields(item) if isinstance(item, Message) else item for item in as_list(value)]
            twin.store(field, items if isinstance(value, list) else items[0])
    return twin


def as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
