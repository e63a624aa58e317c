"""Calls that are marked inside long recordings become labelled windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auricle.config import nearest
from auricle.corpus.columns import EVENT_COLUMNS
from auricle.corpus.ledger import Ledger
from auricle.corpus.readers.event_tables import tidy_events
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.extras import require
from auricle.words import counted, was

MOST_BACKGROUND = 10  # background windows for each window with a call


def label_windows(
    corpus: Corpus,
    *,
    segment: float,
    hop: float | None = None,
    min_overlap: float = 0.5,
    background: bool = False,
    label: str = "label",
    seed: int = 0,
) -> Corpus:
    """Return windows of the annotated recordings, each with the labels of the calls in it.

    A window has the label of a call that covers at least `min_overlap` of the shorter of the two. A window that calls
    touch by less has no certain label and is excluded. A window that no call touches is excluded, too, unless
    `background`: it is then without any label. At most ten background windows for each window with a call are drawn,
    from the same recordings. Recordings that the table of calls does not name are excluded: nothing is known of them.

    Args:
        corpus: recordings with an event table.
        segment: length of a window in seconds.
        hop: seconds between the starts of two windows; None: half a segment, so that every call is whole in a window
            or nearly so.
        min_overlap: share.
        background: unmarked stretches hold none of the classes.
        label: column of the event table.
        seed: of the draw of background windows.

    Raises:
        CorpusError: the corpus has no calls with times, or no window has a label.
        ConfigError: `min_overlap` is not a share above 0.
    """
    if not 0 < min_overlap <= 1:
        raise ConfigError(f"found --min-overlap {min_overlap:g}; expected a share above 0 and at most 1")
    if corpus.event_table is None:
        raise CorpusError(
            f"corpus {corpus.name} has no marked calls to make windows of; put an events.csv (file,onset,offset,label) "
            "beside the recordings, or Raven or Audacity files named as they are"
        )
    table = corpus.event_table
    if label not in table.column_names:
        raise CorpusError(
            f"the calls of corpus {corpus.name} have no column {label!r}{nearest(label, table.column_names)}; name "
            "another one with --label"
        )
    texts = [None if v is None else str(v).strip() or None for v in table.column(label).to_pylist()]
    table = table.set_column(table.column_names.index("label"), "label", pa.array(texts, pa.string()))
    whole = zip(corpus.column("file"), corpus.column("seconds"), corpus.column("_whole"), strict=True)
    table, dropped, tidied = tidy_events(table, {file: seconds for file, seconds, is_whole in whole if is_whole})
    notes = list(tidied)
    if dropped:
        notes = [*notes, Ledger().add("event", used=len(table), skipped=dropped).sentence]
    calls: dict[str, list[tuple[float, float, str]]] = {}
    timed = table.filter(pc.and_(pc.is_valid(table.column("onset")), pc.is_valid(table.column("label"))))
    for row in timed.select(list(EVENT_COLUMNS)).to_pylist():
        calls.setdefault(row["file"], []).append((row["onset"], row["offset"], row["label"]))
    if not calls:
        raise CorpusError(f"corpus {corpus.name} has no call with times and a label; correct the table of calls")
    annotated = frozenset(pc.unique(table.column("file")).to_pylist())
    windows = corpus.segments(segment, segment / 2 if hop is None else hop, last="shift")
    files, starts, lengths = (windows.column(name) for name in ("file", "start", "seconds"))
    named: list[str | None] = []
    state = np.zeros(len(windows), dtype=np.int8)  # 1: labelled, 0: background, -1: touched, -2: nothing is known
    for row, (file, start, length) in enumerate(zip(files, starts, lengths, strict=True)):
        inside, touched = [], False
        for onset, offset, name in calls.get(file, ()):
            overlap = min(offset, start + length) - max(onset, start)
            if overlap > 0 or (onset == offset and start <= onset < start + length):
                touched = True
                if overlap >= min_overlap * min(offset - onset, length) - 1e-9:
                    inside.append(name)
        named.append(";".join(dict.fromkeys(inside)) or None)
        state[row] = 1 if inside else -1 if touched else 0 if file in annotated else -2
    positive, empty = int((state == 1).sum()), np.flatnonzero(state == 0)
    if not positive:
        raise CorpusError(
            f"no window of {segment:g} s holds {min_overlap:g} of a call; lower --min-overlap, or set another --segment"
        )
    drawn = np.zeros(0, dtype=np.int64)
    if background:
        own = empty[[files[row] in calls for row in empty]]
        pool = own if len(own) else empty
        drawn = np.random.default_rng(seed).permutation(pool)[: MOST_BACKGROUND * positive]
    kept = np.sort(np.concatenate([np.flatnonzero(state == 1), drawn]))
    said = f"{counted(positive, 'window')} of {segment:g} s with a call ({min_overlap:g} of the shorter of both)"
    said += f" and {counted(len(drawn), 'background window')} of the same recordings" if background else ""
    left = {"that a call touches by less": int((state == -1).sum())}
    left["of recordings without marks"] = int((state == -2).sum())
    left["without a call" if not background else "without a call that were not drawn"] = len(empty) - len(drawn)
    notes = [said, *notes, *(f"{counted(n, 'window')} {why} {was(n)} excluded" for why, n in left.items() if n)]
    made = windows.with_column("label", named).select(kept)
    return replace(made, event_table=None, notes=(*corpus.notes, *notes))


def has_calls(corpus: Corpus, label: str) -> bool:
    """Return whether the event table has calls with times and text in column `label`."""
    table = corpus.event_table
    if table is None or label not in table.column_names:
        return False
    return len(table.filter(pc.and_(pc.is_valid(table.column("onset")), pc.is_valid(table.column(label))))) > 0


def with_annotations(corpus: Corpus, form: str, folder: Path | str | None = None) -> Corpus:
    """Return a corpus with the calls of annotation files that crowsetta reads, named as the recordings are.

    Args:
        corpus: the recordings.
        form: a format of crowsetta, such as `textgrid`, `aud-seq`, `simple-seq`, `timit`, `notmat`.
        folder: of the files; None: that of the recordings.

    Raises:
        ConfigError: crowsetta has no such format.
        CorpusError: a file can't be read, or there is none.
        MissingExtraError: crowsetta is not installed.
    """
    crowsetta: Any = require("crowsetta", extra="annotations")
    known = crowsetta.formats.as_list()
    if form not in known:
        raise ConfigError(f"crowsetta has no format {form!r}{nearest(form, known)}")
    place = corpus.root if folder is None else Path(folder)
    suffixes = crowsetta.formats.by_name(form).ext
    endings = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    rows: list[tuple[str, float | None, float | None, str | None]] = []
    without = 0
    for file in dict.fromkeys(corpus.column("file")):
        stem = Path(file).with_suffix("")
        names = [place / f"{base}{end}" for base in (file, stem) for end in endings]
        found = next((name for name in names if name.is_file()), None)
        if found is None:
            without += 1
            continue
        try:
            made = _calls(crowsetta.Transcriber(form).from_file(found).to_annot())
        except Exception as error:  # whatever the format's own reader raises
            raise CorpusError(f"{found} is no {form} file that crowsetta reads ({error}); correct it") from error
        rows += [(file, onset, offset, label) for onset, offset, label in made] or [(file, None, None, None)]
    if not rows:
        raise CorpusError(f"no recording of {corpus.name} has a {form} file ({', '.join(endings)}) in {place}")
    columns = zip(*rows, strict=True)
    table = pa.table(
        {name: pa.array(values, kind) for (name, kind), values in zip(EVENT_COLUMNS.items(), columns, strict=True)}
    )
    notes = [f"calls were read from {counted(len({row[0] for row in rows}), f'{form} file')} by crowsetta"]
    notes += [f"{counted(without, 'recording')} without one {was(without)} excluded"] if without else []
    return replace(corpus, event_table=table, notes=(*corpus.notes, *notes))


def _calls(annotation: Any) -> list[tuple[float, float, str]]:
    """Return the calls of one annotation of crowsetta, in seconds."""
    several = annotation if isinstance(annotation, list | tuple) else [annotation]
    found = []
    for one in several:
        if getattr(one, "bboxes", None) is not None:
            found += [(float(box.onset), float(box.offset), str(box.label)) for box in one.bboxes]
            continue
        parts = one.seq if isinstance(one.seq, list | tuple) else [one.seq]
        for part in parts:
            found += [
                (float(a), float(b), str(name))
                for a, b, name in zip(part.onsets_s, part.offsets_s, part.labels, strict=True)
                if str(name).strip()
            ]
    return sorted(found)
