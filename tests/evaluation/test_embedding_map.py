"""The map: neighbours stay neighbours, clips can be played and seen, the same seed gives the same map."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.neighbors import NearestNeighbors

from auricle.audio.picture import spectrogram_png
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.evaluation.embedding_map import embedding_map, project, read_map, write_map
from auricle.tokens.extract import extract


def pixels(png: bytes) -> np.ndarray:
    """Decode an indexed PNG without filters: `(H, W)` shades."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        name, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        assert int.from_bytes(png[place + 8 + size : place + 12 + size], "big") == zlib.crc32(name + data)
        chunks[name] = data
        place += 12 + size
    width, height = (int.from_bytes(chunks[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    assert len(chunks[b"PLTE"]) == 3 * 64
    return np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)[:, 1:]


def test_groups_stay_together_and_a_seed_fixes_the_map() -> None:
    generator = np.random.default_rng(0)
    groups = np.arange(90) % 3
    vectors = np.eye(20)[groups] * 12 + generator.normal(size=(90, 20))
    plane, method = project(vectors, seed=3)
    nearest = NearestNeighbors(n_neighbors=6).fit(plane).kneighbors(return_distance=False)
    assert (groups[nearest] == groups[:, None]).mean() > 0.95
    np.testing.assert_array_equal(plane, project(vectors, seed=3)[0])
    assert "t-SNE" in method


@pytest.mark.parametrize("clips", [1, 2, 7, 9])
def test_few_or_equal_clips_still_have_places(clips: int) -> None:
    assert np.isfinite(project(np.random.default_rng(0).normal(size=(clips, 5)))[0]).all()
    assert np.isfinite(project(np.ones((clips, 5)))[0]).all()


def test_vectors_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ConfigError, match="finite"):
        project(np.full((9, 3), np.nan))


def test_map_holds_points_sounds_and_pictures(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = tones(clips=21)
    cache = extract(encoder, corpus, tmp_path / "tokens", progress=False)
    data = embedding_map(encoder, corpus, cache, task="toys", examples=7)
    assert len(data["points"]) == 21
    assert len(data["clips"]) == 7
    counts = [sum(c["labels"] == [name] for c in data["clips"]) for name in ("low", "mid", "high")]
    assert sorted(counts) == [2, 2, 3]
    playable = [p for p in data["points"] if p["clip"] is not None]
    assert all(data["clips"][p["clip"]]["file"] == p["file"] for p in playable)
    assert len(playable) == 7
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(data["clips"][0]["audio"])))
    assert rate == 16000
    assert 0.3 < len(wave) / rate < 0.8
    assert np.abs(wave).max() > 0.03
    low = next(c for c in data["clips"] if c["labels"] == ["low"])
    high = next(c for c in data["clips"] if c["labels"] == ["high"])
    brighter = np.subtract(*(pixels(base64.b64decode(c["spectrogram"])).astype(float).mean(1) for c in (low, high)))
    assert brighter.argmax() > brighter.argmin() + 5
    assert embedding_map(encoder, corpus, cache, task="toys", examples=7) == data
    write_map(tmp_path / "map.json", data)
    assert read_map(tmp_path / "map.json") == data
    assert read_map(tmp_path / "none.json") is None
    (tmp_path / "map.json").write_text("{")
    assert read_map(tmp_path / "map.json") is None


def test_picture_is_small_and_right_way_up() -> None:
    features = np.zeros((1000, 128))
    features[:500, :10] = 5.0
    shades = pixels(spectrogram_png(features))
    assert shades.shape == (64, 256)
    assert shades[-1, 0] == 63
    assert shades[0, 0] == shades[-1, -1] == 0
    assert pixels(spectrogram_png(np.ones((3, 40)))).shape == (40, 3)
