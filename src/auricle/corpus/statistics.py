"""Mean and standard deviation of a front end's raw features over a corpus."""

from __future__ import annotations

import math

import numpy as np
import torch
from rich.progress import track

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd
from auricle.corpus.decoded import Quantised
from auricle.corpus.losses import silence
from auricle.corpus.reading import expansions
from auricle.corpus.table import Corpus
from auricle.corpus.windows import WindowConfig, fill
from auricle.errors import AudioError, CorpusError
from auricle.words import counted

# Batches keep the front end's overhead low.
_BATCH = 16
_STREAM = 3


def measure_statistics(
    corpus: Corpus,
    frontend: FrontEnd,
    *,
    window: WindowConfig | None = None,
    clips: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> tuple[float, float]:
    """Measure the raw features of random clips, as they are in training.

    A pure function of the corpus, the front end, the window policy and the seed. Only valid frames count. Corrupt and
    digitally silent clips are skipped, as in the loader, and so are clips whose features are not finite. Of a recording
    longer than four windows only a random range is read.

    Args:
        corpus: the clips.
        frontend: its `raw` features are measured.
        window: settings of windows; None: the defaults. `crop` and `short` act as in training.
        clips: number of clips, drawn without replacement.
        seed: of the clips and crops.
        progress: show a progress bar.

    Returns:
        Mean and standard deviation over all valid cells of all frames.

    Raises:
        CorpusError: no clip can be used, or the features don't vary.
    """
    window = window or WindowConfig()
    samples = window.samples(frontend.rate)
    order = np.random.default_rng([_STREAM, seed]).permutation(len(corpus))[:clips]
    # Sums of differences from the first mean keep their precision for any number of frames.
    count, total, square, shift = 0, 0.0, 0.0, None
    reason = "the corpus has no clips"
    pending: list[tuple[np.ndarray, int, int]] = []
    steps = track(order, description="normalisation statistics", disable=not progress)
    for place, index in enumerate(steps):
        try:
            wave, length = _clip(corpus, int(index), frontend.rate, samples, window, seed)
        except AudioError as error:
            reason = str(error)
        else:
            pending.append((wave, length, int(index)))
        if not pending or (len(pending) < _BATCH and place < len(order) - 1):
            continue
        values, wrong = _valid_cells(frontend, pending)
        pending = []
        if wrong:
            reason = f"{corpus[wrong[-1]].file}: features are not finite"
        if not values.numel():
            continue
        shift = float(values.mean()) if shift is None else shift
        count += values.numel()
        total += float((values - shift).sum())
        square += float((values - shift).square().sum())
    if shift is None:
        raise CorpusError(
            f"corpus {corpus.name}: none of {counted(len(order), 'clip')} can be used for statistics; the last: "
            f"{reason}. Run `auricle corpus scan` on it"
        )
    mean = total / count
    std = math.sqrt(max(square / count - mean**2, 0.0))
    if not std > 1e-6:
        raise CorpusError(
            f"corpus {corpus.name}: the features of {counted(len(order), 'clip')} don't vary (standard deviation "
            f"{std:.1e} around {mean + shift:.3g}); expected sound: take longer windows (--window.seconds), or "
            "recordings with less silence"
        )
    return mean + shift, std


def _clip(
    corpus: Corpus, index: int, rate: int, samples: int, window: WindowConfig, seed: int
) -> tuple[np.ndarray, int]:
    generator = np.random.default_rng([_STREAM, seed, index + 1])
    factor = float(expansions(corpus.select([index]))[0])
    length = corpus[index].seconds * factor
    start = 0.0
    if length > 4 * window.seconds:
        # Long recordings are not decoded whole for one window.
        start = float(generator.uniform(0, length - 4 * window.seconds))
        clip = Quantised.of(corpus.audio(index, rate, start=start / factor, seconds=3.9 * window.seconds / factor))
    else:
        clip = Quantised.of(corpus.audio(index, rate))
    said = silence(clip.spread)
    if said is not None:
        raise AudioError(said, corpus[index].file)
    return fill(clip.restore(), samples, window, generator)


def _valid_cells(frontend: FrontEnd, clips: list[tuple[np.ndarray, int, int]]) -> tuple[torch.Tensor, list[int]]:
    """Return all values of valid frames in float64, and the clips skipped because theirs are not all finite."""
    stacked = Audio.stack([wave for wave, _, _ in clips], frontend.rate)
    audio = Audio(stacked.wave, torch.tensor([length for _, length, _ in clips]), frontend.rate)
    with torch.no_grad():
        features = frontend.raw(audio)
    valid = torch.arange(features.x.shape[1]) < features.lengths[:, None]
    sound = (features.x.isfinite().all(2) | ~valid).all(1)
    wrong = [index for (_, _, index), good in zip(clips, sound.tolist(), strict=True) if not good]
    return features.x[valid & sound[:, None]].double().flatten(), wrong
