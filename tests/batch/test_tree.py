"""What in a folder may be a net, and where the outputs go."""

from __future__ import annotations

import os
from pathlib import Path

from protogen.batch.tree import find, outputs
from tests.batch.nets import text, write


def test_other_endings_count_if_the_file_begins_as_a_net(tmp_path: Path) -> None:
    nets = {
        "a.pt": text().encode(),
        "b.txt": b"# from a paper\n" + text().encode(),
        "c.pbtxt": ("\ufeff" + text()).encode("utf-16-le"),
        "d.txt": b'name: "old"\nlayers: {\n  type: DATA\n}',
    }
    others = {
        "requirements.txt": b"numpy\n",
        "train.log.txt": b"I0101 12:00:00 net.cpp:58] Initializing net from parameters:\nlayer {\n",
        "notes.txt": b"name: see below\nno net at all",
        "torch.pt": b"PK\x03\x04" + bytes(100),
        "empty.txt": b"",
        "image.png": text().encode(),
    }
    for name, content in (nets | others).items():
        (tmp_path / name).write_bytes(content)
    assert find(tmp_path, tmp_path / "out").files == sorted(nets)


def test_every_prototxt_is_listed_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "broken.prototxt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "EMPTY.PROTOTXT").write_text("")
    os.mkfifo(tmp_path / "pipe.prototxt")
    assert find(tmp_path, "out").files == ["EMPTY.PROTOTXT", "broken.prototxt"], "reading from a pipe might never end"


def test_links_to_folders(tmp_path: Path) -> None:
    """Loops end; what lies in the tree is found in its own place, what lies outside once."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root, a__net=text(), z__net=text())
    write(outside, far=text(), deep__far=text())
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "over").symlink_to(root / "z")
    (root / "link").symlink_to(outside)
    (outside / "back").symlink_to(root)
    (outside / "self").symlink_to(outside)
    expected = ["a/net.prototxt", "link/deep/far.prototxt", "link/far.prototxt", "z/net.prototxt"]
    assert find(root, tmp_path / "out").files == expected


def test_the_folder_of_the_outputs_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, net=text(), out__net=text())
    assert find(tmp_path, tmp_path / "out").files == ["net.prototxt"]
    assert find(tmp_path, tmp_path).files == ["net.prototxt", "out/net.prototxt"]


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert find(tmp_path / "file", "out").unreadable == {".": "Not a directory"}


def test_outputs_that_would_meet_keep_their_whole_names() -> None:
    names = ["net.prototxt", "net.pt", "net.prototxt.txt", "deploy.prototxt", "train_val.prototxt"]
    places = outputs(names, ".onnx")
    assert len(set(places.values())) == len(names)
    assert places["deploy.prototxt"] == "deploy.onnx"
    assert places["net.pt"] == "net.pt.onnx"
