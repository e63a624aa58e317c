"""Edited tables, label files, shards and results, opened as every command opens them.

    python benchmarks/reliability/hostile_tables.py --edits 2000

A small folder holds one file of every kind: CSV, TSV, JSON lines and Parquet tables of clips, a scan's table, tables of
events, selection tables, shards, predictions. Edit number n follows from the seed and n alone (`--first n --edits 1`):
bytes are flipped, cut, repeated or moved, or a value is replaced by one that nobody expects. Each edited file is
opened; it may be read or be refused in words. Where it is read, the ledger must add up with the corpus. Anything else
is printed with its number and counts as a failure.
"""

from __future__ import annotations

import argparse
import datetime as dt
import decimal
import io
import json
import math
import shutil
import sys
import tarfile
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from auricle.corpus.scan import scan
from auricle.corpus.sources import open_corpus
from auricle.errors import AuricleError
from auricle.results.predictions import load_predictions, save_predictions
from auricle.tasks.clips.answers import ClipPredictions

FILES = ("a.wav", "b.wav", "sub/c.wav")
VALUES = (
    "", " ", "NaN", "inf", "-inf", "1e400", "-1", "0x10", "1,5", "٣", "9" * 40, "\u2028", "\x00", '"', "'", ";", ";;",
    "a.wav", "../a.wav", "/etc/passwd", "C:\\a.wav", "\ufeff", "[]", "{}", "null", "None", "True", "=1+1", "x" * 5000,
    "..", "\r", "\n", "a.wav\na.wav", "2021-01-01", "1970-01-01T00:00:00Z",
)  # fmt: skip
OBJECTS = (None, True, [], {}, [[]], {"a": 1}, [None], 1e308, -0.0, 10**30, "", "\ud7ff", ["a", 1], float("nan"))
ROWS = [
    {"file": "a.wav", "label": "x", "split": "train", "fold": 1, "start": 0.0, "seconds": 0.1, "note": "n 1"},
    {"file": "a.wav", "label": "y", "split": "train", "fold": 1, "start": 0.1, "seconds": 0.1, "note": 'n "2"'},
    {"file": "b.wav", "label": "x;y", "split": "test", "fold": 2, "start": None, "seconds": None, "note": None},
    {"file": "sub/c.wav", "label": None, "split": None, "fold": None, "start": 0.0, "seconds": 0.2, "note": "n, 4"},
]
EVENTS = "file,onset,offset,label\na.wav,0.01,0.1,x\nb.wav,0.05,0.15,y\nsub/c.wav,,,\n"
RAVEN = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\tW\t0.01\t0.1\tx\n2\tW\t0.1\t0.15\ty\n"


def wav(seed: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.random.default_rng(seed).standard_normal(1600), 8000, format="WAV")
    return file.getvalue()


