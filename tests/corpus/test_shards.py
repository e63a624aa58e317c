from __future__ import annotations

import io
import json
import tarfile

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from auricle.corpus.readers.table_file import read_table, write_table
from auricle.corpus.sources import open_corpus
from auricle.errors import AudioError, CorpusError


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


def test_tar_shards_are_read_in_place(tmp_path):
    data = [flac(i) for i in range(4)]
    tar_of(
        tmp_path / "train-000.tar",
        [
            ("s/0.flac", data[0]),
            ("s/0.cls", b"dog"),
            ("s/1.flac", data[1]),
            ("s/1.json", json.dumps({"label": ["cat", "dog"], "source": "x", "level": 2}).encode()),
            ("s/readme.md", b"nothing"),
        ],
    )
    tar_of(tmp_path / "test-000.tar", [("2.seg1.flac", data[2]), ("2.txt", b"a dog barks"), ("3.flac", data[3])])
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == [
        "test-000/2.seg1.flac",
        "test-000/3.flac",
        "train-000/s/0.flac",
        "train-000/s/1.flac",
    ]
    assert corpus.column("split") == ["test", "test", "train", "train"]
    assert corpus.labels == [("a dog barks",), (), ("dog",), ("cat", "dog")]
    assert corpus.column("text") == ["a dog barks", None, None, None]
    assert corpus.column("level") == [None, None, None, 2]
    assert corpus.column("seconds") == pytest.approx([0.3] * 4)
    for row, i in enumerate((2, 3, 0, 1)):
        expected = sf.read(io.BytesIO(data[i]), dtype="float32")[0]
        np.testing.assert_array_equal(corpus.audio(row), expected)
    assert corpus[0].path is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test-000.tar", "train-000.tar"]
    back = read_table(write_table(corpus, tmp_path / "t.parquet"))
    np.testing.assert_array_equal(back.audio(3), corpus.audio(3))
    alone = open_corpus(tmp_path / "train-000.tar")
    assert alone.column("file") == ["s/0.flac", "s/1.flac"]


def test_damaged_tars(tmp_path):
    good = tar_of(tmp_path / "a.tar", [("0.flac", flac(0)), ("1.flac", flac(1))])
    whole = good.read_bytes()
    tar_of(tmp_path / "b.tar", [("0.flac", flac(2)), ("1.wav", b"no audio"), ("0.json", b"{no json")])
    (tmp_path / "c.tar").write_bytes(whole[: len(flac(0)) + 1024 + 600])
    (tmp_path / "d.tar").write_bytes(b"this is no tar" * 100)
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["a/0.flac", "a/1.flac", "b/0.flac", "c/0.flac"]
    causes = sorted(entry.cause for entry in corpus.ledger.entries)
    assert causes == ["corrupt", "cut off", "cut off", "no valid JSON", "unreadable"]
    with pytest.raises(CorpusError, match="can't be opened as an uncompressed tar"):
        open_corpus(tmp_path / "d.tar")
    (tmp_path / "e.tar.gz").write_bytes(b"")
    with pytest.raises(CorpusError, match="is compressed"):
        open_corpus(tmp_path / "e.tar.gz")
    good.write_bytes(whole[:1500])
    with pytest.raises(AudioError, match=r"a\.tar: member '1\.flac' is truncated"):
        corpus.audio(1)


def test_parquet_shards(tmp_path):
    data = [flac(i) for i in range(3)]
    kinds = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for shard, rows in enumerate(([0, 1], [2])):
        table = pa.table(
            {
                "audio": pa.array([{"bytes": data[i], "path": f"{i}.flac"} for i in rows], type=kinds),
                "label": [f"c{i}" for i in rows],
                "fold": rows,
            }
        )
        pq.write_table(table, tmp_path / f"part-{shard}.parquet")
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["0.flac", "1.flac", "2.flac"]
    assert (corpus.column("label"), corpus.column("fold")) == (["c0", "c1", "c2"], [0, 1, 2])
    for i in range(3):
        np.testing.assert_array_equal(corpus.audio(i), sf.read(io.BytesIO(data[i]), dtype="float32")[0])
    back = read_table(write_table(corpus.select([2, 0]), tmp_path.parent / "sub.parquet"))
    np.testing.assert_array_equal(back.audio(0), corpus.audio(2))


def test_parquet_shards_with_broken_rows(tmp_path):
    pq.write_table(pa.table({"audio": [flac(0), b"no audio", None], "name": ["x", "y", "z"]}), tmp_path / "p.parquet")
    corpus = open_corpus(tmp_path / "p.parquet")
    assert corpus.column("name") == ["x"]
    assert corpus.ledger.sentence == "1 of 3 recordings used; 2 skipped: 2 corrupt"
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="no readable Parquet"):
        open_corpus(tmp_path / "bad.parquet")


