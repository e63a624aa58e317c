"""Settings of the fast small-scale recipes, chosen on corpora that no result is reported on.

    python benchmarks/selection.py run --data CORPORA --out RUNS [--only NAME ...] --seconds 100 --seeds 0 1
    python benchmarks/selection.py table

A candidate is a tiny recipe with some of its settings changed. `run` pre-trains each for the same processor time, one
thread, on all corpora but esc10 and sed_synth, without labels; the schedule is fitted to the measured time of a step.
The frozen encoder and its random-weight control are scored by logistic regression on clip vectors (maximum plus mean,
mean, or mean and deviation of the tokens) on the corpora below. What is in `results/selection.json` is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from auricle.audio.batch import Audio
from auricle.audio.ops.feature_mixing import LogMixupExpConfig
from auricle.audio.ops.feature_ops import ResizeCropConfig
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Clip, Corpus
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.models import load
from auricle.objectives.contrastive.pair_losses import InBatchConfig, NTXentConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import Recipe, get_recipe, load_recipe, pretrain, resume
from auricle.storage import write_atomic
from auricle.studies.budget import Budget, fit_steps
from auricle.studies.methods import KEPT
from auricle.tasks.shallow import LogisticConfig, Vectors
from auricle.training.batch_statistics import settle_control

RESULTS = Path(__file__).parent / "results" / "selection.json"
# Corpora that settings are chosen on; of ESC-50 the classes outside ESC-10, of these three folds of five.
_FIVE = ("1", "2", "3", "4", "5")
FOLDS = {"esc50_dev20": ("1", "2", "3"), "medley_solos_mini": _FIVE, "scenes": _FIVE}
SPLITS = ("arabic_commands", "drum_oneshots")
SCENES = "builtin:scenes?kind=single&clips=300"
STRENGTH = 0.01


def changed(name: str, **parts: Any) -> Recipe:
    """Return a tiny recipe with settings of some of its parts changed."""
    recipe = get_recipe(name)
    return recipe.replace(**{part: getattr(recipe, part).replace(**change) for part, change in parts.items()})


_COSINE = InBatchConfig(similarity="cosine", temperature=0.2, symmetric=True)
_MIXED = (LogMixupExpConfig(ratio=0.2, entries=2048), ResizeCropConfig())
_NT_XENT = NTXentConfig(temperature=0.1)
_NTT = AudioNTTConfig.size("tiny", mels=128)
# Learning rate, schedule, batch, window, width, loss, views, encoder.
CANDIDATES: dict[str, Callable[[], Recipe]] = {
    "cola": lambda: get_recipe("cola"),
    "cola, cosine schedule": lambda: changed("cola", train={"schedule": "cosine"}),
    "cola, cosine schedule, 3e-4": lambda: changed("cola", train={"lr": 3e-4, "schedule": "cosine"}),
    "cola, batch 128": lambda: changed("cola", loader={"batch": 128}),
    "cola, windows of 2.56 s": lambda: changed("cola", window={"seconds": 2.56}),
    "cola, width 1024": lambda: changed("cola", encoder={"width": 1024}),
    "cola, cosine similarity": lambda: changed("cola", objective={"loss": _COSINE}),
    "cola, NT-Xent, cosine schedule": lambda: changed(
        "cola", objective={"loss": _NT_XENT}, train={"schedule": "cosine"}
    ),
    "cola, NT-Xent, mixed and resized, cosine schedule": lambda: changed(
        "cola", objective={"loss": _NT_XENT}, augment={"feature": _MIXED}, train={"schedule": "cosine"}
    ),
    "byol-a": lambda: get_recipe("byol-a"),
    "byol-a, 3e-4, constant": lambda: changed("byol-a", train={"lr": 3e-4, "schedule": "constant"}),
    "audiomosaic": lambda: get_recipe("audiomosaic"),
    "audiomosaic, AudioNTT without masks": lambda: changed(
        "audiomosaic", objective={"mask": MaskConfig(mode="none")}
    ).replace(encoder=_NTT),
    "audio-mae": lambda: get_recipe("audio-mae"),
    "eat": lambda: get_recipe("eat"),
    "atst-clip": lambda: get_recipe("atst-clip"),
}


def embedded(frozen: FrozenEncoder, corpus: Corpus, batch: int = 16) -> dict[str, np.ndarray]:
    """Return vectors of all clips, `(clips, D)`, by the statistics of the tokens that they are made of."""
    found: dict[str, list[torch.Tensor]] = {"pool": [], "mean": [], "mean and deviation": []}
    for begin in range(0, len(corpus), batch):
        clips = [corpus.audio(i) for i in range(begin, min(begin + batch, len(corpus)))]
        tokens, pooled = frozen.encode(Audio.stack(clips, frozen.rate))
        valid = tokens.valid.unsqueeze(2).float()
        x = tokens.x.float()
        middle = (x * valid).sum(1) / valid.sum(1)
        spread = (((x - middle.unsqueeze(1)).square() * valid).sum(1) / valid.sum(1)).sqrt()
        found["pool"].append(pooled.float())
        found["mean"].append(middle)
        found["mean and deviation"].append(torch.cat([middle, spread], 1))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def takes_part(name: str, clip: Clip) -> bool:
    """Return whether a clip is fitted or scored in any division of its corpus."""
    return clip.split in ("train", "test") if name in SPLITS else str(clip.fold) in FOLDS[name]


def divisions(name: str, corpus: Corpus) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the clips to fit and those to score of each division of a corpus."""
    if name in SPLITS:
        split = np.array(corpus.column("split"))
        yield split == "train", split == "test"
        return
    fold = np.array([str(f) for f in corpus.column("fold")])
    for held in FOLDS[name]:
        yield np.isin(fold, FOLDS[name]) & (fold != held), fold == held


