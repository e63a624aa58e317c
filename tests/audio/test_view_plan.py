from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from audio_clips import RATE, ragged, seeded

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.feature_mixing import LogMixupExpConfig
from auricle.audio.ops.feature_ops import LinearFaderConfig, ResizeCropConfig
from auricle.audio.ops.wave_mixing import UtteranceMixConfig
from auricle.audio.ops.wave_ops import PolarityConfig, WaveFadeConfig, WaveNoiseConfig, WaveRollConfig
from auricle.audio.view_plan import ViewPlan, ViewPlanConfig
from auricle.audio.views import MadeView, PlainViewsConfig
from auricle.config import Config
from auricle.errors import ConfigError

FRONT = LogMelConfig(mels=64, low=60.0, high=7800.0, n_fft=1024, window=1024, hop=160, mean=-5.0, std=4.0).build()
BYOL_A = ViewPlanConfig(
    crop=CropConfig(seconds=0.95, short="silence"),
    feature=(LogMixupExpConfig(entries=8), ResizeCropConfig(), LinearFaderConfig()),
    joint="standardise",
)
COLA = ViewPlanConfig(
    crop=CropConfig(seconds=0.96, each=True), level="l2", wave=(WaveNoiseConfig(sigma=(0.001, 0.001)),), clean=(0,)
)


def same(a: tuple[MadeView, ...], b: tuple[MadeView, ...]) -> bool:
    return all(torch.equal(x.features.x, y.features.x) for x, y in zip(a, b, strict=True))


# Crops


def test_shared_crops_are_even_over_all_places():
    audio = Audio(torch.zeros(4000, 30), torch.full((4000,), 30), 10)
    starts = CropConfig(seconds=2.0).starts(audio, 3, seeded())
    assert torch.equal(starts[0], starts[2])
    counts = torch.bincount(starts[0])
    assert len(counts) == 11
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3
    stepped = CropConfig(seconds=2.0, step=0.5).starts(audio, 1, seeded())
    assert set(stepped[0].tolist()) == {0, 5, 10}
    own = CropConfig(seconds=2.0, each=True).starts(audio, 2, seeded())
    assert abs(np.corrcoef(own.numpy())[0, 1]) < 0.06


def test_crops_can_be_kept_apart():
    audio = Audio(torch.zeros(2000, 100), torch.cat([torch.full((1000,), 100), torch.full((1000,), 45)]), 10)
    starts = CropConfig(seconds=2.0, each=True, overlap="none").starts(audio, 3, seeded())
    rising = starts.sort(0).values
    assert (rising.diff(dim=0)[:, :1000] >= 20).all()
    assert (starts[:, :1000] <= 80).all()
    assert (starts[0, :1000] > starts[1, :1000]).double().mean().item() == pytest.approx(0.5, abs=0.06)
    # Too short for three crops: spread as far apart as can be.
    assert {tuple(row) for row in rising[:, 1000:].T.tolist()} == {(0, 12, 25)}


def test_crops_are_cut_and_short_clips_padded_or_filled_up():
    audio = ragged(20000, 9000)
    config = CropConfig(seconds=0.95)
    start = config.starts(audio, 1, seeded())[0]
    cut = config.cut(audio, start)
    assert cut.wave.shape == (2, 15200)
    assert cut.lengths.tolist() == [15200, 9000]
    first = int(start[0])
    assert torch.equal(cut.wave[0], audio.wave[0, first : first + 15200])
    assert int(start[1]) == 0
    assert torch.equal(cut.wave[1, :9000], audio.wave[1, :9000])
    assert (cut.wave[1, 9000:] == 0).all()
    assert config.replace(short="silence").cut(audio, start).lengths.tolist() == [15200, 15200]


def test_windows_that_leave_crops_one_place_are_refused():
    plan = COLA.replace(crop=CropConfig(seconds=0.96, each=True, short="silence"))
    for seconds in (0.5, 0.96):
        with pytest.raises(ConfigError, match=rf"crop of 0\.96 s, .* only {seconds:g} s long: .*--window\.seconds"):
            plan.check_window(seconds)
    plan.check_window(1.0)
    plan.replace(crop=CropConfig(seconds=0.96)).check_window(0.5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CropConfig(seconds=0.0), "seconds"),
        (lambda: CropConfig(each=True), "set the length of a crop"),
        (lambda: CropConfig(seconds=1.0, overlap="none"), "each"),
        (lambda: CropConfig(seconds=1.0, step=-1.0), "step"),
        (lambda: CropConfig(seconds=1.0, short="loop"), "short"),  # type: ignore[arg-type]
        (lambda: CropConfig(seconds=1e-5).samples(16000), "one sample"),
        (lambda: ViewPlanConfig(level="loud"), "level"),  # type: ignore[arg-type]
        (lambda: ViewPlanConfig(level_over="all"), "level_over"),  # type: ignore[arg-type]
        (lambda: ViewPlanConfig(joint="whiten"), "joint"),  # type: ignore[arg-type]
        (lambda: ViewPlanConfig(clean=(0, 0)), "clean"),
    ],
)
def test_settings_out_of_range_are_refused(make, words: str):
    with pytest.raises(ConfigError, match=words):
        make()


