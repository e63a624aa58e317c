"""Audio in memory: decoding, resampling, front ends and augmentation, on batched tensors.

Files are read by `auricle.audio.decode`, which is not re-exported here: its function `decode` would hide the module.
"""

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMel, LogMelConfig
from auricle.audio.frontends.spectral import SpectralFrontEnd, Spectrum
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