def scores(frozen: FrozenEncoder, corpora: dict[str, Corpus]) -> dict[str, dict[str, float]]:
    """Return the accuracy in percent on every corpus, by what is read."""
    found: dict[str, dict[str, float]] = {}
    for name, corpus in corpora.items():
        labels = np.array(corpus.column("label"))
        for read, x in embedded(frozen, corpus).items():
            right: list[float] = []
            for known, held in divisions(name, corpus):
                classes = np.unique(labels[known])
                truth = Vectors(x[known], labels[known][:, None] == classes, single=True)
                chosen = classes[LogisticConfig().scores(truth, x[held], STRENGTH).argmax(1)]
                right += (chosen == labels[held]).tolist()
            found.setdefault(read, {})[name] = round(100 * mean(right), 2)
    return found


def run(args: argparse.Namespace) -> None:
    """Train and score what is not there yet."""
    corpus = open_corpus(args.data, exclude=KEPT)
    tested = {name: open_corpus(args.data / name) for name in (*FOLDS, *SPLITS) if name != "scenes"}
    tested["scenes"] = open_corpus(SCENES)
    tested = {name: corpus.filter(partial(takes_part, name)) for name, corpus in tested.items()}
    for seed in args.seeds:
        for name in args.only:
            key = {"candidate": name, "seed": seed, "seconds": args.seconds}
            if any(key.items() <= row.items() for row in stored()):
                continue
            out = args.out / f"{name}-{seed}-{args.seconds:g}".replace(",", "").replace(" ", "-")
            if (out / "run.json").exists():
                resume(out, progress=False)
            else:
                recipe = fit_steps(CANDIDATES[name](), corpus, Budget(args.seconds / 60), seed)
                pretrain(recipe, args.data, out, exclude=KEPT, progress=False)
            recipe, frozen = load_recipe(out), load(out).encoder
            control = settle_control(frozen.randomised(seed))
            known = [row["random"] for row in stored() if row["control"] == control.fingerprint]
            row = {**key, "steps": recipe.train.steps, "batch": recipe.loader.batch, "control": control.fingerprint}
            row |= {"scores": scores(frozen, tested), "random": known[0] if known else scores(control, tested)}
            # Read again: another process may have written since.
            write_atomic(RESULTS, f"{json.dumps([*stored(), row], indent=1)}\n".encode())
            print(line(row), flush=True)


def stored() -> list[dict[str, Any]]:
    """Return the rows that are there."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def line(row: dict[str, Any]) -> str:
    """Return a row in words: each score, in brackets that of random weights."""
    parts = [
        f"{read}: " + " ".join(f"{name} {value:.1f} ({row['random'][read][name]:.1f})" for name, value in found.items())
        for read, found in row["scores"].items()
    ]
    return "\n  ".join([f"{row['candidate']}, seed {row['seed']}: {row['steps']} steps of {row['batch']}", *parts])


def table() -> None:
    """Print the mean over corpora and seeds of each candidate, beside its control, the best first."""
    rows = stored()
    reads = list(rows[0]["scores"])
    print("| candidate | seconds | seeds | steps | " + " | ".join(f"{read} | random" for read in reads) + " |")
    print("|---|---|---|---|" + "---|---|" * len(reads))
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["candidate"], row["seconds"]), []).append(row)
    lines = []
    for (name, seconds), group in found.items():
        cells = [
            mean(value for row in group for value in row[side][read].values())
            for read in reads
            for side in ("scores", "random")
        ]
        steps = ", ".join(str(row["steps"]) for row in group)
        said = " | ".join(f"{cell:.1f}" for cell in cells)
        lines.append((max(cells[::2]), f"| {name} | {seconds:g} | {len(group)} | {steps} | {said} |"))
    print("\n".join(text for _, text in sorted(lines, reverse=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--only", nargs="+", choices=tuple(CANDIDATES), metavar="NAME", default=list(CANDIDATES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    if args.what == "table":
        table()
        return
    if args.data is None or args.out is None:
        parser.error("run takes --data, the folder of the corpora, and --out, a folder for the runs")
    torch.set_num_threads(1)
    run(args)


if __name__ == "__main__":
    main()
