"""Curves over label budgets, layers and thresholds, and a heat map of all encoders and probes."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

from auricle.report.evidence import Entry, TaskEvidence
from auricle.report.figures import FigureBook, Trace, axis, marker
from auricle.report.markup import Markup, element, plot_text
from auricle.report.numbers import number
from auricle.report.run_data import Record
from auricle.words import counted

DET_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
LEAST_CELLS = 6  # below this, the table of results shows as much as a heat map


def curve_sections(task: TaskEvidence, book: FigureBook) -> Markup:
    """Show all curves that the records of a task hold, each with its heading."""
    parts = []
    for title, key, draw, note in (
        ("Label budget", "budget_curve", _budget, BUDGET_NOTE),
        ("Layer by layer", "layer_curve", _layers, LAYER_NOTE),
        ("Misses against false alarms (DET)", "det_curve", _det, DET_NOTE),
    ):
        shown = _by_probe(task, key, book, draw)
        if shown is not None:
            parts += [element("h4", title), element("div", shown, class_=key), element("p", note, class_="quiet")]
    return Markup("".join(parts))


BUDGET_NOTE = (
    "Labelled training clips of each class, drawn anew several times (small dots: single draws). Bars: interval over "
    "test clips."
)
LAYER_NOTE = (
    "A probe fitted at each layer. Bars: interval of the test value; dotted: validation score, which "
    "chose the layer (ringed) in each fold."
)
DET_NOTE = (
    "Both axes are scaled so that normally distributed scores give straight lines. A curve meets the grey diagonal at "
    "its equal error rate."
)

Draw = Callable[[TaskEvidence, list[tuple[Entry, list[Record]]], FigureBook], int]


def _points(entry: Entry, key: str) -> list[Record]:
    found = entry.record.get("details")
    listed = found.get(key) if isinstance(found, dict) else None
    return [p for p in listed if isinstance(p, dict)] if isinstance(listed, list) else []


def _by_probe(task: TaskEvidence, key: str, book: FigureBook, draw: Draw) -> Markup | None:
    """Draw one figure a probe, with a menu, the probe of the best value first."""
    best = task.best("pretrained")
    order = [best.probe] if best is not None else []
    choices = []
    for probe in dict.fromkeys([*order, *task.probes]):
        found = [(e, _points(e, key)) for e in task.entries if e.probe == probe]
        found = [(e, points) for e, points in found if points]
        if found:
            choices.append((probe, draw(task, found, book)))
    return book.choose(choices, f"{key.replace('_', ' ')} of {task.name}") if choices else None


def _line(entry: Entry, x: list[Any], y: list[float | None], **more: Any) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plot_text(entry.row.label),
        "x": x,
        "y": y,
        "line": {"color": entry.row.colour, "width": 2},
        "marker": marker(entry.row.colour, control=entry.row.role != "pretrained", size=8),
        **more,
    }


def _spread(task: TaskEvidence, points: list[Record]) -> Trace:
    """Make error bars from a curve's `low` and `high`; none where an end is undefined."""
    up, down = [], []
    for p in points:
        value, low, high = (task.measure.shown(p.get(k)) for k in ("value", "low", "high"))
        up.append(high - value if value is not None and high is not None else 0.0)
        down.append(value - low if value is not None and low is not None else 0.0)
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "width": 3, "thickness": 1.2}


def _budget(task: TaskEvidence, found: list[tuple[Entry, list[Record]]], book: FigureBook) -> int:
    measure = task.measure
    traces: list[Trace] = []
    ticks: set[float] = set()
    for entry, points in found:
        points = [p for p in points if (number(p.get("budget")) or 0) > 0]
        budgets = [float(p["budget"]) for p in points]
        ticks |= set(budgets)
        values = [measure.shown(p.get("value")) for p in points]
        name = plot_text(entry.row.label)
        hover = f"%{{x}} clips a class: %{{y:{measure.pattern}}}<extra>{name}</extra>"
        traces.append(_line(entry, budgets, values, error_y=_spread(task, points), hovertemplate=hover))
        drawn = [(p["budget"], measure.shown(v)) for p in points for v in p.get("draws") or []]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [b for b, _ in drawn],
                "y": [v for _, v in drawn],
                "marker": {"color": entry.row.colour, "size": 4, "opacity": 0.6},
                "showlegend": False,
                "hoverinfo": "skip",
            }
        )
    listed = sorted(ticks)
    return book.add(
        traces,
        height=380,
        showlegend=True,
        legend=LEGEND,
        xaxis=axis(
            "labelled clips of each class",
            type="log",
            tickvals=listed,
            ticktext=[f"{t:g}" for t in listed],
            zeroline=False,
        ),
        yaxis=axis(measure.about),
        margin={"l": 50, "r": 12, "t": 50, "b": 45},
    )


