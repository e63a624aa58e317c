"""The verb `search`: the rows of a library that sound like a sound, fit a text, or are near a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.answers.library import Library, check_made_by
from auricle.answers.prediction_table import SCHEMA, check_table_ending, write_predictions
from auricle.answers.spaces import Space, open_space
from auricle.audio.frontends.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from auricle.corpus.examples import play_example
from auricle.corpus.reading import expansions, read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.features import FeaturesConfig
from auricle.errors import AudioError, ConfigError, Reason
from auricle.models.opening import Model
from auricle.objectives.text.text_tower import split_words
from auricle.report.hits_page import hits_page
from auricle.storage import write_atomic

# Columns of a table of hits: those of predictions, the row of the library, and the label that it has.
HITS = pa.schema([*SCHEMA, ("id", pa.int64()), ("known", pa.string())])
# Clips of a page, and seconds that are played of each, at most: what a browser opens at once.
_PLAYED, _SECONDS = 200, 30.0
# Rates in Hz that MP3 has.
_MP3 = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# A sound of less than this share of a segment's length, or more than its inverse, is another kind of sound.
_ALIKE = 0.5
# More rows are asked for, in steps of this factor, until enough are left of them.
_MORE = 4


@dataclass(frozen=True)
class FoundSegments:
    """Result of `search`.

    Attributes:
        query: what was searched for, in words.
        rows: columns `file`, `start`, `end`, `label` (the query), `score` (cosine), `id` and `known` (the label that
            the row has); best first.
        exact: whether the vectors of all rows were compared.
        how: how the library was searched, in words.
        notes: remarks.
    """

    query: str
    rows: pa.Table
    exact: bool
    how: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class _Query:
    """A direction to search in, and where it comes from."""

    words: str
    vector: np.ndarray
    notes: tuple[str, ...] = ()
    sound: tuple[Corpus, float, float | None] | None = None
    """Of a page: a corpus of one clip, the start of the part, and its length."""
    apart_from: list[tuple[str, float, float]] = field(default_factory=list)
    """Ranges of recordings that are no hits: file, start and end."""


def search(
    library: str | Path | Library,
    *,
    sound: str | Path | None = None,
    from_: float | None = None,
    to: float | None = None,
    text: str | None = None,
    row: int | None = None,
    top: int = 50,
    exact: bool = False,
    apart: bool = False,
    label: str | None = None,
    out: str | Path | None = None,
    page: str | Path | None = None,
    model: str | Path | Model | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> FoundSegments:
    """Search a library; one of `sound`, `text` and `row` says what for.

    Args:
        library: a library, or its folder.
        sound: a recording.
        from_: start in it, in seconds; None: its beginning.
        to: end in it, in seconds; None: its end.
        text: words for a sound; for a library in the space of a model of audio and text (`index` with `space="text"`).
        row: id of a row; the row itself and those that overlap it in its recording are no hits.
        top: number of hits, at most.
        exact: compare the vectors of all rows, also in a large library.
        apart: of segments of one recording that overlap, only that with the highest score is a hit.
        label: label of the hits; None: the text, the name of the sound, or `row ID`.
        out: table of the hits to write, see `auricle.answers.prediction_table.write_predictions`; CSV, Parquet and JSON
            lines have the columns `id` and `known` as well.
        page: HTML page of the hits to write, with their spectrograms and sounds.
        model: that made the library, where it is no longer where it was; None: as the library says.
        device: see `load`.
        trust_remote_code: see `load`.

    Raises:
        ConfigError: nothing or several things are searched for, a setting is out of range, or the library's space is
            not that of texts.
        CorpusError: the sound can't be opened, or the library was made by another model.
        AudioError: the sound can't be read, or is too short for the model.
        CheckpointError: the model can't be opened.
        StorageError: the library is damaged, or a file can't be written.

    Examples:
        >>> import auricle
        >>> auricle.search("library", sound="owl.wav", from_=3.2, to=4.1).rows  # doctest: +SKIP
    """
    if sum(what is not None for what in (sound, text, row)) != 1:
        raise ConfigError("expected one of --sound, --text and --row: what to search for")
    if sound is None and (from_ is not None or to is not None):
        raise ConfigError("--from and --to are times in --sound, and there is none; leave them out")
    if top < 1:
        raise ConfigError(f"top is {top}; expected at least 1")
    if out is not None:
        check_table_ending(Path(out))
    if not isinstance(library, Library):
        library = Library.open(library)
    if row is not None:
        query = _of_row(library, row)
    else:
        space = _space(library, model, device, trust_remote_code, text)
        query = _of_text(library, space, text) if text is not None else _of_sound(library, space, sound, from_, to)
    found, is_exact = _hits(library, query, top, exact, apart)
    near = library.record.approximate
    how = f"exact: all {len(library):,} rows were compared" if is_exact or near is None else near.words
    table = pa.table(
        {
            **{name: found.column(name) for name in ("file", "start", "end")},
            "label": pa.array([query.words if label is None else label] * len(found), pa.string()),
            "score": found.column("score"),
            "id": found.column("id"),
            "known": found.column("label"),
        },
        schema=HITS,
    )
    result = FoundSegments(query.words, table, is_exact, how, query.notes)
    if out is not None:
        write_predictions(Path(out), [table], schema=HITS)
    if page is not None:
        write_atomic(Path(page), _page(library, query, result).encode("utf-8", errors="replace"))
    return result


def _space(library: Library, model: str | Path | Model | None, device: str, trust: bool, text: str | None) -> Space:
    record = library.record
    if text is not None and record.space != "text":
        raise ConfigError(
            f"the library {library.folder} holds the clip vectors of {record.name}, which have no texts; expected the "
            "space of a model of audio and text. Index the recordings into a new library with --space text and a run "
            "of the recipe clap, or search by --sound"
        )
    if model is None and record.model is None:
        raise ConfigError(
            f"the library {library.folder} does not say where its model {record.name} is; expected one that was named "
            "when it was made: name it with --model"
        )
    features = FeaturesConfig.from_json(record.features)
    space = open_space(
        record.model or "" if model is None else model,
        record.space,
        device=device,
        precision=record.precision,
        trust_remote_code=trust,
        features=features,
    )
    check_made_by(record, library.folder, space.fingerprint, space.name)
    return space


def _of_row(library: Library, row: int) -> _Query:
    own = library.rows([row]).to_pylist()[0]
    around = [(own["file"], own["start"], own["end"])]
    sound = (library.corpus([row]), 0.0, None)
    return _Query(f"row {row}", library.vectors([row])[0], sound=sound, apart_from=around)


def _of_text(library: Library, space: Space, text: str) -> _Query:
    if space.towers is None:  # never where the library's space is that of texts
        raise ConfigError(f"{space.name} has no text tower")
    unknown = space.towers.objective.text.unknown_words([text])[0]
    if not text.strip() or (unknown and set(unknown) >= set(split_words(text))):
        raise ConfigError(
            f"no word of {text!r} is known to the text tower of {library.record.name}; expected words of the captions "
            "that it was trained on: search for others, or by a sound"
        )
    notes = space.towers.unknown_note([text], "texts")
    return _Query(text, space.towers.texts([text])[0], notes)


def _of_sound(library: Library, space: Space, sound: Any, from_: float | None, to: float | None) -> _Query:
    if not Path(sound).is_file():
        raise ConfigError(f"there is no recording {sound}; expected one file of audio: check the path")
    begin, end = from_ or 0.0, to
    if begin < 0 or (end is not None and end <= begin):
        raise ConfigError(
            f"from {begin:g} s to {end:g} s is no part of a sound; expected a start from 0 before the end"
        )
    record = library.record
    corpus = read_as(open_corpus(sound), record.channel, record.time_expansion)
    if len(corpus) != 1:
        raise ConfigError(f"{sound} holds {len(corpus)} clips; expected one recording: name a file of audio")
    wave = corpus.audio(0, library.rate, start=begin, seconds=None if end is None else end - begin)
    short = space.encoder.shortfall(len(wave))
    if short is not None:
        raise AudioError(f"{short}; expected a longer part: let it begin earlier, or end later", Path(sound).name)
    seconds = len(wave) / library.rate / (record.time_expansion or 1.0)
    notes = []
    if record.segment is not None and not _ALIKE <= seconds / record.segment <= 1 / _ALIKE:
        notes.append(
            f"the sound lasts {seconds:.3g} s, and the segments of the library {record.segment:g} s: vectors of sounds "
            "of other lengths are less alike; a part of about that length is compared better"
        )
    name = Path(sound).stem
    return _Query(
        name, space.wave(wave, library.rate), tuple(notes), (corpus, begin, None if end is None else end - begin)
    )


def _hits(library: Library, query: _Query, top: int, exact: bool, apart: bool) -> tuple[pa.Table, bool]:
    """Return the rows that are hits, best first, and whether the search for them was exact."""
    asked = top if not apart and not query.apart_from else _MORE * top
    while True:
        asked = min(asked, len(library))
        found = library.search(query.vector, asked, exact)
        kept = _kept(found, query.apart_from, apart)[:top]
        if len(kept) == top or asked == len(library):
            return found.take(pa.array(kept, pa.int64())), library.is_exact(asked, exact)
        asked *= _MORE


def _kept(found: pa.Table, taken: Sequence[tuple[str, float, float]], apart: bool) -> list[int]:
    """Return the places of rows that overlap no range that is taken, nor, set `apart`, a better row."""
    ranges: dict[str, list[tuple[float, float]]] = {}
    for file, start, end in taken:
        ranges.setdefault(file, []).append((start, end))
    kept = []
    rows = zip(*(found.column(name).to_pylist() for name in ("file", "start", "end")), strict=True)
    for place, (file, start, end) in enumerate(rows):
        own = ranges.setdefault(file, []) if apart else ranges.get(file, [])
        if any(start < last and first < end for first, last in own):
            continue
        kept.append(place)
        if apart:
            own.append((start, end))
    return kept


def _page(library: Library, query: _Query, found: FoundSegments) -> str:
    record = library.record
    rows = found.rows.slice(0, _PLAYED).to_pylist()
    clips = library.corpus([row["id"] for row in rows])
    rate = max([rate for rate in _MP3 if rate <= library.rate] or _MP3[:1])
    frontend = KaldiFbank(KaldiFbankConfig(rate=rate))
    hits = []
    for place, row in enumerate(rows):
        example = _example(frontend, clips, place, 0.0, None)
        hits.append({**example, **{name: row[name] for name in ("file", "start", "end", "score", "id", "known")}})
    asked = None
    if query.sound is not None:
        asked = _example(frontend, query.sound[0], 0, *query.sound[1:])
        if "seconds" in asked:
            asked["end"] = asked["start"] + asked["seconds"]
    shown = "" if len(found) <= _PLAYED else f" The first {_PLAYED} of {len(found):,} are shown."
    facts = [
        f"The nearest of {len(library):,} rows of {library.folder.resolve().name}, by {record.name}.{shown}",
        f"{found.how[0].upper()}{found.how[1:]}. Scores are cosines.",
        *(f"Note: {note}." for note in found.notes),
    ]
    title = f"Like {found.query}" if query.sound is not None else f'"{found.query}"'
    return hits_page(title, facts, asked, hits)


def _example(frontend: KaldiFbank, corpus: Corpus, row: int, start: float, seconds: float | None) -> dict[str, Any]:
    try:
        example = play_example(frontend, corpus, row, min(seconds or _SECONDS, _SECONDS), start=start)
        # Times are the recording's own, also where it is played more slowly.
        return {**example, "seconds": example["seconds"] / float(expansions(corpus)[row])}
    except AudioError as error:
        reason: Reason = error.reason
        return {"file": corpus[row].file, "missing": str(reason)}
