"""Files of a folder that may be nets, and the outputs that they get."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..files import Path, reason

CERTAIN = ".prototxt"
POSSIBLE = (".pt", ".pbtxt", ".txt")
"""Endings that some prototxt have, and many other files."""

_HEAD = 1 << 16  # bytes of a file of a possible ending to look at: a net's first layer comes early
_FIRST_FIELD = re.compile(rb"(?:\s|#[^\n]*\n)*(?:name|input\w*|layers?|state|force_backward|debug_info)\s*[:{<]")
_LAYER = re.compile(rb"\blayers?\s*:?\s*[{<]")


@dataclass
class Tree:
    """What was found in a folder.

    Attributes:
        files: paths relative to the folder, sorted.
        unreadable: folders that cannot be listed, relative to it, and why.
    """

    files: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def find(root: Path, but: Path) -> Tree:
    """Find the files under a folder that may be nets.

    These are all .prototxt, and the .pt, .pbtxt and .txt that begin as a net does. A link to a folder inside of `root` is not
    followed, because its files are found where they are; one to a folder outside is, once.

    Args:
        root: the folder.
        but: a folder within it to leave out (that of the outputs), unless it is `root` itself.
    """
    tree = Tree()
    real_root = os.path.realpath(root)
    seen = {os.path.realpath(but)} - {real_root}
    folders = [""]
    while folders:
        inner = folders.pop()
        real = os.path.realpath(os.path.join(root, inner))
        linked_back = inner and real != os.path.join(real_root, inner) and _contains(real_root, real)
        if linked_back or real in seen:
            continue
        seen.add(real)
        try:
            names = sorted(os.listdir(os.path.join(root, inner)))
        except OSError as error:
            tree.unreadable[inner or "."] = reason(error)
            continue
        for name in names:
            path = os.path.join(root, inner, name)
            if os.path.isdir(path):
                folders.append(os.path.join(inner, name))
            elif is_candidate(path):
                tree.files.append(os.path.join(inner, name))
    tree.files.sort()
    return tree


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def is_candidate(path: str) -> bool:
    """Return whether a file may be a net, by its name and, where that says little, its first bytes."""
    ending = os.path.splitext(path)[1].lower()
    if ending != CERTAIN and ending not in POSSIBLE:
        return False
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False  # a pipe, say, from which reading may never end
        return ending == CERTAIN or _begins_as_a_net(path)
    except OSError:
        return ending == CERTAIN  # reading it will tell what is wrong


def _begins_as_a_net(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(_HEAD).replace(b"\0", b"").lstrip(b"\xff\xfe\xef\xbb\xbf")  # UTF-16 and byte order marks
    return _FIRST_FIELD.match(head) is not None and _LAYER.search(head) is not None


def stem(path: str) -> str:
    """Return a path without its ending; `.caffemodel.h5` is one.

    >>> stem("a/net.prototxt"), stem("a/net.caffemodel.h5")
    ('a/net', 'a/net')
    """
    return re.sub(r"\.caffemodel$", "", os.path.splitext(path)[0], flags=re.IGNORECASE)


def outputs(names: Sequence[str], ending: str) -> dict[str, str]:
    """Return the relative path of each file's output: the file's own with another ending or, where two would meet, behind it.

    >>> outputs(["a/net.prototxt", "a/net.pt", "b/net.prototxt"], ".onnx")
    {'a/net.prototxt': 'a/net.prototxt.onnx', 'a/net.pt': 'a/net.pt.onnx', 'b/net.prototxt': 'b/net.onnx'}
    """
    whole: set[str] = set()
    while True:
        result = {name: (name if name in whole else os.path.splitext(name)[0]) + ending for name in names}
        counts = Counter(map(os.path.normcase, result.values()))
        meeting = {name for name in names if counts[os.path.normcase(result[name])] > 1} - whole
        if not meeting:
            return result
        whole |= meeting


def siblings(path: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Yield the paths of the files in a file's folder that have one of these endings, sorted."""
    folder = os.path.dirname(path)
    for name in sorted(os.listdir(folder or ".")):
        if name.lower().endswith(endings):
            yield os.path.join(folder, name)
