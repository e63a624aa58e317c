from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import unicodedata

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from auricle.corpus.readers.table_file import read_table, write_table
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Event
from auricle.errors import CorpusError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hf")))


def samples(path):
    return sf.read(path, dtype="float32")[0]


def flac(seed, seconds=0.3, rate=16000):
    buffer = io.BytesIO()
    wave = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)).clip(-3, 3)
    sf.write(buffer, wave, rate, format="FLAC")
    return buffer.getvalue()


def tar_of(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_folder_labels_from_sub_folders(tmp_path, record):
    for file in ("dog/a.wav", "dog/b.flac", "cat/c.ogg", "loose.wav", ".hidden/x.wav", "cat/.x.wav"):
        record(tmp_path / file)
    (tmp_path / "notes.txt").write_text("no audio")
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["cat/c.ogg", "dog/a.wav", "dog/b.flac", "loose.wav"]
    assert corpus.column("label") == ["cat", "dog", "dog", None]
    assert corpus.column("seconds") == pytest.approx([0.5] * 4, abs=1e-3)
    assert (corpus.name, corpus.root) == (tmp_path.name, tmp_path)
    assert corpus[1].path == tmp_path / "dog/a.wav"
    assert len(corpus.audio(2)) == 8000


def test_folder_splits_and_plain_folders(tmp_path, record):
    for file in ("a/train/dog/1.wav", "a/validation/cat/2.wav", "a/test/3.wav", "b/clips/1.wav", "b/clips/2.wav"):
        record(tmp_path / file)
    corpus = open_corpus(tmp_path / "a")
    assert [(c.split, c.labels) for c in corpus] == [("test", ()), ("train", ("dog",)), ("valid", ("cat",))]
    assert open_corpus(tmp_path / "a", split="val").column("file") == ["validation/cat/2.wav"]
    assert open_corpus(tmp_path / "b").column("label") == [None, None]
    with pytest.raises(CorpusError, match="no split 'held-out'; it has test, train, valid"):
        open_corpus(tmp_path / "a", split="held-out")


def test_names_with_spaces_unicode_and_line_breaks(tmp_path, record):
    names = ["a b.wav", "звук.wav", "two\nlines.wav", 'quo"te, comma.wav', "#1?.wav", "-rf.wav", "café.WAV"]
    for i, name in enumerate(names):
        record(tmp_path / "o dd" / name, seed=i)
    corpus = open_corpus(tmp_path / "o dd")
    assert sorted(corpus.column("file")) == sorted(names)
    for clip in corpus:
        np.testing.assert_array_equal(corpus.audio(clip.index), samples(clip.path))
    table = tmp_path / "o dd" / "metadata.csv"
    lines = ["file,label", *('"' + n.replace('"', '""') + '",x' for n in names[:-1]), "cafe\u0301.WAV,y"]
    table.write_text("\n".join(lines), encoding="utf-8")
    named = open_corpus(tmp_path / "o dd")
    assert sorted(named.column("file")) == sorted(names)
    assert unicodedata.normalize("NFC", next(c.file for c in named if c.labels == ("y",))) == "café.WAV"
    back = read_table(write_table(named, tmp_path / "t.parquet"))
    np.testing.assert_array_equal(back.audio(2), named.audio(2))


def test_a_name_that_is_no_text_is_reported(tmp_path, record):
    record(tmp_path / "good.wav")
    shutil.copy(tmp_path / "good.wav", os.fsencode(tmp_path) + b"/bad\xff.wav")
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["good.wav"]
    assert list(corpus.ledger.reasons().values()) == ["the name is not valid UTF-8; rename the file"]
    json.dumps(corpus.ledger.to_json()).encode()


def test_links_are_followed_but_not_in_circles(tmp_path, record):
    record(tmp_path / "far" / "a.wav")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "circle").symlink_to(tmp_path / "here")
    (tmp_path / "far" / "dead.wav").symlink_to(tmp_path / "nothing.wav")
    corpus = open_corpus(tmp_path / "here")
    assert corpus.column("file") == ["link/a.wav"]
    assert list(corpus.ledger.reasons()) == ["link/dead.wav"]