# Plans


@pytest.mark.parametrize("config", [BYOL_A, COLA, ViewPlanConfig()], ids=["byol-a", "cola", "plain"])
def test_settings_survive_json_and_seeds_decide(config: ViewPlanConfig):
    assert Config.from_json(config.to_json()) == config
    audio = ragged(20000, 18000, 16000)
    first, second = config.build(FRONT)(audio, 2, seeded(1)), config.build(FRONT)(audio, 2, seeded(1))
    assert same(first, second)
    if config != ViewPlanConfig():
        assert not same(first, config.build(FRONT)(audio, 2, seeded(2)))
        assert not torch.equal(first[0].features.x, first[1].features.x)


def test_an_empty_plan_is_the_clip():
    audio = ragged(20000, 9000)
    for front in (FRONT, WaveformConfig(normalise="clip").build()):
        plain = PlainViewsConfig().build(front)(audio, 2, seeded())
        made = ViewPlanConfig().build(front)(audio, 2, seeded())
        assert same(plain, made)
        assert all(view.reference is not None and torch.equal(view.reference.wave, audio.wave) for view in made)
        assert made[0].certificate["start"].tolist() == [0, 0]


def test_a_view_is_its_chain_step_by_step():
    audio = ragged(20000, 15000)
    plan = COLA.build(FRONT)
    anchor, positive = plan(audio, 2, seeded())
    for view, sigma in ((anchor, 0.0), (positive, 0.001)):
        start = (view.certificate["start"] * RATE).round().long()
        waves = []
        for i, n in enumerate((20000, 15000)):
            cut = audio.wave[i, int(start[i]) : min(int(start[i]) + 15360, n)]
            waves.append(cut / cut.norm())
        expected = FRONT(Audio.stack(waves, RATE))
        assert view.reference is not None
        torch.testing.assert_close(view.reference.wave, Audio.stack(waves, RATE).wave)
        assert view.features.lengths.equal(expected.lengths)
        if sigma == 0:
            torch.testing.assert_close(view.features.x, expected.x, atol=1e-5, rtol=1e-5)
            assert set(view.certificate) == {"start"}
        else:
            assert 0.01 < (view.features.x - expected.x).abs().mean() < 1
            assert view.certificate["sigma"].tolist() == pytest.approx([0.001, 0.001])


def test_references_are_clean_and_dropped_where_time_moves():
    audio = ragged(16000, 12000)
    mixed = ViewPlanConfig(wave=(UtteranceMixConfig(p=1.0),)).build(FRONT)(audio, 1, seeded())[0]
    assert mixed.reference is not None
    assert torch.equal(mixed.reference.wave, audio.wave)
    assert not torch.equal(mixed.features.x, FRONT(audio).x)
    for changes in ({"wave": (WaveRollConfig(),)}, {"feature": (ResizeCropConfig(),)}):
        views = ViewPlanConfig(clean=(1,), **changes).build(FRONT)(audio, 2, seeded())
        assert views[0].reference is None
        assert views[1].reference is not None
    still = ResizeCropConfig(canvas=(1.0, 1.0), time_scale=(1.0, 1.0))
    assert ViewPlanConfig(feature=(still,)).build(FRONT)(audio, 1, seeded())[0].reference is not None


def test_one_operator_does_not_move_the_draws_of_another():
    audio = ragged(*[4000] * 6)
    one = ViewPlanConfig(wave=(WaveFadeConfig(), WaveNoiseConfig())).build(FRONT)(audio, 2, seeded())
    two = ViewPlanConfig(wave=(WaveFadeConfig(p=0.0), WaveNoiseConfig())).build(FRONT)(audio, 2, seeded())
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.certificate["snr_db"], b.certificate["snr_db"])
        assert b.certificate["fade_in"].isnan().all()


def test_an_operator_that_comes_twice_certifies_twice():
    plan = ViewPlanConfig(wave=(PolarityConfig(p=1.0), WaveNoiseConfig(), PolarityConfig(p=1.0), WaveNoiseConfig()))
    (view,) = plan.build(FRONT)(ragged(4000), 1, seeded())
    assert set(view.certificate) == {"start", "inverted", "snr_db", "inverted_2", "snr_db_2"}


