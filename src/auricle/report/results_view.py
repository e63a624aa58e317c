"""The table of results and what lies behind each number: intervals, classes, confusions, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auricle.report.evidence import Entry, Row, TaskEvidence
from auricle.report.figures import FigureBook, Trace, axis
from auricle.report.markup import Markup, details, element, plot_text, table
from auricle.report.numbers import ABSENT, duration, number, percent, short
from auricle.report.run_data import Record

METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mAP": "mean average precision"}
HEARD = {
    True: ("heard", "heard", "The encoder was pre-trained on this audio, without its labels."),
    False: ("unheard", "never heard", "None of this audio was in the pre-training corpus."),
    None: ("unknown", "heard?", "The record does not say whether this audio was in the pre-training corpus."),
}


def badge(heard: Any) -> Markup:
    """Mark whether the encoder heard the task's audio in pre-training."""
    class_, text, title = HEARD[heard if isinstance(heard, bool) else None]
    return element("span", text, class_=f"badge {class_}", title=title)


def results_table(tasks: Sequence[TaskEvidence]) -> Markup:
    """One block of rows per task: encoder by probe, with intervals, the gain over random weights, and links."""
    probes = list(dict.fromkeys(probe for task in tasks for probe in task.probes))
    parts = []
    for task in tasks:
        first = task.first
        count = f"{short(first.get('clips'))} test clips" if first.get("clips") is not None else ""
        title = element("a", task.name, href=f"#{task.anchor}")
        metric = METRIC_NAMES.get(str(first.get("metric")), str(first.get("metric", "value")))
        about = element("span", f"{metric}, %; {count}; {first.get('protocol', '')}", class_="quiet")
        parts.append(
            element("tr", element("th", title, " ", about, colspan=len(probes) + 1, scope="rowgroup"), class_="group")
        )
        values = [e.value for e in task.cells.values() if e.value is not None]
        top = max(values, default=None)
        for row in task.rows:
            cells = [_cell(task, task.cells.get((row, probe)), top) for probe in probes]
            parts.append(element("tr", element("th", _row_head(task, row), scope="row"), cells))
    head = element("tr", element("th", "encoder"), [element("th", f"{probe} probe", scope="col") for probe in probes])
    shares = {number(e.record.get("confidence")) for task in tasks for e in task.cells.values()} - {None}
    covers = " and ".join(f"{100 * share:g} %" for share in sorted(s for s in shares if s is not None)) or "unstated"
    note = element(
        "p",
        f"In brackets: {covers} intervals. Below: gain over random weights with the same probe, in points; ",
        element("b", "▲", class_="clear"),
        " where the two intervals do not overlap. Underlined: the highest value of the task. "
        "Each number leads to its provenance.",
        class_="quiet",
    )
    grid = element("table", element("thead", head), element("tbody", parts), class_="results")
    return Markup(element("div", grid, class_="scroll") + note)


def _row_head(task: TaskEvidence, row: Row) -> Markup:
    dot = element("i", class_="dot", style=f"background:{row.colour}")
    heard = [e.record.get("heard") for (r, _), e in task.cells.items() if r == row]
    mark = (
        Markup(" " + badge(heard[0]))
        if row.role == "pretrained"
        else Markup(' <span class="badge control">control</span>')
    )
    return Markup(dot + element("span", row.label) + mark)


def _cell(task: TaskEvidence, entry: Entry | None, top: float | None) -> Markup:
    if entry is None:
        return element("td", element("span", "not run", class_="quiet"), class_="value")
    best = entry.value is not None and entry.value == top
    shown = element("a", percent(entry.value), href=f"#{entry.anchor}", class_="number best" if best else "number")
    spread = element("span", f"[{percent(entry.low)}, {percent(entry.high)}]", class_="interval")
    return element("td", shown, spread, _gain(task, entry), class_="value")


def _gain(task: TaskEvidence, entry: Entry) -> Markup | None:
    if entry.row.role != "pretrained":
        return None
    control = task.control(entry)
    if control is None:
        return element("span", "no control", class_="gain bad")
    if entry.value is None or control.value is None:
        return None
    points = 100 * (entry.value - control.value)
    clear = entry.low is not None and control.high is not None and entry.low > control.high
    worse = entry.high is not None and control.low is not None and entry.high < control.low
    sign = "▲ " if clear else "▼ " if worse else ""
    return element("span", f"{sign}{points:+.1f}", class_="gain clear" if clear else "gain bad" if worse else "gain")


def verdict(task: TaskEvidence) -> Markup:
    """Say in a sentence what the task shows."""
    best, random, plain = task.best("pretrained"), task.best("random"), task.best("log-mel")
    if best is None:
        return element("p", "No pre-trained encoder was read on this task yet.", class_="missing")
    parts = [f"Best: {best.row.label} with the {best.probe} probe, {percent(best.value)} %"]
    for name, entry in (("random weights", random), ("log-mel statistics", plain)):
        parts.append(
            f"{name} reach {percent(entry.value)} % ({entry.probe})" if entry else f"{name} were not read on this task"
        )
    return element("p", "; ".join(parts) + ".", class_="verdict")