def test_label_table_in_the_folder(tmp_path, record):
    for i, file in enumerate(("clips/0.wav", "clips/1.wav", "clips/unlisted.wav")):
        record(tmp_path / file, seed=i)
    (tmp_path / "metadata.csv").write_text(
        "file,label,split,fold,source,seconds,take,midi,gain\n"
        "clips/0.wav,0,,1,007,0.5,01,60,0.5\n"
        "clips/1.wav,1;0,val,2,,,02,61,1.25\n"
        "clips/gone.wav,1,test,2,,0.5,03,,2.0\n",
        encoding="utf-8-sig",
    )
    (tmp_path / "events.csv").write_text(
        "file,onset,offset,label,snr\nclips/1.wav,0.1,0.25,dog,3\nclips/gone.wav,0,1,cat,1\n"
    )
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["clips/0.wav", "clips/1.wav"]
    assert corpus.column("label") == ["0", "1;0"]
    assert corpus.column("source") == ["007", None]
    assert corpus.column("split") == [None, "valid"]
    assert corpus.column("fold") == [1, 2]
    assert corpus.column("take") == ["01", "02"]
    assert corpus.column("midi") == [60, 61]
    assert corpus.column("gain") == [0.5, 1.25]
    assert corpus.column("seconds") == [0.5, 0.5]
    assert corpus.ledger.reasons() == {
        "clips/gone.wav": "metadata.csv names it, but there is no such file",
        "clips/unlisted.wav": "metadata.csv does not name it",
    }
    assert corpus.ledger.sentence.startswith(
        "2 of 4 recordings used; 2 skipped: 1 missing, 1 not in metadata.csv. 1 of 2 events used; 1 skipped"
    )
    assert corpus.notes == ()
    assert corpus.events == [Event("clips/1.wav", 0.1, 0.25, "dog")]
    inside = open_corpus(tmp_path / "clips")
    assert inside.column("file") == ["0.wav", "1.wav"]
    assert inside.column("label") == ["0", "1;0"]
    assert inside.events_of(1) == [Event("1.wav", 0.1, 0.25, "dog")]


def test_a_table_of_other_folders_beside_is_no_concern(tmp_path, record):
    record(tmp_path / "mine" / "dog" / "a.wav")
    record(tmp_path / "other" / "b.wav")
    (tmp_path / "labels.csv").write_text("file,label\nother/b.wav,cat\n")
    assert open_corpus(tmp_path / "mine").column("label") == ["dog"]


def test_csv_table_with_ranges(tmp_path, record):
    whole = samples(record(tmp_path / "audio" / "long.wav", seconds=3))
    (tmp_path / "cuts.csv").write_text("path;labels;start;duration\naudio/long.wav;x;0.5;1\naudio/long.wav;y;2;\n")
    corpus = open_corpus(tmp_path / "cuts.csv")
    assert [(c.start, c.seconds, c.labels) for c in corpus] == [(0.5, 1.0, ("x",)), (2.0, 1.0, ("y",))]
    np.testing.assert_array_equal(corpus.audio(0), whole[8000:24000])
    np.testing.assert_array_equal(corpus.audio(1), whole[32000:])


