"""Two processes predict the future as one does: loss and gradients, negatives and codes of the whole batch."""

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
from auricle.audio.batch import Features
from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.encoders.parts.quantisers.kmeans import KMeansLayerConfig
from auricle.encoders.waveform_recurrent import WaveformConvolutionConfig, WaveformRecurrentConfig
from auricle.encoders.parts.waveform_stem import WaveformStemConfig
from auricle.objectives.contract import View
from auricle.objectives.contrastive.future_contrast import FutureContrastConfig
from auricle.objectives.predictive.future_prediction import FuturePredictionConfig

out, rank, world = sys.argv[1], int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world)
stem = WaveformStemConfig(layers=((6, 4, 2), (6, 4, 2)), norm="layer", bias=True, padding="left")
wave = WaveformRecurrentConfig(stem=stem, width=8)
convolution = WaveformConvolutionConfig(stem=stem, width=8, kernels=(2, 3))
small = FutureContrastConfig(steps=3, negatives=4)
gumbel, kmeans = GumbelLayerConfig(groups=2, entries=8), KMeansLayerConfig(2, 8)
frames = FrameRecurrentConfig(width=8, depth=2, mels=12, dropout=0.0)
cases = [
    (wave, small.replace(pool="clip", anchors="all", loss="binary")),
    (wave, small),
    (wave, small.replace(pool="others")),
    (wave, small.replace(pool="column", column="who")),
    (wave, small.replace(source="codes", quantiser=gumbel, diversity=0.5)),
    (convolution.replace(quantiser=gumbel), small.replace(source="codes", pool="clip", diversity=0.5)),
    (convolution.replace(quantiser=kmeans), small.replace(source="codes")),
    (frames, FuturePredictionConfig()),
    (frames.replace(quantised_after=(2,), quantiser=gumbel), FuturePredictionConfig(diversity=0.5)),
]
CLIPS, own = 4, slice(rank * 4 // world, (rank + 1) * 4 // world)
# The second rank's rows are shorter, and padded: its batch is narrower than the first's.
lengths = torch.tensor([64, 60, 50, 31])[own]
result = {}
for number, (encoder_config, config) in enumerate(cases):
    encoder = encoder_config.build().double().train()
    objective = config.build(encoder).double().train()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(CLIPS, 64, *((12,) if encoder.bands else ()), generator=generator).double()
    x = x[own, : int(lengths.max())]
    for row, length in zip(x, lengths):
        row[length:] = 0
    view = View(Features(x, lengths, encoder.input_rate), torch.arange(CLIPS)[own])
    if objective.columns:
        objective.take_columns({"who": ["a", "b", "a", "b"]})
    loss = objective(encoder, [view], torch.Generator().manual_seed(2))
    loss.total.backward()
    total = loss.total.detach().clone()
    if world > 1:
        dist.all_reduce(total)
    result[f"{number} loss"] = total / world
    for room, module in (("encoder", encoder), ("objective", objective)):
        for name, p in module.named_parameters():
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            if world > 1:
                dist.all_reduce(grad)
            result[f"{number} {room}.{name}"] = grad / world
torch.save(result, f"{out}/{world}-{rank}.pt")
"""


@pytest.mark.distributed
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    def run(rank: int, world: int) -> subprocess.Popen[bytes]:
        env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], env=env)

    processes = [run(0, 1), run(0, 2), run(1, 2)]
    assert [p.wait(timeout=180) for p in processes] == [0, 0, 0]
    one, two = (torch.load(tmp_path / name) for name in ("1-0.pt", "2-1.pt"))
    assert one.keys() == two.keys()
    assert len([name for name in one if name.endswith("loss")]) == 9
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-10, rtol=1e-8, msg=name)
