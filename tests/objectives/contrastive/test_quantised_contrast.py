"""wav2vec 2.0's loss: equal to transformers' Wav2Vec2ForPreTraining, and to a slow oracle."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2, WAV2VEC2_LAYER
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.waveform_transformer import WaveformTransformer, WaveformTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.contrastive.quantised_contrast import (
    QuantisedContrast,
    QuantisedContrastConfig,
    contrast,
    distractors,
)
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.targets import learned_codes
from auricle.objectives.targets.code_uses import CodeDiversityConfig
from auricle.objectives.targets.learned_codes import LearnedCodes, LearnedCodesConfig
from auricle.zoo.families.waveform import load_transformers_weights

ENCODER = WaveformTransformerConfig(
    stem=WAV2VEC2_LAYER.narrow(16), width=32, depth=2, heads=4, position=ConvPositionConfig(kernel=16, groups=4),
    stem_gradient=1.0, input_dropout=0.0, dropout=0.0, attention_dropout=0.0, layer_drop=0.0,
)  # fmt: skip
CODES = LearnedCodesConfig(
    uses=(QuantisedContrastConfig(dim=12, distractors=7), CodeDiversityConfig(weight=0.1)),
    groups=2, entries=5, width=16, dropout=0.0,
)  # fmt: skip
OBJECTIVE = MaskedPredictionConfig(
    mask=SpanMask(p=0.65, length=4), hide="token", decoder=NoDecoderConfig(), terms=(CODES,)
)


def wave(clips: int, samples: int, seed: int = 0) -> Tensor:
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def view(x: Tensor, lengths: list[int] | None = None) -> View:
    features = Features(x, torch.tensor(lengths or [x.shape[1]] * len(x)), 16_000.0)
    return View(features, torch.arange(len(x)))


def built(
    encoder: WaveformTransformerConfig = ENCODER, objective: MaskedPredictionConfig = OBJECTIVE
) -> tuple[WaveformTransformer, MaskedPrediction]:
    made = encoder.build()
    return made, objective.build(made)


class Recorder:
    """Keeps what is drawn, as `rand_rows` returns it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[Tensor] = []
        original = learned_codes.rand_rows

        def record(generator: torch.Generator, rows: int, *shape: int) -> Tensor:
            self.drawn.append(original(generator, rows, *shape))
            return self.drawn[-1]

        monkeypatch.setattr(learned_codes, "rand_rows", record)