def test_hub_folder_of_files(tmp_path, record):
    """A local folder takes the same path through the data sets library as an id of the Hub."""
    for split, files in (("train", ("dog/0.wav", "cat/1.wav")), ("test", ("dog/2.wav",))):
        for file in files:
            record(tmp_path / "set" / split / file, seed=int(file[4]))
    corpus = open_corpus(f"hub:{tmp_path / 'set'}")
    assert sorted(zip(corpus.column("split"), corpus.column("label"), strict=True)) == [
        ("test", "dog"),
        ("train", "cat"),
        ("train", "dog"),
    ]
    assert corpus.name == "set"
    row = corpus.column("split").index("test")
    np.testing.assert_array_equal(corpus.audio(row), samples(tmp_path / "set" / "test" / "dog" / "2.wav"))
    assert len(open_corpus(f"hub:{tmp_path / 'set'}", split="train")) == 2
    assert len(open_corpus(f"hub:{tmp_path / 'set'}?split=test")) == 1
    with pytest.raises(CorpusError, match="BuilderConfig 'big' not found"):
        open_corpus(f"hub:{tmp_path / 'set'}?config=big")


def test_hub_folder_is_downloaded_once(tmp_path, record, monkeypatch):
    record(tmp_path / "train" / "x" / "0.wav")
    (tmp_path / "train" / "metadata.jsonl").write_text('{"file_name": "x/0.wav", "label": "y"}\n')
    asked = []
    monkeypatch.setattr("auricle.corpus.sources.layout_of", lambda *_: "audiofolder")
    monkeypatch.setattr("auricle.corpus.sources.download_folder", lambda name: asked.append(name) or tmp_path)
    corpus = open_corpus("hub:user/pets")
    assert (asked, corpus.name) == (["user/pets"], "pets")
    assert [(c.file, c.labels, c.split) for c in corpus] == [("train/x/0.wav", ("y",), "train")]


def test_hub_splits_through_the_real_loader(tmp_path):
    kinds = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "set" / "data").mkdir(parents=True)
    for split, seed in (("train", 0), ("validation", 1)):
        audio = pa.array([{"bytes": flac(seed), "path": "same.flac"}, {"bytes": flac(seed + 5)}], type=kinds)
        table = pa.table({"audio": audio, "category": ["a", "b"]})
        pq.write_table(table, tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet")
    corpus = open_corpus(f"hub:{tmp_path / 'set'}")
    assert corpus.column("split") == ["train", "train", "valid", "valid"]
    assert corpus.column("label") == ["a", "b", "a", "b"]
    assert len(set(corpus.column("file"))) == 4
    assert open_corpus(f"hub:{tmp_path / 'set'}?split=validation").column("label") == ["a", "b"]
    assert open_corpus(f"hub:{tmp_path / 'set'}", split="valid").column("split") == ["valid", "valid"]
    np.testing.assert_array_equal(corpus.audio(3), sf.read(io.BytesIO(flac(6)), dtype="float32")[0])
    back = read_table(write_table(corpus, tmp_path / "t.parquet"))
    np.testing.assert_array_equal(back.audio(2), corpus.audio(2))
    with pytest.raises(CorpusError, match="split 'nothing' can't be loaded"):
        open_corpus(f"hub:{tmp_path / 'set'}?split=nothing")


def test_hub_parquet_with_class_labels(tmp_path):
    features = datasets.Features(
        {
            "audio": datasets.Audio(),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["a", "b", "c"])),
        }
    )
    audio = pa.array([{"bytes": flac(i), "path": None} for i in range(2)], type=datasets.Audio.pa_type)
    table = pa.table({"audio": audio, "label": [1, 0], "tags": [[0, 2], []]})
    about = json.dumps({"info": {"features": features.to_dict()}})
    (tmp_path / "set").mkdir()
    pq.write_table(table.replace_schema_metadata({"huggingface": about}), tmp_path / "set" / "train.parquet")
    corpus = open_corpus(f"hub:{tmp_path / 'set'}")
    assert corpus.column("label") == ["yes", "no"]
    assert corpus.column("tags") == [["a", "c"], []]
    assert len(corpus.audio(1)) == 4800


def test_hub_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusError, match=r"the data set .* can't be loaded"):
        open_corpus(f"hub:{tmp_path / 'nothing'}")
    with pytest.raises(CorpusError, match="is not understood"):
        open_corpus("hub:user/name?subset=x")
    (tmp_path / "texts").mkdir()
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "texts" / "train.parquet")
    with pytest.raises(CorpusError, match="no column of the data set holds audio; found text"):
        open_corpus(f"hub:{tmp_path / 'texts'}")
