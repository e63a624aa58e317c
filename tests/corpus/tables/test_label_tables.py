"""Tables of clips: names and types of columns, and what is refused."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auricle.corpus.readers.label_table import ALIASES, SPLITS, read_label_table, tidy_columns, tidy_split
from auricle.corpus.readers.text_table import read_csv
from auricle.errors import CorpusError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n\t"), max_size=8)


def tidy(**columns: list) -> dict:
    return tidy_columns({"file": ["a.wav"] * len(next(iter(columns.values()))), **columns}, "table.csv")


@pytest.mark.parametrize(("ours", "theirs"), [(ours, other) for ours, others in ALIASES.items() for other in others])
def test_names_of_other_tools_are_ours(ours: str, theirs: str) -> None:
    given_columns = {theirs.upper(): ["1"]} if ours == "file" else {"file": ["a.wav"], theirs.upper(): ["1"]}
    found = tidy_columns(given_columns, "t")
    assert found[ours] == [1.0 if ours in ("start", "seconds") else "1"]
    assert theirs.upper() not in found


def test_our_name_comes_before_an_alias_which_stays_a_column() -> None:
    found = tidy(label=["dog"], category=["pet"])
    assert (found["label"], found["category"]) == (["dog"], ["pet"])


def test_labels_and_sources_stay_text_and_lists_are_joined() -> None:
    found = tidy(label=[0, ["a", "b"], [], "", None], source=["007", 7, 7.5, None, ""])
    assert found["label"] == ["0", "a;b", None, None, None]
    assert found["source"] == ["007", "7", "7.5", None, None]


@pytest.mark.parametrize(("theirs", "ours"), [*SPLITS.items(), ("Train", "train"), ("fold_a", "fold_a"), (None, None)])
def test_splits_have_their_usual_names(theirs: str | None, ours: str | None) -> None:
    assert tidy_split(theirs) == ours
    known = (*SPLITS, *SPLITS.values())
    assert tidy_split(theirs and theirs.upper()) == (
        ours if theirs and theirs.lower() in known else theirs and theirs.upper()
    )


@given(numbers=st.lists(st.one_of(st.none(), st.integers(-(10**18) + 1, 10**18 - 1)), min_size=1))
def test_whole_numbers_become_numbers_and_come_back(numbers: list[int | None]) -> None:
    texts = [None if n is None else str(n) for n in numbers]
    found = tidy(year=texts)["year"]
    assert found == numbers
    assert all(value is None or type(value) is int for value in found)


@pytest.mark.parametrize(
    "values",
    [
        ["007", "12"],
        ["1", "two"],
        ["1.10", "1.2"],
        ["-0"],
        ["1e5"],
        ["+3"],
        ["1,5"],
        ["nan"],
        ["1234567890123456789012"],
    ],
)
def test_what_would_not_come_back_stays_text(values: list[str]) -> None:
    assert tidy(code=values)["code"] == values


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("fold", 2.7, "a whole number"),
        ("fold", "2.5", "a whole number"),
        ("fold", math.inf, "a whole number"),
        ("fold", [1], "a whole number"),
        ("seconds", "long", "seconds"),
        ("seconds", "inf", "seconds"),
        ("start", -math.inf, "seconds"),
        ("start", {"at": 1}, "seconds"),
    ],
)
def test_numbers_that_are_none_are_refused_with_their_row(column: str, value: object, wanted: str) -> None:
    """A fold of 2.7 must not become fold 2, nor an endless clip a length."""
    with pytest.raises(CorpusError, match=rf"table.csv, row 2: {column} is .*; expected {wanted} or nothing"):
        tidy(**{column: [1, value]})


def test_numbers_of_other_tools_are_read() -> None:
    found = tidy(fold=[1, 2.0, " 3 ", None, math.nan], seconds=["1.5", 2, None, "nan", math.nan])
    assert found["fold"] == [1, 2, 3, None, None]
    assert all(fold is None or type(fold) is int for fold in found["fold"])
    assert found["seconds"] == [1.5, 2.0, None, None, None]


@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), delimiter=st.sampled_from([",", "\t", ";"]))
def test_a_table_of_pythons_writer_comes_back(tmp_path_factory, rows: list[tuple[str, str]], delimiter: str) -> None:
    path = tmp_path_factory.mktemp("t") / ("t.tsv" if delimiter == "\t" else "t.csv")
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([("file", "note"), *rows])
    kept = [(file.strip() or None, note.strip() or None) for file, note in rows]
    kept = [row for row in kept if any(row)]
    if not kept:
        with pytest.raises(CorpusError, match="lists nothing"):
            read_csv(path)
        return
    found = read_csv(path)
    assert list(zip(found["file"], found["note"], strict=True)) == kept


def test_a_mark_of_byte_order_and_spaces_belong_to_no_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbffile, label \r\na.wav,x;y\r\n\r\n")
    assert read_label_table(path).columns == {"file": ["a.wav"], "label": ["x;y"]}


def test_lines_of_json_and_parquet_give_the_same_columns(tmp_path: Path) -> None:
    rows = [{"file_name": "a.wav", "labels": ["x", "y"], "fold": 1}, {"file_name": "b.wav", "duration": 2}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(
        [("file_name", pa.string()), ("labels", pa.list_(pa.string())), ("fold", pa.int64()), ("duration", pa.int64())]
    )), tmp_path / "m.parquet")  # fmt: skip
    expected = {"file": ["a.wav", "b.wav"], "label": ["x;y", None], "fold": [1, None], "seconds": [None, 2.0]}
    for name in ("m.jsonl", "m.parquet"):
        assert read_label_table(tmp_path / name).columns == expected


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "file,label\n", "lists nothing; expected a header such as file,label"),
        ("t.csv", "file,label,file\na,b,c\n", "names a column twice: file, label, file"),
        ("t.csv", "file,label\na,b,c\n", "line 2: 3 values, but the header names 2; fix the line"),
        ("t.csv", "name,label\na,b\n", r"no column for file names; found name, label, expected `file` \(or path"),
        ("t.jsonl", "{\n", "is no readable file of one JSON object a line"),
        ("t.jsonl", "[1]\n", "expected one JSON object a line, such as"),
        ("t.jsonl", "\n", "lists nothing"),
        ("t.parquet", "no parquet", "is no readable Parquet file"),
    ],
)
def test_tables_that_can_not_be_read_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=words) as refused:
        read_label_table(tmp_path / name)
    assert name in str(refused.value)
