"""Every console and Python block of README.md and of the pages in `examples/` runs, and prints what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import pages
from tests.commands import ROOT

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("examples/*.md"))]
OWN_TEST = {"pycaffe.md"}  # tests/test_pycaffe_page.py runs its rows, too
INSTALLS = re.compile(r"(pip install .*|eval .*)")


@pytest.mark.parametrize("path", [path for path in PAGES if path.name not in OWN_TEST], ids=lambda path: path.name)
def test_what_a_page_shows_is_what_happens(path: Path, tmp_path: Path) -> None:
    mistakes = list(pages.Page(path, tmp_path).mistakes())
    assert not mistakes, "\n\n".join(mistakes)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_run(path: Path) -> None:
    """Blocks of other languages are data or installing; what could be run must say so."""
    for block in pages.blocks(path):
        assert block.language in {"console", "python", "pycon", "sh", "prototxt", "json", "diff"}, f"line {block.line}"
        if block.language == "sh":
            assert all(INSTALLS.fullmatch(line) for line in block.text.splitlines()), f"line {block.line}"
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(pages.blocks(path)), "a block without a language"


def test_the_readme_can_be_read_at_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 500


def test_only_measured_digits_may_differ() -> None:
    assert pages.same("a   3.49e-10  5 files in 7.6 s", "a   1.00e-09  5 files in 1.2 s")
    assert not pages.same("482 layers", "483 layers")
    assert not pages.same("prob 1x1000", "prob 1x100")
    assert not pages.same("line\nmore", "line")


def test_mistakes_in_a_page_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    wrong = "```console\n$ echo one\ntwo\n```\n```python\n1 / 0\n```\n```pycon\n>>> 1 + 1\n3\n```\n"
    page.write_text(wrong + "```console\n$ echo fine\nfine\n```\n")
    mistakes = list(pages.Page(page, tmp_path).mistakes())
    assert [mistake.split(": ")[0] for mistake in mistakes] == ["page.md:1", "page.md:5", "page.md:8"]
