"""Streams of recordings: the samples of the whole decoded file, once, in pieces, past damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.audio.decode import decode
from auricle.audio.sndfile import SndfileRecording
from auricle.audio.streaming import AudioStream
from auricle.errors import AudioError

RATE = 16000


def noise(path: Path, rate: int, seconds: float, channels: int = 1, **kind: str) -> np.ndarray:
    draw = np.random.default_rng(rate)
    wave = (0.1 * draw.standard_normal((round(rate * seconds), channels))).astype(np.float32)
    # libsndfile's Vorbis encoder overflows the stack where it is given much at once.
    with soundfile.SoundFile(path, "w", rate, channels, **kind) as file:
        for start in range(0, len(wave), 1 << 16):
            file.write(wave[start : start + (1 << 16)])
    return wave


def whole(stream: AudioStream, first: int = 0, rate: int = RATE) -> np.ndarray:
    return np.concatenate(list(stream.pieces(first, stream.length(rate), rate)))


@pytest.mark.parametrize("rate", [16000, 44100, 22050, 11025, 37123])
@pytest.mark.parametrize(("ending", "subtype"), [("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"),
                                                 ("mp3", "MPEG_LAYER_III")])  # fmt: skip
def test_pieces_are_the_samples_of_the_whole_file(tmp_path: Path, rate: int, ending: str, subtype: str) -> None:
    if ending == "mp3" and rate == 37123:
        pytest.skip("MP3 has a few rates only")
    path = tmp_path / f"a.{ending}"
    noise(path, rate, 50.3, subtype=subtype)
    wanted = decode(path, rate=RATE)
    with AudioStream(path) as stream:
        assert stream.length(RATE) == len(wanted)
        np.testing.assert_allclose(whole(stream), wanted, atol=1e-5)
        first = whole(stream, 123457)
        np.testing.assert_allclose(first, wanted[123457:], atol=1e-5)
        assert stream.damage == []
    with AudioStream(path.read_bytes()) as stream:
        assert (whole(stream, 123457) == first).all()


def test_each_sample_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(tmp_path / "a.flac", 44100, 90.0)
    decoded = 0
    blocks = SndfileRecording.blocks

    def counted(self: SndfileRecording, begin: int, end: int):  # type: ignore[no-untyped-def]
        nonlocal decoded
        for block in blocks(self, begin, end):
            decoded += len(block)
            yield block

    monkeypatch.setattr(SndfileRecording, "blocks", counted)
    with AudioStream(tmp_path / "a.flac") as stream:
        decoded = 0
        whole(stream)
    assert decoded == 90 * 44100


def test_a_format_that_does_not_seek_is_decoded_once_over_several_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av")
    from auricle.audio import foreign

    wave = noise(tmp_path / "a.wav", 44100, 65.0)
    with av.open(tmp_path / "a.m4a", "w") as out:
        stream = out.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray((wave.T * 32767).astype(np.int16), format="s16", layout="mono")
        frame.rate = 44100
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    wanted = decode(tmp_path / "a.m4a", rate=RATE)
    samples = foreign._samples
    decoded = 0

    def counted(frame: object) -> np.ndarray:
        nonlocal decoded
        found = samples(frame)
        decoded += len(found)
        return found

    monkeypatch.setattr(foreign, "_samples", counted)
    with AudioStream(tmp_path / "a.m4a") as stream:
        length = stream.length(RATE)
        parts = [np.concatenate(list(stream.pieces(s, s + 20 * RATE, RATE))) for s in range(0, length, 20 * RATE)]
    np.testing.assert_allclose(np.concatenate(parts), wanted, atol=1e-6)
    assert decoded < 1.1 * len(wave)


def test_damage_in_a_flac_is_named_and_the_rest_is_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    noise(path, 48000, 120.0, subtype="PCM_16")
    wanted = decode(path, rate=RATE)
    data = bytearray(path.read_bytes())
    for share, size in ((0.3, 20000), (0.6, 200000)):
        at = int(share * len(data))
        data[at : at + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)
    with AudioStream(path) as stream:
        got = whole(stream)
        found = [(d.begin / stream.rate, d.end / stream.rate) for d in stream.damage]
    assert len(found) == 2
    lost = np.zeros(len(got), bool)
    for (begin, end), share in zip(found, (0.3, 0.6), strict=True):
        assert begin - 0.2 < share * 120 < end < share * 120 + 4
        lost[int(begin * RATE) - 300 : int(end * RATE) + 300] = True
    np.testing.assert_allclose(got[~lost], wanted[~lost], atol=1e-6)
    assert np.abs(got[lost]).max() < 0.6
    with pytest.raises(AudioError, match="damaged at 3"):
        decode(path)


def test_samples_that_are_no_numbers_are_zero_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wave = noise(path, RATE, 30.0, subtype="FLOAT")
    wave[RATE * 10 : RATE * 11] = np.nan
    wave[RATE * 10 + 500] = 0.5
    wave[RATE * 20, 0] = np.inf
    wave[RATE * 25, 0] = 1e6
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    with AudioStream(path) as stream:
        got = whole(stream)
    assert [(d.begin, d.end, d.reason.cause) for d in stream.damage] == [
        (RATE * 10, RATE * 11, "not finite"),
        (RATE * 20, RATE * 20 + 1, "not finite"),
        (RATE * 25, RATE * 25 + 1, "not finite"),
    ]
    fine = np.isfinite(wave[:, 0]) & (np.abs(wave[:, 0]) < 1)
    assert (got[fine] == wave[fine, 0]).all()
    assert (got[~fine] == 0).all()


def test_channels_that_cancel_are_named_and_one_of_them_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wave = noise(path, RATE, 30.0)
    soundfile.write(path, np.hstack([wave, -wave]), RATE, subtype="FLOAT")
    with AudioStream(path) as stream:
        whole(stream)
        assert {d.reason.cause for d in stream.damage} == {"channels cancel"}
        assert (stream.damage[0].begin, stream.damage[-1].end) == (0, 30 * RATE)
    with AudioStream(path, 1) as stream:
        assert (whole(stream) == -wave[:, 0]).all()
        assert stream.damage == []
    with pytest.raises(AudioError, match="no channel 2: it has 2"):
        AudioStream(path, 2)


def test_integers_stored_as_floats_are_named(tmp_path: Path) -> None:
    wave = np.rint(1000 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    with AudioStream(tmp_path / "a.wav") as stream:
        whole(stream)
    assert "its samples are integers" in stream.damage[0].reason
