"""Formats of the extra `av`: their lengths, their samples, and what is said without the extra."""

from __future__ import annotations

import io
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

from auricle.audio import foreign
from auricle.audio.decode import decode, probe
from auricle.audio.identify import conversion, foreign_format
from auricle.errors import AudioError, MissingExtraError

# File -> container and codec of PyAV, rate, and the samples that its container can't tell from padding.
FORMATS = {
    "a.m4a": ("ipod", "aac", 16000, 0),
    "a.3gp": ("3gp", "aac", 8000, 0),
    "a.webm": ("webm", "libopus", 48000, 0),
    "a.wv": ("wv", "wavpack", 16000, 0),
    "alac.m4a": ("ipod", "alac", 16000, 0),
    "flac.oga": ("ogg", "flac", 16000, 0),
    "a.aac": ("adts", "aac", 16000, 2048),
    "a.wma": ("asf", "wmav2", 16000, 4096),
    "a.amr": ("amr", "libopencore_amrnb", 8000, 320),
    "a.mka": ("matroska", "ac3", 48000, 1536),
}


def tone(rate: int, seconds: float = 0.7) -> np.ndarray:
    n = np.arange(round(seconds * rate))
    return 0.3 * np.sin(2 * np.pi * 440 * n / rate) + 0.2 * np.sin(2 * np.pi * 130 * n / rate)


