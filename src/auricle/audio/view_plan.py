"""Views by a plan: crop, operators on the waveform, front end, operators on the features, joint normalisation.

One plan covers most methods: BYOL-A (one shared crop, log-mixup-exp, resize crop, fader, joint normalisation), COLA (a
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
from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.feature_op import FeatureOp, FeatureOpConfig, valid_frames
from auricle.audio.ops.wave_op import WaveOp, WaveOpConfig, mean_power
from auricle.audio.views import SEEDS, DegradedViewsConfig, MadeView, ViewMaker
from auricle.config import Natural
from auricle.errors import ConfigError


@dataclass(frozen=True)
class ViewPlanConfig(DegradedViewsConfig):
    """Settings of a plan.

    Attributes:
        crop: how clips are cropped; by default not at all.
        level: level that every view is scaled to: 'none', 'l2' (unit Euclidean norm, COLA), 'peak' (largest magnitude
            1), 'rms' (unit mean power).
        level_over: scale each 'crop' by itself, or the whole 'clip' before cropping, which keeps the level differences
            between crops of a clip (COLA's released code).
        wave: operators on the waveform, in order.
        feature: operators on the normalised features, in order; these need a spectral front end.
        joint: 'standardise': scale all views of the batch together to mean 0 and (unbiased) standard deviation 1, over
            valid frames (BYOL-A's post-normalisation).
        clean: views without operators, with only crop, level and normalisation (for a teacher or targets).
    """

    crop: CropConfig = field(default_factory=CropConfig)
    level: Literal["none", "l2", "peak", "rms"] = "none"
    level_over: Literal["crop", "clip"] = "crop"
    wave: tuple[WaveOpConfig, ...] = ()
    feature: tuple[FeatureOpConfig, ...] = ()
    joint: Literal["none", "standardise"] = "none"
    clean: tuple[Natural, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.clean)) != len(self.clean):
            raise ConfigError(f"clean is {self.clean}; expected the number of each view once, from 0 on")

    def check_window(self, seconds: float) -> None:
        self.crop.check_window(seconds)


class ViewPlan(ViewMaker):
    """Makes views by a plan.

    Certificates hold `start` (seconds, `(B,)`: where the crop begins in the clip), then the entries of each operator;
    a repeated kind of operator appends `_2`, `_3` ... to its names. A view's reference is its crop before any operator;
    None if one of its operators moves time.

    Every operator of every view draws from its own seed: changing one operator's settings leaves the draws of the
    others unchanged, and so do degradations.
    """

    config: ViewPlanConfig

    def __init__(self, config: ViewPlanConfig, frontend: FrontEnd) -> None:
        super().__init__(config, frontend)
        self._wave = nn.ModuleList(op.build() for op in (*config.wave, *config.degradations()))
        self._feature = nn.ModuleList()
        if isinstance(frontend, SpectralFrontEnd):
            self._feature.extend(op.build(frontend) for op in config.feature)
        elif config.feature or config.joint != "none":
            found = ", ".join(type(op).__name__ for op in config.feature) or "joint normalisation"
            raise ConfigError(
                f"{found} works on spectral features and the front end is {type(frontend).__name__}; "
                "use a spectral front end (KaldiFbankConfig, LogMelConfig), or operators on the waveform only"
            )
        self._moves = any(op.moves_time for op in self._wave_ops()) or any(op.moves_time for op in config.feature)

    @torch.no_grad()
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        self.check_input(audio, generator)
        if views < 1 or any(view >= views for view in self.config.clean):
            raise ConfigError(
                f"{views} views were asked for; expected at least one, and clean = {self.config.clean} to be among "
                f"views 0 ... {views - 1}"
            )
        audio = Audio(audio.wave.float(), audio.lengths, audio.rate)
        if self.config.level_over == "clip":
            audio = levelled(audio, self.config.level)
        starts = self.config.crop.starts(audio, views, generator)
        own, degradations = len(self.config.wave), len(self._wave) - len(self.config.wave)
        drawn = torch.randint(SEEDS, (views, own + len(self._feature)), generator=generator)
        if degradations:
            # Later than the others, which stay as they are without degradations.
            more = torch.randint(SEEDS, (views, degradations), generator=generator)
            drawn = torch.cat([drawn[:, :own], more, drawn[:, own:]], 1)
        seeds = drawn.tolist()
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
                    wave, entries = op(wave, torch.Generator().manual_seed(seed))
                    _add(certificate, entries)
            # Views that share a crop and have untouched waveforms share its features.
            if untouched and shared is not None and not self.config.crop.each:
                features = shared[1]
            else:
                features = self.frontend(wave)
                if untouched:
                    shared = (crop, features)
            if not clean:
                for feature_op, seed in zip(self._feature_ops(), chain[len(self._wave) :], strict=True):
                    features, entries = feature_op(features, torch.Generator().manual_seed(seed))
                    _add(certificate, entries)
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
    """Scale views jointly to mean 0 and unbiased standard deviation 1 over all their valid frames and bands.

    `pad` is normalised with them.
    """
    count = torch.stack([x.lengths.to(x.x.device).sum() for x in views]).sum() * views[0].x.shape[2]
    # Two passes in double precision: single is not enough for sums over a batch.
    mean = torch.stack([_valid_sum(x, x.x) for x in views]).sum() / count
    squares = torch.stack([_valid_sum(x, (x.x - mean).square()) for x in views]).sum()
    eps = torch.finfo(views[0].x.dtype).eps
    centre, scale = torch.stack([mean, (squares / (count - 1).clamp(min=1)).sqrt().clamp(min=eps)]).tolist()
    return [Features((x.x - centre) / scale, x.lengths, x.rate, (x.pad - centre) / scale) for x in views]


def _valid_sum(features: Features, x: Tensor) -> Tensor:
    return (x * valid_frames(features)).sum(dtype=torch.float64)


def _add(certificate: dict[str, Tensor], entries: Mapping[str, Tensor]) -> None:
    """Add an operator's entries; if a name is taken, all of them get the same number."""
    number = 1
    while any(_numbered(name, number) in certificate for name in entries):
        number += 1
    certificate.update({_numbered(name, number): value for name, value in entries.items()})


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"
