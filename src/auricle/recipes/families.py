"""Encoder families by name: any of them can replace a recipe's own encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.config import nearest
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoderConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.efficientnet import EfficientNetConfig
from auricle.encoders.features import OUTPUT
from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.hts_at import HtsAtConfig
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.encoders.pase import PaseConfig
from auricle.encoders.resnet import ResNetConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.encoders.state_space import StateSpaceConfig
from auricle.encoders.waveform_recurrent import WaveformConvolutionConfig, WaveformRecurrentConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes.recipe import Recipe, with_previous_encoder

# Size of an encoder that makes a training step in a fraction of a second.
MICRO = "micro"


@dataclass(frozen=True)
class Shape:
    """Input of an encoder.

    Attributes:
        bins: of the features; 1 for samples.
        rate: frames per second; samples count as frames.
        frames: of a window.
    """

    bins: int
    rate: float
    frames: int

    def padded(self, step: int) -> int:
        """Return the frames, rounded up to a multiple of `step`."""
        return -(-self.frames // step) * step


@dataclass(frozen=True)
class Family:
    """An encoder family.

    Attributes:
        name: on the command line and in the matrix.
        make: settings for a size (`micro`, `tiny`, `small`, `base`) and a shape.
        frontend: its input where the recipe's front end is not of its kind.
        paradigm: of the survey's Table II.
    """

    name: str
    make: Callable[[str, Shape], EncoderConfig]
    frontend: FrontEndConfig
    paradigm: str

    @property
    def samples(self) -> bool:
        """Whether the family reads samples."""
        return isinstance(self.frontend, WaveformConfig)


_MEL = LogMelConfig(mels=64)
_WAVE = WaveformConfig()


def _transformer(size: str, patch: int, shape: Shape) -> EncoderConfig:
    whole: dict[str, Any] = {"patch": (4, shape.bins), "cls": False, "pooling": "mean"} if patch == 4 else {}
    fit: dict[str, Any] = {
        "mels": shape.bins, "frames": shape.padded(patch), "frame_rate": shape.rate, "drop_path": 0.0, **whole
    }  # fmt: skip
    if size == MICRO:
        return SpectrogramTransformerConfig(width=32, depth=12, heads=2, **fit)
    return SpectrogramTransformerConfig.size(size, **fit)


def _beats(size: str, shape: Shape) -> BEATsConfig:
    fit: dict[str, Any] = {"mels": shape.bins, "frame_rate": shape.rate}
    if size == MICRO:
        return BEATsConfig(width=32, embed=16, depth=12, heads=2, **fit)
    return BEATsConfig.size(size, **fit)


def _coding(size: str, shape: Shape) -> EncoderConfig:
    codebook = CodebookConfig(codes=32, dim=16) if size == MICRO else CodebookConfig()
    return CodingEncoderConfig(_beats(size, shape), codebook)


def _state_space(bidirectional: bool) -> Callable[[str, Shape], EncoderConfig]:
    def make(size: str, shape: Shape) -> EncoderConfig:
        fit: dict[str, Any] = {
            "bidirectional": bidirectional, "patch": (16, 16), "mels": shape.bins, "frames": shape.padded(16),
            "frame_rate": shape.rate,
        }  # fmt: skip
        if size == MICRO:
            return StateSpaceConfig(width=32, depth=4, states=4, expand=2, **fit)
        return StateSpaceConfig.size(size, **fit)

    return make


def _spectral(kind: Any, **micro: Any) -> Callable[[str, Shape], EncoderConfig]:
    """Return a maker for encoders of any number of bins; `micro` are the settings of the smallest size."""

    def make(size: str, shape: Shape) -> EncoderConfig:
        fit = {"mels": shape.bins, "frame_rate": shape.rate}
        made: EncoderConfig = kind(**micro, **fit) if size == MICRO and micro else kind.size(_least(size), **fit)
        return made

    return make


def _sampled(kind: Any, rate: str = "rate") -> Callable[[str, Shape], EncoderConfig]:
    def make(size: str, shape: Shape) -> EncoderConfig:
        made: EncoderConfig = kind.size(_least(size), **{rate: shape.rate})
        return made

    return make


def _hts_at(size: str, shape: Shape) -> EncoderConfig:
    return HtsAtConfig.size(
        _least(size), mels=shape.bins, bins=64 * -(-shape.bins // 64), frame_rate=shape.rate
    )  # fmt: skip


def _waveform_transformer(size: str, shape: Shape) -> EncoderConfig:
    return WaveformTransformerConfig.size(_least(size), sample_rate=int(shape.rate))


def _least(size: str) -> str:
    return "tiny" if size == MICRO else size


# Families from outside the package.
_REGISTERED: dict[str, Family] = {}


def families() -> dict[str, Family]:
    """Return the encoder families by name."""
    made = (
        Family("audio-ntt", _spectral(AudioNTTConfig, width=64, channels=16), _MEL, "CNN"),
        Family("efficientnet", _spectral(EfficientNetConfig), _MEL, "CNN"),
        Family("resnet", _spectral(ResNetConfig, channels=8), _MEL, "CNN"),
        Family("frame-gru", _spectral(FrameRecurrentConfig, width=32), _MEL, "recurrent"),
        Family("state-space-causal", _state_space(False), _MEL, "state space"),
        Family("state-space", _state_space(True), _MEL, "state space"),
        Family("patch-transformer", lambda size, shape: _transformer(size, 16, shape), _MEL, "transformer"),
        Family("frame-transformer", lambda size, shape: _transformer(size, 4, shape), _MEL, "transformer"),
        Family("beats", _beats, _MEL, "transformer"),
        Family("beats-codes", _coding, _MEL, "transformer"),
        Family("conformer", _spectral(ConformerConfig, width=32, depth=12), _MEL, "hybrid"),
        Family("hts-at", _hts_at, _MEL, "transformer"),
        Family("waveform-gru", _sampled(WaveformRecurrentConfig), _WAVE, "recurrent"),
        Family("waveform-cnn", _sampled(WaveformConvolutionConfig), _WAVE, "CNN"),
        Family("sincnet", _sampled(PaseConfig), _WAVE, "CNN"),
        Family("waveform-transformer", _waveform_transformer, _WAVE, "hybrid"),
        Family("log-mel-statistics", lambda size, s: LogMelStatisticsConfig(mels=s.bins, frame_rate=s.rate), _MEL, "-"),
    )
    return {family.name: family for family in made} | _REGISTERED


def register_family(family: Family) -> None:
    """Add an encoder family, for example from a plug-in: `--encoder`, the matrix and `auricle check objective` take it.

    Raises:
        ConfigError: another family has this name.
    """
    if families().get(family.name, family) != family:
        raise ConfigError(f"two encoder families are named {family.name!r}; rename one")
    _REGISTERED[family.name] = family


def get_family(name: str) -> Family:
    """Return a family by its name.

    Raises:
        ConfigError: there is no such family.
    """
    known = families()
    if name not in known:
        raise ConfigError(f"unknown encoder family {name!r}{nearest(name, known)}")
    return known[name]


def on_family(recipe: Recipe, family: Family, size: str = "tiny") -> Recipe:
    """Return a recipe with an encoder of a family instead of its own.

    The recipe's own front end stays where it is of the family's kind. A previous stage that trains the same kind of
    encoder as the recipe gets the same family. The contracts refuse a pair that does not fit when it is built.

    Args:
        recipe: objective, views and training.
        family: of the encoder.
        size: of the encoder: `micro`, `tiny`, `small`, `base`.
    """
    own = isinstance(recipe.frontend, WaveformConfig)
    frontend = recipe.frontend if own == family.samples else family.frontend
    built = frontend.build()
    frames = built.frames(recipe.window.samples(built.rate))
    encoder = family.make(size, Shape(built.width, built.frame_rate, frames))
    # Numbers of layers are those of the recipe's own encoder.
    features = recipe.features if isinstance(recipe.features.layers, str) else recipe.features.replace(layers="all")
    features = OUTPUT if isinstance(encoder, LogMelStatisticsConfig) else features
    made = recipe.replace(frontend=frontend, encoder=encoder, features=features)
    if recipe.previous is None or type(recipe.previous.encoder) is not type(recipe.encoder):
        return made
    previous = on_family(recipe.previous, family, size)
    trained = PreviousEncoderConfig(previous.encoder, previous.frontend)
    return made.replace(previous=previous, objective=with_previous_encoder(made.objective, trained))
