"""Silent recordings: one rule and one sentence, in the ledger of whatever reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from auricle.audio.decode import decode
from auricle.corpus.ledger import beside
from auricle.corpus.loader import Loader, LoaderConfig
from auricle.corpus.losses import silence
from auricle.corpus.scan import scan
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.corpus.windows import WindowConfig
from auricle.errors import CorpusError
from auricle.evaluation.probing import probe
from auricle.models.embedding import embed
from auricle.recipes import get_recipe
from auricle.recipes.pretraining import pretrain

SILENT = ("constant.wav", "zero.wav")
SAID = "pre-training skips it, embeddings and probes use it"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten recordings; one is a constant at another rate than the encoder's, which rings where it is resampled."""
    data = tmp_path_factory.mktemp("silent") / "data"
    data.mkdir()
    for i in range(8):
        soundfile.write(data / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 16000), 16000)
    soundfile.write(data / "constant.wav", np.full(44100, 0.3), 44100)
    soundfile.write(data / "zero.wav", np.zeros(16000), 16000)
    rows = [f"{file},{'ab'[i % 2]},{i % 2}\n" for i, file in enumerate(sorted(p.name for p in data.glob("*.wav")))]
    (data / "metadata.csv").write_text("file,label,fold\n" + "".join(rows))
    return data


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(_recipe(), data, tmp_path_factory.mktemp("silent") / "run", progress=False)


def _recipe(**loader: Any) -> Any:
    recipe = get_recipe("audiomosaic", "tiny")
    return recipe.replace(
        train=recipe.train.replace(steps=3, warmup_steps=1, precision="fp32", device="cpu"),
        window=recipe.window.replace(seconds=0.64),
        loader=recipe.loader.replace(**({"batch": 8} | loader)),
        encoder=recipe.encoder.replace(width=24, depth=2, heads=2, frames=64),
    )


def _entries(ledger: Path) -> tuple[str, list[dict[str, Any]]]:
    head, *entries = map(json.loads, ledger.read_text().splitlines())
    return head["sentence"], [entry for entry in entries if entry["cause"] == "silent"]


def _ledgers(data: Path, run: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    scan(data, out=folder / "scan.parquet")
    yield "scan", beside(folder / "scan.parquet")
    embed(run, data, folder / "vectors.parquet", progress=False)
    yield "embed", beside(folder / "vectors.parquet")
    probe(run, task="folder", data=data, out=folder / "probes", probes=["knn"], progress=False)
    yield "probe", next((folder / "probes").rglob("ledger.jsonl"))
    yield "pretrain", run / "ledger.jsonl"


def test_every_ledger_names_them_with_one_sentence(data: Path, run: Path, tmp_path: Path) -> None:
    said: set[str] = set()
    for command, ledger in _ledgers(data, run, tmp_path):
        sentence, entries = _entries(ledger)
        skipped = command == "pretrain"
        assert sentence == (
            "8 of 10 recordings used; 2 skipped: 2 silent" if skipped else "10 of 10 recordings used (2 silent)"
        ), command
        assert {(entry["name"], entry["used"]) for entry in entries} == {(name, not skipped) for name in SILENT}
        assert all(SAID in entry["reason"] for entry in entries)
        said |= {entry["reason"] for entry in entries}
    assert len(said) == 1


def test_one_line_for_each_when_a_scanned_table_is_trained_on(data: Path, tmp_path: Path) -> None:
    table = scan(data, out=tmp_path / "scan.parquet").table
    assert table is not None
    run = pretrain(_recipe(), table, tmp_path / "run", progress=False)
    sentence, entries = _entries(run / "ledger.jsonl")
    assert sentence == "8 of 10 recordings used; 2 skipped: 2 silent"
    assert sorted(entry["name"] for entry in entries) == sorted(SILENT)
    kept = pretrain(_recipe(skip_silent=False, batch=10), table, tmp_path / "kept", progress=False)
    assert _entries(kept / "ledger.jsonl")[0] == "10 of 10 recordings used (2 silent)"


def test_the_rule_is_the_range_of_the_samples() -> None:
    assert silence(0.99e-4).cause == "silent"  # type: ignore[union-attr]
    assert silence(1e-4) is None


def test_a_long_one_is_skipped_and_one_that_sounds_at_its_end_is_not(
    tmp_path: Path, record: Callable[..., Path]
) -> None:
    late = np.zeros(8000 * 60)
    late[-4000:] = np.random.default_rng(0).normal(0, 0.1, 4000)
    record(tmp_path / "late.wav", late, rate=8000)
    record(tmp_path / "silent.wav", np.full(8000 * 60, 0.2), rate=8000)
    record(tmp_path / "short.wav", seconds=1.0, rate=8000)
    window = WindowConfig(seconds=0.5)
    batches = Loader(open_corpus(tmp_path), window, LoaderConfig(batch=3, workers=0), rate=8000)
    drawn = {int(row) for batch in batches.iterate(0, 4) for row in batch.clip}
    assert drawn == {0, 1}
    assert {row: why.cause for row, why in batches.lost.items()} == {2: "silent"}
    kept = Loader(open_corpus(tmp_path), window, LoaderConfig(batch=3, workers=0, skip_silent=False), rate=8000)
    next(kept.iterate())
    assert list(kept.silent) == [2]


@pytest.mark.parametrize("skip", [True, False])
def test_a_long_one_is_searched_once(
    tmp_path: Path, record: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, skip: bool
) -> None:
    record(tmp_path / "a.wav", np.zeros(8000 * 20), rate=8000)
    settings = LoaderConfig(batch=8, workers=4, sampling="duration", skip_silent=skip)
    monkeypatch.setattr("auricle.corpus.loader._GROUP", 1)
    asked: list[float | None] = []
    real = Corpus.audio

    def audio(self: Corpus, index: int, rate: int, *, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
        asked.append(seconds)
        time.sleep(0.02)  # so that threads meet
        return real(self, index, rate, start=start, seconds=seconds)

    monkeypatch.setattr(Corpus, "audio", audio)
    batches = Loader(open_corpus(tmp_path), WindowConfig(seconds=0.5), settings, rate=8000)
    if skip:
        with pytest.raises(CorpusError, match="silent"):
            next(batches.iterate())
    else:
        list(batches.iterate(0, 2))
    assert asked.count(120.0) == 1


@pytest.mark.parametrize("native", [4000, 16000, 44100, 192000])
def test_a_constant_does_not_ring_where_it_is_resampled(tmp_path: Path, native: int) -> None:
    wave = np.full(2 * native, 0.3)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, native)
    assert np.ptp(decode(path, rate=16000)) < 1e-4
    # A sound between two constants is as it was; a range of it is that of the whole.
    wave[native // 2 : native] = np.random.default_rng(0).normal(0, 0.1, native // 2)
    soundfile.write(path, wave, native)
    whole = decode(path, rate=16000)
    assert np.allclose(whole[2000:-2000], soxr.resample(wave, native, 16000, quality="HQ")[2000:-2000], atol=1e-4)
    for start, seconds in ((0.0, 0.3), (1.7, None), (0.001, 0.01)):
        begin = round(start * 16000)
        part = decode(path, rate=16000, start=start, seconds=seconds)
        assert np.allclose(part, whole[begin : begin + len(part)], atol=1e-6)
