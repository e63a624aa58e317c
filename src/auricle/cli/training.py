"""Verbs about pre-training: `pretrain` and `demo`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from auricle.cli.arguments import parse, value_of
from auricle.errors import AuricleError

# The encoder's size where another family is trained by a recipe of this size.
_ENCODER_SIZES = {"paper": "base"}
_OWN = "own"


def pretrain(argv: Sequence[str]) -> None:
    """Pre-train an encoder: `auricle pretrain audiomosaic --data FOLDER --out RUN`."""
    from auricle.recipes import get_recipe
    from auricle.recipes import pretrain as run
    from auricle.recipes.families import families, get_family, on_family
    from auricle.recipes.recipe import pass_down

    # The recipe's own fields are flags with its values as defaults, so it has to be known before the rest is read.
    if not argv or argv[0].startswith("-"):
        if {"-h", "--help"} & set(argv):
            _which_recipe()
            return
        raise AuricleError("name the recipe first: auricle pretrain RECIPE --data ... --out ... (auricle recipes)")
    name, size = argv[0], value_of("--size", argv) or "tiny"
    recipe = get_recipe(name, size)
    family = value_of("--encoder", argv) or _OWN
    if family != _OWN:
        recipe = on_family(recipe, get_family(family), _ENCODER_SIZES.get(size, size))
    arguments = dataclasses.make_dataclass(
        "PretrainArguments",
        [
            (
                "data",
                Annotated[
                    str,
                    tyro.conf.arg(
                        help="Folder of audio, table (CSV, Parquet), shards, `hub:user/name` or `builtin:scenes`; "
                        "`a+b` joins several."
                    ),
                ],
            ),
            ("out", Annotated[Path, tyro.conf.arg(help="Run folder to write.")]),
            ("size", Annotated[str, tyro.conf.arg(help="Encoder size, with the schedule that belongs to it.")], size),
            (
                "family",
                Annotated[
                    str,
                    tyro.conf.arg(
                        name="encoder",
                        metavar="FAMILY",
                        help="Train an encoder of another family in the place of the recipe's own, of a like size: "
                        f"{', '.join(n for n in families() if n != 'log-mel-statistics')}. `auricle matrix {name}` "
                        "tells which of them fit; --encoder.* are then its settings.",
                    ),
                ],
                _OWN,
            ),
            (
                "exclude",
                Annotated[tuple[str, ...], tyro.conf.arg(help="Corpora (sub-folders of the data) to leave out.")],
                (),
            ),
            (
                "resume",
                Annotated[bool, tyro.conf.arg(help="Continue the run in --out to the numbers it would have had.")],
                False,
            ),
            (
                "previous",
                Annotated[
                    Path | None,
                    tyro.conf.arg(
                        help="Run folder that stands for the stage before this one, where a recipe has stages."
                    ),
                ],
                None,
            ),
            # Without a prefix: its fields are flags of the first level.
            ("recipe", Annotated[type(recipe), tyro.conf.arg(name="")], recipe),
        ],
        frozen=True,
    )
    about = (
        "Pre-train an encoder on audio without labels. Every field of the recipe can be set; "
        f"the defaults shown are those of {recipe.name}, size {size}. A killed run continues with --resume."
        + (
            " What is changed of window, loader and training holds for the stages before, too."
            if recipe.previous
            else ""
        )
    )
    args: Any = parse(arguments, argv, "pretrain", about, leading=name)
    run(
        pass_down(args.recipe, recipe),
        args.data,
        args.out,
        resume=args.resume,
        exclude=args.exclude,
        previous=args.previous,
    )


def _which_recipe() -> None:
    """Say how to go on: every recipe has flags of its own."""
    from rich.table import Table

    from auricle.recipes import recipes as registered

    console = Console()
    console.print(
        "usage: auricle pretrain RECIPE --data FOLDER --out RUN [--size tiny|paper] [--encoder FAMILY] [--resume]\n\n"
        "Pre-train an encoder on audio without labels. Each recipe has its own settings, and each of them is a flag:\n"
        "`auricle pretrain RECIPE --help` lists them and the defaults; `auricle recipes RECIPE` tells all about it.\n",
        markup=False,
        highlight=False,
    )
    table = Table("recipe", "paradigm", "what it does", expand=True)
    for entry in registered():
        table.add_row(entry.name, entry.paradigm, entry.summary)
    console.print(table)


@dataclasses.dataclass(frozen=True)
class DemoArguments:
    """What `auricle demo` takes."""

    out: Path = Path("runs/demo")
    """Run folder to write."""
    minutes: float = 3.0
    """Time for pre-training; probing takes about as long again."""


def demo(argv: Sequence[str]) -> None:
    """See it work on the built-in corpus: pre-train, probe three ways beside controls, write the report."""
    about = "Pre-train AudioMosaic (tiny) on the built-in sound scenes, probe it beside controls, write report.html."
    args = parse(DemoArguments, argv, "demo", about)
    from auricle.demo import demo as run
    from auricle.results.tables import render_results

    results, page = run(args.out, minutes=args.minutes)
    console = Console()
    console.print(render_results(results))
    console.print(
        "Two minutes of pre-training show how it works, not what it can do: here the controls are as good. What fifty "
        "minutes on real audio buy is in benchmarks/foundation.md.\n"
    )
    console.print(f"report: {page.resolve()}", soft_wrap=True)
