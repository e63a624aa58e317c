"""Views by a plan: crop, operators on the waveform, front end, operators on the features, joint normalisation.

One plan serves most methods: BYOL-A (one shared crop, log-mixup-exp, resize crop, fader, joint normalisation), COLA (a
crop for each view, noise on the second), CLMR and CLAR (chains on the waveform), PASE+ and WavLM (degraded input, clean
reference), ATST-Frame (a clean view for the teacher), SSLAM (a clean view, and one mixed with its neighbour).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, SpectralFrontEnd
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.feature_op import FeatureOp, FeatureOpConfig, valid_frames
from auricle.audio.ops.wave_op import WaveOp, WaveOpConfig, mean_power
from auricle.audio.views import MadeView, ViewMaker, ViewsConfig
from auricle.errors import ConfigError

_SEEDS = 2**62


@dataclass(frozen=True)
class ViewPlanConfig(ViewsConfig):
    """Settings of a plan.

    Attributes:
        crop: how clips are cropped; by default not at all.
        level: what the sound is scaled to, in every view: 'none', 'l2' (unit Euclidean norm, COLA), 'peak' (largest
            magnitude 1), 'rms' (unit mean power).
        level_over: what is brought to that level: each 'crop' by itself, or the whole 'clip' before it is cropped, so
            that loud and quiet crops of a clip stay so (COLA's released code).
        wave: operators on the waveform, in their order.
        feature: operators on the normalised features, in their order; they need a spectral front end.
        joint: 'standardise': all views of the batch together to mean 0 and (unbiased) standard deviation 1, over valid
            frames (BYOL-A's post-normalisation).
        clean: which views get no operator, only crop, level and normalisation (a teacher's, or a target's view).
    """

    crop: CropConfig = field(default_factory=CropConfig)
    level: Literal["none", "l2", "peak", "rms"] = "none"
    level_over: Literal["crop", "clip"] = "crop"
    wave: tuple[WaveOpConfig, ...] = ()
    feature: tuple[FeatureOpConfig, ...] = ()
    joint: Literal["none", "standardise"] = "none"
    clean: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if self.level not in ("none", "l2", "peak", "rms"):
            raise ConfigError(f"level is {self.level!r}; expected 'none', 'l2', 'peak' or 'rms'")
        if self.level_over not in ("crop", "clip"):
            raise ConfigError(f"level_over is {self.level_over!r}; expected 'crop' or 'clip'")
        if self.joint not in ("none", "standardise"):
            raise ConfigError(f"joint is {self.joint!r}; expected 'none' or 'standardise'")
        if any(view < 0 for view in self.clean) or len(set(self.clean)) != len(self.clean):
            raise ConfigError(f"clean is {self.clean}; give the numbers of views from 0 on, each once")

    def check_window(self, seconds: float) -> None:
        """Refuse windows too short for every view to have its own crop (see `CropConfig.check_window`)."""
        self.crop.check_window(seconds)

    def build(self, frontend: FrontEnd) -> ViewPlan:
        """Make the view maker.

        Raises:
            ConfigError: operators on features, or joint normalisation, met a front end that is not spectral.
        """
        if (self.feature or self.joint != "none") and not isinstance(frontend, SpectralFrontEnd):
            found = ", ".join(type(op).__name__ for op in self.feature) or "joint normalisation"
            raise ConfigError(
                f"{found} works on spectral features and the front end is {type(frontend).__name__}; "
                "use a spectral front end (KaldiFbankConfig, LogMelConfig), or operators on the waveform only"
            )
        return ViewPlan(self, frontend)


class ViewPlan(ViewMaker):
    """Makes views by a plan.

    Certificates hold `start` (seconds, `(B,)`, where the crop begins in the clip), then what each operator certifies;
    an operator of a kind that comes again writes its names with `_2`, `_3` ... appended. A view's reference is its
    crop, before any operator; None where an operator of its chain moves time.

    Every operator of every view draws from a seed of its own: changing one operator's settings leaves the others' draws
    as they were.

    Attributes:
        config: the settings.
        frontend: the front end whose features come out.
    """

    def __init__(self, config: ViewPlanConfig, frontend: FrontEnd) -> None:
        super().__init__()
        self.config = config
        self.frontend = frontend
        self._wave = nn.ModuleList(op.build() for op in config.wave)
        self._feature = nn.ModuleList()
        if isinstance(frontend, SpectralFrontEnd):
            self._feature.extend(op.build(frontend) for op in config.feature)
        self._moves = any(op.moves_time for op in self._wave_ops()) or any(op.moves_time for op in config.feature)

    @torch.no_grad()
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        """Return `views` views of a batch `(B, S)`.

        Raises:
            ConfigError: no views were asked for, a clean view is not among them, the generator is not on the CPU, or
                the audio has another sample rate than the front end.
        """
        self.frontend.check_rate(audio)
        if generator.device.type != "cpu":
            raise ConfigError(f"the generator is on {generator.device}; draws are made on the CPU: torch.Generator()")
        if views < 1 or any(view >= views for view in self.config.clean):
            raise ConfigError(
                f"{views} views were asked for; at least one is needed, and clean = {self.config.clean} must be among "
                f"views 0 ... {views - 1}"
            )
        audio = Audio(audio.wave.float(), audio.lengths, audio.rate)
        if self.config.level_over == "clip":
            audio = levelled(audio, self.config.level)
        starts = self.config.crop.starts(audio, views, generator)
        seeds = torch.randint(_SEEDS, (views, len(self._wave) + len(self._feature)), generator=generator).tolist()
        with torch.autocast(audio.wave.device.type, enabled=False):
            made = self._views(audio, starts, seeds)
            for op in self._feature_ops():
                op.finish()
            if self.config.joint == "standardise":
                together = standardised([view.features for view in made])
                made = [view._replace(features=x) for view, x in zip(made, together, strict=True)]
        return tuple(made)

    def _views(self, audio: Audio, starts: Tensor, seeds: list[list[int]]) -> list[MadeView]:
        shared: tuple[Audio, Features] | None = None
        made = []
        for view, (start, chain) in enumerate(zip(starts, seeds, strict=True)):
            clean = view in self.config.clean
            untouched = clean or not len(self._wave)
            certificate: dict[str, Tensor] = {"start": (start / audio.rate).float()}
            if shared is not None and not self.config.crop.each:
                crop = shared[0]
            else:
                crop = self.config.crop.cut(audio, start)
                if self.config.level_over == "crop":
                    crop = levelled(crop, self.config.level)
            wave = crop
            if not clean:
                for op, seed in zip(self._wave_ops(), chain, strict=False):
                    wave, told = op(wave, torch.Generator().manual_seed(seed))
                    _add(certificate, told)
            # Views that share a crop and have untouched waveforms share its features.
            if untouched and shared is not None and not self.config.crop.each:
                features = shared[1]
            else:
                features = self.frontend(wave)
                if untouched:
                    shared = (crop, features)
            if not clean:
                for feature_op, seed in zip(self._feature_ops(), chain[len(self._wave) :], strict=True):
                    features, told = feature_op(features, torch.Generator().manual_seed(seed))
                    _add(certificate, told)
            made.append(MadeView(features, certificate, None if self._moves and not clean else crop))
        return made

    def _wave_ops(self) -> list[WaveOp]:
        return [op for op in self._wave if isinstance(op, WaveOp)]

    def _feature_ops(self) -> list[FeatureOp]:
        return [op for op in self._feature if isinstance(op, FeatureOp)]


def levelled(audio: Audio, level: Literal["none", "l2", "peak", "rms"]) -> Audio:
    """Scale each clip to unit Euclidean norm, peak or mean power; silence stays silent."""
    wave = audio.wave
    if level == "none":
        return audio
    if level == "peak":
        size = wave.abs().amax(1, keepdim=True)
    else:
        size = wave.norm(dim=1, keepdim=True) if level == "l2" else mean_power(wave, audio.lengths).sqrt()
    return Audio(wave / torch.where(size > 0, size, 1.0), audio.lengths, audio.rate)


def standardised(views: list[Features]) -> list[Features]:
    """Bring views together to mean 0 and unbiased standard deviation 1 over all their valid frames and bands.

    `pad` is normalised with them.
    """
    count = torch.stack([x.lengths.to(x.x.device).sum() for x in views]).sum() * views[0].x.shape[2]
    # Two passes in double precision: sums over a batch are too long for single.
    mean = torch.stack([_valid_sum(x, x.x) for x in views]).sum() / count
    squares = torch.stack([_valid_sum(x, (x.x - mean).square()) for x in views]).sum()
    eps = torch.finfo(views[0].x.dtype).eps
    centre, scale = torch.stack([mean, (squares / (count - 1).clamp(min=1)).sqrt().clamp(min=eps)]).tolist()
    return [Features((x.x - centre) / scale, x.lengths, x.rate, (x.pad - centre) / scale) for x in views]


def _valid_sum(features: Features, x: Tensor) -> Tensor:
    return (x * valid_frames(features)).sum(dtype=torch.float64)


def _add(certificate: dict[str, Tensor], told: Mapping[str, Tensor]) -> None:
    """Add what an operator told; names that are taken get a number, the same for all of one operator's."""
    number = 1
    while any(_numbered(name, number) in certificate for name in told):
        number += 1
    certificate.update({_numbered(name, number): value for name, value in told.items()})


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"
