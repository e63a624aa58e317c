from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.fft import dct
from scipy.signal import stft
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor

from auricle.errors import ConfigError
from auricle.objectives.targets import lloyd
from auricle.objectives.targets.kmeans import StreamingKMeans
from auricle.objectives.targets.lloyd import nearest_centres, plus_plus


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(centres: int, each: int, width: int = 8, spread: float = 0.1, seed: int = 0) -> Tensor:
    generator = seeded(seed)
    middle = torch.randn(centres, width, generator=generator) * 3
    x = middle.repeat(each, 1) + spread * torch.randn(centres * each, width, generator=generator)
    return x[torch.randperm(len(x), generator=generator)]


def inertia(x: Tensor, centres: Tensor) -> float:
    """Independent oracle: all distances in float64."""
    return float(torch.cdist(x.double(), centres.double()).min(1).values.square().mean())


def fit(x: Tensor, clusters: int, seed: int = 0, size: int = 700, passes: int = 1, **settings: int) -> StreamingKMeans:
    found = StreamingKMeans(clusters, seeded(seed), **settings)
    for _ in range(passes):
        for part in x.split(size):
            found.partial_fit(part)
    found.finish()
    return found


@pytest.fixture(scope="module")
def cepstra(shared_audio: Path) -> Tensor:
    """MFCC-like vectors (13 and their deltas) of real digits, in the order of the files: correlated as streams are."""
    files = sorted((shared_audio / "fsdd" / "clips").glob("*.flac"))[::6]
    rows = []
    for file in files:
        wave, rate = soundfile.read(file)
        power = np.abs(stft(wave, rate, nperseg=rate // 40, noverlap=rate // 40 - rate // 100)[2]) ** 2
        bands = np.stack([part.mean(0) for part in np.array_split(power, 26)])
        c = dct(np.log(bands + 1e-8), axis=0, norm="ortho")[:13].T
        rows.append(np.concatenate([c, np.gradient(c, axis=0)], 1))
    return torch.tensor(np.concatenate(rows), dtype=torch.float32)


@pytest.mark.real
@pytest.mark.parametrize("clusters", [50, 100])
def test_as_good_as_scikit_learn_on_cepstra(cepstra: Tensor, clusters: int) -> None:
    theirs = [
        MiniBatchKMeans(clusters, batch_size=1000, n_init=3, random_state=seed, max_iter=1).fit(cepstra.numpy())
        for seed in range(3)
    ]
    best = min(inertia(cepstra, torch.tensor(t.cluster_centers_)) for t in theirs)
    batch = KMeans(clusters, n_init=1, random_state=0).fit(cepstra.numpy())
    shuffled = cepstra[torch.randperm(len(cepstra), generator=seeded(5))]
    for stream in (cepstra, shuffled):
        ours = fit(stream, clusters)
        assert inertia(cepstra, ours.centres) < 1.01 * best
        assert inertia(cepstra, ours.centres) < 1.05 * inertia(cepstra, torch.tensor(batch.cluster_centers_))
        assert ours.report is not None
        assert ours.report.empty == 0
        assert ours.report.points == len(cepstra)
    # In a tenth of the memory: as good on a shuffled stream, and not far from it on one sorted by digit and speaker.
    assert inertia(cepstra, fit(shuffled, clusters, batch=1000).centres) < 1.02 * best
    assert inertia(cepstra, fit(cepstra, clusters, batch=1000).centres) < 1.1 * best


def test_finds_blobs_that_come_one_after_the_other() -> None:
    x = blobs(20, 300)
    order = nearest_centres(x, x[:1] * 0 + torch.randn(5, 8, generator=seeded(3)))[0].argsort()
    found = fit(x[order], 20, size=97, batch=500)
    assert inertia(x, found.centres) < 1.3 * 8 * 0.01
    codes, _ = nearest_centres(x, found.centres)
    assert len(codes.unique()) == 20
    assert found.report is not None
    assert found.report.inertia == pytest.approx(8 * 0.01, rel=0.3)
    assert found.report.perplexity == pytest.approx(20, rel=0.02)


def test_updates_are_means_of_all_that_a_centre_got(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sculley's rule: with rates of one over the count, a centre is the mean of the vectors it got."""
    x = blobs(3, 400, spread=0.01)
    found = StreamingKMeans(3, seeded(), batch=50, reservoir=100)
    codes = []
    update = found._update

    def spy(part: Tensor) -> None:
        codes.append((part, nearest_centres(part, found.centres)[0]))
        update(part)

    monkeypatch.setattr(found, "_update", spy)
    for part in x.split(61):
        found.partial_fit(part)
    found._work_off(1)
    seen, code = torch.cat([p for p, _ in codes]), torch.cat([c for _, c in codes])
    assert torch.equal(seen, x), "vectors were lost or reordered"
    for k in range(3):
        torch.testing.assert_close(found.centres[k], seen[code == k].mean(0), rtol=1e-5, atol=1e-5)


def test_deterministic_from_the_generator() -> None:
    x = blobs(10, 200)
    state = torch.get_rng_state()
    one, two = fit(x, 8, batch=300), fit(x, 8, batch=300)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.centres, two.centres)
    assert one.report == two.report
    assert not torch.equal(one.centres, fit(x, 8, seed=1, batch=300).centres)


def test_too_few_vectors_name_both_numbers() -> None:
    found = StreamingKMeans(50, seeded())
    with pytest.raises(ConfigError, match="found 0 vectors for 50 clusters"):
        found.finish()
    found.partial_fit(torch.randn(49, 3))
    with pytest.raises(ConfigError, match="not known yet"):
        _ = found.centres
    with pytest.raises(ConfigError, match="found 49 vectors for 50 clusters; choose fewer clusters"):
        found.finish()
    found.partial_fit(torch.randn(1, 3))
    assert found.finish().points == 50


def test_starved_centres_are_moved_and_counted() -> None:
    near, far = blobs(4, 500, spread=0.05), blobs(6, 2000, spread=0.05, seed=7) + 40
    found = StreamingKMeans(10, seeded(), batch=200, reservoir=400)
    # All ten centres are seeded in the first four blobs; the others appear later, and far away.
    found.partial_fit(near[:400])
    assert float(found.centres.mean()) < 10
    for part in far.split(500):
        found.partial_fit(part)
    report = found.finish()
    assert report.reseeded > 0
    assert len(nearest_centres(far, found.centres)[0].unique()) >= 6
    assert inertia(far, found.centres) < 10


def test_fewer_different_vectors_than_clusters_leave_empty_ones() -> None:
    x = torch.arange(3.0).repeat(100).unsqueeze(1)
    report = fit(x, 5, batch=100).report
    assert report is not None
    assert report.empty == 2
    assert report.inertia == pytest.approx(0, abs=1e-9)
    assert report.perplexity == pytest.approx(3, rel=0.01)


def test_reservoir_is_a_uniform_sample_of_bounded_size() -> None:
    hits = torch.zeros(2000)
    for seed in range(200):
        found = StreamingKMeans(2, seeded(seed), batch=1000, reservoir=100)
        for part in torch.arange(2000.0).unsqueeze(1).split(130):
            found._sample(part)
        assert found._reservoir is not None
        assert found._reservoir.shape == (100, 1)
        hits[found._reservoir.squeeze(1).long()] += 1
    # Every vector is kept with probability 100 / 2000: 10 of 200 times; by quarters of the stream 500 * 10.
    for quarter in hits.view(4, 500).sum(1):
        assert float(quarter) == pytest.approx(5000, rel=0.05)


def test_memory_is_bounded() -> None:
    found = StreamingKMeans(4, seeded(), batch=500, reservoir=600)
    for i in range(60):
        found.partial_fit(blobs(4, 50, seed=i))
        waiting = sum(part.untyped_storage().nbytes() // (4 * 8) for part in found._waiting)
        assert waiting <= 1000
    assert found._reservoir is not None
    assert len(found._reservoir) == 600


def test_assignment_against_float64_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Far from the origin, where squared lengths are large and differences small.
    x, centres = blobs(30, 20, spread=1.0) + 300, blobs(40, 1, seed=2) + 300
    want = torch.cdist(x.double(), centres.double())
    codes, distances = nearest_centres(x, centres)
    assert torch.equal(codes, want.argmin(1))
    torch.testing.assert_close(distances.double(), want.min(1).values.square(), rtol=1e-4, atol=1e-3)
    monkeypatch.setattr(lloyd, "_AT_ONCE", 40 * 7)
    assert torch.equal(nearest_centres(x, centres)[0], codes)
    assert nearest_centres(x[:0], centres)[0].shape == (0,)


def test_plus_plus_spreads_its_choice() -> None:
    x = blobs(12, 100, spread=0.01)
    for seed in range(5):
        chosen = plus_plus(x, 12, seeded(seed))
        assert inertia(x, chosen) < 0.01, "two seeds fell into one blob"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"clusters": 0}, "clusters=0"),
        ({"clusters": 5, "batch": 0}, "batch=0"),
        ({"clusters": 5, "reservoir": 4}, "reservoir of 4 vectors for 5 clusters"),
        ({"clusters": 5, "least_share": 1.0}, "least_share=1.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, int], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        StreamingKMeans(generator=seeded(), **settings)


def test_bad_vectors_are_refused() -> None:
    found = StreamingKMeans(2, seeded())
    found.partial_fit(torch.randn(5, 3))
    with pytest.raises(ConfigError, match=r"expected \(n, 3\)"):
        found.partial_fit(torch.randn(5, 4))
    with pytest.raises(ConfigError, match="not finite"):
        found.partial_fit(torch.full((2, 3), torch.nan))
    with pytest.raises(ConfigError, match=r"expected \(n, 3\)"):
        found.partial_fit(torch.randn(3))
