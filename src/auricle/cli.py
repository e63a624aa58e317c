"""The command line. Each verb calls one public function.

Heavy imports happen inside the verbs, so that `--help` answers at once and so that the thread policy is in the
environment before torch reads it.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

# OpenMP threads that spin while waiting make two processes on the same cores 10 to 100 times slower than one;
# this must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import tyro
from rich.console import Console

from auricle.config import nearest
from auricle.errors import AuricleError

Arguments = TypeVar("Arguments")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _parse(arguments: type[Arguments], argv: Sequence[str], verb: str, about: str) -> Arguments:
    return tyro.cli(arguments, args=list(argv), prog=f"auricle {verb}", description=about)


@dataclasses.dataclass(frozen=True)
class ScanArguments:
    """What `auricle corpus scan` takes."""

    path: tyro.conf.Positional[str]
    """Folder of audio, table (CSV, Parquet), folder of shards, `hub:user/name` or `builtin:scenes`."""
    out: Path | None = None
    """Where the table of clips goes; by default `auricle-corpus.parquet` in the folder itself."""
    exclude: tuple[str, ...] = ()
    """Corpora (sub-folders with a metadata.csv of their own) to leave out."""


def corpus(argv: Sequence[str]) -> None:
    """Look at recordings before training: `auricle corpus scan PATH`."""
    if not argv or argv[0] != "scan":
        if argv and argv[0] not in ("-h", "--help"):
            raise AuricleError(f"`auricle corpus` has no command {argv[0]!r}{nearest(argv[0], ['scan'])}")
        print("usage: auricle corpus scan PATH [--out TABLE.parquet]\n\nauricle corpus scan --help says more.")
        return
    args = _parse(
        ScanArguments,
        argv[1:],
        "corpus scan",
        "Read every recording once: counts, hours, rates, durations, label balance, duplicates, silent and broken "
        "files with the reason. Writes the table of clips, which every other command takes as --data.",
    )
    from auricle.corpus.scan import scan

    report = scan(args.path, out=args.out, exclude=args.exclude)
    report.render(Console())


def pretrain(argv: Sequence[str]) -> None:
    """Pre-train an encoder: `auricle pretrain audiomosaic --data FOLDER --out RUN`."""
    from auricle.recipes import get_recipe
    from auricle.recipes import pretrain as run
    from auricle.recipes import recipes as registered

    # The recipe's own fields are flags with its values as defaults, so it has to be known before the rest is read.
    name = argv[0] if argv and not argv[0].startswith("-") else registered()[0].name
    size = _value_of("--size", argv) or "tiny"
    recipe = get_recipe(name, size)
    arguments = dataclasses.make_dataclass(
        "PretrainArguments",
        [
            (
                "method",
                Annotated[tyro.conf.Positional[str], tyro.conf.arg(help="Recipe; `auricle recipes` lists them.")],
            ),
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
                "exclude",
                Annotated[tuple[str, ...], tyro.conf.arg(help="Corpora (sub-folders of the data) to leave out.")],
                (),
            ),
            (
                "resume",
                Annotated[bool, tyro.conf.arg(help="Continue the run in --out to the numbers it would have had.")],
                False,
            ),
            # Without a prefix: its fields are flags of the first level.
            ("recipe", Annotated[type(recipe), tyro.conf.arg(name="")], recipe),
        ],
        frozen=True,
    )
    about = (
        "Pre-train an encoder on audio without labels. Every field of the recipe can be set; "
        f"the defaults shown are those of {recipe.name}, size {size}. A killed run continues with --resume."
    )
    args: Any = _parse(arguments, argv, "pretrain", about)
    if args.method != recipe.name:
        # The flags above are those of the recipe that stands first; any other place is a slip.
        get_recipe(args.method, args.size)
        raise AuricleError(f"name the recipe first: auricle pretrain {args.method} --data ... --out ...")
    run(args.recipe, args.data, args.out, resume=args.resume, exclude=args.exclude)


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
    return None


@dataclasses.dataclass(frozen=True)
class EmbedArguments:
    """What `auricle embed` takes."""

    run: tyro.conf.Positional[Path]
    """Run folder, or one of its checkpoints."""
    data: str
    """Folder of audio, table or shards: anything that `auricle corpus scan` reads."""
    out: Path
    """Parquet file to write: one row per clip with its table columns and `embedding`, a list of floats."""
    batch: int = 16
    """Clips encoded at once, at most."""
    cut: float | None = None
    """Cut longer recordings into clips of this many seconds: one row per piece, with its `start` and `seconds`."""


def embed(argv: Sequence[str]) -> None:
    """Turn clips into vectors: `auricle embed RUN --data FOLDER --out FILE.parquet`."""
    about = "Encode every clip once and write one row per clip, with the clip's columns and its embedding."
    args = _parse(EmbedArguments, argv, "embed", about)
    from auricle.corpus.sources import open_corpus
    from auricle.recipes.load import load
    from auricle.tokens.embeddings import embed_corpus

    clips = open_corpus(args.data)
    if args.cut is not None:
        clips = clips.cut(args.cut)
    table = embed_corpus(load(args.run), clips, args.out, batch=args.batch)
    print(f"{table.clips} clips, {table.width} numbers each: {args.out}")
    for file, reason in table.broken.items():
        print(f"skipped {file!r}: {reason}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class ProbeArguments:
    """What `auricle probe` takes."""

    run: tyro.conf.Positional[Path]
    """Run folder of a pre-trained encoder."""
    task: str
    """Task: `auricle tasks` lists them; `folder` takes any labelled folder or table."""
    data: str | None = None
    """The task's audio; tasks on the built-in corpus need none."""
    cut: float | None = None
    """Cut longer recordings of the data into clips of this many seconds, each with its recording's labels."""
    probes: tuple[str, ...] = ("linear", "mhca", "protobin")
    """Readers of the frozen tokens."""
    seeds: int = 3
    """Seeds of each probe (0, 1, 2, ...)."""
    controls: bool = True
    """Probe the random-weight encoder and the log-mel statistics beside the run."""
    out: Path | None = None
    """Where results go; by default RUN/probes/TASK."""


