"""Examples for the report: the beginning of a clip as sound and as picture."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import soundfile

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.picture import spectrogram_png
from auricle.corpus.table import Corpus


def play_example(frontend: FrontEnd, corpus: Corpus, row: int, seconds: float) -> dict[str, Any]:
    """Return the beginning of a clip as sound and as picture, JSON-ready.

    Args:
        frontend: draws the spectrogram (a Kaldi fbank where it is no spectrum).
        corpus: the clips.
        row: of the clip.
        seconds: length of the part, at most.

    Raises:
        AudioError: the clip can't be read.
    """
    rate, clip = frontend.rate, corpus[row]
    wave = corpus.audio(row, rate, seconds=seconds)
    draws = frontend if isinstance(frontend, SpectralFrontEnd) else KaldiFbankConfig(rate=rate).build()
    features = draws(Audio.stack([wave], rate))
    picture = spectrogram_png(features.x[0, : int(features.lengths[0])].float().cpu().numpy())
    file = io.BytesIO()
    # Every browser plays MP3; players need at least a tenth of a second.
    padded = np.pad(np.clip(wave, -1, 1), (0, max(0, rate // 10 - len(wave))))
    soundfile.write(file, padded, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.8)
    return {
        "file": clip.file,
        "start": clip.start,
        "seconds": round(len(wave) / rate, 3),
        "audio": base64.b64encode(file.getvalue()).decode(),
        "mime": "audio/mpeg",
        "spectrogram": base64.b64encode(picture).decode(),
    }
