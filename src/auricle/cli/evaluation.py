"""Verbs about evaluation: `probe`, `finetune`, `tasks` and `report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from auricle.cli.arguments import (
    MODEL,
    ComputeArguments,
    DeviceArguments,
    FileArguments,
    ReadingArguments,
    TrustArguments,
    command,
    parse,
    value_of,
)
from auricle.errors import AuricleError
from auricle.results.record import CONTROL_NAMES


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeArguments(ReadingArguments, ComputeArguments, TrustArguments):
    """Arguments of `auricle probe`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=MODEL, metavar="MODEL")]
    task: str = ""
    """Task: `auricle tasks` lists them; `folder` takes any labelled folder or table."""
    suite: str = ""
    """Instead of a task: every task of a published suite whose data lies below --data: `hear`, `evar`, `xares`,
    `marble`, `superb`."""
    data: str | None = None
    """The task's audio; tasks on the built-in corpus need none. With --suite: the folder of all data sets."""
    segment: float | None = None
    """Cut longer recordings into segments of this many seconds, each with the labels of its recording."""
    hop: float | None = None
    """Seconds between the starts of two segments; by default --segment, without overlap."""
    probes: tuple[str, ...] = ()
    """Probes of the frozen tokens; by default those usual for the task's type; `auricle tasks TASK` lists all."""
    seeds: int = 3
    """Number of seeds of each probe (0, 1, 2, ...)."""
    protocol: str = "strict"
    """`strict`: ours; of labelled clips: `hear`, `hear_full`, `hear_raced`, `evar`, `xares`, `marble`, `superb`."""
    published_search: bool = False
    """Search as arXiv 2509.24901 does (25 Sobol points, 25 of TPE, the best 3 over 5 seeds) instead of a grid."""
    controls: tuple[Literal["random", "log-mel", "mfcc"], ...] = CONTROL_NAMES
    """Controls to evaluate as well: `random` weights of the same encoder, `log-mel` statistics, `mfcc` statistics."""
    no_controls: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Evaluate the model alone."""
    on_leak: Literal["warn", "refuse", "drop"] = "warn"
    """Test clips that are copies of training clips: `warn` notes it, `refuse` ends, `drop` removes them."""
    maps: bool = False
    """Fit binarised prototypes on the first fold and draw where in time and frequency they fire, for the report."""
    keep_heads: bool = False
    """Keep what was fitted on each fold with each seed, in `heads` beside the results: `auricle.models.load_head`."""
    out: Path | None = None
    """Folder of the results; by default RUN/probes/TASK (for other models: runs/MODEL/probes/TASK)."""


def probe(argv: Sequence[str]) -> None:
    """Evaluate a frozen encoder on a task."""
    about = (
        "Evaluate a frozen encoder on a task, beside random weights, log-mel and MFCC statistics. Settings are "
        "chosen on validation data inside the training part; the test part is scored once per seed. --rule.* are the "
        "settings of the task's type, --search.* those of the probes' search."
    )
    from auricle.probes.search.config import SearchConfig

    search = SearchConfig.published() if "--published-search" in argv else SearchConfig()
    args: Any = parse(with_card(ProbeArguments, argv, ("search", SearchConfig, search)), argv, "probe", about, brief=())
    if bool(args.task) == bool(args.suite):
        raise AuricleError("expected either --task or --suite: auricle probe MODEL --task esc10 --data FOLDER")
    from rich.console import Console

    from auricle.evaluation.driver import EvaluationConfig
    from auricle.results.export import render_results

    if args.protocol != "strict":
        if args.probes:
            raise AuricleError(f"protocol {args.protocol!r} has its own probes; leave --probes out")
        given = [flag for flag in argv if flag.startswith(("--seeds", "--published-search", "--search.", "--maps"))]
        if given:
            raise AuricleError(f"protocol {args.protocol!r} has its own seeds and search; leave {given[0]} out")
    if not args.controls:
        raise AuricleError("--controls names no control; name some of random, log-mel and mfcc, or set --no-controls")
    chosen = () if args.no_controls else args.controls
    config = EvaluationConfig(
        seeds=args.seeds,
        search=args.search,
        controls=chosen,
        device=args.device,
        on_leak=args.on_leak,
        keep_heads=args.keep_heads,
    )
    opening = {
        "precision": args.precision, "trust_remote_code": args.trust_remote_code, "features": args.features,
        "channel": args.channel, "time_expansion": args.time_expansion,
    }  # fmt: skip
    if args.suite:
        from auricle.kits.suites import run_suite

        if args.data is None:
            raise AuricleError("--suite needs --data: the folder that holds its data sets")
        if args.segment is not None or args.hop is not None or args.maps:
            raise AuricleError("--segment, --hop and --maps are for one task; name it with --task instead of --suite")
        found = run_suite(
            args.model, args.suite, args.data, protocol=args.protocol, probes=args.probes, config=config, out=args.out,
            command=command(), **opening,
        )  # fmt: skip
        Console().print(render_results(found.results))
        for task, reason in found.skipped.items():
            print(f"skipped {task}: {reason}")
        if not found.results:
            raise AuricleError(f"no task of suite {args.suite!r} could be evaluated with the data in {args.data}")
        return
    more = {"data": _audio(args), "config": config, "out": args.out, "command": command(), **opening}
    if args.protocol != "strict":
        from auricle.kits.evaluate import probe_by_protocol

        results = probe_by_protocol(args.model, task=card_of(args), protocol=args.protocol, **more)
    else:
        from auricle.evaluation.probing import probe as run

        results = run(args.model, task=card_of(args), probes=args.probes, maps=args.maps, **more)
    Console().print(render_results(results))


# Settings that the short help of `finetune` shows.
_FINETUNE = tuple(
    f"settings.{name}" for name in ("mode", "last_n", "lora_rank", "epochs", "batch", "lr", "head_lr", "precision")
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneArguments(ReadingArguments, DeviceArguments, TrustArguments):
    """Arguments of `auricle finetune`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=MODEL, metavar="MODEL")]
    task: str
    """Task of labelled clips: `auricle tasks` lists them; `folder` takes any labelled folder or table."""
    data: str | None = None
    """The task's audio; tasks on the built-in corpus need none."""
    seeds: int = 1
    """Number of seeds (0, 1, 2, ...)."""
    controls: bool = True
    """Fine-tune the same architecture from random weights as well."""
    on_leak: Literal["warn", "refuse", "drop"] = "warn"
    """Test clips that are copies of training clips: `warn` notes it, `refuse` ends, `drop` removes them."""
    save: bool = True
    """Keep the encoder and classifier with the best validation score in a folder below OUT/finetuned; every
    command takes it as MODEL."""
    out: Path | None = None
    """Folder of the results; by default RUN/finetune/TASK."""


