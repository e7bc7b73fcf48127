"""What other installed packages offer: models by entry points, and what happens when one does not load."""

from __future__ import annotations

from pathlib import Path

import protogen
from tests.commands import fresh_python

OUTSIDE = '''
"""A model of another package."""
import protogen

@protogen.models.model(paper="Nobody: Dots, Workshop", year=2031)
def dots(size: int = 4) -> protogen.Net:
    """A net of one layer.

    Args:
        size: of the image.
    """
    b = protogen.NetBuilder("dots")
    b.relu(b.input("data", (1, 1, size, size)))
    return b.build()
'''


def test_another_packages_models_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "dotted.py").write_text(OUTSIDE)
    info = tmp_path / "dotted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dotted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protogen.models]\ndots = dotted\n")
    code = "import sys; from protogen.cli import main; main(sys.argv[1:] or {})"
    assert "Nobody: Dots, Workshop" in fresh_python(code.format(["models"]), paths=(tmp_path,))
    built = fresh_python(code.format(["build", "dots", "--size", "3"]), paths=(tmp_path,))
    assert protogen.loads(built).shapes["data"] == (1, 1, 3, 3)


def test_an_entry_point_that_does_not_load_is_told_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise OSError('its data is missing')\n")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protogen.models]\nbroken = broken\n")
    silent = "import warnings; warnings.simplefilter('ignore'); from protogen.cli import main; main(['models'])"
    listing = fresh_python(silent, paths=(tmp_path,))
    assert "peleenet" in listing
    telling = "import warnings; warnings.simplefilter('error'); from protogen.models.registry import models\n"
    told = fresh_python(telling + "try: models()\nexcept Exception as error: print(error)", paths=(tmp_path,))
    assert told.strip() == "entry point 'broken' of protogen.models does not load: OSError: its data is missing"


def test_layer_types_of_another_package_are_listed(tmp_path: Path) -> None:
    (tmp_path / "halves.py").write_text(
        "import protogen\n"
        "@protogen.register('Halve')\n"
        "class Halve(protogen.LayerType):\n"
        "    def setup(self): self.tops = list(self.bottoms)\n"
    )
    info = tmp_path / "halves-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protogen.layers]\nHalve = halves\n")
    listed = fresh_python("from protogen.cli import main; main(['layers'])", paths=(tmp_path,))
    assert "of halves" in next(line for line in listed.splitlines() if line.startswith(" Halve"))


def test_a_file_is_run_once(tmp_path: Path) -> None:
    (tmp_path / "counts.py").write_text("print('run')")
    code = (
        "import sys; from protogen.plugins import load_file, loaded_files\n"
        "load_file(sys.argv[1]); load_file(sys.argv[1]); print(len(loaded_files()))"
    )
    assert fresh_python(code, tmp_path / "counts.py").split() == ["run", "1"]
