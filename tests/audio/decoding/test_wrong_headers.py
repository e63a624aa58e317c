"""Headers that are wrong: what is there is read, and what is missing or left over is said."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.audio.decode import decode, probe
from auricle.errors import AudioError

RATE = 16000
WAVE = (0.2 * np.random.default_rng(0).standard_normal(RATE)).clip(-0.9, 0.9)
PARTLY = "partly read: {:,} of {:,} frames that its header promises"


def sound(container: str, subtype: str = "PCM_16", wave: np.ndarray = WAVE, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=container, subtype=subtype)
    return file.getvalue()


def stated(data: bytes, place: int, value: int, layout: str) -> bytes:
    return data[:place] + struct.pack(layout, value) + data[place + struct.calcsize(layout) :]


def check(data: bytes, frames: int, *notes: str) -> None:
    info = probe(data)
    assert info.frames == frames
    assert len(info.notes) == len(notes), info.notes
    assert all(note in found for note, found in zip(notes, info.notes, strict=True)), info.notes
    found = decode(data)
    assert len(found) == frames
    whole = np.rint(WAVE[: min(frames, RATE)] * 32768) / 32768
    np.testing.assert_allclose(found[: len(whole)], whole, atol=1e-4)
    np.testing.assert_array_equal(decode(data, start=0.01, seconds=0.01), found[160:320])


WAV = sound("WAV")
FIELD = WAV.index(b"data") + 4


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, len(WAV), len(WAV) - 8, 32000])
def test_a_size_that_means_all_is_a_whole_file(size: int) -> None:
    check(stated(WAV, FIELD, size, "<I"), RATE)


@pytest.mark.parametrize(("size", "promised"), [(32002, 16001), (64000, 32000), (0x7FFFEFFE, 1073739775)])
def test_a_size_beyond_the_end_is_said(size: int, promised: int) -> None:
    check(stated(WAV, FIELD, size, "<I"), RATE, PARTLY.format(RATE, promised))


@pytest.mark.parametrize("size", [0, 44, 8000])
def test_samples_behind_a_size_that_was_never_written_are_read(size: int) -> None:
    said = f"states {size:,} bytes of samples and {32000 - size:,} more follow, which are no chunk"
    check(stated(WAV, FIELD, size, "<I"), RATE, said)


def test_a_file_that_was_begun_and_never_filled_holds_no_samples() -> None:
    with pytest.raises(AudioError, match="no samples"):
        probe(stated(WAV[: FIELD + 4], FIELD, 0, "<I"))


@pytest.mark.parametrize(
    ("tail", "notes"),
    [
        (b"LIST" + struct.pack("<I", 6) + b"INFOab", ()),
        (b"id3 " + struct.pack("<I", 3) + b"abc", ()),  # odd, without its padding
        (b"LIST" + struct.pack("<I", 4) + b"INFO" + b"bext" + struct.pack("<I", 9000) + bytes(500), ("9", "no chunk")),
        (bytes(7), ()),
        (b"\x01\x02" * 4000, ("8,000 bytes behind its samples are no chunk and were not read",)),
        (bytes(100_000), ("100,000 bytes behind its samples are no chunk and were not read",)),
    ],
)
def test_what_follows_the_samples(tail: bytes, notes: tuple[str, ...]) -> None:
    check(WAV + tail, RATE, *(notes if len(notes) < 2 else ["bytes behind its samples"]))


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "CAF", "AIFF", "AU", "NIST"])
@pytest.mark.parametrize("tail", [bytes(5), b"\x01\x02\x03" * 4, bytes(range(250)) * 9, bytes(4000)])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_bytes_behind_the_samples_are_no_sound(container: str, tail: bytes, subtype: str) -> None:
    data = sound(container, subtype, WAVE[:8001])
    info = probe(data + tail)
    assert info.frames == 8001
    assert len(info.notes) == (len(tail) > 100)
    assert all("bytes behind its samples are no chunk and were not read" in note for note in info.notes)
    np.testing.assert_array_equal(decode(data + tail), decode(data))


CUT = [*(("CAF", f"ALAC_{bits}") for bits in (16, 24)), ("CAF", "ULAW"), ("W64", "PCM_16"), ("AIFF", "PCM_24")]
CUT += [("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")]


@pytest.mark.parametrize(("container", "subtype"), [*CUT, ("MP3", "MPEG_LAYER_III")])
@pytest.mark.parametrize("kept", [1.0, 0.95, 0.9, 0.7, 0.5])
def test_a_cut_file_is_as_long_as_it_is_said_to_be(container: str, subtype: str, kept: float) -> None:
    whole = sound(container, subtype, np.tile(WAVE, 3))
    data = whole[: round(kept * len(whole))]
    info, found = probe(data), decode(data)
    assert info.frames == len(found)
    if subtype.startswith("ALAC"):
        # Packets of 4096 samples; the bytes of one say nothing of the samples of another.
        said = (PARTLY.format(info.frames, 3 * RATE),)
        assert info.notes == (said if kept < 1 else ())
        np.testing.assert_array_equal(found, decode(whole)[: len(found)])
        np.testing.assert_array_equal(decode(data, start=(len(found) - 50) / RATE), found[-50:])
        assert len(decode(whole + bytes(999))) == 3 * RATE


def test_chunks_behind_the_samples_of_a_w64_are_not_remarked() -> None:
    chunk = b"levl" + bytes(12) + struct.pack("<Q", 24 + 45) + bytes(range(45)) + bytes(3)
    for odd in (sound("W64", "PCM_24", WAVE[:8001]), sound("W64")):
        data = odd + bytes(-len(odd) % 8) + chunk + chunk
        assert probe(data).notes == ()
        np.testing.assert_array_equal(decode(data), decode(odd))


@pytest.mark.parametrize("padding", [b"", b"\x00"])
def test_odd_chunks_before_the_samples_with_and_without_padding(padding: bytes) -> None:
    odd = sound("WAV", "PCM_24", WAVE[:8001])
    check(odd + padding + b"LIST" + struct.pack("<I", 4) + b"INFO", 8001)


def caf(size: int, keep: int | None = None) -> bytes:
    data = sound("CAF")
    return stated(data, data.index(b"data") + 4, size, ">q")[:keep]


CASES: dict[str, tuple[Callable[[], bytes], int, tuple[str, ...]]] = {
    "caf of unknown size": (lambda: caf(-1), RATE, ()),
    "caf of no size": (lambda: caf(0), RATE, ("read to the end of the file",)),
    "caf of twice the size": (lambda: caf(64004), RATE, (PARTLY.format(RATE, 32000),)),
    "caf cut": (lambda: caf(32004, len(caf(0)) - 2000), 15000, (PARTLY.format(15000, RATE),)),
    "au of unknown size": (lambda: stated(sound("AU"), 8, 0xFFFFFFFF, ">I"), RATE, ()),
    "au of no size": (lambda: stated(sound("AU"), 8, 0, ">I"), RATE, ("read to the end of the file",)),
    "au cut": (lambda: sound("AU")[:-2000], 15000, (PARTLY.format(15000, RATE),)),
    "w64 cut": (lambda: sound("W64")[:-2000], 15000, (PARTLY.format(15000, RATE),)),
    "rf64 cut": (lambda: sound("RF64")[:-2000], 15000, (PARTLY.format(15000, RATE),)),
    "rf64 unfinished": (lambda: stated(sound("RF64"), 28, 0, "<Q"), RATE, ("read to the end of the file",)),
    "aiff cut": (lambda: sound("AIFF")[:-2000], 15000, (PARTLY.format(15000, RATE),)),
    "sphere cut": (lambda: sound("NIST")[:-2000], 15000, (PARTLY.format(15000, RATE),)),
    "wav cut": (lambda: WAV[:-2000], 15000, (PARTLY.format(15000, RATE),)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_container(case: str) -> None:
    made, frames, notes = CASES[case]
    check(made(), frames, *notes)


@pytest.mark.parametrize("container", ["WAV", "CAF", "AU", "W64", "RF64", "AIFF", "NIST"])
def test_a_right_header_is_not_remarked(container: str) -> None:
    check(sound(container), RATE)


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM"])
def test_codecs_that_cannot_seek_are_read_from_the_beginning(subtype: str) -> None:
    data = sound("WAV", subtype, WAVE[:8000], 8000)
    whole = decode(data, rate=8000)
    np.testing.assert_array_equal(whole, soundfile.read(io.BytesIO(data), dtype="float32")[0])
    np.testing.assert_array_equal(decode(data, start=0.5, seconds=0.25, rate=8000), whole[4000:6000])


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_both_links_of_a_chain_are_read(container: str, subtype: str) -> None:
    first, second = sound(container, subtype), sound(container, subtype, 0.5 * WAVE[:8000])
    info = probe(first + second)
    assert (info.frames, info.notes) == (24000, ("2 Ogg streams follow each other in it",))
    np.testing.assert_array_equal(decode(first + second), np.concatenate([decode(first), decode(second)]))
    np.testing.assert_allclose(
        decode(first + second, start=0.9, seconds=0.2), decode(first + second)[14400:17600], atol=1e-5
    )


def test_a_link_of_another_rate_is_said() -> None:
    info = probe(sound("OGG", "VORBIS") + sound("OGG", "VORBIS", rate=8000))
    assert info.frames == RATE
    assert info.notes[1].startswith("only the first 1 of its 2 streams are read: the others have another rate")


def test_flac_files_that_were_joined_are_said_by_a_thorough_look() -> None:
    joined = sound("FLAC") + sound("FLAC")
    assert probe(joined).notes == ()
    assert probe(joined, thorough=True).notes == ("1 FLAC stream after the first one not read: divide the file",)


def test_bytes_behind_the_last_frame_of_a_flac_are_said() -> None:
    for wave in (WAVE, 0.01 * WAVE, np.stack([WAVE, 0.1 * WAVE], 1)):
        data = sound("FLAC", wave=wave)
        tag = b"TAG" + bytes(125)
        for cut in (data, data[:-1], data[: len(data) * 3 // 4], data + tag, sound("FLAC", wave=0 * WAVE[:5000])):
            assert not any("behind its last frame" in note for note in probe(cut).notes)
        for tail in (bytes(90_000), np.random.default_rng(0).bytes(90_000)):
            (note,) = probe(data + tail + tag).notes
            assert re.match(r"at least [\d,]+ bytes behind its last frame are no audio and were not read", note)
            assert len(decode(data + tail + tag)) == len(wave)


# Headers that nobody records with


@pytest.mark.parametrize("rate", [1, 99, 1_000_001, 2_147_483_647])
def test_a_rate_that_nobody_records_at(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(stated(WAV, 24, rate, "<I"))
    for read in (probe, decode):
        with pytest.raises(AudioError, match=rf"a\.wav': its header states a rate of {rate:,} Hz; expected 100 Hz"):
            read(path)


@pytest.mark.parametrize("rate", [100, 384_000, 1_000_000])
def test_a_rate_of_infrasound_or_ultrasound(rate: int) -> None:
    assert probe(stated(WAV, 24, rate, "<I")).rate == rate


def test_absurd_channels() -> None:
    data = stated(stated(sound("WAV", wave=np.zeros((10000, 2))), 22, 1000, "<H"), 32, 2000, "<H")
    with pytest.raises(AudioError, match="its header states 1000 channels; expected 1 to 256"):
        decode(data)


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", Path("/dev/zero")):
        with pytest.raises(AudioError, match="a pipe, socket or device; expected an audio file"):
            probe(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer.*git lfs pull"),
        (b"../.git/annex/objects/xx/yy/gone.wav", "a git-annex pointer.*git annex get"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a page of HTML or XML"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><Error/>", "a page of HTML or XML"),
        (b'{"message": "rate limit"}', "JSON text"),
        (b"PK\x03\x04" + bytes(60), "a zip archive; unpack it first"),
        (bytes(5000), "zeros from its first byte on"),
        (b"\xff\xfb" + np.random.default_rng(1).bytes(9000), "no MPEG frames"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x05abcde" + b"x" * 500, "no MPEG frames"),
        (np.random.default_rng(3).bytes(9000), "its first bytes are those of no known format"),
    ],
)
def test_what_is_no_audio_is_named(
    tmp_path: Path, content: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=said):
        probe(tmp_path / "a.wav")
    assert capfd.readouterr() == ("", "")


def test_a_git_annex_link_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(".git/annex/objects/gone.wav")
    with pytest.raises(AudioError, match="a git-annex link whose content is not here; get it with: git annex get"):
        decode(tmp_path / "a.wav")


def test_whatever_a_decoder_raises_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(WAV)
    for error in (EOFError("end"), struct.error("short"), RuntimeError("broken"), ZeroDivisionError()):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(soundfile.SoundFile, "read", fail)
        with pytest.raises(AudioError, match=rf"a\.wav': can't be decoded \({type(error).__name__}"):
            decode(tmp_path / "a.wav")


# Samples that are not what they seem


def test_channels_that_cancel_are_refused_with_the_way_out() -> None:
    stereo = np.stack([WAVE, -WAVE], 1)
    data = sound("WAV", wave=stereo)
    with pytest.raises(AudioError, match=r"its 2 channels cancel each other.*--channel 0 \(or --channel loudest\)"):
        decode(data)
    np.testing.assert_allclose(decode(data, channel=0), WAVE, atol=1e-4)
    np.testing.assert_allclose(decode(data, channel="1"), -WAVE, atol=1e-4)
    # Independent channels, one silent channel, and silence in both are as they were.
    other = np.random.default_rng(1).permutation(WAVE)
    for second in (other, np.zeros(RATE)):
        assert decode(sound("WAV", wave=np.stack([WAVE, second], 1))).any()
    assert not decode(sound("WAV", wave=np.zeros((RATE, 2)))).any()
    with pytest.raises(AudioError, match="no channel 2: it has 2, numbered from 0"):
        decode(data, channel=2)


def test_the_loudest_channel_is_that_of_the_whole_recording(tmp_path: Path) -> None:
    quiet_start = np.where(np.arange(RATE) < 8000, 0.1, 1.0) * WAVE
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([0.5 * WAVE, quiet_start], 1), RATE)
    for source in (path, path.read_bytes()):
        np.testing.assert_allclose(decode(source, seconds=0.25, channel="loudest"), quiet_start[:4000], atol=1e-4)


def test_integers_that_are_stored_as_floats_are_refused() -> None:
    integers = np.rint(3000 * WAVE)
    with pytest.raises(AudioError, match=r"its samples are integers \(up to \d+\) stored as floats, expected full"):
        decode(sound("WAV", "FLOAT", integers))
    assert np.abs(decode(sound("WAV", "FLOAT", 5 * WAVE))).max() > 1
    assert not decode(sound("WAV", "FLOAT", 0 * WAVE)).any()
