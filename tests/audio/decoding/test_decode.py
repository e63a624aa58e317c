from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import soundfile
import soxr

from auricle.audio.decode import decode, probe
from auricle.errors import AudioError, ConfigError

RATE = 16000


def noise(seconds: float, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (round(seconds * rate), channels)
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def written(path: Path, wave: np.ndarray, rate: int = RATE, **kwargs: str) -> Path:
    soundfile.write(path, wave, rate, **kwargs)
    return path


@pytest.fixture(params=["wav", "flac", "ogg", "mp3", "aiff"])
def suffix(request: pytest.FixtureRequest) -> str:
    return request.param


def test_header(tmp_path: Path, suffix: str) -> None:
    info = probe(written(tmp_path / f"a.{suffix}", noise(1.5, 22050, 2), 22050))
    assert (info.frames, info.rate, info.channels, info.format) == (33075, 22050, 2, suffix.upper())
    assert info.seconds == 1.5


def test_whole_file_is_what_libsndfile_reads(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.{suffix}", noise(1.0))
    wave = decode(path, rate=RATE)
    assert wave.dtype == np.float32
    assert wave.flags.c_contiguous
    np.testing.assert_array_equal(wave, soundfile.read(path, dtype="float32")[0])
    np.testing.assert_array_equal(wave, decode(path.read_bytes(), rate=RATE))


def test_opus(tmp_path: Path) -> None:
    path = written(tmp_path / "a.opus", noise(1.0, 48000), 48000, format="OGG", subtype="OPUS")
    assert decode(path, rate=RATE).shape == (16000,)
    path.write_bytes(path.read_bytes()[:-200])
    assert "it ends inside an Ogg page" in probe(path).notes[0]
    assert 8000 < len(decode(path)) < 16000


@pytest.mark.parametrize("channels", [2, 8])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    wave = noise(0.2, channels=channels)
    path = written(tmp_path / "a.wav", wave, subtype="FLOAT")
    np.testing.assert_allclose(decode(path), wave.astype(np.float64).mean(1), atol=1e-7)


@pytest.mark.parametrize("native", [4000, 8000, 22050, 44100, 48000, 192000])
def test_resampling_keeps_a_tone(tmp_path: Path, native: int) -> None:
    n = np.arange(native)
    path = written(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 * n / native), native, subtype="FLOAT")
    wave = decode(path, rate=RATE)
    assert wave.shape == (RATE,)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(wave[1000:-1000], expected[1000:-1000], atol=2e-4)


def test_resampling_is_soxr_hq_of_the_mixed_file(tmp_path: Path) -> None:
    wave = noise(1.0, 44100, 2)
    path = written(tmp_path / "a.wav", wave, 44100, subtype="FLOAT")
    np.testing.assert_array_equal(decode(path), soxr.resample(wave.mean(1), 44100, RATE, quality="HQ"))


@pytest.mark.parametrize("native", [4000, 11025, 16000, 44100, 192000])
@pytest.mark.parametrize(("start", "seconds"), [(0.0, 0.5), (0.731, 0.5), (1.25, 0.1), (1.9, 0.1), (1.5, None)])
def test_range_is_a_slice_of_the_whole(tmp_path: Path, native: int, start: float, seconds: float | None) -> None:
    path = written(tmp_path / "a.wav", noise(2.0, native), native, subtype="FLOAT")
    whole = decode(path)
    first = round(start * RATE)
    last = None if seconds is None else round((start + seconds) * RATE)
    part = decode(path, start=start, seconds=seconds)
    assert part.shape == whole[first:last].shape
    np.testing.assert_allclose(part, whole[first:last], atol=1e-6)


def test_range_of_each_format(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.{suffix}", noise(3.0, 22050), 22050)
    np.testing.assert_allclose(decode(path, start=1.2, seconds=0.3), decode(path)[19200:24000], atol=1e-5)


def test_range_stops_at_the_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", noise(1.0))
    assert decode(path, start=0.75, seconds=5.0).shape == (4000,)
    with pytest.raises(AudioError, match=r"a clip starts at 1 s, the recording ends at 1\.000 s"):
        decode(path, start=1.0)


def test_range_seeks_instead_of_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "long.flac", noise(60.0, 44100), 44100)
    asked: list[int] = []
    read = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, frames: int = -1, *args: object, **kwargs: object) -> np.ndarray:
        asked.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    decode(path, start=50.0, seconds=1.0)
    assert len(asked) == 1
    assert 44100 <= asked[0] < 50000