def _layers(task: TaskEvidence, found: list[tuple[Entry, list[Record]]], book: FigureBook) -> int:
    measure = task.measure
    traces: list[Trace] = []
    for entry, points in found:
        points = [p for p in points if number(p.get("layer")) is not None]
        layers = [p["layer"] for p in points]
        values = [measure.shown(p.get("value")) for p in points]
        name = plot_text(entry.row.label)
        hover = f"layer %{{x}}: %{{y:{measure.pattern}}}<extra>{name}</extra>"
        # The ring around a chosen layer is the larger, the more folds chose it.
        chosen = [number(p.get("chosen")) or 0.0 for p in points]
        most = max(chosen, default=0.0) or 1.0
        traces.append(_line(entry, layers, values, error_y=_spread(task, points), hovertemplate=hover))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [x for x, c in zip(layers, chosen, strict=True) if c],
                "y": [y for y, c in zip(values, chosen, strict=True) if c],
                "marker": {
                    "size": [13 + 6 * c / most for c in chosen if c],
                    "symbol": "circle-open",
                    "color": entry.row.colour,
                    "line": {"width": 2},
                },
                "text": [f"chosen in {counted(int(c), 'fold')}" for c in chosen if c],
                "hovertemplate": f"layer %{{x}}: %{{text}}<extra>{name}</extra>",
                "showlegend": False,
            }
        )
        valid = [measure.shown(p.get("validation")) for p in points]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{name}, validation",
                "x": layers,
                "y": valid,
                "line": {"color": entry.row.colour, "width": 1.2, "dash": "dot"},
                "opacity": 0.7,
                "showlegend": False,
                "hovertemplate": f"layer %{{x}}, validation: %{{y:{measure.pattern}}}<extra>{name}</extra>",
            }
        )
    return book.add(
        traces,
        height=380,
        showlegend=True,
        legend=LEGEND,
        xaxis=axis("layer", dtick=1, zeroline=False),
        yaxis=axis(measure.about),
        margin={"l": 50, "r": 12, "t": 50, "b": 45},
    )


def _det(task: TaskEvidence, found: list[tuple[Entry, list[Record]]], book: FigureBook) -> int:
    normal = NormalDist()
    traces: list[Trace] = []
    ends = [1.0, 0.0]
    for entry, points in found:
        trials = (entry.record.get("details") or {}).get("trials") or {}
        pairs = [(number(p.get("false_alarm")), number(p.get("miss"))) for p in points]
        x, y, text = [], [], []
        for alarm, miss in pairs:
            # No error in n trials has no place on a normal axis; half an error has.
            if alarm is None or miss is None:
                continue
            fixed = [_inside(alarm, trials.get("nontarget")), _inside(miss, trials.get("target"))]
            ends = [min(ends[0], *fixed), max(ends[1], *fixed)]
            x.append(normal.inv_cdf(fixed[0]))
            y.append(normal.inv_cdf(fixed[1]))
            text.append(f"{100 * alarm:.2f} % false alarms, {100 * miss:.2f} % misses")
        hover = f"%{{text}}<extra>{plot_text(entry.row.label)}</extra>"
        traces.append(_line(entry, x, list(y), mode="lines", text=text, hovertemplate=hover))
    if ends[0] >= ends[1]:
        ends = [0.01, 0.5]
    span = [normal.inv_cdf(ends[0]) - 0.1, min(normal.inv_cdf(ends[1]), normal.inv_cdf(0.95)) + 0.1]
    same: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "equal errors",
        "x": span,
        "y": span,
        "line": {"color": "#8c95a3", "width": 1, "dash": "dot"},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    ticks = [t for t in DET_TICKS if span[0] <= normal.inv_cdf(t) <= span[1]]
    marks = {
        "tickvals": [normal.inv_cdf(t) for t in ticks],
        "ticktext": [f"{100 * t:g}" for t in ticks],
        "range": span,
        "zeroline": False,
    }
    return book.add(
        [*traces, same],
        height=520,
        showlegend=True,
        legend=LEGEND,
        xaxis=axis("false alarms, %", **marks),
        yaxis=axis("misses, %", scaleanchor="x", **marks),
        margin={"l": 50, "r": 12, "t": 50, "b": 45},
    )


def _inside(share: float, trials: Any) -> float:
    least = 0.5 / max(1.0, number(trials) or 1000.0)
    return min(max(share, least), 1 - least)


def heat_section(task: TaskEvidence, book: FigureBook) -> Markup | None:
    """Draw all encoders by all probes of a task as a heat map; None where there are few."""
    if len(task.cells) < LEAST_CELLS or len(task.rows) < 2 or len(task.probes) < 2:
        return None
    measure = task.measure
    rows, probes = list(reversed(task.rows)), task.probes
    grid = [[task.cells.get((row, probe)) for probe in probes] for row in rows]
    values = [[None if e is None else measure.shown(e.value) for e in line] for line in grid]
    text = [["" if e is None else measure.text(e.value) for e in line] for line in grid]
    spread = [
        [
            "not run" if e is None else f"{measure.full(e.value)} [{measure.text(e.low)}, {measure.text(e.high)}]"
            for e in line
        ]
        for line in grid
    ]
    trace: Trace = {
        "type": "heatmap",
        "x": [plot_text(p) for p in probes],
        "y": [plot_text(row.label) for row in rows],
        "z": values,
        "text": text,
        "texttemplate": "%{text}",
        "customdata": spread,
        "hovertemplate": "%{y}, %{x}: %{customdata}<extra></extra>",
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
        "reversescale": measure.lower,
        "meta": "values",
    }
    figure = book.add(
        [trace],
        height=80 + 34 * len(rows),
        xaxis=axis(type="category", showgrid=False, tickangle=-30 if len(probes) > 6 else 0),
        yaxis=axis(type="category", showgrid=False),
        margin={"l": 20, "r": 12, "t": 8, "b": 30},
    )
    note = f"{measure.about}; a stronger colour is better."
    shown = book.show(figure, f"All encoders by all probes of {task.name}")
    return Markup(element("h4", "Encoders by probes") + shown + element("p", note, class_="quiet"))
