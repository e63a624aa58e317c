"""Extraction: a frozen encoder runs over a corpus once, and its tokens are kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.corpus.content import clip_keys
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.features import valid_on
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, ConfigError, CorpusError, Reason, StorageError
from auricle.storage import free_bytes
from auricle.tokens.cache import TokenCache, wanted_origin
from auricle.tokens.clip_store import ClipStore, say
from auricle.tokens.writer import ClipTokens, ClipWriter

# Clips between two commits: each waits for the disk, and a kill loses at most these.
_COMMIT_CLIPS = 128
_COMMIT_BYTES = 2**26
# Below this, clips that no corpus of the call holds are not worth a line.
_MANY_BYTES = 2**28


def estimate_size(
    encoder: FrozenEncoder, corpus: Corpus, *, layers: Sequence[int] | None = None, rows: Sequence[int] | None = None
) -> int:
    """Estimate the bytes of a corpus's tokens before anything is encoded, from the clips' durations alone.

    Exact up to class tokens and the journal, for whole windows of an encoder whose layers share one grid.

    Args:
        encoder: the frozen encoder.
        corpus: the clips.
        layers: as for `extract`.
        rows: of the corpus; None: all.
    """
    depth = len(wanted_origin(encoder, layers).layers)
    lengths = np.asarray(corpus.column("seconds"), dtype=np.float64)
    seconds, counts = np.unique(lengths if rows is None else lengths[list(rows)], return_counts=True)
    tokens = sum(_tokens(encoder, s) * int(n) for s, n in zip(seconds, counts, strict=True))
    vector = encoder.pooled_width * 4 + depth * encoder.width * 2
    return tokens * (encoder.width * 2 + 1) * depth + int(counts.sum()) * vector


def extract(
    encoder: FrozenEncoder,
    corpus: Corpus,
    folder: Path | str,
    *,
    layers: Sequence[int] | None = None,
    batch: int = 16,
    batch_seconds: float = 160.0,
    progress: bool = True,
) -> TokenCache:
    """Return the tokens of a corpus: those in the folder, and the others encoded now and kept there.

    Tokens are found by what a clip holds (`corpus.content.clip_keys`): renamed, moved or added recordings, another
    corpus and another table of labels need only what is new; a recording that has changed is encoded again. Each clip's
    checksum is compared before its tokens are used, and a damaged clip is encoded again. A killed extraction continues
    at its last commit. Clips that can't be decoded or encoded are skipped, counted and listed in `TokenCache.missing`.

    Args:
        encoder: the frozen encoder.
        corpus: the clips.
        folder: of caches of any encoders and corpora; each encoder and choice of layers has its own folder in it.
        layers: 0 ... depth; None: the encoder's output. All must be as wide as the output; with layers on other grids,
            whose validity is not known, clips of one length only are batched.
        batch: most clips encoded at once. Clips of similar length are batched; for an encoder whose tokens depend on
            padding, clips of one length only.
        batch_seconds: most seconds of audio encoded at once (a longer clip is encoded alone).
        progress: show a progress bar with an estimate.

    Raises:
        ConfigError: a layer is not D wide.
        StorageError: the disk is full, or too small by estimate.
        CorpusError: not one clip could be encoded.
    """
    origin = wanted_origin(encoder, layers)
    if len(corpus) == 0:
        raise CorpusError(f"corpus {corpus.name} holds no clips to extract tokens of")
    store, keys = ClipStore(Path(folder) / origin.key, origin), clip_keys(corpus)
    damaged = set(store.damaged(keys))
    if damaged or store.damaged_lines:
        say(
            f"the token cache in {store.folder} is damaged ({len(damaged)} clips, {store.damaged_lines} lines of its "
            "journal): damaged clips are encoded again"
        )
    wanted = {key: row for row, key in reversed(list(enumerate(keys))) if key}
    missing = {row: _unreadable(corpus, row) for row, key in enumerate(keys) if not key}
    if damaged or store.damaged_lines or wanted.keys() - store.entries.keys() - store.refused.keys():
        failed = _encode_missing(encoder, corpus, wanted, damaged, store, layers, (batch, batch_seconds), progress)
        missing |= {row: failed[key] for row, key in enumerate(keys) if key in failed}
    missing |= {row: store.refused[key] for row, key in enumerate(keys) if key in store.refused}
    if len(missing) == len(corpus):
        row, reason = min(missing.items())
        raise CorpusError(
            f"not one of the {len(corpus)} clips of {corpus.name} could be encoded; the first, "
            f"{corpus[row].file}: {reason}"
        )
    cache = TokenCache(store, keys, dict(sorted(missing.items())), corpus.fingerprint)
    unused = store.nbytes - cache.nbytes
    if unused > max(_MANY_BYTES, cache.nbytes):
        say(
            f"{unused / 1e6:,.0f} of {store.nbytes / 1e6:,.0f} MB in {store.folder} are of clips that {corpus.name} "
            "does not hold; delete the folder to free the disk: what is needed is encoded again"
        )
    return cache


def _encode_missing(
    encoder: FrozenEncoder,
    corpus: Corpus,
    wanted: dict[bytes, int],
    damaged: set[bytes],
    store: ClipStore,
    layers: Sequence[int] | None,
    most: tuple[int, float],
    progress: bool,
) -> dict[bytes, Reason]:
    """Encode the clips that the store lacks; return those that could not be decoded, with the reason."""
    exact = encoder.exact_padding and _one_grid(encoder, layers)
    failed: dict[bytes, Reason] = {}
    with ClipWriter(store) as writer, clip_progress(f"tokens of {corpus.name}", progress) as bar:
        known = (store.entries.keys() - damaged) | store.refused.keys()
        rows = {row: key for key, row in wanted.items() if key not in known}
        _check_room(encoder, corpus, store.folder, layers, list(rows))
        task = bar.add_task("", total=len(wanted), completed=len(wanted) - len(rows))
        waiting = size = 0
        for some, audio, broken in _batches(encoder, corpus, rows, *most, exact):
            failed |= {rows[row]: reason for row, reason in broken.items()}
            for row, clip in zip(some, encode_clips(encoder, audio, layers) if audio else [], strict=True):
                if isinstance(clip, Reason):
                    writer.refuse(rows[row], clip)
                else:
                    writer.add(rows[row], clip)
                    size += sum(t.nbytes for t in clip.tokens)
            waiting += len(some)
            bar.update(task, advance=len(some) + len(broken))
            if waiting >= _COMMIT_CLIPS or size >= _COMMIT_BYTES:
                writer.commit()
                waiting = size = 0
        writer.commit()
    return failed


def _unreadable(corpus: Corpus, row: int) -> Reason:
    try:
        corpus.audio(row)
    except AudioError as error:
        return error.reason
    said = f"{corpus[row].file} could not be read when its content was looked up; run the same command again"
    return Reason(said, "unreadable")


def clip_progress(label: str, shown: bool) -> Progress:
    """Return a progress bar over clips."""
    return Progress(TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=not shown)


def alone(audio: Audio, row: int) -> Audio:
    """Return one clip of a batch without its padding."""
    samples = int(audio.lengths[row])
    return Audio(audio.wave[row : row + 1, :samples], audio.lengths[row : row + 1], audio.rate)


def _check_room(
    encoder: FrozenEncoder, corpus: Corpus, folder: Path, layers: Sequence[int] | None, rows: Sequence[int]
) -> None:
    needed, free = estimate_size(encoder, corpus, layers=layers, rows=rows), free_bytes(folder)
    if needed * 1.02 > free:
        raise StorageError(
            f"the token cache of {corpus.name} needs about {needed / 1e6:,.0f} MB, and the disk of {folder} has "
            f"{free / 1e6:,.0f} MB free; free some space, choose another folder, or extract fewer layers"
        )


def _one_grid(encoder: FrozenEncoder, layers: Sequence[int] | None) -> bool:
    """Return whether the layers have the output's grid; refuse those of another width."""
    if layers is None:
        return True
    found = zip(layers, encoder.tokens(encoder.silence(), layers).layers or (), strict=True)
    widths = {layer: hidden.block.shape[2] for layer, hidden in found}
    other = {layer: width for layer, width in widths.items() if width != encoder.width}
    if other:
        raise ConfigError(
            f"found layers of width {', '.join(f'{width} ({layer})' for layer, width in other.items())}, a token cache "
            f"of {encoder.name} holds tokens of width {encoder.width}; leave these layers out, or keep the output only"
        )
    return encoder.one_grid(layers)


