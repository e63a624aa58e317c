"""Two processes hide what one does, also where only one of them has padded clips, or their grids differ in length."""

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
from auricle.objectives.masks.blocks import BlockMask, ClusterMask, InverseBlockMask
from auricle.objectives.masks.jepa import JepaMask
from auricle.objectives.masks.samplers import FrameMask, GroupMask, HalvesMask, RandomMask, StructuredMask
from auricle.objectives.masks.spans import BernoulliSpanMask, SpanMask

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

# Each of two ranks pads its rows to the longest of its own: the second has a shorter grid.
every = (
    SpanMask(), SpanMask(same_count=False), BernoulliSpanMask(), InverseBlockMask(), InverseBlockMask(even=False),
    BlockMask(), ClusterMask(), ClusterMask(wrap=True), JepaMask(), RandomMask(), FrameMask(), GroupMask(),
    HalvesMask(), StructuredMask(), StructuredMask(axis="freq", ratio=0.4),
)
found = []
for lengths in ([80] * 4 + [50] * 4, [80, 80, 77, 77, 50, 50, 20, 20], [80] * 4 + [9] * 4):
    rows = 8 // world
    mine = torch.tensor(lengths)[rank * rows : (rank + 1) * rows]
    grid = Grid(int(mine.max()), 2, 50.0)
    valid = (torch.arange(grid.time) < mine.unsqueeze(1)).repeat_interleave(2, 1)
    for mask in every:
        generator = torch.Generator().manual_seed(0)
        hidden = mask.draw(grid, rows, generator, None if bool(valid.all()) else valid)
        if mask.equal_count and hidden.visible() is None:
            raise SystemExit(f"{mask} leaves different numbers of tokens visible")
        pair = torch.zeros(2, rows, 162, dtype=torch.bool)
        pair[0, :, : grid.tokens], pair[1, :, : grid.tokens] = hidden.masked & valid, hidden.predicted
        # What is drawn next must be the same on all ranks, too.
        pair[:, :, 160:] = torch.rand(2, generator=generator) < 0.5
        found.append(pair)
torch.save(torch.stack(found), f"{out}/wide-{world}-{rank}.pt")
if world > 1:
    # A rank that leaves while the other still closes its connections aborts that one.
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.mark.distributed
def test_two_processes_hide_what_one_hides(tmp_path: Path) -> None:
    def run(rank: int, world: int) -> subprocess.Popen[bytes]:
        env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], env=env)

    processes = [run(0, 1), run(0, 2), run(1, 2)]
    assert [p.wait(timeout=120) for p in processes] == [0, 0, 0]
    for kind in ("", "wide-"):
        one = torch.load(tmp_path / f"{kind}1-0.pt")
        two = torch.cat([torch.load(tmp_path / f"{kind}2-{rank}.pt") for rank in range(2)], 2)
        different = (one != two).flatten(1).any(1).nonzero().flatten().tolist()
        assert not different, f"draws {different} differ"
