"""Downloads against a server on this machine: broken off, wrong, changed, refused, and a disk that is full."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from auricle.corpus.published import download as downloads
from auricle.corpus.published import fetching, unpacking
from auricle.corpus.published.archive import Archive, DataSet
from auricle.corpus.published.data_sets import DATA_SETS
from auricle.corpus.published.download import download, get_data_set, in_units, render_data_sets
from auricle.corpus.published.fetching import Patience, fetch
from auricle.corpus.published.layouts.registry import LAYOUTS
from auricle.corpus.published.unpacking import unpack
from auricle.errors import ConfigError, DownloadError, StorageError

QUICK = Patience(tries=2, wait=0.0, timeout=5.0)
BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
MD5 = "md5:" + hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; `cut` answers of a file end after so many bytes each; requests are written down."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, list[int]] = {}
        self.fails: dict[str, list[int]] = {}
        self.ranges = True
        self.tells_size = True
        self.version = "1"
        self.asked: list[tuple[str, str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        name = self.path.lstrip("/").partition("?")[0]
        asked = self.headers.get("Range")
        self.server.asked.append((self.command, name, asked))
        if body and self.server.fails.get(name):
            self.send_error(self.server.fails[name].pop(0))
            return
        if name not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[name]
        tag = f'"{self.server.version}"'
        start = 0
        if asked and self.server.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if self.server.tells_size:
            self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", tag)
        self.end_headers()
        if body:
            rest = data[start:]
            cuts = self.server.cut.get(name)
            self.wfile.write(rest[: cuts.pop(0)] if cuts else rest)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def gets(server: Server) -> list[tuple[str, str | None]]:
    return [(name, asked) for command, name, asked in server.asked if command == "GET"]


def test_a_file_arrives_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    told: list[tuple[int, int | None]] = []
    path = fetch(Archive(server.url("a.bin"), MD5), tmp_path / "x" / "a.bin", tell=lambda *now: told.append(now))
    assert path.read_bytes() == BODY
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
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


def test_a_wrong_sum_names_both_and_sets_the_file_aside(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY[:-1] + b"!"
    found = hashlib.md5(server.files["a.bin"], usedforsecurity=False).hexdigest()
    path = tmp_path / "a.bin"
    with pytest.raises(DownloadError, match=f"md5 sum is {found}, expected {MD5[4:]}.*a.bin.wrong"):
        fetch(Archive(server.url("a.bin"), MD5), path, patience=QUICK)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin.wrong"]
    server.files["a.bin"] = BODY
    fetch(Archive(server.url("a.bin"), MD5), path, patience=QUICK)
    path.write_bytes(b"spoilt later")
    with pytest.raises(DownloadError, match="set aside"):
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

    def full(answer, f, have, size, tell):
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


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in members.items():
            packed.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def tarred(members: dict[str, str], link: tuple[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content.encode()))
        if link:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            packed.addfile(info)
    return buffer.getvalue()


@pytest.fixture
def data(server: Server) -> DataSet:
    server.files |= {
        "sound.zip": zipped(top__a="A", top__b="B"),
        "meta.tar.gz": tarred({"top/meta.csv": "x"}),
        "list.txt": b"1",
    }

    def archive(name: str, folder: str = "") -> Archive:
        digits = hashlib.sha256(server.files[name]).hexdigest()
        return Archive(server.url(name), f"sha256:{digits}", folder=folder)

    return DataSet(
        name="toy",
        title="Toy Sounds",
        licence="CC BY 4.0",
        citation="A. Nobody, 2026",
        home="http://localhost/",
        size="2 clips",
        archives=(archive("sound.zip"), archive("meta.tar.gz"), Archive(server.url("list.txt"), folder="top")),
    )


def screen() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    return console.file.getvalue()


def test_a_data_set_says_what_it_is_asks_and_unpacks(data: DataSet, server: Server, tmp_path: Path) -> None:
    console = screen()
    asked: list[str] = []
    folder = tmp_path / "toy"
    with pytest.raises(DownloadError, match="Toy Sounds was not downloaded"):
        download(data, folder, ask=lambda q: asked.append(q) is not None, console=console)
    assert asked == [f"Download Toy Sounds to {folder}?"]
    assert not folder.exists()
    assert not gets(server)
    total = sum(map(len, server.files.values()))
    for words in ("Toy Sounds", "2 clips", "licence: CC BY 4.0", "cite: A. Nobody, 2026", "sound.zip", "sha256"):
        assert words in said(console)
    assert "unknown: only the size can be checked" in said(console)
    assert f"to download: {in_units(total)}" in said(console)
    assert download(data, folder, yes=True, console=console) == folder
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        *(".auricle-download.json", "sound.zip", "meta.tar.gz", "top/list.txt", "top/a", "top/b", "top/meta.csv"),
    }
    server.asked.clear()
    (folder / "sound.zip").unlink()  # to save space: it was unpacked, so it is not missed
    download(data, folder, console=console, ask=lambda q: pytest.fail("nothing is left to ask for"))
    assert not gets(server)


def test_a_data_set_goes_on_after_a_failure(data: DataSet, server: Server, tmp_path: Path) -> None:
    server.fails["meta.tar.gz"] = [404]
    with pytest.raises(DownloadError, match="404"):
        download(data, tmp_path, yes=True, console=screen(), patience=QUICK)
    assert (tmp_path / "top/a").read_text() == "A"
    server.asked.clear()
    console = screen()
    download(data, tmp_path, yes=True, console=console, patience=QUICK)
    assert [name for name, _ in gets(server)] == ["meta.tar.gz", "list.txt"]
    assert "complete" in said(console)


def test_a_server_that_can_not_be_reached_is_told_before(data: DataSet, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: every connection is refused
        port = taken.getsockname()[1]
        gone = replace(data, archives=tuple(replace(a, url=f"http://127.0.0.1:{port}/x") for a in data.archives))
        with pytest.raises(DownloadError, match=r"the server can't be reached \(.*refused\)"):
            download(gone, tmp_path / "new", ask=lambda question: pytest.fail("it was offered"), console=screen())
    assert not (tmp_path / "new").exists()


def test_a_disk_that_would_be_full_is_told_before(
    data: DataSet, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(StorageError, match=r"are to be downloaded, but .* has 10 B free"):
        download(data, tmp_path / "new" / "toy", yes=True, console=screen())
    assert not gets(server)


def test_archives_are_unpacked_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    good = tmp_path / "good.zip"
    good.write_bytes(zipped(d__a="A", d__b="B"))
    target = tmp_path / "out"

    def full(packed: zipfile.ZipFile, path: Path) -> None:
        (Path(path) / "d").mkdir()
        (Path(path) / "d" / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", full)
        with pytest.raises(StorageError, match="the disk is full"):
            unpack(good, target)
    assert list(target.iterdir()) == []
    (target / "d").mkdir()
    (target / "d" / "mine").write_text("kept")
    unpack(good, target)
    assert {p.name: p.read_text() for p in (target / "d").iterdir()} == {"a": "A", "b": "B", "mine": "kept"}
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(good.read_bytes()[:-30])
    with pytest.raises(DownloadError, match="can't be unpacked"):
        unpack(damaged, target)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(tarred({"x": "y" * 9999})[:60])
    with pytest.raises(DownloadError, match="can't be unpacked"):
        unpack(cut, target)
    with pytest.raises(DownloadError, match="is no archive"):
        unpack(tmp_path / "x.7z", target)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evil.zip", zipped(**{"..__..__escaped": "x"})),
        ("evil.tar.gz", tarred({"../escaped": "x"})),
        ("link.tar.gz", tarred({}, link=("inside", "../../escaped"))),
    ],
)
def test_an_archive_never_writes_outside_of_its_folder(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DownloadError):
        unpack(tmp_path / name, tmp_path / "deep" / "er")
    assert not list(tmp_path.rglob("escaped"))
    assert not list((tmp_path / "deep" / "er").rglob("*"))


def test_what_is_known_of_data_sets_is_whole() -> None:
    assert {
        *("audioset", "fsd50k", "esc50", "us8k", "speech_commands_v1", "speech_commands_v2", "voxceleb1", "crema_d"),
        *("gtzan", "nsynth", "urban_sed", "desed", "birdset", "librispeech", "tau_scenes", "mimii", "dcase2020_task2"),
    } <= set(DATA_SETS)
    addresses = [archive.url for data in DATA_SETS.values() for archive in data.archives]
    assert len(addresses) == len(set(addresses))
    for name, data in DATA_SETS.items():
        assert data.name == name
        assert data.title
        assert data.licence
        assert data.citation
        assert data.home.startswith("http")
        assert data.archives or data.how, "how to get it must be said"
        assert not data.layout or data.layout in LAYOUTS
        places = [(archive.folder, archive.file) for archive in data.archives]
        assert len(places) == len(set(places))
        for archive in data.archives:
            assert "?" not in archive.file
    named = {data.layout for data in DATA_SETS.values()}
    assert {layout for layout in LAYOUTS if layout not in named} <= {
        *("mtg_jamendo_genre", "mtg_jamendo_instrument", "mtg_jamendo_moodtheme"),
    }
    console = screen()
    console.print(render_data_sets())
    assert "auricle data download us8k" in said(console)


def test_what_can_not_be_downloaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="IEMOCAP can't be downloaded by auricle: ask for it at its page"):
        download("iemocap", tmp_path)
    with pytest.raises(DownloadError, match="no data set is called 'us8'; did you mean 'us8k'"):
        get_data_set("us8")
    with pytest.raises(ConfigError, match="is no sum"):
        Archive("http://x/a.zip", "md5:123")
    with pytest.raises(ConfigError, match="is no address"):
        Archive("file:///etc/passwd")
    with pytest.raises(ConfigError, match="has no name of a file"):
        Archive("http://x/")
    with pytest.raises(ConfigError, match="has no name of a file"):
        Archive("http://x/a", folder="../up")


def test_a_spoilt_journal_is_no_obstacle(data: DataSet, tmp_path: Path) -> None:
    (tmp_path / downloads.JOURNAL).write_text("{")
    download(data, tmp_path, yes=True, console=screen())
    assert len(json.loads((tmp_path / downloads.JOURNAL).read_text())) == 3
    assert unpacking.can_unpack("a.TGZ")
    assert not unpacking.can_unpack("a.z01")


@pytest.mark.parametrize(
    ("count", "words"), [(None, "?"), (10, "10 B"), (1500, "1.5 kB"), (6.02e9, "6.0 GB"), (2e12, "2.0 TB")]
)
def test_sizes_in_words(count: int | None, words: str) -> None:
    assert in_units(count) == words
