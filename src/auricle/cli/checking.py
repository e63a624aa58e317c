"""The verb `check`: the faults of your own encoder, objective or recipe, before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from auricle.cli import inner_command
from auricle.cli.arguments import ComputeArguments, parse
from auricle.errors import ConfigError

# Kind of part -> what `--help` says of it.
_KINDS = {
    "encoder": "Check any callable with `rate` (Hz) and `width`: wave (B, S) float32 in [-1, 1] -> (B, D), (B, T, D) "
    "or (B, T, F, D). An encoder that passes opens in every command by its name, module:Class.",
    "objective": "Check an objective (module:Config of its settings, or the name of a recipe that uses it): one step "
    "on every encoder family.",
    "recipe": "Check a recipe (a name, or module:function that makes one): settings, notes, finite and repeatable "
    "steps, gradients of every parameter.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckArguments(ComputeArguments):
    """Arguments of `auricle check KIND`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """`module:Class` or `module:function`; for objectives and recipes also the name of a recipe."""


def check(argv: Sequence[str]) -> None:
    """Find the faults of your own encoder, objective or recipe."""
    lines = [f"  auricle check {kind} NAME [--device DEVICE] [--precision PRECISION]" for kind in _KINDS]
    end = "\nEach takes --help. The exit code is 2 where there is a fault."
    kind = inner_command("check", argv, "\n".join(["usage:", *lines, end]))
    if kind is None:
        return
    args = parse(CheckArguments, argv[1:], f"check {kind}", _KINDS[kind])
    from rich.console import Console

    from auricle.encoders.checking import check_encoder, faults, render_findings
    from auricle.recipes.checking import check_objective, check_recipe
    from auricle.words import counted

    run: Any = {"encoder": check_encoder, "objective": check_objective, "recipe": check_recipe}[kind]
    findings = run(args.name, device=args.device, precision=args.precision)
    Console().print(render_findings(args.name, findings))
    found = faults(findings)
    if found:
        raise ConfigError(f"{args.name} has {counted(len(found), 'fault')}, listed above; fix them before you use it")
