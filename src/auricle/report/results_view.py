"""The table of results, and figures of what lies behind each number: intervals, classes, confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auricle.report.evidence import Entry, Row, TaskEvidence
from auricle.report.figures import FigureBook, Trace, axis
from auricle.report.markup import Markup, details, element, plot_text, table
from auricle.report.numbers import ABSENT, number, percent, short
from auricle.report.provenance_view import badge
from auricle.report.run_data import Record

METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mAP": "mean average precision"}


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
    """Say in a sentence what the task shows: the best pre-trained value against the best of each control."""
    best = task.best("pretrained")
    if best is None:
        return element("p", "No pre-trained encoder was read on this task yet.", class_="missing")
    parts = [f"Best pre-trained: {best.row.label} with the {best.probe} probe, {percent(best.value)} %"]
    for role, name in (("random", "random weights"), ("log-mel", "log-mel statistics")):
        rival = task.best(role)
        if rival is None:
            parts.append(f"{name} were not read on this task")
        else:
            parts.append(f"{_standing(best, rival)} {name} ({percent(rival.value)} %, {rival.probe})")
    return element("p", "; ".join(parts) + ".", class_="verdict")


def _standing(entry: Entry, rival: Entry) -> str:
    ahead = (entry.value or 0.0) - (rival.value or 0.0)
    winner, loser = (entry, rival) if ahead > 0 else (rival, entry)
    apart = winner.low is not None and loser.high is not None and winner.low > loser.high
    if ahead == 0:
        return "equal to"
    return f"{'above' if ahead > 0 else 'below'}{'' if apart else ', with overlapping intervals,'}"


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
