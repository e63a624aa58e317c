"""The bytes that a container promises, on containers built here field by field."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from auricle.audio.container import missing_bytes


def missing(data: bytes) -> int:
    return missing_bytes(io.BytesIO(data))


def riff(*chunks: tuple[bytes, bytes], promised: int | None = None) -> bytes:
    body = b""
    for name, content in chunks:
        length = len(content) if promised is None or name != b"data" else promised
        body += name + struct.pack("<I", length) + content + b"\x00" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def ogg_page(payload: bytes) -> bytes:
    table = bytes([255] * (len(payload) // 255) + [len(payload) % 255])
    return b"OggS" + bytes(22) + bytes([len(table)]) + table + payload


@given(
    notes=st.lists(st.binary(max_size=9), max_size=4),
    samples=st.integers(0, 60).map(lambda n: 2 * n),
    kept=st.floats(0, 1),
)
def test_whatever_is_cut_from_the_data_of_a_wav_is_counted(notes: list[bytes], samples: int, kept: float) -> None:
    """Chunks of odd length have a byte of padding, and any number of them may come before the samples."""
    before = [(b"fmt ", bytes(16)), *((b"LIST", note) for note in notes)]
    whole = riff(*before, (b"data", b"\x01" * samples))
    assert missing(whole) == 0
    cut = round(samples * kept)
    assert missing(whole[: len(whole) - samples + cut]) == samples - cut


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_sizes_that_mean_unknown_promise_nothing(size: int) -> None:
    assert missing(riff((b"fmt ", bytes(16)), (b"data", bytes(100)), promised=size)) == 0


def test_a_large_size_that_the_header_of_a_pipe_never_has_is_a_promise() -> None:
    assert missing(riff((b"data", bytes(100)), promised=0x7FFFEFFE)) == 0x7FFFEFFE - 100


def test_aiff_counts_in_the_other_order_of_bytes() -> None:
    sound = io.BytesIO()
    soundfile.write(sound, np.ones((100, 2), np.float32) * 0.5, 8000, format="AIFF", subtype="PCM_16")
    data = sound.getvalue()
    assert missing(data) == 0
    assert missing(data[:-37]) == 37


@given(payload=st.binary(min_size=1, max_size=900), kept=st.floats(0, 1))
def test_a_cut_in_the_last_page_of_ogg_is_counted(payload: bytes, kept: float) -> None:
    payload = payload.replace(b"O", b"o")  # a page begins with OggS
    whole = ogg_page(b"first") + ogg_page(payload)
    assert missing(whole) == 0
    header = len(whole) - len(payload)
    cut = round(len(payload) * kept)
    assert missing(whole[: header + cut]) == len(payload) - cut


@pytest.mark.parametrize("left", [4, 20, 26, 27, 28])
def test_a_cut_in_the_header_of_the_last_page_is_seen(left: int) -> None:
    whole = ogg_page(bytes(20)) + ogg_page(bytes(600))
    assert missing(whole[: len(ogg_page(bytes(20))) + left]) > 0


@pytest.mark.parametrize("data", [b"", b"RIFF", b"fLaC" + bytes(50), b"RIFF" + bytes(4) + b"AVI " + bytes(50)])
def test_what_is_none_of_these_containers_promises_nothing(data: bytes) -> None:
    assert missing(data) == 0


def test_the_length_of_an_rf64_file_is_in_its_own_chunk() -> None:
    ds64 = b"ds64" + struct.pack("<I", 28) + struct.pack("<QQQI", 0, 1000, 500, 0)
    head = b"RF64" + b"\xff" * 4 + b"WAVE" + ds64 + b"data" + b"\xff" * 4
    assert missing(head + bytes(1000)) == 0
    assert missing(head + bytes(400)) == 600
