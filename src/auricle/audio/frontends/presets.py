"""Front ends of published methods, by name.

Normalisation is part of a method: pairs of mean and deviation that look alike belong to different features. Where the
originals have decibels, `mean` and `std` are converted to natural logarithms (10 / ln 10 decibels each). Both are
None if the method measures its own corpus, or learns the normalisation.
"""

from __future__ import annotations

import math
from typing import Any

from auricle.audio.frontends.clip_log_mel import ClipNormLogMelConfig, RangeLogMelConfig, TopDbLogMelConfig
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.config import nearest
from auricle.errors import ConfigError

_NATS_PER_DB = math.log(10) / 10

PRESETS: dict[str, FrontEndConfig] = {
    "wave16": WaveformConfig(),
    "wave16_norm": WaveformConfig(normalise="clip"),
    "wave24": WaveformConfig(rate=24000),
    "kaldi128": KaldiFbankConfig(),
    "kaldi128_cav": KaldiFbankConfig(mean=-5.081, std=4.4849, divisor=1.0),
    "beats128": KaldiFbankConfig(amplitude=32768.0, mean=15.41663, std=6.55582, window="povey", remove_clip_mean=False),
    "ntt64": LogMelConfig(),
    "ntt64_v2": LogMelConfig(scale="slaney", area_norm=True),
    "ntt80": LogMelConfig(mels=80, n_fft=400, window=400, low=50.0, high=8000.0, scale="slaney", area_norm=True),
    "cola64": LogMelConfig(window=400),
    "atst64": TopDbLogMelConfig(
        # [-79.65, 50.68] dB onto [-1, 1].
        floor=1e-10,
        floor_mode="clamp",
        mean=(50.68 - 79.65) / 2 * _NATS_PER_DB,
        std=(50.68 + 79.65) / 2 * _NATS_PER_DB,
    ),
    "dasheng64": TopDbLogMelConfig(
        n_fft=512, window=512, low=0.0, high=8000.0, floor=1e-10, floor_mode="clamp", top_db=120.0
    ),
    "bat128": RangeLogMelConfig(mels=128, low=0.0, high=8000.0, floor=1e-10, floor_mode="clamp"),
    "ssam80": ClipNormLogMelConfig(mels=80, n_fft=400, window=400, low=50.0, high=8000.0, over="clip"),
    "s3prl80": ClipNormLogMelConfig(mels=80, n_fft=400, window=400, low=0.0, high=8000.0),
    "asr80": ClipNormLogMelConfig(mels=80, n_fft=512, window=400, low=0.0, high=8000.0),
    "asr80_corpus": LogMelConfig(mels=80, n_fft=512, window=400, low=0.0, high=8000.0),
    "music128": LogMelConfig(rate=24000, mels=128, n_fft=2048, window=2048, hop=240, low=0.0, high=None),
    "maskspec128": KaldiFbankConfig(
        rate=32000, low=0.0, high=15000.0, remove_clip_mean=False, mean=-4.5, std=5.0, divisor=1.0
    ),
    "clap48": LogMelConfig(
        rate=48000, hop=480, low=50.0, high=14000.0, floor=1e-10, floor_mode="clamp", mean=0.0, std=_NATS_PER_DB
    ),
    "msclap44": LogMelConfig(
        rate=44100, hop=320, low=50.0, high=14000.0, floor=1e-10, floor_mode="clamp", mean=0.0, std=_NATS_PER_DB
    ),
}
"""Settings by name."""


def preset(name: str, **changes: Any) -> FrontEndConfig:
    """Return the settings of a published front end, with any changed.

    Names, the methods that use them, and the settings that publications do not specify:

    - `wave16`, `wave16_norm`: samples at 16 kHz, as they are (wav2vec 2.0, HuBERT base) or each clip standardised
      (their large sizes); `wave24`: 24 kHz (MERT).
    - `kaldi128`: Audio-MAE, SSAST, SSAMBA, MAE-AST, EAT, SSLAM, AudioMosaic; `kaldi128_cav`: CAV-MAE.
    - `beats128`: BEATs: samples times 2^15; Kaldi's own window and no removal of the clip's mean, Kaldi's defaults
      (the originals specify neither).
    - `ntt64`, `ntt64_v2`: BYOL-A, version 1 and 2; `ntt80`: MSM-MAE, M2D (with the library of BYOL-A 2,
      hence its mel scale). These measure their corpus.
    - `cola64`: COLA; the waveform of unit norm is the view plan's (`level='l2'`).
    - `atst64`: ATST; `dasheng64`: Dasheng, whose encoder normalises (`input_norm='batch'`).
    - `bat128`: BAT; `ssam80`: SSAM; `s3prl80`: Mockingjay, TERA, APC, VQ-APC, Audio ALBERT (400 samples in the
      transform, 0 to 8000 Hz chosen); `asr80`: BEST-RQ, w2v-BERT, DeCoAR 2.0 (0 to 8000 Hz chosen), and
      `asr80_corpus`: the same bins with corpus statistics, for their tiny sizes.
    - `music128`: MusicFM; corpus statistics, 0 to 12 kHz chosen; `maskspec128`: MaskSpec.
    - `clap48`, `msclap44`: LAION-CLAP, MS-CLAP: decibels, not normalised.

    Args:
        name: of the preset.
        changes: settings to override.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown front end {name!r}{nearest(name, PRESETS)}")
    return PRESETS[name].replace(**changes)
