"""Folders and shards as people have them: classes called train, recycle bins, one table of several, dots in names."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from auricle.corpus.published.unpacking import unpack
from auricle.corpus.sources import open_corpus
from auricle.errors import DownloadError


def labels_of(folder: Path) -> dict[str, tuple[tuple[str, ...], str | None]]:
    return {clip.file: (clip.labels, clip.split) for clip in open_corpus(folder)}


@pytest.fixture
def put(tmp_path: Path, record: Callable[..., Path]) -> Callable[..., Path]:
    def make(*names: str) -> Path:
        for i, name in enumerate(names):
            record(tmp_path / name, seconds=0.2, rate=8000, seed=i)
        return tmp_path

    return make


def test_a_class_called_train_is_a_class_unless_its_partner_is_there(put: Callable[..., Path]) -> None:
    root = put("train/a.wav", "bus/b.wav", "car/c.wav")
    assert labels_of(root)["train/a.wav"] == (("train",), None)
    assert any("folder train was read as a class, not as a split" in note for note in open_corpus(root).notes)
    put("test/bus/d.wav", "train/bus/e.wav")
    found = labels_of(root)
    assert (found["test/bus/d.wav"], found["train/bus/e.wav"]) == ((("bus",), "test"), (("bus",), "train"))
    assert "the folders test, train were read as splits" in open_corpus(root).notes


def test_recycle_bins_are_passed_over_and_counted(put: Callable[..., Path]) -> None:
    bins = ("$RECYCLE.BIN", "#recycle", "dog/@eaDir", "__MACOSX/dog", ".Trash-1000", "System Volume Information")
    root = put("dog/a.wav", "cat/b.wav", *(f"{name}/x.wav" for name in bins))
    (root / "dog" / "._a.wav").write_bytes(b"x")
    (root / "Thumbs.db").write_bytes(b"x")
    corpus = open_corpus(root)
    assert corpus.classes == ("cat", "dog")
    ignored = {entry.name: entry.count for entry in corpus.ledger.entries if entry.cause == "ignored"}
    assert ignored == {
        "$RECYCLE.BIN/": 1, "#recycle/": 1, "dog/@eaDir/": 1, "__MACOSX/": 1, "System Volume Information/": 1,
        "hidden files": 2,
    }  # fmt: skip


def test_a_semicolon_in_the_name_of_a_folder_joins_no_labels(put: Callable[..., Path]) -> None:
    corpus = open_corpus(put("low;rain/a.wav", "high/b.wav"))
    assert sorted(corpus.labels) == [("high",), ("low,rain",)]
    assert any("folders with a semicolon are one label each" in note for note in corpus.notes)


def test_a_table_in_one_sub_folder_erases_no_labels_of_the_others(put: Callable[..., Path]) -> None:
    root = put("dog/a.wav", "cat/b.wav", "cat/c.wav", "cow/deep/d.wav", "clips/e.wav")
    (root / "cat" / "metadata.csv").write_text("file,label,age\nb.wav,kitten,1\n")
    found = labels_of(root)
    assert found == {
        "cat/b.wav": (("kitten",), None),
        "dog/a.wav": (("dog",), None),
        "cow/deep/d.wav": (("deep",), None),
        "clips/e.wav": ((), None),
    }
    assert open_corpus(root).ledger.reasons() == {"cat/c.wav": "metadata.csv does not name it"}


def test_every_audio_member_of_a_shard_is_a_clip(tmp_path: Path, put: Callable[..., Path]) -> None:
    good = (put("a.wav") / "a.wav").read_bytes()
    members = {
        "x/rec.2020.01.wav": good, "x/rec.2020.01.cls": b"low", "x/rec.2020.02.wav": good,
        "x/rec.2020.02.json": b'{"label": "high"}', "v1.2/plain.wav": good, "v1.2/plain.cls": b"mid",
        "two.left.wav": good, "two.right.wav": good, "two.cls": b"both", "none.v2.wav": good,
    }  # fmt: skip
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    found = labels_of(tmp_path / "s.tar")
    assert {name: labels for name, (labels, _) in found.items()} == {
        "x/rec.2020.01.wav": ("low",), "x/rec.2020.02.wav": ("high",), "v1.2/plain.wav": ("mid",),
        "two.left.wav": ("both",), "two.right.wav": ("both",), "none.v2.wav": (),
    }  # fmt: skip
    assert open_corpus(tmp_path / "s.tar").ledger.sentence == "6 of 6 recordings used"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_unpacked_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    import shutil

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "zeros").write_bytes(bytes(3_000_000))
    archive = Path(shutil.make_archive(str(tmp_path / "a"), {"zip": "zip", "tar.gz": "gztar"}[kind], tmp_path / "in"))
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size == 3_000_000
    monkeypatch.setattr("auricle.corpus.published.unpacking.free_bytes", lambda path: 2_000_000)
    with pytest.raises(DownloadError, match=r"would take 3\.0 MB unpacked, .* 2\.0 MB are free; free some space"):
        unpack(archive, tmp_path / "small")
    assert not list((tmp_path / "small").iterdir())
    monkeypatch.undo()
    monkeypatch.setattr("auricle.corpus.published.unpacking.MOST_EXPANSION", 10)
    monkeypatch.setattr("auricle.corpus.published.unpacking.SMALL", 1000)
    with pytest.raises(DownloadError, match="an archive of audio does not expand so much"):
        unpack(archive, tmp_path / "bomb")
