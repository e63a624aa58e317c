"""Token caches of encoders whose layers differ in grid and width, and of clips too short for a token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.table import Corpus
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.errors import ConfigError
from auricle.tokens.cache import TokenCache
from auricle.tokens.clip_store import ClipStore
from auricle.tokens.extract import extract
from auricle.tokens.writer import ClipTokens, ClipWriter

RATE = 16000
SECONDS = [0.5, 0.83, 0.4, 0.5, 0.03]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    folder = tmp_path / "clips"
    folder.mkdir()
    draw = np.random.default_rng(0)
    names = [f"{i}.wav" for i in range(len(SECONDS))]
    for name, seconds in zip(names, SECONDS, strict=True):
        sf.write(folder / name, 0.1 * draw.standard_normal(int(seconds * RATE)), RATE)
    return Corpus.from_columns({"file": names, "seconds": SECONDS, "label": list("abcab")}, root=folder)


def frozen(**changes: object) -> FrozenEncoder:
    config = SliceCNNConfig(channels=(8, 8, 8), mels=32).replace(**changes)
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), config.build(), name="small")


def run(encoder: FrozenEncoder, corpus: Corpus, folder: Path, layers: list[int] | None) -> TokenCache:
    return extract(encoder, corpus, folder, layers=layers, progress=False)


def test_each_layer_keeps_its_own_grid_and_holds_no_padding(tmp_path: Path, corpus: Corpus) -> None:
    encoder = frozen()
    cache = run(encoder, corpus, tmp_path / "cache", [0, 1, 2])
    assert cache.store.grids.freq == (16, 8, 4)
    assert cache.store.grids.rate == (50.0, 25.0, 12.5)
    for layer in (0, 1, 2):
        kept = cache.select(layer=layer)
        for row in range(len(SECONDS)):
            samples = corpus.audio(row, RATE)
            tokens = encoder.tokens(torch_audio(samples), [layer])
            assert tokens.layers is not None
            expected = tokens.layers[0].block[0].numpy()
            clip = kept.batch([row])
            assert clip.x.shape[1] == len(expected)
            np.testing.assert_allclose(clip.x[0].float().numpy(), expected, rtol=2e-3, atol=2e-3)


def test_layers_of_other_widths_are_refused_before_anything_is_written(tmp_path: Path, corpus: Corpus) -> None:
    encoder = frozen(channels=(4, 6, 8))
    with pytest.raises(ConfigError, match=r"layers of width 4 \(0\), 6 \(1\).*holds tokens of width 8"):
        run(encoder, corpus, tmp_path / "cache", [0, 1, 2])
    assert not (tmp_path / "cache").exists()
    assert len(run(encoder, corpus, tmp_path / "cache", [2]).origin.layers) == 1


def test_a_writer_refuses_them_too(tmp_path: Path, corpus: Corpus) -> None:
    encoder = frozen()
    origin = run(encoder, corpus, tmp_path / "cache", None).origin
    clip = ClipTokens(
        tokens=(np.zeros((4, 6), np.float16),),
        valid=(np.ones(4, bool),),
        time=(1,),
        freq=(4,),
        rate=(12.5,),
        pooled=np.zeros(8, np.float32),
        cls=np.zeros((1, 0, 8), np.float16),
    )
    store = ClipStore(tmp_path / "other", origin)
    with ClipWriter(store) as writer, pytest.raises(ConfigError, match=r"width \[6\].*width 8"):
        writer.add(b"clip", clip)


def test_a_frozen_encoder_returns_layers_of_any_width(corpus: Corpus) -> None:
    tokens = frozen(channels=(4, 6, 8)).tokens(torch_audio(corpus.audio(0, RATE)), [0, 1, 2])
    assert tokens.layers is not None
    assert [layer.block.shape[2] for layer in tokens.layers] == [4, 6, 8]


def test_clips_too_short_for_a_token_are_listed_as_missing(tmp_path: Path, corpus: Corpus) -> None:
    encoder = FrozenEncoder(
        KaldiFbankConfig(mels=32).build(), AudioNTTConfig(width=16, mels=32, channels=4).build(), name="ntt"
    )
    for batch in (1, 5):
        cache = extract(encoder, corpus, tmp_path / f"cache{batch}", batch=batch, progress=False)
        assert list(cache.missing) == [4]
        assert "shorter than the encoder needs" in cache.missing[4]


def torch_audio(samples: np.ndarray) -> Audio:
    return Audio.stack([torch.from_numpy(samples)], RATE)
