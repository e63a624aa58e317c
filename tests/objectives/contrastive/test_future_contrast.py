"""CPC's and wav2vec's objective against a slow oracle that knows no shifts, no gathers and no grids."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.encoders.parts.quantisers.kmeans import KMeansLayerConfig
from auricle.encoders.parts.waveform_stem import WaveformStemConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.state_space import StateSpaceConfig
from auricle.encoders.waveform_recurrent import WaveformConvolutionConfig, WaveformRecurrentConfig
from auricle.errors import ConfigError, NeedError
from auricle.objectives.contract import Loss, View
from auricle.objectives.contrastive.future_contrast import FutureContrast, FutureContrastConfig
from auricle.objectives.contrastive.future_scores import chance
from auricle.objectives.targets.learned_codes import features_before_context

STEM = WaveformStemConfig(layers=((6, 4, 2), (6, 4, 2)), norm="layer", bias=True, activation="relu", padding="left")
RECURRENT = WaveformRecurrentConfig(stem=STEM, width=8, depth=1)
CONVOLUTION = WaveformConvolutionConfig(stem=STEM, width=8, kernels=(2, 3))
SMALL = FutureContrastConfig(steps=3, negatives=4)


def view_of(lengths: list[int], samples: int = 64, seed: int = 0) -> View:
    wave = torch.randn(len(lengths), samples, generator=torch.Generator().manual_seed(seed)).double()
    for row, length in zip(wave, lengths, strict=True):
        row[length:] = 0
    return View(Features(wave, torch.tensor(lengths), 16000.0), torch.arange(len(lengths)))


def parts(config: FutureContrastConfig, encoder: Encoder | None = None) -> tuple[Encoder, FutureContrast]:
    encoder = RECURRENT.build().double() if encoder is None else encoder.double()
    objective = config.build(encoder).double()
    with torch.no_grad():
        objective.maps.weight.mul_(4)
    return encoder, objective


def run(objective: FutureContrast, encoder: Encoder, view: View, seed: int = 0) -> Loss:
    return objective(encoder, [view], torch.Generator().manual_seed(seed))


def drawn_places(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Collect the negatives that an objective draws."""
    import auricle.objectives.contrastive.future_contrast as module

    seen: list[Tensor] = []
    real = module.draw_negatives

    def spy(*args: object) -> object:
        found = real(*args)  # type: ignore[arg-type]
        seen.append(found.index)
        return found

    monkeypatch.setattr(module, "draw_negatives", spy)
    return seen


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SMALL.replace(pool="clip", anchors="all"),
        SMALL.replace(pool="others", first=2, scale="sum"),
        SMALL.replace(pool="clip", loss="binary", scale="sum", bias=True, anchors="all", negative_weight=0.3, first=3),
    ],
)
def test_it_equals_a_loop_over_predictions(config: FutureContrastConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, objective = parts(config)
    if objective.maps.bias is not None:
        torch.nn.init.normal_(objective.maps.bias)
    view, negatives = view_of([64, 41, 64]), drawn_places(monkeypatch)
    loss = run(objective, encoder, view)
    tokens = encoder.tokenize(view.features)
    z, c = features_before_context(tokens), encoder.contextualize(tokens).x
    every = z.flatten(0, 1)
    steps = [int(n) for n in encoder.stem.config.lengths(view.features.lengths)]
    values, hits, by_step = [], [], {k: [] for k in range(config.steps)}
    for clip, length in enumerate(steps):
        for t in range(length):
            for k in range(config.steps):
                to = t + config.first + k
                horizon = t + config.first + config.steps - 1 if config.anchors == "common" else to
                if to >= length or horizon >= length:
                    continue
                guess = objective.maps.weight[k] @ c[clip, t]
                guess = guess + (0 if objective.maps.bias is None else objective.maps.bias)
                index = negatives[0][clip, to]
                assert clip * z.shape[1] + to not in index.tolist()
                scores = torch.stack([guess @ z[clip, to], *(guess @ every[i] for i in index)])
                scores = scores / z.shape[-1] if config.scale == "mean" else scores
                if config.loss == "nce":
                    values.append(-scores.log_softmax(0)[0])
                else:
                    wrong = -torch.log(torch.sigmoid(-scores[1:])).sum()
                    values.append(-torch.log(torch.sigmoid(scores[0])) + config.negative_weight * wrong)
                hits.append(float(scores[0] > scores[1:].max()))
                by_step[k].append(hits[-1])
    torch.testing.assert_close(loss.total, torch.stack(values).mean())
    assert float(loss.watch["future/accuracy"]) == pytest.approx(sum(hits) / len(hits), rel=1e-5)
    for k, found in by_step.items():
        assert float(loss.watch[f"future/accuracy_{k + 1}"]) == pytest.approx(sum(found) / len(found), abs=1e-6)


def test_equal_scores_cost_chance() -> None:
    """Golden values: ln(1 + n), and (1 + n) ln 2, or less where it is known that most candidates are wrong."""
    for config, zero, best in (
        (SMALL.replace(negatives=128), 4.860, 4.860),
        (SMALL.replace(negatives=10, loss="binary", pool="clip"), 11 * math.log(2), 3.3507),
        (SMALL.replace(negatives=10, loss="binary", negative_weight=0.1), 2 * math.log(2), 2 * math.log(2)),
    ):
        encoder, objective = parts(config)
        torch.nn.init.zeros_(objective.maps.weight)
        loss = run(objective, encoder, view_of([64, 64]))
        assert float(loss.total.detach()) == pytest.approx(zero, abs=5e-4)
        assert float(loss.watch["future/chance"]) == pytest.approx(best, abs=5e-4)
        assert float(loss.watch["future/accuracy"]) == 0  # a tie is not a hit
    scores = torch.linspace(-6, 2, 801)
    binary = torch.nn.functional.softplus(-scores) + 10 * torch.nn.functional.softplus(scores)
    assert chance(10, "binary") == pytest.approx(float(binary.min()), abs=1e-4)


class TestCausality:
    @pytest.mark.parametrize("config", [RECURRENT, CONVOLUTION])
    def test_predictions_do_not_change_with_what_they_predict(self, config: WaveformRecurrentConfig) -> None:
        encoder, objective = parts(SMALL, config.build())
        view = view_of([64])
        changed = view.features.x.clone()
        changed[:, 32:] += 3  # samples from step 8 on
        made = []
        for wave in (view.features.x, changed):
            out = encoder(Features(wave, view.features.lengths, 16000.0))
            made.append(objective.predict(out))
        one, two = made
        for k, shift in enumerate(objective.shifts(out.grid)):
            # Place i is predicted from step i - shift, which hears the samples before 4 (i - shift + 1).
            unheard = 8 + shift
            assert torch.equal(one[:, :unheard, k], two[:, :unheard, k])
            assert not torch.equal(one[:, unheard, k], two[:, unheard, k])
            assert not one[:, :shift, k].any()

    def test_no_gradient_from_a_prediction_to_its_future(self) -> None:
        encoder, objective = parts(SMALL)
        view = view_of([64])
        wave = view.features.x.requires_grad_()
        made = objective.predict(encoder(view.features))
        for place, k in ((9, 0), (9, 2), (15, 1)):
            (grad,) = torch.autograd.grad(made[0, place, k].sum(), wave, retain_graph=True)
            seen = 4 * (place - objective.shifts(encoder.grid(64))[k] + 1)
            assert grad[0, :seen].any()
            assert not grad[0, seen:].any()

    def test_norms_over_time_are_refused(self) -> None:
        with pytest.raises(NeedError, match="CAUSAL"):
            SMALL.build(CONVOLUTION.replace(norm="group").build())

    @pytest.mark.parametrize("ahead", [0, 4])
    def test_the_future_of_noise_stays_unknown(self, ahead: int) -> None:
        """Nothing of white noise tells what follows; an encoder that hears it ahead of time learns it at once.

        Negatives come from other clips: of the same one, a context knows those that it has heard.
        """
        encoder, objective = RECURRENT.build(), SMALL.replace(first=3, pool="others").build(RECURRENT.build())
        real = encoder.contextualize_quantised

        def early(tokens: Tokens, layers: object = (), noise: object = None) -> tuple[Tokens, tuple[()]]:
            out = real(tokens)[0]
            return replace(out, x=out.x.roll(-ahead, 1)), ()

        encoder.contextualize_quantised = early  # type: ignore[method-assign,assignment]
        optimiser = torch.optim.Adam([*encoder.parameters(), *objective.parameters()], lr=1e-2)
        for step in range(30):
            wave = torch.randn(16, 128, generator=torch.Generator().manual_seed(step))
            view = View(Features(wave, torch.full((16,), 128), 16000.0), torch.arange(16))
            loss = run(objective, encoder, view, step)
            optimiser.zero_grad()
            loss.total.backward()
            optimiser.step()
        value, accuracy = float(loss.total.detach()), float(loss.watch["future/accuracy"])
        if ahead:
            assert value < math.log(5) - 0.2
            assert accuracy > 0.4
        else:
            assert value > math.log(5) - 0.02
            assert accuracy < 0.2 + 0.03


class TestPools:
    def test_column_is_read_and_followed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder, objective = parts(SMALL.replace(pool="column", column="who"))
        assert objective.columns == ("who",)
        view = view_of([64, 64, 64, 64])
        view = replace(view, clip=torch.tensor([7, 1, 4, 0]))
        with pytest.raises(ConfigError, match=r"'who'.*take_columns"):
            run(objective, encoder, view)
        objective.take_columns({"who": ["b", "a", "-", "-", "b", "-", "-", "a"]})
        seen = drawn_places(monkeypatch)
        run(objective, encoder, view)
        clips = seen[0] // 16
        assert set(clips[0].unique().tolist()) == set(clips[1].unique().tolist()) == {0, 1}
        assert set(clips[2].unique().tolist()) == set(clips[3].unique().tolist()) == {2, 3}

    def test_a_column_with_gaps_is_refused(self) -> None:
        _, objective = parts(SMALL.replace(pool="column"))
        with pytest.raises(ConfigError, match="'speaker' has no value for 2 of 3 clips"):
            objective.take_columns({"speaker": ["a", None, " "]})

    def test_one_clip_has_no_others(self) -> None:
        encoder, objective = parts(SMALL.replace(pool="others"))
        with pytest.raises(ConfigError, match="nothing to draw negatives from: pool others in a batch of 1"):
            run(objective, encoder, view_of([64]))

    def test_a_clip_without_a_single_step_does_not_count(self) -> None:
        """It is shorter than the receptive field: padding in the batch, no candidate and no prediction."""
        encoder, objective = parts(SMALL.replace(pool="clip"))
        two, three = (run(objective, encoder, view_of(lengths)) for lengths in ([64, 48], [64, 48, 3]))
        assert torch.isfinite(three.total)
        torch.testing.assert_close(three.total, two.total)
        with pytest.raises(ConfigError, match="receptive field"):
            run(objective, encoder, view_of([3], 3))


def test_shuffled_tells_the_future_of_another_clip() -> None:
    encoder, objective = parts(SMALL.replace(pool="clip"))
    view = view_of([64, 64, 64])
    objective.shuffled = True
    shuffled = run(objective, encoder, view).total
    real = encoder.contextualize_quantised  # type: ignore[attr-defined]

    def of_the_next_clip(tokens: Tokens, layers: object = (), noise: object = None) -> tuple[Tokens, tuple[()]]:
        out = real(tokens)[0]
        return replace(out, x=out.x.roll(-1, 0)), ()

    encoder.contextualize_quantised = of_the_next_clip  # type: ignore[attr-defined]
    objective.shuffled = False
    torch.testing.assert_close(shuffled, run(objective, encoder, view).total)


def test_bands_predict_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    config = StateSpaceConfig(
        width=16, depth=2, states=4, expand=2, bidirectional=False, patch=(4, 4), mels=12, frames=40, drop_path=0.0
    )
    encoder, objective = parts(SMALL.replace(pool="clip", anchors="all"), config.build())
    x = torch.randn(2, 40, 12).double()
    view, seen = View(Features(x, torch.tensor([40, 40]), 100.0), torch.arange(2)), drawn_places(monkeypatch)
    loss = run(objective, encoder, view)
    tokens = encoder.tokenize(view.features)
    z, c = features_before_context(tokens), encoder.contextualize(tokens).x
    every, values = z.flatten(0, 1), []
    for clip in range(2):
        for t in range(10):
            for f in range(3):
                for k in range(3):
                    to = (t + 1 + k) * 3 + f
                    if t + 1 + k < 10:
                        guess = objective.maps.weight[k] @ c[clip, t * 3 + f]
                        found = every[torch.tensor([clip * 30 + to, *seen[0][clip, to].tolist()])]
                        values.append(-(found @ guess / 16).log_softmax(0)[0])
    torch.testing.assert_close(loss.total, torch.stack(values).mean())


class TestCodes:
    @pytest.mark.parametrize("quantiser", [GumbelLayerConfig(groups=2, entries=8), KMeansLayerConfig(2, 8)])
    def test_candidates_are_codes(self, quantiser: GumbelLayerConfig | KMeansLayerConfig) -> None:
        config = SMALL.replace(source="codes", pool="clip", diversity=0.5)
        encoder, objective = parts(config, CONVOLUTION.replace(quantiser=quantiser).build())
        assert not len(objective.quantisers)
        loss = run(objective, encoder.train(), view_of([64, 64]))
        more = "quantiser" if isinstance(quantiser, KMeansLayerConfig) else "diversity"
        assert {"future", more} <= set(loss.parts)
        assert 1 <= float(loss.watch["codes/perplexity"]) <= 8
        loss.total.backward()
        named = [*encoder.named_parameters(), *objective.named_parameters()]
        assert [name for name, p in named if p.grad is None or not p.grad.any()] == []

    def test_an_encoder_without_a_quantiser_gets_one_here(self) -> None:
        config = SMALL.replace(source="codes", quantiser=GumbelLayerConfig(groups=2, entries=8))
        encoder, objective = parts(config)
        loss = run(objective, encoder, view_of([64, 64]))
        loss.total.backward()
        assert "codes/perplexity" in loss.watch
        assert all(p.grad is not None for p in objective.parameters())
        torch.manual_seed(3)
        assert torch.equal(run(objective, encoder, view_of([64, 64])).total, loss.total)

    def test_equal_codes_can_be_left_out(self) -> None:
        """With one entry every candidate is the true one: nothing to tell apart, and no hit either."""
        encoder = CONVOLUTION.replace(quantiser=GumbelLayerConfig(entries=1)).build()
        codes = SMALL.replace(source="codes", pool="clip")
        for config, expected in ((codes, math.log(5)), (codes.replace(distinct=True, diversity=1e-6), 0.0)):
            _, objective = parts(config, encoder)
            loss = run(objective, encoder, view_of([64]))
            assert float(loss.parts["future"]) == pytest.approx(expected, abs=1e-9)
            assert float(loss.watch["future/accuracy"]) == 0

    def test_leaving_out_needs_a_pull_apart(self) -> None:
        with pytest.raises(ConfigError, match="nothing to lose"):
            SMALL.replace(source="codes", distinct=True)
        with pytest.raises(ConfigError, match="nothing to lose"):
            SMALL.replace(distinct=True, diversity=0.1)


def test_bf16_losses_are_float32() -> None:
    encoder, objective = RECURRENT.build(), SMALL.build(RECURRENT.build())
    view = view_of([64, 64])
    view = View(Features(view.features.x.float(), view.features.lengths, 16000.0), view.clip)
    with torch.autocast("cpu", torch.bfloat16):
        loss = run(objective, encoder, view)
    assert loss.total.dtype == torch.float32
    assert torch.isfinite(loss.total)


def test_refusals() -> None:
    encoder, objective = parts(SMALL)
    with pytest.raises(NeedError, match=r"CAUSAL.*recurrent"):
        SMALL.build(layout("audio_mae", size="tiny").build())
    with pytest.raises(ConfigError, match=r"3 time steps.*farthest.*3 ahead.*--window.seconds"):
        run(objective, encoder, view_of([12], 12))
    with pytest.raises(ConfigError, match=r"pool is 'clips'.*did you mean 'clip'"):
        FutureContrastConfig(pool="clips")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="steps is 0"):
        FutureContrastConfig(steps=0)
    with pytest.raises(ConfigError, match="pool column needs the name"):
        FutureContrastConfig(pool="column", column="")