def finetune(argv: Sequence[str]) -> None:
    """Train an encoder on labels."""
    from auricle.finetuning.config import FinetuneConfig

    about = (
        "Fine-tune an encoder on labelled clips: all of it, its last blocks, low-rank updates (LoRA), or only a head "
        "(--mode full|last_n|lora|head). The epoch is chosen on validation clips; folds and intervals are those of "
        "`auricle probe`, so that both can be compared clip by clip. A stopped run continues where it was."
    )
    settings = ("settings", Annotated[FinetuneConfig, tyro.conf.arg(name="")], FinetuneConfig())
    args: Any = parse(with_card(FinetuneArguments, argv, settings), argv, "finetune", about, brief=_FINETUNE)
    from rich.console import Console

    from auricle.finetuning.run import finetune as run
    from auricle.results.export import render_results

    results = run(
        args.model,
        task=card_of(args),
        data=_audio(args),
        channel=args.channel,
        time_expansion=args.time_expansion,
        out=args.out,
        config=args.settings,
        seeds=args.seeds,
        controls=args.controls,
        save=args.save,
        device=args.device,
        on_leak=args.on_leak,
        trust_remote_code=args.trust_remote_code,
        features=args.features,
        command=command(),
    )
    Console().print(render_results(results))


def with_card(arguments: type, argv: Sequence[str], *more: tuple[str, Any, Any], default: str | None = None) -> type:
    """Add the flags that depend on the task: its label column and the settings of its type.

    Args:
        arguments: of the verb.
        argv: its words; `--task` among them names the task.
        more: further fields: name, type, default.
        default: the task where none is named.
    """
    from auricle.tasks.cards.registry import CARDS, get_task
    from auricle.tasks.events.rule import EventsRule

    named = value_of("--task", argv) or default
    fields: list[Any] = list(more)
    if named is not None and (named in CARDS or not {"-h", "--help"} & set(argv)):
        card = get_task(named)
        label = tyro.conf.arg(help="Column of the corpus that holds the labels (or what the task's type reads).")
        fields.append(("label", Annotated[str, label], card.label))
        if isinstance(card.rule, EventsRule):
            complete = "Recordings without a row in the table of events have no events; by default nothing is known of "
            complete += "them, and they are excluded."
            complete_flag = tyro.conf.arg(help=complete)
            fields.append(("complete_annotation", Annotated[bool, complete_flag], card.rule.complete_annotation))
        if dataclasses.fields(card.rule):
            fields.append(("rule", type(card.rule), card.rule))
    return dataclasses.make_dataclass(arguments.__name__, fields, bases=(arguments,), frozen=True, kw_only=True)


