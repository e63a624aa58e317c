"""The verb `index`: vectors of recordings, added to a library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from auricle.answers.additions import Addition, IndexedRecordings
from auricle.answers.library import RECORD, LibraryRecord, check_made_by
from auricle.answers.spaces import open_space
from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.features import FeaturesConfig
from auricle.errors import ConfigError, StorageError
from auricle.models.opening import Model
from auricle.training.lock import RunLock

_HELD = "a library that another process is adding to"


def index(
    model: str | Path | Model,
    data: str | Path | Corpus,
    out: str | Path,
    *,
    segment: float | None = None,
    hop: float | None = None,
    space: Literal["encoder", "text"] | None = None,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    batch: int = 16,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    progress: bool = True,
) -> IndexedRecordings:
    """Add the vectors of recordings to a library, which is made where there is none.

    A recording counts by its content: what the library has is not encoded again, under whatever name; a recording that
    was moved is read from its new place; the rows of one that was changed are replaced; copies are skipped. A killed
    call is continued by the same call, which adds what is missing.

    Args:
        model: a model, or what `load` opens.
        data: a corpus, or what `open_corpus` opens.
        out: folder of the library.
        segment: divide recordings into segments of this many seconds: one row per segment; None: that of the library,
            of a new one whole clips.
        hop: seconds between the starts of two segments; None: that of the library, of a new one `segment`.
        space: `encoder`: the clip vectors of the model; `text`: the space that a model of audio and text shares with
            texts, so that a text finds sounds; None: that of the library, of a new one `encoder`.
        channel: channel that is read, see `auricle.corpus.reading.read_as`; None: that of the library.
        time_expansion: how many times slower recordings are played, see there; None: that of the library.
        batch: clips encoded at once, at most.
        device: see `load`; ignored for a `Model`, like the next three.
        precision: see `load`.
        trust_remote_code: see `load`.
        features: see `load`.
        progress: show a progress bar.

    Raises:
        CheckpointError: there is no such model, it has no text tower, or another process is adding to the library.
        CorpusError: there is no such data, the library was made by another model, or no clip could be encoded.
        ConfigError: a setting is out of range, or not the library's.
        StorageError: the library can't be written, is damaged, or `out` holds anything else.
        MissingExtraError: LanceDB is not installed.

    Examples:
        >>> import auricle
        >>> auricle.index("runs/mine", "recordings", "library", segment=5, hop=2.5)  # doctest: +SKIP
    """
    out = Path(out)
    if batch < 1:
        raise ConfigError(f"found batches of {batch} clips, expected at least 1")
    if hop is not None and segment is None and not (out / RECORD).is_file():
        raise ConfigError("hop needs segment: the length of the segments")
    _check_folder(out)
    reading = {"channel": None if channel is None else str(channel), "time_expansion": time_expansion}
    chosen = {"segment": segment, "hop": hop, "space": space, **reading}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    before = _read(out, given)
    if before is not None:
        given = {name: getattr(before, name) for name in chosen}
    clips = data if isinstance(data, Corpus) else open_corpus(data)
    clips = read_as(clips, given.get("channel"), given.get("time_expansion"))
    if given.get("segment") is not None:
        clips = clips.segments(given["segment"], given.get("hop"))
    kind = given.pop("space", "encoder")
    opened = open_space(
        model, kind, device=device, precision=precision, trust_remote_code=trust_remote_code, features=features
    )
    made = LibraryRecord(None if isinstance(model, Model) else _absolute(str(model)), **opened.facts, **given)
    with RunLock(out, _HELD):
        # Another process may have added to it, or made it, while the model was opened.
        before = _read(out, {name: getattr(made, name) for name in chosen}) or made
        check_made_by(before, out, opened.fingerprint, opened.name)
        return Addition(out, before, opened, clips).run(batch, progress)


def _check_folder(out: Path) -> None:
    """Refuse a path that holds anything but a library."""
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out} is a file; expected the folder of a library: choose another --out")
    held = sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) if out.is_dir() else []
    if held and RECORD not in held:
        raise StorageError(
            f"{out} holds {held[0]}{' and more' if len(held) > 1 else ''} and no {RECORD}; expected an empty or new "
            "folder, or a library: choose another --out"
        )


def _read(folder: Path, given: dict[str, Any]) -> LibraryRecord | None:
    """Return the record of a library; None where there is none.

    Raises:
        ConfigError: settings are not those of the library: its rows could not be compared.
        StorageError: the record is damaged.
    """
    if not (folder / RECORD).is_file():
        return None
    record = LibraryRecord.read(folder)
    own = {name: getattr(record, name) for name in given}
    # Without a hop, segments follow each other.
    hops = {record.hop, record.segment} if record.hop is None else {record.hop}
    other = [name for name in given if given[name] != own[name] and not (name == "hop" and given[name] in hops)]
    if other:
        name = other[0]
        flag = name.replace("_", "-")
        was, now = ("none" if value is None else value for value in (own[name], given[name]))
        raise ConfigError(
            f"the library {folder} has {name.replace('_', ' ')} {was}, and --{flag} is {now}: all its rows are made "
            f"alike. Leave --{flag} out to add to it, or choose another --out"
        )
    return record


def _absolute(model: str) -> str:
    """Return what `load` opens, whatever the working directory."""
    return str(Path(model).resolve()) if Path(model).exists() else model
