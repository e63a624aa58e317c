"""Views that are slices or tiles of a clip, labelled by where they were cut and in which order they are shown.

For pretext tasks: a slice from its neighbours, or they from it (Audio2Vec, arXiv 1905.11796), the distance between two
slices (TemporalGap, same paper), the order of shuffled segments of time, bands of frequency or tiles of both
(permutation, arXiv 2103.09879).

Letters in shapes: B clips, V views, T frames, F mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.ops.crop import cut_out
from auricle.audio.views import MadeView, ViewMaker, ViewsConfig
from auricle.config import Natural, NonNegative, Positive
from auricle.errors import ConfigError


@dataclass(frozen=True)
class SliceViewsConfig(ViewsConfig):
    """Settings of slices.

    Attributes:
        count: slices of a clip, each a view.
        seconds: length of a slice of time; None: cut the clip into `count` equal parts. Only for axis 'time'.
        gap: seconds between the end of one slice and the start of the next, the whole group at a random position
            (Audio2Vec uses a gap so that continuity does not solve the task); None: random, for two slices with a
            uniform distance between their starts (TemporalGap), for more with uniform positions. Needs `seconds`.
        least_gap: the smallest random gap in seconds; below 0 slices may overlap.
        order: 'keep': view v shows the v-th slice; 'shuffle': a random permutation for each clip.
        axis: the axis that is cut: 'time', 'frequency' (bands), 'grid' (tiles of both); the last two need a spectral
            front end.
        rows: for axis 'grid' the number of parts of time, a divisor of `count`.
        trim: frames (and bands) removed on either side of every inner and outer border, so that borders do not reveal
            the order. For 'time' in frames of the front end.
    """

    count: Annotated[int, Ge(2)] = 3
    seconds: Positive | None = None
    gap: NonNegative | None = 0.0
    least_gap: float = 0.0
    order: Literal["keep", "shuffle"] = "keep"
    axis: Literal["time", "frequency", "grid"] = "time"
    rows: int = 1
    trim: Natural = 0

    def __post_init__(self) -> None:
        if self.axis != "time" and self.seconds is not None:
            raise ConfigError(f"slices.seconds is for axis 'time'; axis {self.axis!r} cuts into equal parts")
        if self.seconds is None and (self.gap != 0.0 or self.least_gap != 0.0):
            raise ConfigError("slices.gap needs slices.seconds: equal parts of a clip leave no gap (use trim)")
        if self.seconds is not None and self.least_gap <= -self.seconds:
            raise ConfigError(f"slices.least_gap is {self.least_gap} s; slices of {self.seconds} s would coincide")
        if self.axis == "grid" and (self.rows < 1 or self.count % self.rows):
            raise ConfigError(f"slices.count is {self.count}, not a multiple of slices.rows = {self.rows}")


class SliceViews(ViewMaker):
    """Makes each slice a view.

    Certificates of view v, each `(B,)`: `place` int64, the rank of its slice among the clip's slices (for tiles
    time-major; over all views these are the inverse permutation); `start` seconds in the clip where the slice begins;
    `gap`, the same for all views: the distance between the starts of the first and the last slice in time as a share of
    the largest possible (1 for equal parts).

    The reference is the slice's own waveform; None for bands and tiles, which have none.
    """

    config: SliceViewsConfig

    def __init__(self, config: SliceViewsConfig, frontend: FrontEnd) -> None:
        super().__init__(config, frontend)
        self.makes = config.count
        if config.axis == "time":
            return
        if not isinstance(frontend, SpectralFrontEnd):
            raise ConfigError(
                f"slices.axis {config.axis!r} cuts frequency bands and the front end is {type(frontend).__name__}; "
                "use a spectral front end (KaldiFbankConfig, LogMelConfig), or axis 'time'"
            )
        parts = config.count if config.axis == "frequency" else config.count // config.rows
        if frontend.width // parts - 2 * config.trim < 1:
            raise ConfigError(
                f"{frontend.width} bands in {parts} parts, {config.trim} trimmed on either side: nothing is left; "
                "use fewer parts, or trim less"
            )

    @torch.no_grad()
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        config = self.config
        self.check_input(audio, generator)
        if views != config.count:
            raise ConfigError(f"{views} views were asked for and slices.count is {config.count}; make them equal")
        order = torch.rand(config.count, len(audio), generator=generator).argsort(0)
        if config.order == "keep":
            order = torch.arange(config.count)[:, None].expand(-1, len(audio))
        if config.axis == "time":
            return self._time(audio, order, generator)
        return self._tiles(audio, order)

    def _time(self, audio: Audio, order: Tensor, generator: torch.Generator) -> tuple[MadeView, ...]:
        starts, lengths, gap = self._places(audio, generator)
        start, samples = starts.gather(0, order), int(lengths.max())
        lengths = lengths.to(audio.lengths.device)
        inside = torch.arange(samples, device=audio.wave.device) < lengths.to(audio.wave.device)[:, None]
        # All slices of all clips go through the front end together.
        waves = torch.cat([cut_out(audio, row, samples) * inside for row in start])
        features = self.frontend(Audio(waves, lengths.repeat(len(start)), audio.rate))
        made = []
        for view, (place, row) in enumerate(zip(order, start, strict=True)):
            rows = slice(view * len(audio), (view + 1) * len(audio))
            certificate = {"place": place.clone(), "start": (row / audio.rate).float(), "gap": gap}
            made.append(MadeView(features[rows], certificate, Audio(waves[rows], lengths, audio.rate)))
        return tuple(made)

    def _places(self, audio: Audio, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return starts `(V, B)` in samples, rising, the length of every slice `(B,)`, and the gap `(B,)`."""
        config, rate = self.config, audio.rate
        valid = audio.lengths.cpu()
        index = torch.arange(config.count)[:, None]
        uniform = torch.rand(config.count, len(audio), generator=generator, dtype=torch.float64)
        trim = round(config.trim * rate / self.frontend.frame_rate)
        if config.seconds is None:
            part = valid // config.count
            length = part - 2 * trim
            if bool((length < 1).any()):
                raise ConfigError(
                    f"a clip of {int(valid.min())} samples in {config.count} parts, {config.trim} frames trimmed on "
                    "either side: nothing is left; use longer clips, or fewer parts"
                )
            return index * part + trim, length, torch.ones(len(audio))
        samples = max(1, round(config.seconds * rate))
        between = round((config.least_gap if config.gap is None else config.gap) * rate)
        pitch = max(1, samples + between)
        spare = valid - samples - (config.count - 1) * pitch
        if bool((spare < 0).any()):
            raise ConfigError(
                f"a clip of {int(valid.min()) / rate:.2f} s met {config.count} slices of {config.seconds} s with gaps "
                f"of {between / rate:g} s, which need {(samples + (config.count - 1) * pitch) / rate:.2f} s; "
                "drop shorter clips from the corpus, or use shorter slices or smaller gaps"
            )
        if config.gap is not None:
            starts = (uniform[:1] * (spare + 1)).long() + index * pitch
        elif config.count == 2:
            # Uniform in the distance: two uniform positions would make large distances rare.
            distance = pitch + (uniform[0] * (spare + 1)).long()
            first = (uniform[1] * (valid - samples - distance + 1)).long()
            starts = torch.stack([first, first + distance])
        else:
            starts = (uniform.sort(0).values * (spare + 1)).long() + index * pitch
        if samples - 2 * trim < 1:
            raise ConfigError(
                f"slices of {config.seconds} s, {config.trim} frames trimmed on either side: nothing is left; trim less"
            )
        gap = ((starts[-1] - starts[0]) / (valid - samples)).float()
        return starts + trim, torch.full_like(valid, samples - 2 * trim), gap

    def _tiles(self, audio: Audio, order: Tensor) -> tuple[MadeView, ...]:
        config = self.config
        features = self.frontend(audio)
        rows = 1 if config.axis == "frequency" else config.rows
        columns = config.count // rows
        frames = features.lengths.cpu() // rows
        count = frames - 2 * config.trim if rows > 1 else frames
        if bool((count < 1).any()):
            raise ConfigError(
                f"a clip of {int(features.lengths.min())} frames in {rows} parts, {config.trim} trimmed on either "
                "side: nothing is left; use longer clips, or fewer parts"
            )
        bands = features.x.shape[2] // columns
        made = []
        for place in order:
            first = (place // columns) * frames + (config.trim if rows > 1 else 0)
            band = (place % columns) * bands + config.trim
            x = _tile(features, first, count, band, bands - 2 * config.trim)
            certificate = {
                "place": place.clone(),
                "start": (first / features.rate).float(),
                "gap": torch.ones(len(audio)),
            }
            made.append(MadeView(x, certificate, None))
        return tuple(made)


def _tile(features: Features, first: Tensor, count: Tensor, band: Tensor, bands: int) -> Features:
    """Cut a tile of `count (B,)` frames from `first (B,)` on, and of `bands` bands from `band (B,)` on."""
    x = features.x
    place = torch.arange(int(count.max()))
    frame = (first[:, None] + place).clamp(max=x.shape[1] - 1).to(x.device)
    column = (band[:, None] + torch.arange(bands)).to(x.device)
    clips = torch.arange(len(x), device=x.device)[:, None, None]
    cut = x[clips, frame[:, :, None], column[:, None, :]]
    beyond = (place >= count[:, None]).to(x.device)
    cut = cut.masked_fill(beyond[..., None], features.pad)
    return Features(cut, count.to(features.lengths.device), features.rate, features.pad)
