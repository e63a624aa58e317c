"""The HEAR grid by auricle and by hear-eval-kit's own predictor, on the same cached embeddings.

    python benchmarks/hear_grid.py RUN --data FOLDER_OF_CORPORA --kit CLONE --kit-python PYTHON [--threads 1]

All 16 points (learning rate, layers, start of the weights) on all folds of each task, as the kit trains them: same
clips, up to 500 epochs, a look at the validation clips every third, patience of 20 looks, weights of the best one. On
each fold the best point by validation is tested. Printed are wall times, their ratio, accuracies with intervals, the
paired difference of the two, and the peak memory of auricle by the number of settings.

The rival: a clone of https://github.com/hearbenchmark/hear-eval-kit (2021.1.3) and a virtual environment of its own,

    python -m venv KIT_ENV
    KIT_ENV/bin/pip install torch==2.13.0 pytorch-lightning==1.9.5 pandas tqdm python-slugify scikit-learn sed_eval \
        dcase_util intervaltree more-itertools click torchinfo "setuptools<81"

since its own pins (numpy 1.19, TensorFlow) install on no present Python; `--kit-python` is KIT_ENV/bin/python. Both
sides get the same number of threads. Reading clips and encoding them is not timed: both start from vectors.

Three rows of auricle: `exact` multiplies in float32; `bf16` multiplies in bfloat16 where the processor does (the
default); `raced` begins all points and stops those that fall behind, which the kit does not do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

import auricle
from auricle.corpus.sources import open_corpus
from auricle.kits.grid import GridPoint, best_point, fit_points, side_by_side
from auricle.kits.protocols import HEAR
from auricle.kits.training import KitFit, KitTraining, kit_logits, train_kit_head
from auricle.probes.contract import Labelled
from auricle.results.scoring import compare_predictions, score
from auricle.tasks.cards.registry import get_task
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.run import plan_clips
from auricle.tokens.extract import extract
from auricle.tokens.token_set import TokenSet

MEMORY_MB = 256.0


@dataclass
class Clips:
    """Vectors of a task's clips, with labels and folds as numbers."""

    name: str
    vectors: np.ndarray
    labels: np.ndarray
    folds: np.ndarray

    def side(self, *folds: int) -> Labelled:
        """Clips of some folds, fold after fold."""
        rows = np.concatenate([np.flatnonzero(self.folds == fold) for fold in folds])
        tokens = TokenSet.from_tensors(torch.from_numpy(self.vectors[rows]).unsqueeze(1))
        return Labelled(tokens, torch.from_numpy(self.labels[rows]))

    def parts(self, fold: int) -> tuple[Labelled, Labelled, Labelled]:
        """Training, validation and test clips when a fold is tested."""
        count = int(self.folds.max()) + 1
        following = (fold + 1) % count
        others = [f for f in range(count) if f not in (fold, following)]
        return self.side(*others), self.side(following), self.side(fold)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.labels.max()) + 1


def read_clips(run: Path, data: Path, task: str, store: Path) -> Clips:
    card = get_task(task)
    corpus = open_corpus(data / card.corpus)
    targets, plan = plan_clips(card, corpus, 0)
    encoder = auricle.load(run)
    tokens = extract(encoder, corpus, store).select(targets.rows)
    folds = np.zeros(len(targets.rows), dtype=np.int64)
    for number, fold in enumerate(plan.folds):
        folds[fold.test] = number
    vectors = np.asarray(tokens.vectors[tokens.row], dtype=np.float32)
    return Clips(task, vectors, targets.numbers, folds)


def points_of(precision: str) -> list[GridPoint]:
    return [GridPoint(head=p.head.replace(precision=precision), lr=p.lr) for p in HEAR.points]


def train_all(clips: Clips, precision: str, folds: int, threads: int) -> list[list[KitFit]]:
    """All points of all folds; the largest heads first, so that no thread is left with one of them at the end."""
    points, rule = points_of(precision), HEAR.training
    heads = list(dict.fromkeys(p.head for p in points))
    sides = [clips.parts(fold) for fold in range(folds)]
    work = [(fold, head) for head in sorted(heads, key=lambda h: -len(h.hidden)) for fold in range(folds)]

    def train(fold: int, head: object) -> list[KitFit]:
        mine = [p for p in points if p.head == head]
        rates = [p.lr for p in mine]
        memory = MEMORY_MB / threads
        return train_kit_head(
            mine[0].head,
            rule,
            rates,
            *sides[fold][:2],
            clips.classes,
            single=True,
            seed=42,
            memory_mb=memory,
            keep="best",
        )

    found = side_by_side([lambda f=f, h=h: train(f, h) for f, h in work], threads)
    by_part = dict(zip(work, found, strict=True))
    return [[fit for head in heads for fit in by_part[fold, head]] for fold in range(folds)]


def race_all(clips: Clips, folds: int, threads: int) -> list[list[KitFit]]:
    rule: KitTraining = HEAR.raced().training
    sides = [clips.parts(fold) for fold in range(folds)]

    def race(fold: int) -> list[KitFit]:
        return fit_points(
            points_of("auto"), rule, *sides[fold][:2], clips.classes, single=True, seed=42,
            memory_mb=MEMORY_MB / threads,
        )  # fmt: skip

    return side_by_side([lambda f=f: race(f) for f in range(folds)], threads)


def predictions(clips: Clips, rows: list[np.ndarray], scores: list[np.ndarray]) -> ClipPredictions:
    order = np.concatenate(rows)
    return ClipPredictions(
        kind="single",
        classes=tuple(str(c) for c in range(clips.classes)),
        clips=np.array([f"clip {r}" for r in order]),
        fold=clips.folds[order],
        group=np.array([f"clip {r}" for r in order]),
        truth=np.eye(clips.classes, dtype=bool)[clips.labels[order]],
        scores=np.concatenate(scores)[None].astype(np.float32),
        seeds=(42,),
    )


