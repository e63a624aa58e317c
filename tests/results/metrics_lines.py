"""The journal of a run as tests read it: whole lines only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auricle.storage import unseal


def read_metrics(run: Path) -> list[dict[str, Any]]:
    journal = run / "metrics.jsonl"
    return [unseal(line, required=False) for line in journal.read_text().splitlines()] if journal.exists() else []
