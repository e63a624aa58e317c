"""Average ranks over all tasks with Nemenyi's critical difference (Demšar, JMLR 2006).

Encoders are ranked by their mean over the probes that all share; probes by their mean over the encoders.
"""

from __future__ import annotations

from collections.abc import Sequence

from auricle.report.evidence import TaskEvidence
from auricle.report.figures import FigureBook, Trace, axis
from auricle.report.markup import Markup, element, plot_text
from auricle.results.ranks import LEVEL, Axis, Ranking, RankTable, rank_values

PROBE_COLOUR = "#4c78d8"


def rank_section(tasks: Sequence[TaskEvidence], book: FigureBook) -> Markup | None:
    """Draw critical-difference diagrams of encoders and of probes, or say why not; None where one task is all."""
    if len(tasks) < 2:
        return None
    parts = []
    axes: tuple[Axis, ...] = ("encoder", "probe")
    for what in axes:
        if len({entry.row if what == "encoder" else entry.probe for task in tasks for entry in task.entries}) < 2:
            continue
        table = average_ranks(tasks, what)
        if table.ranking is None or len(table.tasks) < 2:
            shared = f"{len(table.tasks)} of {len(tasks)} tasks ({', '.join(table.tasks) or 'none'})"
            why = [f"No average ranks of {what}s: they share {shared}.", *_sentences(table.notes)]
            parts.append(element("div", [element("p", line, class_="quiet") for line in why]))
            continue
        labels = {entry.row.label: entry.row.colour for task in tasks for entry in task.entries}
        figure = diagram(table.names, table.ranking, [labels.get(name, PROBE_COLOUR) for name in table.names], book)
        parts.append(
            element(
                "div",
                element("h4", f"Average ranks of {what}s"),
                book.show(figure, f"Average ranks of {what}s over {len(table.tasks)} tasks"),
                [element("p", line, class_="quiet") for line in _caption(table)],
            )
        )
    return element("article", parts) if parts else None


def average_ranks(tasks: Sequence[TaskEvidence], what: Axis) -> RankTable:
    """Rank encoders or probes on the tasks that have all of them, as `auricle results --ranks` does."""
    cells = [
        (task.condition, entry.row.label, entry.probe, entry.value)
        for task in tasks
        for entry in task.entries
        if entry.value is not None
    ]
    return rank_values(cells, what)


def alike(ranks: Sequence[float], difference: float) -> list[tuple[float, float]]:
    """Return the widest groups of neighbouring ranks within the critical difference, as (first, last) ranks."""
    ordered = sorted(ranks)
    groups: list[tuple[float, float]] = []
    for i, low in enumerate(ordered):
        last = max(j for j in range(i, len(ordered)) if ordered[j] - low <= difference)
        if last > i and (not groups or ordered[last] > groups[-1][1]):
            groups.append((low, ordered[last]))
    return groups


def diagram(names: Sequence[str], found: Ranking, colours: Sequence[str], book: FigureBook) -> int:
    """Draw a line for each system at its average rank; bars join ranks within the critical difference."""
    order = sorted(range(len(names)), key=lambda i: found.ranks[i])
    count = len(order)
    traces: list[Trace] = []
    for place, i in enumerate(order):
        height = -(place + 1)
        name = plot_text(names[i])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [found.ranks[i], found.ranks[i]],
                "y": [0, height],
                "line": {"color": colours[i], "width": 1.5},
                "marker": {"size": [0, 10], "color": colours[i]},
                "hovertemplate": f"{name}: average rank {found.ranks[i]:.2f}<extra></extra>",
                "showlegend": False,
            }
        )
    groups = alike(found.ranks, found.difference)
    for place, (low, high) in enumerate(groups):
        level = 0.35 + 0.35 * place
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "alike",
                "x": [low - 0.03, high + 0.03],
                "y": [level, level],
                "line": {"color": "#8c95a3", "width": 6},
                "hovertemplate": "no significant difference<extra></extra>",
                "showlegend": False,
            }
        )
    top = 0.6 + 0.35 * len(groups)
    span = min(found.difference, count - 1)
    traces.append(
        {
            "type": "scatter",
            "mode": "lines+text",
            "name": "critical difference",
            "x": [1, 1 + span, None, 1 + span / 2],
            "y": [top + 0.3, top + 0.3, None, top + 0.7],
            "text": ["", "", "", f"critical difference {found.difference:.2f}"],
            "textposition": "middle center",
            "cliponaxis": False,
            "line": {"color": "#d9506a", "width": 2},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    )
    return book.add(
        traces,
        height=int(130 + 28 * (count + top)),
        xaxis=axis(
            "average rank (1 is best)",
            range=[0.75, count + 0.25],
            tickvals=list(range(1, count + 1)),
            zeroline=False,
        ),
        yaxis=axis(
            range=[-count - 0.6, top + 1.2],
            tickvals=[-(place + 1) for place in range(count)],
            ticktext=[f"{plot_text(names[i])} · {found.ranks[i]:.2f}" for i in order],
            showgrid=False,
            zeroline=False,
            automargin=True,
        ),
        margin={"l": 20, "r": 12, "t": 8, "b": 40},
    )


def _caption(table: RankTable) -> list[str]:
    ranking, tasks = table.ranking, len(table.tasks)
    other = "probes that all encoders share" if table.axis == "encoder" else "encoders that all probes share"
    lines = [
        f"{tasks} tasks ({', '.join(table.tasks)}), each counted once with the mean over the {other}. Grey bars join "
        f"{table.axis}s whose ranks differ by no more than the critical difference (Nemenyi, {LEVEL})."
    ]
    if ranking is not None and ranking.p is not None:
        lines.append(f"Friedman's test of equal ranks: p = {ranking.p:.3f} (permutations within tasks).")
    return [*lines, *_sentences(table.notes)]


def _sentences(notes: Sequence[str]) -> list[str]:
    return [f"{note[0].upper()}{note[1:]}." for note in notes]
