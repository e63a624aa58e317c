"""The verb `embed`: one vector per clip of a corpus, from any model."""

from __future__ import annotations

import shutil
from pathlib import Path

from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.features import FeaturesConfig
from auricle.errors import ConfigError
from auricle.models.opening import Model, load
from auricle.tokens.embedding_files import check_ending
from auricle.tokens.embeddings import EmbeddedCorpus, check_writable, embed_corpus
from auricle.tokens.unfinished import unfinished_folder
from auricle.training.lock import RunLock


def embed(
    model: str | Path | Model,
    data: str | Path | Corpus,
    out: str | Path,
    *,
    segment: float | None = None,
    hop: float | None = None,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    batch: int = 16,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    progress: bool = True,
) -> EmbeddedCorpus:
    """Encode every clip once and write a table of its columns and `embedding`, `(D,)` float32.

    Args:
        model: a model, or what `load` opens.
        data: a corpus, or what `open_corpus` opens.
        out: file to write: `.parquet`, `.csv`, `.jsonl` or `.npz`; see `auricle.tokens.embedding_files.write_table`.
        segment: cut recordings into segments of this many seconds: one row per segment.
        hop: seconds between the starts of two segments; None: `segment`.
        channel: channel that is read, see `auricle.corpus.reading.read_as`.
        time_expansion: how many times slower recordings are played, see there.
        batch: clips encoded at once, at most.
        resume: continue a killed call with the same arguments, to the same bytes; start where there is none.
        overwrite: replace `out`, whatever it holds; else only the same vectors of the same clips may be there.
        device: see `load`; ignored for a `Model`, like the next three.
        precision: see `load`.
        trust_remote_code: see `load`.
        features: see `load`.
        progress: show a progress bar.

    Raises:
        CheckpointError: there is no such model, or another process is writing `out`.
        CorpusError: there is no such data, or no clip could be embedded.
        ConfigError: a setting is out of range, or the ending of `out` is of no format.
        StorageError: `out` can't be written, holds anything else, or unfinished work is there and `resume` is not set.

    Examples:
        >>> import auricle
        >>> auricle.embed("runs/mine", "recordings", "vectors.parquet", segment=5)  # doctest: +SKIP
    """
    check_ending(Path(out))
    if hop is not None and segment is None:
        raise ConfigError("hop needs segment: the length of the segments")
    clips = read_as(data if isinstance(data, Corpus) else open_corpus(data), channel, time_expansion)
    if segment is not None:
        clips = clips.segments(segment, hop)
    if not isinstance(model, Model):
        model = load(model, device=device, precision=precision, trust_remote_code=trust_remote_code, features=features)
    check_writable(Path(out))
    work = unfinished_folder(Path(out))
    with RunLock(work, f"work on {Path(out).name} by another process"):
        try:
            return embed_corpus(
                model.encoder, clips, out, batch=batch, resume=resume, overwrite=overwrite, progress=progress
            )
        finally:
            # While the lock is held: without it the folder may be another process's.
            if not any(work.glob("part-*")):
                shutil.rmtree(work, ignore_errors=True)
