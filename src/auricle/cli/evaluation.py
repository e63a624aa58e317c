"""Verbs about evaluation: `probe`, `tasks` and `report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from auricle.cli.arguments import command, parse, value_of
from auricle.errors import AuricleError


@dataclasses.dataclass(frozen=True)
class ProbeArguments:
    """What `auricle probe` takes."""

    run: tyro.conf.Positional[str]
    """Run folder of a pre-trained encoder, one of its checkpoints, or `module:Class` of your own."""
    task: str
    """Task: `auricle tasks` lists them; `folder` takes any labelled folder or table."""
    data: str | None = None
    """The task's audio; tasks on the built-in corpus need none."""
    cut: float | None = None
    """Cut longer recordings of the data into clips of this many seconds, each with its recording's labels."""
    probes: tuple[str, ...] = ()
    """Readers of the frozen tokens; by default those usual for its type; `auricle tasks TASK` lists all."""
    seeds: int = 3
    """Seeds of each probe (0, 1, 2, ...)."""
    protocol: str = "strict"
    """`strict`: ours. `hear`, `hear_full`, `hear_raced`, `evar`, `xares`, `marble`, `superb`: labelled clips as that
    kit does them, its own readers, seeds and quirks included; what flatters the score is said beside it."""
    study: bool = False
    """Search as arXiv 2509.24901 does (25 Sobol points, 25 of TPE, the best 3 over 5 seeds) instead of a grid."""
    controls: bool = True
    """Probe the random-weight encoder and the log-mel statistics beside the run."""
    maps: bool = False
    """Fit binarised prototypes on the first fold and draw where in time and frequency they fire (for the report)."""
    out: Path | None = None
    """Where results go; by default RUN/probes/TASK (for `module:Class`: runs/module-Class/probes/TASK)."""


def probe(argv: Sequence[str]) -> None:
    """Find out what an encoder is good for: `auricle probe RUN --task esc10 --data FOLDER`."""
    about = (
        "Read a frozen encoder on a task, beside its random-weight control and log-mel statistics. Settings are "
        "chosen on validation data inside the training part; the test part is scored once per seed. --rule.* are the "
        "settings of the task's type; --search.* those of the probes' search."
    )
    from auricle.probes import SearchConfig

    search = SearchConfig.study() if "--study" in argv else SearchConfig()
    args: Any = parse(_with_card(ProbeArguments, argv, ("search", SearchConfig, search)), argv, "probe", about)
    from auricle.corpus.sources import open_corpus
    from auricle.evaluation.probing import probe as run
    from auricle.evaluation.probing import probe_compat as run_compat
    from auricle.results.tables import render_results

    if args.cut is not None and args.data is None:
        raise AuricleError("--cut needs --data: name the audio that is to be cut")
    data = args.data if args.cut is None else open_corpus(args.data).cut(args.cut)
    if args.protocol != "strict":
        if args.probes:
            raise AuricleError(f"protocol {args.protocol!r} brings its own readers; leave --probes out")
        given = [flag for flag in argv if flag.startswith(("--seeds", "--study", "--search.", "--maps"))]
        if given:
            raise AuricleError(f"protocol {args.protocol!r} brings its own seeds and search; leave {given[0]} out")
        results = run_compat(
            args.run,
            task=_card(args),
            data=data,
            protocol=args.protocol,
            controls=args.controls,
            out=args.out,
            command=command(),
        )
        Console().print(render_results(results))
        return
    results = run(
        args.run,
        task=_card(args),
        data=data,
        probes=args.probes,
        seeds=tuple(range(args.seeds)),
        controls=args.controls,
        search=args.search,
        maps=args.maps,
        out=args.out,
        command=command(),
    )
    Console().print(render_results(results))


@dataclasses.dataclass(frozen=True)
class FinetuneArguments:
    """What `auricle finetune` takes."""

    run: tyro.conf.Positional[str]
    """Run folder of a pre-trained encoder, one of its checkpoints, or `module:Class` of your own."""
    task: str
    """Task of labelled clips: `auricle tasks` lists them; `folder` takes any labelled folder or table."""
    data: str | None = None
    """The task's audio; tasks on the built-in corpus need none."""
    seeds: int = 1
    """Seeds (0, 1, 2, ...)."""
    control: bool = True
    """Fine-tune the same architecture from random weights beside it."""
    save: bool = True
    """Keep the encoder and classifier that validated best in OUT/finetuned (any command takes that folder as RUN)."""
    out: Path | None = None
    """Where results go; by default RUN/finetune/TASK."""


