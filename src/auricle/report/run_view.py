"""A run: recipe, deviations from the publication, corpus, environment and log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auricle.config import flatten
from auricle.report.markup import Child, Markup, details, element, table
from auricle.report.numbers import ABSENT, duration, number, short
from auricle.report.run_data import Record, RunData
from auricle.words import counted

SHOWN_FILES = 200


def run_section(run: RunData, colour: str) -> Markup:
    """Describe one run."""
    title = element("h3", element("i", class_="dot", style=f"background:{colour}"), run.name)
    problems = [element("p", "Problem: ", problem, class_="missing") for problem in run.problems]
    parts = [_summary(run), _reference(run.recipe), _deviations(run.recipe), _overrides(run), _corpus(run.corpus)]
    return element(
        "article", title, problems, parts, _environment(run.environment), _settings(run.recipe), _events(run)
    )


def _summary(run: RunData) -> Markup:
    recipe, corpus = run.recipe, run.corpus
    last = run.metrics[-1] if run.metrics else {}
    step = max([last.get("step", 0), *run.checkpoints])
    wanted = (recipe.get("train") or {}).get("steps")
    seen = _clips_seen(run)
    session = _sessions(run.environment)[-1] if _sessions(run.environment) else {}
    facts: list[tuple[str, Child]] = [
        ("recipe", " ".join(str(v) for v in (recipe.get("name"), recipe.get("size")) if v) or "unknown"),
        (
            "steps",
            f"{short(step)} of {short(wanted)}" if wanted is not None else short(step),
        ),
        ("clips seen", short(seen) if seen else ABSENT),
        ("training time", duration(last.get("seconds"))),
        (
            "corpus",
            f"{short(corpus.get('clips'))} clips, {short(number(corpus.get('hours')))} h" if corpus else "unknown",
        ),
        ("seed", short((recipe.get("train") or {}).get("seed", "unknown"))),
        ("device", short(session.get("device", "unknown"))),
    ]
    tiles = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    return element("dl", tiles, class_="tiles")


def _clips_seen(run: RunData) -> int:
    """Count training clips: each line covers the steps since the line before it."""
    seen, before = 0.0, 0
    for line in run.metrics:
        seen += (number(line.get("batch")) or 0.0) * (line["step"] - before)
        before = line["step"]
    return int(seen)


def _notes(recipe: Record) -> Mapping[str, Any]:
    """Return the notes of a recipe; those of version 0.1 are fields of the recipe."""
    found = recipe.get("notes", recipe)
    return found if isinstance(found, Mapping) else {}


def _reference(recipe: Record) -> Markup | None:
    reference = _notes(recipe).get("reference") or {}
    if not isinstance(reference, Mapping) or not any(reference.get(k) for k in ("title", "authors", "arxiv")):
        return None
    arxiv = f"arXiv {reference['arxiv']}" if reference.get("arxiv") else None
    listed = [str(v) for v in (reference.get("authors"), arxiv, reference.get("section")) if v]
    return element(
        "p", "After ", element("cite", reference.get("title") or "an unnamed publication"), ": ", "; ".join(listed)
    )


def _deviations(recipe: Record) -> Markup:
    if not recipe:
        return element("p", "No recipe.json: the recipe of this encoder is unknown.", class_="missing")
    found = _notes(recipe).get("deviations") or []
    if not found:
        return element("p", "Deviations from the publication: none stated.")
    items = element("ul", [element("li", item) for item in found])
    return details(f"Deviations from the publication: {len(found)}", items, open=len(found) <= 8)


def _overrides(run: RunData) -> Markup | None:
    found = run.environment.get("overrides")
    if not isinstance(found, Mapping) or not found:
        return None
    rows = [
        [element("code", name), short(pair[0]), short(pair[1])]
        for name, pair in found.items()
        if isinstance(pair, list) and len(pair) == 2
    ]
    return details(f"Settings that differ from the recipe: {len(rows)}", table(["setting", "recipe", "this run"], rows))


def _corpus(corpus: Record) -> Markup:
    if not corpus:
        return element("p", "No corpus.json: the pre-training corpus is unknown.", class_="missing")
    rows: list[list[Child]] = [
        [element("th", "name", scope="row"), corpus.get("name", "?")],
        [element("th", "clips", scope="row"), short(corpus.get("clips"))],
        [element("th", "hours", scope="row"), short(corpus.get("hours"))],
        [element("th", "fingerprint", scope="row"), element("code", corpus.get("fingerprint", "not recorded"))],
        [element("th", "used", scope="row"), short(corpus.get("ledger", "not recorded"))],
        [element("th", "excluded", scope="row"), short(corpus.get("exclude") or [])],
    ]
    if corpus.get("parts"):
        rows.append([element("th", "parts", scope="row"), short(corpus["parts"])])
    broken = corpus.get("broken") or {}
    pairs = list(broken.items()) if isinstance(broken, Mapping) else [(name, "") for name in broken]
    listed = table(["file", "reason"], pairs[:SHOWN_FILES])
    more = f" (the first {SHOWN_FILES} of them)" if len(pairs) > SHOWN_FILES else ""
    skipped = (
        details(f"Corrupt files, skipped: {len(pairs)}{more}", listed) if pairs else element("p", "No corrupt files.")
    )
    return details(f"Pre-training corpus: {corpus.get('name', '?')}", table(["", ""], rows, class_="facts"), skipped)


def _sessions(environment: Record) -> list[Record]:
    found = environment.get("sessions")
    if isinstance(found, list):
        return [session for session in found if isinstance(session, dict)]
    return [environment] if environment else []


def _environment(environment: Record) -> Markup:
    sessions = _sessions(environment)
    if not sessions:
        return element("p", "No environment.json: versions and device are unknown.", class_="missing")
    parts = []
    for count, session in enumerate(sessions, 1):
        rows = []
        for key, value in session.items():
            shown = " ".join(str(v) for v in value) if key == "command" and isinstance(value, list) else short(value)
            rows.append(
                [
                    element("th", key.replace("_", " "), scope="row"),
                    element("code", shown) if key == "command" else shown,
                ]
            )
        if len(sessions) > 1:
            parts.append(element("h6", f"Session {count}"))
        parts.append(table(["", ""], rows, class_="facts"))
    title = "Environment" if len(sessions) == 1 else f"Environment: {len(sessions)} sessions"
    return details(title, parts)


def _settings(recipe: Record) -> Markup | None:
    if not recipe:
        return None
    rows = [
        [element("code", name), short(value)]
        for name, value in flatten(recipe).items()
        if not name.startswith(("notes", "reference", "deviations")) and name != "kind"
    ]
    return details(f"All settings: {len(rows)}", table(["setting", "value"], rows))


def _events(run: RunData) -> Markup | None:
    lines = [line for line in run.events if line]
    return details(f"Log: {counted(len(lines), 'line')}", element("pre", "\n".join(lines[-400:]))) if lines else None
