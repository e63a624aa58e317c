"""How the verbs read their arguments."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

Arguments = TypeVar("Arguments")


def parse(
    arguments: type[Arguments], argv: Sequence[str], verb: str, about: str, leading: str | None = None
) -> Arguments:
    """Read a verb's arguments into a dataclass; `--help` and mistakes end the program as tyro does.

    Args:
        arguments: the dataclass.
        argv: what stands behind the verb.
        verb: of the command.
        about: what it does.
        leading: the first word of `argv`, where the flags depend on it: it is no argument any more, and mistakes send
            to its own help.
    """
    if leading is not None:
        verb, argv = f"{verb} {leading}", argv[1:]
    # A setting that may be absent is then a group of flags like any other, where its default is there.
    config = (tyro.conf.AvoidSubcommands,)
    return tyro.cli(arguments, args=list(argv), prog=f"auricle {verb}", description=about, config=config)


def no_arguments(verb: str, argv: Sequence[str], about: str) -> None:
    """Refuse arguments of a verb that takes none."""

    @dataclasses.dataclass
    class Nothing:
        pass

    parse(Nothing, argv, verb, about)


def value_of(flag: str, argv: Sequence[str]) -> str | None:
    """Return the value that a flag has on the command line, None if it isn't there."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
    return None


def command() -> str:
    """Return the command line as a record keeps it."""
    return shlex.join(["auricle", *sys.argv[1:]])
