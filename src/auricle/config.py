"""Settings as plain data: frozen dataclasses that know their JSON form.

Every configurable part of auricle nests one `Config` beside the class it builds. A config is printable, comparable,
overridable from the command line with its types checked, and travels as JSON inside every checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import math
import numbers
import operator
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Gt, Le, Lt

from auricle.errors import ConfigError
from auricle.words import close_names


def nearest(name: str, names: Iterable[str], *, known: bool = True) -> str:
    """Return `"; did you mean 'x'?"` for the closest of some names; if none is close, their list.

    Args:
        name: what was asked for.
        names: those that exist.
        known: list them where none is close; False: then say nothing.
    """
    every = sorted(set(names))
    close = close_names(name, every)
    if close or not known:
        return f"; did you mean {_choices(tuple(close))}?" if close else ""
    # A folder may hold thousands of names; the first twenty show what kind they are.
    more = f" and {len(every) - 20} more" if len(every) > 20 else ""
    return f"; known: {', '.join(every[:20])}{more}"


# Bounds of a setting; `Count | None` and `tuple[Share, ...]` are checked inside, too.
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NonNegative = Annotated[float, Ge(0), Lt(math.inf)]
Share = Annotated[float, Ge(0), Le(1)]
"""A number in [0, 1]."""
ShareBelowOne = Annotated[float, Ge(0), Lt(1)]
"""A number in [0, 1): rates of dropout, decays, and masks that leave something visible."""
InnerShare = Annotated[float, Gt(0), Lt(1)]
"""A number in (0, 1)."""
ShareAboveZero = Annotated[float, Gt(0), Le(1)]
"""A number in (0, 1]."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all settings. Subclasses are frozen dataclasses; each is registered under its class name.

    A config checks itself when it is made: each value must be of the type that its field is annotated with, one of the
    choices of a `Literal`, inside the bounds of an `Annotated[int, Ge(1)]` (`Count`, `Share`, ...), and never NaN.
    `__post_init__` of a subclass checks relations between fields only, and needs no call of `super()` for the rest.
    """

    _known: ClassVar[dict[str, type[Config]]] = {}
    _builds: ClassVar[str] = ""
    _section: ClassVar[str | None] = None

    def __init_subclass__(cls, builds: str = "", section: str | None = None, **kwargs: Any) -> None:
        """Register the subclass under its name, which is the `kind` in its JSON form.

        Args:
            builds: name of the class of the same module that these settings build, where it is not the name of the
                settings without `Config`.
            section: what errors call these settings and those of subclasses, as the flags do (`encoder` in
                `encoder.width is 0`; empty: nothing). By default the class's own name in lower case.
            kwargs: of other bases.
        """
        super().__init_subclass__(**kwargs)
        other = Config._known.get(cls.__name__)
        if other is not None and other.__module__ != cls.__module__:
            raise TypeError(f"two configs are named {cls.__name__}: in {other.__module__} and {cls.__module__}")
        Config._known[cls.__name__] = cls
        cls._builds = builds or cls.__name__.removesuffix("Config")
        cls._section = cls._section if section is None else section
        # Relations between fields are checked after each field by itself.
        if "__post_init__" in cls.__dict__:
            cls.__post_init__ = _fields_first(cls.__dict__["__post_init__"])  # type: ignore[method-assign, assignment]

    def __post_init__(self) -> None:
        """Check each field by itself.

        Raises:
            ConfigError: naming the setting, what was found and what was expected.
        """
        for name, hint in _hints(type(self)).items():  # type: ignore[arg-type]
            fault = setting_fault(getattr(self, name), hint, name)
            if fault:
                raise ConfigError(f"{type(self).prefix()}{fault}")

    @classmethod
    def prefix(cls) -> str:
        """Return what stands before a setting's name in errors: `train.`."""
        own = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__.removesuffix("Config")).lower()
        section = own if cls._section is None else cls._section
        return section and f"{section}."

    @classmethod
    def built_class(cls) -> type[Any]:
        """Return the class that these settings build: that of the same module and name, without `Config`.

        Contracts with a `build` use it, so that a family needs no `build` of its own.
        """
        for base in cls.__mro__:
            found = getattr(sys.modules[base.__module__], base.__dict__.get("_builds", ""), None)
            if isinstance(found, type):
                return found
        raise TypeError(f"{cls.__name__} builds {cls._builds}, and {cls.__module__} has no such class")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-ready data; `kind` names the class."""
        fields = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"kind": type(self).__name__, **fields}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild settings from `to_json`'s data.

        Raises:
            ConfigError: the kind or a field is unknown, or the kind is not a `cls`.
        """
        kind = data.get("kind")
        found = Config._known.get(str(kind)) or _find_kind(str(kind))
        if found is None:
            raise ConfigError(f"unknown kind of settings {kind!r}{nearest(str(kind), Config._known)}")
        if not issubclass(found, cls):
            raise ConfigError(f"expected settings of kind {cls.__name__}, found {kind}")
        if data.get("trust_remote_code"):
            raise ConfigError(
                f"{kind}.trust_remote_code is true in saved settings, and data does not decide whose Python code runs "
                "here; open the model by its name with --trust-remote-code, or build it in Python"
            )
        data = found.upgraded(data)
        hints = typing.get_type_hints(found)
        names = {f.name for f in dataclasses.fields(found)}
        values = {}
        for name, value in data.items():
            if name == "kind":
                continue
            if name not in names:
                raise ConfigError(f"{found.prefix()[:-1] or kind} has no setting {name!r}{nearest(name, names)}")
            values[name] = _typed(value, hints[name])
        return found(**values)

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Return settings that an earlier version wrote in the form of this one; unchanged unless a class says more."""
        return data

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed."""
        return dataclasses.replace(self, **changes)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change when any setting changes."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted names, as on the command line: `objective.terms.0.weight`.

    A list of plain values stays one value; a list that holds settings or lists is entered, by number from 0.

    Args:
        data: settings as JSON data.
        prefix: of the names.
    """
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, tuple | list):
            value = list(value)
            if any(isinstance(each, Mapping | tuple | list) for each in value):
                value = {str(number): each for number, each in enumerate(value)}
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _fields_first(own: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make a class's own `__post_init__` begin with the checks of each field."""

    @functools.wraps(own)
    def both(self: Config) -> None:
        Config.__post_init__(self)
        own(self)

    return both


