"""Corpora in the layout of their publisher: `layout:NAME:FOLDER`, or recognised by their marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.audio.identify import AUDIO_SUFFIXES
from auricle.config import nearest
from auricle.corpus.columns import EVENT_COLUMNS
from auricle.corpus.ledger import FOLLOWS, Entry, Ledger
from auricle.corpus.published.archive import LAYOUT
from auricle.corpus.published.layouts import (
    animals,
    emotion,
    events,
    machines,
    music,
    music_tags,
    notes,
    sounds,
    speakers,
    speech,
    voices,
)
from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.readers.event_tables import check_events
from auricle.corpus.readers.label_table import read_label_table
from auricle.corpus.readers.listing import list_folder
from auricle.corpus.readers.side_tables import ClipNames
from auricle.corpus.readers.text_table import reading
from auricle.corpus.readers.whole import TableRows, make_corpus
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError

_FAMILIES = (animals, emotion, events, machines, music, music_tags, notes, sounds, speakers, speech, voices)
LAYOUTS: dict[str, Layout] = {layout.name: layout for family in _FAMILIES for layout in family.LAYOUTS}
"""All known layouts by name."""


def open_named(text: str) -> Corpus:
    """Open `layout:NAME:FOLDER`, or `layout:NAME:FOLDER?split=TABLE`.

    A table given as `split` (columns `file`, and `split` or `fold` or both; EVAR's `metadata/*.csv` are such tables)
    replaces the publisher's split: clips that are not in it are excluded and counted.

    Raises:
        CorpusError: the name or an option is unknown, or the folder has another layout.
    """
    name, _, rest = text.removeprefix(LAYOUT).partition(":")
    layout = get_layout(name)
    folder, _, table = rest.partition("?split=")
    if not folder:
        raise CorpusError(f"{text!r} is not understood; write layout:{name}:FOLDER or layout:{name}:FOLDER?split=TABLE")
    corpus = open_layout(layout, Path(folder).expanduser())
    return divide(corpus, Path(table).expanduser()) if table else corpus


def get_layout(name: str) -> Layout:
    """Return the layout of a data set.

    Raises:
        CorpusError: there is none of that name.
    """
    if name not in LAYOUTS:
        raise CorpusError(f"no layout is called {name!r}{nearest(name, LAYOUTS)}")
    return LAYOUTS[name]


def recognise(folder: Path) -> Layout | None:
    """Return the layout whose marks a folder has, or None; of several, the one with the most marks."""
    fitting = [layout for layout in LAYOUTS.values() if layout.known_by_marks and layout.fits(folder)]
    return max(fitting, key=lambda layout: len(layout.marks)) if fitting else None


def open_layout(layout: Layout, folder: Path) -> Corpus:
    """Open a folder in its publisher's layout.

    Args:
        layout: of the data set.
        folder: the data set's own folder, or the one that its archives were unpacked in.

    Raises:
        CorpusError: a mark is missing, a table can't be read, or none of the recordings is there.
    """
    root = find_root(layout, folder)
    with reading(root, f"copy of {layout.title}", "fetch its tables again"):
        content = layout.read(root)
    return _make(layout, root, content)


def find_root(layout: Layout, folder: Path) -> Path:
    """Return the folder with all marks of a layout: the one given, or the only such sub-folder.

    Raises:
        CorpusError: no folder has all marks; says what was expected where.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}; name the one that {layout.title} was unpacked in")
    if layout.fits(folder):
        return folder
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    fitting = [path for path in below if layout.fits(path)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(path.name for path in fitting)
        raise CorpusError(f"{folder} holds {layout.title} {len(fitting)} times ({names}); name one of these folders")
    best = min([folder, *below], key=lambda path: len(layout.missing(path)))
    lacking = layout.missing(best)
    there = sorted(path.name for path in best.iterdir() if not path.name.startswith("."))[:8]
    hint = f"; {layout.hint}" if layout.hint else ""
    raise CorpusError(
        f"{folder} is not laid out as {layout.title} is published: {' and '.join(lacking)} should be in {best}, which "
        f"holds {', '.join(there) or 'nothing'}{hint}"
    )


def divide(corpus: Corpus, table: Path) -> Corpus:
    """Replace a corpus's split and folds by those of a table.

    Raises:
        CorpusError: the table can't be read, has neither split nor fold, or names none of the clips.
    """
    read = read_label_table(table)
    columns = read.columns
    kinds = [name for name in ("split", "fold") if name in columns]
    if not kinds:
        raise CorpusError(f"{table} has neither a column `split` nor `fold`; found {', '.join(columns)}")
    names = ClipNames(corpus)
    line_of: dict[int, int] = {}
    named: Counter[int] = Counter()
    unknown: list[Entry] = []
    for line, file in enumerate(columns["file"]):
        row = names.find(file or "")
        if row is None:
            unknown.append(Entry("row", read.at(line), f"the clip {file!r} is not here", "of unknown clips"))
        else:
            line_of[row] = line
            named[row] += 1
    if not line_of:
        raise CorpusError(f"{table} names none of the clips of {corpus.name}; the first name is {columns['file'][0]!r}")
    rows = sorted(line_of)
    divided = corpus.select(np.array(rows, dtype=np.int64))
    for kind in ("split", "fold"):
        values = [columns[kind][line_of[row]] for row in rows] if kind in kinds else [None] * len(rows)
        divided = divided.with_column(kind, values)
    gone = set(corpus.column("file")) - set(divided.column("file"))
    why = f"{table.name} does not name it"
    lost = [Entry("recording", file, why, f"not in {table.name}") for file in sorted(gone)]
    held = corpus.column("_rows")
    dropped = sum(count for row, count in enumerate(held) if row not in line_of)
    if dropped:
        lost.append(Entry("row", corpus.name, why, FOLLOWS, dropped))
    divided = divided.with_column("_rows", [held[row] + named[row] for row in rows])
    ledger = corpus.ledger.drop(*lost)
    ledger = ledger.add("row", used=len(columns["file"]) - len(unknown), skipped=unknown)
    return replace(divided, ledger=ledger, notes=(*corpus.notes, f"divided by {table.name}"))


def _make(layout: Layout, root: Path, content: Content) -> Corpus:
    columns = {name: list(values) for name, values in content.columns.items()}
    files: dict[str, tuple[str, int] | None] = {}
    for file in columns["file"]:
        if file not in files:
            files[file] = _locate(root, file)
    keep = [i for i, file in enumerate(columns["file"]) if files[file] is not None]
    reason = f"{layout.title} names it, but there is no such file"
    skipped = [Entry("recording", file, reason, "missing") for file, at in files.items() if at is None]
    # No copy of some data sets is complete: what their readers miss is counted, not named.
    skipped += [
        Entry("recording", layout.title, "its tables or names say so", cause, count)
        for cause, count in content.left.items()
        if count
    ]
    listing = list_folder(root)
    known = {at[0] for at in files.values() if at is not None}
    why = f"the tables of {layout.title} do not name it"
    skipped += [Entry("recording", f, why, "not in the tables") for f in listing.audio if f not in known]
    skipped += [Entry("recording", name, broken, "unreadable") for name, broken in listing.problems.items()]
    ledger = Ledger().add("recording", skipped=skipped)
    lost_rows = len(columns["file"]) - len(keep)
    if lost_rows:
        follow = Entry("row", layout.title, "their recordings are not there", FOLLOWS, lost_rows)
        ledger = ledger.add("row", skipped=[follow])
    if not keep:
        shown = ", ".join(list(files)[:3])
        raise CorpusError(
            f"{root} has the tables of {layout.title} but none of its {len(files)} recordings (such as {shown}); "
            "unpack its audio there"
        )
    kept: dict[str, list[Any]] = {name: [values[i] for i in keep] for name, values in columns.items()}
    places = [files[file] for file in kept["file"]]
    kept["file"] = [at[0] for at in places if at is not None]
    kept["_size"] = [at[1] for at in places if at is not None]
    notes = [f"read as {layout.title} is published", *content.notes]
    events = None
    if content.events is not None:
        events = _event_table(content.events, files, kept["file"])
        named = len(content.events["file"])
        here = named - sum(files.get(file) is None for file in content.events["file"])
        follow = Entry("event", layout.title, "their recordings are not there", FOLLOWS, named - here)
        ledger = ledger.add("event", used=here, skipped=[follow] if named > here else [])
    rows = TableRows([1] * len(keep), lambda i: f"{layout.title}: {kept['file'][i]}")
    corpus = make_corpus(kept, root, layout.name, events=events, ledger=ledger, rows=rows, notes=tuple(notes))
    return check_events(corpus)


def _event_table(
    events: Mapping[str, Any], files: Mapping[str, tuple[str, int] | None], clips: Sequence[str]
) -> pa.Table:
    """Return the events of recordings that are there; publishers annotate all clips, those without events included."""
    rows = [i for i, file in enumerate(events["file"]) if files.get(file) is not None]
    columns = {name: [values[i] for i in rows] for name, values in events.items()}
    columns["file"] = [at[0] for at in (files[file] for file in columns["file"]) if at is not None]
    named = set(columns["file"])
    silent = list(dict.fromkeys(file for file in clips if file not in named))
    columns = {
        name: [*values, *(silent if name == "file" else [None] * len(silent))] for name, values in columns.items()
    }
    return pa.table({name: pa.array(values, type=EVENT_COLUMNS.get(name)) for name, values in columns.items()})


def _locate(root: Path, file: str) -> tuple[str, int] | None:
    """Find a file below the root, if need be converted to another format; return its name and bytes."""
    path = root / file
    if path.is_file():
        return file, path.stat().st_size
    for suffix in (".wav", ".flac", ".ogg", ".mp3", *sorted(AUDIO_SUFFIXES)):
        other = path.with_suffix(suffix)
        if other.is_file():
            return other.relative_to(root).as_posix(), other.stat().st_size
    return None
