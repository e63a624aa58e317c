"""Plans of the spectral augmentation: small arrays computed before any spectrum is read.

Letters in shapes: B clips, T frames, K frequency bins, F mel bands, M target bins of one bin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.audio.augment.draws import Draws
from auricle.audio.batch import Audio
from auricle.audio.frontends.spectral import SpectralFrontEnd


@dataclass(frozen=True)
class Plan:
    """The frames, weights and filters of one view of a batch.

    Attributes:
        frames: `(B,)` frames of each clip.
        index: `(B, T)` the frame of the circular clip that each frame of the view reads.
        earlier: `(B, T)` weight of that frame.
        later: `(B, T)` weight of the frame after it.
        stretched: whether the weights differ from 1 and 0.
        target: `(M, B, K)` bins that a bin's power moves to in a pitch shift.
        share: `(M, B, K)` factor of that power: gain, filters, the front end's colouring and the shift.
        ratio: of the pitch shift.
        level: amplitude of the noise, relative to the clip before its gain; 0: none.
        noise_start: the frame of the noise that is added to the first frame.
    """

    frames: Tensor
    index: Tensor
    earlier: Tensor
    later: Tensor
    stretched: list[bool]
    target: Tensor
    share: Tensor
    ratio: list[float]
    level: list[float]
    noise_start: list[int]

    def read(self, power: Tensor, clip: int, frames: int) -> Tensor:
        """Return the first frames of one clip's view from `(T, K)`."""
        index = self.index[clip, :frames]
        read = power.index_select(0, index)
        if self.stretched[clip]:
            after = (index + 1).clamp_(max=len(power) - 1)
            read.mul_(self.earlier[clip, :frames, None])
            read.addcmul_(power.index_select(0, after), self.later[clip, :frames, None])
        return read

    def read_batch(self, power: Tensor) -> Tensor:
        """Return the frames of all clips' views from `(B, T, K)`."""
        rows = torch.arange(len(power), device=power.device)[:, None]
        index = self.index.to(power.device).clamp(max=power.shape[1] - 1)
        after = (index + 1).clamp_(max=power.shape[1] - 1)
        read = power[rows, index] * self.earlier.to(power)[..., None]
        return read.addcmul_(power[rows, after], self.later.to(power)[..., None])

    def filters(self, coloured: Tensor, rows: slice) -> Tensor:
        """Fold all factors into mel filters `(K, F)`: `(B, K, F)`."""
        target, share = self.target[:, rows].to(coloured.device), self.share[:, rows].to(coloured)
        B, K = target.shape[1:]
        folded = coloured.new_zeros(B * K, coloured.shape[1])
        for bins, weights in zip(target, share, strict=True):
            folded.addcmul_(coloured.index_select(0, bins.flatten()), weights.reshape(-1, 1))
        return folded.unflatten(0, (B, K))


