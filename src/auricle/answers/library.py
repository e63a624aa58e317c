"""A library: the vectors of many recordings' segments, to search, to label and to fit heads on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auricle.answers.approximate import MOST, Approximation
from auricle.answers.segment_table import PLACE, SHOWN, lance_errors, open_segments, scan
from auricle.corpus.columns import READ_CHANNEL, READ_EXPANSION
from auricle.corpus.stores import Store
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError, StorageError
from auricle.storage import unseal, write_record

RECORD = "library.json"
# The layout of the folder; raised where an earlier one can no longer be read.
_LAYOUT = 1
# From this many rows on, rows of some numbers are found by a scan.
_MANY = 1000


@dataclass(frozen=True)
class LibraryRecord:
    """What a library is made by: all its vectors are of one model and one way of reading recordings.

    Attributes:
        model: what `auricle.load` opens; None: it was given as an object.
        name: of the model, for messages.
        fingerprint: of the model and, with `space` `text`, of its text tower and projections.
        space: `encoder`, the clip vectors; `text`, the space shared with text.
        rate: sample rate in Hz that the model reads.
        width: D of the vectors.
        segment: length of the segments in seconds; None: whole clips.
        hop: seconds between the starts of two segments; None: `segment`.
        channel: that is read; None: the mean of all, or as the table of clips says.
        time_expansion: how many times slower recordings are played to the model; None: 1, or as the table says.
        precision: of the model.
        features: settings of what is read of the model.
        stores: descriptions of the stores of the audio, which rows refer to by number.
        next_id: no row has, or ever had, this id or a greater one, unless it was added since.
        approximate: the approximate search that a large library has; None: every search is exact.

    Examples:
        >>> record = LibraryRecord("runs/mine", "mine", "0f1e", "encoder", rate=16000, width=512, segment=5.0)
        >>> record.hop is None, record.approximate is None
        (True, True)
    """

    model: str | None
    name: str
    fingerprint: str
    space: Literal["encoder", "text"]
    rate: int
    width: int
    segment: float | None = None
    hop: float | None = None
    channel: str | None = None
    time_expansion: float | None = None
    precision: str = "fp32"
    features: dict[str, Any] = dataclasses.field(default_factory=dict)
    stores: tuple[dict[str, Any], ...] = ()
    next_id: int = 0
    approximate: Approximation | None = None

    def write(self, folder: Path) -> None:
        """Write the record of a library, atomically.

        Raises:
            StorageError: it can't be written.
        """
        write_record(folder / RECORD, {"layout": _LAYOUT, **dataclasses.asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> LibraryRecord:
        """Read the record of a library.

        Raises:
            StorageError: the folder holds none, or it is damaged, or of a later version of auricle.
        """
        path = folder / RECORD
        if not path.is_file():
            raise StorageError(
                f"{folder} is no library: it has no {RECORD}; expected a folder that `auricle index` wrote"
            )
        try:
            data = unseal(path.read_text(encoding="utf-8"))
            layout = data.pop("layout")
            if layout == _LAYOUT:
                found = data["approximate"]
                data |= {"stores": tuple(data["stores"]), "approximate": found and Approximation(**found)}
                return cls(**data)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{path} is damaged ({error}); expected what `auricle index` wrote: restore the file, or index the "
                "recordings again into a new folder"
            ) from error
        raise StorageError(
            f"{folder} is a library of layout {layout}, and this version of auricle reads {_LAYOUT}; update auricle, "
            "or index the recordings again into a new folder"
        )


class Library:
    """A library that is open for reading; rows that are added later are seen when it is opened again.

    Args:
        folder: of the library.

    Attributes:
        folder: of the library.
        record: what it is made by.

    Raises:
        StorageError: there is no library, or it is damaged.
        MissingExtraError: LanceDB is not installed.

    Examples:
        >>> Library.open("library").search(vector, 10)  # doctest: +SKIP
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.record = folder, LibraryRecord.read(folder)
        self._table = open_segments(folder)
        with lance_errors(folder):
            self._count = int(self._table.count_rows())

    @classmethod
    def open(cls, folder: str | Path) -> Library:
        """Open a library; see the class."""
        return cls(Path(folder))

    def __len__(self) -> int:
        return self._count

    @property
    def rate(self) -> int:
        """Sample rate in Hz of `audio`: the one that the model reads."""
        return self.record.rate

    def rows(self, ids: Sequence[int] | None = None) -> pa.Table:
        """Return rows without their vectors, sorted by id.

        Args:
            ids: of the rows; None: all.

        Returns:
            `id`, `file`, `start` and `end` (seconds in the recording), and of the clip `label`, `split`, `fold`,
            `source` and `extra`: its other columns, as JSON.

        Raises:
            ConfigError: there is no row of an id.
            StorageError: the table is damaged.
        """
        return self._read(SHOWN, ids).sort_by("id")

    def recordings(self) -> dict[str, str]:
        """Return the name of each recording, by the digest of its content in hexadecimal.

        Raises:
            StorageError: the table is damaged.
        """
        found = self._read(("recording", "file"), None).group_by(["recording", "file"]).aggregate([])
        contents = found.column("recording").to_pylist()
        return {content.hex(): file for content, file in zip(contents, found.column("file").to_pylist(), strict=True)}

    def vectors(self, ids: Sequence[int] | None = None) -> np.ndarray:
        """Return vectors `(n, D)` float16 of rows, in the order of the ids; of all, sorted by id.

        Raises:
            ConfigError: there is no row of an id.
            StorageError: the table is damaged.
        """
        found = self._read(("id", "vector"), ids)
        known = found.column("id").to_numpy()
        flat = found.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        order = np.argsort(known)
        if ids is not None:
            order = order[np.searchsorted(known[order], np.asarray(ids, dtype=np.int64))]
        vectors: np.ndarray = flat.reshape(len(known), self.record.width)[order]
        return vectors

    def audio(self, row: int) -> tuple[np.ndarray, int]:
        """Return the sound of a row as the model reads it: float32 `(S,)` and its rate in Hz.

        Raises:
            ConfigError: there is no such row.
            AudioError: the recording is missing or broken.
        """
        return self.corpus([row]).audio(0, self.rate), self.rate

    def corpus(self, ids: Sequence[int]) -> Corpus:
        """Return the clips of rows, in the order of the ids, with a further column `id`.

        Raises:
            ConfigError: there is no row of an id.
        """
        found = self._read((*SHOWN, *PLACE), ids).sort_by("id")
        order = np.searchsorted(found.column("id").to_numpy(), np.asarray(ids, dtype=np.int64))
        found = found.take(pa.array(order))
        columns: dict[str, Any] = {name: found.column(name) for name in SHOWN if name not in ("end", "extra")}
        columns["seconds"] = pc.subtract(found.column("end"), found.column("start"))
        columns |= {f"_{name}": found.column(name) for name in ("whole", "store", "key", "offset", "size")}
        columns |= {
            n: found.column(n) for n in (READ_CHANNEL, READ_EXPANSION) if found.column(n).null_count < len(found)
        }
        corpus = Corpus.from_columns(columns, root=self.folder, name=self.folder.name)
        return dataclasses.replace(corpus, stores=tuple(Store.from_description(data) for data in self.record.stores))

    def is_exact(self, top: int, exact: bool | None = None) -> bool:
        """Return whether a search with these arguments compares with every vector."""
        return bool(exact) or self.record.approximate is None or top > MOST

    def search(self, vector: np.ndarray, top: int = 50, exact: bool | None = None) -> pa.Table:
        """Return the rows whose vectors point most nearly in the direction of a vector.

        Args:
            vector: `(D,)`.
            top: number of rows.
            exact: compare with every vector; None: where the library is small or `top` is large (`is_exact` says so).

        Returns:
            The columns of `rows` and `score`, the cosine; highest first.

        Raises:
            ConfigError: the vector has another size, is zero or not finite, or `top` is below 1.
            StorageError: the table is damaged.
        """
        wanted = np.asarray(vector, dtype=np.float32)
        if wanted.shape != (self.record.width,):
            raise ConfigError(
                f"found a vector of shape {wanted.shape}; expected ({self.record.width},), the size of the library's: "
                f"make it with the library's model, {self.record.name}"
            )
        if not np.isfinite(wanted).all() or not wanted.any():
            raise ConfigError("the vector is zero or not finite; expected a direction to search in")
        if top < 1:
            raise ConfigError(f"top is {top}; expected at least 1")
        with lance_errors(self.folder):
            query = self._table.search(wanted).distance_type("cosine").select([*SHOWN, "_distance"]).limit(top)
            near = self.record.approximate
            if near is None or self.is_exact(top, exact):
                query = query.bypass_vector_index()
            else:
                query = query.nprobes(near.searched)
            found: pa.Table = query.to_arrow()
        score = pc.subtract(1.0, found.column("_distance").cast(pa.float64()))
        # Equal scores in the order of their ids, whatever the order of the table's parts.
        return (
            found.select(list(SHOWN))
            .append_column("score", score)
            .sort_by([("score", "descending"), ("id", "ascending")])
        )

    def _read(self, columns: Sequence[str], ids: Sequence[int] | None) -> pa.Table:
        with lance_errors(self.folder):
            if ids is None:
                return scan(self._table, columns)
            unique = sorted({int(row) for row in ids})
            if len(unique) > _MANY:
                found = scan(self._table, columns, f"id >= {unique[0]} AND id <= {unique[-1]}")
                found = found.filter(pc.is_in(found.column("id"), value_set=pa.array(unique, pa.int64())))
            else:
                found = scan(self._table, columns, f"id IN ({', '.join(map(str, unique)) or '-1'})")
        if len(found) < len(unique):
            missing = sorted(set(unique) - set(found.column("id").to_pylist()))
            raise ConfigError(
                f"the library {self.folder} has no row {missing[0]}; expected ids of its {len(self):,} rows, as "
                "`auricle search` lists them"
            )
        return found


def check_made_by(record: LibraryRecord, folder: Path, fingerprint: str, name: str) -> None:
    """Refuse a model whose vectors are not those of a library.

    Raises:
        CorpusError: naming both.
    """
    if record.fingerprint != fingerprint:
        raise CorpusError(
            f"the library {folder} was made by {record.name} (fingerprint {record.fingerprint}), and this is {name} "
            f"({fingerprint}): their vectors can't be compared. Expected the same weights, precision and features: "
            f"name that model{f' ({record.model})' if record.model else ''}, or choose another library"
        )
