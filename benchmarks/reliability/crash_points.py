"""Every file operation of a pre-training run as a crash point: killed there and resumed, it ends at the same weights.

    python benchmarks/reliability/crash_points.py                 # every point of the three runs
    python benchmarks/reliability/crash_points.py --sample 5      # some points of each

A run is trained once for reference. It is trained again for each of its file operations (a folder made, a file opened
for writing, forced to the disk, half appended, renamed, deleted), which raises in its place, as does every later one:
what is on the disk is what a SIGKILL leaves there. A file that was being forced to the disk keeps half of its content.
Then the run is resumed, by its folder alone or by the whole call, a quarter of them after a second crash. Its last
checkpoint (encoder, objective, optimiser) and its journal are compared with the reference, bit by bit. Seeded.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file

from auricle.errors import CheckpointError
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.recipes import Recipe, get_recipe, pretrain, resume
from auricle.storage import unseal
from auricle.training import run_folder
from auricle.training.journal import NAME

TIMES = {"clips_per_second", "wait_share", "memory_gb", "seconds"}
STEPS = 2
# Share of the points where the resumed run crashes, too.
TWICE = 0.25


class CrashError(BaseException):
    """The process is gone: no `except Exception` sees it."""


class Disk:
    """Counts the file operations below a folder, and crashes at one of them.

    Attributes:
        at: number of the operation that crashes; None: none does.
        kinds: of the operations so far.
    """

    def __init__(self) -> None:
        self.root, self.at, self.dead, self.off = "", None, False, True
        self.kinds: list[str] = []
        self._fsync, self._append = os.fsync, run_folder.append_line
        os.fsync, run_folder.append_line = self._forced, self._appended
        sys.addaudithook(self._seen)

    @contextmanager
    def watching(self, root: Path, at: int | None = None) -> Iterator[None]:
        """Count, and crash at operation `at` (from 0)."""
        self.root, self.at, self.dead, self.off, self.kinds = str(root), at, False, False, []
        try:
            yield
        finally:
            self.off = True

    def operation(self, kind: str, half: Callable[[], Any] = lambda: None) -> None:
        """Count an operation; where it crashes, leave it half done."""
        if self.dead:
            raise CrashError(kind)
        self.kinds.append(kind)
        if self.at is not None and len(self.kinds) > self.at:
            self.dead = True
            half()
            raise CrashError(kind)

    def _below(self, path: Any, folder: int = -1) -> bool:
        name = os.fsdecode(path) if isinstance(path, str | bytes) else ""
        if folder >= 0:
            name = str(Path(f"/proc/self/fd/{folder}").readlink() / name)
        return not self.off and name.startswith(self.root)

    def _seen(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.off:
            return
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self._below(path):
                self.operation("open")
        elif event == "os.rename" and self._below(arguments[1]):
            self.operation("rename")
        elif event == "os.mkdir" and self._below(arguments[0]):
            self.operation("mkdir")
        elif event in ("os.remove", "os.rmdir") and self._below(arguments[0], arguments[1]):
            self.operation("delete")

    def _forced(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if self._below(str(path)):
            self.operation("fsync", lambda: self._halve(path) if path.is_file() and path.name != NAME else None)
        self._fsync(handle)

    def _appended(self, folder: Path, line: dict[str, Any]) -> None:
        if self._below(str(folder)):
            self.operation("append", lambda: self._half_line(folder, line))
        self._append(folder, line)

    def _halve(self, path: Path) -> None:
        self.off = True
        os.truncate(path, path.stat().st_size // 2)
        self.off = False

    def _half_line(self, folder: Path, line: dict[str, Any]) -> None:
        self.off = True
        self._append(folder, line)
        os.truncate(folder / NAME, (folder / NAME).stat().st_size - 40)
        self.off = False


def clips(folder: Path) -> Path:
    """Write a small corpus."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(8):
        wave = 0.3 * np.sin(np.arange(10_240) * (0.05 + 0.02 * number)) + 0.01 * generator.standard_normal(10_240)
        soundfile.write(folder / f"{number}.wav", wave.astype(np.float32), 16000)
    return folder


