"""Published methods by name, listed from their source: a list imports nothing that trains."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from auricle.config import nearest
from auricle.errors import ConfigError

if TYPE_CHECKING:
    from auricle.recipes.recipe import Recipe

Paradigm = Literal["auxiliary", "contrastive", "reconstruction", "discrete tokens", "teacher-student", "multimodal"]
PARADIGMS: tuple[str, ...] = get_args(Paradigm)

# In the order of lists; sizes of other names follow.
SIZES = ("tiny", "small", "base", "paper")
_METHODS = "auricle.recipes.methods"


@dataclass
class Method:
    """A published method, with one function per size that makes its recipe.

    A file below `recipes/methods/` declares each method. It is found without being imported, so the arguments are
    literals there. A method of another package is registered when its module is imported.

        COLA = Method(name="cola", paradigm="contrastive", summary="COLA: ...", learns="tests/learning/...")

        @COLA.size("tiny")
        def cola_tiny() -> Recipe:
            return Recipe(...)

    Attributes:
        name: as in `get_recipe(name)`.
        paradigm: of the survey; lists and pages are ordered by it.
        summary: one sentence.
        learns: test or benchmark that shows the method to learn: it beats its baselines on held-out clips. Empty: not
            shown to learn.
        module: where the method is declared.
    """

    name: str
    paradigm: Paradigm
    summary: str
    learns: str = ""
    module: str = ""
    _made: dict[str, Callable[[], Recipe]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.paradigm not in PARADIGMS:
            raise ConfigError(
                f"method {self.name!r} has paradigm {self.paradigm!r}; expected one of {', '.join(PARADIGMS)}"
            )

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes, the smallest first."""
        return tuple(sorted(self._made, key=lambda size: SIZES.index(size) if size in SIZES else len(SIZES)))

    @property
    def evidence(self) -> str:
        """Whether the method is shown to learn, in words."""
        return f"shown to learn: by {self.learns}" if self.learns else "not shown to learn"

    def size(self, name: str) -> Callable[[Callable[[], Recipe]], Callable[[], Recipe]]:
        """Register a function that makes the recipe of one size.

        Args:
            name: of the size: `tiny`, `small`, `base`, `paper`.

        Raises:
            ConfigError: another module has a method of the same name.
        """

        def register(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
            other = methods().get(self.name)
            if other is not None and other.module != make.__module__:
                raise ConfigError(
                    f"two methods are named {self.name!r}: in {other.module} and {make.__module__}; rename one"
                )
            self.module = make.__module__
            self._made[name] = make
            _IMPORTED[self.name] = self
            return make

        return register

    def recipe(self, size: str) -> Recipe:
        """Return the recipe of a size.

        Raises:
            ConfigError: there is no such size; the nearest name is given.
        """
        if size not in self._made:
            raise ConfigError(f"recipe {self.name} has no size {size!r}{nearest(size, self._made)}")
        return self._made[size]()


# Methods whose modules are imported.
_IMPORTED: dict[str, Method] = {}


def methods() -> dict[str, Method]:
    """Return the published methods by name; nothing that trains is imported."""
    known = _declared() | _IMPORTED
    return {name: known[name] for name in sorted(known)}


def recipes() -> list[Method]:
    """Return the published methods in the order of their names; nothing that trains is imported.

    Examples:
        >>> from auricle.recipes import recipes
        >>> [method.sizes for method in recipes() if method.name == "cola"]
        [('tiny', 'small', 'paper')]
    """
    return list(methods().values())


def get_method(name: str) -> Method:
    """Return a published method.

    Raises:
        ConfigError: there is no such method; the nearest name is given.
    """
    known = methods()
    if name not in known:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, known)}")
    return known[name]


def get_recipe(name: str, size: str = "tiny") -> Recipe:
    """Return the recipe of a published method.

    Args:
        name: of the method; `auricle recipes` lists them.
        size: one of the method's sizes.

    Raises:
        ConfigError: there is no such method or size; the nearest name is given.

    Examples:
        >>> from auricle.recipes import get_recipe
        >>> get_recipe("cola", "paper").loader.batch
        1024
    """
    return get_method(name).recipe(size)


@functools.cache
def _declared() -> dict[str, Method]:
    """Read the declarations of this package's own methods from their source."""
    home = Path(__file__).parent / "methods"
    found: dict[str, Method] = {}
    for file in sorted(home.rglob("*.py")):
        module = ".".join((_METHODS, *file.relative_to(home).with_suffix("").parts))
        found |= {method.name: method for method in _read(file.read_text(encoding="utf-8"), module)}
    return found


def _read(source: str, module: str) -> Iterator[Method]:
    """Yield the methods that a module declares: `NAME = Method(...)`, then functions under `@NAME.size("tiny")`."""
    declared: dict[str, Method] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=variable)], value=ast.Call(func=ast.Name(id="Method"), keywords=keywords)
            ):
                fields: dict[str, Any] = {word.arg or "": ast.literal_eval(word.value) for word in keywords}
                declared[variable] = Method(**fields, module=module)
            case ast.FunctionDef(name=function, decorator_list=marks):
                for mark in marks:
                    match mark:
                        case ast.Call(
                            func=ast.Attribute(value=ast.Name(id=variable), attr="size"),
                            args=[ast.Constant(value=str(size))],
                        ):
                            declared[variable]._made[size] = functools.partial(_call, module, function)
    yield from declared.values()


def _call(module: str, function: str) -> Recipe:
    recipe: Recipe = getattr(importlib.import_module(module), function)()
    return recipe
