"""Two processes compute what one does on the whole batch: loss, gradients, codebooks and statistics of every recipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from auricle.recipes import recipes

pytestmark = pytest.mark.distributed
SCRIPT = Path(__file__).parent / "recipe_ranks.py"
NAMES = [entry.name for entry in recipes() if "tiny" in entry.sizes]
# One start of the interpreter serves several recipes; a recipe that hangs must not take all with it.
GROUPS = [NAMES[i : i + 12] for i in range(0, len(NAMES), 12)]


def run(out: Path, names: list[str], world: int) -> None:
    processes = []
    for rank in range(world):
        environment = os.environ | {
            "RANK": str(rank), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
            "GLOO_SOCKET_IFNAME": "lo",
        }  # fmt: skip
        command = [sys.executable, str(SCRIPT), str(out), json.dumps(names)]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    try:
        for process in processes:
            text, _ = process.communicate(timeout=300)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module", params=range(len(GROUPS)))
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[str], Path]]:
    out = tmp_path_factory.mktemp("ranks")
    names = GROUPS[request.param]
    for world in (1, 2):
        run(out, names, world)
    yield names, out
    shutil.rmtree(out)  # gradients of a dozen recipes


def test_two_ranks_compute_what_one_does(found: tuple[list[str], Path]) -> None:
    names, out = found
    wrong = []
    for name in names:
        one = torch.load(out / f"{name}-1-0.pt", weights_only=True)
        for rank in range(2):
            two = torch.load(out / f"{name}-2-{rank}.pt", weights_only=True)
            assert one.keys() == two.keys()
            for key, value in one.items():
                scale = float(value.double().abs().max()) + 1e-12
                gap = float((two[key].double() - value.double()).abs().max()) if value.numel() else 0.0
                if gap > 1e-6 * max(scale, 1e-3):
                    wrong.append(f"{name} rank {rank} {key}: {gap:.2e} of {scale:.2e}")
    assert not wrong, "\n".join(wrong[:40])
