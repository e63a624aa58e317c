"""Search of a library: what the approximate search finds, how long a query takes, and the memory that it needs.

    python benchmarks/search.py --data CORPORA [--rows 1000000] [--model RUN] [--work FOLDER]

1. Recall, on real vectors: segments of 1 s every 0.2 s of four corpora, encoded by COLA after a minute of pre-training.
2. Size, on made vectors: each is a real one moved by noise as long as the way to its nearest neighbour, so that rows
   lie as close together as real ones, however many they are.

Queries are rows of the library. The process that searches does nothing else: its memory is that of a search.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import auricle
from auricle.answers.approximate import approximate
from auricle.answers.library import Library, LibraryRecord
from auricle.answers.segment_table import open_segments, schema
from auricle.recipes.registry import get_recipe

CORPORA = ("esc10", "esc50_dev20", "nemo_pl", "fsdd")
BLOCK = 20_000
QUERIES = {"approximate": 200, "exact": 10}
SEARCH = """
import json, resource, sys, time
import numpy as np
from auricle.answers.library import Library

library = Library.open(sys.argv[1])
ids = np.random.default_rng(7).choice(len(library), int(sys.argv[3]), replace=False).tolist()
queries = library.vectors(ids)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, exact = peak(), sys.argv[2] == "exact"
library.search(queries[0], 50, exact)
wall, cpu = [], []
for query in queries:
    began, used = time.perf_counter(), time.process_time()
    library.search(query, 50, exact)
    wall.append(1e3 * (time.perf_counter() - began))
    cpu.append(1e3 * (time.process_time() - used))
print(json.dumps([np.percentile(wall, [10, 50, 90]).tolist(), float(np.median(cpu)), before, peak()]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real corpora")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the made library")
    parser.add_argument("--model", help="another encoder than COLA after a minute")
    parser.add_argument("--work", type=Path, help="folder that keeps what is made; by default nothing is kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(args.data, args.rows, args.model, args.work or Path(temporary))


def run(data: Path, rows: int, model: str | None, work: Path) -> None:
    real = work / "real"
    if not (real / "library.json").exists():
        found = model or str(_encoder(data / "esc50_dev20", work / "cola"))
        began = time.perf_counter()
        for corpus in CORPORA:
            auricle.index(found, data / corpus, real, segment=1.0, hop=0.2, device="cpu", progress=False)
        print(f"indexed in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    library = Library.open(real)
    print(f"real vectors: {len(library):,} segments of {', '.join(CORPORA)}, width {library.record.width}", flush=True)
    _approximate(real)
    _searches(real)
    made = work / "made"
    _make(library.vectors(), made, rows, library.record)
    print(f"\nmade vectors: {rows:,}, width {library.record.width}", flush=True)
    _approximate(made)
    _searches(made)


def _encoder(corpus: Path, out: Path) -> Path:
    recipe = get_recipe("cola", "tiny")
    train = recipe.train.replace(minutes=1.0, device="cpu")
    return out if out.exists() else auricle.pretrain(recipe.replace(train=train), corpus, out, progress=False)


def _make(vectors: np.ndarray, folder: Path, rows: int, record: LibraryRecord) -> None:
    """Write a library of rows that lie around real vectors."""
    folder.mkdir(parents=True, exist_ok=True)
    table = open_segments(folder, record.width)
    known = int(table.count_rows())
    unit = vectors.astype(np.float32)
    sample = np.random.default_rng(0).choice(len(unit), 2000, replace=False)
    squares = (unit**2).sum(1)
    apart = squares[sample, None] + squares[None] - 2 * unit[sample] @ unit.T
    apart[np.arange(len(sample)), sample] = np.inf
    step = float(np.sqrt(np.median(np.maximum(apart.min(1), 0)) / record.width))
    columns = schema(record.width)
    for first in range(known, rows, BLOCK):
        generator = np.random.default_rng(first)
        count = min(BLOCK, rows - first)
        noise = step * generator.standard_normal((count, record.width), dtype=np.float32)
        block = (unit[generator.integers(len(unit), size=count)] + noise).astype(np.float16)
        numbers = np.arange(first, first + count)
        held = {
            "id": pa.array(numbers),
            "file": pa.array([f"{number // 1000}.wav" for number in numbers]),
            "start": pa.array(numbers % 1000 * 1.0),
            "end": pa.array(numbers % 1000 + 1.0),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), record.width),
        }
        arrays = [held.get(each.name, pa.nulls(count, each.type)) for each in columns]
        table.add(pa.table(arrays, schema=columns))
    LibraryRecord(None, "made", "0" * 16, "encoder", record.rate, record.width).write(folder)


def _approximate(folder: Path) -> None:
    """Prepare the approximate search of a library, whatever its size."""
    record, table = LibraryRecord.read(folder), open_segments(folder)
    began, used = time.perf_counter(), time.process_time()
    near = approximate(table, int(table.count_rows()), None)
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    LibraryRecord(**{**vars(record), "approximate": near}).write(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"  made and measured in {wall:.0f} s ({cpu:.0f} s of processor time), {size / 1e6:,.0f} MB on disk")
    print(f"  {near.words}", flush=True)


def _searches(folder: Path) -> None:
    for kind, count in QUERIES.items():
        words = [sys.executable, "-c", SEARCH, str(folder), kind, str(count)]
        done = subprocess.run(words, env={**os.environ}, capture_output=True, text=True, check=True)
        (low, median, high), cpu, before, peak = json.loads(done.stdout)
        print(
            f"  {kind:<12}{median:8.1f} ms a query (10 % below {low:.1f}, 90 % below {high:.1f}; {cpu:.1f} ms of "
            f"processor time); peak {peak:.0f} MB of memory, {peak - before:.0f} MB above the open library",
            flush=True,
        )


if __name__ == "__main__":
    main()
