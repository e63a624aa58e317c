"""Operators that mix a clip with another clip of the batch, or with noise; the clip itself stays the reference.

Partners come from the unmixed batch. A batch of one clip has no partner: it stays unchanged, with partner -1.

Letters in shapes: B clips, R chosen clips, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.ops.wave_op import (
    Context,
    Drawn,
    WaveOp,
    WaveOpConfig,
    along,
    between,
    mean_power,
    one_of,
    unit_noise,
)
from auricle.audio.ranges import Decibels, check_ranges
from auricle.config import Share, ShareAboveZero
from auricle.errors import ConfigError


@dataclass(frozen=True)
class OverlapConfig(WaveOpConfig):
    """Another utterance of the batch added to the whole clip (PASE+, arXiv 2001.09239: p 0.1 at 5, 7.5 or 10 dB).

    The partner starts at a random position and wraps around at its end.

    Attributes:
        choices_db: ratios of the mean power of the clip to the partner's to choose from, in dB.
    """

    p: Share = 0.1
    choices_db: tuple[float, ...] = (5.0, 7.5, 10.0)

    def __post_init__(self) -> None:
        if not self.choices_db:
            raise ConfigError("overlap.choices_db is empty; expected at least one ratio in dB")


class Overlap(WaveOp):
    """Adds another clip; certificate: `partner` (row in the batch, -1: none), `overlap_db`."""

    config: OverlapConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        return {
            "partner": draw_partners(len(audio), generator),
            "overlap_db": one_of(self.config.choices_db, len(audio), generator),
            "_from": torch.rand(len(audio), generator=generator, dtype=torch.float64),
        }

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave = clips.wave
        other = circular(context.batch, drawn["partner"], drawn["_from"], wave)
        other = other * (torch.arange(wave.shape[1], device=wave.device) < clips.lengths.to(wave.device)[:, None])
        return wave + at_ratio(clips, other, clips.lengths, drawn["overlap_db"])


@dataclass(frozen=True)
class UtteranceMixConfig(WaveOpConfig):
    """A piece of another utterance, or noise, added to at most half of the clip (WavLM, arXiv 2110.13900).

    Probabilities are the paper's (its released task defaults to 0.5 and 0.5). Deviation: the noise is white and
    Gaussian, not recorded, which needs no files. The ratio is that of the clip's mean power to the piece's own. A
    front end that normalises clips normalises the mixture. Targets belong to the clean clip, which is the reference.

    Attributes:
        noise_share: probability of noise in a mixed clip.
        speech_db: range of the ratio for another utterance.
        noise_db: range of the ratio for noise.
        longest: greatest length of the piece as a share of the clip; lengths are uniform up to this.
    """

    p: Share = 0.2
    noise_share: Share = 0.1
    speech_db: Decibels = (-5.0, 5.0)
    noise_db: Decibels = (-5.0, 20.0)
    longest: ShareAboveZero = 0.5

    def __post_init__(self) -> None:
        check_ranges(self, "speech_db", "noise_db")


class UtteranceMix(WaveOp):
    """Adds a piece.

    Certificate: `partner` (row in the batch; -1: noise, or none), `noise` bool, `mix_db`, `mix_start` and
    `mix_seconds`: where in the clip the piece lies.
    """

    config: UtteranceMixConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        config, rows = self.config, len(audio)
        noise = torch.rand(rows, generator=generator) < config.noise_share
        partner = draw_partners(rows, generator)
        speech_db = between(*config.speech_db, rows, generator)
        noise_db = between(*config.noise_db, rows, generator)
        clip = audio.lengths.cpu() / audio.rate
        seconds = between(0.0, config.longest, rows, generator) * clip
        start = torch.rand(rows, generator=generator) * (clip - seconds)
        return {
            "partner": torch.where(noise, -1, partner),
            "noise": noise,
            "mix_db": torch.where(noise, noise_db, speech_db),
            "mix_start": start,
            "mix_seconds": seconds,
            "_from": torch.rand(rows, generator=generator, dtype=torch.float64),
        }

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave = clips.wave
        other = circular(context.batch, drawn["partner"], drawn["_from"], wave)
        noise = drawn["noise"]
        if noise.any():
            other = torch.where(noise.to(wave.device)[:, None], unit_noise(wave, context.generator), other)
        first = along(drawn["mix_start"] * clips.rate, wave).round()
        length = along(drawn["mix_seconds"] * clips.rate, wave).round()
        place = torch.arange(wave.shape[1], device=wave.device)
        piece = other * ((place >= first) & (place < first + length))
        return wave + at_ratio(clips, piece, length[:, 0], drawn["mix_db"])


def draw_partners(rows: int, generator: torch.Generator) -> Tensor:
    """Return for each of `rows` clips the row of another one, drawn uniformly, `(rows,)`; -1: there is none."""
    if rows < 2:
        return torch.full((rows,), -1)
    away = torch.randint(1, rows, (rows,), generator=generator)
    return (torch.arange(rows) + away) % rows


def circular(batch: Audio, partner: Tensor, start: Tensor, wave: Tensor) -> Tensor:
    """Return the partners' samples `(R, S)`, wrapped around at their ends; zeros where the partner is -1.

    Args:
        batch: the clips.
        partner: `(R,)` rows of the batch.
        start: `(R,)` float64, start of each as a share of its length.
        wave: `(R, S)` with the shape and device of the result.
    """
    lengths = batch.lengths.cpu()[partner].clamp(min=1)
    first = (start * lengths).long()
    place = torch.arange(wave.shape[1], device=wave.device)
    source = (first.to(wave.device)[:, None] + place) % lengths.to(wave.device)[:, None]
    found = batch.wave[partner.to(wave.device)].gather(1, source)
    return found * (partner >= 0).to(wave.device)[:, None]


def at_ratio(clips: Audio, other: Tensor, samples: Tensor, ratio_db: Tensor) -> Tensor:
    """Return `other (R, S)` scaled for the clip's mean power to be `ratio_db (R,)` above its own; silence stays silent.

    Args:
        clips: the clips that `other` is added to.
        other: zero outside the piece.
        samples: `(R,)` length of the piece.
        ratio_db: in dB.
    """
    power, added = mean_power(clips.wave, clips.lengths), mean_power(other, samples)
    factor = (power / added.clamp(min=1e-20)).sqrt() * 10 ** (-along(ratio_db, other) / 20)
    return other * torch.where(added > 1e-20, factor, 0.0)
