"""Peak memory of probing a token cache that is larger than memory.

    python benchmarks/large_cache.py [--gigabytes 30] [--folder FOLDER]

The cache has the size of ten-second clips of a ViT-B encoder (64 x 8 tokens of width 768) and is nearly all holes: of
each clip one token holds the pattern of the clip's class, so that the disk needs little and the probes have something
to find. Reading a hole costs memory as reading numbers does. Each row is a process of its own: peak resident memory as
the system counts it (libraries included), and what of it was there before the cache was opened.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

WIDTH, FREQ, TIME, CLASSES = 768, 8, 64, 8
TOKENS_A_CLIP = FREQ * TIME
# name: probe of the registry, epochs (None: the default), learning rates
ROWS = {
    "linear on means, all settings": ("linear_mean", None, None),
    "protobin, streamed": ("protobin", 2, (0.02,)),
    "mhca, streamed": ("mhca", 2, (0.003,)),
}


def make(folder: Path, gigabytes: float) -> int:
    """Write the cache; returns its clips."""
    from auricle.tokens.clip_store import CLASSES as CLASS_TOKENS
    from auricle.tokens.clip_store import JOURNAL, ORIGIN, POOLED, TOKENS, VALID, Grids, Origin, journal_line

    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    clips = int(gigabytes * 1e9 / (TOKENS_A_CLIP * WIDTH * 2))
    rows = clips * TOKENS_A_CLIP
    signs = np.sign(draw.standard_normal((CLASSES, WIDTH))).astype(np.float16)
    with (folder / TOKENS).open("wb") as file:
        file.truncate(rows * WIDTH * 2)
        for clip in range(clips):
            token = clip * TOKENS_A_CLIP + int(draw.integers(TOKENS_A_CLIP))
            os.pwrite(file.fileno(), signs[clip % CLASSES].tobytes(), token * WIDTH * 2)
    np.ones(rows, dtype=bool).tofile(folder / VALID)
    (signs[np.arange(clips) % CLASSES] / TOKENS_A_CLIP).astype(np.float32).tofile(folder / POOLED)
    np.zeros((clips, 1, 1, WIDTH), dtype=np.float16).tofile(folder / CLASS_TOKENS)
    origin = Origin(encoder="holes", encoder_name="holes", frontend={}, layers=(12,), width=WIDTH)
    (folder / ORIGIN).write_text(json.dumps(asdict(origin)))
    grids = Grids(freq=(FREQ,), rate=(6.25,), pooled=WIDTH, classes=1)
    clip_list = [[f"{clip:032x}", [TIME], 0] for clip in range(clips)]
    record = {"row": 0, "slot": 0, "grids": asdict(grids), "clips": clip_list, "refused": {}}
    (folder / JOURNAL).write_bytes(journal_line(record))
    return clips


def resident(peak: bool = True) -> float:
    """Resident memory of this process in MB, at its peak or now."""
    name = "VmHWM" if peak else "VmRSS"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


def probe(folder: Path, name: str, share: float) -> None:
    """Probe the cache in this process and print what it took."""
    import torch

    from auricle.probes.contract import Labelled
    from auricle.probes.search.config import SearchConfig
    from auricle.probes.search.search import fit_probe
    from auricle.tokens.cache import TokenCache
    from auricle.tokens.clip_store import ClipStore

    before = resident(peak=False)
    store = ClipStore(folder)
    cache = TokenCache(store, list(store.entries), {})
    kind, epochs, lr = ROWS[name]
    search = SearchConfig() if epochs is None else SearchConfig(epochs=epochs, lr=lr, weight_decay=(1e-5,))
    order = np.random.default_rng(0).permutation(len(cache))
    if epochs is not None:
        order = order[: int(share * len(order))]
    labels = torch.arange(len(cache)) % CLASSES

    def part(rows: np.ndarray) -> Labelled:
        return Labelled(cache.select(rows), labels[torch.from_numpy(rows)])

    test, valid, train = (part(rows) for rows in np.split(order, [len(order) // 10, len(order) // 5]))
    start = time.perf_counter()
    names = tuple(f"class {c}" for c in range(CLASSES))
    fitted = fit_probe(kind, train, valid, classes=names, search=search)
    seconds = time.perf_counter() - start
    right = float((fitted.predict(test.tokens).argmax(1) == test.targets.numpy()).mean())
    found = {"clips": len(order), "seconds": seconds, "accuracy": right, "before": before, "peak": resident()}
    print(json.dumps({**found, "settings": len(fitted.trials), "epochs": search.epochs}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=30.0)
    parser.add_argument("--share", type=float, default=0.2, help="of the clips that streamed probes read each epoch")
    parser.add_argument("--folder", type=Path, help="where to make the cache; by default a temporary folder")
    parser.add_argument("--one", nargs=2, metavar=("CACHE", "ROW"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        probe(Path(args.one[0]), args.one[1], args.share)
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        cache = Path(place) / "cache"
        clips = make(cache, args.gigabytes)
        print(
            f"{args.gigabytes:g} GB of tokens: {clips:,} clips of {TOKENS_A_CLIP} tokens of width {WIDTH}; "
            f"this machine has {memory:.0f} GB of memory"
        )
        print("| probe | settings | epochs | clips an epoch | fit, s | accuracy | MB before | peak MB |")
        print("|---|---|---|---|---|---|---|---|")
        for name in ROWS:
            command = [sys.executable, __file__, "--one", str(cache), name, "--share", str(args.share)]
            run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            r = json.loads(run.stdout.splitlines()[-1])
            print(
                f"| {name} | {r['settings']} | {r['epochs']} | {int(0.8 * r['clips']):,} | {r['seconds']:.0f} | "
                f"{r['accuracy']:.3f} | {r['before']:.0f} | {r['peak']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
