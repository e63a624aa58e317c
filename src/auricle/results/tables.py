"""Results as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from auricle.results.record import Result

ROLES = {"log-mel": 0, "random": 1, "pretrained": 2}
ROLES_SAID = {"log-mel": "log-mel", "random": "random weights"}


def render_results(results: Sequence[Result]) -> Group:
    """Return one table per task: a row per encoder (controls first), a column per probe, values in percent.

    Below each: what the interval is, how clips were divided, and what a reader must know.
    """
    shown: list[Table | Text] = []
    for task in dict.fromkeys(r.task for r in results):
        here = [r for r in results if r.task == task]
        shown += [_table(task, here), _caption(here)]
    return Group(*shown)


def interval_text(result: Result) -> str:
    """Return `87.3 [84.0, 90.5]`: shares in percent, other metrics in their own unit."""
    low, high = _number(result.low, result.unit), _number(result.high, result.unit)
    ends = f" [{low}, {high}]" if math.isfinite(result.low) else ""
    return _number(result.value, result.unit) + ends


def _table(task: str, results: Sequence[Result]) -> Table:
    first = results[0]
    unit = f" in {first.unit}" if first.unit else ""
    lower = " (lower is better)" if first.better == "lower" else ""
    table = Table(title=Text(f"{task}: {first.metric}{unit}{lower}"), title_justify="left")
    table.add_column("encoder", overflow="fold")
    probes = list(dict.fromkeys(r.probe for r in results))
    for probe in probes:
        table.add_column(probe, justify="right", no_wrap=True)
    rows = sorted({(ROLES.get(r.role, 3), r.encoder, r.encoder_fingerprint) for r in results})
    for role, encoder, fingerprint in rows:
        mine = {r.probe: r for r in results if r.encoder_fingerprint == fingerprint}
        seen = any(r.seen for r in mine.values())
        name = Text(encoder + (" (heard this audio, without labels)" if seen else ""))
        cells = [Text(interval_text(mine[p])) if p in mine else Text("-") for p in probes]
        table.add_row(name, *cells, style="bold" if role == 2 else None)
    return table


def _caption(results: Sequence[Result]) -> Text:
    first = results[0]
    seeds = max(len(r.seeds) for r in results)
    lines = [
        f"{first.clips} of {first.clips_total} test {_units(first)}; {first.split}; mean over {seeds} seed(s).",
        f"Intervals: {first.confidence:.0%}, {first.interval}.",
    ]
    shared = [n for n in dict.fromkeys(first.notes) if all(n in r.notes for r in results)]
    lines += [f"Note: {note}." for note in shared]
    for note in dict.fromkeys(n for r in results for n in r.notes if n not in shared):
        whose = [f"{r.probe} on {ROLES_SAID.get(r.role, r.encoder)}" for r in results if note in r.notes]
        lines.append(f"Note ({', '.join(whose[:4])}{' and others' if len(whose) > 4 else ''}): {note}.")
    if first.protocol_name != "strict":
        lines.append(f"Protocol: {first.protocol_name}.")
    lines += [f"Flatters: {leak}." for leak in dict.fromkeys(leak for r in results for leak in r.leaks)]
    if first.missing:
        file, reason = next(iter(first.missing.items()))
        lines.append(f"Not read: {len(first.missing)} clips, the first {file!r}: {reason}")
    return Text("\n".join(lines) + "\n", style="dim")


def _units(result: Result) -> str:
    return "clips" if result.type_name == "clips" else f"units of {result.type_name}"


def _number(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f}" if unit == "%" else f"{value:.3g}"