def interval_figure(task: TaskEvidence, book: FigureBook) -> Markup:
    """Draw every value with its interval, one line per encoder and probe."""
    traces: list[Trace] = []
    ticks, names, place = [], [], 0.0
    for probe in reversed(task.probes):
        for row in reversed(task.rows):
            entry = task.cells.get((row, probe))
            if entry is None or entry.value is None:
                continue
            value = 100 * entry.value
            low = value - 100 * (entry.low if entry.low is not None else entry.value)
            high = 100 * (entry.high if entry.high is not None else entry.value) - value
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [value],
                    "y": [place],
                    "error_x": {"type": "data", "symmetric": False, "array": [high], "arrayminus": [low], "width": 4},
                    "marker": {
                        "color": row.colour,
                        "size": 10,
                        "symbol": "circle" if row.role == "pretrained" else "circle-open",
                        "line": {"width": 2},
                    },
                    "hovertemplate": f"{plot_text(row.label)}, {plot_text(probe)}: %{{x:.1f}} "
                    f"[{value - low:.1f}, {value + high:.1f}]<extra></extra>",
                    "showlegend": False,
                }
            )
            ticks.append(place)
            names.append(f"{plot_text(row.label)} · {plot_text(probe)}")
            place += 1
        place += 0.6
    figure = book.add(
        traces,
        height=int(70 + 24 * max(place, 2)),
        xaxis=axis(f"{METRIC_NAMES.get(str(task.first.get('metric')), '')}, %"),
        yaxis=axis(tickvals=ticks, ticktext=names, zeroline=False, automargin=True, showgrid=False),
        margin={"l": 20, "r": 12, "t": 8, "b": 40},
    )
    return book.show(figure, f"Values and intervals of {task.name}")


def class_section(task: TaskEvidence, book: FigureBook) -> Markup:
    """Per-class results of every encoder, a chart per probe and the numbers in a table."""
    choices = []
    order = [e.probe for e in [task.best("pretrained")] if e] + task.probes
    for probe in dict.fromkeys(order):
        figure = _class_figure(task, probe, book)
        if figure is not None:
            choices.append((f"{probe} probe", figure))
    if not choices:
        return element("p", "No per-class results were recorded for this task.", class_="missing")
    best = task.best("pretrained") or next(iter(task.cells.values()))
    per_class: dict[str, Any] = best.record.get("per_class") or {}
    columns = list(dict.fromkeys(key for numbers in per_class.values() for key in numbers))
    rows = [
        [name, *(_class_number(key, numbers.get(key)) for key in columns)]
        for name, numbers in sorted(per_class.items(), key=lambda item: -(_headline(item[1]) or 0.0))
    ]
    numbers_table = details(
        f"Numbers of {best.row.label} with the {best.probe} probe", table(["class", *columns], rows)
    )
    return Markup(book.choose(choices, f"Per-class results of {task.name}") + numbers_table)


def _class_number(key: str, value: Any) -> str:
    found = number(value)
    if found is None:
        return ABSENT
    return percent(found) if key in {"ap", "recall", "precision", "f1"} else short(value)


def _headline(numbers: Record) -> float | None:
    for key in ("ap", "f1", "recall", "accuracy"):
        found = number(numbers.get(key))
        if found is not None:
            return found
    return None


def _class_figure(task: TaskEvidence, probe: str, book: FigureBook) -> int | None:
    rows = [
        row
        for row in task.rows
        if (task.cells[row, probe].record.get("per_class") if (row, probe) in task.cells else None)
    ]
    if not rows:
        return None
    leader = next((row for row in rows if row.role == "pretrained"), rows[-1])
    scores = {row: {c: _headline(n) for c, n in task.cells[row, probe].record["per_class"].items()} for row in rows}
    classes = sorted(scores[leader], key=lambda c: (scores[leader][c] is not None, scores[leader][c] or 0.0))
    metric = "average precision" if task.first.get("kind") == "multi" else "F1"
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": plot_text(row.label),
            "x": [None if scores[row].get(c) is None else 100 * (scores[row][c] or 0.0) for c in classes],
            "y": [plot_text(c) for c in classes],
            "marker": {
                "color": row.colour,
                "size": 11 if row.role == "pretrained" else 8,
                "symbol": "circle" if row.role == "pretrained" else "circle-open",
                "line": {"width": 2},
            },
            "hovertemplate": "%{y}: %{x:.1f}<extra>" + plot_text(row.label) + "</extra>",
        }
        for row in rows
    ]
    return book.add(
        traces,
        height=110 + 20 * len(classes),
        showlegend=True,
        xaxis=axis(f"{metric}, %", range=[-2, 102]),
        yaxis=axis(automargin=True, type="category"),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 20, "r": 12, "t": 50, "b": 40},
    )


