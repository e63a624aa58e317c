"""Batch norm over valid places only, against loops; maps whose clips have no valid place at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.efficientnet import EfficientNetConfig
from auricle.encoders.parts.batch_norm import BinNorm, normalise
from auricle.encoders.parts.feature_map import (
    FeatureMap,
    Window,
    convolve,
    count_through,
    least_through,
    max_pool,
    mean_map,
)
from auricle.encoders.slice_cnn import SliceCNNConfig


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(3, 4, 5, 7), (3, 4, 7)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_training_statistics_are_those_of_valid_places(shape: tuple[int, ...], momentum: float | None) -> None:
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    norm, plain = (kind(4, momentum=momentum).double() for _ in range(2))
    lengths = torch.tensor([7, 2, 4])
    x = drawn(*shape).requires_grad_()
    places = [x[b, ..., : int(lengths[b])].flatten(1).T for b in range(3)]
    # All valid places as rows of one table: what batch norm over a table does is the reference.
    table = nn.BatchNorm1d(4, momentum=momentum).double()
    for _ in range(2):
        expected = table(torch.cat(places))
        found = normalise(norm, FeatureMap(x, lengths)).x
    rows = torch.cat([found[b, ..., : int(lengths[b])].flatten(1).T for b in range(3)])
    torch.testing.assert_close(rows, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm.running_mean, table.running_mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm.running_var, table.running_var, rtol=1e-10, atol=1e-12)
    assert norm.num_batches_tracked == table.num_batches_tracked
    (ours,) = torch.autograd.grad(rows.pow(3).sum(), x, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected.pow(3).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)
    whole = normalise(plain, FeatureMap(x)).x
    torch.testing.assert_close(whole, kind(4).double()(x))


def test_padding_has_no_say_in_training() -> None:
    encoder = SliceCNNConfig(channels=(4, 8, 8), mels=16).build().double().train()
    lengths = torch.tensor([40, 17, 9])
    x = drawn(3, 40, 16)
    filler = x.clone()
    for b, length in enumerate(lengths.tolist()):
        filler[b, length:] = 1e3
    tokens = [encoder(Features(v, lengths, 100.0)) for v in (x, filler)]
    assert tokens[0].valid is not None
    torch.testing.assert_close(tokens[0].x[tokens[0].valid], tokens[1].x[tokens[0].valid], rtol=0, atol=0)


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_too_short_for_a_token_stays_finite(training: bool) -> None:
    encoder = AudioNTTConfig(width=16, mels=16, channels=4).build().train(training)
    tokens = encoder(Features(drawn(3, 40, 16).float(), torch.tensor([40, 7, 0]), 100.0))
    pooled = encoder.pool(tokens)
    assert tokens.valid is not None
    assert tokens.valid.sum(1).tolist() == [5, 0, 0]
    assert pooled[1:].eq(0).all()
    pooled.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    other = EfficientNetConfig(width_factor=0.25, mels=16).build().train(training)
    assert other.pool(other(Features(drawn(2, 40, 16).float(), torch.tensor([40, 0]), 100.0))).isfinite().all()


def test_training_in_half_precision_keeps_its_statistics_in_single() -> None:
    encoder = SliceCNNConfig(channels=(4, 8, 8), mels=16).build().train()
    exact = SliceCNNConfig(channels=(4, 8, 8), mels=16).build().train()
    data = Features(drawn(4, 40, 16).float(), torch.tensor([40, 17, 9, 33]), 100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = encoder.pool(encoder(data))
    pooled.float().square().sum().backward()
    torch.testing.assert_close(pooled.float(), exact.pool(exact(data)), rtol=0.05, atol=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    for ours, theirs in zip(encoder.buffers(), exact.buffers(), strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)


def test_windows() -> None:
    window = Window.centred(3, 2)
    assert [window.count(n) for n in range(6)] == [0, 1, 1, 2, 2, 3]
    assert window.counts(torch.arange(6)).tolist() == [0, 1, 1, 2, 2, 3]
    chain = [Window(10, 5), Window(3, 2), Window(3, 2), Window(3, 2), Window(3, 2), Window(2, 2), Window(2, 2)]
    # The known stack of wav2vec 2.0: 400 samples seen, one second gives 49.
    assert least_through(chain) == 400
    assert count_through(chain, 399) == 0
    assert count_through(chain, 16000) == 49


def test_pooling_and_means_see_valid_places_only() -> None:
    x, lengths = drawn(2, 3, 4, 9), torch.tensor([9, 5])
    pooled = max_pool(FeatureMap(x, lengths), Window.centred(3, 2))
    alone = max_pool(FeatureMap(x[1:, ..., :5]), Window.centred(3, 2))
    assert pooled.lengths is not None
    assert pooled.lengths.tolist() == [5, 3]
    assert torch.equal(pooled.x[1, ..., :3], alone.x[0])
    assert pooled.x.isfinite().all()
    torch.testing.assert_close(mean_map(FeatureMap(x, lengths))[1], x[1, ..., :5].mean((1, 2)))
    conv = nn.Conv2d(3, 2, 3, 2).double()
    uneven = Window(3, 2, 0, 2)
    both = convolve(conv, FeatureMap(x, lengths), uneven)
    one = convolve(conv, FeatureMap(x[1:, ..., :5]), uneven)
    torch.testing.assert_close(both.x[1, ..., : one.x.shape[-1]], one.x[0], rtol=1e-12, atol=1e-12)


WORKER = """
import os, sys
import torch
import torch.distributed as dist
from auricle.audio.batch import Features
from auricle.encoders.slice_cnn import SliceCNNConfig

