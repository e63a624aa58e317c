"""Files of results as tests make them: all records at once, where a command adds one after another."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from auricle.results.record import Result


def write_results(path: Path, results: Iterable[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(result.to_json(), ensure_ascii=False) + "\n" for result in results)
    path.write_text("".join(lines), encoding="utf-8")