@functools.cache
def _hints(cls: type[Config]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


_PLAIN: dict[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "text"),
}


# Bound -> its attribute, the comparison that a value passes, and its words.
_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], Any], str]] = {
    Ge: ("ge", operator.ge, "of at least"),
    Gt: ("gt", operator.gt, "above"),
    Le: ("le", operator.le, "of at most"),
    Lt: ("lt", operator.lt, "below"),
}


def setting_fault(value: Any, hint: Any, place: str) -> str | None:
    """Return what is wrong with the value of a setting: `place is value; expected ...`; None where nothing is.

    `place` is the setting's name, with the number of the element inside a tuple: `betas.1`.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, float) and math.isnan(value):
        return f"{place} is nan, which is not a number; expected finite numbers"
    if origin is Annotated:
        fault = setting_fault(value, inner[0], place)
        bounds = [bound for bound in inner[1:] if type(bound) in _BOUNDS]
        if fault is None and not all(_within(value, bound) for bound in bounds):
            fault = f"{place} is {value}; expected {_range(inner[0], bounds)}"
        return fault
    if origin is Literal:
        if value in inner:
            return None
        return f"{place} is {value!r}; expected {_choices(inner)}{nearest(str(value), map(str, inner), known=False)}"
    if origin in (typing.Union, types.UnionType):
        faults = [setting_fault(value, each, place) for each in inner]
        if None in faults:
            return None
        # The branch of the value's own kind says more than the others.
        said = [f for f, each in zip(faults, inner, strict=True) if each is not type(None) and _kind_fits(value, each)]
        none = ", or nothing" if type(None) in inner else ""
        return f"{said[0]}{none}" if said else f"{place} is {value!r}; expected {_named(hint)}"
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return f"{place} is {value!r}; expected several values"
        each = inner[:1] * len(value) if inner[1:] == (Ellipsis,) else inner
        if len(each) != len(value):
            return f"{place} has {len(value)} values; expected {len(each)}"
        parts = enumerate(zip(value, each, strict=True))
        found = (setting_fault(part, what, f"{place}.{number}") for number, (part, what) in parts)
        return next((fault for fault in found if fault), None)
    if not _kind_fits(value, hint):
        return f"{place} is {value!r}; expected {_named(hint)}"
    return None


def _kind_fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of the kind that an annotation asks for, whatever its range."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _kind_fits(value, typing.get_args(hint)[0])
    if origin is Literal:
        return type(value) in {type(choice) for choice in typing.get_args(hint)}
    if origin is tuple:
        return isinstance(value, tuple | list)
    if hint in _PLAIN:
        return isinstance(value, _PLAIN[hint][0]) and (hint is bool) == isinstance(value, bool)
    # Of other kinds of settings nothing is known here.
    return not (isinstance(hint, type) and issubclass(hint, Config | types.NoneType)) or isinstance(value, hint)


def _named(hint: Any) -> str:
    """Name what an annotation asks for, in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _named(inner[0])
    if origin is Literal:
        return _choices(inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_named(each) for each in inner)
    if origin is tuple:
        return "several values"
    if hint is type(None):
        return "nothing"
    return _PLAIN[hint][1] if hint in _PLAIN else f"settings of kind {getattr(hint, '__name__', hint)}"


def _choices(known: tuple[Any, ...]) -> str:
    words = [repr(each) for each in known]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _within(value: Any, bound: Any) -> bool:
    return bool(_BOUNDS[type(bound)][1](value, getattr(bound, _BOUNDS[type(bound)][0])))


def _range(kind: Any, bounds: list[Any]) -> str:
    """Describe bounds in words: `a whole number of at least 1`, `a finite number above 0`."""
    limits = [(getattr(bound, _BOUNDS[type(bound)][0]), _BOUNDS[type(bound)][2]) for bound in bounds]
    said = " and ".join(f"{words} {limit}" for limit, words in limits if limit != math.inf)
    finite = "finite " if any(limit == math.inf for limit, _ in limits) else ""
    return f"a {finite}{_named(kind).removeprefix('a ')} {said}"


# Where settings live that a saved recipe may name.
_ROOMS = ("audio", "corpus", "encoders", "objectives", "training", "recipes")


def _find_kind(kind: str) -> type[Config] | None:
    """Look for settings whose module nobody has imported yet: a saved recipe may use parts that no other one does."""
    for room in _ROOMS:
        home = importlib.import_module(f"auricle.{room}")
        for found in pkgutil.walk_packages(home.__path__, f"{home.__name__}."):
            importlib.import_module(found.name)
            if kind in Config._known:
                return Config._known[kind]
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_json()
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _typed(value: Any, hint: Any) -> Any:
    """Turn JSON data back into what the field's annotation asks for (configs and tuples; the rest is itself)."""
    if isinstance(value, dict) and "kind" in value:
        return Config.from_json(value)
    if isinstance(value, list):
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next((h for h in typing.get_args(hint) if typing.get_origin(h) is tuple), hint)
        inner = typing.get_args(hint)
        return tuple(_typed(v, inner[0] if inner else Any) for v in value)
    return value
