from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import stft

from auricle.errors import ConfigError
from auricle.objectives.targets import random_projection
from auricle.objectives.targets.random_projection import (
    RandomProjectionQuantiser,
    choose_projection_seed,
    code_perplexity,
    nearest_codes,
    normalised,
)

NORMS = ("none", "clip", "clip_channels")


def test_codes_against_a_slow_loop() -> None:
    """Independent oracle: float64 numpy, Euclidean distance between vectors of length 1, one vector at a time."""
    quantiser = RandomProjectionQuantiser(20, codes=150, dim=6, seed=3, codebooks=2, norm="clip_channels")
    x = torch.randn(3, 17, 20, generator=torch.Generator().manual_seed(1)) * 4 + 2
    valid = torch.arange(17) < torch.tensor([[17], [9], [2]])
    found = quantiser(x, valid)
    assert found.shape == (3, 17, 2)
    assert found.dtype == torch.int64
    projection, codebook = quantiser.projection.double().numpy(), quantiser.codebook.double().numpy()
    for b in range(3):
        n = int(valid[b].sum())
        clip = x[b].double().numpy()
        clip = (clip - clip[:n].mean(0)) / clip[:n].std(0)
        for t in range(n):
            for g in range(2):
                y = clip[t] @ projection[g]
                distance = ((codebook[g] - y / np.linalg.norm(y)) ** 2).sum(1)
                assert int(found[b, t, g]) == int(distance.argmin())


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, book = torch.randn(500, 8, generator=generator), torch.randn(700, 8, generator=generator)
    book = torch.nn.functional.normalize(book, dim=1)
    book[650] = book[20]
    whole = nearest_codes(x, book)
    assert torch.equal(whole, (x.double() @ book.double().T).argmax(1).where(whole != 20, torch.tensor(20)))
    assert not (whole == 650).any(), "the first of equal codes wins"
    monkeypatch.setattr(random_projection, "_CODES_AT_ONCE", 64)
    monkeypatch.setattr(random_projection, "_AT_ONCE", 64 * 33)
    assert torch.equal(nearest_codes(x, book), whole)
    assert nearest_codes(x[:0], book).shape == (0,)


def test_buffers_come_from_the_seed_and_travel() -> None:
    state = torch.get_rng_state()
    one, two = RandomProjectionQuantiser(320, seed=5), RandomProjectionQuantiser(320, seed=5)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.projection, two.projection)
    assert torch.equal(one.codebook, two.codebook)
    assert not torch.equal(one.projection, RandomProjectionQuantiser(320, seed=6).projection)
    assert one.projection.shape == (1, 320, 16)
    assert one.codebook.shape == (1, 8192, 16)
    assert (one.codes, one.codebooks) == (8192, 1)
    # Xavier: uniform with bound sqrt(6 / (fan in + fan out)).
    bound = math.sqrt(6 / 336)
    assert float(one.projection.abs().max()) <= bound
    assert float(one.projection.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    torch.testing.assert_close(one.codebook.norm(dim=2), torch.ones(1, 8192))
    assert not list(one.parameters())
    assert set(one.state_dict()) == {"projection", "codebook"}


def test_codes_do_not_depend_on_autocast() -> None:
    quantiser = RandomProjectionQuantiser(40, codes=512)
    x = torch.randn(2, 50, 40, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        low = quantiser(x)
    assert torch.equal(low, quantiser(x))


@pytest.mark.parametrize("norm", ["clip", "clip_channels", "token"])
def test_normalisation(norm: str) -> None:
    x = torch.randn(3, 30, 8, generator=torch.Generator().manual_seed(0)) * 5 + 7
    valid = torch.arange(30) < torch.tensor([[30], [12], [1]])
    y = normalised(x, norm, valid)
    assert y.isfinite().all()
    for b, n in enumerate((30, 12)):
        own = y[b, :n]
        dims = {"clip": (0, 1), "clip_channels": (0,), "token": (1,)}[norm]
        assert float(own.mean(dims).abs().max()) < 1e-5
        torch.testing.assert_close(own.var(dims, correction=0), torch.ones_like(own.mean(dims)), rtol=1e-4, atol=1e-4)
    # What lies in the padding has no say.
    torch.testing.assert_close(normalised(x.masked_fill(~valid.unsqueeze(2), 99.0), norm, valid)[1, :12], y[1, :12])
    assert torch.equal(normalised(x, "none"), x)
    assert (normalised(torch.full((1, 5, 4), 3.0), norm) == 0).all()


def test_perplexity() -> None:
    assert code_perplexity(torch.zeros(10, dtype=torch.int64), 5) == pytest.approx(1)
    assert code_perplexity(torch.arange(5).repeat(7), 5) == pytest.approx(5)
    share = np.array([0.5, 0.25, 0.25])
    assert code_perplexity(torch.tensor([0, 0, 1, 2]), 9) == pytest.approx(math.exp(-(share * np.log(share)).sum()))
    with pytest.raises(ConfigError, match="no codes"):
        code_perplexity(torch.zeros(0, dtype=torch.int64), 5)


def test_seed_is_chosen_by_perplexity() -> None:
    generator = torch.Generator().manual_seed(0)
    # Few directions, so that seeds differ.
    x = torch.randn(4, 200, 3, generator=generator) @ torch.randn(3, 30, generator=generator)
    valid = torch.arange(200) < torch.tensor([[200], [150], [100], [50]])
    choice = choose_projection_seed([(x[:2], valid[:2]), (x[2:], valid[2:])], codes=256, dim=8, seeds=range(5))
    assert set(choice.perplexities) == set(range(5))
    by_hand = {
        seed: code_perplexity(RandomProjectionQuantiser(30, 256, 8, seed)(x, valid)[valid], 256) for seed in range(5)
    }
    for seed, value in by_hand.items():
        assert choice.perplexities[seed] == pytest.approx(value)
    assert choice.seed == max(by_hand, key=by_hand.__getitem__)
    with pytest.raises(ConfigError, match="0 batches"):
        choose_projection_seed([])


@pytest.mark.real
def test_normalisation_decides_how_many_codes_are_used(shared_audio: Path) -> None:
    files = sorted((shared_audio / "fsdd" / "clips").glob("*.flac"))[::8]
    wave = np.concatenate([soundfile.read(file)[0] for file in files])
    wave = wave[: len(wave) // 10240 * 10240].reshape(-1, 10240)
    power = np.abs(stft(wave, 8000, nperseg=200, noverlap=120, nfft=256)[2]) ** 2
    bands = np.stack([part.mean(1) for part in np.array_split(power, 40, axis=1)], 2)
    x = torch.tensor(np.log(bands + 1e-8), dtype=torch.float32)[:, :128].reshape(len(wave), 64, 80)
    found = {n: choose_projection_seed([(x, None)], codes=2048, norm=n, seeds=range(2)) for n in NORMS}
    best = {n: choice.perplexities[choice.seed] for n, choice in found.items()}
    assert best["none"] < 0.2 * best["clip"]
    assert best["clip"] < 0.7 * best["clip_channels"]
    assert best["clip_channels"] > 100


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected \(B, N, 40\)"):
        RandomProjectionQuantiser(40)(torch.randn(2, 3, 41))
    with pytest.raises(ConfigError, match="codes=0"):
        RandomProjectionQuantiser(40, codes=0)
    with pytest.raises(ConfigError, match="unknown normalisation 'clips'"):
        RandomProjectionQuantiser(40, norm="clips")
