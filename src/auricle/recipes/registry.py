"""Published methods by name: listed from their source, so that a list imports nothing that trains."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from auricle.config import nearest
from auricle.errors import ConfigError

if TYPE_CHECKING:
    from auricle.recipes.recipe import Recipe

Paradigm = Literal["auxiliary", "contrastive", "reconstruction", "discrete tokens", "teacher-student", "multimodal"]
PARADIGMS: tuple[str, ...] = get_args(Paradigm)

_METHODS = "auricle.recipes.methods"


@dataclass(frozen=True)
class Method:
    """A published method: what lists say of it, and one function per size that makes its recipe.

    Each method is declared in a file below `recipes/methods/`, which is found without being imported: the arguments
    have to be literals there.

        COLA = Method(name="cola", paradigm="contrastive", summary="COLA: ...", learns="tests/learning/...")

        @COLA.size("tiny")
        def cola_tiny() -> Recipe:
            return Recipe(...)

    Attributes:
        name: what `get_recipe` finds it by.
        paradigm: of the survey; it orders lists and pages.
        summary: one sentence.
        learns: the test or benchmark that shows that it learns (beats its baselines on held-out clips); empty: not
            shown to learn.
        sizes: names of the sizes, in the order of their functions.
        module: where it is declared.
    """

    name: str
    paradigm: str
    summary: str
    learns: str = ""
    sizes: tuple[str, ...] = ()
    module: str = ""
    _made: dict[str, Callable[[], Recipe]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.paradigm not in PARADIGMS:
            raise ConfigError(
                f"method {self.name!r} has paradigm {self.paradigm!r}; expected one of {', '.join(PARADIGMS)}"
            )

    def size(self, name: str) -> Callable[[Callable[[], Recipe]], Callable[[], Recipe]]:
        """Register a function that makes the recipe of one size.

        Args:
            name: of the size: `tiny`, `small`, `base`, `paper`.
        """

        def register(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
            self._made[name] = make
            _IMPORTED[self.name] = Method(
                self.name, self.paradigm, self.summary, self.learns, tuple(self._made), make.__module__, self._made
            )
            return make

        return register


# Methods whose modules are imported: of this package once they are used, and of plug-ins.
_IMPORTED: dict[str, Method] = {}


def recipes() -> list[Method]:
    """Return the published methods by name, with their sizes; nothing that trains is imported.

    Example:
        >>> from auricle.recipes import recipes
        >>> [method.sizes for method in recipes() if method.name == "cola"]
        [('tiny', 'paper')]
    """
    known = {**_IMPORTED, **_declared()}
    return [known[name] for name in sorted(known)]


def get_recipe(name: str, size: str = "tiny") -> Recipe:
    """Return the recipe of a published method.

    Args:
        name: of the method; `auricle recipes` lists them.
        size: one of the method's sizes.

    Raises:
        ConfigError: there is no such method or size; the nearest name is given.

    Example:
        >>> from auricle.recipes import get_recipe
        >>> get_recipe("cola").objective.build
        ...
    """
    method = get_method(name)
    if size not in method.sizes:
        raise ConfigError(f"recipe {name} has no size {size!r}{nearest(size, method.sizes)}")
    importlib.import_module(method.module)
    return _IMPORTED[name]._made[size]()


def get_method(name: str) -> Method:
    """Return a published method.

    Raises:
        ConfigError: there is no such method; the nearest name is given.
    """
    known = {**_IMPORTED, **_declared()}
    if name not in known:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, known)}")
    return known[name]


@functools.cache
def _declared() -> dict[str, Method]:
    """Read the declarations of this package's own methods from their source."""
    home = Path(__file__).parent / "methods"
    found: dict[str, Method] = {}
    for file in sorted(home.rglob("*.py")):
        module = ".".join((_METHODS, *file.relative_to(home).with_suffix("").parts))
        for method in _read(file.read_text(encoding="utf-8"), module):
            found[method.name] = method
    return found


def _read(source: str, module: str) -> list[Method]:
    """Return the methods that a module declares: assignments of `Method(...)`, and `@NAME.size("tiny")`."""
    declared: dict[str, dict[str, Any]] = {}
    sizes: dict[str, list[str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and _calls(node.value, "Method"):
            assert_name = node.targets[0]
            if isinstance(assert_name, ast.Name) and isinstance(node.value, ast.Call):
                declared[assert_name.id] = {k.arg or "": ast.literal_eval(k.value) for k in node.value.keywords}
        elif isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "size":
                    owner = mark.func.value
                    if isinstance(owner, ast.Name):
                        sizes.setdefault(owner.id, []).append(ast.literal_eval(mark.args[0]))
    return [Method(**told, sizes=tuple(sizes.get(name, ())), module=module) for name, told in declared.items()]


def _calls(value: ast.expr, name: str) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == name
