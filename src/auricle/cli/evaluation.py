"""Verbs about evaluation: `probe`, `tasks` and `report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from auricle.cli.arguments import command, no_arguments, parse
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
    """Readers of the frozen tokens; by default those usual for the type of task; `auricle tasks` lists all."""
    seeds: int = 3
    """Seeds of each probe (0, 1, 2, ...)."""
    controls: bool = True
    """Probe the random-weight encoder and the log-mel statistics beside the run."""
    out: Path | None = None
    """Where results go; by default RUN/probes/TASK (for `module:Class`: runs/module-Class/probes/TASK)."""


def probe(argv: Sequence[str]) -> None:
    """Find out what an encoder is good for: `auricle probe RUN --task esc10 --data FOLDER`."""
    about = (
        "Probe a frozen encoder on a task, beside its random-weight control and log-mel statistics. Settings are "
        "chosen on validation data inside the training part; the test part is scored once per seed."
    )
    from auricle.probes import SearchConfig

    search = ("search", SearchConfig, SearchConfig())
    args: Any = parse(
        dataclasses.make_dataclass("ProbeArguments", [search], bases=(ProbeArguments,), frozen=True),
        argv,
        "probe",
        about,
    )
    from auricle.corpus.sources import open_corpus
    from auricle.studies.probing import probe as run
    from auricle.studies.tables import render_results

    if args.cut is not None and args.data is None:
        raise AuricleError("--cut needs --data: name the audio that is to be cut")
    results = run(
        args.run,
        task=args.task,
        data=args.data if args.cut is None else open_corpus(args.data).cut(args.cut),
        probes=args.probes,
        seeds=tuple(range(args.seeds)),
        controls=args.controls,
        search=args.search,
        out=args.out,
        command=command(),
    )
    Console().print(render_results(results))


def tasks(argv: Sequence[str]) -> None:
    """List the tasks with their corpora, protocols, metrics and licences."""
    no_arguments("tasks", argv, "List the tasks that `auricle probe` knows.")
    from auricle.tasks.cards import render_cards

    Console().print(render_cards())


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
