"""Audio in memory: decoding, resampling, front ends and augmentation, on batched tensors.

Files are read by `auricle.audio.decode`; the functions of that module are not repeated here, where they would hide it.
"""

from auricle.audio.batch import Audio, Features
from auricle.audio.frontend import FrontEnd, FrontEndConfig, SpectralFrontEnd, Spectrum
from auricle.audio.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from auricle.audio.log_mel import LogMel, LogMelConfig
from auricle.audio.waveform import Waveform, WaveformConfig

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
