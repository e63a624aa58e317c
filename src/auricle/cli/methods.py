"""Commands about methods: `recipes` and `matrix`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from auricle.cli.arguments import ComputeArguments, FileArguments, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipesArguments(FileArguments):
    """Arguments of `auricle recipes`."""

    name: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE ...]")] = ()
    """Recipes to describe; without any, all are listed."""
    out: Path | None = None
    """Write the page about all methods (Markdown) here."""


def recipes(argv: Sequence[str]) -> None:
    """List the recipes, or describe some: paper, deviations, cost, when to use, evidence that they learn."""
    args = parse(RecipesArguments, argv, "recipes", "List the recipes of `auricle pretrain`, or describe some.")
    from rich.markdown import Markdown
    from rich.table import Table

    # The list is read from source: it imports no torch.
    from auricle.recipes.registry import PARADIGMS
    from auricle.recipes.registry import recipes as registered
    from auricle.storage import write_atomic

    console = Console()
    if args.out is not None:
        from auricle.recipes.methods_page import methods_page

        write_atomic(args.out, methods_page(registered()).encode())
        console.print(f"wrote {args.out}", soft_wrap=True)
        return
    if args.name:
        from auricle.recipes.methods_page import describe

        for name in args.name:
            console.print(Markdown(describe(name)))
        return
    for paradigm in PARADIGMS:
        table = Table("recipe", "summary", "sizes", "evidence", title=paradigm, title_justify="left", expand=True)
        for method in registered():
            if method.paradigm == paradigm:
                table.add_row(method.name, method.summary, ", ".join(method.sizes), method.evidence)
        console.print(table)
    console.print("`auricle recipes NAME` describes a recipe: as in the paper, deviations, cost, when to use.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatrixArguments(ComputeArguments):
    """Arguments of `auricle matrix`."""

    name: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE ...]")] = ()
    """Recipes whose objectives are tried; by default all."""
    out: Path | None = None
    """Write the table (Markdown) here instead of printing it."""


def matrix(argv: Sequence[str]) -> None:
    """Try every objective on every encoder family: one step each, or the reason why a pair is refused."""
    about = (
        "Try every objective on every encoder family: one training step on synthetic sounds, or the reason why "
        "a pair is refused."
    )
    args = parse(MatrixArguments, argv, "matrix", about)
    from rich.progress import track
    from rich.table import Table

    from auricle.devices import find_device
    from auricle.encoders.callables import guarded
    from auricle.recipes import get_recipe
    from auricle.recipes import recipes as registered
    from auricle.recipes.families import families
    from auricle.recipes.matrix import markdown, reason_of, try_pair
    from auricle.storage import write_atomic

    console = Console()
    find_device(args.device)
    names = args.name or tuple(method.name for method in registered())
    made = [get_recipe(name, "tiny") for name in names]
    pairs = [(recipe, family) for recipe in made for family in families().values()]
    cells = []
    for recipe, family in track(pairs, description="pairs", console=Console(stderr=True)):
        with guarded(f"{recipe.name} on {family.name}: the step", remedy="; fix the objective or the encoder"):
            cells.append(try_pair(recipe, family, device=args.device, precision=args.precision))
    if args.out is not None:
        write_atomic(args.out, markdown(cells).encode())
        console.print(f"wrote {args.out}", soft_wrap=True)
        return
    for name in names:
        # A row of the page is too wide for a terminal: one encoder per line here.
        table = Table("encoder", "outcome", title=name, title_justify="left", expand=True)
        for cell in cells:
            if cell.objective == name:
                table.add_row(cell.encoder, "trains" if cell.outcome == "trains" else reason_of(cell))
        console.print(table)
