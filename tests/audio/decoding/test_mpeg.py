"""MP3 files whose headers state no length or a wrong one: the frames that are there count."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.audio import mpeg
from auricle.audio.decode import decode, probe
from auricle.audio.mpeg import walk

RATE = 22050
WAVE = 0.2 * np.random.default_rng(0).standard_normal(3 * RATE)
WAVE[RATE:] *= 0.02  # the bit rate of a variable one falls


def mp3(wave: np.ndarray = WAVE, rate: int = RATE, mode: str = "VARIABLE", layer: str = "MPEG_LAYER_III") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="MP3", subtype=layer, bitrate_mode=mode, compression_level=0.3)
    return file.getvalue()


WHOLE = mp3()
(STRETCH,) = walk(WHOLE)
assert STRETCH.header is not None
BARE = WHOLE[len(STRETCH.header[1]) :]
XING = WHOLE.index(b"Xing")


def xing(frames: int) -> bytes:
    return WHOLE[: XING + 8] + struct.pack(">I", frames) + WHOLE[XING + 12 :]


def test_a_right_header_is_read_as_libsndfile_reads_it() -> None:
    assert probe(WHOLE).frames == 3 * RATE
    assert probe(WHOLE).notes == ()
    expected = soundfile.read(io.BytesIO(WHOLE), dtype="float32")[0]
    np.testing.assert_array_equal(decode(WHOLE, rate=RATE), expected)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda data: b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + data,
        lambda data: data + b"TAG" + bytes(125),
        lambda data: data + b"APETAGEX" + bytes(400) + b"TAG" + bytes(125),
        lambda data: b"<!DOCTYPE html><html>\xff\xff" + b"x" * 3000 + data,
        lambda data: b"ID3\x04\x00\x00\x00\x00\x7f\x7f" + b"\xff\xfb\x90\x00" * 4096 + data[:0] + bytes(0) + data,
    ],
)
def test_tags_and_junk_around_the_frames_change_no_sample(wrapped, capfd) -> None:
    whole = decode(WHOLE, rate=RATE)
    found = decode(wrapped(WHOLE), rate=RATE)
    assert len(found) == len(whole)
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert capfd.readouterr().err == ""


def test_a_variable_bit_rate_without_a_header_has_the_length_of_its_frames() -> None:
    assert abs(soundfile.info(io.BytesIO(BARE)).duration - 3) > 1  # what an estimate from the first frame gives
    info = probe(BARE)
    assert info.frames == STRETCH.frames * 576
    found = decode(BARE, rate=RATE)
    assert len(found) == info.frames
    # Without the header the encoder's delay is not known: the same samples come later.
    late = len(found) - 3 * RATE
    lag = int(np.argmax([np.vdot(found[k : k + RATE], decode(WHOLE, rate=RATE)[:RATE]) for k in range(late)]))
    np.testing.assert_allclose(found[lag + 2000 : lag + 60000], decode(WHOLE, rate=RATE)[2000:60000], atol=1e-5)
    np.testing.assert_allclose(
        decode(BARE, rate=RATE, start=2.0, seconds=0.5), found[2 * RATE :][: RATE // 2], atol=1e-5
    )


@pytest.mark.parametrize("factor", [2, 10, 1000])
def test_a_header_that_counts_too_many_frames(factor: int) -> None:
    data = xing(factor * STRETCH.frames)
    info = probe(data)
    assert info.frames == 3 * RATE
    assert info.notes == (f"partly read: 66,150 of {66150 * factor:,} frames that its header promises",)
    np.testing.assert_array_equal(decode(data, rate=RATE), decode(WHOLE, rate=RATE))
    assert len(decode(data, start=2.5, seconds=1.0, rate=RATE)) == RATE // 2


def test_a_header_that_counts_too_few_frames() -> None:
    assert probe(xing(STRETCH.frames // 2)).frames == 3 * RATE
    np.testing.assert_array_equal(decode(xing(STRETCH.frames // 2), rate=RATE), decode(WHOLE, rate=RATE))


def test_files_that_were_joined_are_read_to_the_end() -> None:
    joined = WHOLE + mp3(0.5 * WAVE)
    info = probe(joined)
    assert (info.frames, info.notes) == (6 * RATE, ("2 MPEG streams follow each other in it",))
    found = decode(joined, rate=RATE)
    np.testing.assert_array_equal(found[: 3 * RATE], decode(WHOLE, rate=RATE))
    np.testing.assert_array_equal(found[3 * RATE :], decode(mp3(0.5 * WAVE), rate=RATE))
    np.testing.assert_allclose(decode(joined, start=2.9, seconds=0.2, rate=RATE), found[63945:68355], atol=1e-5)
    assert probe(BARE + BARE).frames == 2 * STRETCH.frames * 576


def test_a_part_of_another_rate_is_said() -> None:
    info = probe(WHOLE + mp3(WAVE[:16000], 16000))
    assert info.frames == 3 * RATE
    assert "only the first 1 of its 2 streams are read" in info.notes[1]


def test_junk_between_frames_is_skipped_and_said(capfd: pytest.CaptureFixture[str]) -> None:
    at = STRETCH.spans[0][0] + len(STRETCH.header[1]) if STRETCH.header else 0
    junk = b"\x00\xff\xe0\xff\xfb" * 200
    (after,) = walk(WHOLE[:at] + junk + WHOLE[at:])
    assert after.frames == STRETCH.frames
    info = probe(WHOLE[:at] + junk + WHOLE[at:])
    assert info.notes == ("1,000 bytes between its frames are no audio and were skipped",)
    assert len(decode(WHOLE[:at] + junk + WHOLE[at:], rate=RATE)) == 3 * RATE
    assert capfd.readouterr().err == ""


def test_damage_inside_frames_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        data = bytearray(WHOLE)
        for place in generator.integers(500, len(data), 60):
            data[place] ^= 255
        assert abs(probe(bytes(data)).seconds - 3) < 1
        decode(bytes(data))
    assert capfd.readouterr().err == ""


def test_mp3_inside_a_wav_is_read_by_its_frames() -> None:
    header = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 8000, 1, 0, 12, 1, 2, 576, 1, 1393)
    body = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(BARE)) + BARE
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    assert probe(data).frames == STRETCH.frames * 576
    np.testing.assert_array_equal(decode(data, rate=RATE), decode(BARE, rate=RATE))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_frames_of_every_version(rate: int, channels: int, mode: str) -> None:
    wave = 0.1 * np.random.default_rng(1).standard_normal((rate, channels))
    data = mp3(wave, rate, mode)
    (found,) = walk(data)
    assert found.rate == rate
    assert found.spans == [(0, len(data))]
    assert probe(data).frames == rate


CONSTANT = mp3(WAVE[:16000], 16000, "CONSTANT")
HEADER = CONSTANT.index(CONSTANT[:2], 4)
SIZE = CONSTANT.index(CONSTANT[:2], HEADER + 4) - HEADER


@settings(max_examples=30, deadline=None)
@given(kept=st.integers(HEADER + 3 * SIZE, len(CONSTANT)))
def test_whole_frames_are_counted_wherever_a_file_ends(kept: int) -> None:
    """At 16 kHz and a constant bit rate every frame has the same size; the first one holds the length."""
    assert (len(CONSTANT) - HEADER) % SIZE == 0
    (found,) = walk(CONSTANT[:kept])
    assert found.frames == (kept - HEADER) // SIZE


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b"\xff" * 2_000_000, "2,000,000 bytes behind its last frame are no audio and were not read"),
        (bytes(5000), "5,000 bytes behind its last frame"),
        (b"TAG" + bytes(125) + b"\xff\xfb" * 3000, "6,000 bytes behind its last frame"),
        (b"APETAGEX" + struct.pack("<II", 2000, 432) + bytes(16 + 432) + b"TAG" + bytes(125), None),
        (b"LYRICSBEGIN" + b"la" * 500 + b"001000LYRICS200", None),
        (b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128), None),
    ],
)
def test_bytes_behind_the_last_frame_are_said(tail: bytes, said: str | None) -> None:
    info = probe(WHOLE + tail)
    assert info.frames == 3 * RATE
    assert len(info.notes) == (said is not None)
    assert said is None or info.notes[0].startswith(said)
    np.testing.assert_allclose(decode(WHOLE + tail, rate=RATE), decode(WHOLE, rate=RATE), atol=1e-6)


def test_a_search_asks_nothing_of_bytes_that_begin_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    kind = mpeg._kind
    monkeypatch.setattr(mpeg, "_kind", lambda data, place: asked.append(place) or kind(data, place))
    walk(WHOLE + b"\xff" * 2_000_000)
    assert len(asked) < 2 * STRETCH.frames + 100


def test_a_tag_that_states_too_much_hides_no_frames() -> None:
    whole = decode(WHOLE, rate=RATE)
    for size in (b"\x00\x7f\x7f\x7f", b"\x7f\x7f\x7f\x7f"):
        found = decode(b"ID3\x04\x00\x00" + size + bytes(100) + WHOLE, rate=RATE)
        np.testing.assert_allclose(found, whole, atol=1e-6)