LAYOUTS: dict[str, tuple[dict[str, Any], WaveformTransformerConfig]] = {
    "base": ({}, ENCODER.replace(stem=WAV2VEC2.narrow(16))),
    "large": (
        {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}, ENCODER.replace(norm="pre"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_loss_and_gradients_equal_transformers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    changes, settings = LAYOUTS[name]
    theirs = transformers.Wav2Vec2ForPreTraining(
        transformers.Wav2Vec2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, conv_dim=(16,) * 7,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, layerdrop=0.0, hidden_dropout=0.0,
            attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, feat_quantizer_dropout=0.0,
            num_codevectors_per_group=5, num_codevector_groups=2, codevector_dim=16, proj_codevector_dim=12,
            num_negatives=7, diversity_loss_weight=0.1, attn_implementation="eager", **changes,
        )
    )  # fmt: skip
    with torch.no_grad():
        for place, p in enumerate(theirs.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(place)) * 0.1)
    theirs.train().set_gumbel_temperature(1.3)
    encoder, objective = built(settings, OBJECTIVE.replace(terms=(_temperature(1.3),)))
    term = objective.terms[0]
    assert isinstance(term, LearnedCodes)
    use = term.uses[0]
    assert isinstance(use, QuantisedContrast)
    load_transformers_weights(encoder, theirs.state_dict())
    pairs = {
        "wav2vec2.masked_spec_embed": objective.mask_token,
        "project_hid.weight": use.context.weight, "project_hid.bias": use.context.bias,
        "project_q.weight": use.codes.weight, "project_q.bias": use.codes.bias,
        "quantizer.weight_proj.weight": term.quantiser.logits.weight,
        "quantizer.weight_proj.bias": term.quantiser.logits.bias,
        "quantizer.codevectors": term.quantiser.codebook,
    }  # fmt: skip
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for key, own in pairs.items():
            own.copy_(named[key].reshape(own.shape))

    recorder, x = Recorder(monkeypatch), wave(3, 12_000)
    encoder.train()
    objective.train()
    loss = objective(encoder, [view(x)], torch.Generator().manual_seed(3))
    loss.total.backward()

    # The same mask, noise and distractors for theirs.
    tokens = encoder.grid(x.shape[1])
    hidden = OBJECTIVE.mask.draw(tokens, 3, torch.Generator().manual_seed(3)).masked  # type: ignore[union-attr]
    uniform, chosen = recorder.drawn
    noise = learned_codes.gumbel_noise(uniform).unflatten(-1, (2, 5))
    negatives = torch.zeros(3, tokens.time, 7, dtype=torch.long)
    for row in range(3):
        places = hidden[row].nonzero().squeeze(1)
        for own, place in enumerate(places.tolist()):
            for k in range(7):
                drawn = int(float(chosen[row, place, k]) * (len(places) - 1))
                negatives[row, place, k] = places[drawn + (drawn >= own)] + row * tokens.time

    def gumbel(logits: Tensor, tau: float, hard: bool) -> Tensor:
        soft = ((logits + noise.reshape(logits.shape)) / tau).softmax(-1)
        assert hard
        return F.one_hot(soft.argmax(-1), soft.shape[-1]) - soft.detach() + soft

    monkeypatch.setattr(F, "gumbel_softmax", gumbel)
    result = theirs(x, mask_time_indices=hidden, sampled_negative_indices=negatives)
    count = hidden.sum()
    (result.loss / count).backward()

    assert float(loss.total) == pytest.approx(float(result.loss / count), rel=1e-6)
    assert float(loss.parts["contrast"]) == pytest.approx(float(result.contrastive_loss / count), rel=1e-6)
    assert float(loss.parts["diversity"]) == pytest.approx(float(result.diversity_loss / count), rel=1e-6)
    # Their gradients in our names, read as weights are.
    mirror = settings.build()
    load_transformers_weights(mirror, {key: p.grad for key, p in named.items() if p.grad is not None})
    for (key, own), (_, other) in zip(encoder.named_parameters(), mirror.named_parameters(), strict=True):
        assert own.grad is not None, key
        torch.testing.assert_close(own.grad, other, rtol=1e-4, atol=2e-6, msg=lambda text, key=key: f"{key}: {text}")
    for key, own in pairs.items():
        torch.testing.assert_close(own.grad, named[key].grad.reshape(own.shape), rtol=1e-4, atol=2e-6)


def _temperature(value: float) -> LearnedCodesConfig:
    return CODES.replace(temperature=learned_codes.TemperatureConfig(first=value, end=value))


def test_contrast_equals_a_slow_oracle() -> None:
    g = torch.Generator().manual_seed(0)
    prediction = F.normalize(torch.randn(2, 6, 4, generator=g, dtype=torch.float64), dim=-1)
    target = F.normalize(torch.randn(2, 6, 4, generator=g, dtype=torch.float64), dim=-1)
    others = torch.randint(0, 6, (2, 6, 5), generator=g)
    same = torch.rand(2, 6, 5, generator=g) < 0.3
    losses, margin = contrast(prediction, target, others, same, 0.1)
    for row in range(2):
        for place in range(6):
            p = prediction[row, place]
            own = float(p @ target[row, place]) / 0.1
            rest = [
                float(p @ target[row, int(o)]) / 0.1
                for o, s in zip(others[row, place], same[row, place], strict=True)
                if not s
            ]
            expected = math.log(sum(math.exp(v) for v in [own, *rest])) - own
            assert float(losses[row, place]) == pytest.approx(expected, abs=1e-9)
            assert float(margin[row, place]) == pytest.approx(own - max(rest), abs=1e-9)


def test_a_step_whose_distractors_all_have_its_code_costs_nothing() -> None:
    x = F.normalize(torch.randn(1, 3, 4), dim=-1).requires_grad_()
    losses, margin = contrast(
        x, x.detach(), torch.tensor([[[1], [0], [0]]]), torch.ones(1, 3, 1, dtype=torch.bool), 0.1
    )
    assert losses.tolist() == [[0.0, 0.0, 0.0]]
    assert bool(margin.isinf().all())
    losses.sum().backward()
    assert x.grad is not None
    assert not bool(x.grad.any())


def test_distractors_are_every_other_place_equally_often_and_never_the_own() -> None:
    uniform = torch.rand(3, 6, 40_000, generator=torch.Generator().manual_seed(0))
    uniform[0, 0, 0], uniform[0, 5, 0] = 1 - 2**-24, 0.0
    drawn = distractors(uniform, torch.tensor([6, 4, 1]))
    for row, count in ((0, 6), (1, 4)):
        for place in range(count):
            share = torch.bincount(drawn[row, place], minlength=6) / 40_000
            expected = torch.zeros(6)
            expected[:count] = 1 / (count - 1)
            expected[place] = 0
            assert float((share - expected).abs().max()) < 0.015
    # A clip with one hidden step has nothing but that step.
    assert not bool(drawn[2, 0].any())


def test_distractors_are_hidden_steps_of_the_same_clip_and_padding_is_none() -> None:
    encoder, objective = built()
    x = wave(2, 16_000)
    x[1, 8000:] = 0
    mask = SpanMask(p=0.65, length=4, same_count=False)
    objective = OBJECTIVE.replace(mask=mask).build(encoder).eval()
    v = view(x, [16_000, 8000])
    masked_batch = objective.look(encoder.eval(), [v], torch.Generator().manual_seed(0), [])
    assert masked_batch.valid is not None
    chosen = masked_batch.mask.predicted & masked_batch.valid
    places = learned_codes.Places.of(chosen)
    # What is real of each row, back on the grid, is what was chosen; in order.
    assert bool((places.put(places.real.unsqueeze(-1)).squeeze(-1) == chosen).all())
    for row in range(2):
        assert places.index[row][places.real[row]].tolist() == chosen[row].nonzero().squeeze(1).tolist()
    # A clip alone costs what it costs beside a longer one: nothing of the padding is compared or counted.
    other = x.clone()
    other[1, 12_000:] = 7.0
    again = objective(encoder, [view(other, [16_000, 8000])], torch.Generator().manual_seed(1)).total
    assert float(again) == pytest.approx(
        float(objective(encoder, [v], torch.Generator().manual_seed(1)).total), rel=1e-5
    )


def test_shuffled_targets_are_another_clips() -> None:
    encoder, objective = built()
    encoder.eval()
    objective.eval()
    x = wave(2, 8000)
    same = torch.cat([x[:1], x[:1]])
    objective.shuffled = True
    shuffled = objective(encoder, [view(same)], torch.Generator().manual_seed(0)).total
    objective.shuffled = False
    plain = objective(encoder, [view(same)], torch.Generator().manual_seed(0)).total
    assert float(shuffled) == pytest.approx(float(plain), rel=1e-6)  # the other clip is the same one
    true = objective(encoder, [view(x)], torch.Generator().manual_seed(0)).total
    objective.shuffled = True
    assert float(objective(encoder, [view(x)], torch.Generator().manual_seed(0)).total) != pytest.approx(float(true))


def test_watched_baselines() -> None:
    encoder, objective = built()
    encoder.eval()
    objective.eval()
    loss = objective(encoder, [view(wave(4, 12_000))], torch.Generator().manual_seed(0))
    watch = {name: float(value) for name, value in loss.watch.items()}
    # With 5 x 5 codes some distractors are left out, so that even chance is below ln 8.
    assert 0 < watch["contrast/chance"] < math.log(8)
    assert 1 / 8 < watch["contrast/chance_accuracy"] < 1
    assert watch["contrast/position"] > 0
    assert 1 <= watch["quantiser/perplexity"] <= 5
    assert watch["quantiser/used_share"] == pytest.approx(watch["quantiser/perplexity"] / 5)
    least = min(watch["contrast/chance"], watch["contrast/position"])
    assert watch["contrast/position_ratio"] == pytest.approx(float(loss.parts["contrast"]) / least, rel=1e-5)


def test_temperature_falls_with_the_steps() -> None:
    schedule = learned_codes.TemperatureConfig()
    assert schedule.at(0) == 2.0
    assert schedule.at(100_000) == pytest.approx(2.0 * 0.999995**100_000)
    assert schedule.at(400_000) == 0.5
    encoder, objective = built(objective=OBJECTIVE.replace(terms=(CODES.replace(temperature=_falling()),)))
    for step, expected in enumerate([2.0, 1.0, 0.5, 0.5]):
        loss = objective(encoder, [view(wave(2, 8000))], torch.Generator().manual_seed(0))
        assert float(loss.watch["quantiser/temperature"]) == expected
        objective.after_step(encoder, step)


def _falling() -> learned_codes.TemperatureConfig:
    return learned_codes.TemperatureConfig(first=2.0, end=0.5, factor=0.5)


def test_stem_penalty_is_the_mean_square_of_the_raw_stem() -> None:
    encoder, objective = built(objective=OBJECTIVE.replace(terms=(StemPenaltyConfig(),)))
    x = wave(2, 16_000)
    total = objective(encoder, [view(x)], torch.Generator().manual_seed(0)).total
    assert float(total) == pytest.approx(10 * float(encoder.stem(x).square().mean()), rel=1e-5)
    total.backward()
    assert encoder.stem.convs[0].weight.grad is not None
    # Half the second clip is padding, whose steps do not count.
    x[1, 8000:] = 0
    padded = objective(encoder, [view(x, [16_000, 8000])], torch.Generator().manual_seed(0)).total
    raw = encoder.stem(x).square().mean(-1)
    steps = encoder.config.stem.frames(8000)
    expected = (raw[0].sum() + raw[1, :steps].sum()) / (raw.shape[1] + steps)
    assert float(padded) == pytest.approx(10 * float(expected), rel=1e-5)


def test_stem_penalty_is_zero_without_a_stem() -> None:
    encoder = layout("mockingjay", "tiny", dropout=0.0, attention_dropout=0.0).build()
    terms = (CODES, StemPenaltyConfig())
    objective = OBJECTIVE.replace(terms=terms).build(encoder)
    features = Features(torch.randn(2, 50, 80), torch.tensor([50, 50]), 100.0)
    loss = objective(encoder, [View(features, torch.arange(2))], torch.Generator().manual_seed(0))
    assert float(loss.parts["stem_penalty"]) == 0
    tokens = OBJECTIVE.replace(terms=(StemPenaltyConfig(of="tokens", weight=0.01),)).build(encoder)
    total = tokens(encoder, [View(features, torch.arange(2))], torch.Generator().manual_seed(0)).total
    assert float(total) == pytest.approx(0.01 * float(encoder.tokenize(features).x.square().mean()), rel=1e-5)
    assert float(loss.total) > 0
    loss.total.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in objective.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuantisedContrastConfig(distractors=0), "distractors is 0"),
        (lambda: QuantisedContrastConfig(temperature=0.0), "temperature is 0.0; expected a finite number above 0"),
        (lambda: QuantisedContrastConfig(source="layer"), "layer 9"),
        (lambda: CODES.replace(uses=()), "at least one"),
        (lambda: CODES.replace(where="clip"), "learned_codes.where is 'clip'"),
        (lambda: CODES.replace(dropout=1.0), "dropout"),
        (lambda: CODES.replace(source="encoder"), "set the source of learned codes to tokens"),
        (lambda: learned_codes.TemperatureConfig(first=0.1, end=0.5), "expected end <= first"),
        (lambda: StemPenaltyConfig(weight=-1.0), "stem_penalty.weight is -1.0"),
    ],
)
def test_settings_that_contradict_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_layers_that_the_encoder_lacks_are_refused_at_once() -> None:
    codes = CODES.replace(uses=(QuantisedContrastConfig(source="layer 3"),))
    with pytest.raises(ConfigError, match=r"found layers \[3\], expected numbers from 0 to 2"):
        built(objective=OBJECTIVE.replace(terms=(codes,)))


def test_settings_survive_json() -> None:
    objective = OBJECTIVE.replace(terms=(CODES, StemPenaltyConfig(weight=3.0)))
    assert Config.from_json(objective.to_json()) == objective
