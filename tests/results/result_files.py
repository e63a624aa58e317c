"""Files of results as tests make them: all records at once, where a command adds one after another."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from auricle.results.record import SCHEME, Result
from auricle.tasks.clips.answers import ClipPredictions


def write_results(path: Path, results: Iterable[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(result.to_json(), ensure_ascii=False) + "\n" for result in results)
    path.write_text("".join(lines), encoding="utf-8")


def made(task: str, encoder: str, probe: str, value: float, **more: Any) -> Result:
    facts: dict[str, Any] = {
        "task": task, "kind": "single", "encoder": encoder, "encoder_fingerprint": f"{encoder}-print-of-{encoder}",
        "role": "pretrained", "probe": probe, "metric": "accuracy", "value": value, "low": value - 0.02,
        "high": value + 0.02, "confidence": 0.95, "interval": "bootstrap", "per_class": {}, "classes": [],
        "metrics": {"accuracy": value, "macro_f1": value - 0.1}, "per_fold": [value], "per_seed": [value],
        "values": [[value]], "confusion": None, "protocol": "folds", "split": "the corpus's own folds",
        "fold_names": ["1"], "sizes": [[1, 1, 1]], "refit": True, "clips": 40, "clips_total": 40, "chosen": [],
        "tried": 1, "settings": {"epochs": 30}, "seeds": [0], "params": 10, "width": 4, "corpus": task,
        "corpus_fingerprint": f"corpus of {task}", "seen": False, "predictions": None, "command": "made",
        "versions": {}, "seconds": 1.0, "made": "2026-01-01T00:00:00+00:00", "key": f"{task}-{encoder}-{probe}-{value}",
        "scheme": SCHEME,
    }  # fmt: skip
    return Result(**{**facts, **more})


def written(folder: Path, *results: Result) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / "results.jsonl", results)
    return folder


def answers(right: np.ndarray, groups: int = 40) -> ClipPredictions:
    """Two classes; where `right`, the answer is."""
    n = len(right)
    truth = np.arange(n) % 2
    said = np.where(right, truth, 1 - truth)
    return ClipPredictions(
        names=np.array([f"clip {i}" for i in range(n)]),
        group=np.array([f"source {i % groups}" for i in range(n)]),
        fold=np.zeros(n, dtype=np.int64),
        seeds=(0,),
        kind="single",
        classes=("a", "b"),
        truth=np.eye(2, dtype=bool)[truth],
        scores=np.eye(2, dtype=np.float32)[said][None],
    )
