"""Multiply-adds against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.probes.contract import ProbeHead
from auricle.probes.cost import count_macs, encoder_macs, head_macs
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.heads.mhca import MhcaConfig
from auricle.probes.heads.protobin import ProtobinConfig
from auricle.probes.registry import PROBES
from auricle.tokens.token_set import TokenSet

N, D, F, C = 20, 24, 4, 3


def tokens(*lengths: int) -> TokenSet:
    valid = torch.ones(len(lengths), max(lengths), dtype=torch.bool)
    dense = TokenSet.from_tensors(torch.randn(len(lengths), max(lengths), D), valid=valid, freq=F)
    return replace(dense, time=np.array(lengths) // F)


def build(config: object, settings: int = 1) -> ProbeHead:
    return config.build(tokens(N).shape, C, settings=settings, generator=torch.Generator().manual_seed(0))  # type: ignore[attr-defined]


def test_heads_cost_what_their_formulas_say() -> None:
    here = tokens(N, N, N)
    assert head_macs(build(LinearConfig(source="mean")), here) == C * D
    assert head_macs(build(LinearConfig(source="mean_t_flat_f")), here) == C * D * F
    # Scores and weighted mean of the tokens for each head, the value projection, the classifier.
    for heads in (1, 4):
        assert head_macs(build(MhcaConfig(heads=heads)), here) == 2 * N * D * heads + D * D + C * D
    for each in (1, 20):
        P = C * each
        assert head_macs(build(ProtobinConfig(per_class=each)), here) == P * D * N + P * C


def test_the_clip_of_median_length_is_counted() -> None:
    head = build(ProtobinConfig(per_class=1))
    costs = {n: head_macs(head, tokens(n)) for n in (4, 12, 40)}
    assert costs[4] < costs[12] < costs[40]
    assert head_macs(head, tokens(40, 4, 12)) == costs[12]


@pytest.mark.parametrize("probe", sorted(name for name, config in PROBES.items() if config.reads == "tokens"))
def test_every_probe_has_a_cost_and_stays_in_its_mode(probe: str) -> None:
    held = TokenSet.from_tensors(torch.randn(3, N, 64), class_tokens=torch.randn(3, 1, 64), freq=F)
    head = PROBES[probe].build(held.shape, C, settings=1, generator=torch.Generator().manual_seed(0)).train()
    assert head_macs(head, held) > 0
    assert head.training


def test_several_settings_and_no_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="one setting"):
        head_macs(build(LinearConfig(), settings=2), tokens(N))
    with pytest.raises(ConfigError, match="no clip"):
        head_macs(build(LinearConfig()), tokens(N).select([]))


def test_matrix_products_and_convolutions() -> None:
    with torch.no_grad():
        assert count_macs(lambda: torch.ones(3, 4) @ torch.ones(4, 5)) == 60
        convolution = nn.Conv1d(2, 5, 3)
        assert count_macs(lambda: convolution(torch.ones(1, 2, 12))) == 10 * 5 * 2 * 3
        assert count_macs(lambda: torch.ones(9).exp()) == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_transformer_costs_what_its_formula_says(precision: str) -> None:
    width, depth, seconds = 64, 2, 0.64
    config = SpectrogramTransformerConfig(width=width, depth=depth, heads=2, mels=32, frames=64)
    encoder = FrozenEncoder(KaldiFbankConfig(mels=32).build(), config.build(), name="toy", precision=precision)
    grid = encoder.encoder.grid(encoder.frontend.frames(int(seconds * 16000)))
    n = grid.tokens + 1
    block = 12 * width**2 * n + 2 * n**2 * width
    assert encoder_macs(encoder, seconds) == depth * block + grid.tokens * 256 * width
    # A clip of two windows costs two windows.
    whole = encoder_macs(encoder, 0.655)
    assert encoder_macs(encoder, 1.295) == pytest.approx(2 * whole, rel=0.3)


def test_an_encoder_without_weights_costs_nothing() -> None:
    plain = LogMelStatisticsConfig(mels=32).build()
    assert encoder_macs(FrozenEncoder(KaldiFbankConfig(mels=32).build(), plain, name="log-mel"), 1.0) == 0
    with pytest.raises(ConfigError, match="length above zero"):
        encoder_macs(FrozenEncoder(KaldiFbankConfig(mels=32).build(), plain, name="log-mel"), 0.0)