torch.set_num_threads(1)
out, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world)
encoder = SliceCNNConfig(channels=(4, 8, 8), mels=16).build().double().train()
result = {}
for kind, lengths in (("full", [40] * 4), ("padded", [40, 17, 40, 9])):
    x = torch.randn(4, 40, 16, generator=torch.Generator().manual_seed(1)).double()
    own = slice(rank * 4 // world, (rank + 1) * 4 // world)
    pooled = encoder.pool(encoder(Features(x[own], torch.tensor(lengths)[own], 100.0)))
    encoder.zero_grad()
    loss = pooled.pow(3).sum(1).mean()
    loss.backward()
    for name, p in encoder.named_parameters():
        if world > 1:
            dist.all_reduce(p.grad)
            p.grad /= world
        result[f"{kind} {name}"] = p.grad.clone()
    result[f"{kind} pooled"] = pooled.detach()
    result |= {f"{kind} {name}": b.clone() for name, b in encoder.named_buffers()}
torch.save(result, f"{out}/{world}-{rank}.pt")
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.mark.distributed
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "GLOO_SOCKET_IFNAME": "lo"}

    def start(rank: int, world: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(tmp_path / "worker.py"), str(tmp_path), str(rank), str(world)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    processes = [start(0, 1), start(0, 2), start(1, 2)]
    try:
        for process in processes:
            text, _ = process.communicate(timeout=120)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
    whole, *halves = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for name, expected in whole.items():
        if name.endswith("pooled"):
            found = torch.cat([half[name] for half in halves])
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
        else:
            for half in halves:
                torch.testing.assert_close(half[name], expected, rtol=1e-8, atol=1e-10)


def clips(lengths: list[int], frames: int, pad: float = 5.0) -> torch.Tensor:
    x = torch.randn(len(lengths), frames, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    return x.masked_fill(torch.arange(frames)[None, :, None] >= torch.tensor(lengths)[:, None, None], pad)


@pytest.mark.parametrize("lengths", [[9, 9, 9], [9, 4, 1]])
def test_it_is_batch_norm_of_the_valid_frames(lengths: list[int]) -> None:
    ours, theirs = BinNorm(6).double(), torch.nn.BatchNorm1d(6, momentum=0.01).double()
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.linspace(0.5, 2, 6))
            norm.bias.copy_(torch.linspace(-1, 1, 6))
    data = clips(lengths, 9)
    for _ in range(3):
        x, y = data.clone().requires_grad_(), data.clone().requires_grad_()
        inside = torch.arange(9) < torch.tensor(lengths).unsqueeze(1)
        ours.zero_grad()
        theirs.zero_grad()
        out, expected = ours(x, torch.tensor(lengths))[inside], theirs(y[inside])
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)
        out.pow(3).sum().backward()
        expected.pow(3).sum().backward()
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-10, atol=1e-12)
    out = ours.eval()(data, torch.tensor(lengths))
    torch.testing.assert_close(out, theirs.eval()(data.flatten(0, 1)).view_as(data), rtol=1e-10, atol=1e-12)


def test_how_far_clips_are_padded_does_not_matter() -> None:
    lengths = torch.tensor([9, 4])
    near, far = BinNorm(6).double(), BinNorm(6).double()
    data = clips([9, 4], 9)
    long = torch.cat([data, torch.full((2, 30, 6), 5.0)], 1)
    torch.testing.assert_close(near(data, lengths), far(long, lengths)[:, :9], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(near.running_var, far.running_var)


def test_a_single_frame_stays_finite() -> None:
    norm = BinNorm(6)
    assert norm(torch.randn(1, 3, 6), torch.tensor([1])).isfinite().all()
    assert norm.running_var.isfinite().all()
    norm.reset_parameters()
    assert bool((norm.running_var == 1).all())
    assert bool((norm.running_mean == 0).all())
