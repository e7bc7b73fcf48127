"""Models by name: found with only their own file imported, registered from outside the package, refused when unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

import protogen
from protogen import NetBuilder, NetError, ProtogenError
from protogen.models import find, model, models
from protogen.models.registry import Model
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


def test_every_model_says_what_it_is() -> None:
    listed = models()
    assert {"lenet", "peleenet"} <= set(listed)
    assert list(listed) == sorted(listed)
    for name, each in listed.items():
        assert (each.name, each.build.__name__) == (name, name)
        assert each.summary.endswith(".")
        assert each.paper.endswith(str(each.year))
        assert getattr(protogen.models, name) is each.build
        if each.solver is not None:
            assert getattr(protogen.models, f"{name}_solver") is each.solver


def test_only_the_files_asked_for_are_imported() -> None:
    code = (
        "import sys, protogen\n"
        "loaded = lambda: sorted(n for n in sys.modules if n.startswith('protogen.models.'))\n"
        "protogen.models; print(loaded())\n"
        "protogen.models.lenet; print(loaded())\n"
        "print(set(sys.modules) & {'torch', 'onnx', 'numpy', 'importlib.metadata'})"
    )
    registry_only = ["protogen.models.registry"]
    assert fresh_python(code).splitlines() == [str(registry_only), str(["protogen.models.lenet", *registry_only]), "set()"]


def test_a_models_name_is_its_function_even_after_its_file_was_imported() -> None:
    code = (
        "import protogen.models.peleenet\n"
        "from protogen.models.lenet import lenet_solver\n"
        "from protogen.models import lenet, peleenet\n"
        "print(callable(peleenet), callable(lenet), protogen.models.peleenet(size=32).name, type(protogen.models.registry))"
    )
    assert fresh_python(code) == "True True PeleeNet <class 'module'>\n"


def test_unknown_names() -> None:
    with pytest.raises(NetError, match=r"unknown model 'pelenet'; did you mean 'peleenet'\?.*known: .*lenet, .*peleenet"):
        find("pelenet")
    for name in ("registry", "__init__", "../peleenet", "peleenet.peleenet", "", "models"):
        with pytest.raises(NetError, match="unknown model"):
            find(name)
    with pytest.raises(AttributeError, match=r"no attribute 'lenett'.*did you mean 'lenet'"):
        _ = protogen.models.lenett
    with pytest.raises(AttributeError, match="no attribute 'dots_solver'"):
        _ = protogen.models.dots_solver
    assert not hasattr(protogen.models, "__wrapped__")


@pytest.mark.usefixtures("own_registry")
def test_a_model_registered_outside_the_package() -> None:
    @model(paper="Nobody: Nothing, Workshop", year=2030, choices={"kind": ("A", "B")})
    def nothing(kind: str = "A") -> protogen.Net:
        """A net of nothing else."""
        b = NetBuilder(kind)
        b.input()
        return b.build()

    assert models()["nothing"] == find("nothing")
    assert find("nothing") == Model(
        "nothing", nothing, "A net of nothing else.", "Nobody: Nothing, Workshop 2030", 2030, None, {"kind": ("A", "B")}, {}
    )
    assert protogen.models.nothing("B").name == "B"
    assert not hasattr(protogen.models, "nothing_solver"), "it declares none"


@pytest.mark.usefixtures("own_registry")
def test_a_name_that_another_file_has() -> None:
    def lenet() -> protogen.Net:
        """Another one."""
        return NetBuilder().build()

    with pytest.raises(ProtogenError, match=r"a model 'lenet' already, in protogen.models.lenet; tests.models.test_registry"):
        model(paper="Nobody", year=2030)(lenet)
    assert find("lenet").build is protogen.models.lenet


@pytest.mark.usefixtures("own_registry")
def test_a_model_without_words() -> None:
    """As under `python -OO`, which strips docstrings."""

    def silent() -> protogen.Net:
        return NetBuilder().build()

    model(paper="Nobody", year=2030)(silent)
    assert find("silent").summary == ""


def test_another_packages_models_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "dotted.py").write_text(OUTSIDE)
    info = tmp_path / "dotted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dotted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[protogen.models]\ndots = dotted\n")
    code = "import sys; from protogen.cli import main; main(sys.argv[1:] or {})"
    assert "Nobody: Dots, Workshop 2031" in fresh_python(code.format(["models"]), paths=(tmp_path,))
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