def probe(argv: Sequence[str]) -> None:
    """Find out what an encoder is good for: `auricle probe RUN --task esc10 --data FOLDER`."""
    about = (
        "Probe a frozen encoder on a task, beside its random-weight control and log-mel statistics. Settings are "
        "chosen on validation data inside the training part; the test part is scored once per seed."
    )
    from auricle.probes import SearchConfig

    search = ("search", SearchConfig, SearchConfig())
    args: Any = _parse(
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
        command=_command(),
    )
    Console().print(render_results(results))


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
    args = _parse(ReportArguments, argv, "report", about)
    from auricle.report.page import write_report

    if not args.runs:
        raise AuricleError("`auricle report` needs at least one run folder: auricle report RUN")
    print(write_report(args.runs, args.out or args.runs[0] / "report.html"))


def recipes(argv: Sequence[str]) -> None:
    """List the recipes with their sizes, papers and deviations."""
    _no_arguments("recipes", argv, "List the recipes that `auricle pretrain` knows.")
    from rich.table import Table

    from auricle.recipes import get_recipe
    from auricle.recipes import recipes as registered

    console = Console()
    for entry in registered():
        example = get_recipe(entry.name, entry.sizes[0])
        console.print(f"[bold]{entry.name}[/]: {entry.summary}")
        console.print(f"{example.reference.title} (arXiv {example.reference.arxiv})")
        table = Table("size", "steps", "batch", "seconds", "deviations from the publication")
        for size in entry.sizes:
            made = get_recipe(entry.name, size)
            deviations = "\n".join(f"- {text}" for text in made.deviations)
            table.add_row(size, str(made.train.steps), str(made.loader.batch), f"{made.window.seconds:g}", deviations)
        console.print(table)


def tasks(argv: Sequence[str]) -> None:
    """List the tasks with their corpora, protocols, metrics and licences."""
    _no_arguments("tasks", argv, "List the tasks that `auricle probe` knows.")
    from auricle.tasks.cards import render_cards

    Console().print(render_cards())


def _no_arguments(verb: str, argv: Sequence[str], about: str) -> None:
    @dataclasses.dataclass
    class Nothing:
        pass

    _parse(Nothing, argv, verb, about)


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
    args = _parse(DemoArguments, argv, "demo", about)
    from auricle.demo import demo as run
    from auricle.studies.tables import render_results

    results, page = run(args.out, minutes=args.minutes)
    console = Console()
    console.print(render_results(results))
    console.print(
        "Two minutes of pre-training show how it works, not what it can do: here the controls are as good. What fifty "
        "minutes on real audio buy is in benchmarks/foundation.md.\n"
    )
    console.print(f"report: {page.resolve()}", soft_wrap=True)


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "corpus": corpus,
    "pretrain": pretrain,
    "embed": embed,
    "probe": probe,
    "report": report,
    "recipes": recipes,
    "tasks": tasks,
    "demo": demo,
}


def _command() -> str:
    return shlex.join(["auricle", *sys.argv[1:]])


def _overview() -> str:
    lines = [
        "usage: auricle COMMAND ...",
        "",
        "Pre-train, probe and compare self-supervised audio encoders.",
        "",
    ]
    lines += [f"  {name:<10}{(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items()]
    lines += ["", "`auricle COMMAND --help` says more."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a mistake that the user can mend, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"auricle {version('auricle')}")
        return 0
    try:
        if words[0] not in VERBS:
            raise AuricleError(f"no command {words[0]!r}{nearest(words[0], VERBS)}")
        VERBS[words[0]](words[1:])
    except AuricleError as error:
        print(f"auricle: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        remedy = "free some space or write elsewhere" if error.errno in FULL else "check the path"
        print(f"auricle: {error.strerror or error}{where}: {remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("auricle: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
