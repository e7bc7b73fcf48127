"""Tab completion: the scripts for shells, and what they offer."""

from __future__ import annotations

import pytest

from tests.commands import Run, completions


@pytest.mark.parametrize(
    ("words", "offered"), [("build pe", "peleenet"), ("build lenet --ch", "--channels"), ("peleenet --st", "--stem")]
)
def test_completion(words: str, offered: str) -> None:
    assert f"plain,{offered}" in completions(f"protogen {words}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.code == 0
    assert "_PROTOGEN_COMPLETE" in result.out


def test_completion_completes() -> None:
    assert "plain,summary" in completions("protogen su")
