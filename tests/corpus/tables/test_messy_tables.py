"""Tables of clips as people have them: what is plain is read and said, what is a guess is refused with its line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auricle.corpus.readers import text_table
from auricle.corpus.readers.text_table import read_csv, read_text_table
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError

FILES = ("a.wav", "b.wav", "c.wav", "d.wav")
LABELS = [("x",), ("x",), ("y",), ("y",)]


@pytest.fixture
def table(tmp_path: Path, record: Callable[..., Path]) -> Callable[..., Corpus]:
    """Four recordings of one second; writes a table beside them and opens it."""
    for i, name in enumerate(FILES):
        record(tmp_path / name, seconds=1.0, rate=8000, seed=i)

    def make(text: str | bytes, name: str = "metadata.csv") -> Corpus:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return open_corpus(tmp_path if name == "metadata.csv" else tmp_path / name)

    return make


PLAIN = "file,label\na.wav,x\nb.wav,x\nc.wav,y\nd.wav,y\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (PLAIN, "metadata.csv"),
        ("\ufeff" + PLAIN.replace("\n", "\r\n"), "metadata.csv"),
        (PLAIN.replace("\n", "\r"), "metadata.csv"),
        ("sep=;\n" + PLAIN.replace(",", ";"), "metadata.csv"),
        ('\ufeff"sep=|"\n' + PLAIN.replace(",", "|"), "metadata.csv"),
        (PLAIN.replace(",", ";"), "metadata.csv"),
        (PLAIN.replace(",", "|"), "metadata.csv"),
        (PLAIN.replace(",", ","), "t.tsv"),
        ("\n\n" + PLAIN.replace("\nb", "\n\n,\n , \nb") + ",\n\n", "metadata.csv"),
        (PLAIN.replace("\n", ",,,\n"), "metadata.csv"),
        (PLAIN.replace("wav,", "wav ,  ").replace("\n", " \n"), "metadata.csv"),
        ('file , label\n"a.wav" , "x"\n"b.wav","x"\n"c.wav", "y"\n"d.wav" ,"y" \n', "metadata.csv"),
        (PLAIN.replace("\n", ",,\n").replace("a.wav", '"a.wav"'), "metadata.csv"),
        (PLAIN.replace(",", "\t").replace("a.wav", '"a.wav"'), "t.tsv"),
        (PLAIN.replace("file,label", "FileName,Category"), "metadata.csv"),
        (PLAIN.replace("a.wav", "./a.wav").replace("b.wav", ".\\b.wav"), "metadata.csv"),
        (PLAIN.replace(".wav", ".WAV"), "metadata.csv"),
        (PLAIN.replace(".wav", ""), "metadata.csv"),
        (PLAIN.replace("a.wav", "C:\\Users\\me\\rec\\a.wav").replace("c.wav", "/home/me/c.wav"), "metadata.csv"),
        (PLAIN.replace("label", "label,file2").replace("x\n", "x,1\n").replace("y\n", "y,\n"), "metadata.csv"),
    ],
)
def test_tables_of_plain_meaning_are_read(table: Callable[..., Corpus], text: str, name: str) -> None:
    corpus = table(text, name)
    assert (tuple(corpus.column("file")), corpus.labels) == (FILES, LABELS)
    assert corpus.ledger.sentence == "4 of 4 recordings used"
    changed = any(words in text for words in (".WAV", "a,x", "C:"))
    assert any("found by" in note for note in corpus.notes) == changed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\nb.wav,x\na,x\n", "a.wav, a.wave"),
        ("file,start\na.wav,0.1\nb.wav,0x3\n", r"line 3: start is '0x3'; expected seconds or nothing$"),
        (
            'file,start\na.wav,"0,1"\n',
            r"line 2: start is '0,1'; .* a decimal comma is read only in tables with semicol",
        ),
        ("file,fold\na.wav,1\nb.wav,1.5\n", r"line 3: fold is '1.5'; expected a whole number"),
        ("file,fold\na.wav,1\n\nb.wav,fold2\n", r"line 4: fold is 'fold2'"),
        ("file,label\na.wav,x\nb.wav,x,y\n", r"line 3: 3 values, but the header names 2"),
        ("file,label\na.wav,x\nb.wav\n", r"line 3: 1 value, but the header names 2"),
        ("file,label,file\na.wav,x,y\n", "names a column twice"),
        (PLAIN.encode("utf-16"), "is not UTF-8 .*save it as UTF-8"),
        (PLAIN.encode("utf-16-le"), "is not UTF-8 .*save it as UTF-8"),
        (PLAIN.replace("x", "ö").encode("latin-1"), "is not UTF-8 .*save it as UTF-8"),
        ("a.wav,x\nb.wav,y\n", "has no column for file names; found a.wav, x"),
        (
            'file,text,label\na.wav,"Hello, he said,x\nb.wav,b,x\nc.wav,"Bye",y\n',
            r"line 2: a quote opens here and closes",
        ),
        ('file,text,label\na.wav,b,x\nb.wav,"Hello\nc.wav,c,x\nd.wav,d,y\n', r"line 3: a quote opens here"),
        ("file,start_ms,end_s\na.wav,1,2\n", "have different units"),
    ],
)
def test_guesses_are_refused(table: Callable[..., Corpus], tmp_path: Path, text: str | bytes, words: str) -> None:
    if "a.wave" in words:
        (tmp_path / "a.flac").write_bytes(b"x")
        corpus = table(text)
        assert "a.flac, a.wav; which of them is meant is not clear" in corpus.ledger.reasons()["a"]
        return
    with pytest.raises(CorpusError, match=words):
        table(text)


def test_quotes_between_tabs_are_text(table: Callable[..., Corpus], tmp_path: Path) -> None:
    """Speech corpora write sentences without quoting: an odd quote must not swallow the rows up to the next one."""
    rows = [
        "path\tsentence\tlabel",
        'a.wav\t"Hi, he said\tx',
        "b.wav\tb\tx",
        'c.wav\tc "quoted" word\ty',
        'd.wav\tend"\ty',
    ]
    corpus = table("\n".join(rows), "t.tsv")
    assert (tuple(corpus.column("file")), corpus.labels) == (FILES, LABELS)
    assert corpus.column("sentence") == ['"Hi, he said', "b", 'c "quoted" word', 'end"']
    (tmp_path / "q.tsv").write_text('file\tnote\na.wav\t"a ""b"" c"\n')
    assert read_csv(tmp_path / "q.tsv")["note"] == ['a "b" c']
    with pytest.raises(CorpusError, match="between tabs no value may hold a tab or a line break"):
        table('file\tnote\na.wav\t"two\nlines"\n', "r.tsv")


def test_a_line_break_in_a_quoted_remark_is_kept(table: Callable[..., Corpus]) -> None:
    corpus = table('file,remark,label\na.wav,"windy,\nthen rain",x\nb.wav,,x\nc.wav,,y\nd.wav,,y\n')
    assert (corpus.column("remark")[0], corpus.labels) == ("windy,\nthen rain", LABELS)


@pytest.mark.parametrize("quoted", [False, True])
def test_both_readers_give_the_same_values_and_lines(tmp_path: Path, quoted: bool) -> None:
    text = "id, file ,x,\r\n1, a ,1.10,\r\n,,,\r\n\r\n2,b,,\r\n 3,ü,é;f,\r\n"
    (tmp_path / "t.csv").write_text(text + ('4,"g",,\r\n' if quoted else "4,g,,\r\n"), newline="", encoding="utf-8-sig")
    read = read_text_table(tmp_path / "t.csv")
    assert read.columns == {
        "id": ["1", "2", "3", "4"], "file": ["a", "b", "ü", "g"], "x": ["1.10", None, "é;f", None],
    }  # fmt: skip
    assert [read.line(i) for i in range(4)] == [2, 5, 6, 7]


@pytest.mark.parametrize("sign", [";", "\t"])
def test_numbers_with_a_decimal_comma_are_read_where_no_comma_divides(table: Callable[..., Corpus], sign: str) -> None:
    text = "file;start;seconds;label\na.wav;0,05;0,2;x\nb.wav;0,5;;y\n"
    corpus = table(text.replace(";", sign))
    assert (corpus.column("start"), corpus.column("seconds")) == ([0.05, 0.5], [0.2, 0.5])


def test_values_of_numbers_that_are_missing_or_floats(table: Callable[..., Corpus], tmp_path: Path) -> None:
    assert table("file,fold\na.wav,\nb.wav,2.0\nc.wav,NA\nd.wav,3\n").column("fold") == [None, 2, None, 3]
    assert table("file,version,gain\na.wav,1.10,1.5\nb.wav,1.9,0.25\n").column("version") == ["1.10", "1.9"]
    nan = float("nan")
    made = pa.table({"file": list(FILES), "label": [1.0, nan, 0.0, None], "class_": ["NA", "None", "nan", None]})
    pq.write_table(made, tmp_path / "l.parquet")
    corpus = open_corpus(tmp_path / "l.parquet")
    assert corpus.labels == [("1",), (), ("0",), ()]
    assert corpus.column("class_") == ["NA", "None", "nan", None]
    pq.write_table(pa.table({"file": list(FILES), "label": [0.5, 1.0, nan, 2.0]}), tmp_path / "h.parquet")
    assert open_corpus(tmp_path / "h.parquet").labels == [("0.5",), ("1.0",), (), ("2.0",)]


@pytest.mark.usefixtures("table")
def test_parquet_columns_of_any_type_are_no_obstacle(tmp_path: Path) -> None:
    kinds = {
        "key": pa.array([uuid.UUID(int=i).bytes for i in range(4)], pa.uuid()),
        "more": pa.array(['{"a": 1}', None, "[]", "2"], pa.json_()),
        "cost": pa.array([Decimal("1.5"), None, Decimal("1.5"), Decimal("2")], pa.decimal32(4, 1)),
        "size": pa.array([{"x": 1}, None, {"x": 1}, {"x": 2}]),
        "class_": pa.array(["a", None, "a", "b"]).dictionary_encode(),
    }
    made = pa.table({"file": list(FILES), "label": ["a", "b", "a", None], **kinds})
    pq.write_table(made, tmp_path / "k.parquet")
    corpus = open_corpus(tmp_path / "k.parquet")
    assert corpus.labels == [("a",), ("b",), ("a",), ()]
    assert corpus.column("class_") == ["a", None, "a", "b"]
    assert str(corpus.column("key")[3]) == str(uuid.UUID(int=3))


def test_one_row_per_label_is_one_clip_with_several_labels(table: Callable[..., Corpus]) -> None:
    corpus = table("file,label,site\na.wav,x,1\na.wav,rain,1\nb.wav,x,2\na.wav,x,1\nb.wav,,2\n./b.wav,y,2\n")
    assert (corpus.column("file"), corpus.labels) == (["a.wav", "b.wav"], [("x", "rain"), ("x", "y")])
    assert corpus.ledger.sentence == (
        "2 of 4 recordings used; 2 skipped: 2 not in metadata.csv. 5 of 6 rows used; 1 skipped: 1 repeated"
    )
    assert corpus.ledger.skipped("row")[0].name.endswith("line 5")
    assert corpus.ledger.skipped("row")[0].reason == "it repeats line 2"
    assert any("merged into several labels: 2 clips" in note for note in corpus.notes)


def test_ranges_of_one_recording_are_clips_of_their_own(table: Callable[..., Corpus]) -> None:
    corpus = table("file,start,end,label\na.wav,0,0.5,x\na.wav,0.5,1,x\na.wav,0,0.5,y\na.wav,0,0.5,x\n")
    assert corpus.labels == [("x", "y"), ("x",)]
    assert corpus.column("start") == [0.0, 0.5]


def test_contradictory_rows_are_skipped_and_said_with_their_lines(table: Callable[..., Corpus]) -> None:
    corpus = table("file,label,split\na.wav,x,train\nb.wav,x,train\na.wav,x,test\nc.wav,y,Test\nd.wav,y,TRAIN\n")
    assert corpus.column("file") == ["b.wav", "c.wav", "d.wav"]
    assert corpus.ledger.reasons()["a.wav"] == "its split is 'train' on line 2 and 'test' on line 4"
    assert corpus.column("split") == ["train", "test", "train"]
    captions = table("file,text\na.wav,one\na.wav,two\n")
    assert captions.column("text") == ["one", "two"]
    assert any("differ in text, so that each is a clip: 1 recording" in note for note in captions.notes)


def test_labels_that_differ_in_case_are_said(table: Callable[..., Corpus]) -> None:
    corpus = table("file,label\na.wav,rain\nb.wav,Rain;x\nc.wav,rain\n")
    assert any("rain (2), Rain (1)" in note for note in corpus.notes)
    assert not any("case" in note for note in table(PLAIN).notes)


RANGES = [((0.0, 0.5), (0.5, 1.0)), ((0.25, 0.75), (0.0, 0.25))]


@pytest.mark.parametrize(
    "names",
    [
        ("start_time", "end_time"), ("begin_time", "end_time"), ("Begin Time (s)", "End Time (s)"), ("start", "end"),
        ("start", "seconds"), ("offset", "duration"), ("start_s", "duration_s"), ("start_ms", "end_ms"),
        ("offset (ms)", "duration (ms)"), ("tmin", "tmax"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("milli", [False, True])
def test_usual_columns_of_ranges(table: Callable[..., Corpus], names: tuple[str, str], milli: bool) -> None:
    """Units are known by name, or by what fits the recordings."""
    by_name = "ms" in names[0]
    if (
        (by_name and not milli)
        or (names[0] == "Begin Time (s)" and milli)
        or (names[0] == "start_s" and milli)
        or (names[1] == "seconds" and milli)
    ):
        return
    scale = 1000 if milli else 1
    length = names[1].partition(" ")[0].partition("_")[0] in ("seconds", "duration")
    lines = [f"file,{names[0]},{names[1]},label"]
    for file, ranges in zip(FILES, RANGES, strict=False):
        for (begin, end), label in zip(ranges, "xy", strict=True):
            lines.append(f"{file},{begin * scale:g},{(end - begin if length else end) * scale:g},{label}")
    corpus = table("\n".join(lines) + "\n")
    assert corpus.column("start") == [0.0, 0.5, 0.25, 0.0]
    assert corpus.column("seconds") == pytest.approx([0.5, 0.5, 0.5, 0.25])
    assert corpus.labels == [("x",), ("y",)] * 2
    assert corpus.ledger.used == {"recording": 2, "row": 4, "file": 1}
    assert any("read as milliseconds" in note for note in corpus.notes) == (milli and not by_name)


def test_units_that_are_a_guess_are_refused_and_the_remedy_works(table: Callable[..., Corpus], tmp_path: Path) -> None:
    lines = ["file,start_time,end_time,label", "a.wav,0,0.9,x", "b.wav,0.5,0.9,x", "c.wav,100,900,y"]
    with pytest.raises(
        CorpusError, match=r"line 4: start_time and end_time lie beyond .* on line 2 they fit as"
    ) as hit:
        table("\n".join(lines))
    assert "name the columns start_time_ms and end_time_ms" in str(hit.value)
    corpus = table("\n".join([lines[0].replace("_time", "_time_ms"), lines[3]]))
    assert (corpus.column("start"), corpus.column("seconds")) == ([0.1], [pytest.approx(0.8)])


def test_times_beyond_the_recording(table: Callable[..., Corpus]) -> None:
    good = "".join(f"{file},0.{i},0.9,x\n" for i in range(5) for file in FILES)
    corpus = table(f"file,start,end,label\n{good}a.wav,0.5,1.5,y\nb.wav,7,8,y\nc.wav,-1,0.5,y\n")
    assert corpus.ledger.sentence == (
        "4 of 4 recordings used. 21 of 23 rows used; 2 skipped: 1 outside the recording, 1 empty range"
    )
    assert corpus.column("seconds")[-1] == 0.5
    assert "cut at the end of the recording: 1 row of the table" in corpus.notes


def test_durations_are_compared_with_the_recordings(table: Callable[..., Corpus]) -> None:
    lines = "file,duration,label\na.wav,{},x\nb.wav,{},x\nc.wav,{},y\nd.wav,{},y\n"
    milli = table(lines.format(*[1000] * 4))
    assert milli.column("seconds") == [1.0] * 4
    assert any("duration: read as milliseconds" in note for note in milli.notes)
    wrong = table(lines.format(1, 1, 1, 5))
    assert wrong.column("seconds") == [1.0] * 4
    assert any(
        "the duration differs from the recording's length, which was used: 1 row" in note for note in wrong.notes
    )
    clock = table(lines.replace("duration", "start_time").format("06:30", "07:00", "2021-05-01", ""))
    assert clock.column("seconds") == [1.0] * 4
    assert "column 'start_time' holds no seconds and was not read as a time" in clock.notes


def test_splits_in_any_case(table: Callable[..., Corpus], tmp_path: Path) -> None:
    table("file,split\na.wav,TRAIN\nb.wav,Test\nc.wav,Dev\nd.wav,Extra\n")
    for asked, files in (("train", ["a.wav"]), ("TEST", ["b.wav"]), ("valid", ["c.wav"]), ("extra", ["d.wav"])):
        assert open_corpus(tmp_path, split=asked).column("file") == files
    with pytest.raises(CorpusError, match="it has Extra, test, train, valid"):
        open_corpus(tmp_path, split="other")


def test_json_lines_may_hold_line_separators_in_a_text(table: Callable[..., Corpus], tmp_path: Path) -> None:
    lines = [json.dumps({"file": file, "text": "a\u2028b"}, ensure_ascii=False) for file in FILES]
    (tmp_path / "metadata.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert open_corpus(tmp_path).column("text") == ["a\u2028b"] * 4


def test_the_lines_of_many_skipped_rows_are_found_in_one_pass(
    table: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    rows = text_table._rows
    monkeypatch.setattr(text_table, "_rows", lambda *what: passes.append(what) or rows(*what))
    corpus = table(PLAIN + "\n" + "".join(f"gone{i}.wav,x\n" for i in range(20_000)))
    assert len(passes) == 1
    assert [entry.name.rpartition(" ")[2] for entry in corpus.ledger.skipped("row")] == [
        str(i + 7) for i in range(20_000)
    ]


def test_an_end_alone_is_that_of_a_range_from_the_recordings_begin(table: Callable[..., Corpus]) -> None:
    corpus = table("file,label,end\na.wav,x,0.25\nb.wav,x,500e-3\nc.wav,y,\nd.wav,y,9\n")
    assert corpus.column("start") == [0.0] * 4
    assert corpus.column("seconds") == pytest.approx([0.25, 0.5, 1.0, 1.0])
    assert [corpus.is_whole(i) for i in range(4)] == [False, False, True, False]
    assert "clips are ranges from 0 s on: column 'end' is there without one of begins" in corpus.notes
    both = table("file,label,duration,end\na.wav,x,1.0,0.25\n")
    assert both.column("seconds") == [1.0]
    assert "column 'end' was not read as a time, since no column of begins is there" in both.notes
    words = table("file,label,end\na.wav,x,noon\n")
    assert words.column("end") == ["noon"]
