"""The report: one HTML page that holds everything it shows and opens without a network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from auricle.report.audio_text_view import audio_text_section
from auricle.report.classes_view import class_section, confusion_section
from auricle.report.clips_view import ClipBook, map_section
from auricle.report.curves_view import curves_section
from auricle.report.document import document, packaged
from auricle.report.evidence import TaskEvidence, gather
from auricle.report.figures import COLOURS, FigureBook
from auricle.report.markup import Markup, details, element, script_json
from auricle.report.prototypes_view import prototype_section
from auricle.report.provenance_view import badge, provenance
from auricle.report.ranks_view import rank_section
from auricle.report.results_view import caveat_section, interval_figure, results_table, summary
from auricle.report.run_data import Record, RunData, read_runs
from auricle.report.run_view import run_section
from auricle.report.task_curves_view import curve_sections, heat_section
from auricle.report.timelines_view import detection_section, timeline_section
from auricle.storage import write_atomic


def write_report(runs: Sequence[str | Path], out: str | Path, *, title: str | None = None) -> Path:
    """Write the report of one run, or of several side by side.

    Args:
        runs: run folders. These files are read: `recipe.json`, `corpus.json`, `environment.json`, `metrics.jsonl`,
            `events.log`; in `probes/<task>/`: `results.jsonl`, `map*.json`, `events*.json`, `prototypes*.json`;
            `zero-shot/*.json` and `text-retrieval/*.json`; `detection/shown.json`. The page lists what is missing.
        out: the HTML file, or a folder, which gets a `report.html`.
        title: heading of the page; the runs' names if None.

    Returns:
        The file, written whole or not at all.

    Raises:
        CheckpointError: a run folder is missing or holds nothing to report.
        StorageError: the page can't be written.

    Examples:
        >>> import auricle
        >>> page = auricle.write_report(["runs/mine"], "report.html")  # doctest: +SKIP
    """
    found = read_runs([Path(run) for run in runs])
    page = build_page(found, title)
    target = Path(out)
    if target.is_dir() or target.suffix.lower() not in {".html", ".htm"}:
        target = target / "report.html"
    write_atomic(target, page.encode("utf-8", errors="replace"), "free some space or set another --out")
    return target


def build_page(runs: Sequence[RunData], title: str | None = None) -> str:
    """Return the whole page as text."""
    book, clips = FigureBook(), ClipBook()
    tasks = gather(runs)
    training = curves_section(runs, book)
    sections = [
        *detection_section(runs, book),
        ("results", "Results", _results(tasks)),
        *_ranks(tasks, book),
        ("runs", "Runs", _runs(runs)),
        ("training", "Training", training),
        *((task.anchor, f"Task: {task.name}", _task(task, runs, book, clips)) for task in tasks),
        *_maps_without_results(tasks, runs, book, clips),
        *_audio_text(runs),
        ("provenance", "Provenance", _provenance(tasks)),
    ]
    heading = title or " · ".join(run.name for run in runs)
    links = [element("a", name.removeprefix("Task: "), href=f"#{anchor}") for anchor, name, _ in sections]
    body = [element("section", element("h2", name), content, id_=anchor) for anchor, name, content in sections]
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return document(
        f"auricle report: {heading}",
        element("header", element("h1", heading), element("p", f"auricle report, {made}"), class_="top"),
        element("nav", element("div", links)),
        element("main", body),
        element("footer", "This page is self-contained: it loads nothing."),
        element("script", script_json(book.figures), type="application/json", id_="figures"),
        element("script", script_json(clips.groups), type="application/json", id_="clips"),
        element("script", Markup(get_plotlyjs())) if book.figures else None,
        element("script", packaged("page.js")),
    )


def _results(tasks: Sequence[TaskEvidence]) -> Markup:
    if not tasks:
        return element(
            "p",
            "No results yet: these encoders were not evaluated on any task. Run ",
            element("code", "auricle probe RUN --task NAME --data FOLDER"),
            " and write the report again.",
            class_="missing",
        )
    return element("div", results_table(tasks), class_="card")


def _ranks(tasks: Sequence[TaskEvidence], book: FigureBook) -> list[tuple[str, str, Markup]]:
    found = rank_section(tasks, book)
    return [] if found is None else [("ranks", "Ranks over tasks", found)]


def _audio_text(runs: Sequence[RunData]) -> list[tuple[str, str, Markup]]:
    found = audio_text_section(runs)
    return [] if found is None else [("audio-text", "Audio and text", found)]


def _runs(runs: Sequence[RunData]) -> Markup:
    shown = [run_section(run, COLOURS[place % len(COLOURS)]) for place, run in enumerate(runs)]
    return element("div", shown, class_="runs")


def _task(task: TaskEvidence, runs: Sequence[RunData], book: FigureBook, clips: ClipBook) -> Markup:
    seen = {entry.record.get("seen") for entry in task.cells.values() if entry.row.role == "pretrained"}
    # Where the encoders differ in this, the table has a mark for each.
    mark = badge(seen.pop()) if len(seen) == 1 else None
    classes, confusion = class_section(task, book), confusion_section(task, book)
    lists = element(
        "div",
        element("div", element("h4", "Every value with its interval"), interval_figure(task, book)),
        element("div", element("h4", "Per class"), classes) if classes else None,
        class_="pair",
    )
    maps = _maps(task, runs, book, clips)
    return element(
        "article",
        summary(task),
        caveat_section(task),
        element("p", "Audio of this task: ", mark, class_="quiet") if mark else None,
        lists,
        heat_section(task, book),
        curve_sections(task, book),
        timeline_section(task, [each for run in runs for each in _of(task, run.examples)], book),
        [element("h4", "Confusion"), confusion] if confusion else None,
        prototype_section([each for run in runs for each in _of(task, run.prototypes)]),
        [element("h4", "Map of embeddings"), maps] if maps else None,
    )


def _of(task: TaskEvidence, held: dict[str, list[Record]]) -> list[Record]:
    """Return the files beside the results of a task that are of the same corpus."""
    mine = task.condition.corpus_fingerprint
    return [
        each
        for each in held.get(task.condition.task, [])
        if not mine or not each.get("corpus_fingerprint") or each["corpus_fingerprint"] == mine
    ]


def _maps(task: TaskEvidence, runs: Sequence[RunData], book: FigureBook, clips: ClipBook) -> Markup | None:
    found = [map_section(each, run.name, book, clips) for run in runs for each in _of(task, run.maps)]
    if not found and task.type_name == "clips":
        return element("p", "No map of embeddings was made for this task.", class_="missing")
    return Markup("".join(found)) if found else None


def _maps_without_results(
    tasks: Sequence[TaskEvidence], runs: Sequence[RunData], book: FigureBook, clips: ClipBook
) -> list[tuple[str, str, Markup]]:
    known = {task.condition.task for task in tasks}
    names = list(dict.fromkeys(name for run in runs for name in run.maps if name not in known))
    return [
        (
            f"map-{place}",
            f"Map: {name}",
            element("article", [map_section(m, run.name, book, clips) for run in runs for m in run.maps.get(name, [])]),
        )
        for place, name in enumerate(names)
    ]


def _provenance(tasks: Sequence[TaskEvidence]) -> Markup:
    if not tasks:
        return element("p", "There are no numbers yet.", class_="missing")
    parts = [details(task.name, provenance(task), open=len(tasks) == 1) for task in tasks]
    return element("article", element("p", "The command, data and settings behind each number.", class_="quiet"), parts)
