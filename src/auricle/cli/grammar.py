"""How types are shown and read on the command line: `[PATH ...]` for several, `INT` for a number that may be absent."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

NONE = "none"
_NUMBERS = {int: "a whole number", float: "a number"}


def registry() -> ConstructorRegistry:
    """Return the rules of auricle's flags, which come before tyro's own."""
    rules = ConstructorRegistry()
    for rule in (_number, _text, _several, _optional):
        rules.primitive_rule(rule)
    return rules


def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type not in _NUMBERS:
        return None
    kind: Any = info.type

    def read(words: list[str]) -> Any:
        try:
            return kind(words[0])
        except ValueError as error:
            raise ValueError(f"{words[0]!r} is not {_NUMBERS[kind]}") from error

    def fits(value: Any) -> bool:
        return isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)

    return PrimitiveConstructorSpec(1, kind.__name__.upper(), read, fits, lambda value: [str(value)])


def _text(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type is not str:
        return None
    return PrimitiveConstructorSpec(
        1, "STR", lambda words: words[0], lambda value: isinstance(value, str), lambda value: [value or NONE]
    )


def _several(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Show `tuple[X, ...]` as `[X ...]`."""
    args = typing.get_args(info.type)
    if info.type_origin is not tuple or args[1:] != (Ellipsis,):
        return None
    each = _spec(args[0], info)
    if each is None or each.nargs != 1:
        return None

    def read(words: list[str]) -> Any:
        return tuple(each.instance_from_str([word]) for word in words)

    def fits(value: Any) -> bool:
        return isinstance(value, tuple) and all(each.is_instance(part) for part in value)

    def write(value: Any) -> list[str]:
        return [word for part in value for word in each.str_from_instance(part)] or [NONE]

    return PrimitiveConstructorSpec("*", f"[{each.metavar} ...]", read, fits, write, choices=each.choices)


def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Show `X | None` as X; `none` and `None` are read as None."""
    kinds = typing.get_args(info.type)
    if info.type_origin not in (typing.Union, types.UnionType) or len(kinds) != 2 or type(None) not in kinds:
        return None
    (kind,) = (each for each in kinds if each is not type(None))
    inner = _spec(kind, info)
    if inner is None:
        return None

    def read(words: list[str]) -> Any:
        if words in ([NONE], ["None"]):
            return None
        if isinstance(inner.nargs, int) and len(words) != inner.nargs:
            raise ValueError(f"expected {inner.metavar}, found {' '.join(words)}")
        return inner.instance_from_str(words)

    return PrimitiveConstructorSpec(
        nargs=inner.nargs if inner.nargs in (1, "*") else tuple(sorted({1, inner.nargs})),  # type: ignore[arg-type]
        metavar=inner.metavar,
        instance_from_str=read,
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: [NONE] if value is None else inner.str_from_instance(value),
        choices=None if inner.choices is None else tuple(dict.fromkeys((*inner.choices, NONE, "None"))),
    )


def _spec(kind: Any, around: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    found = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, around.markers))
    return found if isinstance(found, PrimitiveConstructorSpec) else None


def brief(arguments: type, names: Sequence[str]) -> type:
    """Return a dataclass of arguments whose groups of settings keep only some: what a short `--help` shows.

    Args:
        arguments: dataclass of a verb; its own fields stay.
        names: settings to keep, with dots: `recipe.train.steps`.
    """
    fields: list[Any] = []
    hints = typing.get_type_hints(arguments, include_extras=True)
    for field in dataclasses.fields(arguments):
        value = _default(field)
        if not dataclasses.is_dataclass(value):
            continue
        made: Any = _some(value, [name.split(".", 1)[1] for name in names if name.startswith(f"{field.name}.")])
        notes = getattr(hints[field.name], "__metadata__", ())
        hidden = () if dataclasses.fields(made) else (tyro.conf.Suppress,)
        hint = Annotated[(made, *notes, *hidden)]
        fields.append((field.name, hint, dataclasses.field(default_factory=made)))
    return dataclasses.make_dataclass(arguments.__name__, fields, bases=(arguments,), frozen=True, kw_only=True)


def own_first(arguments: type) -> type:
    """Return a dataclass of arguments whose own fields come before those it shares with other verbs, for `--help`."""
    line = [kind for kind in arguments.__mro__ if dataclasses.is_dataclass(kind)]
    made = dataclasses.make_dataclass(arguments.__name__, (), bases=(arguments,), frozen=True, kw_only=True)
    fields: Any = made.__dataclass_fields__  # type: ignore[attr-defined]
    place = {name: next(i for i, kind in enumerate(line) if name in kind.__annotations__) for name in fields}
    made.__dataclass_fields__ = {name: fields[name] for name in sorted(fields, key=place.__getitem__)}  # type: ignore[attr-defined]
    return made


def _some(value: Any, names: Sequence[str]) -> type:
    """Return a dataclass with some of the settings of `value`, and its values as defaults."""
    hints = typing.get_type_hints(type(value), include_extras=True)
    fields: list[Any] = []
    for field in dataclasses.fields(value):
        own, inside = getattr(value, field.name), f"{field.name}."
        if field.name in names:
            fields.append((field.name, hints[field.name], dataclasses.field(default=own)))
        elif any(name.startswith(inside) for name in names):
            made: Any = _some(own, [name.removeprefix(inside) for name in names if name.startswith(inside)])
            fields.append((field.name, made, dataclasses.field(default_factory=made)))
    made = dataclasses.make_dataclass(type(value).__name__, fields, frozen=True)
    made.__doc__ = type(value).__doc__
    return made


def settings_of(arguments: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return the settings of a dataclass of arguments, those of its groups included.

    Args:
        arguments: the dataclass, or the settings of a group.
        prefix: of the names.

    Returns:
        Names of flags without the leading dashes and with underscores (`train.warmup_steps`), and annotations.
    """
    hints = typing.get_type_hints(arguments if isinstance(arguments, type) else type(arguments), include_extras=True)
    for field in dataclasses.fields(arguments):
        value = _default(field) if isinstance(arguments, type) else getattr(arguments, field.name)
        notes = getattr(hints[field.name], "__metadata__", ())
        # An empty name: the fields of the group are flags of the level above.
        own = next((note.name for note in notes if getattr(note, "name", None) is not None), field.name)
        inside = f"{prefix}{own}." if own else prefix
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, inside)
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            for number, part in enumerate(value):
                yield from settings_of(part, f"{inside}{number}.")
        else:
            yield prefix + own, hints[field.name]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
