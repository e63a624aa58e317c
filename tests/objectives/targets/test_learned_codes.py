"""One quantiser and all that uses its codes: shared draws, and each use against a slow oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2_LAYER
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.contrastive.quantised_contrast import QuantisedContrastConfig
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.targets import learned_codes
from auricle.objectives.targets.code_uses import (
    CodeDiversityConfig,
    CodeLabels,
    CodeLabelsConfig,
    CodeRegression,
    CodeRegressionConfig,
)
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.learned_codes import (
    CodeReading,
    CodeUse,
    CodeUseConfig,
    LearnedCodes,
    LearnedCodesConfig,
)
from auricle.objectives.targets.teachers import TeacherClipTargetConfig

ENCODER = layout("decoar2", "tiny", width=32, heads=2, depth=2, mels=8, patch=(1, 8), frames=64, dropout=0.0,
                 attention_dropout=0.0, layer_drop=0.0)  # fmt: skip
CODES = LearnedCodesConfig(uses=(CodeDiversityConfig(weight=1.0),), groups=2, entries=6, width=8, dropout=0.0)


def views(clips: int = 3, frames: int = 40, seed: int = 0) -> list[View]:
    x = torch.randn(clips, frames, 8, generator=torch.Generator().manual_seed(seed))
    return [View(Features(x, torch.full((clips,), frames), 100.0), torch.arange(clips))]


def built(
    *uses: CodeUseConfig, encoder: SpectrogramTransformerConfig = ENCODER, clones: int = 1, **changes: Any
) -> tuple[SpectrogramTransformer, MaskedPrediction, LearnedCodes]:
    codes = CODES.replace(**({"uses": uses} if uses else {}), **changes)
    config = MaskedPredictionConfig(
        mask=SpanMask(p=0.6, length=4), hide="token", clones=clones, decoder=NoDecoderConfig(), terms=(codes,)
    )
    made = encoder.build()
    objective = config.build(made)
    term = objective.terms[0]
    assert isinstance(term, LearnedCodes)
    return made, objective, term


class Spy(CodeUse):
    """Keeps what it is shown."""

    weight = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[CodeReading] = []

    def forward(self, reading: CodeReading) -> Any:
        self.seen.append(reading)
        return learned_codes.TermLoss(torch.zeros(()), {}, {})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_all_uses_share_one_quantiser_and_one_draw() -> None:
    encoder, objective, term = built(
        QuantisedContrastConfig(source="layer 1", dim=8, distractors=4), CodeLabelsConfig(), CodeDiversityConfig()
    )
    calls: list[Tensor] = []
    term.quantiser.register_forward_hook(lambda module, args, out: calls.append(out.codes))
    spies = [Spy(), Spy()]
    term.uses.extend(spies)
    loss = objective(encoder, views(), generator())
    assert len(calls) == 1
    assert all(spy.seen[0].quantised.codes is calls[0] for spy in spies)
    assert sum(name.endswith("codebook") for name, _ in objective.named_parameters()) == 1
    assert term.layers == (1,)
    named = {use.config.name: use.weight for use in list(term.uses)[:2]}  # type: ignore[union-attr]
    total = sum(weight * float(loss.parts[name]) for name, weight in named.items())
    assert float(loss.total.detach()) == pytest.approx(total + 0.1 * float(loss.parts["diversity"]), rel=1e-6)


def test_the_same_generator_makes_the_same_codes_and_evaluation_takes_the_likeliest() -> None:
    encoder, objective, term = built()
    spy = Spy()
    term.uses.append(spy)
    for seed in (3, 3, 4):
        objective(encoder, views(), torch.Generator().manual_seed(seed))
    masked = [reading.masked_batch.mask.masked for reading in spy.seen]
    assert bool((masked[0] == masked[1]).all())
    assert bool((spy.seen[0].quantised.codes == spy.seen[1].quantised.codes).all())
    objective.eval()
    objective(encoder, views(), generator())
    reading = spy.seen[-1]
    likeliest = term.quantiser.score(
        reading.places.take(learned_codes.features_before_context(reading.masked_batch.tokens))
    )
    assert bool((reading.quantised.codes == likeliest.argmax(-1)).all())
    assert not bool((spy.seen[0].quantised.codes == likeliest.argmax(-1)).all())


def test_each_clone_is_quantised_at_its_own_places() -> None:
    encoder, objective, term = built(clones=2)
    spy = Spy()
    term.uses.append(spy)
    objective.eval()
    objective(encoder, views(), generator())
    reading = spy.seen[0]
    features = learned_codes.features_before_context(reading.masked_batch.tokens)
    codes = term.quantiser.score(features).argmax(-1)
    for row in range(6):
        places = reading.places.index[row][reading.places.real[row]]
        assert bool(reading.masked_batch.mask.masked[row, places].all())
        assert bool((reading.quantised.codes[row][reading.places.real[row]] == codes[row // 2, places]).all())


def test_diversity_is_the_unused_share_of_the_codebooks() -> None:
    encoder, objective, term = built()
    spy = Spy()
    term.uses.append(spy)
    loss = objective(encoder, views(), generator())
    reading = spy.seen[0]
    x = reading.places.take(learned_codes.features_before_context(reading.masked_batch.tokens))[reading.places.real]
    mean = term.quantiser.score(x[None]).softmax(-1)[0].mean(0)
    used = sum(float(torch.exp(-(p * p.log()).sum())) for p in mean)
    assert float(loss.parts["diversity"]) == pytest.approx((12 - used) / 12, abs=1e-6)
    # One entry for all: all but one of each group unused.
    with torch.no_grad():
        term.quantiser.logits.bias[::6] = 1000.0
    assert float(objective(encoder, views(), generator()).parts["diversity"]) == pytest.approx(1 - 2 / 12, rel=1e-5)


def test_weight_of_labels_rises_over_the_ramp() -> None:
    encoder, objective, _ = built(CodeLabelsConfig(weight=2.0, ramp_steps=10))
    for step, share in ((0, 0.1), (5, 0.55), (10, 1.0), (99, 1.0)):
        objective.load_state_dict({**objective.state_dict(), "done": torch.tensor(step)})
        loss = objective(encoder, views(), generator())
        assert float(loss.total.detach()) == pytest.approx(2 * share * float(loss.parts["labels"]), rel=1e-5)


def test_labels_are_the_codes_numbers_and_move_no_quantiser() -> None:
    encoder, objective, term = built(CodeLabelsConfig(weight=2.0))
    spy = Spy()
    term.uses.append(spy)
    loss = objective(encoder, views(), generator())
    reading, use = spy.seen[0], term.uses[0]
    assert isinstance(use, CodeLabels)
    expected = torch.zeros(())
    for group, head in enumerate(use.heads):
        for row in range(3):
            for column in range(int(reading.places.real[row].sum())):
                logits = head(reading.masked_batch.out.x[row, reading.places.index[row, column]])
                expected = expected + F.cross_entropy(logits, reading.quantised.codes[row, column, group])
    expected = expected / (2 * reading.places.real.sum())
    assert float(loss.parts["labels"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(2 * float(expected.detach()), rel=1e-5)
    loss.total.backward()
    assert all(p.grad is None for p in term.quantiser.parameters())
    watch = {name: float(value) for name, value in loss.watch.items()}
    assert {"labels0/unigram", "labels1/majority", "labels0/position_accuracy"} <= watch.keys()


def test_reconstruction_knows_nothing_but_the_codes() -> None:
    regression = CodeRegressionConfig(PatchTargetConfig(norm="none"), head=LinearHeadConfig(), measure="l1")
    encoder, objective, term = built(regression, CodeDiversityConfig(), source="encoder")
    spy = Spy()
    term.uses.append(spy)
    loss = objective(encoder, views(), generator())
    reading, use = spy.seen[0], term.uses[0]
    assert isinstance(use, CodeRegression)
    x = views()[0].features.x
    differences = []
    for row in range(3):
        for column in range(int(reading.places.real[row].sum())):
            entries = term.quantiser.look_up(reading.quantised.codes[row, column])
            truth = x[row, reading.places.index[row, column]]
            differences.append((use.head(entries) - truth).abs().mean())
    expected = float(torch.stack(differences).mean().detach())
    assert float(loss.parts["reconstruction"]) == pytest.approx(expected, rel=1e-5)
    # The gradient passes the codes all the same, into every weight of the encoder that takes part.
    loss.total.backward()
    unused = {name for name, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())}
    assert unused <= {name for name, _ in encoder.named_parameters() if name.startswith("fc_norm")}
    assert all(p.grad is not None and bool(p.grad.any()) for p in objective.parameters())


def test_shuffled_reconstruction_predicts_another_clip() -> None:
    regression = CodeRegressionConfig(PatchTargetConfig(norm="none"), head=LinearHeadConfig())
    encoder, objective, term = built(regression, source="encoder")
    spy = Spy()
    term.uses.append(spy)
    objective.eval()
    objective.shuffled = True
    loss = objective(encoder, views(), generator())
    reading, use = spy.seen[0], term.uses[0]
    assert isinstance(use, CodeRegression)
    truth = reading.places.take(views()[0].features.x.roll(1, 0))
    expected = (use.head(reading.quantised.x) - truth).abs().mean(-1)[reading.places.real].mean()
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_dropout_of_features_keeps_their_mean_and_stops_in_evaluation() -> None:
    encoder, objective, term = built(dropout=0.5)
    seen: list[Tensor] = []
    term.quantiser.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    objective(encoder, views(8), generator())
    objective.eval()
    objective(encoder, views(8), generator())
    dropped, whole = seen
    assert float((dropped == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert bool(((dropped == 0) | torch.isclose(dropped, 2 * whole)).all())


def test_targets_that_are_no_values_of_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match="continuous values for every token"):
        built(CodeRegressionConfig(TeacherClipTargetConfig()), source="encoder")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CodeLabelsConfig(reduce="mean"), "reduce is"),  # type: ignore[arg-type]
        (lambda: CodeLabelsConfig(source="middle"), "unknown source"),
        (lambda: CodeRegressionConfig(PatchTargetConfig(), measure="l3"), "measure is"),  # type: ignore[arg-type]
        (lambda: CODES.replace(source="layer 1", uses=(CodeLabelsConfig(),)), "CodeLabelsConfig would predict"),
    ],
)
def test_contradicting_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_uses_survive_json() -> None:
    uses = (CodeRegressionConfig(PatchTargetConfig()), CodeDiversityConfig(weight=0.3))
    codes = CODES.replace(source="encoder", uses=uses)
    assert Config.from_json(codes.to_json()) == codes


WAVEFORM = WaveformTransformerConfig(
    stem=WAV2VEC2_LAYER.narrow(16), width=32, depth=2, heads=4, position=ConvPositionConfig(kernel=16, groups=4)
)


def test_features_before_context_hold_no_positions() -> None:
    encoder = layout("mockingjay", "tiny").build()
    x = torch.randn(1, 1, 80).expand(1, 20, 80).contiguous()
    found = learned_codes.features_before_context(encoder.tokenize(Features(x, torch.tensor([20]), 100.0)))
    torch.testing.assert_close(found, found[:, :1].expand_as(found), rtol=1e-4, atol=1e-5)
    assert learned_codes.feature_width(encoder) == 192
    assert learned_codes.feature_width(WAVEFORM.build()) == 16


def test_measuring_the_feature_width_leaves_modes_as_they_are() -> None:
    encoder = WAVEFORM.build().train()
    encoder.stem.eval()
    assert learned_codes.feature_width(encoder) == 16
    assert encoder.training
    assert not encoder.stem.training
