"""Samplers that mask spans of time steps: those of the wav2vec 2.0 family, and spans that start by chance.

The share that is really masked is smaller than the nominal one, because spans overlap: 49 % for p = 0.65 and 57 % for
p = 0.8 with spans of 10; 49 % for a start probability of 0.065 with spans of 10, 33 % for 0.01 with spans of 40.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.config import Count, InnerShare, Natural, ShareAboveZero
from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives import distributed
from auricle.objectives.masks.exact_choice import (
    columns,
    drawn,
    even_counts,
    filled,
    over_bands,
    padding_everywhere,
    padding_on,
    ranks,
    widest_grid,
)
from auricle.objectives.masks.token_mask import TokenMaskConfig


def widen(starts: Tensor, length: int) -> Tensor:
    """Return the steps `(B, T)` that lie in a span of `length` steps from any start `(B, T)`."""
    total = starts.to(torch.int32).cumsum(1)
    earlier = torch.zeros_like(total)
    if length < starts.shape[1]:
        earlier[:, length:] = total[:, :-length]
    return total > earlier


@dataclass(frozen=True)
class SpanMask(TokenMaskConfig):
    """Masks spans of `length` time steps, with all their bands, in the number that fairseq draws.

    A clip of T steps gets max(min_spans, floor(p * T / length + u)) spans, u uniform in [0, 1): one u for all clips,
    or one for each where some are padded. Starts are drawn without replacement from the first T - length steps (the
    very last possible span is never drawn, as in the original); spans may overlap, and never reach into padding. A clip
    hardly longer than a span may be masked entirely.

    With `same_count`, single masked frames are shown again at random until clips of equal length have equally many
    masked ones, over the batches of all ranks: spans get holes. Clips of other lengths keep their own number, so that
    padded ones take nothing from the others; a number is lowered only where lengths differ by less than numbers do
    (`exact_choice.even_counts`). fairseq trims all clips to the least number, after cropping them to one length, which
    gives the same. Some of the padding counts as masked, so that rows show equally many tokens.

    Source: wav2vec 2.0 (arXiv 2006.11477, section 3.1) and fairseq's `compute_mask_indices`. wav2vec 2.0 and data2vec:
    p 0.65, length 10; HuBERT, WavLM, DinoSR: p 0.8, length 10; MERT: p 0.8, length 5; ATST-Frame: p 0.65, length 5;
    data2vec 2.0's configuration for audio: p 0.5, length 5. SpeechBrain's BEST-RQ (0.15 starts per step, spans of 4) is
    p 0.6, length 4.

    Attributes:
        p: nominal share of the steps in spans, overlaps counted twice.
        length: time steps in a span.
        min_spans: least number of spans in a clip.
        same_count: whether clips of equal length have equally many masked frames, and all rows show equally many
            tokens, padding included; False: spans as they fall.
    """

    p: ShareAboveZero = 0.65
    length: Count = 10
    min_spans: Natural = 2
    same_count: bool = True

    @property
    def equal_count(self) -> bool:
        return self.same_count

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid)
        if wide.time <= self.length:
            raise ConfigError(_too_short("SpanMask", wide.time, self.length))
        first, every = distributed.rank() * rows, distributed.world() * rows
        # Numbers of masked frames are made equal in the global batch, so every rank draws the masks of all.
        steps = columns(padding_everywhere(padding_on(wide, valid, rows, grid), rows, wide), wide)
        length = torch.full((every,), wide.time) if steps is None else steps.sum(1)
        rounding = torch.rand(1 if steps is None else every, generator=generator)
        order = torch.rand(every, wide.time, generator=generator)
        masked = self._spans(length, rounding, order)
        if self.same_count:
            shown_again = torch.rand(every, wide.time, generator=generator)
            masked &= ranks(shown_again, masked) < even_counts(masked.sum(1), length).unsqueeze(1)
        if not bool(masked.any()):
            raise ConfigError(
                "SpanMask: no clip of the batch got a span, so nothing is masked; exclude shorter clips "
                "(--loader.shortest), or raise --objective.mask.p or --objective.mask.min-spans"
            )
        own = masked[first : first + rows, : grid.time]
        inside = columns(valid, grid)
        if self.same_count and inside is not None:
            own = ~filled(inside & ~own, inside)
        return over_bands(own, grid)

    def _spans(self, length: Tensor, rounding: Tensor, order: Tensor) -> Tensor:
        count = (self.p * length.double() / self.length + rounding.double()).long().clamp(min=self.min_spans)
        # Where spans hardly fit, fairseq lets them start so late that count + 1 places remain.
        places = torch.where(length - self.length <= count, count + 1, length - self.length)
        places = torch.minimum(places, length).unsqueeze(1)
        step = torch.arange(order.shape[1])
        allowed = step < places
        starts = (ranks(order, allowed) < torch.minimum(count.unsqueeze(1), places)) & allowed
        return widen(starts, self.length) & (step < length.unsqueeze(1))


@dataclass(frozen=True)
class BernoulliSpanMask(TokenMaskConfig):
    """Masks spans of `length` time steps, with all their bands, that start at every step with a given probability.

    Spans neither start in padding nor reach into it. Source: BEST-RQ (arXiv 2202.01855, section 4): 0.01 and 400 ms;
    w2v-BERT (2108.06209) as re-implemented in WeNet: 0.065 and 10 steps. Deviation: a clip that draws no start gets one
    (`min_spans`), because nothing can be learned from a batch without targets; at the published lengths that is one
    clip in 20,000.

    Attributes:
        start: probability that a span starts at a step.
        length: time steps in a span.
        min_spans: least number of spans in a clip; 0: as published.
    """

    start: InnerShare = 0.065
    length: Count = 10
    min_spans: Natural = 1

    @property
    def equal_count(self) -> bool:
        return False

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid)
        if wide.time <= self.length:
            raise ConfigError(_too_short("BernoulliSpanMask", wide.time, self.length))
        steps = columns(valid, grid)
        noise = drawn(generator, rows, grid.time, wide.time)
        return over_bands(bernoulli_spans(noise, self.start, self.length, self.min_spans, steps), grid)


def bernoulli_spans(noise: Tensor, start: float, length: int, min_spans: int, valid: Tensor | None = None) -> Tensor:
    """Return the steps `(B, T)` in spans that start where uniform noise `(B, T)` lies below a probability.

    Args:
        noise: uniform numbers in [0, 1).
        start: probability of a start.
        length: steps in a span.
        min_spans: a row with fewer starts gets further ones, where its noise is lowest.
        valid: `(B, T)` bool, False for padding.
    """
    starts = noise < start
    allowed = torch.ones_like(starts) if valid is None else valid
    if min_spans:
        starts = starts | (ranks(noise, allowed) < min_spans)
    return widen(starts & allowed, length) & allowed


def _too_short(owner: str, steps: int, length: int) -> str:
    return (
        f"{owner}: found a grid of {steps} time steps, expected more than the {length} of one span, which would leave "
        "nothing visible; use longer clips or a smaller `length`"
    )
