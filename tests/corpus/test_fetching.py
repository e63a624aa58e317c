"""Downloads of a file: cut off, wrong, changed, refused, and a disk that is full."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
from download_server import BODY, MD5, QUICK, Server, gets

from auricle.corpus.published import fetching
from auricle.corpus.published.archive import Archive
from auricle.corpus.published.fetching import fetch
from auricle.errors import DownloadError, StorageError


def test_a_file_arrives_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    reported: list[tuple[int, int | None]] = []
    path = fetch(
        Archive(server.url("a.bin"), MD5), tmp_path / "x" / "a.bin", progress=lambda *now: reported.append(now)
    )
    assert path.read_bytes() == BODY
    assert reported[0] == (0, len(BODY))
    assert reported[-1] == (len(BODY), len(BODY))
    fetch(Archive(server.url("a.bin"), MD5), path)
    assert gets(server) == [("a.bin", None)]
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_broken_connection_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    server.cut["a.bin"] = [100_000, 50_000]
    path = fetch(Archive(server.url("a.bin"), MD5), tmp_path / "a.bin", patience=QUICK)
    assert path.read_bytes() == BODY
    assert gets(server) == [("a.bin", None), ("a.bin", "bytes=100000-"), ("a.bin", "bytes=150000-")]


def test_a_cut_download_says_so_and_keeps_what_it_has(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    server.cut["a.bin"] = [100_000, 0, 0, 0]
    path = tmp_path / "a.bin"
    with pytest.raises(
        DownloadError,
        match=r"broke off 2 times in a row with 100000 bytes of 300000 bytes here.*a\.bin\.part; the same",
    ):
        fetch(Archive(server.url("a.bin"), MD5), path, patience=QUICK)
    assert not path.exists()
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:100_000]
    server.cut.clear()
    server.asked.clear()
    assert fetch(Archive(server.url("a.bin"), MD5), path, patience=QUICK).read_bytes() == BODY
    assert gets(server) == [("a.bin", "bytes=100000-")]
    assert not (tmp_path / "a.bin.part").exists()


def test_a_complete_part_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert fetch(Archive(server.url("a.bin"), MD5), tmp_path / "a.bin", patience=QUICK).read_bytes() == BODY


def test_a_part_of_another_version_is_not_joined(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    server.cut["a.bin"] = [100_000, 0, 0]
    archive = Archive(server.url("a.bin"))
    with pytest.raises(DownloadError):
        fetch(archive, tmp_path / "a.bin", patience=QUICK)
    server.files["a.bin"], server.version = BODY[::-1], "2"
    server.cut.clear()
    assert fetch(archive, tmp_path / "a.bin", patience=QUICK).read_bytes() == BODY[::-1]
    # A part that is longer than the file: 416, and from the begin.
    (tmp_path / "b.bin.part").write_bytes(b"x" * 500_000)
    server.files["b.bin"] = BODY
    assert fetch(Archive(server.url("b.bin"), MD5), tmp_path / "b.bin", patience=QUICK).read_bytes() == BODY


def test_a_server_without_ranges_or_sizes(server: Server, tmp_path: Path) -> None:
    server.files["a.zip"] = BODY
    server.ranges = False
    server.cut["a.zip"] = [1000]
    assert fetch(Archive(server.url("a.zip"), MD5), tmp_path / "a.zip", patience=QUICK).read_bytes() == BODY
    server.tells_size = False
    assert fetch(Archive(server.url("a.zip"), MD5, name="b.zip"), tmp_path / "b.zip").read_bytes() == BODY
    server.cut["a.zip"] = [1000]
    with pytest.raises(DownloadError, match="sum is"):  # a cut that the server's silence on the size would hide
        fetch(Archive(server.url("a.zip"), MD5), tmp_path / "c.zip", patience=QUICK)


def test_a_wrong_sum_names_both_and_keeps_the_file(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY[:-1] + b"!"
    found = hashlib.md5(server.files["a.bin"], usedforsecurity=False).hexdigest()
    path = tmp_path / "a.bin"
    with pytest.raises(DownloadError, match=f"md5 sum is {found}, expected {MD5[4:]}.*a.bin.wrong"):
        fetch(Archive(server.url("a.bin"), MD5), path, patience=QUICK)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin.wrong"]
    server.files["a.bin"] = BODY
    fetch(Archive(server.url("a.bin"), MD5), path, patience=QUICK)
    path.write_bytes(b"spoilt later")
    with pytest.raises(DownloadError, match="the file is kept as"):
        fetch(Archive(server.url("a.bin"), MD5), path, patience=QUICK)
    for kind in ("sha1", "sha256"):
        digits = hashlib.new(kind, BODY, usedforsecurity=False).hexdigest()
        fetch(Archive(server.url("a.bin"), f"{kind}:{digits}"), tmp_path / kind, patience=QUICK)


def test_a_wrong_size(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    with pytest.raises(DownloadError, match="300000 bytes arrived, expected 400000"):
        fetch(Archive(server.url("a.bin"), bytes=400_000), tmp_path / "a.bin", patience=QUICK)
    assert (tmp_path / "a.bin.wrong").is_file()


def test_what_a_server_answers(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="answers 404"):
        fetch(Archive(server.url("none.bin")), tmp_path / "a.bin", patience=QUICK)
    server.files["a.bin"] = BODY
    server.fails["a.bin"] = [503]
    assert fetch(Archive(server.url("a.bin"), MD5), tmp_path / "a.bin", patience=QUICK).read_bytes() == BODY
    server.fails["a.bin"] = [503, 500]
    with pytest.raises(DownloadError, match=r"broke off 2 times in a row with 0 bytes.*answers 500"):
        fetch(Archive(server.url("a.bin"), MD5), tmp_path / "b.bin", patience=QUICK)
    address = server.url("a.bin")
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="broke off 2 times"):
        fetch(Archive(address), tmp_path / "c.bin", patience=QUICK)


def test_a_full_disk_loses_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["a.bin"] = BODY
    whole = fetching._copy

    def full(answer, f, have, size, progress):
        f.write(answer.read(70_000))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "_copy", full)
    with pytest.raises(StorageError, match=r"the disk is full; free some space.*a\.bin\.part and continued"):
        fetch(Archive(server.url("a.bin"), MD5), tmp_path / "a.bin", patience=QUICK)
    assert (tmp_path / "a.bin.part").stat().st_size == 70_000
    monkeypatch.setattr(fetching, "_copy", whole)
    server.asked.clear()
    assert fetch(Archive(server.url("a.bin"), MD5), tmp_path / "a.bin", patience=QUICK).read_bytes() == BODY
    assert gets(server) == [("a.bin", "bytes=70000-")]
