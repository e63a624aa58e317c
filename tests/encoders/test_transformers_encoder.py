"""The wrapper around models of transformers: the same numbers as the model itself, and clear refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")
from tiny_transformers import folder  # noqa: E402

from auricle.audio.batch import Audio, Features  # noqa: E402
from auricle.audio.frontends.waveform import WaveformConfig  # noqa: E402
from auricle.config import Config  # noqa: E402
from auricle.corpus.sources import open_corpus  # noqa: E402
from auricle.encoders.contract import Ability  # noqa: E402
from auricle.encoders.frozen import FrozenEncoder  # noqa: E402
from auricle.encoders.transformers.encoder import (  # noqa: E402
    TransformersEncoder,
    TransformersEncoderConfig,
    open_transformers,
)
from auricle.encoders.transformers.wrappers import smallest  # noqa: E402
from auricle.errors import ConfigError  # noqa: E402
from auricle.tokens.embeddings import embed_corpus  # noqa: E402
from auricle.tokens.extract import extract  # noqa: E402

WAVE = (
    *("wav2vec2", "wav2vec2-layer", "wav2vec2-adapter", "hubert", "wavlm", "wavlm-layer", "data2vec"),
    *("unispeech", "unispeech-sat", "conformer", "sew"),
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def build(name: str, **changes: Any) -> TransformersEncoder:
    return TransformersEncoderConfig(folder(name), local_only=True, **changes).build().eval()  # type: ignore[return-value]


def original(name: str) -> tuple[Any, Any]:
    where = folder(name)
    model = transformers.AutoModel.from_pretrained(where).eval()
    return model, transformers.AutoFeatureExtractor.from_pretrained(where)


def full(wave: Tensor, rate: int = 16000) -> Features:
    return Features(wave, torch.full((len(wave),), wave.shape[1]), float(rate))


@torch.no_grad()
@pytest.mark.parametrize("name", WAVE)
def test_waveform_models_say_what_they_say_by_themselves(name: str) -> None:
    model, extractor = original(name)
    wave = noise(2, 8000)
    inputs = extractor([w.numpy() for w in wave], sampling_rate=16000, return_tensors="pt")
    wanted = model(inputs["input_values"], output_hidden_states=True)
    frozen = open_transformers("hf:" + folder(name), local_only=True)
    tokens, pooled = frozen.encode(Audio(wave, torch.tensor([8000, 8000]), 16000), range(3))
    torch.testing.assert_close(tokens.x, wanted.last_hidden_state, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled, wanted.last_hidden_state.mean(1), rtol=1e-4, atol=1e-5)
    assert tokens.layers is not None
    for layer, hidden in zip(tokens.layers, wanted.hidden_states, strict=True):
        torch.testing.assert_close(layer.block, hidden, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_feed_forward_branch_is_the_one_before_the_residual() -> None:
    encoder = build("wav2vec2")
    tokens = encoder(full(noise(2, 8000)), (1, 2))
    assert tokens.layers is not None
    seen: list[Tensor] = []
    hook = encoder.model.encoder.layers[1].feed_forward.register_forward_hook(lambda _, __, out: seen.append(out))
    encoder(full(noise(2, 8000)))
    hook.remove()
    assert tokens.layers[1].feedforward is not None
    torch.testing.assert_close(tokens.layers[1].feedforward, seen[0])


@torch.no_grad()
def test_tokens_can_be_hidden_as_the_original_hides_them() -> None:
    model, _ = original("wav2vec2")
    encoder, wave = build("wav2vec2"), noise(2, 8000)
    tokens = encoder.tokenize(full(wave))
    hidden = torch.zeros(2, tokens.grid.time, dtype=torch.bool)
    hidden[:, 3:9] = True
    x = torch.where(hidden[..., None], model.masked_spec_embed, tokens.x)
    # The original takes the places of hidden tokens as an argument.
    model.config.apply_spec_augment = True
    wanted = model(wave, mask_time_indices=hidden).last_hidden_state
    ours = encoder.contextualize(replace(tokens, x=x)).x
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    assert tokens.stem is not None
    assert tokens.stem.raw.shape == (2, tokens.grid.time, 16)
    torch.testing.assert_close(tokens.stem.x, model(wave).extract_features, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_patches_of_ast_come_time_major_with_both_class_tokens() -> None:
    model, extractor = original("ast")
    wave = noise(1, 400 + 63 * 160)
    inputs = extractor(wave[0].numpy(), sampling_rate=16000, return_tensors="pt")
    wanted = model(**inputs, output_hidden_states=True)
    encoder = build("ast")
    tokens = encoder(full(wave), (0, 2))
    freq, time = 12, (64 - 16) // 10 + 1
    assert (tokens.grid.time, tokens.grid.freq, tokens.grid.rate) == (time, freq, 10.0)
    for t, f in ((0, 0), (2, 7), (time - 1, freq - 1)):
        torch.testing.assert_close(tokens.x[0, t * freq + f], wanted.last_hidden_state[0, 2 + f * time + t])
    torch.testing.assert_close(encoder.pool(tokens), wanted.pooler_output, rtol=1e-4, atol=1e-5)
    assert tokens.layers is not None
    assert tokens.layers[1].cls is not None
    torch.testing.assert_close(tokens.layers[1].cls, wanted.hidden_states[-1][:, :2])
    assert encoder.max_frames == wave.shape[1]


@torch.no_grad()
def test_whispers_encoder_is_cut_to_the_clip() -> None:
    model, extractor = original("whisper")
    wave = noise(1, 9000)
    inputs = extractor(wave[0].numpy(), sampling_rate=16000, return_tensors="pt")
    wanted = model.get_encoder()(inputs["input_features"], output_hidden_states=True)
    encoder = build("whisper")
    tokens = encoder(full(wave), (1,))
    assert (tokens.grid.time, tokens.grid.rate, encoder.max_frames) == (29, 50.0, 16000)
    torch.testing.assert_close(tokens.x, wanted.last_hidden_state[:, :29], rtol=1e-4, atol=1e-5)
    assert tokens.layers is not None
    torch.testing.assert_close(tokens.layers[0].block, wanted.hidden_states[1][:, :29], rtol=1e-4, atol=1e-5)
    assert not any("decoder" in n for n, _ in encoder.named_parameters())


@torch.no_grad()
def test_claps_audio_tower_is_unfolded_to_time_and_frequency() -> None:
    model, extractor = original("clap")
    encoder = build("clap")
    wave = noise(1, 240000)  # half of its ten seconds
    inputs = extractor(wave[0].numpy(), sampling_rate=48000, return_tensors="pt")
    inputs["is_longer"] = torch.zeros_like(inputs["is_longer"])
    wanted = model.audio_model(**inputs, output_hidden_states=True).last_hidden_state
    tokens = encoder(full(wave, 48000), (1, 4))
    assert (tokens.grid.time, tokens.grid.freq) == (16, 2)
    for t, f in ((0, 0), (5, 1), (15, 0)):
        torch.testing.assert_close(tokens.x[0, 2 * t + f], wanted[0, :, f, t], rtol=1e-4, atol=1e-5)
    assert tokens.layers is not None
    # Layers keep their own grid and width; the last one is the output before its norm.
    assert (tokens.layers[0].grid.time, tokens.layers[0].grid.freq, tokens.layers[0].block.shape[-1]) == (64, 8, 16)
    torch.testing.assert_close(model.audio_model.audio_encoder.norm(tokens.layers[1].block), tokens.x)
    with pytest.raises(ConfigError, match="own grid or width"):
        build("clap", layer=1)(full(wave, 48000))


@torch.no_grad()
def test_other_models_are_read_through_their_own_extractor_at_a_measured_rate() -> None:
    model, extractor = original("bert")
    wave = noise(2, 16000)
    wanted = model(**extractor([w.numpy() for w in wave], sampling_rate=16000, return_tensors="pt")).last_hidden_state
    encoder = build("bert")
    tokens = encoder(full(wave))
    torch.testing.assert_close(tokens.x, wanted, rtol=1e-4, atol=1e-5)
    assert encoder.grid(16000) == tokens.grid
    assert tokens.grid.rate == 50.0


@torch.no_grad()
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.37, 10.0])
def test_grids_of_the_convolutions_follow_the_published_formula(seconds: float) -> None:
    samples = round(seconds * 16000)
    grid = build("wav2vec2").grid(samples)
    # Field 400, hop 320.
    assert (grid.time, grid.rate) == ((samples - 400) // 320 + 1, 50.0)


@torch.no_grad()
def test_a_clip_without_a_token_is_marked_and_does_not_disturb() -> None:
    encoder = build("wav2vec2")
    wave = noise(2, 4000)
    wave[1, 200:] = 0
    tokens = encoder(Features(wave, torch.tensor([4000, 200]), 16000.0))
    assert tokens.valid is not None
    assert not tokens.valid[1].any()
    assert torch.equal(encoder.pool(tokens)[1], torch.zeros(32))
    torch.testing.assert_close(tokens.x[:1], encoder(full(wave[:1])).x, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="at least 400"):
        encoder(full(noise(1, 399)))


def test_front_ends_normalise_as_the_extractors_do() -> None:
    assert build("wav2vec2").frontend == WaveformConfig(rate=16000, normalise="clip")
    assert build("hubert").frontend == WaveformConfig(rate=16000, normalise="none")
    assert build("clap").frontend == WaveformConfig(rate=48000, normalise="none")


@torch.no_grad()
def test_any_layer_can_be_the_output() -> None:
    data = full(noise(1, 8000))
    tokens = build("wavlm")(data, (1,))
    assert tokens.layers is not None
    assert torch.equal(build("wavlm", layer=1)(data).x, tokens.layers[0].block)
    with pytest.raises(ConfigError, match="from 0 to 2"):
        build("wavlm", layer=3)


@pytest.mark.parametrize("name", ["wav2vec2", "ast", "whisper"])
def test_it_embeds_clips_of_any_length_and_has_a_control(name: str) -> None:
    frozen = open_transformers("hf:" + folder(name), local_only=True)
    clips = [noise(n, seed=n).numpy() for n in (8000, 40000, 8000)]
    vectors = frozen.embed(clips, 16000)
    assert vectors.shape == (3, 32)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], frozen.embed(clips[0], 16000), rtol=1e-4, atol=1e-5)
    assert frozen.randomisable
    one, two, other = frozen.randomised(1), frozen.randomised(1), frozen.randomised(2)
    assert isinstance(one, FrozenEncoder)
    assert one.fingerprint == two.fingerprint
    assert len({one.fingerprint, other.fingerprint, frozen.fingerprint}) == 3
    assert one.embed(clips, 16000).shape == (3, 32)


def test_random_weights_come_from_the_generator_alone() -> None:
    config = TransformersEncoderConfig(folder("wav2vec2"), weights="random", local_only=True)
    before = torch.random.get_rng_state()
    one, two = config.build(torch.Generator().manual_seed(5)), config.build(torch.Generator().manual_seed(5))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = config.build(torch.Generator().manual_seed(6))
    assert not torch.equal(
        one.state_dict()["model.feature_projection.projection.weight"],
        other.state_dict()["model.feature_projection.projection.weight"],
    )


def test_training_hides_and_leaves_out_nothing_by_itself() -> None:
    encoder = build("wav2vec2")
    encoder.model.config.hidden_dropout = 0.0
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    data = full(noise(2, 8000))
    still = encoder(data).x
    encoder.train()
    torch.testing.assert_close(encoder(data).x, still, rtol=1e-5, atol=1e-6)


def test_settings_travel_as_json() -> None:
    config = TransformersEncoderConfig("facebook/wav2vec2-base", revision="main", layer=7)
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.fresh().weights == "random"


def test_abilities_are_those_of_the_kind() -> None:
    assert Ability.MASK in build("hubert").abilities
    assert Ability.MASK not in build("whisper").abilities
    assert Ability.CLS in build("ast").abilities
    encoder = build("whisper")
    tokens = replace(encoder.tokenize(full(noise(1, 8000))), layers=None)
    with pytest.raises(ConfigError, match="what tokenize"):
        encoder.contextualize(tokens)


def test_dropped_tokens_are_refused() -> None:
    encoder = build("wav2vec2")
    with pytest.raises(ConfigError, match=r"needs all of them.*mask vector"):
        encoder.contextualize(encoder.tokenize(full(noise(1, 8000))).keep(torch.tensor([[1, 2]])))


def test_bisection_finds_the_smallest() -> None:
    assert smallest(lambda n: n >= 37, 1000) == 37
    assert smallest(lambda n: True, 1000) == 1


@pytest.mark.parametrize("name", ["wav2vec2", "ast", "clap-short"])
def test_it_fills_a_token_cache_and_a_table_of_embeddings(tmp_path: Path, name: str) -> None:
    """What `auricle embed` and the token probes run."""
    tones = noise(20000).numpy()
    for clip, samples in {"a": 8000, "b": 4000, "c": 20000}.items():
        soundfile.write(tmp_path / f"{clip}.wav", tones[:samples], 8000)
    corpus = open_corpus(tmp_path)
    frozen = open_transformers("hf:" + folder(name), local_only=True)
    cache = extract(frozen, corpus, tmp_path / "tokens", progress=False)
    assert not cache.missing
    table = embed_corpus(frozen, corpus, tmp_path / "e.parquet", progress=False)
    assert table.clips == 3
    vectors = np.stack(pq.read_table(tmp_path / "e.parquet")["embedding"].to_pylist())
    np.testing.assert_allclose(vectors[1], frozen.embed(tones[:4000], 8000), atol=1e-3)