def small(recipe: Recipe, **train: Any) -> Recipe:
    """Return a recipe that trains in a second."""
    settings = {"steps": STEPS, "warmup_steps": 1, "save_every": 1, "keep": 1, "log_every": 1, "threads": 1}
    changed = recipe.train.replace(**{**settings, "precision": "fp32", "device": "cpu", "minutes": None, **train})
    return recipe.replace(
        train=changed,
        window=recipe.window.replace(seconds=0.64),
        loader=recipe.loader.replace(batch=4, workers=0),
        previous=None if recipe.previous is None else small(recipe.previous, **train),
    )


def kinds_of_runs() -> dict[str, Recipe]:
    """Return the runs that are crashed: of one stage, with a moving average, of two stages."""
    base = small(get_recipe("audiomosaic", "tiny"))
    base = base.replace(
        encoder=base.encoder.replace(width=24, depth=1, heads=2, frames=64),
        objective=base.objective.replace(projector=ProjectorConfig(hidden=(16,), out=8)),
    )
    average = small(get_recipe("byol-a", "tiny"))
    staged = base.replace(previous=base, begin="previous", measure_statistics=False)
    return {"one stage": base, "moving average": average, "two stages": staged}


def outcome(run: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Return the tensors of the last checkpoint, and the journal without times."""
    last = run / "checkpoints" / f"step-{STEPS:08d}"
    tensors = {
        f"{part}/{name}": tensor
        for part in ("encoder", "objective", "optimiser")
        for name, tensor in load_file(last / f"{part}.safetensors").items()
    }
    lines = [unseal(line) for line in (run / NAME).read_text().splitlines()]
    return tensors, [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def difference(run: Path, reference: Path) -> str:
    """Return how a run differs from the reference; "" where it does not."""
    (mine, lines), (expected, expected_lines) = outcome(run), outcome(reference)
    other = [name for name, value in expected.items() if name not in mine or not torch.equal(mine[name], value)]
    if other or mine.keys() != expected.keys():
        return f"{len(other)} tensors differ"
    if lines != expected_lines:
        return "the journal differs"
    left = [p.name for p in run.rglob("*") if p.name.endswith(".writing") or p.name.startswith(".writing-")]
    return f"left behind: {left}" if left else ""


def continued(recipe: Recipe, data: Path, out: Path, by_folder: bool) -> None:
    """Resume a run by its folder alone, where that holds a run already, or by the whole call."""
    if by_folder:
        try:
            resume(out, progress=False)
            return
        except CheckpointError as error:
            if "there is no run in" not in str(error):
                raise
    pretrain(recipe, data, out, resume=True, progress=False)


def crash(disk: Disk, recipe: Recipe, data: Path, out: Path, at: int, draw: random.Random) -> str:
    """Crash a run at an operation, once or twice, and resume it; return the kind of the operation."""
    with disk.watching(out, at), suppress(CrashError):
        pretrain(recipe, data, out, progress=False)
    kind = disk.kinds[at]
    if draw.random() < TWICE:
        with disk.watching(out, draw.randrange(20)), suppress(CrashError):
            continued(recipe, data, out, draw.random() < 0.5)
    continued(recipe, data, out, draw.random() < 0.5)
    # Once more: all is done, and nothing changes.
    continued(recipe, data, out, draw.random() < 0.5)
    return kind


def main() -> int:
    """Run the crash points and print the figures; return the number of points that did not end at the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=0, help="points of each run; 0: every one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", default=None, help="which runs, by the first word of their names")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    disk, failed = Disk(), 0
    print("| run | operations | crash points | ended at the reference | by kind |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = clips(Path(folder) / "clips")
        for name, recipe in kinds_of_runs().items():
            if arguments.runs and name.split()[0] not in arguments.runs:
                continue
            reference, out = Path(folder) / "reference", Path(folder) / "run"
            with disk.watching(reference):
                pretrain(recipe, data, reference, progress=False)
            total = len(disk.kinds)
            draw = random.Random(arguments.seed)
            points = sorted(draw.sample(range(total), min(arguments.sample or total, total)))
            wrong, kinds = [], Counter[str]()
            for at in points:
                try:
                    kinds[crash(disk, recipe, data, out, at, draw)] += 1
                    found = difference(out, reference)
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                if found:
                    wrong.append(f"{name}, operation {at}: {found}")
                shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(reference)
            by_kind = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
            print(f"| {name} | {total} | {len(points)} | {len(points) - len(wrong)} | {by_kind} |", flush=True)
            print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr, flush=True)
            failed += len(wrong)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