def make(root: Path) -> dict[str, bytes]:
    """Write the folder; return the content of one file of each kind."""
    for seed, name in enumerate(FILES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(wav(seed))
    scanned = scan(root, out=root / "scanned.parquet").table
    names = list(ROWS[0])

    def table(sign: str) -> str:
        cells = [[("" if row[n] is None else str(row[n])) for n in names] for row in ROWS]
        quoted = [
            ['"' + c.replace('"', '""') + '"' if sign != "\t" and set(c) & {'"', sign} else c for c in r] for r in cells
        ]
        return "\n".join(sign.join(row) for row in [names, *quoted]) + "\n"

    def packed(rows: pa.Table) -> bytes:
        sink = io.BytesIO()
        pq.write_table(rows, sink)
        return sink.getvalue()

    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as tar:
        for name, data in (
            ("a.wav", wav(0)),
            ("a.json", b'{"label": "x", "fold": 1}'),
            ("b.wav", wav(1)),
            ("b.cls", b"y"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    names_of = np.array(["a", "b", "c"])
    predictions = ClipPredictions(
        names=names_of, group=names_of, fold=np.zeros(3, np.int64), seeds=(0,), kind="single", classes=("x", "y"),
        truth=np.eye(2, dtype=bool)[[0, 1, 1]], scores=np.full((1, 3, 2), 0.5, np.float32),
    )  # fmt: skip
    save_predictions(root / "p.npz", predictions)
    held = (root / "p.npz").read_bytes()
    (root / "p.npz").unlink()
    lines = "\n".join(json.dumps(row) for row in ROWS) + "\n"
    return {
        "metadata.csv": table(",").encode(),
        "table.tsv": table("\t").encode(),
        "semi.csv": table(";").encode(),
        "metadata.jsonl": lines.encode(),
        "table.parquet": packed(pa.Table.from_pylist(ROWS)),
        "scanned.parquet": Path(str(scanned)).read_bytes(),
        "shard.parquet": packed(pa.table({"audio": [wav(0), wav(1), None], "label": ["x", "y", "z"]})),
        "shard.tar": shard.getvalue(),
        "events.csv": EVENTS.encode(),
        "events.tsv": EVENTS.replace(",", "\t").encode(),
        "a.Table.1.selections.txt": RAVEN.encode(),
        "b.txt": b"0.01\t0.1\tx\n0.1\t0.15\ty\n",
        "predictions.npz": held,
    }


def edit(data: bytes, name: str, rng: np.random.Generator) -> bytes:
    """Return an edited copy."""
    text = name.endswith((".csv", ".tsv", ".jsonl", ".txt"))
    if text and rng.random() < 0.6:
        return _edited_text(data.decode(), name, rng).encode("utf-8", "surrogatepass")
    if name.endswith(".parquet") and rng.random() < 0.5:
        return _edited_parquet(data, rng)
    if name.endswith(".npz") and rng.random() < 0.5:
        return _edited_arrays(data, rng)
    array = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, length = int(rng.integers(len(array) + 1)), int(rng.integers(1, 40))
        how = rng.integers(6)
        if how == 0 and array:
            array[at % len(array)] ^= 1 << int(rng.integers(8))
        elif how == 1:
            del array[at:]
        elif how == 2:
            del array[at : at + length]
        elif how == 3:
            array[at:at] = rng.bytes(length)
        elif how == 4:
            array[at : at + length] = bytes(len(array[at : at + length]))
        else:
            array[at:at] = array[at : at + length] * 3
    return bytes(array)


def _edited_parquet(data: bytes, rng: np.random.Generator) -> bytes:
    """Give a column another type, drop, rename or double it, or edit what auricle keeps beside the columns."""
    table = pq.read_table(io.BytesIO(data))
    metadata = dict(table.schema.metadata or {})
    n, column = len(table), int(rng.integers(table.num_columns))
    name, how = table.column_names[column], int(rng.integers(8))
    odd: list[Any] = [
        [None] * n, list(range(n)), [[i, None] for i in range(n)], [{"a": i} for i in range(n)], [b"\xff"] * n,
        [float("nan")] * n, [10**18] * n, [True] * n, [dt.datetime(1970, 1, 1)] * n, [decimal.Decimal("1.50")] * n,
        ["\x00"] * n, [-1] * n, [dt.timedelta(days=1)] * n, [math.inf] * n, [""] * n,
    ]  # fmt: skip
    if how < 4:
        table = table.set_column(column, name, pa.array(odd[int(rng.integers(len(odd)))]))
    elif how == 4:
        table = table.drop_columns([name])
    elif how == 5:
        table = table.append_column(name, table.column(column))
    elif how == 6:
        table = table.slice(0, int(rng.integers(n)))
    elif b"auricle.corpus" in metadata:
        about = json.loads(metadata[b"auricle.corpus"])
        about[str(rng.choice(list(about)))] = OBJECTS[int(rng.integers(len(OBJECTS) - 3))]
        metadata[b"auricle.corpus"] = json.dumps(about).encode()
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return sink.getvalue()


def _edited_arrays(data: bytes, rng: np.random.Generator) -> bytes:
    """Drop an array, or give it another type, shape or value."""
    with np.load(io.BytesIO(data)) as file:
        held = {name: file[name] for name in file.files}
    name = str(rng.choice(list(held)))
    odd = (
        np.zeros(0), np.array("text"), np.array([1 + 2j]), np.full((2, 2), np.nan), np.array([[["a"]]]), np.array(-1),
        held[name][..., None], held[name].astype(str), np.array([b"\xff"]), np.array("2021-01-01", "datetime64[D]"),
    )  # fmt: skip
    held |= {name: odd[int(rng.integers(len(odd)))]}
    if rng.random() < 0.3:
        del held[name]
    sink = io.BytesIO()
    np.savez(sink, **held)
    return sink.getvalue()


def _edited_text(text: str, name: str, rng: np.random.Generator) -> str:
    lines = text.split("\n")
    row = int(rng.integers(len(lines) - 1))
    if name.endswith(".jsonl"):
        data = json.loads(lines[row])
        data[str(rng.choice([*data, "new"]))] = OBJECTS[int(rng.integers(len(OBJECTS)))]
        lines[row] = json.dumps(data)
    else:
        sign = "\t" if "\t" in lines[0] else ";" if ";" in lines[0] else ","
        cells = lines[row].split(sign)
        cells[int(rng.integers(len(cells)))] = VALUES[int(rng.integers(len(VALUES)))]
        if rng.random() < 0.2:
            cells.insert(int(rng.integers(len(cells) + 1)), VALUES[int(rng.integers(len(VALUES)))])
        lines[row] = sign.join(cells)
    return "\n".join(lines)


def outcome(root: Path, name: str, data: bytes) -> str:
    """Open an edited file as a user would; return `read` or `refused`.

    Raises:
        Exception: whatever is no error in words.
    """
    path = root / name
    path.write_bytes(data)
    try:
        if name.endswith(".npz"):
            load_predictions(path)
            return "read"
        inside = name.startswith(("metadata", "events")) or name.endswith(".txt")
        corpus = open_corpus(root if inside else path)
        used = corpus.ledger.used["recording"]
        # A scan's table may have been filtered; its ledger is still that of the scan.
        if used != len(set(corpus.column("file"))) and name != "scanned.parquet":
            raise ArithmeticError(
                f"{used} recordings used in the ledger, {len(set(corpus.column('file')))} in the corpus"
            )
        corpus.events  # noqa: B018 (builds the events)
        json.dumps(corpus.ledger.to_json())
        for row in range(min(2, len(corpus))):
            corpus.audio(row, 8000)
    except AuricleError as error:
        if not str(error).strip():
            raise
        return "refused"
    finally:
        path.unlink()
    return "read"


def run(edits: int, *, first: int = 0, seed: int = 0, note: Callable[[str], None] = print) -> dict[str, Counter[str]]:
    """Open edited files; return the outcomes by name of the file, `failed` among them."""
    datasets.disable_progress_bars()
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
        contents = make(root)
        for made in root.glob("scanned.*"):
            made.unlink()
        for number in range(first, first + edits):
            rng = np.random.default_rng([seed, number])
            name = list(contents)[number % len(contents)]
            data = edit(contents[name], name, rng)
            try:
                result = outcome(root, name, data)
            except Exception:
                result = "failed"
                note(f"edit {number} of {name}:\n{traceback.format_exc()}")
            found.setdefault(name, Counter())[result] += 1
        shutil.rmtree(root)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = run(args.edits, first=args.first, seed=args.seed)
    print(f"{'file':28}{'read':>8}{'refused':>10}{'failed':>8}")
    for name, counts in found.items():
        print(f"{name:28}{counts['read']:8}{counts['refused']:10}{counts['failed']:8}")
    total = sum(found.values(), Counter())
    print(f"{'all':28}{total['read']:8}{total['refused']:10}{total['failed']:8}")
    return int(total["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
