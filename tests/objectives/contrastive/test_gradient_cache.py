from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from auricle.audio.batch import Features
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.contrastive.gradient_cache import cached_backward
from auricle.objectives.contrastive.pair_losses import BarlowConfig, InBatchConfig, NTXentConfig, PairLossConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import Contrastive, ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig

SMALL = SpectrogramTransformerConfig(width=24, depth=2, heads=2, mels=32, frames=64, drop_path=0.0)


def parts(dtype: torch.dtype = torch.float64, drop_path: float = 0.0) -> tuple[SpectrogramTransformer, Contrastive]:
    encoder = SMALL.replace(drop_path=drop_path).build()
    config = ContrastiveConfig(projector=ProjectorConfig(hidden=(16,), out=8), loss=NTXentConfig(chunk=5))
    objective = config.build(encoder)
    with torch.no_grad():  # far from the tiny initial weights, so that gradients are not near zero
        for p in (*encoder.parameters(), *objective.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    return encoder.to(dtype).train(), objective.to(dtype).train()


def views(clips: int, dtype: torch.dtype = torch.float64) -> list[View]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(2):
        x = torch.randn(clips, 64, 32, generator=generator, dtype=torch.float64).to(dtype)
        made.append(View(Features(x, torch.full((clips,), 64), 100.0), torch.arange(clips)))
    return made


def gradients(encoder: nn.Module, objective: nn.Module) -> dict[str, torch.Tensor]:
    named = [*encoder.named_parameters(prefix="encoder"), *objective.named_parameters(prefix="objective")]
    return {name: p.grad for name, p in named if p.grad is not None}


def check(direct: dict[str, torch.Tensor], cached: dict[str, torch.Tensor], tolerance: float) -> None:
    assert direct.keys() == cached.keys()
    # fc_norm's bias has a gradient of exactly zero (BatchNorm removes any common shift): rounding, not to be compared.
    floor = 1e-6 * torch.stack([g.norm() for g in direct.values()]).norm()
    for name, expected in direct.items():
        error = (cached[name] - expected).norm() / expected.norm().clamp(min=floor)
        assert error < tolerance, f"{name}: {float(error):.1e}"


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 7, 12, 100])
def test_equals_the_direct_computation(micro_batch: int) -> None:
    encoder, objective = parts()
    twin, twin_objective = copy.deepcopy(encoder), copy.deepcopy(objective)
    data = views(12)
    direct = objective(encoder, data, torch.Generator().manual_seed(2))
    (direct.total * 3.0).backward()
    cached = cached_backward(
        twin_objective, twin, data, torch.Generator().manual_seed(2), micro_batch=micro_batch, scale=3.0
    )
    assert not cached.total.requires_grad
    torch.testing.assert_close(cached.total, direct.total.detach(), rtol=1e-12, atol=0)
    check(gradients(encoder, objective), gradients(twin, twin_objective), 1e-8)
    for (name, ours), theirs in zip(twin_objective.named_buffers(), objective.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14, msg=name)
    # One step: each of the two views updated BatchNorm's statistics once.
    assert int(twin_objective.projector[1].num_batches_tracked) == 2
    for name in ("accuracy", "rank_z", "rank_f", "uniformity", "alignment"):
        torch.testing.assert_close(cached.watch[name], direct.watch[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [InBatchConfig(), BarlowConfig()])
def test_every_pair_loss_is_exact(loss: PairLossConfig) -> None:
    encoder, _ = parts()
    config = ContrastiveConfig(projector=ProjectorConfig(hidden=(16,), out=8), loss=loss, mask=MaskConfig(mode="none"))
    objective = config.build(encoder).double()
    twin, twin_objective = copy.deepcopy(encoder), copy.deepcopy(objective)
    data = views(9)
    direct = objective(encoder, data, torch.Generator())
    direct.total.backward()
    cached = cached_backward(twin_objective, twin, data, torch.Generator(), micro_batch=4)
    torch.testing.assert_close(cached.total, direct.total.detach(), rtol=1e-12, atol=0)
    check(gradients(encoder, objective), gradients(twin, twin_objective), 1e-7)


def test_gradients_accumulate_on_what_is_there() -> None:
    encoder, objective = parts()
    data = views(6)
    for _ in range(2):
        cached_backward(objective, encoder, data, torch.Generator().manual_seed(2), micro_batch=2)
    twice = gradients(encoder, objective)
    fresh, fresh_objective = parts()
    cached_backward(fresh_objective, fresh, data, torch.Generator().manual_seed(2), micro_batch=2)
    check({name: 2 * g for name, g in gradients(fresh, fresh_objective).items()}, twice, 1e-8)


def test_stochastic_depth_is_replayed() -> None:
    """The replay draws what the first pass drew: gradients equal autograd's through both micro-batches at once."""
    encoder, objective = parts(drop_path=0.5)
    twin, twin_objective = copy.deepcopy(encoder), copy.deepcopy(objective)
    data, generator = views(8), torch.Generator().manual_seed(2)
    torch.manual_seed(11)
    cached_backward(twin_objective, twin, data, generator, micro_batch=2)
    after = torch.get_rng_state()

    torch.manual_seed(11)
    draws = objective.draw(encoder, data, torch.Generator().manual_seed(2))
    rows = [slice(start, start + 2) for start in range(0, 8, 2)]
    pieces = [objective.represent(encoder, [v[r] for v in data], [d[r] for d in draws]) for r in rows]
    objective.compare([torch.cat(column) for column in zip(*pieces, strict=True)]).total.backward()
    check(gradients(encoder, objective), gradients(twin, twin_objective), 1e-8)
    assert torch.equal(after, torch.get_rng_state())


def test_under_autocast() -> None:
    encoder, objective = parts(torch.float32)
    twin, twin_objective = copy.deepcopy(encoder), copy.deepcopy(objective)
    data = views(8, torch.float32)
    half = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    with half():
        loss = objective(encoder, data, torch.Generator().manual_seed(2))
    loss.total.backward()
    cached_backward(twin_objective, twin, data, torch.Generator().manual_seed(2), micro_batch=2, autocast=half)
    direct, cached = gradients(encoder, objective), gradients(twin, twin_objective)
    assert direct.keys() == cached.keys()
    a, b = (torch.cat([g[name].flatten() for name in sorted(direct)]) for g in (direct, cached))
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.999


def test_memory_of_one_micro_batch() -> None:
    """No forward of the encoder ever sees more rows than a micro-batch."""
    encoder, objective = parts()
    seen: list[int] = []
    encoder.blocks[0].register_forward_hook(lambda module, args, out: seen.append(args[0].shape[0]))
    cached_backward(objective, encoder, views(10), torch.Generator(), micro_batch=4)
    # Two views each: three first passes (4, 4, 2 rows), and a replay of all but the last.
    assert seen == [4, 4, 4, 4, 2, 2, 4, 4, 4, 4]


def test_refusals() -> None:
    encoder, objective = parts()
    with pytest.raises(ConfigError, match="micro_batch 0"):
        cached_backward(objective, encoder, views(4), torch.Generator(), micro_batch=0)
    encoder.patch_norm = nn.BatchNorm1d(24)
    with pytest.raises(ConfigError, match=r"patch_norm is a BatchNorm"):
        cached_backward(objective, encoder, views(4), torch.Generator(), micro_batch=2)
