"""ABX error: is X, of category a, nearer to A of the same category than to B of another?

Schatz, Peddinti, Bach, Jansen, Hermansky and Dupoux, Interspeech 2013. The metric needs no training and no threshold,
only distances between frozen representations. Chance is 50 %. Items are single vectors, or sequences that are compared
by dynamic time warping (mean distance along the path) as in the ZeroSpeech challenges.

A and B of a triple share everything but the category; X is of the same speaker (`within`) or of another one (`across`).
Errors are averaged over the triples of a cell (category pair, context, speakers), then over the cells of a category
pair, then over the ordered category pairs: frequent categories weigh no more than others.

Letters in shapes: n items, T frames, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.metrics.warping import warping_cost
from auricle.metrics.weights import Floats

Distance = Literal["angular", "cosine", "euclidean"]
Speakers = Literal["ignore", "within", "across"]

BLOCK = 4_000_000  # frame distances held at once


@dataclass(frozen=True)
class Abx:
    """An ABX error and its parts.

    Attributes:
        error: mean over ordered category pairs, 0 ... 1; NaN if no triple can be formed.
        pairs: error of each ordered pair (category of A and X, category of B).
        triples: number of triples compared.
    """

    error: float
    pairs: dict[tuple[str, str], float]
    triples: int


def abx_error(
    items: Sequence[np.ndarray],
    categories: Sequence[str],
    *,
    contexts: Sequence[str] | None = None,
    speakers: Sequence[str] | None = None,
    mode: Speakers = "ignore",
    distance: Distance = "angular",
) -> Abx:
    """Return the ABX error of items.

    Args:
        items: n arrays `(D,)`, or n arrays `(T, D)` whose lengths may differ.
        categories: `(n,)` categories to discriminate (phones, syllables, species).
        contexts: `(n,)` context that A, B and X share (neighbouring phones); None: none.
        speakers: `(n,)`; A and B always share theirs where `mode` is not `ignore`.
        mode: X of any speaker (`ignore`), of the speaker of A and B (`within`), of another one (`across`).
        distance: `angular`: arccos of the cosine over pi, `cosine`: 1 - cosine, `euclidean`. A vector of zeros has
            cosine 0 to every other one.

    Raises:
        ConfigError: shapes or numbers don't fit, a value is not finite, an empty sequence, or an unknown choice.
    """
    arrays = _validate(items, categories, contexts, speakers, mode, distance)
    names = np.asarray([str(c) for c in categories])
    context = np.asarray([str(c) for c in contexts]) if contexts is not None else np.full(names.size, "")
    speaker = np.asarray([str(s) for s in speakers]) if speakers is not None else np.full(names.size, "")
    cells: dict[tuple[str, str], list[float]] = {}
    triples = 0
    for place in np.unique(context):
        rows = np.flatnonzero(context == place)
        if np.unique(names[rows]).size < 2:
            continue
        apart = _distances([arrays[i] for i in rows], distance)
        for first, second, a, b, x in _cells(names[rows], speaker[rows], mode):
            error, count = _cell_error(apart, a, b, x)
            if count:
                cells.setdefault((first, second), []).append(error)
                triples += count
    pairs = {pair: float(np.mean(errors)) for pair, errors in sorted(cells.items())}
    return Abx(float(np.mean(list(pairs.values()))) if pairs else math.nan, pairs, triples)


def _validate(
    items: Sequence[np.ndarray],
    categories: Sequence[str],
    contexts: Sequence[str] | None,
    speakers: Sequence[str] | None,
    mode: str,
    distance: str,
) -> list[Floats]:
    for word, known in ((mode, get_args(Speakers)), (distance, get_args(Distance))):
        if word not in known:
            raise ConfigError(f"unknown choice {word!r}{nearest(word, known)}")
    if mode != "ignore" and speakers is None:
        raise ConfigError(f"ABX {mode} speakers without speakers; expected one per item")
    for what, column in (("categories", categories), ("contexts", contexts), ("speakers", speakers)):
        if column is not None and len(column) != len(items):
            raise ConfigError(f"{len(column)} {what} for {len(items)} items; expected one per item")
    arrays = [np.asarray(item, dtype=np.float64) for item in items]
    for i, array in enumerate(arrays):
        if array.ndim not in (1, 2) or array.ndim != arrays[0].ndim or array.shape[-1] != arrays[0].shape[-1]:
            raise ConfigError(
                f"item {i} has shape {array.shape}, item 0 {arrays[0].shape}; expected all (D,) or all (T, D)"
            )
        if not array.size or not np.isfinite(array).all():
            raise ConfigError(f"item {i} of shape {array.shape} is empty or holds values that are not finite")
    return [array[None] if array.ndim == 1 else array for array in arrays]


def _cells(
    names: np.ndarray, speaker: np.ndarray, mode: str
) -> list[tuple[str, str, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Return every ordered category pair and choice of speakers with the items of A, B and X."""
    found = []
    members: dict[tuple[str, str], NDArray[np.int64]] = {}
    voices = np.unique(speaker) if mode != "ignore" else np.array([""])
    kinds = np.unique(names)
    for voice in voices:
        for kind in kinds:
            here = names == kind if mode == "ignore" else (names == kind) & (speaker == voice)
            members[str(voice), str(kind)] = np.flatnonzero(here)
    for voice in voices:
        others = [str(v) for v in voices if v != voice] if mode == "across" else [str(voice)]
        for first in kinds:
            for second in kinds:
                if first == second:
                    continue
                a, b = members[str(voice), str(first)], members[str(voice), str(second)]
                for other in others:
                    x = members[other, str(first)]
                    if a.size and b.size and x.size:
                        found.append((str(first), str(second), a, b, x))
    return found


