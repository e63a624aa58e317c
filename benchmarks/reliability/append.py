"""Does adding a result cost more where many are there already?

    python benchmarks/reliability/append.py

Adds one record to files of 100 and of 20,000 records, and prints the ratio of the median times.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import fields
from pathlib import Path

from auricle.results.record import Result, append_result

RECORD = Result(**{f.name: 0.5 if f.name in ("value", "low", "high") else {} for f in fields(Result)})  # type: ignore[arg-type]


def seconds(records: int, folder: Path) -> float:
    """Median time of 50 appends to a file of this many records."""
    path = folder / f"{records}.jsonl"
    append_result(path, RECORD)
    path.write_bytes(path.read_bytes() * records)
    taken = []
    for _ in range(50):
        began = time.perf_counter()
        append_result(path, RECORD)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        few, many = (seconds(count, Path(place)) for count in (100, 20_000))
    print(f"one append to 20,000 records costs {many / few:.2f} times one to 100 records")