def card_of(args: Any) -> Any:
    """Return the card of a verb's task, with the label column and the settings of its flags."""
    from auricle.tasks.cards.registry import get_task

    card = get_task(args.task)
    rule = getattr(args, "rule", card.rule)
    if getattr(args, "complete_annotation", False):
        rule = rule.replace(complete_annotation=True)
    return card.replace(label=args.label, rule=rule)


def _audio(args: Any) -> Any:
    """Return the data of a verb, cut into segments where it is asked for."""
    segment, hop = getattr(args, "segment", None), getattr(args, "hop", None)
    if segment is None and hop is not None:
        raise AuricleError("--hop needs --segment: the length of the segments")
    if segment is None:
        return args.data
    if args.data is None:
        raise AuricleError("--segment needs --data: the recordings that it changes")
    from auricle.corpus.sources import open_corpus

    return open_corpus(args.data).segments(segment, hop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TasksArguments(FileArguments):
    """Arguments of `auricle tasks`."""

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[TASK]")] = ""
    """Task to describe, with its probes; without it, all tasks are listed."""


def tasks(argv: Sequence[str]) -> None:
    """List the tasks by type, or describe one."""
    args = parse(TasksArguments, argv, "tasks", "List the tasks that `auricle probe` knows, or describe one of them.")
    from rich.console import Console

    from auricle.tasks.cards.registry import get_task, render_card, render_cards

    if not args.task:
        Console().print(render_cards())
        return
    from auricle.tasks.types import task_type

    card = get_task(args.task)
    kind = task_type(card)
    Console().print(render_card(card))
    Console().print(f"--probes: {' '.join(kind.probes)}\n(without the flag: {' '.join(kind.default_probes)})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportArguments(FileArguments):
    """Arguments of `auricle report`."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")] = ()
    """Run folders, shown side by side."""
    out: Path | None = None
    """HTML file to write; by default report.html in the first run folder."""


def report(argv: Sequence[str]) -> None:
    """Write one self-contained page."""
    about = "Write one HTML page that opens offline: settings, curves, results with controls, clips to listen to."
    args = parse(ReportArguments, argv, "report", about)
    from auricle.report.page import write_report

    if not args.runs:
        raise AuricleError("no run folder is named; expected auricle report RUN")
    print(write_report(args.runs, args.out or args.runs[0] / "report.html"))