def ours(clips: Clips, kind: str, folds: int, threads: int) -> tuple[float, float, ClipPredictions, int]:
    """Seconds, processor seconds, test predictions, and epochs trained in all."""
    began, busy = time.perf_counter(), time.process_time()
    if kind == "raced":
        fits = race_all(clips, folds, threads)
    else:
        fits = train_all(clips, "exact" if kind == "exact" else "auto", folds, threads)
    points = points_of("auto")
    rows, scores = [], []
    for fold, found in enumerate(fits):
        place = best_point(found)
        test = clips.parts(fold)[2].tokens
        rows.append(np.flatnonzero(clips.folds == fold))
        scores.append(kit_logits(points[place].head, found[place], test, clips.classes).softmax(-1).numpy())
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return seconds, busy, predictions(clips, rows, scores), sum(fit.spent for found in fits for fit in found)


def theirs(
    clips: Clips, args: argparse.Namespace, folds: int, store: Path
) -> tuple[float, float, ClipPredictions, float]:
    """Seconds, processor seconds, test predictions, and peak memory (MB) of hear-eval-kit."""
    vectors, out = store / f"{clips.name}-vectors.npz", store / f"{clips.name}-kit.npz"
    np.savez(vectors, vectors=clips.vectors, labels=clips.labels, folds=clips.folds)
    here = Path(__file__).with_name("hear_rival.py")
    command = [args.kit_python, here, "--kit", args.kit.resolve(), "--vectors", vectors, "--out", out]
    command += ["--folds", folds, "--threads", args.threads]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    subprocess.run([str(part) for part in command], check=True, env=environment)
    found = np.load(out)
    results = found["results"]
    rows, scores = [], []
    for fold in range(folds):
        mine = results[results[:, 0] == fold]
        # The first of equals, as a stable sort by score leaves it.
        point = int(mine[mine[:, 3].argmax(), 1])
        rows.append(np.flatnonzero(clips.folds == fold))
        scores.append(found["scores"][point, rows[-1]])
    return (
        float(results[:, 2].sum()),
        float(results[:, 5].sum()),
        predictions(clips, rows, scores),
        float(found["peak"]),
    )


def said(predictions: ClipPredictions) -> str:
    found = score(predictions, "accuracy")
    return f"{found.value:.1%} [{found.interval.low:.1%}, {found.interval.high:.1%}]"


def memory_of(settings: int) -> float:
    """Peak growth (MB) of a process of its own that trains so many learning rates of the largest head."""
    here = Path(__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(here), "--memory-of", str(settings)]
    return float(subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout)


def train_for_memory(settings: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 1, 192, generator=generator), torch.arange(400) % 20
    side = Labelled(TokenSet.from_tensors(x), y)
    rates = np.geomspace(1e-4, 3e-3, settings).tolist()
    rule = HEAR.training.replace(epochs=6)
    before = resident("VmRSS")
    # Linux: what was once resident is forgotten, so that the peak is of what follows.
    Path("/proc/self/clear_refs").write_text("5")
    train_kit_head(
        HEAR.points[-1].head, rule, rates, side, side, 20, single=True, seed=0, memory_mb=MEMORY_MB, keep="best"
    )
    print(resident("VmHWM") - before)


def resident(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="run folder of the encoder")
    parser.add_argument("--data", type=Path, help="folder that holds the corpora")
    parser.add_argument("--kit", type=Path, help="clone of hear-eval-kit")
    parser.add_argument("--kit-python", help="Python of the environment that the kit runs in")
    parser.add_argument("--tasks", nargs="+", default=["esc10", "esc50_dev20"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--store", type=Path, help="where tokens are kept; default: a temporary folder")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of is not None:
        train_for_memory(args.memory_of)
        return
    if args.run is None or args.data is None:
        parser.error("give the run folder and --data")
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or Path(folder)
        store.mkdir(parents=True, exist_ok=True)
        print(f"16 points x {args.folds} folds, {args.threads} threads, torch {torch.__version__}")
        print("| task | who | seconds | times faster | processor s | accuracy | minus kit | epochs |")
        print("|---|---|---|---|---|---|---|---|")
        for task in args.tasks:
            clips = read_clips(args.run, args.data, task, store)
            kit = theirs(clips, args, args.folds, store) if args.kit and args.kit_python else None
            if kit is not None:
                print(f"| {task} | hear-eval-kit | {kit[0]:.1f} | 1 | {kit[1]:.1f} | {said(kit[2])} | | |", flush=True)
            for kind in ("exact", "bf16", "raced"):
                seconds, busy, found, epochs = ours(clips, kind, args.folds, args.threads)
                ratio, apart = "", ""
                if kit is not None:
                    difference = compare_predictions(found, kit[2], "accuracy")
                    interval = difference.interval
                    ratio = f"{kit[0] / seconds:.1f}"
                    apart = f"{difference.value:+.1%} [{interval.low:+.1%}, {interval.high:+.1%}]"
                row = (
                    task,
                    f"auricle, {kind}",
                    f"{seconds:.1f}",
                    ratio,
                    f"{busy:.1f}",
                    said(found),
                    apart,
                    str(epochs),
                )
                print(f"| {' | '.join(row)} |", flush=True)
            if kit is not None:
                print(f"peak memory of the kit: {kit[3]:.0f} MB")
        print(f"\nPeak memory beyond what is there before training; settings may hold {MEMORY_MB:.0f} MB:")
        print("| settings | MB |\n|---|---|")
        for settings in (1, 2, 4, 8, 16, 64):
            print(f"| {settings} | {memory_of(settings):.0f} |", flush=True)


if __name__ == "__main__":
    main()