@pytest.mark.parametrize("native", [4000, 16000, 44100, 192000])
def test_one_sample(tmp_path: Path, native: int) -> None:
    path = written(tmp_path / "one.wav", np.array([0.5], np.float32), native)
    assert probe(path).frames == 1
    wave = decode(path)
    assert wave.shape == (max(1, round(RATE / native)),)
    assert np.isfinite(wave).all()


def test_silence_is_valid(tmp_path: Path) -> None:
    assert not decode(written(tmp_path / "silent.flac", np.zeros(8000))).any()


@pytest.mark.parametrize("name", ["with spaces.wav", "čajka ğ 音.flac", "new\nline.wav", "'quoted\".ogg", "-dash.wav"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, noise(0.5))
    assert decode(path).shape == (8000,)
    assert decode(str(path)).shape == (8000,)


def test_no_length_in_the_header(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", noise(1.0))
    data = bytearray(path.read_bytes())
    # STREAMINFO begins at byte 8; its total of samples is 36 bits from the lower half of byte 13 on.
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    whole = decode(path)
    path.write_bytes(data)
    assert probe(path).frames == RATE
    np.testing.assert_array_equal(decode(path), whole)
    np.testing.assert_array_equal(decode(path, start=0.5, seconds=0.25), whole[8000:12000])


def test_unknown_size_of_a_piped_wav(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", noise(1.0), subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert decode(path).shape == (RATE,)


# Bad files: each is refused with its name and the reason.


def refused(source: Path | bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=reason) as error:
        decode(source)
    if isinstance(source, Path):
        assert repr(str(source)) in str(error.value)


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "no.wav", "no such file")
    with pytest.raises(AudioError, match="no such file"):
        probe(tmp_path / "no.wav")


def test_directory(tmp_path: Path) -> None:
    refused(tmp_path, "a folder")


def test_name_with_a_zero_byte() -> None:
    with pytest.raises(AudioError, match="can't be opened"):
        decode("a\0b.wav")


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("this is no audio\n" * 100)
    refused(path, "not readable as audio")
    refused(path.read_bytes(), "audio given as bytes: not readable")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"")
    refused(tmp_path / "a.flac", r"empty \(0 bytes\)")
    refused(b"", "empty")


def test_zero_length(tmp_path: Path) -> None:
    refused(written(tmp_path / "a.wav", np.zeros(0, np.float32)), "no samples")


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.98])
def test_of_a_truncated_file_what_is_there_is_read(tmp_path: Path, suffix: str, kept: float) -> None:
    path = written(tmp_path / f"a.{suffix}", noise(5.0, 44100), 44100)
    data, whole = path.read_bytes(), decode(path, rate=44100)
    path.write_bytes(data[: int(len(data) * kept)])
    info = probe(path)
    assert info.notes[0].startswith("partly read: ")
    assert abs(info.seconds - 5 * kept) < (0.7 if suffix == "ogg" else 0.3)  # Ogg loses its last page
    found = decode(path, rate=44100)
    assert len(found) == info.frames
    # The last frame of a codec is not complete without the next one.
    np.testing.assert_allclose(found[:-4000], whole[: len(found) - 4000], atol=1e-6)
    np.testing.assert_array_equal(found, decode(path.read_bytes(), rate=44100))
    # A range across the end stops there; one behind it has nothing to give.
    assert len(decode(path, start=info.seconds - 0.1, seconds=3.0, rate=44100)) == pytest.approx(4410, abs=2)
    with pytest.raises(AudioError, match=r"a clip starts at 4\.99 s, the recording ends at"):
        decode(path, start=4.99)


