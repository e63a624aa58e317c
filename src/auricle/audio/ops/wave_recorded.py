"""Operators with recordings of a folder: noise or other sounds added to a clip, and rooms by their impulse responses.

Letters in shapes: R chosen clips, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.ops.recordings import Recordings, located
from auricle.audio.ops.wave_mixing import at_ratio
from auricle.audio.ops.wave_op import Context, Drawn, WaveOp, WaveOpConfig, between, mean_power, valid_samples
from auricle.audio.ranges import Decibels, check_ranges
from auricle.config import Positive, Share

_ROWS = 16
"""Clips that are convolved at once: their spectra fit a processor's cache."""


@dataclass(frozen=True)
class RecordedNoiseConfig(WaveOpConfig):
    """A stretch of a recording from a folder, added to the whole clip: noise, or other sounds to mix it with.

    Files, and where in them a stretch begins, are drawn uniformly. A recording shorter than the clip is repeated.

    Attributes:
        folder: folder of the recordings, with those below it; empty: the operator is off.
        snr_db: range of the ratio of the clip's mean power to the stretch's, in dB.
    """

    p: Share = 0.5
    folder: str = ""
    snr_db: Decibels = (0.0, 20.0)

    def __post_init__(self) -> None:
        check_ranges(self, "snr_db")
        object.__setattr__(self, "folder", located(self.folder, "augment.noise.folder"))


class RecordedNoise(WaveOp):
    """Adds a recording; certificate: `noise_file` (its number in the order of names, -1: none), `noise_db`."""

    config: RecordedNoiseConfig

    def __init__(self, config: RecordedNoiseConfig) -> None:
        super().__init__(config)
        self.recordings = Recordings(config.folder, "augment.noise.folder")

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        rows = len(audio)
        return {
            "noise_file": torch.randint(len(self.recordings), (rows,), generator=generator),
            "noise_db": between(*self.config.snr_db, rows, generator),
            "_from": torch.rand(rows, generator=generator, dtype=torch.float64),
        }

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        other = torch.zeros(clips.wave.shape)
        draws = zip(drawn["noise_file"].tolist(), drawn["_from"].tolist(), clips.lengths.tolist(), strict=True)
        for row, (file, share, samples) in enumerate(draws):
            other[row, :samples] = torch.from_numpy(self.recordings.stretch(file, share, samples, clips.rate))
        return clips.wave + at_ratio(clips, other.to(clips.wave), clips.lengths, drawn["noise_db"])


@dataclass(frozen=True)
class RecordedRoomConfig(WaveOpConfig):
    """Reverberation by an impulse response from a folder, its first channel; silent ones are skipped.

    What lies before the response's largest magnitude, the direct sound, is cut off, so that clips do not move in time;
    a clip keeps its mean power.

    Attributes:
        folder: folder of the impulse responses, with those below it; empty: the operator is off.
        longest: seconds of a response that are used, from its direct sound on.
    """

    p: Share = 0.5
    folder: str = ""
    longest: Positive = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", located(self.folder, "augment.room.folder"))


class RecordedRoom(WaveOp):
    """Puts a clip into a room; certificate: `room_file` (its number in the order of names, -1: none)."""

    config: RecordedRoomConfig

    def __init__(self, config: RecordedRoomConfig) -> None:
        super().__init__(config)
        self.recordings = Recordings(config.folder, "augment.room.folder", channel=0, audible=True)

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        return {"room_file": torch.randint(len(self.recordings), (len(audio),), generator=generator)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        rooms = [self._response(file, clips.rate) for file in drawn["room_file"].tolist()]
        made = torch.cat(
            [
                convolved(dry, rooms[first : first + _ROWS])
                for first, dry in zip(range(0, len(rooms), _ROWS), clips.wave.split(_ROWS), strict=True)
            ]
        )
        before, after = (mean_power(wave, clips.lengths) for wave in (clips.wave, made * valid_samples(clips)))
        return made * (before / after.clamp(min=1e-20)).sqrt()

    def _response(self, file: int, rate: int) -> np.ndarray:
        """Return a response `(L,)` from its direct sound on."""
        wave = self.recordings.whole(file, rate)
        direct = int(np.abs(wave).argmax())
        return wave[direct : direct + max(1, round(self.config.longest * rate))]


def convolved(wave: Tensor, responses: list[np.ndarray]) -> Tensor:
    """Return clips `(R, S)` convolved with one response `(L,)` each, cut to their length."""
    samples, longest = wave.shape[1], max(len(response) for response in responses)
    rooms = wave.new_zeros(len(responses), longest)
    for row, response in enumerate(responses):
        rooms[row, : len(response)] = torch.from_numpy(response).to(wave)
    n = scipy.fft.next_fast_len(samples + longest, real=True)
    return torch.fft.irfft(torch.fft.rfft(wave, n=n) * torch.fft.rfft(rooms, n=n), n=n)[:, :samples]
