from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from audio_clips import RATE, ragged, seeded

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.audio.ops.slices import SliceViewsConfig
from auricle.config import Config
from auricle.errors import ConfigError

FRONT = LogMelConfig(mels=64, n_fft=512, window=400, hop=160, mean=-5.0, std=4.0).build()
SAMPLES = WaveformConfig(rate=100).build()


def counted(rows: int, samples: int) -> Audio:
    """Clips whose samples tell their own place; 100 Hz."""
    return Audio(torch.arange(1, samples + 1).float().repeat(rows, 1), torch.full((rows,), samples), 100)


def test_neighbours_with_a_gap_lie_anywhere_together():
    config = SliceViewsConfig(count=3, seconds=0.2, gap=0.1)
    views = config.build(SAMPLES)(counted(3000, 90), 3, seeded())
    starts = torch.stack([view.certificate["start"] * 100 for view in views]).round().long()
    assert (starts.diff(dim=0) == 30).all()
    counts = torch.bincount(starts[0])
    assert len(counts) == 90 - 80 + 1
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3
    for v, view in enumerate(views):
        assert view.features.x.shape == (3000, 20)
        assert torch.equal(view.features.x[:, 0], starts[v] + 1.0)
        assert torch.equal(view.features.x[:, -1], starts[v] + 20.0)
        assert (view.certificate["place"] == v).all()
        assert view.certificate["gap"].tolist() == pytest.approx([60 / 70] * 3000)
        assert view.reference is not None
        assert torch.equal(view.reference.wave, view.features.x)


def test_drawn_gap_of_two_slices_is_even_and_certified():
    config = SliceViewsConfig(count=2, seconds=0.2, gap=None)
    first, second = config.build(SAMPLES)(counted(4000, 220), 2, seeded())
    distance = ((second.certificate["start"] - first.certificate["start"]) * 100).round()
    assert (int(distance.min()), int(distance.max())) == (20, 200)
    assert scipy.stats.kstest(distance.numpy() - 20, "uniform", (-0.5, 181.5)).pvalue > 1e-3
    torch.testing.assert_close(first.certificate["gap"], distance / 200)
    assert torch.equal(first.certificate["gap"], second.certificate["gap"])
    ends = second.certificate["start"] * 100 + 20
    assert ends.max() <= 220.01
    overlapping = SliceViewsConfig(count=2, seconds=0.2, gap=None, least_gap=-0.1).build(SAMPLES)
    a, b = overlapping(counted(4000, 220), 2, seeded())
    assert ((b.certificate["start"] - a.certificate["start"]) * 100).round().min() == 10


def test_drawn_gaps_of_more_slices_stay_apart():
    views = SliceViewsConfig(count=4, seconds=0.2, gap=None, least_gap=0.05).build(SAMPLES)(
        counted(500, 150), 4, seeded()
    )
    starts = torch.stack([view.certificate["start"] * 100 for view in views]).round()
    assert starts.diff(dim=0).min() == 25
    assert starts[-1].max() <= 130
    assert starts.diff(dim=0).float().std() > 3


def test_shuffled_parts_certify_the_inverse_permutation():
    config = SliceViewsConfig(count=3, order="shuffle")
    views = config.build(SAMPLES)(counted(3000, 92), 3, seeded())
    place = torch.stack([view.certificate["place"] for view in views])
    for v, view in enumerate(views):
        assert view.features.x.shape == (3000, 30)
        assert torch.equal(view.features.x[:, 0], place[v] * 30 + 1.0)
        assert torch.equal(view.certificate["start"], (place[v] * 30 / 100).float())
    # Sorting what is shown by its place gives the clip back.
    shown = torch.stack([view.features.x for view in views], 1)
    order = place.T.argsort(1)
    back = shown.gather(1, order[..., None].expand_as(shown)).flatten(1)
    assert torch.equal(back, counted(3000, 90).wave)
    counts = [int((torch.tensor(p) == place.T).all(1).sum()) for p in itertools.permutations(range(3))]
    assert sum(counts) == 3000
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_each_clip_is_cut_by_its_own_length():
    audio = Audio.stack([np.arange(1, 91, dtype=np.float32), np.arange(1, 41, dtype=np.float32)], 100)
    views = SliceViewsConfig(count=2, trim=2).build(SAMPLES)(audio, 2, seeded())
    for v, view in enumerate(views):
        assert view.features.lengths.tolist() == [41, 16]
        assert view.features.x[0, :41].tolist() == list(range(45 * v + 3, 45 * v + 44))
        assert view.features.x[1, :16].tolist() == list(range(20 * v + 3, 20 * v + 19))
        assert (view.features.x[1, 16:] == 0).all()


