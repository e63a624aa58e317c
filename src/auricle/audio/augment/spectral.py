"""The augmentation chain on power spectra: one short-time transform per clip serves all its views.

With P the power spectrum of the clip, made circular so that frames across the seam of a roll exist:

* roll and time stretch re-read the frames of P: the nearest frame after a roll alone, between two frames in a stretch;
* gain, level, high-pass and band-stop multiply by their squared magnitude responses; polarity has no effect;
* noise adds its own spectrum N, |sqrt(P) + N|^2: that of the sum of both waveforms but for the phase between them,
  which stays random;
* a pitch shift reads frequency k at k / ratio, after dividing by the power of white noise there: this removes the front
  end's own colouring (pre-emphasis, offset removal) before the shift and restores it afterwards.

All steps but the re-reading and the noise are linear in P and the same for all frames, so they are folded into the mel
filters: a view costs one product of P with its own filters. The order is the published one: noise comes between the
stretch and the level.

Letters in shapes: B clips, T frames, K frequency bins, F mel bands.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auricle.audio.augment.draws import Draws, Noise
from auricle.audio.augment.plan import Planner, rolled
from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.spectral import SpectralFrontEnd

_MEL_BLOCKS = 4
"""Blocks of mel bands multiplied separately on the CPU: each has weights in a narrow range of bins only."""

_ROWS = 256
"""Clips processed at once on an accelerator: a few gigabytes at ten seconds."""


class SpectralChain:
    """The chain for one front end.

    Attributes:
        frontend: the front end whose frames and mel filters are used.
    """

    def __init__(self, frontend: SpectralFrontEnd) -> None:
        self.frontend = frontend
        self._planner = Planner(frontend)
        filters = torch.from_numpy(frontend.filters)
        self._coloured = (filters * self._planner.white[:, None]).float()
        self._blocks = _blocks(filters)

    def __call__(self, audio: Audio, draws: Sequence[Draws], noise: Noise) -> tuple[Features, ...]:
        """Return the normalised features of each view."""
        if audio.wave.device.type == "cpu":
            return self._clip_by_clip(audio, draws, noise)
        parts = []
        for first in range(0, len(audio), _ROWS):
            rows = slice(first, first + _ROWS)
            parts.append(self._batched(audio[rows], [view[rows] for view in draws], noise))
        return tuple(_joined(views) for views in zip(*parts, strict=True))

    def _clip_by_clip(self, audio: Audio, draws: Sequence[Draws], noise: Noise) -> tuple[Features, ...]:
        """Do all steps of all views of each clip while it is in the cache."""
        front = self.frontend
        energy = self._planner.energy(audio) if noise.wave.shape[1] else None
        plans = [self._planner.plan(audio, view, energy) for view in draws]
        noise_real, noise_imag = self._noise_spectrum(noise)
        zero, one = self._affine()
        circular = rolled(draws)
        outs = [audio.wave.new_empty(len(audio), plan.index.shape[1], front.width) for plan in plans]
        for i, (length, n) in enumerate(zip(audio.lengths.tolist(), plans[0].frames.tolist(), strict=True)):
            wave = audio.wave[i, :length]
            clip = self._circular_clip(wave) if circular else wave
            power = front.power(Audio(clip[None], torch.tensor([len(clip)]), audio.rate)).power[0]
            for plan, out in zip(plans, outs, strict=True):
                ratio = plan.ratio[i]
                filters = plan.filters(self._coloured, slice(i, i + 1))[0]
                if plan.level[i] > 0:
                    read = plan.read(power, i, n)
                    first = plan.noise_start[i]
                    _add_noise(read, noise_real[first : first + n], noise_imag[first : first + n], plan.level[i])
                    energies = self._product(read, filters, ratio)
                else:
                    # Reading is linear as well, and mel bands are fewer than bins.
                    energies = plan.read(self._product(power, filters, ratio), i, n)
                torch.add(zero, front.log_(energies), alpha=one, out=out[i, :n])
                out[i, n:] = zero
        counts = plans[0].frames
        return tuple(Features(x, counts, front.frame_rate, float(zero)) for x in outs)

    def _batched(self, audio: Audio, draws: Sequence[Draws], noise: Noise) -> tuple[Features, ...]:
        """Do each step of some clips together, for accelerators."""
        front, device = self.frontend, audio.wave.device
        energy = self._planner.energy(audio) if noise.wave.shape[1] else None
        power = front.power(self._circular_batch(audio) if rolled(draws) else audio).power
        coloured = self._coloured.to(power)
        parts = self._noise_spectrum(Noise(noise.wave.to(device)))
        views = []
        for plan in (self._planner.plan(audio, view, energy) for view in draws):
            T = plan.index.shape[1]
            read = plan.read_batch(power)
            rows = [i for i, level in enumerate(plan.level) if level > 0]
            if rows:
                places = torch.tensor([plan.noise_start[i] for i in rows])[:, None] + torch.arange(T)
                places = places.clamp(max=len(parts[0]) - 1).to(device)
                level = torch.tensor([plan.level[i] for i in rows])[:, None, None].to(power)
                noisy = read[rows]
                _add_noise(noisy, parts[0][places] * level, parts[1][places] * level, 1.0)
                read[rows] = noisy
            energies = torch.bmm(read, plan.filters(coloured, slice(None)))
            raw = Features(front.log(energies), plan.frames.to(device), front.frame_rate)
            view = front.normalise(raw)
            beyond = (torch.arange(T) >= plan.frames[:, None]).to(device)[..., None]
            views.append(Features(view.x.masked_fill(beyond, view.pad), view.lengths, view.rate, view.pad))
        return tuple(views)

    def _affine(self) -> tuple[Tensor, float]:
        """Return the front end's normalised 0, and the difference to its normalised 1."""
        front = self.frontend
        ends = Features(torch.tensor([[[0.0], [1.0]]], dtype=torch.float64), torch.tensor([2]), front.frame_rate)
        zero, one = front.normalise(ends).x.flatten()
        return zero.float(), float(one - zero)

    def _circular_clip(self, wave: Tensor) -> Tensor:
        """Extend one clip `(S,)` circularly at both ends, so that frames across the seam of a roll exist.

        A clip shorter than a window is not extended: rolling its single zero-padded frame would change nothing.
        """
        front = self.frontend
        S = len(wave)
        if front.window_samples > S:
            return wave
        lead, more = self._ends()
        if max(lead, more) <= S:
            return torch.cat([wave[S - lead :], wave, wave[:more]])
        return wave[torch.arange(-lead, S + more) % S]

    def _ends(self) -> tuple[int, int]:
        """Return the samples added before and after a circular clip."""
        front = self.frontend
        return self._planner.lead * front.hop_samples, front.window_samples + 2 * front.hop_samples

    def _circular_batch(self, audio: Audio) -> Audio:
        """Do what `_circular_clip` does to a batch."""
        front = self.frontend
        lead, more = self._ends()
        B, S = audio.wave.shape
        lengths = audio.lengths[:, None]
        long = lengths >= front.window_samples
        place = torch.arange(lead + S + more, device=audio.wave.device)
        total = torch.where(long, lengths + lead + more, lengths)
        index = torch.where(long, (place - lead) % lengths.clamp(min=1), place.clamp(max=S - 1))
        return Audio(audio.wave.gather(1, index.expand(B, -1)) * (place < total), total[:, 0], audio.rate)

    def _noise_spectrum(self, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return real and imaginary parts of the noise's frames, `(T, K)` each."""
        front = self.frontend
        if noise.wave.shape[1] == 0:
            empty = noise.wave.new_empty(0, front.bins)
            return empty, empty
        frames = noise.wave[0].unfold(0, front.window_samples, front.hop_samples)
        spectrum = torch.fft.rfft(nn.functional.pad(front.frame_response(frames), (0, front.n_fft - frames.shape[1])))
        return spectrum.real.contiguous(), spectrum.imag.contiguous()

    def _product(self, power: Tensor, filters: Tensor, ratio: float) -> Tensor:
        """Multiply `(T, K)` with folded filters `(K, F)`, skipping the bins outside each block's bands."""
        energies = power.new_empty(power.shape[0], filters.shape[1])
        K = len(filters)
        for first, last, low, high in self._blocks:
            a = max(math.floor(low / ratio), 0)
            b = min(math.floor(high / ratio) + 2, K)
            torch.mm(power[:, a:b], filters[a:b, first:last], out=energies[:, first:last])
        return energies


def _joined(parts: Sequence[Features]) -> Features:
    lengths = torch.cat([part.lengths for part in parts])
    return Features(torch.cat([part.x for part in parts]), lengths, parts[0].rate, parts[0].pad)


def _add_noise(power: Tensor, real: Tensor, imag: Tensor, level: float) -> None:
    """Turn power P into |sqrt(P) + level * N|^2, in place."""
    power.sqrt_().add_(real, alpha=level).square_().addcmul_(imag, imag, value=level**2)


def _blocks(filters: Tensor) -> list[tuple[int, int, int, int]]:
    """Return `(first band, last band, lowest bin, highest bin)` of consecutive blocks of mel bands."""
    F = filters.shape[1]
    edges = [round(F * b / _MEL_BLOCKS) for b in range(_MEL_BLOCKS + 1)]
    blocks = []
    for first, last in itertools.pairwise(edges):
        bins = filters[:, first:last].any(1).nonzero()[:, 0]
        if last > first:
            low, high = (int(bins[0]), int(bins[-1])) if len(bins) else (0, 0)
            blocks.append((first, last, low, high))
    return blocks
