"""One vector per clip, in a table."""

from __future__ import annotations

import filecmp
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from auricle.audio.batch import Audio
from auricle.corpus.ledger import Ledger, beside
from auricle.corpus.losses import clip_name, clip_names, silence, spread_of, with_losses
from auricle.corpus.reading import band_notes
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, ConfigError, CorpusError, Reason, StorageError
from auricle.storage import disk_errors, free_bytes
from auricle.tokens.embedding_files import REMEDY, bytes_needed, check_ending, free_names, write_table
from auricle.tokens.embedding_parts import Part, UnfinishedEmbedding, embedded_before
from auricle.tokens.extract import alone, clip_progress
from auricle.tokens.unfinished import packed, unpacked

_NONE = np.zeros((0, 0), dtype=np.float32)  # vectors
_COMMIT_SECONDS = 10.0  # between two commits: a kill loses at most these


@dataclass(frozen=True)
class EmbeddedCorpus:
    """Result of `embed_corpus`.

    Attributes:
        path: the file.
        clips: number of its rows.
        width: of a vector.
        ledger: what came in, what of it has a row, and why the rest has none; the list beside the file has it, too.
        broken: clips and recordings without a row -> the reason.
        notes: remarks.
    """

    path: Path
    clips: int
    width: int
    ledger: Ledger = field(default_factory=Ledger)
    broken: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def embed_corpus(
    encoder: FrozenEncoder,
    corpus: Corpus | Path | str,
    out: Path | str,
    *,
    batch: int = 16,
    batch_seconds: float = 160.0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> EmbeddedCorpus:
    """Encode every clip once and write a table: Parquet, CSV, JSON lines or npz, as the file's ending says.

    What is encoded is kept beside the file until the file and its list are written: a killed call is continued with
    `resume`, and ends in the same bytes. A file that this model wrote of these clips before is left as it is.

    Args:
        encoder: the frozen encoder.
        corpus: the clips, or what `open_corpus` opens.
        out: file to write, atomically; one row per clip: the corpus's columns and `embedding` (D float32; see
            `write_table`). Clips that can't be decoded, that are too short for one token, or whose vector is not finite
            have no row and are listed in `EmbeddedCorpus.broken`. A column of the corpus that is called `embedding` is
            renamed, which `EmbeddedCorpus.notes` says.
        batch: most clips encoded at once. Clips of similar length are batched; rows keep the corpus's order.
        batch_seconds: most seconds of audio encoded at once (a longer clip is encoded alone).
        resume: continue an unfinished call with the same arguments; start where there is none.
        overwrite: replace `out`, whatever it holds.
        progress: show a progress bar with an estimate.

    Raises:
        ConfigError: `batch` or `batch_seconds` is out of range, or the ending of `out` is of no format.
        CorpusError: not one clip could be embedded.
        StorageError: `out` holds anything else, can't be written, or the disk has too little room (all checked before
            any clip is encoded), unfinished work is there and `resume` is not set, or the disk is full.
    """
    if batch < 1 or not batch_seconds > 0:
        raise ConfigError(f"batches of {batch} clips and {batch_seconds:g} s; expected at least 1 clip and above 0 s")
    out = Path(out)
    check_writable(out)
    ending = check_ending(out)
    corpus = corpus if isinstance(corpus, Corpus) else open_corpus(corpus)
    renamed = free_names(corpus.columns, ending)
    notes = tuple(
        f"the column {old!r} of the table is written as {new!r}: its name is that of the vectors"
        for old, new in renamed.items()
    )
    facts = {"model": encoder.fingerprint, "corpus": corpus.fingerprint, "number of clips": len(corpus)}
    work = UnfinishedEmbedding(out, {**facts, "batch": [batch, batch_seconds]}, resume=resume)
    # Where every clip is waiting, a killed call may have written the file without its list.
    made = None if overwrite or work.position == len(corpus) else embedded_before(out, facts)
    if made is None:
        _check_room(out, ending, len(corpus), encoder.pooled_width)
        present, vectors, skipped = _encode_all(encoder, corpus, work, batch, batch_seconds, progress)
        kept = corpus.select(np.sort(present))
        table = kept.table.select(kept.columns).rename_columns([renamed.get(name, name) for name in kept.columns])
        origin = {"encoder": encoder.name, "encoder_fingerprint": encoder.fingerprint}
        write_table(work.table, table, vectors[np.argsort(present)], origin)
        if not overwrite and out.exists() and not filecmp.cmp(work.table, out, shallow=False):
            embedded_before(out, facts)
        with disk_errors(out, REMEDY):
            # The list of another table of as many bytes must not be taken for that of this one.
            beside(out).unlink(missing_ok=True)
            work.table.replace(out)
        made = {"facts": facts, "model": encoder.name, "corpus": corpus.name, "bytes": out.stat().st_size}
        made |= {"clips": len(present), "width": vectors.shape[1], "said": packed(skipped)}
    else:
        notes = (*notes, f"{out} held the vectors of these clips by this model already: nothing was encoded")
    skipped = unpacked(made["said"])
    named = enumerate(clip_names(corpus, range(len(corpus))) if skipped else ())
    reasons = {row: skipped[name] for row, name in named if name in skipped}
    # Silent clips have a vector all the same.
    silent = {row: reasons.pop(row) for row in [row for row, reason in reasons.items() if reason.cause == "silent"]}
    ledger = with_losses(corpus, reasons, silent)
    ledger.write(beside(out), made=made)
    work.remove()
    notes = (*corpus.notes, *notes, *band_notes(corpus, encoder.rate))
    broken = {name: reason for name, reason in skipped.items() if reason.cause != "silent"}
    return EmbeddedCorpus(out, made["clips"], made["width"], ledger, {**corpus.ledger.reasons(), **broken}, notes)


def _encode_all(
    encoder: FrozenEncoder,
    corpus: Corpus,
    work: UnfinishedEmbedding,
    batch: int,
    batch_seconds: float,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray, dict[str, Reason]]:
    """Return rows in the order of encoding, their vectors, and why clips have none; of silent clips a remark."""
    order = np.argsort(np.asarray(corpus.column("seconds")), kind="stable")
    with clip_progress("embedding", progress) as bar:
        task = bar.add_task("", total=len(corpus), completed=work.position)
        began, waiting, broken = time.monotonic(), list[tuple[list[int], np.ndarray]](), dict[str, Reason]()
        done_before = work.position
        for rows, vectors, count in encoded_clips(encoder, corpus, order[done_before:], broken, batch, batch_seconds):
            waiting.append((rows, vectors))
            position = done_before + count
            bar.update(task, completed=position)
            # Where all was encoded before, nothing is left to commit.
            if position > work.position and (position == len(corpus) or time.monotonic() - began > _COMMIT_SECONDS):
                done = [row for some, _ in waiting for row in some]
                work.commit(Part(np.array(done, np.int64), _stacked([v for _, v in waiting]), dict(broken), position))
                began, waiting = time.monotonic(), []
                broken.clear()
    present = np.concatenate([part.rows for part in work.parts]) if work.parts else np.zeros(0, np.int64)
    skipped = {file: reason for part in work.parts for file, reason in part.skipped.items()}
    if not len(present):
        first = next(
            (f"the first, {file!r}: {reason}" for file, reason in skipped.items()), "the corpus holds no clips"
        )
        work.remove()
        raise CorpusError(f"no clip of {corpus.name} could be embedded ({first}); see `auricle corpus scan`")
    return present, _stacked([part.vectors for part in work.parts]), skipped


def _stacked(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Join vectors `(n, D)`; what holds none has no width."""
    return np.concatenate([v for v in vectors if len(v)] or [_NONE])


def _check_room(out: Path, ending: str, clips: int, width: int) -> None:
    """Refuse a disk that can't hold the table and the unfinished work beside it."""
    needed, free = bytes_needed(ending, clips, width) + bytes_needed(".npz", clips, width), free_bytes(out)
    if needed > free:
        raise StorageError(
            f"{out} and the unfinished work beside it need about {needed / 1e6:,.0f} MB, and the disk has "
            f"{free / 1e6:,.0f} MB free; {REMEDY}"
        )


def check_writable(out: Path) -> None:
    """Refuse a path that can't be written, before hours of work are lost."""
    if out.is_dir():
        raise StorageError(f"{out} is a folder; name a file in it, such as {out / 'embeddings.parquet'}")
    above = next((p for p in out.absolute().parents if p.exists()), None)
    if above is not None and not above.is_dir():
        raise StorageError(f"can't write {out}: {above} is a file, not a folder; choose another path")
    partial = out.with_name(out.name + ".partial")
    with disk_errors(out, REMEDY):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()


def encoded_clips(
    encoder: FrozenEncoder,
    corpus: Corpus,
    order: np.ndarray,
    broken: dict[str, Reason],
    batch: int = 16,
    batch_seconds: float = 160.0,
) -> Iterator[tuple[list[int], np.ndarray, int]]:
    """Encode clips in order, without keeping any.

    Args:
        encoder: the frozen encoder.
        corpus: the clips.
        order: rows of the clips; those of similar length should follow each other.
        broken: takes the name and the reason of each clip that can't be encoded, and a remark on silent ones, before
            the batch is yielded that follows it.
        batch: most clips encoded at once.
        batch_seconds: most seconds of audio encoded at once.

    Yields:
        Rows, their vectors `(n, D)` float32, and how many clips of the order are then done; the last time all are.
    """
    for rows, audio, position in _batches(encoder, corpus, order, batch, batch_seconds, broken):
        yield (*(_vectors(encoder, corpus, rows, audio, broken) if rows else ([], _NONE)), position)


def _vectors(
    encoder: FrozenEncoder, corpus: Corpus, rows: list[int], audio: Audio, broken: dict[str, Reason]
) -> tuple[list[int], np.ndarray]:
    """Encode a batch; after an error each clip alone, so that those which fail are listed."""
    try:
        tokens, pooled = encoder.encode(audio)
    except AudioError as error:
        if len(rows) == 1:
            broken[clip_name(corpus, rows[0])] = error.reason
            return [], _NONE
    else:
        vectors = pooled.float().cpu().numpy()
        # The clip vector of no token is zero: finite, and yet meaningless.
        seen = np.ones(len(rows), bool) if tokens.valid is None else tokens.valid.any(1).cpu().numpy()
        finite = np.isfinite(vectors).all(1)
        for row in np.asarray(rows)[~seen].tolist():
            broken[clip_name(corpus, row)] = Reason("no valid token: shorter than the encoder needs", "too short")
        for row in np.asarray(rows)[seen & ~finite].tolist():
            broken[clip_name(corpus, row)] = Reason("the embedding is not finite", "not finite")
        return np.asarray(rows)[seen & finite].tolist(), vectors[seen & finite]
    parts = [_vectors(encoder, corpus, [row], alone(audio, b), broken) for b, row in enumerate(rows)]
    return [row for some, _ in parts for row in some], _stacked([found for _, found in parts])


def _batches(
    encoder: FrozenEncoder,
    corpus: Corpus,
    order: np.ndarray,
    size: int,
    seconds: float,
    broken: dict[str, Reason],
) -> Iterator[tuple[list[int], Audio, int]]:
    """Yield rows, their audio, and how many clips of the order are then done.

    A batch never depends on those before it: from any of these positions on, the same batches follow.
    """
    rate, exact = encoder.rate, encoder.exact_padding
    rows: list[int] = []
    clips: list[np.ndarray] = []
    for position, index in enumerate(order.tolist()):
        # What is skipped belongs to the batch that is yielded next, with which it is committed.
        reason: Reason | None = None
        try:
            clip = corpus.audio(index, rate)
            # Checked for each clip: its batch must not decide whether it has a row.
            reason = encoder.shortfall(len(clip))
            silent = silence(spread_of(clip))
        except AudioError as error:
            reason = error.reason
        if reason is not None:
            broken[clip_name(corpus, index)] = reason
            continue
        if silent is not None:
            broken[clip_name(corpus, index)] = silent
        # By the samples, because the table's lengths may be wrong; the longest clip pads the others.
        longest = max(len(clip), *(len(other) for other in clips)) if clips else len(clip)
        # An encoder whose output depends on padding gets clips of one length only.
        unlike = not exact and bool(clips) and len(clips[0]) != len(clip)
        if rows and (unlike or len(rows) == size or (len(rows) + 1) * longest > seconds * rate):
            yield rows, Audio.stack(clips, rate), position
            rows, clips = [], []
        rows.append(index)
        clips.append(clip)
    yield rows, Audio.stack(clips or [np.zeros(1, np.float32)], rate), len(order)
