"""The classes of a task one by one, and their confusion matrix."""

from __future__ import annotations

from typing import Any

from auricle.report.evidence import Entry, TaskEvidence
from auricle.report.figures import FigureBook, Trace, axis, marker
from auricle.report.markup import Markup, details, element, plot_text, table
from auricle.report.numbers import ABSENT, Measure, by_name, number, short
from auricle.report.run_data import Record

NO_CLASSES = "No per-class results were recorded for this task."
COUNTS = frozenset({"clips", "positives", "queries", "events", "segments", "units", "trials", "utterances", "words"})
CLASS_TITLES = {"ap": "average precision, %", "f1": "F1, %", "recall": "recall, %"}


def class_section(task: TaskEvidence, book: FigureBook) -> Markup | None:
    """Show per-class results of every encoder: a chart per probe, and the numbers in a table.

    None for types of tasks that have no classes.
    """
    choices = []
    order = [e.probe for e in [task.best("pretrained")] if e] + task.probes
    for probe in dict.fromkeys(order):
        figure = _class_figure(task, probe, book)
        if figure is not None:
            choices.append((_probe_name(task, probe), figure))
    if not choices:
        return None if task.type_name != "clips" else element("p", NO_CLASSES, class_="missing")
    best = task.best("pretrained") or next(iter(task.cells.values()))
    per_class: dict[str, Any] = best.record.get("per_class") or {}
    columns = list(dict.fromkeys(key for numbers in per_class.values() for key in numbers))
    best_key = _shown_key(best)
    rows = [
        [name, *(_class_number(key, numbers.get(key)) for key in columns)]
        for name, numbers in sorted(per_class.items(), key=lambda item: -(number(item[1].get(best_key)) or 0.0))
    ]
    numbers_table = details(
        f"Numbers of {best.row.label}, {_probe_name(task, best.probe)}", table(["class", *columns], rows)
    )
    return Markup(book.choose(choices, f"Per-class results of {task.name}") + numbers_table)


def _probe_name(task: TaskEvidence, probe: str) -> str:
    return f"{probe} probe" if task.type_name == "clips" else probe


def _class_number(key: str, value: Any) -> str:
    found = number(value)
    if found is None:
        return ABSENT
    return short(found) if key in COUNTS else by_name(key, found)


def _shown_key(entry: Entry) -> str:
    """Return which number of each class to draw: the headline metric if classes have it, else the usual one."""
    per_class: dict[str, Record] = entry.record.get("per_class") or {}
    there = list(dict.fromkeys(key for numbers in per_class.values() for key in numbers if key not in COUNTS))
    wanted = (str(entry.record.get("metric")), "ap", "f1", "recall", "accuracy", *there)
    return next((key for key in wanted if key in there), "")


def _class_figure(task: TaskEvidence, probe: str, book: FigureBook) -> int | None:
    rows = [
        row
        for row in task.rows
        if (task.cells[row, probe].record.get("per_class") if (row, probe) in task.cells else None)
    ]
    if not rows:
        return None
    leader = next((row for row in rows if row.role == "pretrained"), rows[-1])
    key = _shown_key(task.cells[leader, probe])
    measure = Measure.of(key)
    scores = {
        row: {c: measure.shown(n.get(key)) for c, n in task.cells[row, probe].record["per_class"].items()}
        for row in rows
    }
    classes = sorted(scores[leader], key=lambda c: (scores[leader][c] is not None, scores[leader][c] or 0.0))
    title = CLASS_TITLES.get(key, measure.label)
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": plot_text(row.label),
            "x": [scores[row].get(c) for c in classes],
            "y": [plot_text(c) for c in classes],
            "marker": marker(row.colour, control=row.role != "pretrained", size=11 if row.role == "pretrained" else 8),
            "hovertemplate": f"%{{y}}: %{{x:{measure.pattern}}}<extra>" + plot_text(row.label) + "</extra>",
        }
        for row in rows
    ]
    return book.add(
        traces,
        height=110 + 20 * len(classes),
        showlegend=True,
        xaxis=axis(title, **({"range": [-2, 102]} if measure.unit == "%" else {})),
        yaxis=axis(automargin=True, type="category"),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 20, "r": 12, "t": 50, "b": 40},
    )


def confusion_section(task: TaskEvidence, book: FigureBook) -> Markup | None:
    """Show confusion matrices, rows are the truth and sum to 100 %; None for tasks of other types without any."""
    if task.first.get("kind") == "multi":
        return element("p", "Clips have several labels: there is no confusion matrix.", class_="quiet")
    entries = [e for e in task.cells.values() if e.record.get("confusion")]
    entries.sort(key=lambda e: (e.row.role != "pretrained", -task.merit(e)))
    if not entries and task.type_name != "clips":
        return None
    if not entries:
        return element("p", "No confusion matrix was recorded for this task.", class_="missing")
    measure = task.measure
    choices = [
        (f"{e.row.label}, {_probe_name(task, e.probe)} ({measure.full(e.value)})", _confusion(e, book)) for e in entries
    ]
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
        "hovertemplate": "%{y} predicted as %{x}: %{z:.1f} % (%{customdata} clips)<extra></extra>",
    }
    if len(names) <= 24:
        trace["text"] = [[f"{v:.0f}" if v and v >= 0.5 else "" for v in row] for row in shares]
        trace["texttemplate"] = "%{text}"
    size = 130 + 27 * len(names)
    return book.add(
        [trace],
        height=min(size, 900),
        xaxis=axis("prediction", type="category", automargin=True, tickangle=-40, showgrid=False),
        yaxis=axis("truth", type="category", automargin=True, autorange="reversed", showgrid=False),
        margin={"l": 20, "r": 12, "t": 8, "b": 20},
    )
