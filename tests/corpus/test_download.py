"""Downloads of data sets against a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from download_server import QUICK, Server, gets, tarred, zipped
from rich.console import Console

from auricle.corpus.published import download as downloads
from auricle.corpus.published import unpacking
from auricle.corpus.published.archive import Archive, DataSet
from auricle.corpus.published.data_sets import DATA_SETS
from auricle.corpus.published.download import download, get_data_set, in_units, render_data_sets
from auricle.corpus.published.layouts.opening import LAYOUTS
from auricle.errors import ConfigError, DownloadError, StorageError


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


def test_a_server_that_can_not_be_reached_is_reported_before(data: DataSet, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: every connection is refused
        port = taken.getsockname()[1]
        gone = replace(data, archives=tuple(replace(a, url=f"http://127.0.0.1:{port}/x") for a in data.archives))
        with pytest.raises(DownloadError, match=r"the server can't be reached \(.*refused\)"):
            download(gone, tmp_path / "new", ask=lambda question: pytest.fail("it was offered"), console=screen())
    assert not (tmp_path / "new").exists()


def test_a_disk_that_would_be_full_is_reported_before(
    data: DataSet, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(StorageError, match=r"are to be downloaded, but .* has 10 B free"):
        download(data, tmp_path / "new" / "toy", yes=True, console=screen())
    assert not gets(server)


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
    with pytest.raises(ConfigError, match="is no checksum"):
        Archive("http://x/a.zip", "md5:123")
    with pytest.raises(ConfigError, match="is no address"):
        Archive("file:///etc/passwd")
    with pytest.raises(ConfigError, match="has no file name"):
        Archive("http://x/")
    with pytest.raises(ConfigError, match="has no file name"):
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


def test_the_list_of_data_sets_imports_no_heavy_library() -> None:
    heavy = "torch", "scipy", "sklearn", "pyarrow", "datasets"
    code = f"import sys, auricle.corpus.published.data_sets; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
