"""What decoding takes of the machine: handles, space for temporary files, and the terminal."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.audio import sndfile
from auricle.audio.complaints import COMPLAINTS
from auricle.audio.decode import decode, probe
from auricle.errors import AudioError, StorageError

RATE = 16000
WAVE = 0.1 * np.random.default_rng(0).standard_normal(RATE // 4)


def held(container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVE, RATE, format=container, subtype=subtype)
    return file.getvalue()


def test_too_many_streams_are_refused_before_they_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    link = held("OGG", "VORBIS")
    assert probe(link * 256).frames == 256 * len(WAVE)
    monkeypatch.setattr(sndfile, "_File", None)
    with pytest.raises(AudioError, match="300 streams follow each other in it, expected at most 256; divide it into"):
        probe(link * 300)


@pytest.mark.parametrize(("container", "subtype"), [("AIFF", "PCM_16"), ("WAV", "PCM_16"), ("FLAC", "PCM_16")])
def test_damaged_bytes_print_nothing(container: str, subtype: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = held(container, subtype)
    for place in range(4, 60):
        for value in (0xFF, 0x80):
            damaged = bytearray(data)
            damaged[place] = value
            try:
                decode(bytes(damaged))
            except AudioError:
                continue
    assert capfd.readouterr() == ("", "")


def test_without_space_for_what_is_printed_recordings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = held("MP3", "MPEG_LAYER_III")
    whole = decode(data)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryFile", full)
        np.testing.assert_array_equal(decode(data), whole)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with COMPLAINTS.caught(), COMPLAINTS.caught():
            assert COMPLAINTS._kept is not None
    assert COMPLAINTS._kept is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSPC])
def test_what_the_machine_lacks_is_no_fault_of_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(held("WAV", "PCM_16"))

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(io, "FileIO", fail)
    for read in (probe, decode):
        with pytest.raises(StorageError, match=rf"a\.wav': can't be read now \({os.strerror(code)}\); expected disk"):
            read(path)


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(held("WAV", "PCM_16"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(AudioError, match=r"can't be read \(Input/output error\); check the disk that holds it"):
        decode(path)
