"""Verbs about methods: `recipes` and `matrix`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from auricle.cli.arguments import parse


@dataclasses.dataclass(frozen=True)
class RecipesArguments:
    """What `auricle recipes` takes."""

    name: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Recipes to tell all about; none: the list of all."""
    out: Path | None = None
    """Write the page about all methods (Markdown) here."""


def recipes(argv: Sequence[str]) -> None:
    """List the recipes, or tell all about one: paper, what is kept, what differs, cost, when to choose it."""
    args = parse(
        RecipesArguments, argv, "recipes", "List the recipes that `auricle pretrain` knows, or tell about some."
    )
    from rich.markdown import Markdown
    from rich.table import Table

    from auricle.recipes import recipes as registered
    from auricle.recipes.methods_page import PARADIGMS, describe, methods_page
    from auricle.storage import write_atomic

    console = Console()
    if args.out is not None:
        write_atomic(args.out, methods_page(registered()).encode())
        console.print(f"wrote {args.out}", soft_wrap=True)
        return
    if args.name:
        for name in args.name:
            console.print(Markdown(describe(name)))
        return
    for paradigm in PARADIGMS:
        table = Table("recipe", "what it does", "sizes", title=paradigm, title_justify="left", expand=True)
        for entry in registered():
            if entry.paradigm == paradigm:
                table.add_row(entry.name, entry.summary, ", ".join(entry.sizes))
        console.print(table)
    console.print(
        "`auricle recipes NAME` tells what a recipe keeps of its paper, where it differs, and when to choose it."
    )


@dataclasses.dataclass(frozen=True)
class MatrixArguments:
    """What `auricle matrix` takes."""

    name: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Recipes whose objectives are tried; none: all."""
    out: Path | None = None
    """Write the table (Markdown) here instead of printing it."""


def matrix(argv: Sequence[str]) -> None:
    """Try every objective on every encoder family: one step each, or the reason why a pair is refused."""
    about = (
        "Try every objective on every encoder family: one training step on made sounds, or the reason of the refusal."
    )
    args = parse(MatrixArguments, argv, "matrix", about)
    from rich.progress import track
    from rich.table import Table

    from auricle.recipes import get_recipe
    from auricle.recipes import recipes as registered
    from auricle.recipes.families import families
    from auricle.recipes.matrix import markdown, reason_of, try_pair
    from auricle.storage import write_atomic

    console = Console()
    names = args.name or tuple(entry.name for entry in registered())
    made = [get_recipe(name, "tiny") for name in names]
    pairs = [(recipe, family) for recipe in made for family in families().values()]
    cells = [try_pair(*pair) for pair in track(pairs, description="pairs", console=Console(stderr=True))]
    if args.out is not None:
        write_atomic(args.out, markdown(cells).encode())
        console.print(f"wrote {args.out}", soft_wrap=True)
        return
    for name in names:
        # A row of the page is too wide for a terminal: encoders go down here.
        table = Table("encoder", "outcome", title=name, title_justify="left", expand=True)
        for cell in cells:
            if cell.objective == name:
                table.add_row(cell.encoder, "trains" if cell.outcome == "trains" else reason_of(cell))
        console.print(table)
