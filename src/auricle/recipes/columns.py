"""Columns of a corpus that an objective reads besides the audio: captions, labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from auricle.corpus.readers.side_tables import CAPTIONS, read_captions
from auricle.corpus.readers.text_table import read_csv
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError


def read_columns(
    corpus: Corpus, names: Sequence[str], note: Callable[[str], None] = lambda line: None
) -> Mapping[str, Sequence[object]]:
    """Return the columns that an objective reads besides the audio, one value per clip.

    A column that the corpus lacks is read from the table `captions.csv` in its folder, where there is one: `caption`
    stands for all caption columns of that table (see `read_captions`), another name for the column of that name. The
    column `file` comes with them, so that an error about a value can name the clip.

    Args:
        corpus: the clips.
        names: the columns.
        note: receives a line about the source of a column.

    Raises:
        ConfigError: there is no such column; those that exist are named.
        CorpusError: the table of captions can't be read, or has none for these clips.
    """
    asked = dict.fromkeys((*names, "file"))
    return {name: corpus.column(name) if name in corpus.columns else _captions(corpus, name, note) for name in asked}


def _captions(corpus: Corpus, name: str, note: Callable[[str], None]) -> list[object]:
    path = corpus.root / CAPTIONS
    there = [column for column in read_csv(path) if column != "file"] if path.is_file() else []
    chosen = [c for c in there if c.startswith("caption") or c.endswith("caption")] if name == "caption" else [name]
    if not chosen or not set(chosen) <= set(there):
        table = f", its {CAPTIONS} has {', '.join(there)}" if there else f", and there is no {CAPTIONS} in its folder"
        raise ConfigError(
            f"the objective reads the column {name!r} and the corpus {corpus.name} has none (it has "
            f"{', '.join(sorted(corpus.columns))}{table}); set --data to a table with that column, or name the column "
            "that holds it: --objective.columns NAME"
        )
    captions = read_captions(path, corpus, chosen)
    texts: list[list[str]] = [[] for _ in range(len(corpus))]
    for row, text in zip(captions.rows.tolist(), captions.texts, strict=True):
        texts[row].append(text)
    note(f"column {name!r} was read from {CAPTIONS} ({', '.join(chosen)})" + "".join(f"; {n}" for n in captions.notes))
    return list(texts)
