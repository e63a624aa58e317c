"""Settings as plain data: frozen dataclasses that know their JSON form.

Every configurable part of auricle nests one `Config` beside the class it builds. A config is printable, comparable,
overridable from the command line with its types checked, and travels as JSON inside every checkpoint.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import importlib
import json
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from auricle.errors import ConfigError


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest of the known names, or their list if none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    # A folder may hold thousands of names; the first dozen tell what kind they are.
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return f"; known: {', '.join(known[:12])}{more}"


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all settings. Subclasses are frozen dataclasses; each is registered under its class name.

    No setting may be NaN: it passes every comparison with a bound, and turns up again as weights that are NaN.
    """

    _known: ClassVar[dict[str, type[Config]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the subclass under its name, which is the `kind` in its JSON form."""
        super().__init_subclass__(**kwargs)
        other = Config._known.get(cls.__name__)
        if other is not None and other.__module__ != cls.__module__:
            raise TypeError(f"two configs are named {cls.__name__}: in {other.__module__} and {cls.__module__}")
        Config._known[cls.__name__] = cls
        # Subclasses look at their own settings without calling this class's look; it must come first all the same.
        if "__post_init__" in cls.__dict__:
            cls.__post_init__ = _numbers_first(cls.__dict__["__post_init__"])  # type: ignore[method-assign, assignment]

    def __post_init__(self) -> None:
        """Refuse settings that are not a number where one is meant.

        Raises:
            ConfigError: naming the setting.
        """
        for field in dataclasses.fields(self):
            place = _not_a_number(getattr(self, field.name), field.name)
            if place:
                raise ConfigError(
                    f"{type(self).__name__}.{place} is nan, which is not a number; expected finite numbers"
                )

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
        data = found.upgraded(data)
        hints = typing.get_type_hints(found)
        names = {f.name for f in dataclasses.fields(found)}
        values = {}
        for name, value in data.items():
            if name == "kind":
                continue
            if name not in names:
                raise ConfigError(f"{kind} has no setting {name!r}{nearest(name, names)}")
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
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _numbers_first(own: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make a class's own `__post_init__` begin with that of all settings."""

    @functools.wraps(own)
    def both(self: Config) -> None:
        Config.__post_init__(self)
        own(self)

    return both


def _not_a_number(value: Any, place: str) -> str | None:
    """Return where in a setting (a value, or a tuple of them) a NaN is, None where there is none."""
    if isinstance(value, float) and math.isnan(value):
        return place
    if isinstance(value, tuple | list):
        found = (_not_a_number(each, f"{place}.{number}") for number, each in enumerate(value))
        return next((each for each in found if each), None)
    return None


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
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _typed(value: Any, hint: Any) -> Any:
    """Turn JSON data back into what the field's annotation asks for (configs and tuples; the rest is itself)."""
    if isinstance(value, dict) and "kind" in value:
        return Config.from_json(value)
    if isinstance(value, list):
        origin = typing.get_origin(hint)
        if origin in (typing.Union, types.UnionType):
            hint = next((h for h in typing.get_args(hint) if typing.get_origin(h) is tuple), hint)
        inner = typing.get_args(hint)
        return tuple(_typed(v, inner[0] if inner else Any) for v in value)
    return value
