"""From files on disk to optimiser steps: pairs per second and the share of time that waits for data.

    python benchmarks/end_to_end.py --data FOLDER [--steps 30]

The same run (decode, resample, augment, step; AudioMosaic tiny) at several numbers of loader threads and step threads,
interleaved over two rounds. The first round decodes from disk (`cache_mb` is 0 throughout, so that every epoch costs
what the first one does).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from auricle.corpus.sources import open_corpus
from auricle.devices import cores
from auricle.recipes import get_recipe, pretrain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    corpus = open_corpus(args.data, exclude=("esc10", "sed_synth"))
    recipe = get_recipe("audiomosaic", "tiny").replace(measure_statistics=False)
    choices = [(workers, threads) for threads in sorted({1, cores()}) for workers in (0, 1, cores())]
    seen: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for workers, threads in choices:
                run = Path(folder) / f"{number}-{workers}-{threads}"
                half = args.steps // 2
                train = recipe.train.replace(
                    steps=args.steps, threads=threads, log_every=half, save_every=10**6, device="cpu", warmup_steps=1
                )
                loader = recipe.loader.replace(workers=workers, cache_mb=0)
                pretrain(recipe.replace(train=train, loader=loader), corpus, run, progress=False)
                # The second half: the first fills the pipeline and warms the kernels up.
                line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
                seen[workers, threads].append((line["clips_per_second"], line["wait_share"]))
    print(f"AudioMosaic tiny, batch {recipe.loader.batch}, {recipe.window.seconds} s windows, {cores()} cores")
    print("| step threads | loader threads | pairs/s | waiting for data |")
    print("|---|---|---|---|")
    for (workers, threads), values in sorted(seen.items(), key=lambda item: (item[0][1], item[0][0])):
        speed = sum(v[0] for v in values) / len(values)
        wait = sum(v[1] for v in values) / len(values)
        print(f"| {threads} | {workers} | {speed:.1f} | {wait:.1%} |")


if __name__ == "__main__":
    main()