def test_truncated_in_the_header(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.{suffix}", noise(1.0))
    path.write_bytes(path.read_bytes()[:30])
    refused(path, "truncated|not readable|no samples|no MPEG frames")


def test_truncated_rf64(tmp_path: Path) -> None:
    path = written(tmp_path / "a.rf64", noise(1.0), format="RF64", subtype="PCM_16")
    assert decode(path).shape == (RATE,)
    data = bytearray(path.read_bytes())
    if data[:4] == b"RIFF":  # libsndfile writes plain RIFF where the size allows: make it what a large file has
        data[:4] = b"RF64"
        data[12:16] = b"ds64"
        place = data.index(b"data")
        data[20:44] = struct.pack("<QQQ", len(data) - 8, len(data) - place - 8, RATE)
        data[place + 4 : place + 8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert decode(path).shape == (RATE,)
    path.write_bytes(data[:-1000])
    assert probe(path).notes == ("partly read: 15,500 of 16,000 frames that its header promises",)
    assert len(decode(path)) == 15500


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", noise(5.0))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    assert probe(path).notes == ()
    refused(path, r"damaged at 2\.\d+ s: decoding ended after \d+ of 80000 samples")
    assert len(decode(path, start=4.0)) == RATE


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("native", [RATE, 44100])
def test_not_finite(tmp_path: Path, bad: float, native: int) -> None:
    wave = noise(0.1, native, 2)
    wave[[3, 70], 1] = bad
    path = written(tmp_path / "a.wav", wave, native, subtype="FLOAT")
    refused(path, rf"2 of the {native // 10} samples read are NaN or infinite")


@pytest.mark.parametrize("peak", [2e4, 1e30, 3e38])
def test_absurd_samples(tmp_path: Path, peak: float) -> None:
    wave = noise(0.1, channels=2)
    wave[7] = -peak
    refused(written(tmp_path / "a.wav", wave, subtype="FLOAT"), "its samples reach .* at most 10000; export it again")
    wave[7] = 9e3
    assert np.abs(decode(written(tmp_path / "b.wav", wave, subtype="FLOAT"))).max() == 9e3


@pytest.mark.parametrize("frames", [24000, 0xFFFFFF, 0xFFFFFFFF])
def test_promised_lengths_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    path = written(tmp_path / "a.flac", noise(1.0))
    whole, data = decode(path), bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = struct.pack(">I", frames)
    path.write_bytes(data)
    asked: list[int] = []
    read = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, frames: int = -1, *args: object, **kwargs: object) -> np.ndarray:
        asked.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert probe(path).frames == RATE
    assert probe(path).notes == (f"partly read: 16,000 of {frames:,} frames that its header promises",)
    np.testing.assert_array_equal(decode(path), whole)
    np.testing.assert_array_equal(decode(path, start=0.5), whole[8000:])
    with pytest.raises(AudioError, match=r"a clip starts at 1\.2 s, the recording ends at 1\.000 s"):
        decode(path, start=1.2)
    assert max(asked) <= 1 << 18


def test_a_lying_header_is_counted_before_the_memory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.flac", noise(1.0))
    data = bytearray(path.read_bytes())
    data[22:26] = struct.pack(">I", 100_000_000)  # few enough for the bytes that there are
    path.write_bytes(data)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**9))
    assert probe(path).frames == len(decode(path)) == RATE
    assert len(decode(path, start=0.25)) == 12000


def test_little_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.wav", noise(1.0))

    def full(*args: object, **kwargs: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(soundfile.SoundFile, "read", full)
    refused(path, "too long to decode into memory; cut it")


def test_files_of_several_blocks(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.{suffix}", noise(40.0, channels=2))
    expected = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    np.testing.assert_array_equal(decode(path), expected)


def test_silent_files_are_as_short_as_they_say(tmp_path: Path, suffix: str) -> None:
    assert len(decode(written(tmp_path / f"a.{suffix}", np.zeros(80 * RATE), RATE))) == 80 * RATE


@pytest.mark.parametrize(
    "wrong", [{"start": -1.0}, {"start": float("nan")}, {"seconds": 0.0}, {"seconds": -1.0}, {"rate": 0}]
)
def test_wrong_range(tmp_path: Path, wrong: dict[str, float]) -> None:
    path = written(tmp_path / "a.wav", noise(0.1))
    with pytest.raises(ConfigError, match="expected a start from 0"):
        decode(path, **wrong)


@pytest.mark.real
def test_real_files(shared_audio: Path) -> None:
    for corpus in sorted(p for p in shared_audio.iterdir() if (p / "clips").is_dir()):
        for path in sorted((corpus / "clips").iterdir())[:2]:
            info = probe(path)
            wave = decode(path)
            assert abs(len(wave) - info.seconds * RATE) <= 1
            assert np.abs(wave).max() <= 1.5
