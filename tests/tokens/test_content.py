"""Identities of recordings by their bytes: what changes them, what does not, and what is read for them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from auricle.corpus import content
from auricle.corpus.content import BLOCK, BLOCKS, WHOLE, clip_keys, content_ids, kept_facts
from auricle.corpus.readers.shards import ArrowStore
from auricle.corpus.sources import open_corpus
from auricle.corpus.stores import TarStore
from auricle.corpus.table import Corpus


@pytest.fixture(autouse=True)
def _own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def corpus_of(root: Path, **columns: list) -> Corpus:
    files = sorted(path.name for path in root.iterdir())
    return Corpus.from_columns({"file": files, "seconds": [1.0] * len(files), **columns}, root=root)


def write(root: Path, sizes: list[int], seed: int = 0) -> Path:
    root.mkdir(exist_ok=True)
    draw = np.random.default_rng(seed)
    for number, size in enumerate(sizes):
        (root / f"{number}.wav").write_bytes(draw.bytes(size))
    return root


def age(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files be older than the shortest time after which they are trusted."""
    monkeypatch.setattr(content, "_RECENT_NS", -(10**12))


def test_any_byte_of_a_small_file_counts_and_names_and_times_do_not(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [0, 1, 3000, WHOLE])
    first = content_ids(corpus_of(root))
    assert len(set(first)) == 4
    shutil.copytree(root, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "2.wav", (1, 1))
    (tmp_path / "copy" / "3.wav").rename(tmp_path / "copy" / "renamed.wav")
    assert content_ids(corpus_of(tmp_path / "copy")) == first
    for place in (0, 1500, 2999):
        data = bytearray((root / "2.wav").read_bytes())
        data[place] ^= 1
        (tmp_path / "copy" / "2.wav").write_bytes(data)
        assert content_ids(corpus_of(tmp_path / "copy"))[2] not in first


def test_of_a_large_file_blocks_count(tmp_path: Path) -> None:
    """A slow list of the bytes that count: length, and 32 blocks from the first to the last byte."""
    root = write(tmp_path / "data", [3 * WHOLE + 7])
    data = (root / "0.wav").read_bytes()
    starts = [round(i * (len(data) - BLOCK) / (BLOCKS - 1)) for i in range(BLOCKS)]
    first = content_ids(corpus_of(root))
    between = starts[3] + BLOCK + 10
    for place, counts in ((0, True), (len(data) - 1, True), (starts[17] + 5, True), (between, False)):
        changed = bytearray(data)
        changed[place] ^= 1
        (root / "0.wav").write_bytes(changed)
        assert (content_ids(corpus_of(root)) != first) == counts
    (root / "0.wav").write_bytes(data + b"\0")
    assert content_ids(corpus_of(root)) != first


def test_a_member_of_a_shard_is_the_recording_that_it_holds(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [500, WHOLE + 100])
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name)
    with tarfile.open(tmp_path / "shard.tar") as tar:
        places = {member.name: (member.offset_data, member.size) for member in tar.getmembers()}
    offsets, sizes = zip(*places.values(), strict=True)
    columns = {"file": list(places), "seconds": [1.0, 1.0], "_offset": list(offsets), "_size": list(sizes)}
    shard = Corpus.from_columns(columns, root=tmp_path, store=TarStore(tmp_path / "shard.tar"))
    assert content_ids(shard) == content_ids(corpus_of(root))


def test_a_second_look_reads_no_file_that_is_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "data", [100, 200])
    read: list[int] = []
    real = content.hash_content
    monkeypatch.setattr(content, "hash_content", lambda *args: read.append(args[2]) or real(*args))
    # Just written: it may change again within one tick of the clock, and is read each time.
    assert content_ids(corpus_of(root)) == content_ids(corpus_of(root))
    assert sorted(read) == [100, 100, 200, 200]
    age(root, monkeypatch)
    first = content_ids(corpus_of(root))
    read.clear()
    assert content_ids(corpus_of(root)) == first
    assert read == []
    before = (root / "1.wav").stat()
    time.sleep(0.02)
    write(root, [100, 200], seed=1)
    os.utime(root / "1.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not set(content_ids(corpus_of(root))) & set(first)
    assert sorted(read) == [100, 200]


@pytest.mark.parametrize("damage", ["garbage", "folder", "locked"])
def test_without_an_index_every_look_reads(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "data", [100, 200])
    age(root, monkeypatch)
    first = content_ids(corpus_of(root))
    index = tmp_path / "home" / "auricle" / "content.sqlite"
    if damage == "garbage":
        index.write_bytes(b"no database" * 1000)
    elif damage == "folder":
        shutil.rmtree(index.parent)
        index.parent.write_text("")
    else:
        monkeypatch.setattr(
            content.sqlite3, "connect", lambda *_, **__: (_ for _ in ()).throw(sqlite3.OperationalError)
        )
    assert content_ids(corpus_of(root)) == first


def test_clips_of_one_recording_differ_by_their_range(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [100])
    whole = corpus_of(root)
    parts = Corpus.from_columns(
        {"file": ["0.wav"] * 3, "start": [0.0, 0.5, 0.0], "seconds": [0.5, 0.5, 1.0]}, root=root
    )
    assert len({*clip_keys(whole), *clip_keys(parts)}) == 4
    # The length of a whole recording is for information only.
    assert clip_keys(whole.with_column("seconds", [1.004])) == clip_keys(whole)


def test_what_is_no_file_has_no_identity(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [100])
    os.mkfifo(root / "pipe.wav")
    (root / "folder.wav").mkdir()
    found = dict(zip(corpus_of(root).column("file"), content_ids(corpus_of(root)), strict=True))
    assert found["pipe.wav"] == found["folder.wav"] == b""
    assert len(found["0.wav"]) == 16


@pytest.mark.real
def test_real_recordings_have_different_contents(shared_audio: Path) -> None:
    corpus = open_corpus(shared_audio / "esc10")
    assert len(set(content_ids(corpus))) == len(corpus)


@pytest.mark.parametrize("error", [IndexError("row 1 of 1"), pa.ArrowInvalid("not a buffer")])
def test_rows_of_a_damaged_data_set_have_no_identity(error: Exception) -> None:
    class Damaged:
        def __getitem__(self, row: int) -> dict[str, bytes]:
            if row:
                raise error
            return {"audio": b"bytes"}

    store = ArrowStore(Damaged(), "audio", {})
    columns = {"file": ["0", "1"], "seconds": [1.0, 1.0], "_offset": [0, 1]}
    found = content_ids(Corpus.from_columns(columns, root="nowhere", store=store))
    assert len(found[0]) == 16
    assert found[1] == b""


def test_facts_made_before_a_kill_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_CHUNK", 2)
    keys = [bytes([i]) * 16 for i in range(5)]
    made: list[bytes] = []

    def make(new: list[bytes]) -> list[bytes]:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.extend(new)
        return [key[:1] for key in new]

    with pytest.raises(KeyboardInterrupt):
        kept_facts("test", keys, make)
    made.clear()
    assert kept_facts("test", keys, make) == {key: key[:1] for key in keys}
    assert made == keys[4:]
