"""Views that are slices or tiles of a clip: what was cut where, and in which order it is shown, is the label.

For pretext tasks: a slice from its neighbours, or they from it (Audio2Vec, arXiv 1905.11796), the distance between two
slices (TemporalGap, same paper), the order of shuffled segments of time, bands of frequency or tiles of both
(permutation, arXiv 2103.09879).

Letters in shapes: B clips, V views, T frames, F mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, SpectralFrontEnd
from auricle.audio.ops.crop import cut_out
from auricle.audio.views import MadeView, ViewMaker, ViewsConfig
from auricle.errors import ConfigError


@dataclass(frozen=True)
class SliceViewsConfig(ViewsConfig):
    """Settings of slices.

    Attributes:
        count: how many slices of a clip, each a view of its own.
        seconds: length of a slice of time; None: the clip is cut into `count` equal parts. Only for axis 'time'.
        gap: seconds between the end of one slice and the start of the next, the whole group at a random place
            (Audio2Vec leaves one, lest continuity solves the task); None: drawn, for two slices so that the distance
            between their starts is even between the smallest and the largest possible (TemporalGap), for more so that
            places are even. Needs `seconds`.
        least_gap: the smallest gap that is drawn, in seconds; below 0 slices may overlap.
        order: 'keep': view v shows the v-th slice; 'shuffle': a permutation drawn from all for each clip.
        axis: what is cut: 'time', 'frequency' (bands), 'grid' (tiles of both); the last two need a spectral front end.
        rows: for axis 'grid' how many parts time is cut into; `count` is a multiple of it.
        trim: frames (and bands) taken off on either side of every inner and outer border, so that borders do not give
            the order away. For 'time' frames of the front end.
    """

    count: int = 3
    seconds: float | None = None
    gap: float | None = 0.0
    least_gap: float = 0.0
    order: Literal["keep", "shuffle"] = "keep"
    axis: Literal["time", "frequency", "grid"] = "time"
    rows: int = 1
    trim: int = 0

    def __post_init__(self) -> None:
        """Refuse settings out of range or that contradict each other."""
        if self.count < 2:
            raise ConfigError(f"slices.count is {self.count}; expected at least 2")
        if self.order not in ("keep", "shuffle"):
            raise ConfigError(f"slices.order is {self.order!r}; expected 'keep' or 'shuffle'")
        if self.axis not in ("time", "frequency", "grid"):
            raise ConfigError(f"slices.axis is {self.axis!r}; expected 'time', 'frequency' or 'grid'")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"slices.seconds is {self.seconds}; expected above 0, or None for equal parts")
        if self.axis != "time" and self.seconds is not None:
            raise ConfigError(f"slices.seconds is for axis 'time'; axis {self.axis!r} cuts into equal parts")
        if self.seconds is None and (self.gap != 0.0 or self.least_gap != 0.0):
            raise ConfigError("slices.gap needs slices.seconds: equal parts of a clip leave no gap (use trim)")
        if self.gap is not None and self.gap < 0:
            raise ConfigError(f"slices.gap is {self.gap} s; expected 0 or more, or None to draw it")
        if self.seconds is not None and self.least_gap <= -self.seconds:
            raise ConfigError(f"slices.least_gap is {self.least_gap} s; slices of {self.seconds} s would coincide")
        if self.axis == "grid" and (self.rows < 1 or self.count % self.rows):
            raise ConfigError(f"slices.count is {self.count}, not a multiple of slices.rows = {self.rows}")
        if self.trim < 0:
            raise ConfigError(f"slices.trim is {self.trim}; expected 0 or more frames")

    def build(self, frontend: FrontEnd) -> SliceViews:
        """Make the view maker.

        Raises:
            ConfigError: frequency is cut and the front end is not spectral, or it has too few bands.
        """
        if self.axis != "time":
            if not isinstance(frontend, SpectralFrontEnd):
                raise ConfigError(
                    f"slices.axis {self.axis!r} cuts frequency bands and the front end is {type(frontend).__name__}; "
                    "use a spectral front end (KaldiFbankConfig, LogMelConfig), or axis 'time'"
                )
            parts = self.count if self.axis == "frequency" else self.count // self.rows
            if frontend.width // parts - 2 * self.trim < 1:
                raise ConfigError(
                    f"{frontend.width} bands in {parts} parts, {self.trim} trimmed on either side: nothing is left; "
                    "cut into fewer parts, or trim less"
                )
        return SliceViews(self, frontend)


class SliceViews(ViewMaker):
    """Shows each slice as a view.

    Certificates of view v, each `(B,)`: `place` int64, the rank of the slice that it shows among the clip's slices (for
    tiles time-major; over all views these are the inverse permutation); `start` seconds in the clip where it begins;
    `gap`, the same for all views: the distance between the starts of the first and the last slice in time as a share of
    the largest possible (1 where slices are equal parts).

    The reference is the slice's own waveform; None for bands and tiles, which have none.
    """

    def __init__(self, config: SliceViewsConfig, frontend: FrontEnd) -> None:
        super().__init__()
        self.config = config
        self.frontend = frontend
        self.makes = config.count

    @torch.no_grad()
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        """Return as many views as there are slices.

        Raises:
            ConfigError: another number of views was asked for, a clip is too short for its slices, the generator is
                not on the CPU, or the audio has another sample rate than the front end.
        """
        config = self.config
        self.frontend.check_rate(audio)
        if generator.device.type != "cpu":
            raise ConfigError(f"the generator is on {generator.device}; draws are made on the CPU: torch.Generator()")
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
                "leave shorter clips out of the corpus, use shorter slices, or smaller gaps"
            )
        if config.gap is not None:
            starts = (uniform[:1] * (spare + 1)).long() + index * pitch
        elif config.count == 2:
            # Even in the distance; two even places would make large distances rare.
            distance = pitch + (uniform[0] * (spare + 1)).long()
            first = (uniform[1] * (valid - samples - distance + 1)).long()
            starts = torch.stack([first, first + distance])
        else:
            starts = (uniform.sort(0).values * (spare + 1)).long() + index * pitch
        if samples - 2 * trim < 1:
            raise ConfigError(
                f"slices of {config.seconds} s, {config.trim} frames trimmed on either side: nothing left"
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
