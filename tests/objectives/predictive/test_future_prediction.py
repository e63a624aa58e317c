"""APC's objective against a slow oracle, its baselines, its controls, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.contract import Encoder
from auricle.encoders.frame_recurrent import FrameRecurrent, FrameRecurrentConfig
from auricle.encoders.parts.quantisers.gumbel import GumbelLayer, GumbelLayerConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.state_space import StateSpaceConfig
from auricle.encoders.waveform_recurrent import WaveformRecurrentConfig
from auricle.errors import ConfigError, NeedError
from auricle.objectives.contract import Loss, View
from auricle.objectives.predictive.future_prediction import FuturePrediction, FuturePredictionConfig
from auricle.objectives.targets.inputs import FrameTargetConfig
from auricle.objectives.targets.learned_codes import TemperatureConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig

MELS = 12


def encoder_of(**changes: object) -> FrameRecurrent:
    return FrameRecurrentConfig(width=8, depth=2, mels=MELS, dropout=0.0).replace(**changes).build().double()


def view_of(lengths: list[int], frames: int = 20, seed: int = 0) -> View:
    x = torch.randn(len(lengths), frames, MELS, generator=torch.Generator().manual_seed(seed)).double()
    return View(Features(x, torch.tensor(lengths), 100.0), torch.arange(len(lengths)))


def run(objective: FuturePrediction, encoder: Encoder, view: View) -> Loss:
    return objective(encoder, [view], torch.Generator().manual_seed(0))


def oracle(objective: FuturePrediction, encoder: Encoder, view: View, shift: int, measure: str) -> float:
    """Frame by frame: the loss over all pairs of which both frames are valid."""
    x, out = view.features.x, encoder(view.features).x
    losses = []
    for clip, length in enumerate(view.features.lengths.tolist()):
        for t in range(length - shift):
            gap = objective.head(out[clip, t]) - x[clip, t + shift]
            losses.append(float((gap.abs() if measure == "l1" else gap.square()).mean().detach()))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("ahead", "measure"), [(1, "l1"), (3, "l1"), (5, "l2")])
def test_it_is_the_mean_over_valid_pairs(ahead: int, measure: str) -> None:
    encoder = encoder_of()
    objective = FuturePredictionConfig(ahead=ahead, measure=measure).build(encoder).double()  # type: ignore[arg-type]
    view = view_of([20, 13, 4])
    loss = run(objective, encoder, view)
    assert float(loss.total.detach()) == pytest.approx(oracle(objective, encoder, view, ahead, measure), rel=1e-12)
    assert set(loss.parts) == {"future"}


def test_bands_predict_themselves() -> None:
    """On a grid of patches, a token predicts the patch of its own bands, some columns later."""
    config = StateSpaceConfig(
        width=16, depth=2, states=4, expand=2, bidirectional=False, patch=(4, 4), mels=MELS, frames=40, drop_path=0.0
    )
    encoder = config.build().double()
    objective = FuturePredictionConfig(ahead=2).build(encoder).double()
    view = view_of([40, 40], 40)
    loss = run(objective, encoder, view)
    out = encoder(view.features).x.unflatten(1, (10, 3))
    patches = view.features.x.unflatten(2, (3, 4)).unflatten(1, (10, 4)).transpose(2, 3).flatten(3)
    slow = torch.stack(
        [(objective.head(out[:, t, f]) - patches[:, t + 2, f]).abs().mean() for t in range(8) for f in range(3)]
    ).mean()
    torch.testing.assert_close(loss.total, slow)


def test_baselines_are_what_they_say() -> None:
    encoder = encoder_of()
    objective = FuturePredictionConfig(ahead=3).build(encoder).double()
    view = view_of([20, 20, 20])
    watch = run(objective, encoder, view).watch
    x = view.features.x
    assert float(watch["future/copy_last"]) == pytest.approx(float((x[:, 3:] - x[:, :-3]).abs().mean()))
    future = x[:, 3:]
    assert float(watch["future/constant"]) == pytest.approx(
        float((future - future.mean((0, 1))).abs().mean()), rel=1e-5
    )
    for name in ("future/position", "future/position_ratio", "future/std_target", "future/std_prediction"):
        assert torch.isfinite(watch[name])
    assert float(watch["rank_tokens"]) > 1.5


def test_a_steady_tone_is_copied_without_loss() -> None:
    encoder = encoder_of()
    objective = FuturePredictionConfig(ahead=2).build(encoder).double()
    still = torch.randn(2, 1, MELS).double().expand(-1, 20, -1)
    view = View(Features(still, torch.tensor([20, 20]), 100.0), torch.arange(2))
    assert float(run(objective, encoder, view).watch["future/copy_last"]) == 0.0


def test_shuffled_takes_the_future_of_another_clip() -> None:
    encoder = encoder_of()
    objective = FuturePredictionConfig(ahead=2).build(encoder).double()
    view = view_of([20, 9, 15])
    objective.shuffled = True
    out, x, losses = encoder(view.features).x, view.features.x, []
    for clip, length in enumerate([20, 9, 15]):
        other, its = (clip - 1) % 3, [20, 9, 15][(clip - 1) % 3]
        for t in range(min(length, its - 2, 18)):
            losses.append(float((objective.head(out[clip, t]) - x[other, t + 2]).abs().mean().detach()))
    assert float(run(objective, encoder, view).total.detach()) == pytest.approx(sum(losses) / len(losses))


def test_the_loss_of_a_frame_does_not_reach_back_from_it() -> None:
    """Predictions from before a change are those without it: what is predicted is never seen."""
    encoder, view = encoder_of(), view_of([20])
    objective = FuturePredictionConfig(ahead=3).build(encoder).double()
    changed = view.features.x.clone()
    changed[:, 11:] += 5
    one, two = (
        objective.head(encoder(Features(x, view.features.lengths, 100.0)).x) for x in (view.features.x, changed)
    )
    assert torch.equal(one[:, :11], two[:, :11])
    assert not torch.equal(one[:, 11], two[:, 11])


def test_encoders_of_samples_predict_frames_of_a_front_end() -> None:
    encoder = WaveformRecurrentConfig.size("tiny", width=16, depth=1).build()
    objective = FuturePredictionConfig(ahead=3).build(encoder)
    wave = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    lengths = torch.tensor([8000, 8000])
    view = View(Features(wave, lengths, 16000.0), torch.arange(2), {}, Audio(wave, lengths, 16000))
    loss = run(objective, encoder, view)
    assert objective.head.out_features == 80
    assert torch.isfinite(loss.total)
    with pytest.raises(ConfigError, match="clean waveform"):
        run(objective, encoder, View(view.features, view.clip))


class TestCodes:
    CONFIG = GumbelLayerConfig(entries=16, temperature=0.5)

    def test_noise_is_the_batchs_and_repeats(self) -> None:
        encoder = encoder_of(quantised_after=(2,), quantiser=self.CONFIG).train()
        objective = FuturePredictionConfig(ahead=2).build(encoder).double()
        view = view_of([20, 20])
        torch.manual_seed(0)
        one = run(objective, encoder, view)
        torch.manual_seed(1)
        two = run(objective, encoder, view)
        assert torch.equal(one.total, two.total)
        assert 1 <= float(one.watch["codes/perplexity"]) <= 16
        one.total.backward()
        assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())

    def test_temperature_follows_the_step(self) -> None:
        encoder = encoder_of(quantised_after=(1, 2), quantiser=self.CONFIG).train()
        cooling = TemperatureConfig(2.0, 0.5, 0.9)
        objective = FuturePredictionConfig(ahead=2, temperature=cooling).build(encoder).double()
        layers = [module for module in encoder.modules() if isinstance(module, GumbelLayer)]
        run(objective, encoder, view_of([20]))
        assert [layer.temperature for layer in layers] == [2.0, 2.0]
        objective.after_step(encoder, 4)
        loss = run(objective, encoder, view_of([20]))
        assert layers[1].temperature == pytest.approx(2.0 * 0.9**5)
        assert {"codes1/perplexity", "codes2/perplexity"} <= set(loss.watch)

    def test_diversity_is_what_is_left_unused(self) -> None:
        encoder = encoder_of(quantised_after=(2,), quantiser=self.CONFIG)
        plain, pulled = (FuturePredictionConfig(ahead=2, diversity=w).build(encoder).double() for w in (0.0, 0.7))
        view = view_of([20, 20])
        encoder.eval()
        one, two = run(plain, encoder, view), run(pulled, encoder, view)
        _, (quantised,) = encoder.contextualize_quantised(encoder.tokenize(view.features))
        unused = 1 - float(quantised.perplexity.detach()) / 16
        assert float(two.parts["diversity"]) == pytest.approx(unused)
        assert float((two.total - one.total).detach()) == pytest.approx(0.7 * unused)


def test_refusals() -> None:
    encoder = encoder_of()
    with pytest.raises(NeedError, match=r"CAUSAL.*recurrent"):
        FuturePredictionConfig().build(layout("audio_mae", size="tiny").build())
    with pytest.raises(ConfigError, match=r"3 time steps.*4 ahead.*at least 0.06 s"):
        run(FuturePredictionConfig(ahead=4).build(encoder).double(), encoder, view_of([3], 3))
    with pytest.raises(ConfigError, match="ahead is 0"):
        FuturePredictionConfig(ahead=0)
    with pytest.raises(ConfigError, match="measure is"):
        FuturePredictionConfig(measure="l3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="FrameTargetConfig"):
        FuturePredictionConfig(target=TeacherTargetConfig(layers=2)).build(encoder)


def test_frames_of_another_rate_are_refused() -> None:
    encoder = WaveformRecurrentConfig.size("tiny", width=16, depth=1).build()
    with pytest.raises(ConfigError, match="whole number"):
        FuturePredictionConfig(target=FrameTargetConfig(LogMelConfig(hop=128))).build(encoder)
