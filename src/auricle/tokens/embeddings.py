"""One vector per clip, in a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auricle.audio.batch import Audio
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Ability
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, ConfigError, CorpusError, StorageError
from auricle.storage import disk_errors, replacing
from auricle.tokens.extract import alone, clip_progress

_REMEDY = "free some space or write elsewhere"


@dataclass(frozen=True)
class EmbeddedCorpus:
    """Result of `embed_corpus`: file, number of clips, width of a vector, and skipped clips with the reason."""

    path: Path
    clips: int
    width: int
    broken: dict[str, str] = field(default_factory=dict)


def embed_corpus(
    encoder: FrozenEncoder,
    corpus: Corpus,
    out: Path | str,
    *,
    batch: int = 16,
    batch_seconds: float = 160.0,
    progress: bool = True,
) -> EmbeddedCorpus:
    """Encode every clip once and write a Parquet table.

    Args:
        encoder: the frozen encoder.
        corpus: the clips.
        out: file to write, atomically; one row per clip: the corpus's columns and `embedding` (D float32). Clips that
            can't be decoded, that are too short for one token, or whose vector is not finite have no row and are listed
            in `EmbeddedCorpus.broken`.
        batch: most clips encoded at once. Clips of similar length are batched; rows keep the corpus's order.
        batch_seconds: most seconds of audio encoded at once (a longer clip is encoded alone).
        progress: show a progress bar with an estimate.

    Raises:
        ConfigError: `batch` or `batch_seconds` is out of range.
        CorpusError: not one clip could be embedded.
        StorageError: `out` can't be written (checked before any clip is encoded), or the disk is full.
    """
    if batch < 1 or not batch_seconds > 0:
        raise ConfigError(f"batches of {batch} clips and {batch_seconds:g} s; expected at least 1 clip and above 0 s")
    out = Path(out)
    _check_writable(out)
    vectors = np.zeros((len(corpus), 0), dtype=np.float32)
    done = np.zeros(len(corpus), dtype=bool)
    broken: dict[str, str] = {}
    order = np.argsort(np.asarray(corpus.column("seconds")), kind="stable")
    with clip_progress("embedding", progress) as bar:
        task = bar.add_task("", total=len(corpus))
        for rows, audio in _batches(encoder, corpus, order, batch, batch_seconds, broken):
            rows, found = _vectors(encoder, corpus, rows, audio, broken)
            if not rows:
                continue
            if vectors.shape[1] == 0:
                vectors = np.zeros((len(corpus), found.shape[1]), dtype=np.float32)
            finite = np.isfinite(found).all(1)
            vectors[rows], done[rows] = found, finite
            for row, good in zip(rows, finite.tolist(), strict=True):
                if not good:
                    broken[_clip_name(corpus, row)] = "the embedding is not finite"
            bar.update(task, completed=int(done.sum()) + len(broken))
    if not done.any():
        first = next((f"the first, {file!r}: {reason}" for file, reason in broken.items()), "the corpus holds no clips")
        raise CorpusError(f"no clip of {corpus.name} could be embedded ({first}); see `auricle corpus scan`")
    kept = corpus.select(done)
    table = kept.table.select(kept.columns)
    flat = pa.array(vectors[done].reshape(-1))
    table = table.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
    table = table.replace_schema_metadata({"encoder": encoder.name, "encoder_fingerprint": encoder.fingerprint})
    # Errors of Python's file keep their number, which identifies a full disk.
    with replacing(out, _REMEDY) as partial, partial.open("wb") as file:
        pq.write_table(table, file)
    return EmbeddedCorpus(out, int(done.sum()), vectors.shape[1], {**corpus.problems, **broken})


def _check_writable(out: Path) -> None:
    """Refuse a path that can't be written, before hours of work are lost."""
    if out.is_dir():
        raise StorageError(f"{out} is a folder; name a file in it, such as {out / 'embeddings.parquet'}")
    above = next((p for p in out.absolute().parents if p.exists()), None)
    if above is not None and not above.is_dir():
        raise StorageError(f"can't write {out}: {above} is a file, not a folder; choose another path")
    partial = out.with_name(out.name + ".partial")
    with disk_errors(out, _REMEDY):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()


def _clip_name(corpus: Corpus, row: int) -> str:
    clip = corpus[row]
    return clip.file if corpus.is_whole(row) else f"{clip.file} [{clip.start:g} s + {clip.seconds:g} s]"


def _vectors(
    encoder: FrozenEncoder, corpus: Corpus, rows: list[int], audio: Audio, broken: dict[str, str]
) -> tuple[list[int], np.ndarray]:
    """Encode a batch; after an error each clip alone, so that those which fail are listed."""
    try:
        tokens, pooled = encoder.encode(audio)
    except AudioError as error:
        if len(rows) == 1:
            broken[_clip_name(corpus, rows[0])] = error.reason
            return [], np.zeros((0, 0), dtype=np.float32)
    else:
        # The clip vector of no token is zero: finite, and yet meaningless.
        seen = np.ones(len(rows), bool) if tokens.valid is None else tokens.valid.any(1).cpu().numpy()
        for row in np.asarray(rows)[~seen].tolist():
            broken[_clip_name(corpus, row)] = "no valid token: shorter than the encoder needs"
        return np.asarray(rows)[seen].tolist(), pooled.float().cpu().numpy()[seen]
    parts = [_vectors(encoder, corpus, [row], alone(audio, b), broken) for b, row in enumerate(rows)]
    kept = [(one, found) for one, found in parts if one]
    if not kept:
        return [], np.zeros((0, 0), dtype=np.float32)
    return [one[0] for one, _ in kept], np.concatenate([found for _, found in kept])


def _batches(
    encoder: FrozenEncoder, corpus: Corpus, order: np.ndarray, size: int, seconds: float, broken: dict[str, str]
) -> Iterator[tuple[list[int], Audio]]:
    rate, exact = encoder.rate, Ability.EXACT_PADDING in encoder.encoder.abilities
    least, unit = encoder.encoder.least_frames, "samples" if encoder.encoder.bands is None else "frames"
    rows: list[int] = []
    clips: list[np.ndarray] = []
    for index in order.tolist():
        try:
            clip = corpus.audio(index, rate)
        except AudioError as error:
            broken[_clip_name(corpus, index)] = error.reason
            continue
        # Checked for each clip: its batch must not decide whether it has a row.
        frames = encoder.frontend.frames(len(clip))
        if frames < least:
            seconds_needed = least / encoder.encoder.input_rate
            broken[_clip_name(corpus, index)] = (
                f"shorter than the encoder needs: {frames} {unit} of {least} (about {seconds_needed:.2g} s)"
            )
            continue
        # By the samples, because the table's lengths may be wrong; the longest clip pads the others.
        longest = max(len(clip), *(len(other) for other in clips)) if clips else len(clip)
        # An encoder whose output depends on padding gets clips of one length only.
        unlike = not exact and bool(clips) and len(clips[0]) != len(clip)
        if rows and (unlike or len(rows) == size or (len(rows) + 1) * longest > seconds * rate):
            yield rows, Audio.stack(clips, rate)
            rows, clips = [], []
        rows.append(index)
        clips.append(clip)
    if rows:
        yield rows, Audio.stack(clips, rate)
