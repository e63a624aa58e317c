"""Creative Voice files: their blocks are samples, and nothing else is."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.audio.decode import decode, probe
from auricle.errors import AudioError

WAVE = np.random.default_rng(0).integers(1, 256, 1000).astype(np.uint8)
EIGHT = (WAVE.astype(np.float32) - 128) / 128
HEAD = b"Creative Voice File\x1a" + struct.pack("<HHH", 26, 0x10A, (~0x10A + 0x1234) & 0xFFFF)
SLOW = 256 - 1_000_000 // 10_000  # of a rate of 10 kHz


def block(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(3, "little") + content


def new(wave: bytes, bits: int = 8, codec: int = 0, rate: int = 10_000) -> bytes:
    return block(9, struct.pack("<IBBHI", rate, bits, 1, codec, 0) + wave)


FIRST, SECOND = WAVE.tobytes()[:400], WAVE.tobytes()[400:]
FILES = {
    "one": block(1, bytes([SLOW, 0]) + FIRST + SECOND),
    "continued": block(1, bytes([SLOW, 0]) + FIRST) + block(2, SECOND),
    "two": block(1, bytes([SLOW, 0]) + FIRST) + block(1, bytes([SLOW, 0]) + SECOND),
    "marker and text": block(4, b"\1\0") + block(1, bytes([SLOW, 0]) + FIRST + SECOND) + block(5, b"end\0"),
    "newer": new(FIRST) + new(SECOND),
    "both kinds": block(1, bytes([SLOW, 0]) + FIRST) + new(SECOND),
}


@pytest.mark.parametrize("end", [b"", b"\0", b"\0" + bytes(range(256)) * 4], ids=["open", "ended", "more"])
@pytest.mark.parametrize("name", FILES)
def test_blocks_are_read_and_nothing_behind_them(name: str, end: bytes) -> None:
    data = HEAD + FILES[name] + end
    info = probe(data)
    assert (info.frames, info.rate, info.channels, info.format) == (1000, 10_000, 1, "VOC")
    assert np.array_equal(decode(data, rate=10_000), EIGHT)
    assert np.array_equal(decode(data, rate=10_000, start=0.03, seconds=0.05), EIGHT[300:800])
    said = [(note, note.cause) for note in info.notes]
    behind = ("1,024 bytes behind its last block are no audio and were not read", "stray bytes")
    assert said == ([behind] if len(end) > 1 else [])


def test_silence_is_written_out_in_its_own_rate() -> None:
    data = HEAD + block(1, bytes([SLOW, 0]) + FIRST) + block(3, struct.pack("<HB", 499, 56)) + new(SECOND) + b"\0"
    silent = np.zeros(500 * 2)  # 500 samples at 5 kHz
    assert np.array_equal(decode(data, rate=10_000), np.concatenate([EIGHT[:400], silent, EIGHT[400:]]))
    # A few bytes do not become gigabytes.
    info = probe(HEAD + new(FIRST, rate=1_000_000) + block(3, b"\xff\xff\0") * 1000)
    assert info.frames < 1 << 27
    assert info.notes[0].cause == "read in part"


def test_a_file_that_ends_early_and_one_that_changes_its_rate() -> None:
    cut = probe(HEAD + FILES["one"][:-500])
    assert (cut.frames, cut.notes[0].cause) == (500, "read in part")
    other = probe(HEAD + new(FIRST) + new(SECOND, rate=8000))
    assert (other.frames, other.notes[0].cause) == (400, "read in part")
    # A sample of two bytes that its block cuts off does not shift those after it.
    odd = HEAD + new(bytes((0, 16, 0, 32, 9)), 16, 4) + new(bytes((0, 64)), 16, 4) + b"\0"
    assert np.array_equal(decode(odd, rate=10_000) * 32768, [4096, 8192, 16384])


def extended(pack: int) -> bytes:
    return block(8, struct.pack("<HBB", 65536 - 25600, pack, 0))


@pytest.mark.parametrize(
    "blocks",
    [
        *(block(1, bytes([SLOW, codec]) + FIRST) for codec in (1, 2, 3)),
        extended(1) + block(1, bytes([SLOW, 0]) + FIRST),
        new(FIRST, 4, 1),
        new(FIRST, 4, 0x200),
    ],
)
def test_compressed_blocks_are_no_samples(blocks: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.voc"
    path.write_bytes(HEAD + blocks + b"\0")
    with pytest.raises(
        AudioError, match=r"a.voc': codec \d+, which is compressed .Creative ADPCM. or not known"
    ) as got:
        probe(path)
    assert got.value.reason.cause == "compressed"
    info = probe(HEAD + new(SECOND) + blocks + new(SECOND))
    assert (info.frames, [note.cause for note in info.notes]) == (600, ["read in part"])


def test_silence_that_comes_first_shifts_what_follows() -> None:
    silence = block(3, struct.pack("<HB", 499, 56)) + block(3, struct.pack("<HB", 99, SLOW))
    wave = decode(HEAD + silence + new(FIRST) + block(2, SECOND) + b"\0", rate=10_000)
    assert np.array_equal(wave, np.concatenate([np.zeros(1000 + 100), EIGHT]))


@pytest.mark.parametrize(
    "last",
    [block(1, bytes([SLOW, 0]) + SECOND), block(3, bytes(3)), extended(0), new(SECOND)],
    ids=["sound", "silence", "extended", "newer"],
)
def test_a_file_that_ends_inside_the_facts_of_a_block_is_read_up_to_there(last: bytes) -> None:
    for length in range(4, {1: 6, 3: 7, 8: 8, 9: 16}[last[0]]):
        info = probe(HEAD + new(FIRST) + last[:length])
        assert (info.frames, [note.cause for note in info.notes]) == (400, ["read in part"]), length
        with pytest.raises(AudioError, match=r"expected wav|no samples"):
            probe(HEAD + last[:length])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "ALAW", "ULAW"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_libsndfile_writes_is_read_as_it_reads_it(subtype: str, channels: int) -> None:
    file = io.BytesIO()
    wave = np.random.default_rng(1).normal(0, 0.1, (800, channels))
    soundfile.write(file, wave, 11025, format="VOC", subtype=subtype)
    expected, rate = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
    info = probe(file.getvalue())
    assert (info.rate, info.channels, info.notes) == (rate, channels, ())
    assert np.allclose(decode(file.getvalue(), rate=rate, channel=channels - 1), expected[:, -1], atol=1e-7)
