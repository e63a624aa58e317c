"""Wall time of pre-training until a k-NN probe on ESC-10 passes a stated score: the number to lower.

    python benchmarks/speedrun.py --data FOLDER [--score 0.75] [--seeds 0 1]

Pre-training sees everything in the folder except esc10 and sed_synth, and no label. The probe: cosine k-NN (k = 10) on
clip vectors, folds 1 to 4 as neighbours, fold 5 as queries. The clock stands still while the probe runs, and starts
after opening the corpus and measuring its statistics, which are printed beside.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from auricle.audio.batch import Audio
from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.devices import cores
from auricle.encoders.frozen import FrozenEncoder
from auricle.metrics.knn import knn_scores
from auricle.recipes import get_recipe
from auricle.recipes.building import build
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--score", type=float, default=0.75)
    parser.add_argument("--every", type=int, default=25, help="steps between probes")
    parser.add_argument("--steps", type=int, default=300, help="length of the schedule, and the most steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(cores())
    corpus = open_corpus(args.data, exclude=("esc10", "sed_synth"))
    esc10 = open_corpus(args.data / "esc10")
    clips = [esc10.audio(i) for i in range(len(esc10))]
    labels = np.array(esc10.column("label"))
    query = np.array(esc10.column("fold")) == 5
    print(f"target: k-NN accuracy {args.score} on ESC-10 fold 5; {cores()} threads; probe every {args.every} steps")
    for seed in args.seeds:
        run(args, seed, corpus, clips, labels, query)


def run(args: argparse.Namespace, seed: int, corpus, clips, labels, query) -> None:
    recipe = get_recipe("audiomosaic", "tiny")
    train = recipe.train.replace(steps=args.steps, seed=seed, device="cpu")
    begin = time.perf_counter()
    mean, std = measure_statistics(corpus, recipe.frontend.build(), seed=seed)
    recipe = recipe.replace(train=train, frontend=recipe.frontend.with_statistics(mean, std))
    frontend, encoder, objective = build(recipe, seed)
    loader = Loader(corpus, recipe.window, recipe.loader, rate=frontend.rate, seed=seed)
    step = TrainingStep(encoder, objective, recipe.augment.build(frontend), train, Ranks.start("cpu"))
    print(f"seed {seed}: statistics took {time.perf_counter() - begin:.0f} s", flush=True)

    def probe() -> float:
        frozen = FrozenEncoder(frontend, encoder, name="speedrun", fingerprint="unsaved", precision="bf16")
        parts = [frozen.pooled(Audio.stack(clips[i : i + 16], frozen.rate)) for i in range(0, len(clips), 16)]
        vectors = torch.cat(parts).float().numpy()
        encoder.requires_grad_(True).train()
        frontend.train()
        names, known = np.unique(labels[~query], return_inverse=True)
        votes = knn_scores(vectors[~query], known, vectors[query], k=10)
        return float((names[votes.argmax(1)] == labels[query]).mean())

    print(f"  step 0: {probe():.4f} (random weights)", flush=True)
    clock, mark = 0.0, time.perf_counter()
    for batch in loader.iterate(0, args.steps):
        step(batch.step, step.views(batch.step, batch.audio, batch.clip))
        done = batch.step + 1
        if done % args.every == 0:
            clock += time.perf_counter() - mark
            score = probe()
            print(f"  step {done}: {score:.4f} after {clock:.0f} s, {done * len(batch.clip)} pairs", flush=True)
            if score >= args.score:
                print(f"seed {seed}: {args.score} passed after {clock:.0f} s of training", flush=True)
                return
            mark = time.perf_counter()
    print(f"seed {seed}: {args.score} not passed in {args.steps} steps, {clock:.0f} s", flush=True)


if __name__ == "__main__":
    main()
