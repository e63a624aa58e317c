"""Edited tables, shards and results: a short form of `benchmarks/reliability/hostile_tables.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PLACE = Path(__file__).parents[3] / "benchmarks" / "reliability" / "hostile_tables.py"


def test_edited_files_are_read_or_refused_in_words() -> None:
    spec = importlib.util.spec_from_file_location("hostile_tables", PLACE)
    assert spec is not None
    assert spec.loader is not None
    hostile = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hostile)
    failures: list[str] = []
    found = hostile.run(520, seed=1, note=failures.append)
    assert failures == []
    assert len(found) == 13
    assert all(counts["refused"] for counts in found.values())
    # Most edits of text leave a table that can be read; those of packed files seldom do.
    assert sum(counts["read"] for counts in found.values()) > 100
