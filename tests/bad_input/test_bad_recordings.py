"""Folders without audio, and every kind of broken or odd recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from bad_input_command import QUICK, TINY, Command
from bad_input_data import RATE, cut, tone, write_tones


@pytest.mark.parametrize("verb", ["scan", "pretrain", "embed", "probe"])
@pytest.mark.parametrize(("name", "said"), [("absent", "no folder or file"), ("texts", "no audio")])
def test_a_folder_that_is_missing_or_without_audio(
    auricle: Command, run: Path, tmp_path: Path, verb: str, name: str, said: str
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no sound here")
    folder, out = tmp_path / name, tmp_path / "out"
    commands = {
        "scan": ["corpus", "scan", folder],
        "pretrain": ["pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY],
        "embed": ["embed", run, "--data", folder, "--out", out / "vectors.parquet"],
        "probe": ["probe", run, "--task", "folder", "--data", folder, "--out", out],
    }
    message = auricle.refused(*commands[verb])
    assert said in message
    assert str(folder) in message
    assert not out.exists()


@pytest.mark.parametrize("verb", ["scan", "pretrain", "embed", "probe"])
def test_a_folder_of_broken_recordings_only(auricle: Command, run: Path, tmp_path: Path, verb: str) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(10):
            (folder / label / f"{number}.wav").write_bytes(b"not audio")
    commands = {
        "scan": ["corpus", "scan", folder],
        "pretrain": ["pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY],
        "embed": ["embed", run, "--data", folder, "--out", out / "vectors.parquet"],
        "probe": ["probe", run, "--task", "folder", "--data", folder, "--out", out],
    }
    message = auricle.refused(*commands[verb])
    assert ".wav" in message
    assert not list(tmp_path.rglob("*.parquet"))


# Recordings


def write_odd(folder: Path) -> None:
    """Every kind of recording that somebody's folder may hold, beside good ones."""
    low, high = folder / "class0", folder / "class1"
    wave = tone(300)
    soundfile.write(low / "truncated.wav", wave, RATE)
    cut(low / "truncated.wav", 0.5)
    soundfile.write(low / "truncated.flac", np.random.default_rng(0).standard_normal(RATE) * 0.1, RATE)
    cut(low / "truncated.flac", 0.5)
    (low / "empty.wav").write_bytes(b"")
    soundfile.write(high / "noframes.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(high / "nan.wav", np.where(np.arange(len(wave)) == 700, np.nan, wave), RATE, subtype="FLOAT")
    soundfile.write(high / "inf.wav", np.where(np.arange(len(wave)) == 700, np.inf, wave), RATE, subtype="FLOAT")
    (high / "text.wav").write_bytes(b"this is a text")
    soundfile.write(low / "silent.wav", np.zeros(RATE // 2, np.float32), RATE)
    soundfile.write(low / "single.wav", np.full(1, 0.5, np.float32), RATE)
    soundfile.write(low / "eight.wav", np.stack([tone(200, seed=s) for s in range(8)], 1), RATE)
    soundfile.write(high / "4k.wav", tone(900, rate=4000), 4000)
    soundfile.write(high / "192k.wav", tone(900, rate=192000), 192000)
    # libsndfile takes any bytes for a name; so do the folders of users.
    for number, name in enumerate(ODD_NAMES):
        soundfile.write(low / name, tone(250 + 5 * number, seed=number), RATE)


ODD_NAMES = ("with space.wav", "Vögel 鳥 🐦.wav", "two\nlines.wav", "[bold]a+b; 'c' \"d\", 100%.wav")
BROKEN = {
    "class0/empty.wav": "empty",
    "class1/noframes.wav": "no samples",
    "class1/nan.wav": "NaN",
    "class1/inf.wav": "infinite",
    "class1/text.wav": "not readable as audio",
}
USABLE = 24 + 7 + len(ODD_NAMES)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tones(tmp_path_factory.mktemp("odd"))
    write_odd(folder)
    return folder


def check_broken(listed: dict[str, str], also: tuple[str, ...] = ()) -> None:
    assert set(listed) == set(BROKEN) | set(also)
    for file, reason in BROKEN.items():
        assert reason in listed[file], (file, listed[file])


def test_scan_lists_every_bad_recording_and_keeps_the_others(auricle: Command, odd: Path, tmp_path: Path) -> None:
    assert auricle("corpus", "scan", odd, "--out", tmp_path / "table.parquet") == 0
    for file, reason in BROKEN.items():
        line = next((text for text in auricle.out.splitlines() if Path(file).name in text), "")
        assert line, f"{file} is not listed"
        assert reason in auricle.out
    assert "silent.wav" in auricle.out
    assert str(len(BROKEN)) in auricle.out
    table = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert len(table) == USABLE
    rows = {row["file"]: row for row in table}
    assert rows["class0/eight.wav"]["scan_channels"] == 8
    assert rows["class1/192k.wav"]["scan_rate"] == 192000
    assert rows["class0/silent.wav"]["scan_silent"]
    # Of a recording that breaks off, what is there is used, and what is missing is said.
    assert 0.2 < rows["class0/truncated.wav"]["seconds"] < 0.5
    assert auricle.out.count("partly read: ") >= 2
    assert {f"class0/{name}" for name in ODD_NAMES} <= rows.keys()


def test_pretraining_passes_over_every_bad_recording_and_lists_it(auricle: Command, odd: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # Two epochs: each file comes up.
    assert auricle("pretrain", "audiomosaic", "--data", odd, "--out", out, *TINY, "--train.steps", "10") == 0
    # Silent clips, and clips of one sample, are no material for a contrast.
    check_broken(json.loads((out / "corpus.json").read_text())["broken"], ("class0/silent.wav", "class0/single.wav"))
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 10
    assert np.isfinite(losses).all()


def test_embed_lists_every_bad_recording_and_writes_the_others(
    auricle: Command, run: Path, odd: Path, tmp_path: Path
) -> None:
    assert auricle("embed", run, "--data", odd, "--out", tmp_path / "vectors.parquet") == 0
    for file, reason in BROKEN.items():
        line = next((text for text in auricle.err.splitlines() if file in text), "")
        assert reason in line, (file, auricle.err)
    table = pq.read_table(tmp_path / "vectors.parquet")
    files = table["file"].to_pylist()
    assert len(files) == USABLE
    assert {f"class0/{name}" for name in ODD_NAMES} <= set(files)
    assert np.isfinite(np.array(table["embedding"].to_pylist())).all()


def test_probing_skips_bad_recordings_and_counts_them(auricle: Command, run: Path, odd: Path, tmp_path: Path) -> None:
    assert auricle("probe", run, "--task", "folder", "--data", odd, "--out", tmp_path / "out", *QUICK) == 0
    (line,) = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    result = json.loads(line)
    check_broken(result["missing"])
    assert result["clips"] == USABLE
    assert auricle("report", run, "--out", tmp_path / "report.html") == 0


def test_a_recording_that_may_not_be_read(
    auricle: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tones(tmp_path / "data", clips=6)
    real, closed = auricle_stream(), "good3.wav"

    # Permissions stop nobody who runs as root, so the refusal comes from here.
    def refuse(source: object) -> object:
        if str(source).endswith(closed):
            raise PermissionError(13, "Permission denied", str(source))
        return real(source)

    monkeypatch.setattr("auricle.audio.sndfile.open_stream", refuse)
    assert auricle("corpus", "scan", folder, "--out", tmp_path / "t.parquet") == 0
    assert auricle.out.count("good3.wav") >= 2
    assert "permission" in auricle.out.lower()
    assert auricle("embed", run, "--data", folder, "--out", tmp_path / "v.parquet") == 0
    assert auricle.err.count("Permission denied") == 2
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 10
    out = tmp_path / "run"
    assert auricle("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY) == 0
    broken = json.loads((out / "corpus.json").read_text())["broken"]
    assert set(broken) == {"class0/good3.wav", "class1/good3.wav"}


def auricle_stream() -> Callable[[object], object]:
    from auricle.audio import sndfile

    return sndfile.open_stream  # type: ignore[return-value]


def test_one_bad_recording_among_a_thousand_stops_nothing(auricle: Command, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((1000, RATE // 10)).astype(np.float32)
    noise[400, 50] = np.nan
    for number, wave in enumerate(noise):
        soundfile.write(folder / f"{number:03d}.wav", wave, RATE, subtype="FLOAT")
    assert auricle("corpus", "scan", folder, "--out", tmp_path / "t.parquet") == 0
    assert "400.wav" in auricle.out
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 999
    out = tmp_path / "run"
    steps = ["--loader.batch", "250", "--train.steps", "4"]
    assert auricle("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY, *steps) == 0
    assert set(json.loads((out / "corpus.json").read_text())["broken"]) == {"400.wav"}
    assert auricle("embed", run, "--data", folder, "--out", tmp_path / "v.parquet", "--batch", "64") == 0
    assert "400.wav" in auricle.err
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 999
