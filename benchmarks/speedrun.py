"""Time of pre-training until a k-NN probe on ESC-10 passes stated scores: the numbers to lower.

    python benchmarks/speedrun.py --data FOLDER [--recipe cola] [--scores 0.75 0.85 0.875] [--seeds 0 1]

Pre-training sees everything in the folder except esc10 and sed_synth, and no label. The probe: cosine k-NN (k = 10) on
clip vectors, folds 1 to 4 as neighbours, fold 5 as queries. Step 0 is the encoder with random weights; BatchNorm has
the statistics of plain batches each time, as at the end of a run. The clock stands still while the probe runs, and
starts after opening the corpus and measuring its statistics, which are printed beside. Both times are printed: that
of the clock, and that of the processor, which other processes on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from auricle.audio.batch import Audio
from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus
from auricle.devices import cores
from auricle.encoders.frozen import FrozenEncoder
from auricle.metrics.knn import knn_scores
from auricle.recipes import get_recipe
from auricle.recipes.building import build
from auricle.training.batch_statistics import estimate_statistics
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="cola", help="method, in its tiny size")
    parser.add_argument("--scores", type=float, nargs="+", default=[0.75, 0.85, 0.875])
    parser.add_argument("--every", type=int, default=25, help="steps between probes")
    parser.add_argument("--steps", type=int, default=300, help="length of the schedule, and the most steps")
    parser.add_argument("--threads", type=int, default=0, help="0: every core")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(args.threads or cores())
    corpus = open_corpus(args.data, exclude=("esc10", "sed_synth"))
    esc10 = open_corpus(args.data / "esc10")
    clips = [esc10.audio(i) for i in range(len(esc10))]
    labels = np.array(esc10.column("label"))
    query = np.array(esc10.column("fold")) == 5
    print(
        f"{args.recipe} tiny; targets: k-NN accuracy {', '.join(map(str, args.scores))} on ESC-10 fold 5; "
        f"{torch.get_num_threads()} threads; probe every {args.every} steps"
    )
    for seed in args.seeds:
        run(args, seed, corpus, clips, labels, query)


def run(
    args: argparse.Namespace, seed: int, corpus: Corpus, clips: list[Audio], labels: np.ndarray, query: np.ndarray
) -> None:
    recipe = get_recipe(args.recipe, "tiny")
    train = recipe.train.replace(steps=args.steps, seed=seed, device="cpu")
    begin = time.perf_counter()
    recipe = recipe.replace(train=train)
    if recipe.measure_statistics and recipe.frontend.uses_statistics:
        mean, std = measure_statistics(corpus, recipe.frontend.build(), window=recipe.window, seed=seed)
        recipe = recipe.replace(frontend=recipe.frontend.with_statistics(mean, std))
    frontend, encoder, objective = build(recipe, seed)
    loader = Loader(corpus, recipe.window, recipe.loader, rate=frontend.rate, seed=seed)
    step = TrainingStep(encoder, objective, recipe.augment.build(frontend), train, Ranks.start("cpu"))
    plain = [step.plain(batch.audio) for batch in islice(loader.iterate(args.steps), 4)]
    print(f"seed {seed}: statistics took {time.perf_counter() - begin:.0f} s", flush=True)

    def probe() -> float:
        estimate_statistics(encoder, iter(plain))
        frozen = FrozenEncoder(frontend, encoder, name="speedrun", fingerprint="unsaved", precision="bf16")
        parts = [frozen.pooled(Audio.stack(clips[i : i + 16], frozen.rate)) for i in range(0, len(clips), 16)]
        vectors = torch.cat(parts).float().numpy()
        encoder.requires_grad_(True).train()
        frontend.train()
        names, known = np.unique(labels[~query], return_inverse=True)
        votes = knn_scores(vectors[~query], known, vectors[query], k=10)
        return float((names[votes.argmax(1)] == labels[query]).mean())

    left, first = sorted(args.scores), probe()
    print(f"  step 0: {first:.4f} (random weights)", flush=True)
    for score in [score for score in left if first >= score]:
        print(f"seed {seed}: {score} is no target: random weights pass it", flush=True)
        left.remove(score)
    clock = processor = 0.0
    mark, busy = time.perf_counter(), time.process_time()
    for batch in loader.iterate(0, args.steps):
        step(batch.step, step.views(batch.step, batch.audio, batch.clip))
        done = batch.step + 1
        if done % args.every == 0:
            clock, processor = clock + time.perf_counter() - mark, processor + time.process_time() - busy
            found, spent = probe(), f"{clock:.0f} s ({processor:.0f} s of processors)"
            print(f"  step {done}: {found:.4f} after {spent}, {done * len(batch.clip)} pairs", flush=True)
            while left and found >= left[0]:
                print(f"seed {seed}: {left.pop(0)} passed after {spent} of training", flush=True)
            if not left:
                return
            mark, busy = time.perf_counter(), time.process_time()
    print(f"seed {seed}: {', '.join(map(str, left))} not passed in {args.steps} steps", flush=True)


if __name__ == "__main__":
    main()
