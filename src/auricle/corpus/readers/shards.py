"""Corpora in shards: tar files (webdataset layout), Parquet files and Hub data sets with a column of audio bytes."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import datasets

from auricle.audio.identify import AUDIO_SUFFIXES
from auricle.corpus.ledger import Entry, Ledger
from auricle.corpus.readers.joining import join
from auricle.corpus.readers.label_table import tidy_columns, tidy_split
from auricle.corpus.readers.listing import AUDIO_NAMES
from auricle.corpus.readers.whole import make_corpus
from auricle.corpus.stores import Place, Store, TarStore
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, CorpusError

# Labels and captions are small; larger side files are something else.
_SIDE_BYTES = 1 << 20


@dataclass(frozen=True)
class ArrowStore(Store):
    """Rows of a memory-mapped data set; `Place.offset` is the row.

    Attributes:
        data: the data set, its audio not decoded.
        column: the column of the audio.
        origin: arguments of `load_split`.
    """

    data: Any
    column: str
    origin: dict[str, Any]
    kind: ClassVar[str] = "arrow"

    def read(self, place: Place) -> Path | bytes:
        value = self.data[place.offset][self.column]
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                return Path(value["path"])
            value = value.get("bytes")
        if not value:
            raise AudioError(
                f"{place.key}: row {place.offset} of the data set holds no audio; scan it and drop the row"
            )
        return bytes(value)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "column": self.column, **self.origin}

    @classmethod
    def restore(cls, data: dict[str, Any]) -> ArrowStore:
        origin = {key: value for key, value in data.items() if key not in ("kind", "column")}
        return cls(_undecoded(load_split(**origin), data["column"]), data["column"], origin)


def load_split(id: str, split: str, config: str | None = None, files: Sequence[str] | None = None) -> Any:
    """Load one split of a data set.

    Args:
        id: Hub id, local folder, or `parquet`.
        split: name of the split.
        config: name of the data set's configuration.
        files: the files, for `parquet`.

    Raises:
        CorpusError: the data set can't be found, reached or read.
    """
    return _load(id, split, config, files)


def splits_of(id: str, config: str | None = None) -> list[str]:
    """Return the names of a data set's splits.

    Raises:
        CorpusError: the data set can't be found or reached.
    """
    return list(_load(id, None, config, None))


def layout_of(id: str, config: str | None = None) -> str:
    """Return the layout of a data set: `audiofolder`, `webdataset`, `parquet` ...

    Raises:
        CorpusError: the data set can't be found or reached.
    """
    try:
        return str(datasets.load_dataset_builder(id, config).name)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _not_loaded(f"the data set {id!r}", error) from error


def download_folder(id: str) -> Path:
    """Download a data set's files from the Hub (once; they stay in its cache) and return their folder.

    Raises:
        CorpusError: the Hub can't be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(id, repo_type="dataset"))
    except (OSError, ValueError) as error:
        raise _not_loaded(f"the files of the data set {id!r}", error) from error


def _not_loaded(what: str, error: Exception) -> CorpusError:
    reason = str(error).strip() or type(error).__name__
    return CorpusError(f"{what} can't be loaded: {reason}. Check its name, configuration and split, and the network")