def _cell_error(apart: Floats, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> tuple[float, int]:
    """Mean error of all triples of a cell, A other than X, and their number."""
    wrong, count = 0.0, 0
    for item in x:
        same, other = apart[item, a[a != item]], np.sort(apart[item, b])
        # For each A: how many B are nearer, and how many are as near.
        nearer = np.searchsorted(other, same, side="left")
        equal = np.searchsorted(other, same, side="right") - nearer
        wrong += float((nearer + 0.5 * equal).sum())
        count += same.size * other.size
    return (wrong / count if count else math.nan), count


def _distances(items: list[Floats], distance: Distance) -> Floats:
    """Distances between all items `(n, n)`; of sequences, the mean along the warping path."""
    lengths = np.array([len(item) for item in items])
    most = int(lengths.max())
    frames = np.zeros((len(items), most, items[0].shape[1]))
    for row, item in zip(frames, items, strict=True):
        row[: len(item)] = item
    if distance != "euclidean":
        norms = np.linalg.norm(frames, axis=2, keepdims=True)
        frames = np.divide(frames, norms, out=np.zeros_like(frames), where=norms > 0)
    result = np.zeros((len(items), len(items)))
    one, two = np.triu_indices(len(items), 1)
    # Pairs of similar lengths together need less padding.
    order = np.lexsort((lengths[two], lengths[one]))
    one, two = one[order], two[order]
    rows = max(1, BLOCK // (most * max(most, frames.shape[2])))
    for start in range(0, one.size, rows):
        i, j = one[start : start + rows], two[start : start + rows]
        left, right = int(lengths[i].max()), int(lengths[j].max())
        between = _between(frames[i, :left], frames[j, :right], distance)
        cost, steps = warping_cost(between, lengths[i], lengths[j])
        # The path's length depends on the order of ties: both orders share one value.
        result[i, j] = result[j, i] = cost / steps
    return result


def _between(first: Floats, second: Floats, distance: Distance) -> Floats:
    """Distances between all frames of both, `(B, N, M)`."""
    product = first @ second.transpose(0, 2, 1)
    if distance == "euclidean":
        squares = (first**2).sum(2)[:, :, None] + (second**2).sum(2)[:, None, :] - 2 * product
        return np.sqrt(np.maximum(squares, 0.0))
    cosine = np.clip(product, -1.0, 1.0)
    return 1.0 - cosine if distance == "cosine" else np.arccos(cosine) / math.pi
