"""Names of classes, in the forms that Caffe's models come with."""

from __future__ import annotations

from pathlib import Path

import pytest

from protogen.errors import ProtogenError
from protogen.pictures.labels import check_labels, read_labels


def test_a_line_for_each_class(tmp_path: Path) -> None:
    path = tmp_path / "synset_words.txt"
    path.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    assert read_labels(path) == {0: "n01440764 tench, Tinca tinca", 1: "n01443537 goldfish"}


def test_label_maps_of_ssd(tmp_path: Path) -> None:
    path = tmp_path / "labelmap.prototxt"
    path.write_text('item { name: "none" label: 0 display_name: "background" }\nitem { name: "n1" label: 3 }')
    assert read_labels(path) == {0: "background", 3: "n1"}


def test_too_few_names() -> None:
    check_labels({0: "a", 1: "b"}, 2, "prob")
    with pytest.raises(ProtogenError, match="name 2 classes, but output 'prob' has 3: there is none for class 2"):
        check_labels({0: "a", 1: "b"}, 3, "prob")


def test_too_many_names() -> None:
    with pytest.raises(ProtogenError, match="name 3 classes, but output 'prob' has 2: it has no class 2 for 'c'"):
        check_labels({0: "a", 1: "b", 2: "c"}, 2, "prob")


def test_only_line_breaks_end_a_name(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    names = ["a\x0cb", "c\x0bd", "e\x85f", "g\u2028h", "i\x1c\x1d\x1ej"]
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes("".join(name + end for name in names).encode())
        assert read_labels(path) == dict(enumerate(names))


def test_a_class_may_be_called_item(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("item one\nitem two\n")
    assert read_labels(path) == {0: "item one", 1: "item two"}
    path.write_text('# of SSD\nitem\n{ name: "a" label: 1 }')
    assert read_labels(path) == {1: "a"}


def test_a_label_map_with_a_label_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labelmap.prototxt"
    path.write_text('item { name: "cat" label: 1 } item { name: "dog" label: 1 }')
    with pytest.raises(ProtogenError, match=r"labelmap.prototxt: .* label 1 twice: for 'cat' and for 'dog'"):
        read_labels(path)


def test_no_names_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "bad.prototxt").write_text("item { name: ")
    for name, message in (
        ("empty.txt", "not a text with names"),
        ("bad.prototxt", "bad.prototxt:1"),
        ("none.txt", "No such file"),
    ):
        with pytest.raises(ProtogenError, match=message):
            read_labels(tmp_path / name)