def test_slices_of_time_never_see_beyond_themselves():
    audio = ragged(16000, 16000)
    views = SliceViewsConfig(count=2, seconds=0.4, gap=0.05).build(FRONT)(audio, 2, seeded())
    for view in views:
        for i in range(2):
            first = round(float(view.certificate["start"][i]) * RATE)
            alone = FRONT(Audio(audio.wave[i : i + 1, first : first + 6400], torch.tensor([6400]), RATE))
            torch.testing.assert_close(view.features.x[i], alone.x[0])


def test_bands_and_tiles_are_cut_from_the_features():
    audio = ragged(16000, 11000)
    whole = FRONT(audio)
    views = SliceViewsConfig(count=4, axis="frequency", trim=1, order="shuffle").build(FRONT)(audio, 4, seeded())
    for view in views:
        assert view.reference is None
        assert view.features.lengths.equal(whole.lengths)
        for i, n in enumerate(whole.lengths.tolist()):
            band = 16 * int(view.certificate["place"][i]) + 1
            assert torch.equal(view.features.x[i, :n], whole.x[i, :n, band : band + 14])
    views = SliceViewsConfig(count=9, axis="grid", rows=3, trim=2, order="shuffle").build(FRONT)(audio, 9, seeded())
    places = torch.stack([view.certificate["place"] for view in views])
    assert torch.equal(places.sort(0).values, torch.arange(9)[:, None].expand(9, 2))
    for view in views:
        for i, n in enumerate(whole.lengths.tolist()):
            t, f = divmod(int(view.certificate["place"][i]), 3)
            frames = n // 3
            assert view.features.lengths[i] == frames - 4
            expected = whole.x[i, t * frames + 2 : (t + 1) * frames - 2, f * 21 + 2 : f * 21 + 19]
            assert torch.equal(view.features.x[i, : frames - 4], expected)
            assert (view.features.x[i, frames - 4 :] == whole.pad).all()
            assert view.certificate["start"][i] == pytest.approx((t * frames + 2) / 100)


def test_seeds_decide_and_settings_survive_json():
    audio = ragged(32000, 30000)
    for config in (SliceViewsConfig(count=2, seconds=0.5, gap=None), SliceViewsConfig(order="shuffle")):
        assert Config.from_json(config.to_json()) == config
        made = config.build(FRONT)
        assert made.makes == config.count
        a, b, c = (made(audio, config.count, seeded(s)) for s in (1, 1, 9))
        assert all(torch.equal(x.features.x, y.features.x) for x, y in zip(a, b, strict=True))
        assert not all(torch.equal(x.features.x, y.features.x) for x, y in zip(a, c, strict=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"count": 1}, "at least 2"),
        ({"order": "sort"}, "order"),
        ({"axis": "depth"}, "axis"),
        ({"seconds": 0.0}, "seconds"),
        ({"axis": "frequency", "seconds": 1.0}, "equal parts"),
        ({"gap": None}, "needs slices.seconds"),
        ({"seconds": 1.0, "gap": -0.1}, "gap"),
        ({"seconds": 1.0, "gap": None, "least_gap": -1.0}, "coincide"),
        ({"axis": "grid", "count": 4, "rows": 3}, "multiple"),
        ({"trim": -1}, "trim"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], words: str):
    with pytest.raises(ConfigError, match=words):
        SliceViewsConfig(**changes)


def test_what_can_not_be_cut_is_refused():
    with pytest.raises(ConfigError, match="Waveform"):
        SliceViewsConfig(axis="frequency").build(SAMPLES)
    with pytest.raises(ConfigError, match="64 bands"):
        SliceViewsConfig(axis="frequency", count=16, trim=2).build(FRONT)
    with pytest.raises(ConfigError, match=r"3 views .* slices.count is 2"):
        SliceViewsConfig(count=2).build(SAMPLES)(counted(2, 90), 3, seeded())
    with pytest.raises(ConfigError, match=r"0\.90 s met 3 slices .* need 1\.00 s"):
        SliceViewsConfig(count=3, seconds=0.3, gap=0.05).build(SAMPLES)(counted(2, 90), 3, seeded())
    with pytest.raises(ConfigError, match="nothing is left"):
        SliceViewsConfig(count=3, trim=5).build(SAMPLES)(counted(2, 30), 3, seeded())
    with pytest.raises(ConfigError, match="nothing is left"):
        SliceViewsConfig(count=2, seconds=0.1, trim=5).build(SAMPLES)(counted(2, 90), 2, seeded())
    with pytest.raises(ConfigError, match="nothing is left"):
        SliceViewsConfig(count=4, axis="grid", rows=2, trim=5).build(FRONT)(ragged(2000), 4, seeded())
