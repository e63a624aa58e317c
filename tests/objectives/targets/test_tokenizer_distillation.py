"""The tokenizer's training and its codes as a target: against sums by hand, over micro-batches, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoder, CodingEncoderConfig
from auricle.encoders.contract import Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.errors import ConfigError, NeedError
from auricle.objectives.contract import Preparation, View
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.previous_codes import PreviousCodesTargetConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.tokenizer_distillation import TokenizerDistillation, TokenizerDistillationConfig

FRONT = LogMelConfig(mels=32)
BODY = BEATsConfig(
    width=16, embed=8, depth=1, heads=2, mels=32, position=ConvPositionConfig(kernel=4, groups=4), dropout=0.0,
    attention_dropout=0.0,
)  # fmt: skip
CODING = CodingEncoderConfig(body=BODY, codebook=CodebookConfig(codes=6, dim=4, patience=2))
CONFIG = TokenizerDistillationConfig(
    previous=PreviousEncoderConfig(encoder=BODY, frontend=FRONT), estimator=TransformerDecoderConfig(16, 1, 2)
)


def audio(clips: int = 4, samples: int = 16_000, seed: int = 0) -> Audio:
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    tones = [np.sin(2 * np.pi * generator.uniform(100, 4000) * time) for _ in range(clips)]
    waves = [0.3 * tone + 0.02 * generator.standard_normal(samples) for tone in tones]
    return Audio.stack([wave.astype(np.float32) for wave in waves], 16000)


def view(sound: Audio | None = None) -> View:
    sound = audio() if sound is None else sound
    return View(FRONT.build()(sound), torch.arange(len(sound)), {}, sound)


def previous(encoder: Encoder | None = None, front: LogMelConfig = FRONT) -> FrozenEncoder:
    made = BODY.build(torch.Generator().manual_seed(9)) if encoder is None else encoder
    return FrozenEncoder(front.build(), made, name="the previous stage")


def preparation(previous: FrozenEncoder | None, clips: int = 8, notes: list[str] | None = None) -> Preparation:
    def views(wanted: int) -> Iterator[View]:
        for start in range(0, min(clips, wanted), 4):
            yield view(audio(4, seed=start + 1))

    take = (lambda text: None) if notes is None else notes.append
    return Preparation(views, clips, previous, torch.Generator().manual_seed(0), take)


def ready() -> tuple[CodingEncoder, TokenizerDistillation]:
    encoder = CODING.build()
    objective = CONFIG.build(encoder)
    objective.prepare(encoder, preparation(previous()))
    return encoder, objective


def test_first_codes_are_those_of_k_means() -> None:
    encoder, notes = CODING.build(), []
    objective = CONFIG.build(encoder)
    random = encoder.codebook.book.clone()
    objective.prepare(encoder, preparation(previous(), notes=notes))
    assert not torch.equal(encoder.codebook.book, random)
    torch.testing.assert_close(encoder.codebook.book.norm(dim=1), torch.ones(6))
    assert "6 codes" in notes[-1]
    # Every code is somebody's, and the centres are nearer to the tokens than random directions are.
    with torch.no_grad():
        unit = torch.cat([encoder.codebook.project(encoder(view(audio(4, seed=s)).features).x) for s in (1, 5)])
    assert encoder.codebook.nearest(unit).unique().numel() == 6
    assert (unit.flatten(0, 1) @ encoder.codebook.book.T).amax(1).mean() > (unit.flatten(0, 1) @ random.T).amax(
        1
    ).mean()


def test_the_loss_is_cosine_distance_and_commitment() -> None:
    encoder, objective = ready()
    shown = view()
    loss = objective(encoder, [shown], torch.Generator().manual_seed(0))
    previous = BODY.build(torch.Generator().manual_seed(9)).eval()
    tokens, known = encoder(shown.features), previous(FRONT.build()(audio()))
    unit = encoder.codebook.project(tokens.x)
    distil = commit = 0.0
    coded = encoder.codebook.book[encoder.codebook.nearest(unit)]
    from_codes = objective.estimator(tokens.__class__(objective.lift(coded), tokens.grid))
    estimate = objective.head(from_codes.x)
    for clip in range(4):
        for token in range(unit.shape[1]):
            distil += 1 - F.cosine_similarity(estimate[clip, token], known.x[clip, token], dim=0).item()
            commit += (unit[clip, token] - coded[clip, token]).square().sum().item()
    count = unit.shape[0] * unit.shape[1]
    assert loss.parts["distil"].item() == pytest.approx(distil / count, rel=1e-4)
    assert loss.parts["commitment"].item() == pytest.approx(commit / count, rel=1e-4)
    assert loss.total.item() == pytest.approx((distil + commit) / count, rel=1e-4)
    loss.total.backward()
    named = [*encoder.named_parameters(), *objective.named_parameters()]
    assert all(p.grad is not None and bool(p.grad.any()) for _, p in named if p.requires_grad)
    assert all(p.grad is None for p in objective.previous.parameters())


def test_the_output_is_standardised_by_dimension_and_the_commitment_a_mean_error() -> None:
    config = CONFIG.replace(standardise=True, commitment_dims="mean")
    encoder = CODING.build()
    objective = config.build(encoder)
    objective.prepare(encoder, preparation(previous()))
    model = BODY.build(torch.Generator().manual_seed(9)).eval()
    with torch.no_grad():
        seen = torch.cat([model(FRONT.build()(audio(4, seed=seed))).x for seed in (1, 5)]).flatten(0, 1).double()
    torch.testing.assert_close(objective.mean.double(), seen.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(objective.deviation.double(), seen.std(0, correction=0), rtol=1e-4, atol=1e-5)
    loss = objective(encoder, [view()], torch.Generator().manual_seed(0))
    with torch.no_grad():
        unit = encoder.codebook.project(encoder(view().features).x)
        coded = encoder.codebook.book[encoder.codebook.nearest(unit)]
        codes = encoder(view().features).__class__(objective.lift(coded), encoder(view().features).grid)
        estimate = objective.head(objective.estimator(codes).x)
        known = (model(FRONT.build()(audio())).x - seen.mean(0).float()) / seen.std(0, correction=0).float()
    assert loss.parts["commitment"].item() == pytest.approx(F.mse_loss(unit, coded).item(), rel=1e-4)
    cosine = F.cosine_similarity(estimate, known, dim=-1).mean().item()
    assert loss.parts["distil"].item() == pytest.approx(1 - cosine, rel=1e-4)
    # Measured once: a resumed run goes on with the same numbers.
    again = config.build(CODING.build())
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again.mean, objective.mean)
    assert torch.equal(again.deviation, objective.deviation)


def test_codes_follow_the_sums_of_all_micro_batches_once_a_step() -> None:
    states = []
    for parts in ((slice(0, 4),), (slice(0, 2), slice(2, 4))):
        encoder, objective = ready()
        shown = view()
        for rows in parts:
            objective(encoder, [shown[rows]], torch.Generator().manual_seed(0))
        objective.after_step(encoder, 0)
        assert float(objective.counts.sum()) == 0
        states.append(encoder.codebook.book.clone())
    torch.testing.assert_close(states[0], states[1])
    encoder, objective = ready()
    fresh = encoder.codebook.book.clone()
    assert not torch.equal(states[0], fresh)
    # What is only evaluated changes nothing.
    objective.eval()
    objective(encoder, [view()], torch.Generator().manual_seed(0))
    objective.after_step(encoder, 0)
    assert torch.equal(encoder.codebook.book, fresh)


def test_each_clip_offers_one_of_its_tokens_to_codes_that_die() -> None:
    encoder, objective = ready()
    shown = view(Audio(audio().wave, torch.tensor([16_000, 16_000, 6_000, 3_000]), 16000))
    places = set()
    for seed in range(12):
        objective(encoder, [shown], torch.Generator().manual_seed(seed))
        with torch.no_grad():
            tokens = encoder(shown.features)
            same = (encoder.codebook.project(tokens.x) - objective._candidates.unsqueeze(1)).abs().amax(2) < 1e-6
        assert bool(same.any(1).all())
        # Never one of padding.
        assert not bool((same & ~tokens.valid).any())
        places.add(int(same[0].long().argmax()))
    assert len(places) > 4


def test_shuffled_targets_are_another_clips() -> None:
    encoder, objective = ready()
    objective.eval()
    sound = audio()
    rolled = Audio(sound.wave.roll(1, 0), sound.lengths, sound.rate)
    shown, other = view(sound), View(view(sound).features, torch.arange(4), {}, rolled)
    plain = objective(encoder, [other], torch.Generator().manual_seed(0))
    objective.shuffled = True
    control = objective(encoder, [shown], torch.Generator().manual_seed(0))
    assert control.total.item() == pytest.approx(plain.total.item(), rel=1e-6)


def test_an_encoder_without_codes_is_refused_with_what_would_help() -> None:
    with pytest.raises(NeedError, match="CodingEncoderConfig") as caught:
        CONFIG.build(BODY.build())
    assert caught.value.needs == ("CODES",)


def test_without_a_stage_before_it_does_not_begin() -> None:
    encoder = CODING.build()
    objective = CONFIG.build(encoder)
    with pytest.raises(ConfigError, match="--previous"):
        objective.prepare(encoder, preparation(None))
    with pytest.raises(ConfigError, match="prepare"):
        objective(encoder, [view()], torch.Generator())


def test_another_stage_than_the_settings_say_is_refused() -> None:
    encoder = CODING.build()
    objective = CONFIG.build(encoder)
    with pytest.raises(ConfigError, match="depth: found 2, expected 1"):
        objective.prepare(encoder, preparation(previous(BODY.replace(depth=2).build())))
    with pytest.raises(ConfigError, match="hop: found 80, expected 160"):
        objective.prepare(encoder, preparation(previous(front=FRONT.replace(hop=80))))


def test_fewer_tokens_than_codes_are_refused() -> None:
    coding = CODING.replace(codebook=CodebookConfig(codes=500, dim=4))
    encoder = coding.build()
    with pytest.raises(ConfigError, match="96 vectors for 500 clusters"):
        CONFIG.build(encoder).prepare(encoder, preparation(previous()))


def masked(encoder: Encoder, coding: CodingEncoderConfig = CODING) -> MaskedPrediction:
    target = PreviousCodesTargetConfig(PreviousEncoderConfig(encoder=coding, frontend=FRONT))
    return MaskedPredictionConfig(
        mask=RandomMask(0.75), decoder=TransformerDecoderConfig(16, 1, 2), terms=(CodeConfig(target),)
    ).build(encoder)


def test_codes_of_the_tokenizer_become_the_next_models_targets() -> None:
    tokenizer, _ = ready()
    encoder = BODY.build()
    objective = masked(encoder)
    objective.prepare(encoder, preparation(previous(tokenizer)))
    shown = view()
    masked_batch = objective.look(encoder, [shown], torch.Generator().manual_seed(0), list(objective.terms))
    expected = tokenizer.codes(tokenizer.tokenize(shown.features))
    assert torch.equal(objective.terms[0].target(masked_batch), expected)
    assert expected.unique().numel() > 2
    # They travel in checkpoints: a resumed run does not need the previous stage.
    again = masked(encoder)
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again.terms[0].target(masked_batch), expected)


def test_a_tokenizer_with_one_code_is_refused_unless_the_gate_is_open() -> None:
    tokenizer, _ = ready()
    with torch.no_grad():
        middle = tokenizer.codebook.project(tokenizer(view().features).x).mean((0, 1))
    # All but one lie on the other side of every token.
    tokenizer.codebook.start(torch.stack([middle, *[-middle] * 5]))
    encoder, notes = BODY.build(), []
    config = masked(encoder).config
    assert config.terms[0].target.gate == 1 / 8

    def gated(gate: float) -> MaskedPrediction:
        term = config.terms[0]
        return config.replace(terms=(term.replace(target=term.target.replace(gate=gate)),)).build(encoder)

    with pytest.raises(ConfigError, match=r"perplexity of [12]\.\d of 6 on this corpus; expected at least 3, .*gate 0"):
        gated(0.5).prepare(encoder, preparation(previous(tokenizer), notes=notes))
    assert re.search(r"perplexity [12]\.\d", notes[-1])
    gated(0.0).prepare(encoder, preparation(previous(tokenizer)))


def test_a_stage_before_without_codes_is_refused() -> None:
    with pytest.raises(ConfigError, match="CodingEncoderConfig"):
        masked(BODY.build(), BODY)


def test_tokens_on_another_grid_are_refused_with_the_grid_expected() -> None:
    tokenizer, _ = ready()
    encoder = BODY.replace(patch=(8, 16)).build()
    objective = masked(encoder)
    objective.prepare(encoder, preparation(previous(tokenizer)))
    with pytest.raises(ConfigError, match=r"6 x 2 tokens at 6\.25 .* 12 x 2 at 12\.5"):
        objective(encoder, [view()], torch.Generator())
