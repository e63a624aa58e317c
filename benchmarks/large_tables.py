"""A table of two million clips: opened as CSV, as Parquet, and as the table that a scan writes.

    python benchmarks/large_tables.py [--rows 2000000]

Each way is opened in its own process. Times are processor seconds, as multiples of the scan's table in the same run;
memory is the peak of the process beyond its imports (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import soundfile

RECORDINGS = 1000
OPEN = """
import json, sys, time
from pathlib import Path
from auricle.corpus.sources import open_corpus

def memory(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024

Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
base, began = memory("VmRSS"), time.process_time()
clips = len(open_corpus(sys.argv[1]))
print(json.dumps([clips, time.process_time() - began, memory("VmHWM") - base]))
"""


def make(root: Path, rows: int) -> dict[str, Path]:
    from auricle.corpus.readers.table_file import write_table
    from auricle.corpus.sources import open_corpus

    for i in range(RECORDINGS):
        soundfile.write(root / f"r{i:04d}.wav", np.zeros(16000, np.int16), 8000)
    place = np.arange(rows)
    table = pa.table(
        {
            "file": [f"r{i % RECORDINGS:04d}.wav" for i in place],
            "label": np.array(list("abcdef"))[place % 6],
            "start": np.round(place // RECORDINGS * (1.8 / rows * RECORDINGS), 6),
            "seconds": np.full(rows, 0.1),
            "split": np.where(place % 5 == 0, "test", "train"),
        }
    )
    pa_csv.write_csv(table, root / "clips.csv", pa_csv.WriteOptions(quoting_style="none"))
    pa_csv.write_csv(table, root / "quoted.csv")
    pq.write_table(table, root / "clips.parquet")
    write_table(open_corpus(root / "clips.parquet"), root / "scanned.parquet")
    return {name: root / name for name in ("scanned.parquet", "clips.parquet", "clips.csv", "quoted.csv")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, path in make(Path(folder), args.rows).items():
            run = subprocess.run([sys.executable, "-c", OPEN, str(path)], stdout=subprocess.PIPE, text=True, check=True)
            found[name] = json.loads(run.stdout)
    print(f"{'table':18}{'clips':>10}{'time':>8}{'MB':>8}")
    for name, (clips, seconds, memory) in found.items():
        print(f"{name:18}{clips:10,}{seconds / found['scanned.parquet'][1]:7.1f}x{memory:8.0f}")


if __name__ == "__main__":
    main()
