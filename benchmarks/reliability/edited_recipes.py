"""Edited recipes: a `recipe.json` that was changed by hand opens or is refused in words, and is never a traceback.

    python benchmarks/reliability/edited_recipes.py [--edits 500] [--seed 0]

Each edit is one to three changes at random places: a key deleted, renamed or doubled in another group, a value of
another type, NaN, infinity, a huge or negative number, nested junk, the text cut, or a byte changed. The run is opened
(`auricle embed` does as much), its random control is built, and it is resumed, in a folder without the sums that would
refuse every edit at once, as auricle 0.2 left it, and in one with them.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from crash_points import clips, kinds_of_runs

from auricle.errors import AuricleError
from auricle.recipes import load, pretrain, random_control, resume

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 3.5, 1e308, 10**30, float("nan"), float("inf"), "", "x" * 300, [], {}, [[[]]],
    {"kind": "Recipe"}, {"kind": ["x"]}, {"kind": None}, [{"kind": "Nothing"}], {"a": [1, {"d": None}]}, "\ud800",
)  # fmt: skip


def places(data: Any) -> list[tuple[Any, Any]]:
    """Return every place of nested data: its container and key."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in inner for place in ((data, key), *places(value))]


def edit(text: str, draw: random.Random) -> bytes:
    """Return a changed recipe."""
    recipe = json.loads(text)
    for _ in range(draw.randint(1, 3)):
        every = places(recipe)
        if not every:
            break
        holder, key = draw.choice(every)
        kind = draw.choice(("delete", "value", "value", "number", "rename", "move"))
        if kind == "delete":
            del holder[key]
        elif kind == "number" and type(holder[key]) in (int, float):
            # Not in between: a network that fits into memory only just is slow, not wrong.
            holder[key] = draw.choice((-holder[key], holder[key] + 1, 10**15, -(10**15), 0.5))
        elif kind == "rename" and isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        elif kind == "move":
            other, place = draw.choice(every)
            other[place] = json.loads(json.dumps(holder[key]))
        else:
            holder[key] = draw.choice(JUNK)
    data = json.dumps(recipe).encode()
    match draw.randrange(12):
        case 0:
            return data[: draw.randrange(len(data))]
        case 1:
            place = draw.randrange(len(data))
            return data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]
        case 2:
            return b'{"a":' * 5000 + data + b"}" * 5000
        case _:
            return data


def main() -> int:
    """Print how many edits opened and how many were refused; return the number of tracebacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    draw, counts = random.Random(arguments.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(
            kinds_of_runs()["one stage"], clips(Path(folder) / "clips"), Path(folder) / "run", progress=False
        )
        text = (run / "recipe.json").read_text()
        old = Path(shutil.copytree(run, Path(folder) / "old"))
        (old / "run.json").unlink()
        for number in range(arguments.edits):
            content = edit(text, draw)
            for each in (old, run):
                (each / "recipe.json").write_bytes(content)
            for name, attempt in (
                ("open", lambda: load(old)),
                ("control", lambda: random_control(old)),
                ("resume", lambda: resume(old, data=Path(folder) / "clips", progress=False)),
                ("open, with sums", lambda: load(run)),
            ):
                try:
                    attempt()
                    counts[f"{name}: opens"] += 1
                except AuricleError:
                    counts[f"{name}: refused in words"] += 1
                except Exception:
                    counts["traceback"] += 1
                    print(f"edit {number}, {name}:\n{content[:3000]!r}\n{traceback.format_exc()}", file=sys.stderr)
    print(f"{arguments.edits} edits, seed {arguments.seed}")
    for name, count in sorted(counts.items()):
        print(f"{name:32}{count:6}")
    print(f"{'tracebacks':32}{counts['traceback']:6}")
    return min(counts["traceback"], 1)


if __name__ == "__main__":
    sys.exit(main())
