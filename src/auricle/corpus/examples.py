"""Examples for the report: a part of a clip as sound and as picture."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import soundfile

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.frontends.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.picture import spectrogram_png
from auricle.corpus.table import Corpus

OCTAVES = 125.0 * 2.0 ** np.arange(10)  # Hz
APART = 0.2  # least distance of two ticks, as a share of the height


def play_example(frontend: FrontEnd, corpus: Corpus, row: int, seconds: float, *, start: float = 0.0) -> dict[str, Any]:
    """Return a part of a clip as sound and as picture, JSON-ready.

    Args:
        frontend: draws the spectrogram (a Kaldi fbank where it is no spectrum).
        corpus: the clips.
        row: of the clip.
        seconds: length of the part, at most.
        start: of the part, in seconds from the clip's start.

    Returns:
        `file`, `start` (of the part, in seconds from the recording's start), `seconds`, `audio` and `spectrogram` as
        base64, `mime`, and `ticks` of the frequency axis: pairs of a height in 0 ... 1 and a label.

    Raises:
        AudioError: the clip can't be read.
    """
    rate, clip = frontend.rate, corpus[row]
    wave = corpus.audio(row, rate, start=start, seconds=seconds)
    picture, ticks = draw_wave(wave, rate, frontend if isinstance(frontend, SpectralFrontEnd) else None)
    file = io.BytesIO()
    # Every browser plays MP3; players need at least a tenth of a second.
    padded = np.pad(np.clip(wave, -1, 1), (0, max(0, rate // 10 - len(wave))))
    soundfile.write(file, padded, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.8)
    return {
        "file": clip.file,
        "start": round(clip.start + start, 3),
        "seconds": round(len(wave) / rate, 3),
        "audio": base64.b64encode(file.getvalue()).decode(),
        "mime": "audio/mpeg",
        "spectrogram": base64.b64encode(picture).decode(),
        "ticks": [list(tick) for tick in ticks],
    }


def draw_wave(
    wave: np.ndarray, rate: int, frontend: SpectralFrontEnd | None = None, *, columns: int = 256, rows: int = 64
) -> tuple[bytes, list[tuple[float, str]]]:
    """Draw a sound as a spectrogram.

    Args:
        wave: `(S,)`.
        rate: in Hz.
        frontend: of this rate; None: a Kaldi fbank.
        columns: see `auricle.audio.picture.spectrogram_png`.
        rows: see there.

    Returns:
        A PNG, and the ticks of its frequency axis (see `frequency_ticks`).
    """
    draws = frontend or KaldiFbank(KaldiFbankConfig(rate=rate))
    features = draws(Audio.stack([wave], rate))
    picture = features.x[0, : int(features.lengths[0])].float().cpu().numpy()
    return spectrogram_png(picture, columns=columns, rows=rows), frequency_ticks(draws.centres)


def frequency_ticks(centres: np.ndarray) -> list[tuple[float, str]]:
    """Return ticks at octaves for a picture whose rows are frequency bands.

    Args:
        centres: `(F,)` centre frequencies of the bands in Hz, rising; NaN for empty bands.

    Returns:
        Height of the tick in 0 (bottom) ... 1 (top), and its label; from the top, at least `APART` from each other.
    """
    known = np.flatnonzero(np.isfinite(centres))
    if not len(known):
        return []
    low, high = float(centres[known[0]]), float(centres[known[-1]])
    inside = OCTAVES[(low <= OCTAVES) & (high >= OCTAVES)]
    heights = np.interp(inside, centres[known], (known + 0.5) / len(centres))
    ticks: list[tuple[float, str]] = []
    for height, hertz in zip(heights[::-1].tolist(), inside[::-1].tolist(), strict=True):
        if not ticks or ticks[-1][0] - height >= APART:
            ticks.append((round(height, 4), f"{hertz / 1000:g} kHz" if hertz >= 1000 else f"{hertz:g} Hz"))
    return ticks