def finetune(argv: Sequence[str]) -> None:
    """Train an encoder further on labels: `auricle finetune RUN --task esc10 --data FOLDER`."""
    from auricle.finetune.config import FinetuneConfig

    about = (
        "Fine-tune an encoder on labelled clips: all of it, its last blocks, low-rank updates (LoRA), or a head alone "
        "(--config.mode full|last_n|lora|head). The epoch is chosen on validation clips; folds and intervals are those "
        "of `auricle probe`, so both can be compared clip by clip. A stopped run goes on where it was."
    )
    config = ("config", FinetuneConfig, FinetuneConfig())
    args: Any = parse(_with_card(FinetuneArguments, argv, config), argv, "finetune", about)
    from auricle.evaluation.probing import open_evaluated, open_task_corpus
    from auricle.finetune.run import finetune as run
    from auricle.results.tables import render_results

    card = _card(args)
    corpus = open_task_corpus(card, args.data)
    evaluated, folder = open_evaluated(args.run, corpus)
    results = run(
        evaluated,
        card,
        corpus,
        out=args.out or folder / "finetune" / card.name,
        config=args.config,
        seeds=tuple(range(args.seeds)),
        with_control=args.control,
        save=args.save,
        command=command(),
    )
    Console().print(render_results(results))


def _with_card(arguments: type, argv: Sequence[str], *more: tuple[str, type, Any]) -> type:
    """Add the flags that depend on the task: its label column and the settings of its type."""
    from auricle.tasks.cards.registry import get_task

    named = value_of("--task", argv)
    fields: list[Any] = list(more)
    if (named is not None and "--help" not in argv and "-h" not in argv) or named in _names():
        card = get_task(str(named))
        label = tyro.conf.arg(help="Column of the corpus that holds the labels (or what the task's type reads).")
        fields.append(("label", Annotated[str, label], card.label))
        if dataclasses.fields(card.rule):
            fields.append(("rule", type(card.rule), card.rule))
    return dataclasses.make_dataclass(arguments.__name__, fields, bases=(arguments,), frozen=True)


def _names() -> set[str]:
    from auricle.tasks.cards.registry import tasks as known

    return {card.name for card in known()}


def _card(args: Any) -> Any:
    from auricle.tasks.cards.registry import get_task

    card = get_task(args.task)
    return card.replace(label=args.label, rule=getattr(args, "rule", card.rule))


@dataclasses.dataclass(frozen=True)
class TasksArguments:
    """What `auricle tasks` takes."""

    task: tyro.conf.Positional[str] = ""
    """One task, to see all of its card and the readers that serve it; none: a list of all."""


def tasks(argv: Sequence[str]) -> None:
    """List the tasks by type, or say everything about one: `auricle tasks [TASK]`."""
    args = parse(TasksArguments, argv, "tasks", "List the tasks that `auricle probe` knows, or describe one of them.")
    from auricle.tasks.cards.registry import get_task, render_card, render_cards

    if not args.task:
        Console().print(render_cards())
        return
    from auricle.tasks.types import task_type

    card = get_task(args.task)
    kind = task_type(card)
    Console().print(render_card(card))
    Console().print(f"--probes: {' '.join(kind.probes)}\n(without the flag: {' '.join(kind.default_probes)})")


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """What `auricle report` takes."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, shown side by side."""
    out: Path | None = None
    """HTML file to write; by default report.html in the first run folder."""


def report(argv: Sequence[str]) -> None:
    """Write one self-contained page: `auricle report RUN...`."""
    about = "Write one HTML page that opens offline: what was run, curves, results with controls, clips to listen to."
    args = parse(ReportArguments, argv, "report", about)
    from auricle.report.page import write_report

    if not args.runs:
        raise AuricleError("`auricle report` needs at least one run folder: auricle report RUN")
    print(write_report(args.runs, args.out or args.runs[0] / "report.html"))
