"""The training step alone: pairs per second, and the share of the machine's matrix rate.

    python benchmarks/training_step.py [--sizes tiny base] [--repeats 5]

Batches of random features, so no data path. The matrix rate is a square product of 2048 in the same precision and at
the same number of threads, measured in the same run; operations are counted by torch's own counter, forward and
backward, over one step.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch.utils.flop_counter import FlopCounterMode

from auricle.audio.batch import Features
from auricle.devices import cores
from auricle.objectives.contract import View
from auricle.recipes import get_recipe
from auricle.recipes.building import build
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep

FRAMES = 512


def matrix_rate(dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Operations per second of a square matrix product."""
    a = torch.randn(2048, 2048, dtype=dtype)
    a @ a
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        a @ a
        count += 1
    return 2 * 2048**3 * count / (time.perf_counter() - begin)


def views(batch: int, frames: int) -> list[View]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(2):
        x = torch.randn(batch, frames, 128, generator=generator)
        made.append(View(Features(x, torch.full((batch,), frames), 100.0), torch.arange(batch)))
    return made


def measure(size: str, precision: str, mode: str, batch: int, repeats: int) -> tuple[float, float]:
    """Return pairs per second (median over steps) and operations per pair."""
    recipe = get_recipe("audiomosaic", size)
    objective = recipe.objective.replace(mask=recipe.objective.mask.replace(mode=mode))
    train = recipe.train.replace(precision=precision, device="cpu", micro_batch=None)
    encoder = recipe.encoder.replace(frames=FRAMES)
    recipe = recipe.replace(objective=objective, train=train, encoder=encoder)
    _, encoder, built = build(recipe, 0)
    step = TrainingStep(encoder, built, lambda *_: (), train, Ranks.start("cpu"))
    data = views(batch, FRAMES)
    step(0, data)
    with FlopCounterMode(display=False) as counter:
        step(1, data)
    times = []
    for number in range(repeats):
        begin = time.perf_counter()
        step(2 + number, data)
        times.append(time.perf_counter() - begin)
    return batch / sorted(times)[len(times) // 2], counter.get_total_flops() / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base"])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(cores())
    print(f"{cores()} threads; 5.12-s windows: 256 tokens, of which time masks keep 96 and frequency masks 128")
    print("| size | precision | tokens | pairs/s | GFLOP/pair | matrix GFLOP/s | share of it | speed-up by dropping |")
    print("|---|---|---|---|---|---|---|---|")
    for size in args.sizes:
        batch = {"tiny": 64, "small": 32, "base": 8}[size]
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            full = None
            for mode in ("none", "tf"):
                before = matrix_rate(dtype)
                speed, work = measure(size, precision, mode, batch, args.repeats)
                rate = (before + matrix_rate(dtype)) / 2
                full = speed if full is None else full
                gain = "" if mode == "none" else f"{speed / full:.2f}x"
                kept = "all" if mode == "none" else "kept"
                print(
                    f"| {size} | {precision} | {kept} | {speed:.1f} | {work / 1e9:.1f} | {rate / 1e9:.0f} "
                    f"| {speed * work / rate:.0%} | {gain} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
