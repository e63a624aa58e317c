"""Operators that filter a waveform: low-pass or high-pass, dropped bands, half the sample rate, reverberation, echo.

Letters in shapes: R chosen clips, S samples, K frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import scipy.fft
import torch
from annotated_types import Ge, Le
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.ops.butterworth import band_stop_response, high_pass_response, low_pass_response
from auricle.audio.ops.phase_vocoder import resample
from auricle.audio.ops.wave_op import Context, Drawn, WaveOp, WaveOpConfig, along, between, mean_power, valid_samples
from auricle.audio.ranges import Hertz, Seconds, check_ranges
from auricle.config import Share, ShareAboveZero
from auricle.errors import ConfigError

_RING_SECONDS = 1.0
"""Longest response of a filter: this padding keeps the circular transform from wrapping it onto the clip."""

_ROWS = 16
"""Clips filtered at once: responses are complex128 and as long as the clip."""

_Order = Annotated[int, Ge(1), Le(16)]
_Octaves = Annotated[float, Ge(0.01), Le(8)]
_Rt60 = Annotated[float, Ge(0.01), Le(20)]
_DirectDb = Annotated[float, Ge(-60), Le(120)]


@dataclass(frozen=True)
class PassFilterConfig(WaveOpConfig):
    """A Butterworth low-pass or high-pass, with equal probability (CLMR: p 0.8; ranges and steepness not specified).

    Attributes:
        low_pass_hz: range of the low-pass's edge, uniform in octaves; None: only high-passes.
        high_pass_hz: range of the high-pass's edge, uniform in octaves; None: only low-passes.
        order: 6 dB per octave each.
    """

    low_pass_hz: Hertz | None = (2200.0, 4000.0)
    high_pass_hz: Hertz | None = (200.0, 1200.0)
    order: _Order = 2

    def __post_init__(self) -> None:
        check_ranges(self, "low_pass_hz", "high_pass_hz")
        if self.low_pass_hz is None and self.high_pass_hz is None:
            raise ConfigError("pass_filter has neither low_pass_hz nor high_pass_hz; set at least one")


class PassFilter(WaveOp):
    """Filters by a low-pass or a high-pass; certificate: `low_pass_hz`, `high_pass_hz`, NaN for the one not used."""

    config: PassFilterConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        config, rows = self.config, len(audio)
        low_share = 1.0 if config.high_pass_hz is None else 0.0 if config.low_pass_hz is None else 0.5
        low = torch.rand(rows, generator=generator) < low_share
        highest = 0.999 * audio.rate / 2
        edges = []
        for edge_range in (config.low_pass_hz, config.high_pass_hz):
            lowest, most = edge_range or (1.0, 1.0)
            edges.append(
                2 ** between(math.log2(lowest), math.log2(most), rows, generator).clamp(max=math.log2(highest))
            )
        return {
            "low_pass_hz": torch.where(low, edges[0], torch.nan),
            "high_pass_hz": torch.where(low, torch.nan, edges[1]),
        }

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        low, high = drawn["low_pass_hz"], drawn["high_pass_hz"]

        def response(frequencies: Tensor, rows: slice) -> Tensor:
            order = torch.full((len(low[rows]),), self.config.order)
            below = low_pass_response(frequencies, low[rows].nan_to_num(1.0), order, clips.rate)
            above = high_pass_response(frequencies, high[rows].nan_to_num(1.0), order, clips.rate)
            return torch.where(low[rows].isnan()[:, None], above, below)

        return filtered(clips, response)


@dataclass(frozen=True)
class BandDropConfig(WaveOpConfig):
    """A Butterworth band-stop (PASE+: p 0.35; the bands are not specified).

    Attributes:
        centre_hz: range of the band's centre, uniform in octaves.
        octaves: range of its width in octaves.
        order: 6 dB per octave each, of either edge.
    """

    p: Share = 0.35
    centre_hz: Hertz = (100.0, 7000.0)
    octaves: tuple[_Octaves, _Octaves] = (0.25, 1.0)
    order: _Order = 4

    def __post_init__(self) -> None:
        check_ranges(self, "centre_hz", "octaves")


class BandDrop(WaveOp):
    """Removes a band; certificate: `band_low_hz`, `band_high_hz`."""

    config: BandDropConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        rows, highest = len(audio), 0.999 * audio.rate / 2
        low, high = (math.log2(hz) for hz in self.config.centre_hz)
        centre = 2 ** between(low, high, rows, generator)
        half = 2 ** (between(*self.config.octaves, rows, generator) / 2)
        return {
            "band_low_hz": (centre / half).clamp(max=0.99 * highest),
            "band_high_hz": (centre * half).clamp(max=highest),
        }

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:

        def response(frequencies: Tensor, rows: slice) -> Tensor:
            low, high = drawn["band_low_hz"][rows], drawn["band_high_hz"][rows]
            return band_stop_response(frequencies, low, high, torch.full((len(low),), self.config.order), clips.rate)

        return filtered(clips, response)


@dataclass(frozen=True)
class NarrowbandConfig(WaveOpConfig):
    """The clip as if recorded at a lower sample rate: resampled down and back up (PASE+: to 8 kHz with p 0.25).

    Attributes:
        to_hz: the lower sample rate.
    """

    p: Share = 0.25
    to_hz: Annotated[int, Ge(100)] = 8000


class Narrowband(WaveOp):
    """Removes frequencies above half the lower rate; certificate: `narrowband`."""

    config: NarrowbandConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        if audio.rate <= self.config.to_hz:
            raise ConfigError(
                f"narrowband.to_hz is {self.config.to_hz} and the audio has {audio.rate} Hz; "
                f"set to_hz below {audio.rate}"
            )
        return {"narrowband": torch.ones(len(audio), dtype=torch.bool)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        samples = clips.wave.shape[1]
        ratio = torch.full((len(clips),), clips.rate / self.config.to_hz, dtype=torch.float64)
        lower = resample(clips.wave, ratio, math.ceil(samples / float(ratio[0])) + 1)
        return resample(lower, 1 / ratio, samples)


@dataclass(frozen=True)
class ReverbConfig(WaveOpConfig):
    """Reverberation by a synthetic room: the direct sound, then white noise that decays exponentially.

    Published methods use recorded or simulated rooms (PASE+: p 0.5; CLMR: p 0.6); this one needs no data, and its
    ranges are our own. The direct sound is not delayed and the clip keeps its mean power.

    Attributes:
        rt60: range of the time in seconds in which the reverberation falls by 60 dB.
        direct_db: range of the ratio of the direct sound's energy to the reverberation's, in dB.
        delay: seconds between the direct sound and the onset of the reverberation.
    """

    p: Share = 0.5
    rt60: tuple[_Rt60, _Rt60] = (0.1, 0.8)
    direct_db: tuple[_DirectDb, _DirectDb] = (0.0, 12.0)
    delay: Share = 0.002

    def __post_init__(self) -> None:
        check_ranges(self, "rt60", "direct_db")


class Reverb(WaveOp):
    """Adds reverberation; certificate: `rt60` in seconds, `direct_db`."""

    config: ReverbConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        config, rows = self.config, len(audio)
        return {
            "rt60": between(*config.rt60, rows, generator),
            "direct_db": between(*config.direct_db, rows, generator),
        }

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave, rate = clips.wave, clips.rate
        onset = max(1, round(self.config.delay * rate))
        length = onset + math.ceil(float(drawn["rt60"].max()) * rate)
        time = (torch.arange(length) - onset) / rate
        decay = torch.where(time >= 0, torch.exp(-3 * math.log(10) * time / drawn["rt60"][:, None]), 0.0)
        tail = decay * torch.randn(len(clips), length, generator=context.generator)
        tail *= (10 ** (-drawn["direct_db"] / 20) / tail.square().sum(1).sqrt())[:, None]
        tail = tail.to(wave)
        n = scipy.fft.next_fast_len(wave.shape[1] + length, real=True)
        made = torch.cat(
            [
                torch.fft.irfft(torch.fft.rfft(dry, n=n) * torch.fft.rfft(room, n=n), n=n)[:, : wave.shape[1]]
                for dry, room in zip(wave.split(_ROWS), tail.split(_ROWS), strict=True)
            ]
        )
        made = wave + made
        before, after = (mean_power(w, clips.lengths) for w in (wave, made * valid_samples(clips)))
        return made * (before / after.clamp(min=1e-20)).sqrt()


@dataclass(frozen=True)
class EchoConfig(WaveOpConfig):
    """The clip plus a later, softer copy, divided by 1 + `level` (CLMR's delay: p 0.3; the rest is not specified).

    Attributes:
        seconds: range of the delay.
        level: amplitude of the echo relative to the clip.
    """

    p: Share = 0.3
    seconds: Seconds = (0.2, 0.5)
    level: ShareAboveZero = 0.5

    def __post_init__(self) -> None:
        check_ranges(self, "seconds")


class Echo(WaveOp):
    """Adds one echo; certificate: `delay` in seconds."""

    config: EchoConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        return {"delay": between(*self.config.seconds, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave = clips.wave
        source = (
            torch.arange(wave.shape[1], device=wave.device) - along(drawn["delay"] * clips.rate, wave).round().long()
        )
        late = wave.gather(1, source.clamp(min=0)) * (source >= 0)
        return (wave + self.config.level * late) / (1 + self.config.level)


def filtered(clips: Audio, response: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Filter clips causally, silence before each.

    Args:
        clips: `(R, S)`.
        response: given frequencies `(K,)` in Hz and a slice of the clips, their complex responses `(rows, K)`.
    """
    samples = clips.wave.shape[1]
    n = scipy.fft.next_fast_len(samples + round(_RING_SECONDS * clips.rate), real=True)
    frequencies = torch.fft.rfftfreq(n, 1 / clips.rate, dtype=torch.float64)
    made = []
    for first in range(0, len(clips), _ROWS):
        rows = slice(first, first + _ROWS)
        wave = clips.wave[rows]
        spectrum = torch.fft.rfft(wave, n=n) * response(frequencies, rows).to(wave.device, torch.complex64)
        made.append(torch.fft.irfft(spectrum, n=n)[:, :samples])
    return torch.cat(made)
