"""The provenance of each number, and whether the task's audio was seen in pre-training."""

from __future__ import annotations

from typing import Any

from auricle.report.evidence import Entry, TaskEvidence
from auricle.report.markup import Markup, details, element, table
from auricle.report.numbers import ABSENT, Measure, by_name, duration, short
from auricle.results.caveats import leaks

SEEN = {
    True: ("seen", "seen", "This audio was seen in pre-training, without its labels."),
    False: ("unseen", "not seen", "None of this audio was in the pre-training corpus."),
    None: ("unknown", "seen?", "The record does not say whether this audio was in the pre-training corpus."),
}


def badge(seen: Any) -> Markup:
    """Make a badge: whether the task's audio was seen in pre-training."""
    class_, text, title = SEEN[seen if isinstance(seen, bool) else None]
    return element("span", text, class_=f"badge {class_}", title=title)


def provenance(task: TaskEvidence) -> Markup:
    """Show all that is recorded about each number of a task."""
    newest = sorted(task.cells.values(), key=lambda e: (task.rows.index(e.row), task.probes.index(e.probe)))
    parts = [_provenance_of(task, entry) for entry in newest]
    if task.older:
        parts.append(element("h5", "Replaced by a newer record of the same encoder and probe"))
        parts.extend(_provenance_of(task, entry) for entry in task.older)
    return Markup("".join(parts))


def _provenance_of(task: TaskEvidence, entry: Entry) -> Markup:
    r, measure = entry.record, task.measure
    spread = f"[{measure.text(entry.low)}, {measure.text(entry.high)}]"
    summary = f"{entry.row.label} · {entry.probe}: {measure.text(entry.value)} {spread}"
    leaking = leaks(r)
    total = f" of {short(r['clips_total'])}" if r.get("clips_total") is not None else ""
    facts: list[tuple[str, Any]] = [
        ("command", element("code", r.get("command", "not recorded"))),
        ("run folder", entry.run),
        ("made", f"{r.get('made', ABSENT)}, in {duration(r.get('seconds'))}"),
        ("metric", measure.about),
        ("protocol", f"{r.get('protocol_name') or 'strict'}, {r.get('protocol', 'division not recorded')}"),
        ("leaks", element("ul", [element("li", leak) for leak in leaking]) if leaking else "none known"),
        ("interval", f"{'none: ' if entry.low is None else ''}{r.get('interval', 'not recorded')}"),
        ("split", r.get("split", "not recorded")),
        (
            "test clips scored" if r.get("type_name", "clips") == "clips" else "test units scored",
            f"{short(r.get('clips'))}{total}",
        ),
        ("per fold", _listed(r.get("per_fold"), r.get("fold_names"), measure)),
        ("per seed", _listed(r.get("per_seed"), r.get("seeds"), measure)),
        ("all metrics", ", ".join(f"{k} {by_name(k, v)}" for k, v in (r.get("metrics") or {}).items())),
        ("settings tried", f"{short(r.get('tried'))} per fold, chosen on validation clips"),
        ("settings searched", short(r.get("settings") or {})),
        ("refit", "yes: on training and validation clips" if r.get("refit") else "no"),
        ("probe parameters", short(r.get("params"))),
        ("multiply-adds of the probe per clip", "not counted" if r.get("macs") is None else short(r["macs"])),
        ("features", r.get("features", "output")),
        ("encoder fingerprint", element("code", r.get("encoder_fingerprint", "not recorded"))),
        ("corpus", [r.get("corpus", "?"), " ", element("code", r.get("corpus_fingerprint", "not recorded"))]),
        ("audio seen in pre-training", _seen(entry)),
        ("versions", f"{short(r.get('versions') or {})}; evaluation scheme {short(r.get('scheme', 0))}"),
    ]
    rows = [[element("th", name, scope="row"), value] for name, value in facts]
    chosen = [c for c in r.get("chosen") or [] if isinstance(c, dict)]
    keys = list(dict.fromkeys(key for c in chosen for key in c))
    settings = table(keys, [[short(c.get(key)) for key in keys] for c in chosen]) if chosen else None
    notes = [element("p", "Note: ", note, class_="quiet") for note in r.get("notes") or []]
    missing = r.get("missing") or {}
    broken = (
        details(f"Clips that could not be read: {len(missing)}", table(["file", "reason"], missing.items()))
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


def _seen(entry: Entry) -> str:
    if entry.row.role != "pretrained":
        return "This control was not pre-trained."
    seen = entry.record.get("seen")
    return SEEN[seen if isinstance(seen, bool) else None][2]


def _listed(values: Any, names: Any, measure: Measure) -> str:
    if not values:
        return "not recorded"
    names = names if isinstance(names, list) and len(names) == len(values) else range(1, len(values) + 1)
    return ", ".join(f"{name}: {measure.text(value)}" for name, value in zip(names, values, strict=True))
