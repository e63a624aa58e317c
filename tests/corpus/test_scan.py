from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from auricle.corpus.scan import scan
from auricle.corpus.sources import open_corpus
from auricle.errors import ConfigError, CorpusError, StorageError


@pytest.fixture
def messy(tmp_path, record):
    """Sixteen recordings; five can't be used, the others have properties to report."""
    rng = np.random.default_rng(0)
    root = tmp_path / "messy folder"
    record(root / "dog" / "a.wav", seed=1)
    record(root / "dog" / "same as a.flac", seed=1)
    record(root / "cat" / "low.wav", rate=4000, seed=2)
    record(root / "cat" / "high.wav", rate=192000, seed=3)
    record(root / "cat" / "eight.wav", 0.1 * rng.standard_normal((1600, 8)))
    record(root / "cat" / "one.wav", np.array([0.5]))
    record(root / "silent.wav", np.zeros(16000))
    record(root / "silent too.wav", np.zeros(16000))
    record(root / "loud.wav", np.sign(rng.standard_normal(8000)))
    record(root / "two\nlines é.ogg", seed=4)
    record(root / "nan.wav", np.array([0.1, np.nan] * 100), subtype="FLOAT")
    record(root / "zero.wav", np.zeros(0))
    (root / "empty.wav").write_bytes(b"")
    (root / "text.mp3").write_text("no audio at all")
    whole = record(root / "cut.flac", rng.uniform(-1, 1, 8000)).read_bytes()
    (root / "cut.flac").write_bytes(whole[: len(whole) // 2])
    record(root / "cut.wav", seconds=1)
    (root / "cut.wav").write_bytes((root / "cut.wav").read_bytes()[:9000])
    return root


BROKEN = {"nan.wav", "zero.wav", "empty.wav", "text.mp3", "cut.flac"}


def test_scan_tells_what_is_there(messy):
    report = scan(messy)
    assert set(report.broken) == BROKEN
    assert "NaN" in report.broken["nan.wav"]
    assert "truncated" in report.broken["cut.flac"]
    said = [(entry.name, entry.reason) for entry in report.ledger.entries if entry.used and entry.cause != "silent"]
    assert said == [("cut.wav", "partly read: 4,478 of 16,000 frames that its header promises")]
    assert len(report.corpus) == 11
    assert report.duplicates == (("dog/a.wav", "dog/same as a.flac"),)
    assert report.silent == ("cat/one.wav", "silent too.wav", "silent.wav")
    assert tuple(entry.name for entry in report.ledger.entries if entry.cause == "silent") == report.silent
    assert report.clipped == ("loud.wav",)
    assert report.rates == {16000: 9, 4000: 1, 192000: 1}
    assert report.channels == {1: 10, 8: 1}
    assert report.formats == {"WAV": 9, "FLAC": 1, "OGG": 1}
    assert report.label_counts == {"cat": 4, "dog": 2}
    assert report.unlabelled == 5
    assert report.hours == pytest.approx((0.5 * 5 + 2 + 0.5 + 0.1 + 4479 / 16000) / 3600, rel=1e-3)
    assert report.durations()["longest"] == 1.0
    row = report.corpus.column("file").index("dog/a.wav")
    wave = report.corpus.audio(row)
    assert report.corpus.column("scan_peak")[row] == pytest.approx(np.abs(wave).max())
    level = 10 * np.log10(np.square(wave, dtype=np.float64).mean())
    assert report.corpus.column("scan_level_db")[row] == pytest.approx(level, abs=1e-4)


def test_the_table_stands_for_the_folder_until_a_file_changes(messy, record):
    before = open_corpus(messy)
    report = scan(messy)
    assert report.table == messy / "auricle-corpus.parquet"
    opened = open_corpus(messy)
    assert "scan_rate" in opened.columns
    assert set(opened.ledger.reasons()) == BROKEN
    assert len(opened) == 11
    assert opened.fingerprint == before.filter(lambda clip: clip.file in opened.column("file")).fingerprint
    record(messy / "new.wav", seed=9)
    again = open_corpus(messy)
    assert "new.wav" in again.column("file")
    assert "scan_rate" not in again.columns
    assert (
        "auricle-corpus.parquet is older than the files beside it and was not used; scan the folder again"
        in again.notes
    )


def test_where_the_table_goes(messy, tmp_path):
    assert scan(messy, write=False).table is None
    assert not (messy / "auricle-corpus.parquet").exists()
    table = scan(messy, out=tmp_path / "tables" / "pets.parquet").table
    assert table == tmp_path / "tables" / "pets.parquet"
    assert len(open_corpus(table).audio(0)) > 0
    assert scan(messy, out=tmp_path / "folder").table == tmp_path / "folder" / "auricle-corpus.parquet"
    assert len(open_corpus(tmp_path / "folder")) == 11
    assert scan(messy, out=messy).table == messy / "auricle-corpus.parquet"
    assert [e.name for e in open_corpus(messy).ledger.entries if e.used and e.cause != "silent"] == ["cut.wav"]
    report = scan([messy / "dog", messy / "cat"])
    assert report.table is None
    assert "only a whole folder has a default table" in report.notes[-1]
    with pytest.raises(StorageError, match="can't write"):
        scan(messy, out=messy / "loud.wav" / "t.parquet")


def test_the_ending_of_the_table_is_refused_before_any_work(messy, tmp_path, monkeypatch):
    monkeypatch.setattr("auricle.corpus.scan._measure", lambda *_: pytest.fail("it was scanned"))
    with pytest.raises(ConfigError, match=r"t.csv ends in '.csv', and the table of a scan is Parquet") as refused:
        scan(messy, out=tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()
    monkeypatch.undo()
    remedy = Path(str(refused.value).rpartition("--out ")[2])
    assert scan(messy, out=remedy).table == tmp_path / "t.parquet"
    (tmp_path / "v1.2").mkdir()
    assert scan(messy, out=tmp_path / "v1.2").table == tmp_path / "v1.2/auricle-corpus.parquet"


def test_an_unwritable_folder_is_noted(messy, monkeypatch):
    monkeypatch.setattr("auricle.corpus.scan.os.access", lambda *_: False)
    report = scan(messy)
    assert report.table is None
    assert "is not writable; set another path" in report.notes[-1]


@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_finds_the_same(messy, workers):
    report = scan(messy, workers=workers, write=False)
    assert report.corpus.table.equals(scan(messy, workers=2, write=False).corpus.table)


def test_long_recordings_are_read_in_pieces(tmp_path, record, monkeypatch):
    record(tmp_path / "a.flac", seconds=5, rate=4000)
    record(tmp_path / "b.wav", seconds=5, rate=4000)
    whole = scan(tmp_path, write=False)
    monkeypatch.setattr("auricle.corpus.scan._PIECE", 0.75)
    pieces = scan(tmp_path, write=False)
    assert whole.duplicates == pieces.duplicates == (("a.flac", "b.wav"),)
    assert pieces.corpus.column("scan_digest") == whole.corpus.column("scan_digest")
    assert pieces.corpus.column("scan_level_db") == pytest.approx(whole.corpus.column("scan_level_db"))


def test_ranges_are_scanned_as_ranges(tmp_path, record):
    record(tmp_path / "a.wav", np.concatenate([np.zeros(16000), np.tile([0.5, -0.5], 8000)]))
    report = scan(open_corpus(tmp_path).segments(1.0))
    assert report.corpus.column("scan_silent") == [True, False]
    assert report.corpus.column("seconds") == [1.0, 1.0]


def test_all_broken(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(CorpusError, match="no recording of"):
        scan(tmp_path)
    with pytest.raises(CorpusError, match="no folder or file"):
        scan(tmp_path / "missing")


def test_all_broken_only_when_decoded(tmp_path, record):
    record(tmp_path / "a.wav", np.array([np.nan] * 9), subtype="FLOAT")
    with pytest.raises(CorpusError, match=r"no recording of .* can be used: 1 are corrupt, such as a\.wav: .*NaN"):
        scan(tmp_path)


def test_one_bad_file_in_a_thousand_never_stops_a_scan(tmp_path, record):
    record(tmp_path / "good.wav", seconds=0.01)
    data = (tmp_path / "good.wav").read_bytes()
    for i in range(1000):
        (tmp_path / f"{i:04d}.wav").write_bytes(data if i != 500 else data[:30])
    report = scan(tmp_path)
    assert list(report.broken) == ["0500.wav"]
    assert len(report.corpus) == 1000
    assert len(report.duplicates[0]) == 1000


def test_the_report_is_printed_safely(messy):
    out = io.StringIO()
    scan(messy).render(Console(file=out, width=200), longest=3)
    text = out.getvalue()
    for part in (
        "messy folder",
        "11 (5 unlabelled)",
        "16000 Hz: 9",
        "skipped, or not used as it is (9)",
        "and 6 more",
        "cat",
        "clipped (1)",
    ):
        assert part in text
    assert "dog/a.wav  =  dog/same as a.flac" in text
    report = scan(messy)
    report.render(Console(file=(wide := io.StringIO()), width=300))
    assert "table: " in wide.getvalue()


def test_names_with_control_characters_and_markup_are_printed_as_they_are(tmp_path, record):
    record(tmp_path / "a\n\x1b[31m.wav", np.zeros(4000))
    record(tmp_path / "[bold]b.wav", np.zeros(4000))
    scan(tmp_path).render(Console(file=(out := io.StringIO()), width=200))
    assert "a\\n\\x1b[31m.wav" in out.getvalue()
    assert "[bold]b.wav" in out.getvalue()


@pytest.mark.real
def test_a_real_corpus(shared_audio, tmp_path):
    report = scan(shared_audio / "drum_oneshots", out=tmp_path)
    assert (len(report.corpus), report.broken, report.rates) == (226, {}, {22050: 226})
    assert len(report.label_counts) == 16
    assert open_corpus(tmp_path / "auricle-corpus.parquet").classes == report.corpus.classes


@pytest.mark.parametrize("change", ["recording", "shard", "label track", "table beside", "another table"])
def test_a_table_is_older_than_any_file_that_changed_with_its_size(tmp_path, record, change):
    folder = tmp_path / "set"
    good = record(folder / "a.wav", seed=1).read_bytes()
    if change == "shard":
        (folder / "a.wav").unlink()
        pq.write_table(pa.table({"audio": [good], "label": ["x"]}), folder / "s.parquet")
    names = {
        "recording": folder / "b.wav",
        "shard": folder / "s.parquet",
        "label track": folder / "a.txt",
        "table beside": tmp_path / "metadata.csv",
        "another table": folder / "sub" / "selection.csv",
    }
    old = {"recording": b"RIFF" + bytes(len(good) - 4), "label track": b"0.1\t0.2\tx\n"}.get(
        change, b"file,label\nset/a.wav,x\n"
    )
    changed = names[change]
    changed.parent.mkdir(exist_ok=True)
    changed.write_bytes(changed.read_bytes() if change == "shard" else old)
    scan(folder)
    assert "scan_rate" in open_corpus(folder).columns
    new = {"recording": good, "shard": changed.read_bytes()}.get(change, old.replace(b"x", b"y"))
    assert len(new) == changed.stat().st_size
    changed.write_bytes(new)
    again = open_corpus(folder)
    assert "scan_rate" not in again.columns
    if change == "recording":
        assert again.ledger.complete
        assert again.column("file") == ["a.wav", "b.wav"]
    elif change == "label track":
        assert [event.label for event in again.events] == ["y"]
    elif change == "table beside":
        assert again.column("label") == ["y"]
