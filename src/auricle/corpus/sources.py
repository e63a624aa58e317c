"""Corpora from folders, tables, shards, data sets of the Hub, and the built-in generator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pyarrow.parquet as pq

from auricle.config import nearest
from auricle.corpus.losses import with_losses
from auricle.corpus.published.archive import LAYOUT
from auricle.corpus.published.layouts.opening import open_layout, open_named, recognise
from auricle.corpus.readers.folder import PLAIN, has_table, open_label_table, open_loose_files, sub_corpora
from auricle.corpus.readers.joining import join
from auricle.corpus.readers.label_table import tidy_split
from auricle.corpus.readers.listing import (
    AUDIO_NAMES,
    AUDIO_SUFFIXES,
    EVENT_TABLES,
    LABEL_TABLES,
    SCAN_TABLE,
    Listing,
    list_folder,
)
from auricle.corpus.readers.shards import (
    arrow_rows,
    download_folder,
    layout_of,
    load_split,
    merged,
    open_parquets,
    open_tars,
    splits_of,
)
from auricle.corpus.readers.table_file import is_table, read_table, table_listing
from auricle.corpus.readers.text_table import reading
from auricle.corpus.readers.whole import make_corpus
from auricle.corpus.reading import read_as
from auricle.corpus.synthetic.scenes import PREFIX as BUILTIN
from auricle.corpus.synthetic.scenes import render_builtin
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError, Reason


def open_corpus(
    path_or_id: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    name: str | None = None,
    exclude: Sequence[str] = (),
    channel: str | int | None = None,
    time_expansion: float | None = None,
) -> Corpus:
    """Open a corpus.

    Args:
        path_or_id: one of
            a folder of audio, with `metadata.csv` or `labels.csv` (`file,label,split,fold,source,start,seconds,...`) in
            it or beside it; otherwise with labels from sub-folders (and splits, from sub-folders `train`, `valid` and
            `test`);
            a folder of several such folders: their concatenation, with a column `corpus`;
            a CSV, TSV or Parquet table of clips, or a table written by a scan;
            a tar or Parquet file of audio, or a folder of these (webdataset layout; column `audio`);
            `hub:user/name?config=...`: a data set of the Hugging Face Hub;
            `builtin:scenes?clips=600&seed=0`: the built-in corpus;
            `layout:us8k:FOLDER`: a published data set in its publisher's own folders (see `auricle data list`); most
            are recognised in a folder without this prefix;
            several of these in a list, or joined by `+`.
        split: keep only this split.
        name: name in reports.
        exclude: sub-folders to skip in a folder of corpora.
        channel: channel that is read, see `read_as`.
        time_expansion: how many times slower recordings are played, see `read_as`.

    Raises:
        CorpusError: there is no corpus, no usable recording, or a file can't be read.
        ConfigError: `channel` or `time_expansion` is out of range.

    Examples:
        >>> import auricle
        >>> corpus = auricle.open_corpus("recordings")  # doctest: +SKIP
    """
    corpus = _open(path_or_id, split, tuple(exclude))
    if split is not None:
        corpus = _only_split(corpus, split)
    corpus = read_as(corpus, channel, time_expansion)
    return replace(corpus, name=name) if name is not None else corpus


def open_for(wanted: str, data: str | Path) -> Corpus:
    """Open the audio of a task whose card may name a layout.

    Args:
        wanted: the card's corpus: with `layout:NAME`, `data` is read as that data set.
        data: given by the user: a folder, or anything that `open_corpus` opens.

    Raises:
        CorpusError: the folder does not have that layout, or can't be opened.
    """
    name = wanted.removeprefix(LAYOUT)
    folder = Path(str(data).partition("?split=")[0]).expanduser()
    own = any((folder / table).is_file() for table in (*LABEL_TABLES, SCAN_TABLE))
    if name == wanted or own or not folder.is_dir():
        return open_corpus(data)
    return open_named(f"{LAYOUT}{name}:{data}")


def _only_split(corpus: Corpus, split: str) -> Corpus:
    splits = corpus.column("split")
    wanted = (tidy_split(split) or "").lower()
    kept = np.array([s is not None and s.lower() == wanted for s in splits], dtype=bool)
    if not kept.any():
        known = sorted({s for s in splits if s})
        raise CorpusError(
            f"corpus {corpus.name} has no split {split!r}; it has {', '.join(known) or 'none (no clip names one)'}"
        )
    why = Reason(f"it is not in split {wanted}", f"not in split {wanted}")
    ledger = with_losses(corpus, {int(row): why for row in np.flatnonzero(~kept)})
    return replace(corpus.select(kept), ledger=ledger)


def _open(what: str | Path | Sequence[str | Path], split: str | None, exclude: tuple[str, ...]) -> Corpus:
    if not isinstance(what, str | Path):
        return join([_open(part, split, exclude) for part in what])
    text = str(what)
    if text.startswith(BUILTIN):
        folder, name = render_builtin(text)
        return replace(_open_folder(folder, exclude), name=name)
    if text.startswith(LAYOUT):
        return _refuse_exclude(open_named(text), exclude)
    if text.startswith("hub:"):
        return _refuse_exclude(_open_hub(text.removeprefix("hub:"), split), exclude)
    path = Path(text).expanduser()
    if not _exists(path):
        if "+" in text:
            return join([_open(part, split, exclude) for part in text.split("+")])
        raise _missing(path)
    if path.is_dir():
        return _open_folder(path, exclude)
    return _refuse_exclude(_open_file(path), exclude)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long to be one
        return False


def _missing(path: Path) -> CorpusError:
    parent = path.parent
    beside = [p.name for p in parent.iterdir() if not p.name.startswith(".")] if parent.is_dir() else []
    hint = (
        nearest(path.name, beside).replace("; known:", "; its parent folder holds")
        if beside
        else f"; its parent folder {parent} is not there either"
    )
    if len(hint) > 200:
        hint = "; check the path"
    return CorpusError(f"there is no folder or file {path}{hint}")


def _refuse_exclude(corpus: Corpus, exclude: tuple[str, ...]) -> Corpus:
    if exclude:
        raise CorpusError(f"{corpus.name} is one corpus, not a folder of several: exclude {exclude} means nothing here")
    return corpus


def _open_file(path: Path) -> Corpus:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        if is_table(path):
            return read_table(path)
        with reading(path, "Parquet file"):
            names = pq.read_schema(path)
        audio = next((f for f in names if f.name == "audio"), None)
        if audio is not None and str(audio.type) not in ("string", "large_string"):
            return open_parquets([path], path.parent, path.stem)
        return open_label_table(path, path.parent, path.stem)
    if suffix in (".csv", ".tsv"):
        return open_label_table(path, path.parent, path.stem)
    if suffix == ".tar":
        return open_tars([path], path.parent, path.stem)
    if re.search(r"\.(tar\.(gz|bz2|xz|zst)|tgz|zip)$", path.name.lower()):
        raise CorpusError(
            f"{path} is compressed: its members can't be read one by one; unpack it to a folder or a .tar"
        )
    if suffix in AUDIO_SUFFIXES:
        return make_corpus({"file": [path.name]}, path.parent, path.stem)
    raise CorpusError(
        f"{path} is no corpus: expected a folder, a table (.csv .tsv .parquet), a shard (.tar .parquet), "
        f"or a recording ({AUDIO_NAMES})"
    )


def _open_folder(folder: Path, exclude: tuple[str, ...]) -> Corpus:
    listing = list_folder(folder)
    notes: tuple[str, ...] = ()
    table = folder / SCAN_TABLE
    if table.is_file() and is_table(table):
        alone = not (listing.audio or listing.tars or listing.parquets)
        if alone or table_listing(table) == listing.digest():
            return _without(read_table(table), exclude)
        notes = (f"{SCAN_TABLE} is older than the files beside it and was not used; scan the folder again",)
    layout = None if set(LABEL_TABLES) & set(listing.tables) else recognise(folder)
    if layout is not None:
        corpus = _refuse_exclude(open_layout(layout, folder), exclude)
    else:
        corpus = _open_listed(listing, folder.resolve().name, exclude)
        corpus = replace(corpus, ledger=corpus.ledger.merge(listing.account()))
    return replace(corpus, notes=notes + corpus.notes)


def _collection(listing: Listing, parts: Sequence[str], name: str) -> Corpus:
    """Join the corpora in the sub-folders of a folder."""
    splits = {tidy_split(part) for part in parts} & {"train", "valid", "test"}
    opened, labelled = [], []
    for part in parts:
        below = listing.below(part)
        flat = bool(below.audio) and not any("/" in file for file in below.audio)
        # The folder of a class has its recordings and no table; that of a split beside others is no class.
        is_split = len(splits) > 1 and tidy_split(part) in splits
        is_class = flat and not has_table(below.root) and not is_split and part.lower() not in PLAIN
        labelled += [part] if is_class else []
        corpus = _open_listed(below, part, (), label=part if is_class else None)
        opened.append(corpus if is_class else _with_split(corpus, part))
        listing.used |= {f"{part}/{file}" for file in below.used}
    joined = join(opened, name)
    if not labelled:
        return joined
    shown = ", ".join(labelled[:5]) + (f" and {len(labelled) - 5} more" if len(labelled) > 5 else "")
    note = f"recordings of folders without a table have their folder as label: {shown}"
    return replace(joined, notes=(*joined.notes, note))


def _open_listed(listing: Listing, name: str, exclude: tuple[str, ...], label: str | None = None) -> Corpus:
    folder = listing.root
    inside = next((folder / t for t in LABEL_TABLES if t in listing.tables), None)
    if inside is None:
        parts = sub_corpora(listing)
        if parts:
            unknown = [e for e in exclude if e not in parts]
            if unknown:
                raise CorpusError(f"{folder} has no corpus {unknown[0]!r} to exclude{nearest(unknown[0], parts)}")
            kept = [part for part in parts if part not in exclude]
            if not kept:
                raise CorpusError(f"all {len(parts)} corpora of {folder} are excluded; keep at least one")
            return _collection(listing, kept, name)
    if exclude:
        raise CorpusError(f"{folder} is one corpus, not a folder of several: exclude {exclude} means nothing here")
    beside = next((folder.resolve().parent / t for t in LABEL_TABLES if (folder.resolve().parent / t).is_file()), None)
    if listing.audio:
        listing.used |= {table for table in EVENT_TABLES if table in listing.tables}
        if inside is not None:
            listing.used.add(inside.name)
            return open_label_table(inside, folder, name, listing)
        if beside is not None:
            corpus = open_label_table(beside, folder, name, listing, only_inside=True)
            if len(corpus):
                return corpus
        return open_loose_files(listing, name, label=label)
    listing.used |= {*listing.tars} if listing.tars else {*listing.parquets}
    if listing.tars:
        return open_tars([folder / t for t in listing.tars], folder, name)
    if listing.parquets:
        paths = [folder / p for p in listing.parquets]
        return open_parquets(paths, folder, name)
    kinds = Counter(Path(name).suffix.lower() or "without an ending" for name in listing.others)
    found = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(5))
    raise CorpusError(
        f"there is no audio in {folder}: found {found or 'no files'}; expected recordings ({AUDIO_NAMES}), "
        "tar shards or Parquet shards"
    )


def _with_split(corpus: Corpus, folder: str) -> Corpus:
    """Take a folder `train` with its own table as a split, unless the table names splits."""
    split = tidy_split(folder)
    if split not in ("train", "valid", "test") or any(corpus.column("split")):
        return corpus
    return corpus.with_column("split", [split] * len(corpus))


def _without(corpus: Corpus, exclude: tuple[str, ...]) -> Corpus:
    if not exclude:
        return corpus
    if "corpus" not in corpus.columns:
        return _refuse_exclude(corpus, exclude)
    parts = corpus.column("corpus")
    unknown = [e for e in exclude if e not in parts]
    if unknown:
        raise CorpusError(f"{corpus.root} has no corpus {unknown[0]!r} to exclude{nearest(unknown[0], set(parts))}")
    return corpus.select(np.array([part not in exclude for part in parts], dtype=bool))


def _open_hub(text: str, split: str | None) -> Corpus:
    """Open `user/name?config=...`: all splits, or the one asked for, with the column `split`."""
    name, _, query = text.partition("?")
    options = dict(parse_qsl(query))
    unknown = sorted(set(options) - {"config", "split"})
    if unknown or not name:
        raise CorpusError(f"'hub:{text}' is not understood; write hub:user/name?config=...&split=...")
    config = options.get("config")
    asked = options.get("split")
    layout = layout_of(name, config)
    if layout in ("audiofolder", "webdataset"):
        # The datasets library would need torchcodec to read these; as plain files they need nothing.
        if config is not None:
            raise CorpusError(
                f"hub:{name} is a folder of files ({layout}): it has no configuration {config!r} to choose"
            )
        folder = Path(name) if Path(name).is_dir() else download_folder(name)
        opened = replace(_open_folder(folder, ()), name=name.rstrip("/").rpartition("/")[2])
        return opened if asked is None else _only_split(opened, asked)
    splits = splits_of(name, config) if asked is None else [asked]
    if asked is None and split is not None:
        splits = [s for s in splits if tidy_split(s) == tidy_split(split)] or splits
    parts = []
    for each in splits:
        origin: dict[str, Any] = {"id": name, "split": each, "config": config}
        columns, store = arrow_rows(load_split(**origin), origin, name)
        if "split" not in columns and (len(splits) > 1 or split is not None):
            columns["split"] = [tidy_split(each)] * len(columns["file"])
        parts.append(make_corpus(columns, Path(name), each, store=store))
    corpus = parts[0] if len(parts) == 1 else merged(parts, name)
    return replace(corpus, name=name.rstrip("/").rpartition("/")[2], root=Path(name))
