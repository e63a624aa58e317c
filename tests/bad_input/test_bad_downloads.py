"""Downloads that are cut, wrong, refused, or meet a full disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from bad_input_command import Command, FullDisk

from auricle.corpus.published import download as downloads
from auricle.corpus.published.archive import Archive, DataSet

BODY = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()


class Server(ThreadingHTTPServer):
    """Serves BODY; each number in `cut` ends one answer after that number of bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut: list[int] = []
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._head(0)

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self._head(start)
        rest = BODY[start:]
        self.wfile.write(rest[: self.server.cut.pop(0)] if self.server.cut else rest)

    def _head(self, start: int) -> None:
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.send_header("ETag", '"1"')
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def offer(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes `toy` a data set of one file on this machine, with this sum."""
    monkeypatch.setattr("auricle.corpus.published.fetching.time.sleep", lambda seconds: None)

    def make(total: str) -> None:
        archive = Archive(f"http://127.0.0.1:{server.server_address[1]}/toy.bin", sum=total)
        toy = DataSet("toy", "Toy set", "CC0", "nobody", "http://127.0.0.1/", "0.2 MB", archives=(archive,))
        monkeypatch.setitem(downloads.DATA_SETS, "toy", toy)

    return make


MD5 = "md5:" + hashlib.md5(BODY, usedforsecurity=False).hexdigest()


def test_a_download_that_is_cut_goes_on_where_it_was(
    auricle: Command, tmp_path: Path, server: Server, offer: Callable[[str], None]
) -> None:
    offer(MD5)
    words = ["data", "download", "toy", "--to", tmp_path / "sets", "--yes"]
    server.cut = [80_000, 0, 0, 0, 0, 0, 0]
    message = auricle.refused(*words)
    assert "80000 bytes" in message
    assert "toy.bin.part" in message
    assert (tmp_path / "sets" / "toy.bin.part").read_bytes() == BODY[:80_000]
    assert not (tmp_path / "sets" / "toy.bin").exists()
    server.cut, server.ranges = [], []
    assert auricle(*words) == 0
    assert server.ranges == ["bytes=80000-"]
    assert (tmp_path / "sets" / "toy.bin").read_bytes() == BODY
    assert "CC0" in auricle.err


def test_a_download_with_a_wrong_sum_is_kept_beside(
    auricle: Command, tmp_path: Path, offer: Callable[[str], None]
) -> None:
    offer("md5:" + "0" * 32)
    words = ["data", "download", "toy", "--to", tmp_path / "sets", "--yes"]
    message = auricle.refused(*words)
    assert "md5" in message
    assert "0" * 32 in message
    assert "toy.bin.wrong" in message
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["toy.bin.wrong"]
    # The right file replaces it.
    offer(MD5)
    assert auricle(*words) == 0
    assert (tmp_path / "sets" / "toy.bin").read_bytes() == BODY


def test_a_download_that_nobody_agreed_to(
    auricle: Command, tmp_path: Path, server: Server, offer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(MD5)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    message = auricle.refused("data", "download", "toy", "--to", tmp_path / "sets")
    assert "not downloaded" in message
    assert server.ranges == []
    assert not (tmp_path / "sets").exists()
    assert "did you mean" in auricle.refused("data", "download", "us8kk", "--to", tmp_path / "sets")


def test_a_disk_that_fills_up_while_downloading(
    auricle: Command,
    tmp_path: Path,
    server: Server,
    offer: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(MD5)
    words = ["data", "download", "toy", "--to", tmp_path / "sets", "--yes"]
    server.cut = [50_000, 0, 0, 0, 0, 0]
    auricle.refused(*words)
    server.cut, server.ranges = [], []
    disk = FullDisk(monkeypatch, "toy.bin")
    message = auricle.refused(*words)
    assert "the disk is full" in message
    assert "toy.bin.part" in message
    assert (tmp_path / "sets" / "toy.bin.part").stat().st_size == 50_000
    disk.full = False
    assert auricle(*words) == 0
    assert server.ranges[-1] == "bytes=50000-"
    assert (tmp_path / "sets" / "toy.bin").read_bytes() == BODY
