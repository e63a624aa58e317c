"""Corruptions of an encoder's input features, frame by frame, before any tokenizer: masked acoustic models.

Letters in shapes: B clips, T frames, F bands. Frames of padding are never altered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.config import Config, Count, InnerShare, Natural, Positive, Share
from auricle.errors import ConfigError
from auricle.objectives.distributed import rand_rows
from auricle.objectives.masks.exact_choice import ranks
from auricle.objectives.masks.spans import bernoulli_spans, widen


@dataclass(frozen=True)
class Corrupted:
    """Features after corruption.

    Attributes:
        features: input of the encoder.
        altered: `(B, T, F)` bool on the features' device, True where an element was chosen: where the loss is computed.
            A method may leave chosen elements as they were.
    """

    features: Features
    altered: Tensor


@dataclass(frozen=True)
class CorruptionConfig(Config, ABC, section="corruption"):
    """Base of the settings of corruptions; they have no state, so the settings apply themselves."""

    def apply(self, features: Features, generator: torch.Generator) -> Corrupted:
        """Alter a batch; all randomness is drawn on the CPU, for the batches of all ranks.

        Args:
            features: `(B, T, F)`, normalised.
            generator: in the same state on every rank.

        Raises:
            ConfigError: the features are no spectrogram.
        """
        if features.x.dim() != 3:
            raise ConfigError(
                f"{type(self).__name__} alters spectrograms (B, T, F), found features of shape "
                f"{tuple(features.x.shape)}; use a spectral front end"
            )
        frame = torch.arange(features.x.shape[1])
        return self.alter(features, frame < features.lengths.cpu().unsqueeze(1), generator)

    @abstractmethod
    def alter(self, features: Features, valid: Tensor, generator: torch.Generator) -> Corrupted:
        """Alter a batch whose valid frames `(B, T)` are known, on the CPU."""


@dataclass(frozen=True)
class DiceSpansConfig(CorruptionConfig):
    """Chooses spans of frames; all spans of a clip are treated alike, by one draw for each clip.

    round(T * share / span) spans, at least one, start at different frames of the first T - span of a clip of T frames;
    they may overlap. With probability `zero` they are set to zero (the mean, after normalisation), with probability
    `swap` each is replaced by another span of the same clip, otherwise they stay as they are. All are to be predicted.
    Source: Mockingjay (arXiv 1910.12638, section 2.2), TERA's time alteration (2007.06028, section 3.2), numbers of
    s3prl's code. Deviation: clips too short for a span by the formula get one as well, cut at their end.

    Attributes:
        share: nominal share of the frames in spans.
        span: frames in a span.
        zero: probability that a clip's spans are set to zero.
        swap: probability that they are replaced by other frames of the clip.
    """

    share: InnerShare = 0.15
    span: Count = 7
    zero: Share = 0.8
    swap: Share = 0.1

    def __post_init__(self) -> None:
        if self.zero + self.swap > 1:
            raise ConfigError(
                f"corruption.zero is {self.zero} and corruption.swap is {self.swap}; expected a sum of at most 1"
            )

    def alter(self, features: Features, valid: Tensor, generator: torch.Generator) -> Corrupted:
        x, (rows, frames) = features.x, valid.shape
        length = valid.sum(1, keepdim=True)
        places = (length - self.span).clamp(min=1)
        count = torch.minimum((length * self.share / self.span).round().long().clamp(min=1), places)
        frame = torch.arange(frames).expand(rows, -1)
        order, dice, source = (rand_rows(generator, rows, numbers) for numbers in (frames, 1, frames))
        allowed = frame < places
        starts = (ranks(order, allowed) < count) & allowed & valid
        chosen = widen(starts, self.span) & valid
        # Where spans overlap, the later one decides what replaces a frame.
        latest = torch.where(starts, frame, -1).cummax(1).values.clamp(min=0)
        origin = (source.gather(1, latest) * places).long() + frame - latest
        origin = torch.where(chosen & (dice >= self.zero), torch.minimum(origin, (length - 1).clamp(min=0)), frame)
        chosen, swapped = chosen.to(x.device), dice.to(x.device) < self.zero + self.swap
        origin, blank = origin.to(x.device), chosen & (dice < self.zero).to(x.device)
        other = x.gather(1, origin.unsqueeze(2).expand_as(x))
        altered = torch.where((chosen & swapped).unsqueeze(2), other, x).masked_fill(blank.unsqueeze(2), 0.0)
        return Corrupted(replace(features, x=altered), chosen.unsqueeze(2).expand_as(x))


@dataclass(frozen=True)
class ChannelBandConfig(CorruptionConfig):
    """Sets a band of neighbouring channels to zero over a whole clip.

    Its width is uniform over 0 ... floor(F * widest), its place uniform; a width of 0 alters nothing. Source: TERA
    (arXiv 2007.06028, section 3.3), with widest 0.2, and s3prl's code.

    Attributes:
        widest: greatest width, as a share of the F bands.
    """

    widest: InnerShare = 0.2

    def alter(self, features: Features, valid: Tensor, generator: torch.Generator) -> Corrupted:
        rows, bands = valid.shape[0], features.x.shape[2]
        most = int(bands * self.widest)
        width = (rand_rows(generator, rows, 1) * (most + 1)).long()
        first = (rand_rows(generator, rows, 1) * (bands - width)).long()
        band = torch.arange(bands)
        chosen = ((band >= first) & (band < first + width)).unsqueeze(1) & valid.unsqueeze(2)
        chosen = chosen.to(features.x.device)
        return Corrupted(replace(features, x=features.x.masked_fill(chosen, 0.0)), chosen)


@dataclass(frozen=True)
class MagnitudeNoiseConfig(CorruptionConfig):
    """Adds Gaussian noise to all elements of some clips.

    Source: TERA (arXiv 2007.06028, section 3.4): probability 0.15, N(0, 0.2). Deviation: one draw for each clip
    (s3prl's code draws once for the whole batch).

    Attributes:
        probability: that a clip gets noise.
        std: standard deviation of the noise, in units of the normalised features.
        marks: whether a noisy clip counts as altered everywhere, as in the paper's union; False: as in s3prl's code,
            where the loss is that of the elements chosen by other corruptions.
    """

    probability: Share = 0.15
    std: Positive = 0.2
    marks: bool = True

    def alter(self, features: Features, valid: Tensor, generator: torch.Generator) -> Corrupted:
        x, rows = features.x, valid.shape[0]
        noisy = (rand_rows(generator, rows, 1) < self.probability) & valid
        noise = _noise(generator, features, noisy.any(1)) * self.std
        noise = noise.masked_fill(~noisy.unsqueeze(2).to(x.device), 0.0)
        chosen = noisy if self.marks else torch.zeros_like(noisy)
        return Corrupted(replace(features, x=x + noise), chosen.to(x.device).unsqueeze(2).expand_as(x))


@dataclass(frozen=True)
class NoiseFillConfig(CorruptionConfig):
    """Replaces spans of frames by Gaussian noise; a span starts at every frame with a given probability.

    Source: BEST-RQ (arXiv 2202.01855, section 4): probability 0.01, spans of 400 ms, N(0, 0.1); w2v-BERT (2108.06209)
    likewise with 0.065. Deviation: a clip that draws no start gets one (`min_spans`); 0: as published.

    Attributes:
        start: probability that a span starts at a frame.
        length: frames in a span.
        std: standard deviation of the noise.
        min_spans: least number of spans in a clip.
    """

    start: InnerShare = 0.01
    length: Count = 40
    std: Positive = 0.1
    min_spans: Natural = 1

    def alter(self, features: Features, valid: Tensor, generator: torch.Generator) -> Corrupted:
        x, (rows, frames) = features.x, valid.shape
        spans = bernoulli_spans(rand_rows(generator, rows, frames), self.start, self.length, self.min_spans, valid)
        noise = _noise(generator, features, spans.any(1)) * self.std
        chosen = spans.to(x.device).unsqueeze(2).expand_as(x)
        return Corrupted(replace(features, x=torch.where(chosen, noise, x)), chosen)


@dataclass(frozen=True)
class CorruptionChainConfig(CorruptionConfig):
    """Applies several corruptions one after the other; an element counts as chosen if any of them chose it (TERA).

    Attributes:
        parts: the corruptions, in their order.
    """

    parts: tuple[CorruptionConfig, ...] = (DiceSpansConfig(), ChannelBandConfig(), MagnitudeNoiseConfig())

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("corruption.parts is empty; expected at least one corruption")

    def alter(self, features: Features, valid: Tensor, generator: torch.Generator) -> Corrupted:
        made = self.parts[0].alter(features, valid, generator)
        for part in self.parts[1:]:
            more = part.alter(made.features, valid, generator)
            made = Corrupted(more.features, made.altered | more.altered)
        return made


def _noise(generator: torch.Generator, features: Features, wanted: Tensor) -> Tensor:
    """Return standard normal numbers of the features' shape, zeros in clips `(B,)` that want none.

    Each clip has its own seed: drawing the numbers of all ranks would take W times as long.
    """
    halves = (rand_rows(generator, len(wanted), 2).double() * 2**24).long()
    noise = torch.zeros(features.x.shape)
    own = torch.Generator()
    for row, (high, low), wants in zip(noise, halves.tolist(), wanted.tolist(), strict=True):
        if wants:
            row.normal_(generator=own.manual_seed(high * 2**24 + low))
    return noise.to(features.x.device, features.x.dtype)
