"""One vector per clip, in a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auricle.audio.batch import Audio
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, CorpusError


@dataclass(frozen=True)
class EmbeddedCorpus:
    """What `embed_corpus` wrote: how many clips, numbers in a vector, and what was skipped with the reason."""

    path: Path
    clips: int
    width: int
    broken: dict[str, str] = field(default_factory=dict)


def embed_corpus(
    encoder: FrozenEncoder, corpus: Corpus, out: Path | str, *, batch: int = 16, progress: bool = True
) -> EmbeddedCorpus:
    """Encode every clip once and write a Parquet table.

    Args:
        encoder: the frozen encoder.
        corpus: the clips.
        out: file to write, atomically; one row per clip: the corpus's columns and `embedding` (D float32).
        batch: clips encoded at once. Clips of similar length go together; rows keep the corpus's order.
        progress: show a progress bar with an estimate.

    Raises:
        CorpusError: not one clip could be read.
    """
    out = Path(out)
    vectors = np.zeros((len(corpus), 0), dtype=np.float32)
    done = np.zeros(len(corpus), dtype=bool)
    broken: dict[str, str] = {}
    order = np.argsort(np.asarray(corpus.column("seconds")), kind="stable")
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("", total=len(corpus))
        for rows, audio in _batches(corpus, order, encoder.rate, batch, broken):
            found = encoder.pooled(audio).float().cpu().numpy()
            if vectors.shape[1] == 0:
                vectors = np.zeros((len(corpus), found.shape[1]), dtype=np.float32)
            vectors[rows], done[rows] = found, True
            bar.update(task, completed=int(done.sum()) + len(broken))
    if not done.any():
        reason = next(iter(broken.values()), "it holds no clips")
        raise CorpusError(f"no clip of {corpus.name} could be embedded ({reason}); see `auricle corpus scan`")
    kept = corpus.select(done)
    table = kept.table.select(kept.columns)
    flat = pa.array(vectors[done].reshape(-1))
    table = table.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
    table = table.replace_schema_metadata({"encoder": encoder.name, "encoder_fingerprint": encoder.fingerprint})
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    try:
        pq.write_table(table, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return EmbeddedCorpus(out, int(done.sum()), vectors.shape[1], broken)


def _batches(
    corpus: Corpus, order: np.ndarray, rate: int, size: int, broken: dict[str, str]
) -> Iterator[tuple[list[int], Audio]]:
    rows: list[int] = []
    clips: list[np.ndarray] = []
    for index in order.tolist():
        try:
            clips.append(corpus.audio(index, rate))
        except AudioError as error:
            broken[corpus.column("file")[index]] = str(error)
            continue
        rows.append(index)
        if len(rows) == size:
            yield rows, Audio.stack(clips, rate)
            rows, clips = [], []
    if rows:
        yield rows, Audio.stack(clips, rate)
