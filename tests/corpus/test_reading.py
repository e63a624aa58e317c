"""How recordings are read: channel, time expansion, and what the encoder's rate leaves of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import auricle
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.cli import main
from auricle.corpus.loader import Loader, LoaderConfig
from auricle.corpus.reading import band_notes, read_as, share_notes
from auricle.corpus.scan import scan
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus, Event
from auricle.corpus.windows import WindowConfig
from auricle.errors import AudioError, ConfigError, CorpusError


@pytest.fixture
def antiphase(tmp_path: Path, record) -> Path:
    for seed in range(4):
        wave = 0.1 * np.random.default_rng(seed).standard_normal(8000)
        record(tmp_path / "call" / f"{seed}.wav", np.stack([wave, -wave], 1))
    return tmp_path


@pytest.fixture
def bats(tmp_path: Path, record) -> Path:
    """Calls of 40 and 60 kHz, 60 ms at 384 kHz."""
    time = np.arange(round(0.06 * 384000)) / 384000
    for seed in range(4):
        for name, pitch in (("low", 40000), ("high", 60000)):
            wave = 0.3 * np.sin(2 * np.pi * (pitch + 200 * seed) * time)
            record(tmp_path / name / f"{seed}.wav", wave, rate=384000)
    return tmp_path


def test_channels_that_cancel_are_skipped_and_the_remedy_works(
    antiphase: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = open_corpus(antiphase)
    with pytest.raises(CorpusError, match=r"channels cancel each other.*--channel 0 \(or --channel loudest\)"):
        scan(corpus)
    with pytest.raises(AudioError) as refused:
        corpus.audio(0)
    assert refused.value.reason.cause == "channels cancel"
    for channel in ("0", "loudest"):
        assert main(
            ["corpus", "scan", str(antiphase), "--out", str(antiphase / "t.parquet"), "--channel", channel]
        ) in (0, None)
        assert f"read from channel {channel} (--channel)" in capsys.readouterr().out
    table = open_corpus(antiphase / "t.parquet")
    assert table.audio(0).any()
    assert table.fingerprint != corpus.fingerprint
    assert read_as(table, "mix").fingerprint == corpus.fingerprint
    assert read_as(table, "mix").notes == tuple(note for note in table.notes if "--channel" not in note)
    assert read_as(corpus, "1").fingerprint != read_as(corpus, "0").fingerprint
    np.testing.assert_allclose(read_as(corpus, "1").audio(2), -read_as(corpus, 0).audio(2), atol=1e-4)
    assert next(Loader(read_as(corpus, 0), WindowConfig(), LoaderConfig(batch=2, workers=0)).iterate()).audio.wave.any()
    with pytest.raises(ConfigError, match="channel is 'left'; expected mix, loudest, or a number from 0"):
        read_as(corpus, "left")


def test_time_expansion_brings_ultrasound_into_the_band(bats: Path) -> None:
    corpus = open_corpus(bats)
    (note,) = band_notes(corpus, 16000)
    assert note == (
        "8 of 8 recordings have more than twice the encoder's rate (16,000 Hz), up to 384,000 Hz: what lies above "
        "8 kHz is lost; --time-expansion 24 brings it into the encoder's band"
    )
    assert np.abs(corpus.audio(0)).max() < 0.03
    slow = read_as(corpus, time_expansion=24)
    assert band_notes(slow, 16000) == ()
    wave = slow.audio(0)
    assert len(wave) == round(0.06 * 384000)
    assert np.abs(wave).max() > 0.25
    # Times stay the recording's own: a third of the call, and a whole number of windows of the expanded one.
    assert len(slow.audio(0, start=0.02, seconds=0.02)) == len(wave) // 3
    assert slow.column("seconds") == corpus.column("seconds")
    assert slow.segments(0.03)[1].start == pytest.approx(0.03)
    assert slow.fingerprint != corpus.fingerprint
    batch = next(Loader(slow, WindowConfig(seconds=0.5), LoaderConfig(batch=4, workers=0)).iterate())
    assert batch.audio.wave.shape == (4, 8000)
    assert batch.audio.wave.abs().amax(1).min() > 0.2
    long = Loader(slow, WindowConfig(seconds=0.1), LoaderConfig(batch=4, workers=0))
    assert next(long.iterate()).audio.wave.abs().amax(1).min() > 0.2
    assert np.isfinite(
        measure_statistics(slow, LogMelConfig().build(), window=WindowConfig(seconds=0.1), clips=4)
    ).all()


def test_time_expansion_out_of_range_and_with_strong_labels(bats: Path) -> None:
    corpus = open_corpus(bats)
    for factor in (0.0, -3.0, 5000.0):
        with pytest.raises(ConfigError, match="expected 1"):
            read_as(corpus, time_expansion=factor)
    events = [Event(corpus[0].file, 0.0, 0.01, "call")]
    columns = {"file": corpus.column("file"), "seconds": corpus.column("seconds")}
    with pytest.raises(ConfigError, match="strong labels, whose times would no longer fit"):
        read_as(Corpus.from_columns(columns, root=bats, events=events), time_expansion=10)


def test_a_run_keeps_its_channel_when_it_is_resumed(antiphase: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["pretrain", "audiomosaic", "--size", "tiny", "--data", str(antiphase), "--out", str(out), "--channel", "1"]
    words += ["--train.steps", "1", "--train.warmup-steps", "1", "--loader.batch", "4", "--loader.workers", "0"]
    assert main(words) in (0, None)
    assert main(["pretrain", "--resume", str(out)]) in (0, None)


def test_rates_below_the_encoders_are_said(tmp_path: Path, record) -> None:
    record(tmp_path / "a.wav", rate=8000)
    record(tmp_path / "b.wav", rate=16000)
    record(tmp_path / "c.wav", rate=22050)
    (note,) = band_notes(open_corpus(tmp_path), 16000)
    assert note.startswith(
        "1 of 3 recordings has at most half the encoder's rate (16,000 Hz), down to 8,000 Hz: above 4"
    )
    assert scan(tmp_path, write=False).notes == (note,)
    assert band_notes(open_corpus(tmp_path), 22050)[0].startswith("1 of 3")
    assert scan(tmp_path, write=False, rate=12000).notes == ()
    ranges = open_corpus(tmp_path).segments(0.25)
    assert band_notes(ranges, 16000) == (note,)


def test_a_note_on_a_sample_of_rates_says_so(tmp_path: Path, record, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(6):
        record(tmp_path / f"{i}.wav", seconds=0.1, rate=96000 if i == 5 else 16000)
    monkeypatch.setattr("auricle.corpus.reading._LOOKED_AT", 3)
    (note,) = band_notes(open_corpus(tmp_path), 16000)
    assert note.startswith(
        "1 of 3 recordings looked at (6 in all; `auricle corpus scan` looks at each) has more than twice"
    )
    assert scan(tmp_path).notes[0].startswith("1 of 6 recordings has more than twice")


def test_a_header_that_can_not_be_read_makes_no_sample(tmp_path: Path, record) -> None:
    for name in "ab":
        record(tmp_path / f"{name}.wav", seconds=0.1, rate=96000)
    corpus = open_corpus(tmp_path)
    (tmp_path / "b.wav").write_bytes(b"no audio")
    assert band_notes(corpus, 16000)[0].startswith("1 of 1 recording has more than twice")


def test_one_recording_that_fills_an_epoch_is_said() -> None:
    seconds = [3600.0, *[10.0] * 9]
    corpus = Corpus.from_columns({"file": [f"{i}.wav" for i in range(10)], "seconds": seconds}, root="x")
    window = WindowConfig(seconds=10.0)
    by_length = Loader(corpus, window, LoaderConfig(batch=2, sampling="duration"))
    assert by_length.warnings() == (
        "'0.wav' is 98% of an epoch (more than 20%, and three times its part of 10 recordings): the encoder would "
        "mostly learn that one; check its length, or set loader.sampling to clip",
    )
    assert Loader(corpus, window, LoaderConfig(batch=2)).warnings() == ()
    # Its segments count together, and of a few recordings each has a large part.
    assert len(share_notes(corpus.segments(10.0))) == 1
    assert share_notes(Corpus.from_columns({"file": ["a", "b", "c"], "seconds": [1.0] * 3}, root="x")) == ()


def test_scan_separates_no_variation_from_sound_and_clipping_from_loudness(tmp_path: Path, record) -> None:
    time = np.arange(16000) / 16000
    loud = 3.7 * np.sin(2 * np.pi * 440 * time)
    sounds = {
        "constant": (np.full(16000, 0.02), True, False),
        "dither": (0.05 + np.random.default_rng(0).integers(-1, 2, 16000) / 32768, True, False),
        "quiet": (0.001 * loud, False, False),
        "over": (loud, False, False),
        "clipped": (loud.clip(-1, 1), False, True),
        "flat": (loud.clip(-2, 2), False, True),
        "full": (0.9999 * np.sin(2 * np.pi * 440 * time), False, False),
    }
    for name, (wave, _, _) in sounds.items():
        record(tmp_path / f"{name}.wav", wave, subtype="FLOAT")
    record(tmp_path / "cut.wav", loud.clip(-1, 1))
    report = scan(tmp_path, write=False)
    assert report.silent == tuple(sorted(f"{name}.wav" for name, (_, silent, _) in sounds.items() if silent))
    assert report.clipped == ("clipped.wav", "cut.wav", "flat.wav")
    loader = Loader(report.corpus, WindowConfig(), LoaderConfig(batch=8, workers=0))
    next(loader.iterate())
    assert {"constant.wav", "dither.wav"} <= loader.broken.keys()


def test_files_of_every_kind_are_listed(tmp_path: Path, record) -> None:
    record(tmp_path / "a.wav")
    for suffix in ("webm", "3gp", "amr", "mka", "wv", "m4a", "aac", "wma", "ape"):
        (tmp_path / f"a.{suffix}").write_bytes(b"nothing of the kind" * 9)
    report = scan(tmp_path, write=False)
    assert len(report.corpus) == 1
    assert len(report.broken) == 9


def test_a_pipe_stops_no_command(tmp_path: Path, record) -> None:
    import os

    record(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    os.mkfifo(tmp_path / "metadata.csv")
    report = scan(tmp_path, write=False)
    assert len(report.corpus) == 1
    assert report.broken["b.wav"] == "it is a pipe, socket or device, no file"


def test_embeddings_of_a_chosen_channel_and_time(antiphase: Path, bats: Path, tmp_path: Path) -> None:
    from auricle.encoders.frozen import FrozenEncoder
    from auricle.encoders.slice_cnn import SliceCNNConfig
    from auricle.tokens.embeddings import embed_corpus

    encoder = FrozenEncoder(LogMelConfig(mels=64).build(), SliceCNNConfig().build(), name="slices")
    with pytest.raises(CorpusError, match="channels cancel"):
        embed_corpus(encoder, open_corpus(antiphase / "call"), tmp_path / "v.parquet", progress=False)
    chosen = open_corpus(antiphase / "call", channel=0)
    assert embed_corpus(encoder, chosen, tmp_path / "v.parquet", progress=False).clips == 4
    corpus = open_corpus(bats / "low")
    said = embed_corpus(encoder, corpus, tmp_path / "w.parquet", progress=False).notes
    assert "what lies above 8 kHz is lost" in said[-1]
    assert auricle.open_corpus(bats / "low", time_expansion=10).column("read_expansion") == [10.0] * 4