def test_parquet_table_of_paths(tmp_path, record):
    record(tmp_path / "a.wav")
    pq.write_table(pa.table({"file": ["a.wav"], "labels": [["x", "y"]], "level": [3]}), tmp_path / "t.parquet")
    corpus = open_corpus(tmp_path / "t.parquet")
    assert (corpus[0].labels, corpus[0].extra) == (("x", "y"), {"level": 3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists nothing"),
        ("file,label\n", "lists nothing"),
        ("name,label\na.wav,x\n", "no column for file names; found name, label, expected `file`"),
        ("file,label\na.wav,x,y\n", "line 2: 3 values, but the header names 2"),
        ("file,file\na.wav,x\n", "names a column twice"),
        ("file,fold\na.wav,one\n", "line 2: fold is 'one'; expected a whole number"),
        ("file,seconds\na.wav,long\n", "line 2: seconds is 'long'; expected seconds"),
        ("file,start,seconds\na.wav,-1,1\n", "the range is empty"),
        ("file,label\nx.wav,a\ny.wav,b\n", "names 2 files and none is there .such as 'x.wav', 'y.wav'"),
    ],
)
def test_bad_tables(tmp_path, record, text, message):
    record(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        open_corpus(tmp_path)


def test_names_written_on_windows(tmp_path, record):
    record(tmp_path / "clips" / "a.wav")
    (tmp_path / "metadata.csv").write_text("file,label\nclips\\a.wav,x\n")
    assert open_corpus(tmp_path).column("file") == ["clips/a.wav"]


def test_events_without_a_label_table(tmp_path, record):
    record(tmp_path / "a.wav")
    (tmp_path / "events.csv").write_text("file,onset,offset,label\na.wav,0.1,0.2,x\n")
    assert open_corpus(tmp_path).events == [Event("a.wav", 0.1, 0.2, "x")]
    (tmp_path / "events.csv").write_text("file,onset,label\na.wav,0.1,x\n")
    with pytest.raises(CorpusError, match="no column 'offset'"):
        open_corpus(tmp_path)


def test_a_table_that_is_not_utf8(tmp_path, record):
    record(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_bytes("file,label\na.wav,müll\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="not UTF-8"):
        open_corpus(tmp_path)


def test_what_is_missing_or_no_audio(tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "a.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"no folder or file .*recording; did you mean 'recordings'"):
        open_corpus(tmp_path / "recording")
    with pytest.raises(CorpusError, match=r"no folder or file"):
        open_corpus("x" * 5000)
    with pytest.raises(CorpusError, match=r"no folder or file"):
        open_corpus(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(CorpusError, match=r"no audio in .*: found 1 \.txt; expected recordings"):
        open_corpus(tmp_path / "recordings")
    with pytest.raises(CorpusError, match="is no corpus"):
        open_corpus(tmp_path / "recordings" / "a.txt")


def test_broken_headers_are_skipped(tmp_path, record):
    for i in range(3):
        record(tmp_path / f"{i}.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.flac").write_text("this is no audio at all")
    record(tmp_path / "zero.wav", np.zeros(0))
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["0.wav", "1.wav", "2.wav"]
    assert sorted(corpus.ledger.reasons()) == ["empty.wav", "text.flac", "zero.wav"]
    for i in range(3):
        (tmp_path / f"{i}.wav").unlink()
    with pytest.raises(CorpusError, match=r"no recording of .* can be used: 3 skipped, the first: empty\.wav"):
        open_corpus(tmp_path)


def test_unusual_recordings_open(tmp_path, record):
    rng = np.random.default_rng(0)
    record(tmp_path / "one.wav", np.array([0.5]))
    record(tmp_path / "eight.wav", 0.1 * rng.standard_normal((1600, 8)))
    record(tmp_path / "low.wav", rate=4000)
    record(tmp_path / "high.wav", rate=192000)
    record(tmp_path / "silent.wav", np.zeros(16000))
    corpus = open_corpus(tmp_path)
    lengths = {clip.file: len(corpus.audio(clip.index, 16000)) for clip in corpus}
    assert lengths == {"eight.wav": 1600, "high.wav": 8000, "low.wav": 8000, "one.wav": 1, "silent.wav": 16000}


def test_a_folder_of_corpora(tmp_path, record):
    for name in ("birds", "pumps", "plain"):
        record(tmp_path / name / "clips" / "0.wav", seed=len(name))
    for name in ("birds", "pumps"):
        (tmp_path / name / "metadata.csv").write_text(f"file,label\nclips/0.wav,{name[0]}\n")
    (tmp_path / "texts").mkdir()
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["birds/clips/0.wav", "plain/clips/0.wav", "pumps/clips/0.wav"]
    assert corpus.column("corpus") == ["birds", "plain", "pumps"]
    assert corpus.column("label") == ["b", None, "p"]
    np.testing.assert_array_equal(corpus.audio(2), samples(tmp_path / "pumps/clips/0.wav"))
    assert open_corpus(tmp_path, exclude=("birds",)).column("corpus") == ["plain", "pumps"]
    with pytest.raises(CorpusError, match="no corpus 'bird' to exclude; did you mean 'birds'"):
        open_corpus(tmp_path, exclude=("bird",))
    with pytest.raises(CorpusError, match="all 3 corpora"):
        open_corpus(tmp_path, exclude=("birds", "pumps", "plain"))
    with pytest.raises(CorpusError, match="one corpus, not a folder of several"):
        open_corpus(tmp_path / "birds", exclude=("pumps",))


def test_split_folders_with_tables_of_their_own(tmp_path, record):
    for split in ("train", "validation"):
        record(tmp_path / split / "0.wav")
        (tmp_path / split / "metadata.csv").write_text("file_name,label\n0.wav,x\n")
    assert open_corpus(tmp_path).column("split") == ["train", "valid"]


def test_lists_and_plus(tmp_path, record):
    record(tmp_path / "a" / "x.wav")
    record(tmp_path / "b" / "x.wav")
    record(tmp_path / "a+b" / "x.wav")
    both = open_corpus([tmp_path / "a", tmp_path / "b"])
    assert both.column("file") == ["a/x.wav", "b/x.wav"]
    assert open_corpus(f"{tmp_path / 'a'}+{tmp_path / 'b'}", name="mine").name == "mine"
    assert len(open_corpus(tmp_path / "a+b")) == 1


def test_builtin_corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    corpus = open_corpus("builtin:scenes?clips=2&seed=3&seconds=1")
    assert len(corpus) == 2
    assert corpus.events


@pytest.mark.real
def test_real_corpora_open(shared_audio):
    esc10 = open_corpus(shared_audio / "esc10")
    assert (len(esc10), len(esc10.classes), set(esc10.column("fold"))) == (400, 10, {1, 2, 3, 4, 5})
    assert len(esc10.audio(0, 16000)) == pytest.approx(5 * 16000, rel=0.01)
    everything = open_corpus(shared_audio, exclude=("esc10", "sed_synth"))
    assert len(everything) == 5750
    assert everything.ledger.came["recording"] >= 5750
    assert {"esc10", "sed_synth", "audiocaps_text"}.isdisjoint(everything.column("corpus"))
    assert len(set(everything.column("file"))) == 5750
    drums = open_corpus(shared_audio / "mdb_drums")
    assert len(drums.events) == 1715
    assert drums.filter(lambda clip: "80sRock" in clip.file)[0].labels == ("CY", "KD", "SD")
