"""The fast ways of reading tables give what the slow ones give, and take little memory."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.corpus.readers import ranges, text_table
from auricle.corpus.readers.ranges import numbers
from auricle.corpus.readers.repeated_rows import _alike
from auricle.corpus.readers.text_table import read_text_table
from auricle.corpus.sources import open_corpus
from auricle.errors import CorpusError

CELLS = st.text(alphabet="ab1.-'=\"\n\r ,;ü", max_size=6)


def _read(path: Path, fast: bool) -> object:
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr(text_table, "_read_fast", lambda *_: None)
        try:
            read = read_text_table(path, ("file",))
        except CorpusError as error:
            return str(error)
        count = len(next(iter(read.columns.values())))
        return read.columns, [read.line(row) for row in range(count)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
def test_both_readers_read_quoted_tables_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], quoting: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "quoted.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=quoting).writerows([("file", "x"), *rows])
    assert _read(path, True) == _read(path, False)


@pytest.mark.parametrize(
    "line", ['a"b,c', '"a"b,c', '"a" ,b', ' "a",b', 'a, "b"', '"a"",b"', '"a,b', 'a,"b', '"",b', '"",""', "'=a,''-b"]
)
def test_both_readers_read_odd_quotes_alike(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.csv").write_text(f"file,x\n{line}\nlast,row\n")
    assert _read(tmp_path / "t.csv", True) == _read(tmp_path / "t.csv", False)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.none() | st.sampled_from(["", "nan", "-NaN", "inf", "N/A", "1e400", "+1", "1_0"]) | st.floats().map(str)
             | st.text(alphabet="0123456789.,- e", max_size=5), max_size=4),
    st.sampled_from(["seconds", "a whole number"]),
    st.booleans(),
)  # fmt: skip
def test_numbers_are_those_of_python(values: list[str | None], wanted: str, comma: bool) -> None:
    def read() -> object:
        try:
            return numbers(values, wanted, "x", lambda row: f"row {row}", comma)
        except CorpusError as error:
            return str(error)

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "_cast", lambda *_: None)
        assert repr(fast) == repr(read())


RANGE = st.sampled_from([None, 0.0, 1.5])


@given(st.lists(st.tuples(st.sampled_from("ab"), RANGE, RANGE), max_size=8))
def test_repeated_clips_are_those_of_equal_keys(rows: list[tuple[str, float | None, float | None]]) -> None:
    groups: dict[object, list[int]] = {}
    for i, (file, start, span) in enumerate(rows):
        groups.setdefault((file, start, None if start is None else span), []).append(i)
    files, starts, spans = ([row[place] for row in rows] for place in range(3))
    assert _alike(files, starts, spans) == [group for group in groups.values() if len(group) > 1]


@pytest.mark.parametrize("quoting", ["plain", "quoted"])
def test_a_row_takes_few_bytes(tmp_path: Path, record, monkeypatch: pytest.MonkeyPatch, quoting: str) -> None:
    for i in range(4):
        record(tmp_path / f"{i}.wav", seconds=1.0, rate=8000)
    rows = np.arange(20_000)
    quote = '"' if quoting == "quoted" else ""
    lines = [f"{quote}{i % 4}.wav{quote},{'xyz'[i % 3]},{i // 4 * 0.0001:.4f},0.1,train\n" for i in rows.tolist()]
    (tmp_path / "t.csv").write_text("file,label,start,seconds,split\n" + "".join(lines))
    monkeypatch.setattr(text_table, "_rows", lambda *_: pytest.fail("it was read line by line"))
    open_corpus(tmp_path / "t.csv")
    tracemalloc.start()
    corpus = open_corpus(tmp_path / "t.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(corpus) == len(rows)
    # Python's objects: lists of some columns, without a text or tuple of each row.
    assert peak / len(rows) < 300