def _load(id: str, split: str | None, config: str | None, files: Sequence[str] | None) -> Any:
    try:
        return datasets.load_dataset(id, config, split=split, data_files=list(files) if files else None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        what = f"the Parquet shards {', '.join(files[:3])}" if files else f"the data set {id!r}"
        asked = f", split {split!r}" if split and not files else ""
        raise _not_loaded(f"{what}{asked}", error) from error


def audio_column(data: Any) -> str:
    """Return the name of the audio column.

    Raises:
        CorpusError: no column holds audio.
    """
    features = data.features
    found = [name for name, feature in features.items() if _is_audio(name, feature)]
    if not found:
        raise CorpusError(
            f"no column of the data set holds audio; found {', '.join(features)}; expected `audio` with the bytes "
            "of an audio file, or of the data sets library's Audio type"
        )
    return "audio" if "audio" in found else found[0]


def _is_audio(name: str, feature: Any) -> bool:
    if isinstance(feature, datasets.Audio):
        return True
    if isinstance(feature, dict):
        return "bytes" in feature
    binary = isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")
    return binary and name in ("audio", "bytes", "wav", "flac", "mp3", "ogg")


def _undecoded(data: Any, column: str) -> Any:
    if isinstance(data.features[column], datasets.Audio):
        data = data.cast_column(column, datasets.Audio(decode=False))
    return data.select_columns([column])


def arrow_rows(data: Any, origin: dict[str, Any], title: str) -> tuple[dict[str, list[Any]], ArrowStore]:
    """Return a loaded split's columns (files named, labels as text) and the store of its audio."""
    column = audio_column(data)
    store = ArrowStore(_undecoded(data, column), column, origin)
    rest = data.remove_columns([column])
    columns: dict[str, list[Any]] = {}
    for name, feature in rest.features.items():
        columns[name] = [_named(feature, value) for value in rest[name]]
    tidy = tidy_columns(columns, title, needs_file=False) if columns else {}
    named = tidy.pop("file", None) or [_row_name(value, row) for row, value in enumerate(store.data[column])]
    unique = len(set(named)) == len(named)
    tidy["file"] = [str(name) if unique else f"{row:08d}-{name}" for row, name in enumerate(named)]
    tidy["_key"] = tidy["file"]
    tidy["_offset"] = list(range(len(named)))
    return tidy, store


def _row_name(value: Any, row: int) -> str:
    path = value.get("path") if isinstance(value, dict) else None
    return re.split(r"[\\/]", path)[-1] if path else f"{row:08d}"


def _named(feature: Any, value: Any) -> Any:
    """Turn class numbers into class names."""
    if isinstance(feature, datasets.ClassLabel):
        return None if value is None or value < 0 else feature.int2str(value)
    inner = getattr(feature, "feature", None)
    if inner is not None and isinstance(value, list):
        return [_named(inner, v) for v in value]
    return value


def index_tar(tar: Path) -> tuple[dict[str, list[Any]], Ledger]:
    """Find the recordings in a tar by their offsets; nothing is unpacked.

    Every audio member is a clip. In the webdataset layout, side files belong to the recordings whose names agree with
    theirs up to the ending, or up to the first dot of the base name: `.cls` holds the label; `.json` holds columns;
    `.txt` becomes the column `text`, and the label if there is no other.

    Returns:
        Columns, and the ledger of the members.

    Raises:
        CorpusError: the file is no uncompressed tar.
    """
    audio: dict[str, tuple[str, int, int]] = {}
    sides: dict[str, dict[str, tuple[str, bytes]]] = {}
    lost: list[Entry] = []
    known = 0
    size = tar.stat().st_size
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in _members(archive, tar.name, lost):
                if not member.isfile():
                    continue
                name, base = member.name, member.name.rpartition("/")[2]
                stem, _, suffix = name.rpartition(".")
                kind = suffix.lower()
                if base.startswith("."):
                    lost.append(_member(tar, name, "hidden members are passed over", "ignored"))
                elif f".{kind}" in AUDIO_SUFFIXES:
                    if member.offset_data + member.size > size:
                        lost.append(_member(tar, name, "the tar ends inside it; copy the shard again", "cut off"))
                    elif name in audio:
                        lost.append(_member(tar, name, "two members have this name; the last is used", "repeated"))
                        audio[name] = (name, member.offset_data, member.size)
                    else:
                        audio[name] = (name, member.offset_data, member.size)
                elif kind in ("json", "cls", "txt") and member.size <= _SIDE_BYTES:
                    handle = archive.extractfile(member)
                    sides.setdefault(stem, {})[kind] = (name, handle.read() if handle is not None else b"")
                    known += 1
                else:
                    lost.append(_member(tar, name, "it is no recording and no label file", "not read"))
    except (tarfile.ReadError, OSError) as error:
        remedy = "uncompress it: members of a compressed tar can't be read one by one"
        raise CorpusError(
            f"{tar} can't be opened as an uncompressed tar ({error}); copy it again, or {remedy}"
        ) from error
    used: set[str] = set()
    labels: list[Entry] = []
    rows = [_row(tar, place, sides, used, labels) for place in audio.values()]
    read = {name for group in sides.values() for name, _ in group.values()}
    lost += [_member(tar, name, "no recording has its name", "not read") for name in sorted(read - used)]
    # A name that occurs twice is one side file, the last.
    repeated = known - len(read)
    lost += [Entry("member", tar.name, "side files whose names occur twice", "repeated", repeated)] if repeated else []
    ledger = Ledger().add("member", used=len(audio) + len(used), skipped=lost)
    ledger = ledger.add("label", used=len(used) - len(labels), skipped=labels)
    if not rows:
        return {}, ledger
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    machinery = {name: columns.pop(name) for name in ("_key", "_offset", "_size")}
    tidy = tidy_columns(columns, str(tar)) | machinery
    found = re.match(r"(train|training|valid|validation|val|dev|test|eval)(?![a-z])", tar.name.lower())
    if found and "split" not in tidy:
        tidy["split"] = [tidy_split(found[1])] * len(rows)
    return tidy, ledger


def _member(tar: Path, name: str, reason: str, cause: str) -> Entry:
    return Entry("member", f"{tar.name}/{name}", reason, cause)


def _members(archive: tarfile.TarFile, name: str, lost: list[Entry]) -> Any:
    try:
        yield from archive
    except (tarfile.ReadError, ValueError, OverflowError) as error:
        # Members before the damage are valid.
        reason = f"the tar is damaged or cut off ({error}); recordings after this point are missing"
        lost.append(Entry("member", name, reason, "cut off"))


def _row(
    tar: Path,
    place: tuple[str, int, int],
    sides: Mapping[str, Mapping[str, tuple[str, bytes]]],
    used: set[str],
    labels: list[Entry],
) -> dict[str, Any]:
    name, offset, size = place
    folder, slash, base = name.rpartition("/")
    # The own side files of `a.1.wav` are `a.1.cls`; those of the sample `a` are of all its recordings.
    sample = {**sides.get(f"{folder}{slash}{base.partition('.')[0]}", {}), **sides.get(name.rpartition(".")[0], {})}
    row: dict[str, Any] = {}
    texts = {kind: data.decode("utf-8", "replace").strip() for kind, (_, data) in sample.items()}
    fresh = {side for side, _ in sample.values()} - used
    used |= fresh
    if "json" in texts:
        try:
            said = json.loads(texts["json"])
            row |= {k: v for k, v in said.items() if k != "file"} if isinstance(said, dict) else {"label": said}
        except (ValueError, RecursionError) as error:
            side = sample["json"][0]
            if side in fresh:
                reason = f"no valid JSON ({error}); its recording is kept without labels"
                labels.append(Entry("label", f"{tar.name}/{side}", reason, "no valid JSON"))
    if "txt" in texts:
        row["text"] = texts["txt"]
    if "cls" in texts:
        row["label"] = texts["cls"]
    elif "text" in row and not any(name in row for name in ("label", "labels", "category", "class", "tags")):
        row["label"] = row["text"]
    return row | {"file": name, "_key": name, "_offset": offset, "_size": size}


def open_tars(tars: Sequence[Path], root: Path, name: str) -> Corpus:
    """Open tar shards as one corpus.

    Raises:
        CorpusError: no shard holds audio.
    """
    parts: list[Corpus] = []
    ledger = Ledger()
    for tar in tars:
        try:
            columns, members = index_tar(tar)
        except CorpusError as error:
            if len(tars) == 1:
                raise
            ledger = ledger.add("member", skipped=[Entry("member", tar.name, str(error), "unreadable")])
            continue
        if columns:
            parts.append(make_corpus(columns, root, tar.stem, store=TarStore(tar), ledger=members))
        else:
            ledger = ledger.merge(members)
    if not parts:
        reason = next(iter(ledger.reasons("member").values()), f"no member is a recording ({AUDIO_NAMES})")
        raise CorpusError(f"there is no audio in the tar shards of {root}: {reason}")
    corpus = parts[0] if len(tars) == 1 else merged(parts, name)
    return replace(corpus, name=name, ledger=corpus.ledger.merge(ledger))


def open_parquets(paths: Sequence[Path], root: Path, name: str) -> Corpus:
    """Open Parquet shards as one corpus.

    Raises:
        CorpusError: a shard can't be read, or no column holds audio.
    """
    origin: dict[str, Any] = {"id": "parquet", "split": "train", "files": [str(path.resolve()) for path in paths]}
    columns, store = arrow_rows(load_split(**origin), origin, name)
    return make_corpus(columns, root, name, store=store)


def merged(parts: Sequence[Corpus], name: str) -> Corpus:
    """Join shards or splits of one corpus, without a column `corpus`."""
    joined = join(parts, name)
    if any("corpus" in part.columns for part in parts):
        return joined
    return replace(joined, table=joined.table.drop_columns(["corpus"]))