def _tokens(encoder: FrozenEncoder, seconds: float) -> int:
    frames = encoder.frontend.frames(max(1, round(seconds * encoder.rate)))
    longest = encoder.encoder.max_frames or frames
    whole, left = divmod(frames, longest)
    grid = encoder.encoder.grid
    return whole * grid(longest).tokens + (grid(left).tokens if left else 0)


def _batches(
    encoder: FrozenEncoder, corpus: Corpus, chosen: Collection[int], batch: int, batch_seconds: float, exact: bool
) -> Iterator[tuple[list[int], Audio | None, dict[int, Reason]]]:
    """Yield rows, their audio, and rows that could not be decoded; a thread decodes the next batch."""
    seconds = np.asarray(corpus.column("seconds"), dtype=np.float64)
    groups: list[list[int]] = []
    for row in np.argsort(seconds, kind="stable").tolist():
        if row not in chosen:
            continue
        # Sorted by length: this clip is the longest, and pads the others.
        full = not groups or len(groups[-1]) >= batch or (len(groups[-1]) + 1) * seconds[row] > batch_seconds
        groups.append([row]) if full else groups[-1].append(row)

    def decode(rows: list[int]) -> tuple[dict[int, np.ndarray], dict[int, Reason]]:
        clips: dict[int, np.ndarray] = {}
        broken: dict[int, Reason] = {}
        for row in rows:
            try:
                clips[row] = corpus.audio(row, encoder.rate)
            except AudioError as error:
                broken[row] = error.reason
        return clips, broken

    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(decode, groups[0]) if groups else None
        for following in [*groups[1:], None]:
            if coming is None:
                return
            clips, broken = coming.result()
            coming = pool.submit(decode, following) if following else None
            together: dict[int, list[int]] = {}
            for row, clip in clips.items():
                together.setdefault(0 if exact else len(clip), []).append(row)
            if broken:
                yield [], None, broken
            for rows in together.values():
                yield rows, Audio.stack([clips[row] for row in rows], encoder.rate), {}