def test_byol_a_views_are_standardised_together():
    audio = ragged(*[20000 + 100 * i for i in range(6)])
    plan = BYOL_A.build(FRONT)
    for step in range(3):
        views = plan(audio, 2, seeded(step))
        together = torch.cat([view.features.x for view in views])
        assert together.shape == (12, 96, 64)
        assert together.double().mean().item() == pytest.approx(0, abs=1e-6)
        assert together.double().std().item() == pytest.approx(1, abs=1e-6)
        assert abs(float(views[0].features.x.mean())) > 1e-5
        assert torch.equal(views[0].certificate["start"], views[1].certificate["start"])
        mixed = views[1].certificate["mix_ratio"]
        assert (mixed == 0).all() if step == 0 else (mixed > 0).all()


def test_standardising_leaves_padding_out():
    audio = ragged(16000, 5000)
    (view,) = ViewPlanConfig(joint="standardise").build(FRONT)(audio, 1, seeded())
    x, lengths = view.features.x, view.features.lengths.tolist()
    valid = torch.cat([x[i, :n].flatten() for i, n in enumerate(lengths)]).double()
    assert valid.mean().item() == pytest.approx(0, abs=1e-6)
    assert valid.std().item() == pytest.approx(1, abs=1e-6)
    assert x[1, lengths[1] :].unique().tolist() == pytest.approx([view.features.pad])


def test_a_resumed_plan_goes_on_with_its_bank():
    audio = [ragged(*[16000] * 3, seed=s) for s in range(4)]
    plan, resumed = BYOL_A.build(FRONT), BYOL_A.build(FRONT)
    for step in range(2):
        plan(audio[step], 2, seeded(step))
    resumed.load_state_dict(plan.state_dict())
    for step in range(2, 4):
        assert same(plan(audio[step], 2, seeded(step)), resumed(audio[step], 2, seeded(step)))


def test_features_are_shared_where_views_share_everything(monkeypatch: pytest.MonkeyPatch):
    plan = BYOL_A.build(FRONT)
    calls = []
    forward = type(FRONT).forward
    monkeypatch.setattr(type(FRONT), "forward", lambda self, audio: calls.append(1) or forward(self, audio))
    plan(ragged(20000, 18000), 3, seeded())
    assert len(calls) == 1


def test_what_can_not_work_is_refused():
    wave = WaveformConfig().build()
    with pytest.raises(ConfigError, match=r"ResizeCropConfig .* Waveform"):
        ViewPlanConfig(feature=(ResizeCropConfig(),)).build(wave)
    with pytest.raises(ConfigError, match="joint"):
        ViewPlanConfig(joint="standardise").build(wave)
    audio = ragged(4000)
    with pytest.raises(ConfigError, match="views"):
        ViewPlanConfig().build(FRONT)(audio, 0, seeded())
    with pytest.raises(ConfigError, match="clean"):
        COLA.replace(clean=(3,)).build(FRONT)(audio, 2, seeded())
    with pytest.raises(ConfigError, match="8000"):
        ViewPlanConfig().build(FRONT)(Audio(audio.wave, audio.lengths, 8000), 1, seeded())


def test_wave_operators_work_with_any_front_end():
    audio = ragged(8000, 6000)
    plan = ViewPlanConfig(wave=(UtteranceMixConfig(p=1.0), WaveNoiseConfig()))
    (view,) = plan.build(WaveformConfig(normalise="clip").build())(audio, 1, seeded())
    x = view.features.x[0]
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert isinstance(plan.build(FRONT), ViewPlan)


def test_no_gradient_and_float32_whatever_comes():
    audio = ragged(20000)
    double = Audio(audio.wave.double().requires_grad_(), audio.lengths, RATE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = BYOL_A.build(FRONT)(double, 2, seeded())
    assert all(view.features.x.dtype == torch.float32 and not view.features.x.requires_grad for view in views)


def test_a_clip_that_is_levelled_whole_keeps_loud_and_quiet_crops():
    front = WaveformConfig().build()
    loud, quiet = torch.ones(8000), 0.01 * torch.ones(8000)
    audio = Audio.stack([torch.cat([loud, quiet])], RATE)
    plan = ViewPlanConfig(crop=CropConfig(seconds=0.25), level="l2", level_over="clip").build(front)
    norm = float(torch.cat([loud, quiet]).norm())
    seen = set()
    for seed in range(12):
        (view,) = plan(audio, 1, seeded(seed))
        start = round(float(view.certificate["start"]) * RATE)
        expected = audio.wave[0, start : start + 4000] / norm
        torch.testing.assert_close(view.features.x.flatten(), expected)
        seen.add(start > 8000)
    assert seen == {False, True}
    (alone,) = ViewPlanConfig(crop=CropConfig(seconds=0.25), level="l2").build(front)(audio, 1, seeded())
    assert float(alone.features.x.norm()) == pytest.approx(1.0, rel=1e-5)
