"""The verb `check`: the faults of your own encoder, objective or recipe, before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import tyro

from auricle.cli.arguments import parse
from auricle.config import nearest
from auricle.errors import AuricleError, ConfigError

# Kind of part -> what `--help` says of it.
_KINDS = {
    "encoder": "Check any callable with `rate` (Hz) and `width`: wave (B, S) float32 in [-1, 1] -> (B, D), (B, T, D) "
    "or (B, T, F, D). An encoder that passes opens in every command by its name, module:Class.",
    "objective": "Check an objective (module:Config of its settings, or the name of a recipe that uses it): one step "
    "on every encoder family.",
    "recipe": "Check a recipe (a name, or module:function that makes one): settings, notes, finite and repeatable "
    "steps, gradients of every parameter.",
}


@dataclasses.dataclass(frozen=True)
class CheckArguments:
    """Arguments of `auricle check KIND`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODULE:CLASS")]
    """`module:Class` or `module:function`; for objectives and recipes also the name of a recipe."""


def check(argv: Sequence[str]) -> None:
    """Find the faults of your own encoder, objective or recipe."""
    if not argv or argv[0] not in _KINDS:
        if argv and argv[0] not in ("-h", "--help"):
            raise AuricleError(f"`auricle check` has no command {argv[0]!r}{nearest(argv[0], _KINDS)}")
        lines = [f"  auricle check {kind} NAME" for kind in _KINDS]
        print("usage:", *lines, "", "Each takes --help. Exit code 2 where there is a fault.", sep="\n")
        return
    kind = argv[0]
    args = parse(CheckArguments, argv[1:], f"check {kind}", _KINDS[kind])
    from rich.console import Console

    from auricle.encoders.checking import check_encoder, faults, render_findings
    from auricle.recipes.checking import check_objective, check_recipe

    findings = {"encoder": check_encoder, "objective": check_objective, "recipe": check_recipe}[kind](args.name)
    Console().print(render_findings(args.name, findings))
    found = faults(findings)
    if found:
        raise ConfigError(f"{args.name} has {len(found)} fault(s), listed above; fix them before you use it")
