"""What an objective reads beside the sound: the corpus's own columns, or the captions that lie beside its clips."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from auricle.corpus.sources import open_corpus
from auricle.errors import ConfigError
from auricle.objectives.text.captions import caption_table
from auricle.recipes.columns import read_columns


def beside(toy_corpus: Path, out: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    """Return a copy of the corpus with a table `captions.csv` in its folder."""
    shutil.copytree(toy_corpus, out / "data")
    with (out / "data" / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return out / "data"


def test_captions_are_read_from_the_table_beside_the_clips(toy_corpus: Path, tmp_path: Path) -> None:
    names = open_corpus(toy_corpus).column("file")
    rows = [
        *([name, f"take {i}", f"title {i}", f"again {i}"] for i, name in enumerate(names)),
        [names[0], "the first once more", "other", ""],
    ]
    corpus = open_corpus(beside(toy_corpus, tmp_path, ["file", "caption", "title", "long_caption"], rows))
    notes: list[str] = []
    found = read_columns(corpus, ("caption", "title", "file"), notes.append)
    place = {name: row for row, name in enumerate(corpus.column("file"))}
    assert found["caption"][place[names[0]]] == ["take 0", "again 0", "the first once more"]
    assert found["caption"][place[names[2]]] == ["take 2", "again 2"]
    assert found["title"][place[names[1]]] == ["title 1"]
    assert found["file"] == corpus.column("file")
    assert "read from captions.csv (caption, long_caption); skipped 1 empty caption of captions.csv" in notes[0]
    assert "column 'title' was read from captions.csv (title)" in notes[1]
    # The corpus's own column goes first.
    own = corpus.with_column("caption", ["mine"] * len(corpus))
    assert set(read_columns(own, ("caption",))["caption"]) == {"mine"}


def test_the_file_comes_along_so_that_a_clip_without_a_caption_is_named(toy_corpus: Path, tmp_path: Path) -> None:
    names = open_corpus(toy_corpus).column("file")
    rows = [[name, f"take {i}"] for i, name in enumerate(names) if i != 2]
    corpus = open_corpus(beside(toy_corpus, tmp_path, ["file", "caption"], rows))
    found = read_columns(corpus, ("caption",))
    assert found["file"] == corpus.column("file")
    with pytest.raises(ConfigError, match=rf"1 of {len(corpus)} clips have no caption.*{re.escape(names[2])}"):
        caption_table(found, ("caption",))


def test_a_missing_column_is_named_with_those_that_there_are(toy_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the column 'caption'.*no captions\.csv in its folder.*--objective\.columns"
    ):
        read_columns(open_corpus(toy_corpus), ("caption",))
    names = open_corpus(toy_corpus).column("file")
    corpus = open_corpus(beside(toy_corpus, tmp_path, ["file", "title"], [[names[0], "a"]]))
    for name in ("caption", "speaker"):
        with pytest.raises(ConfigError, match=rf"the column '{name}'.*its captions\.csv has title"):
            read_columns(corpus, (name,))
