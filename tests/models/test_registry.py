"""Models by name: found with only their own file imported, registered from outside, refused when unknown."""

from __future__ import annotations

import pytest

import protogen
from protogen import NetBuilder, NetError, ProtogenError
from protogen.models import find, model, models
from protogen.models.registry import Model
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
    solvers = {f"{name}_solver" for name, model in protogen.models.models().items() if model.solver is not None}
    assert set(protogen.models.__all__) >= {*protogen.models.models(), *solvers}