class Planner:
    """Makes plans for one front end.

    Attributes:
        lead: frames that a circular clip has before the clip's own first frame.
        white: `(K,)` float64 power of white noise in each bin.
    """

    def __init__(self, frontend: SpectralFrontEnd) -> None:
        before = frontend.margin / 2
        self._frontend = frontend
        self._first_centre = frontend.window_samples / 2 - before
        # Frames that begin before the clip read the circular clip, too.
        self.lead = math.ceil(before / frontend.hop_samples)
        # Offset removal leaves almost no power at 0 Hz; dividing by it would amplify rounding errors.
        white = frontend.white_noise_power()
        self.white = torch.from_numpy(white.clip(min=1e-6 * white.max()))

    def plan(self, audio: Audio, draws: Draws, energy: Tensor | None) -> Plan:
        """Plan a view of the batch; `energy` is that of the clips, None if no view has noise."""
        front = self._frontend
        lengths = audio.lengths.cpu()
        index, earlier, later = self._reading(lengths, front.frames(audio.wave.shape[1]), draws)
        target, share = self._folding(draws)
        level = torch.zeros(len(lengths))
        if energy is not None:
            level = _noise_levels(energy, lengths, draws, front.hop_samples)
        return Plan(
            frames=torch.tensor([front.frames(samples) for samples in lengths.tolist()]),
            index=index,
            earlier=earlier,
            later=later,
            stretched=(~draws.rate.isnan()).tolist(),
            target=target,
            share=share,
            ratio=draws.pitch_ratio.tolist(),
            level=level.tolist(),
            noise_start=(draws.noise_start / front.hop_samples).round().long().tolist(),
        )

    def energy(self, audio: Audio) -> Tensor:
        """Return the energy of each clip up to each hop, `(B, hops + 1)` float64 on the CPU."""
        hop = self._frontend.hop_samples
        B, S = audio.wave.shape
        energy = audio.wave.new_zeros(B, -(-S // hop) + 1)
        for part, wave in zip(energy[:, 1:].split(1), audio.wave.split(1), strict=True):
            padded = nn.functional.pad(wave, (0, -S % hop)) if S % hop else wave
            torch.linalg.vector_norm(padded.unflatten(1, (-1, hop)), dim=2, out=part)
        return energy.cpu().double().square().cumsum(1)

    def _reading(self, lengths: Tensor, frames: int, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Return the frame of the circular clip that each frame reads, its weight and the next one's, `(B, T)`."""
        front = self._frontend
        W, hop, end = front.window_samples, front.hop_samples, self._first_centre
        L = lengths.double()[:, None]
        speed = draws.speed[:, None]
        stretched = ~draws.rate.isnan()[:, None]
        frame = torch.arange(frames, dtype=torch.float64)
        centre = frame * hop + self._first_centre
        source = centre * speed
        # A stretched clip has ends: no frame reads beyond them around the circle.
        source = torch.where(stretched, source.clamp(min=end).minimum((L - end).clamp(min=end)), source)
        position = (source - self._first_centre) / hop
        if rolled([draws]):
            position = (position - draws.roll[:, None] / hop).remainder(L / hop)
            position = torch.where(stretched, position, position.round()) + self.lead
        position = torch.where(L >= W, position, frame)
        inside = torch.where(stretched, _hann_energy((L / speed - centre) / W + 0.5), 1.0)
        index = position.floor()
        later = (position - index) * inside
        earlier = inside - later
        return index.long(), earlier.float(), later.float()

    def _folding(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the target bins of each bin in a pitch shift, and the share of each, `(M, B, K)`.

        After the shift, bin k holds the power at k / ratio, between two bins; power per hertz falls by the ratio as the
        spectrum widens. So bin j moves to the bins k with |k / ratio - j| < 1, of which there are at most
        ceil(2 ratio).
        """
        front = self._frontend
        K = front.bins
        bins = torch.arange(K, dtype=torch.float64)
        gains = draws.response(bins * (front.rate / front.n_fft), front.rate).abs().square()
        gains *= (draws.amplitude * draws.level).square()[:, None]
        ratio = draws.pitch_ratio[:, None]
        first = (ratio * (bins - 1)).floor() + 1
        target = first + torch.arange(math.ceil(2 * float(ratio.max())))[:, None, None]
        source = target / ratio
        share = (1 - (source - bins).abs()).clamp(min=0.0)
        share = share * ((target >= 0) & (target < K) & (source <= K - 1)) * gains / (ratio * self.white)
        return target.clamp(0, K - 1).long(), share.float()


def rolled(draws: Sequence[Draws]) -> bool:
    """Return whether frames are read around the circle: all clips are rolled, or none."""
    return not any(bool(view.roll.isnan().any()) for view in draws)


def _noise_levels(energy: Tensor, lengths: Tensor, draws: Draws, hop: int) -> Tensor:
    """Return the amplitude of each clip's noise relative to the clip before its gain, `(B,)`.

    It is relative to the mean power of the clip after the stretch: without the end that a slow clip loses, and with the
    silence after a fast one.
    """
    L = lengths.double()

    def until(sample: Tensor) -> Tensor:
        place = sample / hop
        block = place.floor().long().clamp(max=energy.shape[1] - 2)
        left = energy.gather(1, block[:, None])[:, 0]
        right = energy.gather(1, block[:, None] + 1)[:, 0]
        return left + (right - left) * (place - block)

    start = (-torch.nan_to_num(draws.roll)).remainder(L)
    seen = L * draws.speed.clamp(max=1.0)
    end = start + seen
    inside = until(end.minimum(L)) - until(start) + until((end - L).clamp(min=0.0))
    mean = torch.where(seen >= L, energy[:, -1], inside) / draws.speed / L
    return mean.clamp(min=0.0).sqrt() * draws.noise_ratio


def _hann_energy(x: Tensor) -> Tensor:
    """Return the share of a Hann window's energy left of x, for a window over 0 to 1."""
    x = x.clamp(0.0, 1.0)
    turn = 2 * math.pi * x
    return x - (4 / 3) * turn.sin() / (2 * math.pi) + (1 / 3) * (2 * turn).sin() / (4 * math.pi)
