"""Two processes compute what one does on the global batch: losses, gradients, BatchNorm's statistics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = """
import os, sys
from pathlib import Path
import torch
import torch.distributed as dist

torch.set_num_threads(1)
sys.path.insert(0, str(Path(sys.argv[1])))
from ntxent_worker_parts import parts, views
from auricle.objectives.distributed import gather_rows
from auricle.objectives.contrastive.gradient_cache import cached_backward
from auricle.objectives.contrastive.ntxent import nt_xent

out, kind, rank, world = Path(sys.argv[2]), sys.argv[3], int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous-{kind}", rank=rank, world_size=world)
CLIPS = 8
own = slice(rank * CLIPS // world, (rank + 1) * CLIPS // world)
result = {}
if kind == "loss":
    # The bare loss: projections gathered with their gradient, own rows as anchors.
    z = [torch.randn(CLIPS, 6, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(2)]
    z = [x[own].clone().requires_grad_() for x in z]
    loss = nt_xent(*(gather_rows(x) for x in z), 0.1, chunk=3, rows=own).loss
    loss.backward()
    result = {"loss": loss.detach(), "z0": z[0].grad, "z1": z[1].grad}
else:
    encoder, objective = parts()
    # Masks are drawn for the global batch, and each rank keeps its rows; drop path is off.
    mine = [v[own] for v in views(CLIPS)]
    if kind == "direct":
        loss = objective(encoder, mine, torch.Generator().manual_seed(2))
        loss.total.backward()
    else:
        loss = cached_backward(objective, encoder, mine, torch.Generator().manual_seed(2), micro_batch=3)
    result = {"loss": loss.total.detach(), "accuracy": loss.watch["accuracy"]}
    for module, name in ((encoder, "encoder"), (objective, "objective")):
        for key, p in module.named_parameters():
            if p.grad is not None:
                if world > 1:
                    dist.all_reduce(p.grad)
                    p.grad /= world
                result[f"grad {name}.{key}"] = p.grad
        for key, b in module.named_buffers():
            result[f"buffer {key}"] = b
torch.save(result, out / f"{kind}-{world}-{rank}.pt")
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
"""

PARTS = """
import torch
from auricle.audio.batch import Features
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.objectives.contract import View
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.contrastive.pair_losses import NTXentConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig

def parts():
    encoder = SpectrogramTransformerConfig(
        width=24, depth=2, heads=2, mels=32, frames=64, drop_path=0.0
    ).build()
    config = ContrastiveConfig(projector=ProjectorConfig(hidden=(16,), out=8), loss=NTXentConfig(chunk=5))
    objective = config.build(encoder)
    with torch.no_grad():
        for p in (*encoder.parameters(), *objective.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    return encoder.double().train(), objective.double().train()

def views(clips):
    generator = torch.Generator().manual_seed(1)
    return [
        View(
            Features(torch.randn(clips, 64, 32, generator=generator).double(), torch.full((clips,), 64), 100.0),
            torch.arange(clips),
        )
        for _ in range(2)
    ]
"""


def run(folder: Path, kind: str, world: int) -> list[dict[str, torch.Tensor]]:
    processes = []
    for rank in range(world):
        environment = os.environ | {
            "RANK": str(rank),
            "WORLD_SIZE": str(world),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        command = [sys.executable, str(folder / "worker.py"), str(folder), str(folder), kind]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    try:
        for process in processes:
            text, _ = process.communicate(timeout=120)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
    return [torch.load(folder / f"{kind}-{world}-{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "ntxent_worker_parts.py").write_text(PARTS)
    return tmp_path


@pytest.mark.distributed
def test_loss_over_two_ranks(folder: Path) -> None:
    (whole,), ranks = run(folder, "loss", 1), run(folder, "loss", 2)
    mean = torch.stack([r["loss"] for r in ranks]).mean()
    torch.testing.assert_close(mean, whole["loss"], rtol=1e-12, atol=0)
    for name in ("z0", "z1"):
        # Averaged over ranks afterwards, as data parallelism does, this is the global gradient.
        found = torch.cat([r[name] for r in ranks]) / 2
        torch.testing.assert_close(found, whole[name], rtol=1e-10, atol=1e-14)


@pytest.mark.distributed
@pytest.mark.parametrize("kind", ["direct", "cached"])
def test_objective_over_two_ranks(folder: Path, kind: str) -> None:
    (whole,), ranks = run(folder, "direct", 1), run(folder, kind, 2)
    mean = torch.stack([r["loss"] for r in ranks]).mean()
    torch.testing.assert_close(mean, whole["loss"], rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.stack([r["accuracy"] for r in ranks]).mean(), whole["accuracy"])
    # Gradients that are zero but for rounding (fc_norm's bias under BatchNorm) are measured against the whole.
    gradients = [name for name in whole if name.startswith("grad")]
    floor = 1e-6 * torch.stack([whole[name].norm() for name in gradients]).norm()
    assert len(gradients) > 30
    for name in gradients:
        for r in ranks:
            error = (r[name] - whole[name]).norm() / whole[name].norm().clamp(min=floor)
            assert error < 1e-8, name
    for name in (n for n in whole if n.startswith("buffer")):
        for r in ranks:
            torch.testing.assert_close(r[name], whole[name], rtol=1e-12, atol=1e-14)
