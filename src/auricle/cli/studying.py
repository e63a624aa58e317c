"""The verb `study`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from auricle.cli.arguments import ComputeArguments, parse
from auricle.errors import AuricleError

if TYPE_CHECKING:
    from auricle.studies.budget import Budget

_UNITS = {"s": 1 / 60, "m": 1.0, "h": 60.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyArguments(ComputeArguments):
    """Arguments of `auricle study`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")] = ""
    """The study; without a name, all are listed."""
    data: str = ""
    """Folder of corpora, each in a folder of its own."""
    out: Path = Path("studies")
    """Folder of the study. What is done there is not done again, and is found by other studies with this folder."""
    budget: str = ""
    """Of each pre-training: processor time (`30m`, `2h`) or clips (`200000clips`); by default that of the study."""
    seeds: int | None = None
    """Pre-trainings of each pair; by default those of the study."""
    time: str = ""
    """Begin no cell after this time (`90m`, `8h`); the same command continues. By default until all are done."""
    limit: str = ""
    """A cell that takes longer has failed (`3h`); by default none."""
    threads: int = 1
    """Threads of a training step. One thread does the same work on a busy machine, and only takes longer."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the cells, their state, the hours left and the memory, and end."""
    shard: str = "1/1"
    """Do the i-th of n parts (`2/4`), for several machines on one folder."""
    retry: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Try failed cells again."""
    collect: tuple[Path, ...] = ()
    """Take over the results of other machines: the files OUT/NAME/cells.jsonl that they wrote."""


def study(argv: Sequence[str]) -> None:
    """Answer a question by many pre-trainings and evaluations."""
    from rich.console import Console

    from auricle.results.export import render_sheets
    from auricle.studies.cells import Place
    from auricle.studies.engine import Store
    from auricle.studies.study import StudyConfig, get_study, plan_text, run_study, studies, write_conclusion

    args = parse(
        StudyArguments,
        argv,
        "study",
        "Answer a question by a grid of pre-trainings and evaluations, each done once, over as many sittings as it "
        "takes; ends in statements with a verdict, in OUT/NAME.",
    )
    if not args.name:
        for known in studies().values():
            print(f"{known.name:<12}{known.summary}")
        return
    chosen = get_study(args.name)
    if not args.data:
        raise AuricleError(f"study {args.name!r} needs --data, a folder of corpora")
    budget = dataclasses.replace(_budget(args.budget, chosen.defaults.budget), threads=args.threads)
    config = StudyConfig(budget, args.seeds or chosen.defaults.seeds)
    if args.dry_run:
        store = Store(Place(args.data, args.out, args.device, args.precision))
        print("\n".join(plan_text(store, chosen.cells(config))))
        return
    book = run_study(
        chosen, args.data, args.out, config=config, shard=_shard(args.shard), minutes=_minutes("time", args.time),
        limit=_minutes("limit", args.limit), retry=args.retry, collect=args.collect, device=args.device,
        precision=args.precision,
    )  # fmt: skip
    home = args.out / chosen.name
    Console().print(render_sheets(write_conclusion(home, chosen.conclude(book), book)))
    print(f"{book.count}; tables in {home / 'study.md'} (.tex, .csv)")
    if not book.complete:
        print("Continue with the same command.")


def _budget(text: str, default: Budget) -> Budget:
    from auricle.studies.budget import Budget

    if not text:
        return default
    if text.endswith("clips") and text.removesuffix("clips").isdecimal():
        return Budget(minutes=None, clips=int(text.removesuffix("clips")))
    return Budget(minutes=_minutes("budget", text))


def _minutes(flag: str, text: str) -> float | None:
    """Return minutes of a time such as `90m` or `2h`; None where there is none."""
    if not text:
        return None
    unit = _UNITS.get(text[-1])
    try:
        found = float(text[:-1]) * (unit or 0)
    except ValueError:
        found = 0.0
    if found <= 0:
        raise AuricleError(f"--{flag} is {text!r}; expected a time such as 90s, 30m or 2h")
    return found


def _shard(text: str) -> tuple[int, int]:
    i, slash, n = text.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal()):
        raise AuricleError(f"--shard is {text!r}; expected one such as 1/4")
    return int(i), int(n)
