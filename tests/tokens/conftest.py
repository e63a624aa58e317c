"""A small encoder, a small corpus, and a count of the clips that are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from torch import Tensor
from toy_tokens import LENGTHS, RATE, make_encoder

from auricle.audio.batch import Audio
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Tokens
from auricle.encoders.frozen import FrozenEncoder


@pytest.fixture(scope="module")
def encoder() -> FrozenEncoder:
    return make_encoder()


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    folder = tmp_path / "clips"
    folder.mkdir()
    draw = np.random.default_rng(0)
    names = [f"{i}.wav" for i in range(len(LENGTHS))]
    for name, seconds in zip(names, LENGTHS, strict=True):
        sf.write(folder / name, 0.1 * draw.standard_normal(int(seconds * RATE)), RATE)
    return Corpus.from_columns({"file": names, "seconds": LENGTHS, "label": list("abcabc")}, root=folder)


@pytest.fixture
def encoded(encoder: FrozenEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of clips that the encoder encodes, call by call."""
    counts: list[int] = []
    real = encoder.encode

    def counting(audio: Audio, layers: Sequence[int] = ()) -> tuple[Tokens, Tensor]:
        counts.append(len(audio))
        return real(audio, layers)

    monkeypatch.setattr(encoder, "encode", counting)
    return counts
