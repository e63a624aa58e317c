"""A cache several times larger than the memory it may take: probed in a process of its own, whose peak is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from auricle.tokens.clip_store import CLASSES as CLASS_TOKENS
from auricle.tokens.clip_store import JOURNAL, ORIGIN, POOLED, TOKENS, VALID, Grids, Origin, journal_line

WIDTH, FREQ, TIME, CLASSES = 192, 8, 64, 4
TOKENS_A_CLIP = FREQ * TIME

PROBE = """
import json, pathlib, sys
import numpy as np, torch
from auricle.probes.contract import Labelled
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.heads.protobin import ProtobinConfig
from auricle.probes.search.search import fit_probe
from auricle.probes.search.config import SearchConfig
from auricle.tokens.cache import TokenCache
from auricle.tokens.clip_store import ClipStore

def peak():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))

torch.set_num_threads(1)
store = ClipStore(pathlib.Path(sys.argv[1]))
cache = TokenCache(store, list(store.entries), {})
before, n = peak(), len(cache)
labels = torch.arange(n) % 4

def part(rows):
    return Labelled(cache.select(rows), labels[torch.from_numpy(rows)])

rows = np.random.default_rng(0).permutation(n)
report = {"before": before, "bytes": cache.nbytes}
for name, config, share, epochs in (("held", LinearConfig("mean"), 1.0, 10), ("streamed", ProtobinConfig(2), 0.2, 2)):
    some = rows[n // 10 : n // 10 + int(share * n)]
    cut = len(some) // 5
    search = SearchConfig(epochs=epochs, batch=64, lr=(0.02,), weight_decay=(1e-5,), memory_mb=100)
    fitted = fit_probe(config, part(some[cut:]), part(some[:cut]), classes=tuple("abcd"), search=search)
    # A pass of many pieces whose results are kept: a hundred bytes of each must not hold megabytes.
    whole = part(rows if name == "held" else rows[: n // 10])
    report[name] = float((fitted.predict(whole.tokens).argmax(1) == whole.targets.numpy()).mean())
report["peak"] = peak()
print(json.dumps(report))
"""


def sparse_cache(folder: Path, clips: int) -> None:
    """Write a cache that is nearly all holes: of each clip one token in 512 holds anything."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = clips * TOKENS_A_CLIP
    signs = np.sign(draw.standard_normal((CLASSES, WIDTH))).astype(np.float16)
    with (folder / TOKENS).open("wb") as file:
        file.truncate(rows * WIDTH * 2)
        for clip in range(clips):
            token = clip * TOKENS_A_CLIP + int(draw.integers(TOKENS_A_CLIP))
            os.pwrite(file.fileno(), signs[clip % CLASSES].tobytes(), token * WIDTH * 2)
    np.ones(rows, dtype=bool).tofile(folder / VALID)
    np.zeros((clips, WIDTH), dtype=np.float32).tofile(folder / POOLED)
    np.zeros((clips, 1, 1, WIDTH), dtype=np.float16).tofile(folder / CLASS_TOKENS)
    origin = Origin(encoder="holes", encoder_name="holes", frontend={}, layers=(12,), width=WIDTH)
    (folder / ORIGIN).write_text(json.dumps(asdict(origin)))
    grids = Grids(freq=(FREQ,), rate=(6.25,), pooled=WIDTH, classes=1)
    clip_list = [[f"{clip:032x}", [TIME], 0] for clip in range(clips)]
    record = {"row": 0, "slot": 0, "grids": asdict(grids), "clips": clip_list, "refused": {}}
    (folder / JOURNAL).write_bytes(journal_line(record))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from Linux's /proc")
def test_probing_a_large_cache_stays_in_bounds(tmp_path: Path) -> None:
    """2 GB of tokens: what is read again and again must not stay in the process, held or streamed."""
    sparse_cache(tmp_path / "cache", 10_000)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["bytes"] > 1.9e9
    # 100 MB may be held by each side; the rest is batches and what they are worked into.
    assert found["peak"] - found["before"] < 600
    assert found["held"] > 0.9
    assert found["streamed"] > 0.9
