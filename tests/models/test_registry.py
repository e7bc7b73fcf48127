"""Models by name: found with only their own file imported, registered from outside, refused when unknown."""

from __future__ import annotations

import inspect
import json

import pytest

import protogen
from protogen import NetBuilder, NetError, ProtogenError
from protogen.models import find, model, models, variant
from protogen.models.registry import INDEX, Model, chosen, cost, index_of_models
from tests.commands import fresh_python


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
        "protogen.models.caffenet; print(loaded()[0], len(loaded()))\n"
        "print(set(sys.modules) & {'torch', 'onnx', 'numpy', 'importlib.metadata'})"
    )
    lenet = ["protogen.models.common", "protogen.models.lenet", "protogen.models.registry"]
    assert fresh_python(code).splitlines() == [str(lenet[2:]), str(lenet), "protogen.models.alexnet 4", "set()"]


def test_a_models_name_is_its_function_even_after_its_file_was_imported() -> None:
    code = (
        "import protogen.models.peleenet\n"
        "from protogen.models.lenet import lenet_solver\n"
        "from protogen.models import lenet, peleenet\n"
        "print(callable(peleenet), callable(lenet), protogen.models.peleenet(size=32).name, type(protogen.models.registry))"
    )
    assert fresh_python(code) == "True True PeleeNet <class 'module'>\n"


def test_unknown_names() -> None:
    with pytest.raises(NetError, match=r"unknown model 'pelenet'; did you mean 'peleenet'\? \(`protogen models` lists all\)"):
        find("pelenet")
    for name in ("registry", "common", "__init__", "__main__", "../peleenet", "peleenet.peleenet", "", "models"):
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

    with pytest.raises(
        ProtogenError, match=r"'lenet' is already registered by protogen.models.lenet; tests.models.test_registry"
    ):
        model(paper="Nobody", year=2030)(lenet)
    assert find("lenet").build is protogen.models.lenet


@pytest.mark.usefixtures("own_registry")
def test_a_model_without_words() -> None:
    """As under `python -OO`, which strips docstrings."""

    def silent() -> protogen.Net:
        return NetBuilder().build()

    model(paper="Nobody", year=2030)(silent)
    assert find("silent").summary == ""


def test_the_package_lists_every_model_for_type_checkers() -> None:
    """`from protogen.models import lenet` names a function only if `models/__init__.py` says so."""
    solvers = {each.solver.__name__ for each in models().values() if each.solver is not None}
    assert set(protogen.models.__all__) >= {*models(), *solvers}
    assert all(hasattr(protogen.models, name) for name in protogen.models.__all__)


def test_the_index_is_up_to_date() -> None:
    """`python -m protogen.models` writes it."""
    assert json.loads(INDEX.read_text()) == index_of_models()


def test_the_cost_of_a_model() -> None:
    assert cost(find("lenet")) == (431_080, 2_293_000), "for one image, though the net's batch is 64"


@pytest.mark.usefixtures("own_registry")
def test_a_family_and_its_members() -> None:
    @model(paper="Nobody: Widths, Workshop", year=2030, choices={"kind": ("A", "B"), "pool": ("MAX", "AVE")})
    def wide(size: int = 8, *, width: int = 1, kind: str = "A", pool: str = "MAX") -> protogen.Net:
        """A net of some width.

        Args:
            size: of the image.
            width: of the net.
            kind: A or B.

        Raises:
            NetError: never.

        >>> 1
        1
        """
        b = NetBuilder(f"{kind}{width}")
        b.input("data", (1, width, size, size))
        return b.build()

    double = variant(wide, "double", "A net of width 2.", paper="Somebody: Doubles", year=2031, width=2, kind="B")
    entry = find("double")
    assert (entry.build, entry.summary, entry.paper, entry.year) == (double, "A net of width 2.", "Somebody: Doubles 2031", 2031)
    assert entry.choices == {"pool": ("MAX", "AVE")}
    assert list(inspect.signature(double).parameters) == ["size", "pool"]
    assert double.__doc__ is not None
    assert double.__doc__.startswith("A net of width 2.\n\nArgs:\n    size: of the image.\n")
    assert ">>>" not in double.__doc__
    assert (double(4).name, double(4).shapes, protogen.models.double) == ("B2", {"data": (1, 2, 4, 4)}, double)
    with pytest.raises(TypeError, match=r"double\(\) has no argument 'width'; wide\(\) has it"):
        double(width=3)
    assert cost(entry) == (0, 0)
    assert find(variant(wide, "single", "Of width 1.", width=1).__name__).paper == "Nobody: Widths, Workshop 2030"


def test_choices_by_name() -> None:
    assert chosen("b", {"a": 1, "b": 2}) == 2
    with pytest.raises(NetError, match=r"unknown style 'aa'; did you mean 'a'\? \(known: a, b\)"):
        chosen("aa", {"a": 1, "b": 2}, "style")
