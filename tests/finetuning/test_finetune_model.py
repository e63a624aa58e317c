"""Which parameters learn how fast, low-rank updates, and models on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.encoders.features import LAYERS, OUTPUT, FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.model import TunedModel, plain_encoder
from auricle.models import load
from auricle.models.folder import read_card, save_model
from auricle.probes.losses import get_loss

DEPTH, WIDTH, CLASSES = 4, 32, 3


@pytest.fixture
def frozen() -> FrozenEncoder:
    config = SpectrogramTransformerConfig(
        width=WIDTH, depth=DEPTH, heads=2, mels=32, frames=64, pre_norm=True, final="fc_norm"
    )
    encoder = config.build(torch.Generator().manual_seed(1))
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), encoder, name="toy")


def noise(clips: int = 3, samples: int = 9000) -> Audio:
    wave = torch.randn(clips, samples, generator=torch.Generator().manual_seed(0)) * 0.1
    return Audio(wave, torch.full((clips,), samples), 16000)


def rates(model: TunedModel, config: FinetuneConfig) -> dict[str, tuple[float, float]]:
    """Peak learning rate and weight decay of each trainable parameter."""
    optimiser, peaks = model.optimiser(config)
    found = {}
    names = {id(p): name for name, p in model.named_parameters()}
    for group, peak in zip(optimiser.param_groups, peaks, strict=True):
        for p in group["params"]:
            found[names[id(p)]] = (peak, group["weight_decay"])
    return found


def test_layer_wise_decay_follows_the_published_scale(frozen: FrozenEncoder) -> None:
    config = FinetuneConfig(lr=1.0, head_lr=7.0, layer_decay=0.5, weight_decay=0.1)
    found = rates(TunedModel(frozen, CLASSES, config, 0), config)
    # d ** (L + 1 - l): l = 0 before the blocks, l = i + 1 for block i (from 0), 1 after them (audiomosaic.md, 6.1).
    assert found["encoder.patch_proj.weight"] == (0.5**5, 0.1)
    assert found["encoder.positions"] == (0.5**5, 0.0)
    assert found["encoder.cls_token"] == (0.5**5, 0.0)
    assert found["encoder.norm_pre.weight"] == (0.5**5, 0.0)
    for block in range(DEPTH):
        assert found[f"encoder.blocks.{block}.qkv.weight"] == (0.5 ** (DEPTH - block), 0.1)
        assert found[f"encoder.blocks.{block}.norm1.bias"] == (0.5 ** (DEPTH - block), 0.0)
    assert found["encoder.fc_norm.weight"] == (1.0, 0.0)
    assert found["head.weight"] == (7.0, 0.1)
    assert found["head.bias"] == (7.0, 0.0)
    assert len(found) == len(list(frozen.encoder.parameters())) + 2


@pytest.mark.parametrize(
    ("config", "trained"),
    [
        (FinetuneConfig(mode="head"), set()),
        (FinetuneConfig(mode="last_n", last_n=2), {"blocks.2.", "blocks.3.", "fc_norm."}),
        (FinetuneConfig(mode="full"), {""}),
    ],
    ids=lambda x: x.mode if isinstance(x, FinetuneConfig) else "",
)
def test_what_each_mode_trains(frozen: FrozenEncoder, config: FinetuneConfig, trained: set[str]) -> None:
    model = TunedModel(frozen, CLASSES, config, 0)
    expected = {n for n, _ in frozen.encoder.named_parameters() if any(n.startswith(start) for start in trained)}
    learning = {n for n, p in model.encoder.named_parameters() if p.requires_grad}
    assert learning == expected
    assert model.params == sum(frozen.encoder.get_parameter(n).numel() for n in expected) + CLASSES * (WIDTH + 1)
    model.learn()
    assert model.encoder.training == bool(trained)
    features = frozen.frontend(noise())
    model(features).square().sum().backward()
    for name, p in model.encoder.named_parameters():
        assert (p.grad is not None) == (name in expected), name
    assert not any(p.requires_grad for p in frozen.encoder.parameters())


def test_low_rank_updates_start_at_nothing_and_merge_exactly(frozen: FrozenEncoder) -> None:
    config = FinetuneConfig(mode="lora", lora_rank=3)
    model, same = (TunedModel(frozen, CLASSES, config, seed=5) for _ in range(2))
    features = frozen.frontend(noise())
    before = frozen.encoder(features).x
    torch.testing.assert_close(model.encoder(features).x, before)
    # r (in + out) parameters beside each linear layer of each block, and the head.
    linear = (WIDTH + 3 * WIDTH) + 2 * WIDTH + 2 * (WIDTH + 4 * WIDTH)
    assert model.params == DEPTH * 3 * linear + CLASSES * (WIDTH + 1)
    assert all("lora_" in n for n, p in model.encoder.named_parameters() if p.requires_grad)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    with torch.no_grad():
        for name, p in model.encoder.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    after = model.encoder(features).x
    assert (after - before).abs().max() > 1e-3
    merged = plain_encoder(model.encoder)
    torch.testing.assert_close(merged(features).x, after, atol=1e-5, rtol=1e-4)
    assert merged.state_dict().keys() == frozen.encoder.state_dict().keys()
    # The model itself still has its updates beside the weights.
    torch.testing.assert_close(model.encoder(features).x, after)


def test_reading_whole_clips_leaves_the_model_learning(frozen: FrozenEncoder) -> None:
    model = TunedModel(frozen, CLASSES, FinetuneConfig(mode="last_n", last_n=1), 0)
    learning = [p.requires_grad for p in model.parameters()]
    long = noise(samples=16000)
    assert frozen.frontend.frames(16000) > 64
    logits = model.predict(long)
    assert [p.requires_grad for p in model.parameters()] == learning
    pooled = torch.nn.functional.layer_norm(frozen.encode(long)[1], (WIDTH,))
    torch.testing.assert_close(logits, pooled @ model.head.weight.T + model.head.bias)


def test_the_head_learns_from_the_features_of_the_encoder(frozen: FrozenEncoder) -> None:
    layers = frozen.reading(LAYERS)
    model = TunedModel(layers, CLASSES, FinetuneConfig(mode="full"), 0)
    audio = noise()
    logits = model(layers.frontend(audio))
    torch.testing.assert_close(logits, model.classify(layers.pooled(audio)), atol=1e-5, rtol=1e-4)
    logits.square().sum().backward()
    gradients = [p.grad for p in model.encoder.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients)


def test_seeds_draw_the_head_and_encoder_starts_as_it_was(frozen: FrozenEncoder) -> None:
    one, two, other = (TunedModel(frozen, CLASSES, FinetuneConfig(), seed) for seed in (0, 0, 1))
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    for name, p in one.encoder.named_parameters():
        assert torch.equal(p, frozen.encoder.get_parameter(name))
        assert p is not frozen.encoder.get_parameter(name)


def test_stochastic_depth_is_set_without_changing_weights(frozen: FrozenEncoder) -> None:
    model = TunedModel(frozen, CLASSES, FinetuneConfig(drop_path=0.5), 0)
    features = frozen.frontend(noise())
    torch.testing.assert_close(model.eval().encoder(features).x, frozen.encoder(features).x)
    model.learn()
    assert not torch.allclose(model.encoder(features).x, frozen.encoder(features).x)


def test_refusals(frozen: FrozenEncoder) -> None:
    with pytest.raises(ConfigError, match="has 4 blocks, and last_n asks for the last 9"):
        TunedModel(frozen, CLASSES, FinetuneConfig(mode="last_n", last_n=9), 0)
    plain = FrozenEncoder(frozen.frontend, LogMelStatisticsConfig(mels=32).build(), name="log-mel")
    with pytest.raises(ConfigError, match="log-mel has no weights to fine-tune; set --mode head"):
        TunedModel(plain, CLASSES, FinetuneConfig(), 0)
    with pytest.raises(ConfigError, match="no stochastic depth"):
        TunedModel(plain, CLASSES, FinetuneConfig(mode="head", drop_path=0.1), 0)
    assert TunedModel(plain, CLASSES, FinetuneConfig(mode="head"), 0).params == CLASSES * (2 * 32 + 1)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"mode": "ful"}, "did you mean 'full'"),
        ({"last_n": 0}, "last_n is 0"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"mixup": 1.5}, "mixup is 1.5; expected a number of at least 0 and of at most 1"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"max_seconds": 0.0}, "max_seconds is 0.0"),
        ({"precision": "fp16"}, "precision is .fp16.; expected .auto., .fp32. or .bf16."),
    ],
)
def test_refused_settings(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        FinetuneConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [OUTPUT, LAYERS], ids=["output", "layers"])
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_saved_and_loaded(frozen: FrozenEncoder, mode: str, features: FeaturesConfig, tmp_path: Path) -> None:
    frozen = frozen.reading(features)
    model = TunedModel(frozen, CLASSES, FinetuneConfig(mode=mode), 0)  # type: ignore[arg-type]
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(4)) * 0.05)
    names = ("a", "b", "c")
    card = {"task": "toy", "corpus": "toys", "mode": mode, "validation": 0.5}
    head = model.saved_head(names, get_loss("ce"))
    save_model(tmp_path / "kept", frozen, head, card=card, encoder=plain_encoder(model.encoder), name="a tuned one")
    assert read_card(tmp_path / "kept") == card
    loaded = load(tmp_path / "kept", device="cpu")
    long = noise(samples=16000)
    scores = loaded.fitted.scores(loaded.reader, long)
    torch.testing.assert_close(scores, model.predict(long).softmax(-1), atol=1e-5, rtol=1e-4)
    assert loaded.classes == names
    assert loaded.encoder.fingerprint != frozen.fingerprint
    assert loaded.encoder.name == "a tuned one"
    said = loaded.predict([w.numpy() for w in long.wave], 16000)
    np.testing.assert_allclose(said, model.predict(long).softmax(-1).numpy(), atol=1e-5)
    assert loaded.predict(long.wave[0].numpy(), 16000).shape == (CLASSES,)
    assert loaded.encoder.features == frozen.features
    # The encoder is one like any other: its control has its architecture.
    assert loaded.encoder.randomised(0).fingerprint != loaded.encoder.fingerprint
