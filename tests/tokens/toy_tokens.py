"""A small encoder, its clips, and a run of the extraction."""

from __future__ import annotations

from pathlib import Path

import torch

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.tokens.cache import TokenCache
from auricle.tokens.extract import extract

RATE = 16000
LENGTHS = [0.5, 1.3, 0.4, 0.5, 0.9, 0.02]


def make_encoder(seed: int = 0) -> FrozenEncoder:
    config = SpectrogramTransformerConfig(width=16, depth=3, heads=2, mels=32, frames=64)
    encoder = config.build(torch.Generator().manual_seed(seed))
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), encoder, name="toy")


def run(encoder: FrozenEncoder, corpus: Corpus, folder: Path, **settings: object) -> TokenCache:
    return extract(encoder, corpus, folder, progress=False, **settings)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.suffix in (".bin", ".json")}
