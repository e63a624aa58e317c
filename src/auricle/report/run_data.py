"""Run folders, read as data for a report. Damaged or missing files are listed; they never abort a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auricle.errors import CheckpointError
from auricle.report.numbers import number
from auricle.results.caveats import without_stale
from auricle.results.record import upgraded
from auricle.storage import unseal

Record = dict[str, Any]


# Folder of the previous stage, in that of a run.
_PREVIOUS = "previous"
# Folders of a run with evaluations of audio and text.
_AUDIO_TEXT = ("zero-shot", "text-retrieval")
# Places of results: in a run, or in the folder that `--out` named for several tasks, or for one.
_PLACES = ("probes/*", "finetune/*", "*", ".")


@dataclass(frozen=True)
class RunData:
    """One run folder.

    Attributes:
        name: on the page, unique.
        path: the folder.
        recipe: `recipe.json`, empty if there is none.
        corpus: `corpus.json`, likewise.
        environment: `environment.json`, likewise.
        metrics: lines of `metrics.jsonl` by step, one a step.
        events: lines of `events.log`.
        checkpoints: steps of which there is a checkpoint.
        results: records of every `probes/*/results.jsonl`, each with its `folder`.
        maps: task -> maps of embeddings (each a `map*.json`).
        examples: task -> example clips of sound events (each an `events*.json`).
        prototypes: task -> maps of prototypes (each a `prototypes*.json`).
        audio_text: evaluations of audio and text (`zero-shot/*.json`, `text-retrieval/*.json`).
        detection: what a detector found in a recording (`detection/shown.json`).
        problems: files that could not be read, and why.
    """

    name: str
    path: Path
    recipe: Record = field(default_factory=dict)
    corpus: Record = field(default_factory=dict)
    environment: Record = field(default_factory=dict)
    metrics: list[Record] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    results: list[Record] = field(default_factory=list)
    maps: dict[str, list[Record]] = field(default_factory=dict)
    examples: dict[str, list[Record]] = field(default_factory=dict)
    prototypes: dict[str, list[Record]] = field(default_factory=dict)
    audio_text: list[Record] = field(default_factory=list)
    detection: Record = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_runs(paths: Sequence[Path]) -> list[RunData]:
    """Read run folders.

    Raises:
        CheckpointError: a folder is missing, holds nothing to report, or is given twice.
    """
    places = [Path(path) for path in paths]
    if not places:
        raise CheckpointError("a report needs at least one run folder, none was given")
    seen: set[Path] = set()
    for place in places:
        if place.resolve() in seen:
            raise CheckpointError(f"the run folder {place} is given twice; name each run once")
        seen.add(place.resolve())
    return [_read_run(place, name) for place, name in zip(places, _names(places), strict=True)]


def _names(places: Sequence[Path]) -> list[str]:
    """Name each run by its folder, with as many parents as unique names need."""
    parts = [place.resolve().parts for place in places]
    for depth in range(1, max(len(p) for p in parts) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            break
    return names


def _read_run(path: Path, name: str) -> RunData:
    if not path.is_dir():
        raise CheckpointError(f"there is no run folder {path}; expected what `auricle pretrain --out` wrote")
    problems: list[str] = []
    probes = [folder / "results.jsonl" for folder in _result_folders(path)]
    if not (path / "recipe.json").is_file() and not probes and (path / _PREVIOUS).is_dir():
        raise CheckpointError(
            f"{path} holds a previous stage and no run yet; report on {path / _PREVIOUS}, or wait until that "
            "stage is trained"
        )
    if not (path / "recipe.json").is_file() and not probes:
        raise CheckpointError(
            f"{path} is no run folder: it has neither recipe.json nor any results.jsonl; name a folder that "
            "`auricle pretrain`, `auricle probe` or `auricle finetune` wrote"
        )
    results = [
        {**upgraded(record), "task": str(record.get("task") or file.parent.name), "folder": str(file.parent)}
        for file in probes
        for record in _json_lines(file, problems)
    ]
    results, stale = without_stale(results, lambda record: record)
    problems += stale
    beside = {name: _beside(path, name, problems) for name in ("map", "events", "prototypes")}
    texts = [_json_object(file, problems) for at in _AUDIO_TEXT for file in sorted(path.glob(f"{at}/*.json"))]
    steps = [p.name.removeprefix("step-") for p in path.glob("checkpoints/step-*") if p.is_dir()]
    # A resumed run may have repeated the steps after its last checkpoint: the last line of a step counts.
    metrics = {
        int(m["step"]): m
        for m in _json_lines(path / "metrics.jsonl", problems, _unsealed)
        if number(m.get("step")) is not None
    }
    return RunData(
        name=name,
        path=path,
        recipe=_json_object(path / "recipe.json", problems),
        corpus=_json_object(path / "corpus.json", problems),
        environment=_json_object(path / "environment.json", problems),
        metrics=[metrics[step] for step in sorted(metrics)],
        events=_text(path / "events.log", problems).split("\n"),
        checkpoints=sorted(int(step) for step in steps if step.isdigit()),
        results=results,
        maps=beside["map"],
        examples=beside["events"],
        prototypes=beside["prototypes"],
        audio_text=[found for found in texts if found],
        detection=_json_object(path / "detection" / "shown.json", problems),
        problems=problems,
    )


def _result_folders(path: Path) -> list[Path]:
    """Return the folders of results in a run, or in the folder that `--out` named: itself, or one for each task."""
    return sorted({file.parent for at in _PLACES for file in path.glob(f"{at}/results.jsonl")})


def _beside(run: Path, name: str, problems: list[str]) -> dict[str, list[Record]]:
    """Read the files of a name beside results, by task."""
    held: dict[str, list[Record]] = {}
    for file in sorted({file for at in _PLACES for file in run.glob(f"{at}/{name}*.json")}):
        found = _json_object(file, problems)
        if found:
            held.setdefault(str(found.get("task") or file.parent.name), []).append(found)
    return held


def _text(path: Path, problems: list[str]) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        problems.append(f"{path.name} can't be read: {error}")
        return ""


def _json_object(path: Path, problems: list[str]) -> Record:
    text = _text(path, problems)
    if not text:
        return {}
    try:
        data = _unsealed(text)
    except ValueError as error:
        problems.append(f"{path.parent.name}/{path.name} is damaged and was skipped: {error}")
        return {}
    if not isinstance(data, dict):
        problems.append(f"{path.parent.name}/{path.name} holds no JSON object and was skipped")
        return {}
    return data


def _unsealed(text: str) -> Any:
    """Return JSON data; where they hold their own sum, it is compared and left out."""
    data = json.loads(text)
    return unseal(text) if isinstance(data, dict) and "sum" in data else data


def _json_lines(path: Path, problems: list[str], read: Callable[[str], Any] = json.loads) -> list[Record]:
    records = []
    # Not splitlines(): JSON leaves other line separators in names as they are.
    for count, line in enumerate(_text(path, problems).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = read(line)
        except ValueError as error:
            problems.append(f"{path.parent.name}/{path.name}: line {count} is damaged and was skipped: {error}")
            continue
        if isinstance(record, dict):
            records.append(record)
        else:
            problems.append(f"{path.parent.name}/{path.name}: line {count} is no record and was skipped")
    return records