def encoded(container: str, codec: str, rate: int, wave: np.ndarray) -> bytes:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 12200 if rate == 8000 else 64000
        frame = av.AudioFrame.from_ndarray(np.rint(wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        size = stream.codec_context.frame_size or len(wave)
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", rate, size)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            out.mux(stream.encode(part))
    return file.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_lengths_and_samples(tmp_path: Path, name: str) -> None:
    container, codec, rate, padding = FORMATS[name]
    wave = tone(rate)
    path = tmp_path / name
    path.write_bytes(encoded(container, codec, rate, wave))
    info = probe(path)
    assert (info.rate, info.channels) == (rate, 1)
    assert abs(info.frames - len(wave)) <= padding
    assert info.notes == ()
    found = decode(path, rate=rate)
    assert len(found) == info.frames
    np.testing.assert_array_equal(found, decode(path.read_bytes(), rate=rate))
    part = decode(path, start=0.3, seconds=0.1, rate=rate)
    np.testing.assert_array_equal(part, found[round(0.3 * rate) :][: rate // 10])
    # Where the container knows the encoder's delay, the samples are where they were.
    lags = [float(np.corrcoef(found[lag : lag + rate // 4], wave[: rate // 4])[0, 1]) for lag in range(padding + 1)]
    assert max(lags) > 0.95
    assert np.abs(found).max() < 0.7


def test_stereo_is_mixed_like_any_other(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.wv"
    wave = np.stack([tone(16000), -tone(16000)])
    with av.open(str(path), "w", format="wv") as out:
        stream = out.add_stream("wavpack", rate=16000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.rint(wave * 32767).astype(np.int16), format="s16p", layout="stereo")
        frame.sample_rate, frame.pts = 16000, 0
        for part in [frame, None]:
            out.mux(stream.encode(part))
    assert probe(path).channels == 2
    with pytest.raises(AudioError, match="channels cancel"):
        decode(path)
    np.testing.assert_allclose(decode(path, channel=1), wave[1], atol=0.01)


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_what_there_is_of_a_truncated_file_is_read_or_refused(keep: float) -> None:
    for name, (container, codec, rate, _) in FORMATS.items():
        data = encoded(container, codec, rate, tone(rate))
        part = data[: int(keep * len(data))]
        try:
            found = decode(part, rate=rate)
        except AudioError:
            continue
        assert len(found) == probe(part).frames <= len(decode(data, rate=rate)), name


@pytest.mark.parametrize("name", ["a.m4a", "alac.m4a", "a.3gp", "a.aac", "a.wma", "a.amr"])
def test_what_is_behind_a_hole_does_not_move_in_time(name: str) -> None:
    container, codec, rate, _ = FORMATS[name]
    whole = encoded(container, codec, rate, tone(rate, 3.0))
    noise = np.random.default_rng(0).bytes(700)
    data = whole[: len(whole) // 2] + noise + whole[len(whole) // 2 + len(noise) :]
    info = probe(data)
    assert re.match(r"damaged at \d\.\d{3} s: [\d,]+ of its samples are missing from there on", info.notes[0])
    with pytest.raises(AudioError, match=r"damaged at \d\.\d{3} s: decoding ended after \d+ of \d+ samples"):
        decode(data, rate=rate)
    with pytest.raises(AudioError, match="damaged at"):
        decode(data, start=2.2, seconds=0.2, rate=rate)
    before = decode(whole, seconds=1.2, rate=rate)
    np.testing.assert_array_equal(decode(data, seconds=1.2, rate=rate), before)


def test_damage_from_the_first_sample_on_leaves_nothing() -> None:
    whole = encoded("ipod", "aac", 16000, tone(16000, 0.25))
    begin = whole.index(b"mdat") + 4
    for read in (probe, decode):
        with pytest.raises(AudioError, match="damaged from its first sample on; copy it again"):
            read(whole[:begin] + b"\xff" * 700 + whole[begin + 700 :])


@pytest.mark.parametrize("name", ["a.webm", "a.mka", "a.aac", "a.wma", "a.amr"])
def test_an_early_end_is_said(name: str) -> None:
    container, codec, rate, _ = FORMATS[name]
    whole = encoded(container, codec, rate, tone(rate, 3.0))
    data = whole[: len(whole) // 2]
    info = probe(data)
    assert info.notes
    assert all("damaged packet left out" in note or "partly read" in note for note in info.notes)
    assert info.frames == len(decode(data, rate=rate)) < 2 * rate


def test_holes_of_an_ogg_have_no_place() -> None:
    whole = encoded("ogg", "flac", 16000, tone(16000, 3.0))
    data = bytearray(whole)
    data[len(whole) // 2 : len(whole) // 2 + 700] = np.random.default_rng(0).bytes(700)
    for read in (probe, decode):
        with pytest.raises(AudioError, match="damaged in its middle: 31,872 of 48,000 samples decode"):
            read(bytes(data))


def test_without_the_extra_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new memo 0.m4a"
    path.write_bytes(b"\x00\x00\x00\x1cftypM4A " + bytes(200))

    def lacking(module: str, *, extra: str) -> None:
        raise MissingExtraError(f"{module} is not there")

    monkeypatch.setattr(foreign, "require", lacking)
    with pytest.raises(
        AudioError, match=r"MP4, M4A or 3GP, which needs an extra: pip install 'auricle\[av\]'"
    ) as error:
        probe(path)
    command = str(error.value).partition("or convert it: ")[2]
    assert shlex.split(command) == ["ffmpeg", "-i", str(path), "-c:a", "pcm_s16le", str(path.with_suffix(".wav"))]
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert extras["av"]
    assert "av" in extras["all"][0]


def test_a_conversion_never_overwrites_its_source() -> None:
    assert shlex.split(conversion("a/b.WAV"))[-1] == "a/b-pcm.wav"
    assert shlex.split(conversion(b"bytes"))[2] == "FILE"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x1aE\xdf\xa3", "Matroska or WebM"),
        (b"#!AMR\n", "AMR"),
        (b"wvpk", "WavPack"),
        (b"\xff\xf1\x50\x80", "AAC (ADTS)"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x14\x00\x00\x00\x8f\x02", "G.722"),
        (b"OggS" + bytes(24) + b"\x7fFLAC", "FLAC in Ogg"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x14\x00\x00\x00\x01\x00", None),
        (b"fLaC", None),
    ],
)
def test_names_of_formats(head: bytes, name: str | None) -> None:
    assert foreign_format(head) == name