def confusion_section(task: TaskEvidence, book: FigureBook) -> Markup:
    """Confusion matrices: rows are the truth, each row sums to 100 %."""
    if task.first.get("kind") == "multi":
        return element("p", "A clip may carry several labels here: there is no confusion matrix.", class_="quiet")
    entries = [e for e in task.cells.values() if e.record.get("confusion")]
    entries.sort(key=lambda e: (e.row.role != "pretrained", -(e.value or 0.0)))
    if not entries:
        return element("p", "No confusion matrix was recorded for this task.", class_="missing")
    choices = [(f"{e.row.label}, {e.probe} probe ({percent(e.value)} %)", _confusion(e, book)) for e in entries]
    return element("div", book.choose(choices, f"Confusion matrix of {task.name}"), class_="matrix")


def _confusion(entry: Entry, book: FigureBook) -> int:
    matrix = [[number(v) or 0.0 for v in row] for row in entry.record["confusion"]]
    names = [plot_text(c) for c in entry.record.get("classes") or range(len(matrix))]
    shares = [[100 * v / sum(row) if sum(row) else None for v in row] for row in matrix]
    trace: Trace = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares,
        "customdata": [[round(v, 2) for v in row] for row in matrix],
        "zmin": 0,
        "zmax": 100,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "hovertemplate": "%{y} taken for %{x}: %{z:.1f} % (%{customdata} clips)<extra></extra>",
    }
    if len(names) <= 24:
        trace["text"] = [[f"{v:.0f}" if v and v >= 0.5 else "" for v in row] for row in shares]
        trace["texttemplate"] = "%{text}"
    size = 130 + 27 * len(names)
    return book.add(
        [trace],
        height=min(size, 900),
        xaxis=axis("taken for", type="category", automargin=True, tickangle=-40, showgrid=False),
        yaxis=axis("truth", type="category", automargin=True, autorange="reversed", showgrid=False),
        margin={"l": 20, "r": 12, "t": 8, "b": 20},
    )


def provenance(task: TaskEvidence) -> Markup:
    """Everything that is known about how each number of a task came about."""
    newest = sorted(task.cells.values(), key=lambda e: (task.rows.index(e.row), task.probes.index(e.probe)))
    parts = [_provenance_of(entry) for entry in newest]
    if task.older:
        parts.append(element("h5", "Displaced by a newer record of the same encoder and probe"))
        parts.extend(_provenance_of(entry) for entry in task.older)
    return Markup("".join(parts))


def _provenance_of(entry: Entry) -> Markup:
    r = entry.record
    summary = f"{entry.row.label} · {entry.probe}: {percent(entry.value)} [{percent(entry.low)}, {percent(entry.high)}]"
    total = f" of {short(r['clips_total'])}" if r.get("clips_total") is not None else ""
    facts: list[tuple[str, Any]] = [
        ("command", element("code", r.get("command", "not recorded"))),
        ("run folder", entry.run),
        ("made", f"{r.get('made', ABSENT)}, in {duration(r.get('seconds'))}"),
        ("interval", r.get("interval", "not recorded")),
        ("split", r.get("split", "not recorded")),
        ("test clips scored", f"{short(r.get('clips'))}{total}"),
        ("per fold", _listed(r.get("per_fold"), r.get("fold_names"))),
        ("per seed", _listed(r.get("per_seed"), r.get("seeds"))),
        ("all metrics", ", ".join(f"{k} {percent(v)}" for k, v in (r.get("metrics") or {}).items())),
        ("settings tried", f"{short(r.get('tried'))} per fold, chosen on validation clips"),
        ("settings searched", short(r.get("settings") or {})),
        ("refit", "yes: on training and validation clips" if r.get("refit") else "no"),
        ("probe parameters", short(r.get("params"))),
        ("encoder fingerprint", element("code", r.get("encoder_fingerprint", "not recorded"))),
        ("corpus", [r.get("corpus", "?"), " ", element("code", r.get("corpus_fingerprint", "not recorded"))]),
        ("audio heard in pre-training", HEARD[r["heard"] if isinstance(r.get("heard"), bool) else None][2]),
        ("versions", short(r.get("versions") or {})),
    ]
    rows = [[element("th", name, scope="row"), value] for name, value in facts]
    chosen = [c for c in r.get("chosen") or [] if isinstance(c, dict)]
    keys = list(dict.fromkeys(key for c in chosen for key in c))
    settings = table(keys, [[short(c.get(key)) for key in keys] for c in chosen]) if chosen else None
    notes = [element("p", "Note: ", note, class_="quiet") for note in r.get("notes") or []]
    missing = r.get("missing") or {}
    broken = (
        details(f"{len(missing)} clips could not be read", table(["file", "reason"], missing.items()))
        if missing
        else None
    )
    return details(
        summary,
        table(["", ""], rows, class_="facts"),
        element("h6", "Chosen settings") if settings else None,
        settings,
        notes,
        broken,
        class_="provenance",
        id_=entry.anchor,
    )


def _listed(values: Any, names: Any) -> str:
    if not values:
        return "not recorded"
    names = names if isinstance(names, list) and len(names) == len(values) else range(1, len(values) + 1)
    return ", ".join(f"{name}: {percent(value)}" for name, value in zip(names, values, strict=True))
