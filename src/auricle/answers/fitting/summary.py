"""What a fitted model says of itself, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from auricle.metrics.catalogue import described
from auricle.words import counted


def render_card(card: Mapping[str, Any], folder: Path | str) -> Group:
    """Return probe, thresholds, calibration and expected performance of a fitted model, for a terminal.

    Args:
        card: `Model.card`.
        folder: of the model.
    """
    parts: list[Any] = []
    if "probe" in card:
        parts.append(Text(f"probe: {card['probe']['name']}" + _candidates(card["probe"])))
    if card.get("few_labels"):
        parts.append(Text(f"few labels: {card['few_labels']}"))
    if card.get("calibration"):
        parts.append(Text(_calibration(card)))
    expected = card.get("expected")
    if expected and expected.get("decisions"):
        parts.append(_decisions(card, expected["decisions"]))
    if card.get("per_class"):
        parts.append(_machines(card))
    if expected and "metric" in expected:
        parts.append(Text(_headline(expected)))
    if expected and "false_alarms" in expected:
        parts.append(Text(f"expected false alarms: {_share(expected['false_alarms'])}, asked {expected['asked']:g}"))
    if expected and "false_accepts" in expected:
        shares = f"false accepts {_share(expected['false_accepts'])}, misses {_share(expected['misses'])}"
        parts.append(Text(f"threshold for {card['goal']}: {card['accept']:.3g}; on test trials {shares}"))
    parts.append(Text(f"used: {card['used']}"))
    parts.append(Text(f"saved in {folder}: auricle predict {folder} --data RECORDINGS --out hits.csv"))
    return Group(*parts)


def _candidates(probe: Mapping[str, Any]) -> str:
    means = {name: value for name, value in probe.get("candidates", {}).items() if value is not None}
    if len(means) < 2:
        return ""
    return f" ({probe['metric']} on validation clips: " + ", ".join(f"{n} {v:.3f}" for n, v in means.items()) + ")"


def _calibration(card: Mapping[str, Any]) -> str:
    found = card["calibration"]
    words = f"calibration: {found['method']} ({found['why']})"
    test = card.get("expected", {}).get("reliability")
    if test:
        words += (
            f"; calibration error on test clips {test['before']['ece']:.3f} before, {test['after']['ece']:.3f} after"
        )
    return words


def _headline(expected: Mapping[str, Any]) -> str:
    info = described(expected["metric"])
    value = "-" if expected["value"] is None else info.text(expected["value"])
    if expected["low"] is None or expected["high"] is None:
        interval = f"no interval: {expected['interval']}"
    else:
        ends = f"{info.text(expected['low'])} to {info.text(expected['high'])}"
        interval = f"{expected['confidence']:.0%} interval {ends}, {expected['interval']}"
    units = f"{counted(expected['clips'], 'test clip')} of {counted(expected['sources'], 'source')}"
    return f"expected {info.label}: {value} ({interval}), {units}"


def _decisions(card: Mapping[str, Any], decisions: list[Mapping[str, Any]]) -> Table:
    table = Table(title=f"thresholds for {card['goal']}, and what they do on test clips", title_justify="left")
    for name in ("class", "threshold", "clips", "precision", "recall", "F1"):
        table.add_column(name, justify="left" if name == "class" else "right")
    thresholds = {fact["class"]: fact["threshold"] for fact in card.get("thresholds", ())}
    for row in decisions:
        shares = [_share(row[name]) for name in ("precision", "recall", "f1")]
        table.add_row(escape(str(row["class"])), f"{thresholds[row['class']]:.3g}", str(row["clips"]), *shares)
    return table


def _machines(card: Mapping[str, Any]) -> Table:
    table = Table(title=f"thresholds for {card['goal']}", title_justify="left")
    names = ("class", "threshold", "normal", "anomalous", "auc", "found")
    for name in names:
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in card["per_class"]:
        held = [row.get(name) for name in names[1:]]
        table.add_row(escape(str(row["class"])), *("-" if value is None else f"{value:.3g}" for value in held))
    return table


def _share(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    ends = "" if found["low"] is None else f" ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found['value']:.2f}{ends}"
