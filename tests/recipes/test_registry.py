"""Methods are listed from their source, without what trains; those of other packages are registered when imported."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from auricle.errors import ConfigError
from auricle.recipes import Method, Recipe, get_recipe, recipes
from auricle.recipes.registry import PARADIGMS, SIZES, _declared, get_method, methods

ROOT = Path(__file__).resolve().parents[2]
METHODS = recipes()


def test_the_list_imports_no_torch() -> None:
    code = (
        "import sys; from auricle.cli import main; main(['recipes']); main(['pretrain', '--help']);"
        "from auricle.recipes import recipes; print(len(recipes()), 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{len(_declared())} False False"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_is_read_from_the_source_is_what_the_module_has(method: Method) -> None:
    declared = _declared()[method.name]
    module = importlib.import_module(declared.module)
    (own,) = (
        each for each in vars(module).values()
        if isinstance(each, Method) and each.module == module.__name__ and each.name == method.name
    )  # fmt: skip
    assert own == declared
    assert own.sizes == declared.sizes == tuple(size for size in SIZES if size in own.sizes)
    assert own.paradigm in PARADIGMS
    assert Path(module.__file__).parent.name == own.paradigm.replace(" ", "_").replace("-", "_")
    # One function per size, found under its name.
    for size in own.sizes:
        function = f"{method.name.replace('-', '_')}_{size}"
        assert getattr(module, function)() == get_recipe(method.name, size)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_evidence_exists_and_names_the_method(method: Method) -> None:
    if not method.learns:
        assert method.evidence == "not shown to learn"
        return
    assert method.evidence == f"shown to learn: by {method.learns}"
    text = (ROOT / method.learns).read_text(encoding="utf-8")
    assert method.name in text or method.name.replace("-", "_") in text


def test_every_learning_test_is_the_evidence_of_a_method() -> None:
    files = {f"tests/learning/{file.name}" for file in (ROOT / "tests" / "learning").glob("test_learn_*.py")}
    assert files <= {method.learns for method in METHODS}


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that imports a module with a method of some name."""
    known = dict(sys.modules["auricle.recipes.registry"]._IMPORTED)
    monkeypatch.setattr("auricle.recipes.registry._IMPORTED", known)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(module: str, name: str) -> None:
        (tmp_path / f"{module}.py").write_text(
            "from auricle.recipes import Method, Recipe\n"
            f"MINE = Method(name={name!r}, paradigm='contrastive', summary='Mine: of another package.')\n"
            "@MINE.size('paper')\n"
            "def paper():\n"
            f"    return Recipe(name={name!r}, size='paper')\n"
            "@MINE.size('tiny')\n"
            "def tiny():\n"
            "    return paper().replace(size='tiny')\n"
        )
        monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()
        importlib.import_module(module)

    return load


def test_a_method_of_another_package_is_listed_once_it_is_imported(plug_in) -> None:
    assert "mine" not in methods()
    plug_in("my_method", "mine")
    assert get_method("mine").sizes == ("tiny", "paper")
    assert get_method("mine").module == "my_method"
    assert get_recipe("mine") == Recipe(name="mine", size="tiny")
    assert [method.name for method in recipes()] == sorted(methods())


def test_two_methods_of_one_name_are_refused(plug_in) -> None:
    with pytest.raises(ConfigError, match=r"two methods are named 'cola'.*cola and my_cola; rename one"):
        plug_in("my_cola", "cola")
    plug_in("my_method", "mine")
    with pytest.raises(ConfigError, match=r"two methods are named 'mine'.*my_method and my_other"):
        plug_in("my_other", "mine")


def test_an_unknown_paradigm_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"paradigm 'magic'; expected one of auxiliary, contrastive"):
        Method(name="mine", paradigm="magic", summary="")
