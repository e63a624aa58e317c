"""The table of results, a summary of each task, and every value with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from auricle.report.evidence import Entry, Row, TaskEvidence
from auricle.report.figures import FigureBook, Trace, axis, marker
from auricle.report.markup import Markup, element, plot_text
from auricle.report.numbers import number, short
from auricle.report.provenance_view import badge
from auricle.results.caveats import BASELINE, MEANING, explained, features_read, marks
from auricle.results.record import CONTROL_NAMES, CONTROLS
from auricle.words import plural


def results_table(tasks: Sequence[TaskEvidence]) -> Markup:
    """Make a table per type of task, a block of rows per task: encoder by probe, with intervals, gains and links."""
    types = list(dict.fromkeys(task.type_name for task in tasks))
    parts = []
    for name in types:
        mine = [task for task in tasks if task.type_name == name]
        title = element("h4", name.replace("_", " ").capitalize()) if len(types) > 1 else None
        parts.append([title, element("div", _table_of(mine), class_="scroll")])
    shares = {number(e.record.get("confidence")) for task in tasks for e in task.cells.values()} - {None}
    covers = " and ".join(f"{100 * share:g} %" for share in sorted(s for s in shares if s is not None)) or "unstated"
    counted = " or ".join(dict.fromkeys(task.measure.points for task in tasks))
    turned = " (positive is better, also where lower values are better)" if any(t.measure.lower for t in tasks) else ""
    signs = dict.fromkeys(sign for task in tasks for e in task.cells.values() for sign in marks(e.record))
    note = element(
        "p",
        f"In brackets: {covers} intervals. Third line: gain over random weights with the same probe, "
        f"in {counted}{turned}, and the 95 % interval of the paired difference on the same test units; ",
        element("b", "▲", class_="clear"),
        " or ",
        element("b", "▼", class_="bad"),
        " where it excludes zero. Without this interval: predictions were not kept, or test units are too few. "
        "Underlined: the best value of the task. Click a number for its provenance. ",
        element("b", "seen"),
        " or ",
        element("b", "not seen"),
        ": whether the pre-training corpus held the task's audio, without its labels. ",
        f"{BASELINE[0].upper()}{BASELINE[1:]}." if any(task.constants for task in tasks) else None,
        class_="quiet",
    )
    marked = [
        element("p", element("b", sign), f" {MEANING[sign]} (the section of the task says which).", class_="quiet")
        for sign in signs
    ]
    return Markup("".join(element("div", part) for part in parts) + note + "".join(marked))


def _table_of(tasks: Sequence[TaskEvidence]) -> Markup:
    probes = list(dict.fromkeys(probe for task in tasks for probe in task.probes))
    parts = []
    for task in tasks:
        # One part, which stays in view where the table scrolls sideways.
        title = element(
            "span", element("a", task.name, href=f"#{task.anchor}"), element("i", _about(task), class_="quiet")
        )
        parts.append(element("tr", element("th", title, colspan=len(probes) + 1, scope="rowgroup"), class_="group"))
        for name, values in task.constants.items():
            cells = [element("td", task.measure.text(values.get(probe)), class_="value") for probe in probes]
            head = element("th", f"{name} ", element("span", "baseline", class_="badge control"), scope="row")
            parts.append(element("tr", head, cells))
        top = max((task.merit(e) for e in task.cells.values() if e.value is not None), default=None)
        for row in task.rows:
            cells = [_cell(task, task.cells.get((row, probe)), top) for probe in probes]
            parts.append(element("tr", element("th", _row_head(task, row), scope="row"), cells))
    suffix = " probe" if tasks[0].type_name == "clips" else ""
    head = element("tr", element("th", "encoder"), [element("th", f"{p}{suffix}", scope="col") for p in probes])
    return element("table", element("thead", head), element("tbody", parts), class_="results")


def _about(task: TaskEvidence) -> str:
    first = task.first
    unit, units = "test clip" if task.type_name == "clips" else "test unit", number(first.get("clips"))
    count = "" if units is None else "1 " + unit if units == 1 else f"{short(int(units))} {plural(unit)}"
    name = str(first.get("protocol_name") or "strict")
    named = "" if name == "strict" else f"{name} protocol"
    return "; ".join(part for part in (task.measure.about, count, str(first.get("protocol", "")), named) if part)


def _row_head(task: TaskEvidence, row: Row) -> Markup:
    dot = element("i", class_="dot", style=f"background:{row.colour}")
    seen = [e.record.get("seen") for (r, _), e in task.cells.items() if r == row]
    mark = (
        Markup(" " + badge(seen[0]))
        if row.role == "pretrained"
        else Markup(' <span class="badge control">control</span>')
    )
    return Markup(dot + element("span", row.label) + mark)


def _cell(task: TaskEvidence, entry: Entry | None, top: float | None) -> Markup:
    if entry is None:
        return element("td", element("span", "not run", class_="quiet"), class_="value")
    measure = task.measure
    best = entry.value is not None and task.merit(entry) == top
    sign = element("sup", *marks(entry.record)) if marks(entry.record) else None
    shown = element(
        "a", measure.text(entry.value), sign, href=f"#{entry.anchor}", class_="number best" if best else "number"
    )
    spread = None
    if entry.low is not None and entry.high is not None:
        spread = element("span", f"[{measure.text(entry.low)}, {measure.text(entry.high)}]", class_="interval")
    return element("td", shown, spread, _gain(task, entry), class_="value")


def _gain(task: TaskEvidence, entry: Entry) -> Markup | None:
    if entry.row.role != "pretrained":
        return None
    control = task.control(entry)
    if control is None:
        # The output beside other features has no control of its own.
        beside = any(r.role == "random" for r, probe in task.cells if probe == entry.probe)
        return None if beside else element("span", "no control", class_="gain bad")
    if entry.value is None or control.value is None:
        return None
    text, ahead = _difference(task, entry, control)
    sign, class_ = {1: ("▲ ", " clear"), -1: ("▼ ", " bad")}.get(ahead or 0, ("", ""))
    return element("span", sign, text, class_=f"gain{class_}")


def _difference(task: TaskEvidence, entry: Entry, rival: Entry) -> tuple[str, int | None]:
    """Return a gain with the interval of the paired difference, and its sign: 0 where the interval includes zero.

    Without predictions of both on enough test units there is no interval, and the sign is None.
    """
    text = task.measure.gain(entry.value or 0.0, rival.value or 0.0)
    pair, info = task.paired(entry, rival), task.condition.info
    if pair is None:
        return text, None
    ends = f"[{info.text(pair.low, plus=True)}, {info.text(pair.high, plus=True)}]"
    return f"{text} {ends}", (1 if pair.low > 0 else -1) if pair.clear else 0


def summary(task: TaskEvidence) -> Markup:
    """Compare the best pre-trained value with the best of each control, in a sentence."""
    best = task.best("pretrained")
    if best is None:
        return element("p", "No pre-trained encoder was evaluated on this task yet.", class_="missing")
    measure = task.measure
    probe = f"the {best.probe} probe" if task.type_name == "clips" else best.probe
    parts = [f"Best pre-trained: {best.row.label} with {probe}, {measure.full(best.value)}"]
    rivals = [(CONTROLS[role], task.best(role)) for role in CONTROL_NAMES]
    for name, rival in rivals:
        if rival is not None:
            parts.append(_standing(task, best, rival, f"{name} ({measure.full(rival.value)}, {rival.probe})"))
    absent = " or ".join(name for name, rival in rivals if rival is None)
    if absent:
        parts.append(f"no result of {absent}")
    lower = " Lower is better." if measure.lower else ""
    return element("p", "; ".join(parts) + "." + lower, class_="verdict")


def _standing(task: TaskEvidence, entry: Entry, rival: Entry, name: str) -> str:
    ahead = (entry.value or 0.0) - (rival.value or 0.0)
    # Above or below would mislead where lower values are better.
    words = ("worse than", "better than") if task.measure.lower else ("above", "below")
    text, sign = _difference(task, entry, rival)
    caveat = ", without a paired comparison" if sign is None else "" if sign else ", which includes zero"
    return f"{'equal to' if ahead == 0 else words[0] if ahead > 0 else words[1]} {name}: {text}{caveat}"


def caveat_section(task: TaskEvidence) -> Markup | None:
    """List what the marks of a task's values mean, and what was read of its encoders; None where all is usual."""
    records = [entry.record for entry in task.entries]
    shown = [
        element("p", element("b", sign), f" {words}.", class_="missing") for sign, words in explained(records).items()
    ]
    shown += [element("p", f"{note[0].upper()}{note[1:]}.", class_="quiet") for note in features_read(records)]
    return Markup("".join(shown)) if shown else None


