"""Two processes hide what one does, also where only one of them has padded clips."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = """
import os, sys
import torch
import torch.distributed as dist

torch.set_num_threads(1)
from auricle.encoders.contract import Grid
from auricle.objectives.mask_blocks import InverseBlockMask
from auricle.objectives.mask_jepa import JepaMask
from auricle.objectives.mask_spans import SpanMask

out, rank, world = sys.argv[1], int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world)
grid, found = Grid(80, 2, 50.0), []
whole = torch.ones(8, 160, dtype=torch.bool)
padded = whole.clone()
padded[5, 100:] = padded[7, 60:] = False
for valid in (whole, padded):
    mine = valid[rank * 8 // world : (rank + 1) * 8 // world]
    # An encoder tells None where nothing is padded: on the first of two ranks, in both cases.
    mine = None if bool(mine.all()) else mine
    for mask in (SpanMask(), SpanMask(same_count=False), InverseBlockMask(), JepaMask()):
        hidden = mask.draw(grid, 8 // world, torch.Generator().manual_seed(0), mine)
        found.append(torch.stack([hidden.masked, hidden.predicted]))
torch.save(torch.stack(found), f"{out}/{world}-{rank}.pt")
"""


@pytest.mark.distributed
def test_two_processes_hide_what_one_hides(tmp_path: Path) -> None:
    def run(rank: int, world: int) -> subprocess.Popen[bytes]:
        env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], env=env)

    processes = [run(0, 1), run(0, 2), run(1, 2)]
    assert [p.wait(timeout=120) for p in processes] == [0, 0, 0]
    one = torch.load(tmp_path / "1-0.pt")
    two = torch.cat([torch.load(tmp_path / f"2-{rank}.pt") for rank in range(2)], 2)
    assert torch.equal(one, two)
