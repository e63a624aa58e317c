"""A map of a corpus by the clip vectors of an encoder: similar clips lie close together.

`map.json` holds `task`, `encoder`, `encoder_fingerprint`, `corpus_fingerprint`, `method`, `points` (each `x`, `y`,
`labels`, `file`, and `clip`: the index in `clips` or None) and `clips` (each `file`, `labels`, `start`, `seconds`,
`audio` and `spectrogram` as base64, `mime`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from auricle.corpus.examples import play_example
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, ConfigError
from auricle.storage import write_atomic
from auricle.tokens.cache import TokenCache

POINTS = 2000
EXAMPLES = 40
PLAYED_SECONDS = 8.0
DIMENSIONS = 50


def project(vectors: np.ndarray, *, seed: int = 0, perplexity: float = 30.0) -> tuple[NDArray[np.float64], str]:
    """Project vectors to the plane: standardised, PCA to 50 dimensions, then t-SNE.

    Args:
        vectors: `(n, D)`.
        seed: of both.
        perplexity: approximate number of neighbours of a clip; lower where there are few clips.

    Returns:
        `(n, 2)`, and the method in words. Fewer than 8 clips are projected by PCA alone.

    Raises:
        ConfigError: no vectors, or values that are not finite.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
        raise ConfigError(f"found vectors of shape {vectors.shape}; expected finite ones of shape (n, D)")
    scaled = StandardScaler().fit_transform(vectors)
    count = min(DIMENSIONS, *scaled.shape)
    # PCA divides by the variance, which is zero where all clips are equal.
    reduced = PCA(count, svd_solver="full").fit_transform(scaled) if scaled.any() else np.zeros((len(scaled), 2))
    if len(reduced) < 8:
        plane = np.zeros((len(reduced), 2))
        plane[:, : min(2, reduced.shape[1])] = reduced[:, :2]
        return plane, "PCA"
    perplexity = min(perplexity, (len(reduced) - 1) / 3)
    # Identical clips start at one point; t-SNE expects the scale of PCA.
    start = reduced[:, :2] / max(reduced[:, 0].std(), 1e-12) * 1e-4
    if start.shape[1] < 2:
        start = np.column_stack([start, np.zeros(len(start))])
    plane = TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1).fit_transform(reduced)
    return np.asarray(
        plane, dtype=np.float64
    ), f"PCA to {count} dimensions, then t-SNE (perplexity {perplexity:.0f}, seed {seed})"


def embedding_map(
    encoder: FrozenEncoder,
    corpus: Corpus,
    cache: TokenCache,
    *,
    task: str,
    labels: Sequence[Sequence[str]] | None = None,
    seed: int = 0,
    points: int = POINTS,
    examples: int = EXAMPLES,
) -> dict[str, Any]:
    """Map the clips of a corpus by an encoder's clip vectors.

    Args:
        encoder: the encoder; its front end draws the spectrograms.
        corpus: the clips.
        cache: their tokens and vectors.
        task: name for the report.
        labels: of each corpus row; None: the corpus's own.
        seed: of the drawn clips and the layout.
        points: clips on the map, at most.
        examples: clips that can be played, at most, spread evenly over the classes.

    Returns:
        JSON-ready data, see above.
    """
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(cache.present)[:points])
    known = corpus.labels if labels is None else labels
    plane, method = project(np.asarray(cache.select(rows).pooled), seed=seed)
    clips: list[dict[str, Any]] = []
    place: dict[int, int] = {}
    order = generator.permutation(rows).tolist()
    # A clip counts for its first label.
    for row in draw_in_turn(order, lambda row: known[row][0] if known[row] else "", examples):
        try:
            example = play_example(encoder.frontend, corpus, row, PLAYED_SECONDS)
            clips.append({**example, "labels": list(known[row])})
        except AudioError:
            # Readable when it was encoded, and not any more: skip the example.
            continue
        place[row] = len(clips) - 1
    files = corpus.column("file")
    return {
        "task": task,
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "corpus_fingerprint": corpus.fingerprint,
        "method": method,
        "points": [
            {
                "x": round(float(x), 4),
                "y": round(float(y), 4),
                "labels": list(known[row]),
                "file": files[row],
                "clip": place.get(int(row)),
            }
            for row, (x, y) in zip(rows.tolist(), plane, strict=True)
        ],
        "clips": clips,
    }


def write_map(path: Path, data: dict[str, Any]) -> None:
    """Write `map.json`, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(data, ensure_ascii=False).encode())


def read_map(path: Path) -> dict[str, Any] | None:
    """Return a map, or None if there is none, or a damaged one."""
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None


def draw_in_turn(items: Iterable[int], group: Callable[[int], Any], count: int) -> list[int]:
    """Draw items from each group in turn, groups in sorted order.

    Args:
        items: in the order in which each group is drawn from.
        group: of an item.
        count: number of items, at most.
    """
    groups: dict[Any, list[int]] = {}
    for item in items:
        groups.setdefault(group(item), []).append(item)
    queues = [groups[name] for name in sorted(groups)]
    drawn: list[int] = []
    while len(drawn) < count and any(queues):
        for queue in queues:
            if queue and len(drawn) < count:
                drawn.append(queue.pop(0))
    return drawn