def interval_figure(task: TaskEvidence, book: FigureBook) -> Markup:
    """Draw every value with its interval, one line per encoder and probe."""
    traces: list[Trace] = []
    ticks, names, place = [], [], 0.0
    measure = task.measure
    for probe in reversed(task.probes):
        for row in reversed(task.rows):
            entry = task.cells.get((row, probe))
            if entry is None or entry.value is None:
                continue
            value = measure.factor * entry.value
            low = value - measure.factor * (entry.low if entry.low is not None else entry.value)
            high = measure.factor * (entry.high if entry.high is not None else entry.value) - value
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [value],
                    "y": [place],
                    "error_x": {"type": "data", "symmetric": False, "array": [high], "arrayminus": [low], "width": 4},
                    "marker": marker(row.colour, control=row.role != "pretrained", size=10),
                    "hovertemplate": f"{plot_text(row.label)}, {plot_text(probe)}: {measure.text(entry.value)} "
                    f"[{measure.text(entry.low)}, {measure.text(entry.high)}]<extra></extra>",
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
        xaxis=axis(measure.about),
        yaxis=axis(tickvals=ticks, ticktext=names, zeroline=False, automargin=True, showgrid=False),
        margin={"l": 20, "r": 12, "t": 8, "b": 40},
    )
    return book.show(figure, f"Values and intervals of {task.name}")
