"""The ledger: what comes in is used, or explained; by every reader, on messy inputs."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from layout_folders import put, text

from auricle.corpus.ledger import Entry, Ledger, beside
from auricle.corpus.losses import with_losses
from auricle.corpus.readers.side_tables import read_captions
from auricle.corpus.scan import scan
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.errors import Reason

NAMES = ("a.wav", "b.wav", "c.wav", "d.wav")


def test_a_ledger_that_does_not_add_up_can_not_be_made() -> None:
    gone = Entry("recording", "a.wav", "it is empty")
    assert (
        Ledger({"recording": 3}, {"recording": 2}, (gone,)).sentence == "2 of 3 recordings used; 1 skipped: 1 corrupt"
    )
    for came, used, entries in (
        ({"recording": 3}, {"recording": 3}, (gone,)),
        ({"recording": 3}, {"recording": 2}, ()),
        ({}, {}, (gone,)),
        ({"recording": 0}, {"recording": -1}, (gone,)),
        ({"recroding": 1}, {"recroding": 1}, ()),
    ):
        with pytest.raises(ValueError, match="came in, but"):
            Ledger(came, used, entries)
    with pytest.raises(ValueError, match="came in, but"):
        Ledger().drop(gone)
    with pytest.raises(ValueError, match="is no ledger"):
        Ledger.from_json({"came": {}, "used": {}})


def test_ledgers_are_added_and_things_dropped_and_remarked() -> None:
    ledger = Ledger().add("recording", used=2, skipped=[Entry("recording", "x", "it is empty", "missing")])
    ledger = ledger.add("event", used=4).drop(Entry("event", "e", "it ends", "outside", count=3))
    ledger = ledger.drop(Entry("recording", "a", "24 of 48 frames are there", "read in part", used=True))
    both = ledger.merge(ledger, "second/")
    assert (both.came, both.used) == ({"recording": 6, "event": 8}, {"recording": 4, "event": 2})
    assert both.reasons() == {"x": "it is empty", "second/x": "it is empty"}
    assert both.sentence == (
        "4 of 6 recordings used (2 read in part); 2 skipped: 2 missing. 2 of 8 events used; 6 skipped: 6 outside"
    )
    assert not both.complete
    assert Ledger.from_json(json.loads(json.dumps(both.to_json()))) == both
    assert Ledger().sentence == "nothing came in"


def test_the_list_beside_an_output(tmp_path: Path) -> None:
    ledger = Ledger().add("recording", used=1, skipped=[Entry("recording", "a\nb.wav", "why")])
    (tmp_path / "run").mkdir()
    assert beside(tmp_path / "run") == tmp_path / "run/ledger.jsonl"
    path = ledger.write(beside(tmp_path / "e.parquet"))
    assert path == tmp_path / "e.parquet.ledger.jsonl"
    head, entry = [json.loads(line) for line in path.read_text().splitlines()]
    assert head == {"sentence": ledger.sentence, "came": {"recording": 2}, "used": {"recording": 1}}
    assert Entry(**entry) == ledger.entries[0]


def test_the_list_that_an_earlier_version_wrote_goes(tmp_path: Path) -> None:
    earlier, ledger = tmp_path / "e.ledger.jsonl", Ledger().add("recording", used=1)
    earlier.write_text('{"text": "a table of somebody else"}\n')
    ledger.write(beside(tmp_path / "e.csv"))
    assert earlier.exists()
    # An output without an ending has its list there.
    (tmp_path / "e").write_text("")
    assert ledger.write(beside(tmp_path / "e")) == earlier
    ledger.write(beside(tmp_path / "e.csv"))
    assert earlier.exists()
    (tmp_path / "e").unlink()
    ledger.write(beside(tmp_path / "e.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["e.csv.ledger.jsonl"]


def test_clips_lost_later_are_counted_as_clips_and_as_recordings() -> None:
    whole = Corpus.from_columns({"file": list(NAMES), "seconds": [2.0] * 4}, root="nowhere")
    assert with_losses(whole, {0: Reason("too short", "too short")}).used == {"recording": 3}
    parts = whole.segments(1.0)
    some = with_losses(parts, {0: Reason("a", "silent"), 1: Reason("b", "silent"), 2: Reason("c", "too short")})
    assert (some.used, some.came) == ({"recording": 3, "clip": 5}, {"recording": 4, "clip": 8})
    assert some.reasons("clip")["b.wav [0 s + 1 s]"] == "c"


def test_millions_of_good_recordings_cost_a_few_counts() -> None:
    corpus = Corpus.from_columns({"file": [f"{i}.wav" for i in range(10_000)], "seconds": [1.0] * 10_000}, root="x")
    assert corpus.ledger.entries == ()
    assert len(json.dumps(corpus.ledger.to_json())) < 100


def adds_up(corpus: Corpus, came: dict[str, int]) -> None:
    """Compare a ledger with the corpus and with what the test has put in, counted by itself."""
    ledger = corpus.ledger
    assert {kind: ledger.came.get(kind, 0) for kind in came} == came
    assert ledger.used["recording"] == len(set(corpus.column("file")))
    for kind, count in ledger.came.items():
        assert count == ledger.used[kind] + sum(e.count for e in ledger.entries if e.kind == kind and not e.used)
    assert all(entry.reason and entry.name for entry in ledger.entries)


@pytest.fixture
def messy(tmp_path: Path, record: Callable[..., Path]) -> Path:
    """Four recordings, a corrupt one, one that the tables do not name, a deleted one, and a text."""
    for i, name in enumerate((*NAMES, "extra.wav")):
        record(tmp_path / "m" / name, seconds=1.0, seed=i)
    (tmp_path / "m" / "broken.wav").write_bytes(b"RIFF")
    record(tmp_path / "m" / "$RECYCLE.BIN" / "old.wav")
    (tmp_path / "m" / "readme.txt").write_text("hello")
    return tmp_path / "m"


ROWS = [
    ("a.wav", "x"), ("a.wav", "y"), ("b.wav", "x"), ("b.wav", "x"), ("c.wav", None), ("broken.wav", "x"),
    ("gone.wav", "x"), (None, "x"), ("gone.wav", "y"),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_label_tables_of_any_kind_add_up(messy: Path, kind: str) -> None:
    if kind == "jsonl":
        lines = [json.dumps({"file": file, "label": label}) for file, label in ROWS]
        (messy / "metadata.jsonl").write_text("\n".join(lines))
        path = messy
    elif kind == "parquet":
        path = messy / "t.parquet"
        pq.write_table(pa.table({"file": [file for file, _ in ROWS], "label": [label for _, label in ROWS]}), path)
    else:
        path = messy / f"t.{kind}"
        sign = "\t" if kind == "tsv" else ","
        path.write_text("\n".join(sign.join((f or "", label or "")) for f, label in [("file", "label"), *ROWS]) + "\n")
        if kind == "csv":
            path = path.rename(messy / "metadata.csv").parent
    corpus = open_corpus(path)
    assert corpus.labels == [("x", "y"), ("x",), ()]
    # The folder's own recordings come in with a table of the folder; a table by its path names all that comes in.
    adds_up(corpus, {"row": 9, "recording": 7 if path == messy else 5})
    assert corpus.ledger.used["row"] == 4
    assert corpus.ledger.reasons()["gone.wav"].endswith("there is no such file")


def test_folders_and_their_events_add_up(messy: Path) -> None:
    (messy / "events.csv").write_text(
        "file,onset,offset,label\na.wav,0.1,0.2,x\na.wav,0.5,0.4,x\nb.wav,,,\nbroken.wav,0,1,x\nnobody.wav,0,1,x\n,0,1,x\n"
    )
    corpus = open_corpus(messy)
    adds_up(corpus, {"recording": 6, "event": 5, "file": 3})
    assert (corpus.ledger.used["event"], corpus.annotated) == (1, {"a.wav", "b.wav"})
    report = scan(messy, out=messy.parent / "out")
    assert report.ledger.sentence.startswith("5 of 6 recordings used; 1 skipped: 1 corrupt. 1 of 5 events used; 4 skip")
    head = json.loads((messy.parent / "out/auricle-corpus.parquet.ledger.jsonl").read_text().partition("\n")[0])
    assert head["sentence"] == report.ledger.sentence == open_corpus(messy.parent / "out").ledger.sentence


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_shards_and_collections_add_up(messy: Path) -> None:
    good = (messy / "a.wav").read_bytes()
    members = [
        ("a.1.wav", good),
        ("a.1.cls", b"x"),
        ("a.2.wav", good),
        ("b.wav", b"none"),
        ("b.json", b"{"),
        ("z.md", b""),
    ]
    tar_of(messy.parent / "s.tar", [*members, ("._a.1.wav", b"x"), ("lonely.cls", b"y")])
    adds_up(open_corpus(messy.parent / "s.tar"), {"member": 8, "recording": 3, "label": 2})
    pq.write_table(pa.table({"audio": [good, b"none", None], "label": ["x", "y", "z"]}), messy.parent / "p.parquet")
    adds_up(open_corpus(messy.parent / "p.parquet"), {"recording": 3})
    (messy / "metadata.csv").write_text("file,label\na.wav,x\n")
    put(messy.parent / "set/other", "c.wav")
    messy.rename(messy.parent / "set/messy")
    joined = open_corpus(messy.parent / "set")
    adds_up(joined, {"recording": 7, "row": 1})
    assert "messy/broken.wav" in joined.ledger.reasons()
    adds_up(open_corpus([messy.parent / "set/messy", messy.parent / "s.tar"]), {"recording": 9, "member": 8, "row": 1})


def test_published_layouts_and_side_tables_add_up(tmp_path: Path) -> None:
    put(tmp_path, "audio/1-100032-A-0.wav", "audio/1-1-A-1.wav", "audio/unlisted.wav")
    text(
        tmp_path, "meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take",
        "1-100032-A-0.wav,1,0,dog,True,100032,A", "1-1-A-1.wav,2,1,rooster,True,1,A", "gone.wav,3,1,rooster,True,2,A",
    )  # fmt: skip
    corpus = open_corpus(f"layout:esc50:{tmp_path}")
    adds_up(corpus, {"recording": 4, "row": 3})
    (tmp_path / "captions.csv").write_text("file,caption\naudio/1-1-A-1.wav,a rooster\naudio/gone.wav,nothing\n")
    assert read_captions(tmp_path / "captions.csv", corpus).texts == ("a rooster",)


def test_a_split_and_a_silent_recording_are_accounted_for(tmp_path: Path, record: Callable[..., Path]) -> None:
    for folder in ("train", "test"):
        record(tmp_path / folder / "x" / "a.wav", seed=len(folder))
    record(tmp_path / "train" / "x" / "nan.wav", np.array([np.nan] * 900), subtype="FLOAT")
    report = scan(tmp_path, write=False)
    assert report.ledger.sentence == "2 of 3 recordings used; 1 skipped: 1 not finite"
    only = open_corpus(tmp_path, split="TEST")
    assert only.ledger.sentence == "1 of 3 recordings used; 2 skipped: 2 not in split test"
    assert sf.info(tmp_path / "test/x/a.wav").frames == 8000


def test_ranges_are_counted_once_for_all_steps_that_lose_some(tmp_path: Path, record: Callable[..., Path]) -> None:
    rows = []
    for i, name in enumerate(NAMES):
        wave = np.full(16000, 0.1)
        wave[8000:] = np.nan if i == 0 else 0.1
        record(tmp_path / name, wave, subtype="FLOAT")
        split = "train" if i < 2 else "test"
        rows += [f"{name},{start},0.5,{'abc'[i % 3]},{split}\n" for start in (0, 0.5)]
    (tmp_path / "metadata.csv").write_text("file,start,seconds,label,split\n" + "".join(rows))
    train = open_corpus(tmp_path, split="train")
    assert (train.ledger.came["clip"], train.ledger.used["clip"]) == (8, 4)
    scanned = scan(train, out=tmp_path / "out").corpus
    assert (scanned.ledger.came["clip"], scanned.ledger.used["clip"]) == (8, 3)
    again = open_corpus(tmp_path / "out")
    left = with_losses(again, {row: Reason("it has no label", "unlabelled") for row in (1, 2)})
    assert "1 of 8 clips used (1 silent); 7 skipped: 4 not in split train, 2 unlabelled, 1 not finite" in left.sentence
    # Pieces of what is left are new clips.
    pieces = with_losses(again.segments(0.25), {0: Reason("it is silent", "silent")})
    assert (pieces.came["clip"], pieces.used["clip"]) == (11, 5)
    only = again.select([0, 1])
    assert (with_losses(only, {0: Reason("it is silent", "silent")}).used["clip"]) == 2


def test_rows_and_events_follow_recordings_that_are_lost_later(messy: Path) -> None:
    rows = ["a.wav,x,train", "a.wav,y,train", "b.wav,x,test", "c.wav,x,train", "d.wav,y,train"]
    (messy / "metadata.csv").write_text("file,label,split\n" + "\n".join(rows) + "\n")
    events = ["a.wav,0.1,0.2,x", "a.wav,0.3,0.4,x", "b.wav,0.1,0.2,x", "c.wav,,,"]
    (messy / "events.csv").write_text("file,onset,offset,label\n" + "\n".join(events) + "\n")
    corpus = open_corpus(messy)
    assert (corpus.ledger.used["row"], corpus.ledger.used["event"]) == (5, 3)
    train = open_corpus(messy, split="train")
    adds_up(train, {"row": 5, "event": 3})
    assert (train.ledger.used["row"], train.ledger.used["event"]) == (4, 2)
    scanned = open_corpus(scan(train, out=messy.parent / "out").table)
    left = with_losses(scanned, {0: Reason("it is silent", "silent")})
    assert (left.used["row"], left.used["event"]) == (2, 0)
    # A row is used as long as a piece of its clip is.
    pieces = scanned.segments(0.5)
    assert with_losses(pieces, {0: Reason("it is silent", "silent")}).used["row"] == 4
    assert with_losses(pieces, {row: Reason("it is silent", "silent") for row in (0, 1)}).used["row"] == 2
