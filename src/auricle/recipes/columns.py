"""What an objective reads of a corpus beside its sound: columns, or the captions that lie beside the clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from auricle.corpus.readers.label_table import read_csv
from auricle.corpus.readers.side_tables import CAPTIONS, read_captions
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError

_CAPTION = "caption"


def columns_of(
    corpus: Corpus, names: Sequence[str], note: Callable[[str], None] = lambda line: None
) -> Mapping[str, Sequence[object]]:
    """Return the values of columns, one a clip.

    Where the corpus has no such column and a table `captions.csv` lies in its folder, they are read there: `caption`
    stands for all columns of captions of that table (see `read_captions`), another name for the column of that name.

    The column `file` comes with them, so that what refuses a value can say whose it is.

    Args:
        corpus: the clips.
        names: the columns.
        note: takes a line about where they came from.

    Raises:
        ConfigError: there is no such column, naming those that there are.
        CorpusError: the table of captions can't be read, or has none for these clips.
    """
    asked = dict.fromkeys((*names, "file"))
    return {name: corpus.column(name) if name in corpus.columns else _beside(corpus, name, note) for name in asked}


def _beside(corpus: Corpus, name: str, note: Callable[[str], None]) -> list[object]:
    path = corpus.root / CAPTIONS
    there = [column for column in read_csv(path) if column != "file"] if path.is_file() else []
    chosen = [c for c in there if c.startswith(_CAPTION) or c.endswith(_CAPTION)] if name == _CAPTION else [name]
    if not chosen or not set(chosen) <= set(there):
        table = f", its {CAPTIONS} has {', '.join(there)}" if there else f", and there is no {CAPTIONS} in its folder"
        raise ConfigError(
            f"the objective reads the column {name!r} and the corpus {corpus.name} has none (it has "
            f"{', '.join(sorted(corpus.columns))}{table}); give a table with that column as --data, or name the column "
            "that holds it: --objective.columns NAME"
        )
    captions = read_captions(path, corpus, chosen)
    texts: list[list[str]] = [[] for _ in range(len(corpus))]
    for row, text in zip(captions.rows.tolist(), captions.texts, strict=True):
        texts[row].append(text)
    note(f"column {name!r} was read from {CAPTIONS} ({', '.join(chosen)})" + "".join(f"; {n}" for n in captions.notes))
    return list(texts)
