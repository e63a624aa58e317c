"""Peak memory of a training step against the batch, direct and with gradient caching.

    python benchmarks/memory.py

Each row is a process of its own; its peak resident memory less that of a step of two clips.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def one(batch: int, micro_batch: int, size: str) -> None:
    """Do one step in this process and print its peak memory in MiB."""
    from auricle.recipes import get_recipe
    from auricle.recipes.building import build
    from auricle.training.ranks import Ranks
    from auricle.training.step import TrainingStep
    from training_step import FRAMES, views

    recipe = get_recipe("audiomosaic", size)
    train = recipe.train.replace(device="cpu", micro_batch=micro_batch or None)
    _, encoder, objective = build(recipe.replace(train=train, encoder=recipe.encoder.replace(frames=FRAMES)), 0)
    step = TrainingStep(encoder, objective, lambda *_: (), train, Ranks.start("cpu"))
    step(0, views(batch, FRAMES))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak(batch: int, micro_batch: int, size: str) -> float:
    command = [sys.executable, __file__, "--one", str(batch), str(micro_batch), "--size", size]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, type=int, metavar=("BATCH", "MICRO"), help=argparse.SUPPRESS)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--large", nargs="*", type=int, default=[1024], help="batches for gradient caching only")
    parser.add_argument("--micro", type=int, default=32)
    args = parser.parse_args()
    if args.one:
        one(*args.one, args.size)
        return
    base = peak(2, 0, args.size)
    print(f"{args.size}, 5.12-s windows, precision auto; a step of two clips takes {base:.0f} MiB, libraries included")
    print(f"| batch (pairs) | input features, MiB | direct, MiB more | in {args.micro}s, MiB more | ratio |")
    print("|---|---|---|---|---|")
    for batch in args.batches:
        data = 2 * batch * 512 * 128 * 4 / 2**20
        direct, cached = peak(batch, 0, args.size) - base, peak(batch, args.micro, args.size) - base
        print(f"| {batch} | {data:.0f} | {direct:.0f} | {cached:.0f} | {direct / max(cached, 1):.1f} |", flush=True)
    for batch in args.large:
        cached = peak(batch, args.micro, args.size) - base
        print(f"| {batch} | {2 * batch * 512 * 128 * 4 / 2**20:.0f} | not run | {cached:.0f} | |", flush=True)


if __name__ == "__main__":
    main()
