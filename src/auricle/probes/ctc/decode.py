"""From frames of symbol probabilities to strings of symbols: greedy, or by beam search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.extras import require

BLANK = 0
_LIBRARY = "flashlight.lib.text.decoder"


def greedy(log_probs: np.ndarray, lengths: np.ndarray) -> list[list[NDArray[np.int64]]]:
    """Take each frame's likeliest class, drop repetitions, then blanks.

    Args:
        log_probs: `(S, B, T, C)` log-probabilities or logits of classes; 0 is the blank.
        lengths: `(B,)` valid frames.

    Returns:
        For each of S settings and B clips the symbols, each in 1 ... C - 1.

    Examples:
        >>> greedy(np.eye(3)[None, None, [1, 1, 0, 1, 2]], np.array([5]))[0][0].tolist()
        [1, 1, 2]
    """
    path = np.asarray(log_probs).argmax(3)
    changes = np.ones(path.shape, dtype=bool)
    changes[..., 1:] = path[..., 1:] != path[..., :-1]
    inside = np.arange(path.shape[2]) < np.asarray(lengths)[:, None]
    kept = changes & (path != BLANK) & inside
    return [[row[keep] for row, keep in zip(rows, keeps, strict=True)] for rows, keeps in zip(path, kept, strict=True)]


def check_beam() -> None:
    """Check that a beam search can run.

    Raises:
        MissingExtraError: the library is not installed.
    """
    require(_LIBRARY, extra="speech")


def beam_search(log_probs: Sequence[np.ndarray], *, beam: int = 50) -> list[NDArray[np.int64]]:
    """Search the likeliest symbol string of each clip, over all ways to spread it over the frames.

    Through Flashlight Text's lexicon-free decoder, without a language model. The sum over ways is exact for strings
    that the beam keeps.

    Args:
        log_probs: for each clip `(T, C)` log-probabilities; class 0 is the blank.
        beam: strings kept.

    Returns:
        The symbols of each clip, each in 1 ... C - 1.

    Raises:
        ConfigError: the beam is below one, or a clip's scores are not `(T, C)` finite numbers.
        MissingExtraError: the library is not installed.
    """
    if beam < 1:
        raise ConfigError(f"the beam keeps {beam} strings; expected at least 1")
    library: Any = require(_LIBRARY, extra="speech")
    found = []
    for scores in log_probs:
        table = np.ascontiguousarray(scores, dtype=np.float32)
        if table.ndim != 2 or table.shape[1] < 2 or not np.isfinite(table).all():
            raise ConfigError(f"scores of shape {table.shape}; expected (T, C) finite log-probabilities, C at least 2")
        found.append(_search(library, table, beam))
    return found


def _search(library: Any, table: NDArray[np.float32], beam: int) -> NDArray[np.int64]:
    T, C = table.shape
    if T == 0:
        return np.zeros(0, dtype=np.int64)
    options = library.LexiconFreeDecoderOptions(
        beam_size=beam,
        beam_size_token=C,
        beam_threshold=float("inf"),
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=library.CriterionType.CTC,
    )
    # No symbol is a silence: the blank's number keeps the decoder from treating one so.
    decoder = library.LexiconFreeDecoder(options, library.ZeroLM(), BLANK, BLANK, [])
    path = np.array(decoder.decode(table.ctypes.data, T, C)[0].tokens, dtype=np.int64)
    # The library returns one class a frame, with silence before and after.
    return path[(path != BLANK) & np.concatenate([[True], path[1:] != path[:-1]])]
