"""Who is ahead over all tasks: average ranks with Nemenyi's critical difference (Demšar, JMLR 2006).

Ranks are of encoders, by their mean over the probes that all share; and of probes, by their mean over encoders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import rankdata, studentized_range

from auricle.report.evidence import TaskEvidence
from auricle.report.figures import FigureBook, Trace, axis
from auricle.report.markup import Markup, element, plot_text

LEVEL = 0.05


@dataclass(frozen=True)
class Ranks:
    """Average ranks of systems over tasks, 1 is best."""

    names: list[str]
    colours: list[str]
    ranks: list[float]
    tasks: list[str]
    left_out: list[str]

    @property
    def difference(self) -> float:
        """Nemenyi's critical difference of two average ranks: `q sqrt(k (k + 1) / 6 n)`."""
        k, n = len(self.names), len(self.tasks)
        q = float(studentized_range.ppf(1 - LEVEL, k, math.inf)) / math.sqrt(2)
        return q * math.sqrt(k * (k + 1) / (6 * n))


def rank_section(tasks: Sequence[TaskEvidence], book: FigureBook) -> Markup | None:
    """Critical-difference diagrams of encoders and of probes; None where no two tasks can be ranked together."""
    parts = []
    for what in ("encoders", "probes"):
        found = average_ranks(tasks, what)
        if found is None or len(found.tasks) < 2:
            continue
        figure = diagram(found, book)
        parts.append(
            element(
                "div",
                element("h4", f"Average ranks of {what}"),
                book.show(figure, f"Average ranks of {what} over {len(found.tasks)} tasks"),
                [element("p", line, class_="quiet") for line in _words(found, what, tasks)],
            )
        )
    return element("article", parts) if parts else None


def average_ranks(tasks: Sequence[TaskEvidence], what: str) -> Ranks | None:
    """Rank encoders or probes on every task that has all of them.

    A system or task with most gaps is dropped first, until the table is whole: ranks need every cell.
    """
    tables: dict[str, dict[str, dict[str, float]]] = {}
    colours: dict[str, str] = {}
    for task in tasks:
        for entry in task.entries:
            if entry.value is None:
                continue
            system, reader = (entry.row.label, entry.probe) if what == "encoders" else (entry.probe, entry.row.label)
            tables.setdefault(task.name, {}).setdefault(system, {})[reader] = task.merit(entry)
            colours.setdefault(system, entry.row.colour if what == "encoders" else "#4c78d8")
    systems, names = list(colours), list(tables)
    dropped: list[str] = []

    def serves(task: str) -> bool:
        readers = [set(tables[task].get(system, {})) for system in systems]
        return bool(set.intersection(*readers))

    while names and systems and not all(serves(task) for task in names):
        task_gaps = {t: sum(s not in tables[t] for s in systems) / len(systems) + 1e-6 * (not serves(t)) for t in names}
        system_gaps = {s: sum(s not in tables[t] for t in names) / len(names) for s in systems}
        worst_task, worst_system = max(names, key=task_gaps.__getitem__), max(systems, key=system_gaps.__getitem__)
        if len(systems) > 2 and system_gaps[worst_system] > task_gaps[worst_task]:
            systems.remove(worst_system)
            dropped.append(worst_system)
        else:
            names.remove(worst_task)
            dropped.append(worst_task)
    if not names or len(systems) < 2:
        return None
    ranks = []
    for name in names:
        shared = set.intersection(*(set(tables[name][system]) for system in systems))
        means = [sum(tables[name][system][r] for r in shared) / len(shared) for system in systems]
        ranks.append(rankdata([-m for m in means]))
    average = [float(sum(r[i] for r in ranks) / len(ranks)) for i in range(len(systems))]
    return Ranks(systems, [colours[s] for s in systems], average, names, dropped)


def alike(ranks: Sequence[float], difference: float) -> list[tuple[float, float]]:
    """Return the widest groups of neighbouring ranks within the critical difference, as (first, last) ranks."""
    ordered = sorted(ranks)
    groups: list[tuple[float, float]] = []
    for i, low in enumerate(ordered):
        last = max(j for j in range(i, len(ordered)) if ordered[j] - low <= difference)
        if last > i and (not groups or ordered[last] > groups[-1][1]):
            groups.append((low, ordered[last]))
    return groups


def diagram(found: Ranks, book: FigureBook) -> int:
    """Draw the diagram: a line a system at its average rank; bars join those that can't be told apart."""
    order = sorted(range(len(found.names)), key=lambda i: found.ranks[i])
    count = len(order)
    traces: list[Trace] = []
    for place, i in enumerate(order):
        height = -(place + 1)
        name = plot_text(found.names[i])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [found.ranks[i], found.ranks[i]],
                "y": [0, height],
                "line": {"color": found.colours[i], "width": 1.5},
                "marker": {"size": [0, 10], "color": found.colours[i]},
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
                "hovertemplate": "can't be told apart<extra></extra>",
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
            "x": [1, 1 + span / 2, 1 + span],
            "y": [top + 0.3] * 3,
            "text": ["", f"critical difference {found.difference:.2f}", ""],
            "textposition": "top center",
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
            ticktext=[f"{plot_text(found.names[i])} · {found.ranks[i]:.2f}" for i in order],
            showgrid=False,
            zeroline=False,
            automargin=True,
        ),
        margin={"l": 20, "r": 12, "t": 8, "b": 40},
    )


def _words(found: Ranks, what: str, tasks: Sequence[TaskEvidence]) -> list[str]:
    each = "the mean over the readers that all share" if what == "encoders" else "the mean over the encoders of all"
    lines = [
        f"{len(found.tasks)} tasks ({', '.join(found.tasks)}), each counted once with {each}. Grey bars join {what} "
        f"whose ranks differ by no more than the critical difference (Nemenyi, {LEVEL})."
    ]
    if found.difference >= len(found.names) - 1:
        lines.append(
            f"With {len(found.tasks)} tasks no two of {len(found.names)} can be told apart by their ranks, whatever "
            f"they are: the largest difference there can be is {len(found.names) - 1}."
        )
    corpora = {str(t.first.get("corpus_fingerprint")) for t in tasks if t.name in found.tasks}
    if len(corpora) < len(found.tasks):
        lines.append(f"These tasks stand on {len(corpora)} corpora: they are not independent evidence.")
    if found.left_out:
        lines.append(f"Left out, as not all tasks have them or they have not all: {', '.join(found.left_out)}.")
    return lines