def encode_clips(encoder: FrozenEncoder, audio: Audio, layers: Sequence[int] | None) -> Iterator[ClipTokens | Reason]:
    """Yield each clip's tokens, or the reason why there are none."""
    frames, least = encoder.frontend.frames(int(audio.lengths.max())), encoder.encoder.least_frames
    if frames < least:
        said = Reason(f"shorter than the encoder needs: at most {frames} frames of {least}", "too short")
        yield from [said] * len(audio)
        return
    try:
        tokens, pooled = encoder.encode(audio, layers or ())
    except AudioError as error:
        # Encoding each clip alone shows which one fails.
        if len(audio) == 1:
            yield error.reason
        else:
            for b in range(len(audio)):
                yield from encode_clips(encoder, alone(audio, b), layers)
        return
    maps, grids, classes = _layers(tokens, layers)
    valid = [valid_on(tokens, grid) for grid in grids]
    kept = [(x.half().cpu().numpy(), v.cpu().numpy()) for x, v in zip(maps, valid, strict=True)]
    vectors, cls = pooled.float().cpu().numpy(), classes.half().cpu().numpy()
    for b in range(len(audio)):
        cut = []
        for (x, v), grid in zip(kept, grids, strict=True):
            columns = np.flatnonzero(v[b].reshape(grid.time, grid.freq).any(1))
            time = int(columns[-1]) + 1 if columns.size else 0
            cut.append((x[b, : time * grid.freq], v[b, : time * grid.freq], time))
        if any(time == 0 for _, _, time in cut):
            yield Reason("no valid token: shorter than the encoder needs", "too short")
        elif not all(np.isfinite(x[v]).all() for x, v, _ in cut) or not np.isfinite(vectors[b]).all():
            yield Reason("tokens are not finite, or too large for fp16", "not finite")
        else:
            yield ClipTokens(
                tokens=tuple(x for x, _, _ in cut),
                valid=tuple(v for _, v, _ in cut),
                time=tuple(time for _, _, time in cut),
                freq=tuple(grid.freq for grid in grids),
                rate=tuple(grid.rate for grid in grids),
                pooled=vectors[b],
                cls=cls[b],
            )


def _layers(tokens: Tokens, layers: Sequence[int] | None) -> tuple[list[Tensor], list[Grid], Tensor]:
    """Return the token maps `(B, N, D)`, their grids, and class tokens `(B, L, P, D)` (P may be 0)."""
    B, _, D = tokens.x.shape
    if layers is None:
        cls = tokens.x.new_zeros(B, 1, 0, D) if tokens.cls is None else tokens.cls.unsqueeze(1)
        return [tokens.x], [tokens.grid], cls
    found = tokens.layers or ()
    if any(layer.cls is None for layer in found):
        cls = tokens.x.new_zeros(B, len(found), 0, D)
    else:
        cls = torch.stack([layer.cls for layer in found if layer.cls is not None], 1)
    return [layer.block for layer in found], [layer.grid for layer in found], cls
