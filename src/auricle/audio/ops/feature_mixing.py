"""Operators that mix log-mel features of several clips: log-mixup-exp with a memory bank, element-wise maximum.

Letters in shapes: B clips, T frames, F mel bands, N entries of the bank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.ops.feature_op import FeatureOp, FeatureOpConfig, remade
from auricle.config import Count, Natural, NonNegative, ShareAboveZero
from auricle.errors import ConfigError


@dataclass(frozen=True)
class LogMixupExpConfig(FeatureOpConfig):
    """Mixing with a clip of an earlier batch in the exponential domain (BYOL-A, arXiv 2103.06695, 2204.07402).

    y = ln((1 - l) exp(x) + l exp(m) + eps), l uniform in 0 ... ratio, m drawn uniformly from a bank of earlier inputs.
    `exp` acts on the normalised log-mel, so this is a compressed mix, not a sum of energies.

    Deviation from the release, which stores every clip twice and may mix a clip with itself: a batch enters the bank
    once, after all its views are made, so the bank never holds the current batch.

    Attributes:
        ratio: the largest share of the other clip: 0.2 (version 2), 0.4 (version 1).
        entries: clips in the bank, the newest; memory is entries * T * F * 4 bytes.
    """

    ratio: ShareAboveZero = 0.2
    entries: Count = 2048


class LogMixupExp(FeatureOp):
    """Mixes with clips of earlier batches; certificate: `mix_ratio`, 0 in the first batch, when the bank is empty.

    The bank is made after the first batch and saved in `state_dict` from then on. In eval mode it is read-only.

    Attributes:
        bank: `(N, T, F)`; `(0, 0, F)` during the first batch.
        filled: number of entries that hold clips, int64.
        next: the next entry to overwrite, int64.
    """

    config: LogMixupExpConfig
    grows: ClassVar[frozenset[str]] = frozenset({"bank"})
    bank: Tensor
    filled: Tensor
    next: Tensor

    def __init__(self, config: LogMixupExpConfig, frontend: SpectralFrontEnd) -> None:
        super().__init__(config, frontend)
        self.register_buffer("bank", torch.zeros(0, 0, frontend.width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))
        self._pending: Tensor | None = None  # kept by `forward` for `finish`

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        x = features.x
        ratio = self.config.ratio * torch.rand(len(x), generator=generator)
        pick = torch.rand(len(x), generator=generator)
        if self._pending is None and self.training:
            self._pending = x
        if not self.bank.shape[0]:
            return features, {"mix_ratio": torch.zeros_like(ratio)}
        if self.bank.shape[1] != x.shape[1]:
            raise ConfigError(
                f"log-mixup's bank holds clips of {self.bank.shape[1]} frames and met clips of {x.shape[1]}; "
                "crop all clips to the same length (crop.seconds)"
            )
        # `filled` stays on the device, so that picking an entry does not block the host.
        entry = (pick.to(x.device) * self.filled).long().minimum(self.filled - 1)
        mixed = log_mixup_exp(x, self.bank[entry].to(x), ratio.to(x)[:, None, None])
        return remade(features, mixed), {"mix_ratio": ratio}

    @torch.no_grad()
    def finish(self) -> None:
        if self._pending is None:
            return
        clips = self._pending[-self.config.entries :]
        self._pending = None
        if not self.bank.shape[0]:
            self.bank = clips.new_zeros(self.config.entries, *clips.shape[1:])
        place = (self.next + torch.arange(len(clips), device=self.bank.device)) % self.config.entries
        self.bank.index_copy_(0, place, clips.to(self.bank))
        self.next.copy_((self.next + len(clips)) % self.config.entries)
        self.filled.copy_((self.filled + len(clips)).clamp(max=self.config.entries))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The shape of the saved bank depends on the clips' length, which is not in the settings.
        saved = state_dict.get(f"{prefix}bank")
        sizes = (0, self.config.entries)
        if isinstance(saved, Tensor) and saved.dim() == 3 and saved.shape[0] in sizes and saved.shape[2] == self.width:
            self.bank = self.bank.new_zeros(saved.shape)
            self._pending = None
        super()._load_from_state_dict(state_dict, prefix, *args)


def log_mixup_exp(x: Tensor, other: Tensor, share: Tensor | float) -> Tensor:
    """Return ln((1 - share) exp(x) + share exp(other) + eps), eps that of the precision."""
    return ((1 - share) * x.exp() + share * other.exp() + torch.finfo(x.dtype).eps).log()


@dataclass(frozen=True)
class PartialMaxMixConfig(FeatureOpConfig):
    """Element-wise maximum with another clip of the batch except in protected spans (SSLAM, arXiv 2506.12222).

    As in the paper: the batch is rolled, two spans of 240 of 1,024 frames are unmixed. Not specified: the batch is
    rolled by one; the spans never overlap, and are uniform otherwise.

    Attributes:
        protected: number of unmixed spans.
        fraction: length of each as a share of the clip's frames (240 / 1024).
    """

    protected: Natural = 2
    fraction: NonNegative = 240 / 1024

    def __post_init__(self) -> None:
        if self.protected * self.fraction >= 1:
            raise ConfigError(
                f"partial_max_mix.protected is {self.protected} spans of {self.fraction:g} of the clip; "
                "expected less than the whole clip together"
            )


class PartialMaxMix(FeatureOp):
    """Mixes by the maximum; certificate: `partner` `(B,)` (row in the batch; -1: none) and `mixed` `(B, T)` bool.

    Each clip is mixed with the one before it (the first with the last) where both have frames. A batch of one clip
    stays unchanged.
    """

    config: PartialMaxMixConfig

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        x = features.x
        rows, frames = x.shape[:2]
        mixed = self.draw(features.lengths.cpu(), frames, generator)
        if rows < 2:
            return features, {"partner": torch.full((rows,), -1), "mixed": torch.zeros_like(mixed)}
        partner = (torch.arange(rows) - 1) % rows
        lengths = features.lengths.cpu()
        mixed = mixed & (torch.arange(frames) < torch.minimum(lengths, lengths[partner])[:, None])
        louder = torch.maximum(x, x.roll(1, 0))
        made = torch.where(mixed.to(x.device)[..., None], louder, x)
        return remade(features, made), {"partner": partner, "mixed": mixed}

    def draw(self, lengths: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        """Return `(B, frames)` bool, False in the protected spans of clips of `lengths (B,)` frames."""
        count = self.config.protected
        size = (self.config.fraction * lengths).round().long()
        # The remaining frames are divided before, between and after the spans.
        uniform = torch.rand(len(lengths), count, generator=generator, dtype=torch.float64).sort(1).values
        first = (uniform * (lengths - count * size + 1)[:, None]).long() + torch.arange(count) * size[:, None]
        place = torch.arange(frames)
        inside = (place >= first[..., None]) & (place < (first + size[:, None])[..., None])
        return ~inside.any(1)
