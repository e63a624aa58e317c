"""Audio in memory: decoding, resampling, front ends and augmentation, on batched tensors.

Files are read by `auricle.audio.decode`; the functions of that module are not repeated here, where they would hide it.
"""

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig, SpectralFrontEnd, Spectrum
from auricle.audio.frontends.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMel, LogMelConfig
from auricle.audio.frontends.waveform import Waveform, WaveformConfig

__all__ = [
    "Audio",
    "Features",
    "FrontEnd",
    "FrontEndConfig",
    "KaldiFbank",
    "KaldiFbankConfig",
    "LogMel",
    "LogMelConfig",
    "SpectralFrontEnd",
    "Spectrum",
    "Waveform",
    "WaveformConfig",
]
