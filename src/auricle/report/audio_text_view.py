"""Audio and text: zero-shot classification and retrieval both ways, with chance and random weights."""

from __future__ import annotations

from collections.abc import Sequence

from auricle.report.markup import Markup, details, element, table
from auricle.report.numbers import ABSENT, number, percent, short
from auricle.report.run_data import Record, RunData


def audio_text_section(runs: Sequence[RunData]) -> Markup | None:
    """Make a table per run and evaluation; None where no run was evaluated on audio and text."""
    parts = [_study(run.name if len(runs) > 1 else "", study) for run in runs for study in run.audio_text]
    return element("article", parts) if parts else None


def _study(run: str, study: Record) -> Markup:
    corpus, control = _record(study.get("corpus")), _record(study.get("control"))
    beside = {str(score.get("name")): score for score in _scores(control)}
    rows = [
        [
            str(score.get("name")),
            element("b", _with_interval(score)),
            *([_with_interval(beside.get(str(score.get("name")), {}))] if control else []),
            percent(score.get("chance")),
        ]
        for score in _scores(study)
    ]
    head = ["measure", "the run", *(["random weights"] if control else []), "chance"]
    first = next(iter(_scores(study)), {})
    share = number(first.get("confidence"))
    spread = f"with {100 * share:g} % intervals ({first.get('interval')})" if share is not None else "without intervals"
    known = {**_record(study.get("settings")), "command": study.get("command"), "corpus": corpus.get("fingerprint")}
    return element(
        "div",
        element("h4", " · ".join(part for part in (run, str(study.get("task") or "audio and text")) if part)),
        table(head, rows),
        element(
            "p", f"In percent, {spread}; {short(study.get('clips'))} clips of {corpus.get('name')}. ", class_="quiet"
        ),
        [element("p", str(note), class_="quiet") for note in study.get("notes") or []],
        details(
            "Settings", table(["setting", "value"], [[key, short(value)] for key, value in known.items() if value])
        ),
    )


def _with_interval(score: Record) -> str:
    if number(score.get("value")) is None:
        return ABSENT
    return f"{percent(score['value'])} [{percent(score.get('low'))}, {percent(score.get('high'))}]"


def _record(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _scores(study: Record) -> list[Record]:
    found = study.get("scores")
    return [score for score in found if isinstance(score, dict)] if isinstance(found, list) else []
