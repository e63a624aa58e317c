"""The recordings of a folder that operators draw from: which there are, and stretches of them."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auricle.audio.decode import Channel, decode, probe
from auricle.audio.identify import AUDIO_SUFFIXES
from auricle.errors import AudioError, CheckpointError, ConfigError
from auricle.words import counted

_KEPT_BYTES = 1 << 28
"""Decoded samples that a process keeps, so that short recordings are decoded once."""
_WHOLE_SECONDS = 60.0
"""Longer recordings are decoded by stretches."""
_NAMED = 3


@dataclass(frozen=True)
class Listed:
    """A folder's recordings.

    Attributes:
        files: path and seconds of each, in the order of their names.
        skipped: a sentence about each audio file that can't be read, which names it.
        content: a number of 62 bits made of names and lengths.
    """

    files: tuple[tuple[Path, float], ...]
    skipped: tuple[str, ...]
    content: int


def located(folder: str, setting: str) -> str:
    """Return a folder's absolute path, so that settings mean the same one wherever they are read; empty stays empty.

    Raises:
        ConfigError: it begins with `~` and a user who has no home.
    """
    try:
        return folder and str(Path(folder).expanduser().absolute())
    except RuntimeError as error:
        raise ConfigError(
            f"{setting} is {folder}, and {Path(folder).parts[0]} is the home of no user here; set --{setting} to a "
            "folder of recordings"
        ) from error


def list_recordings(folder: str, setting: str) -> Listed:
    """List the audio files below a folder, hidden ones excepted; each one's header is read.

    Args:
        folder: path of the folder, as `located` returns it.
        setting: flag that named it, for errors.

    Raises:
        ConfigError: there is no such folder, or no recording that can be read in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"{setting} is {folder}, and there is no such folder; set --{setting} to one of recordings")
    files, skipped, others = [], [], 0
    digest = hashlib.sha256()
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(root, followlinks=True):
        place = Path(here).stat()
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(here) / name
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                others += 1
                continue
            try:
                info = probe(path)
            except AudioError as error:
                skipped.append(_said(error))
                continue
            files.append((path, info.seconds))
            where = path.relative_to(root).as_posix()
            digest.update(f"{where}\t{info.frames}\t{info.rate}\n".encode())
    if not files:
        found = [counted(others, "other file")] if others else []
        found += [f"{counted(len(skipped), 'audio file')} that can't be read ({skipped[0]})"] if skipped else []
        raise ConfigError(
            f"{setting} is {folder}, which holds no recording: found {' and '.join(found) or 'no file'}; set "
            f"--{setting} to a folder with audio files"
        )
    return Listed(tuple(files), tuple(skipped), int.from_bytes(digest.digest()[:8], "big") >> 2)


def _said(error: AudioError) -> str:
    """Return the message of an error, with advice for a folder: decoders speak of recordings of a corpus."""
    return str(error).replace("drop it from the corpus", "remove it from the folder")


class Recordings(nn.Module):
    """Recordings of a folder, decoded when they are needed; the most recent short ones stay in memory.

    What the folder holds is part of the state: a resumed run refuses another content, which would draw other sounds.

    Args:
        folder: path of the folder.
        setting: flag that named it, for errors.
        channel: that is read of files with several.
        audible: whether one whose samples are all 0 counts as damaged.
    """

    content: Tensor

    def __init__(self, folder: str, setting: str, channel: Channel = "mix", *, audible: bool = False) -> None:
        super().__init__()
        listed = list_recordings(folder, setting)
        self.files, self._setting, self._channel = listed.files, setting, channel
        self._audible = audible
        self.register_buffer("content", torch.tensor(listed.content))
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._damaged: set[int] = set()

    def __len__(self) -> int:
        return len(self.files)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        kept = state_dict.get(f"{prefix}content")
        if kept is not None and int(kept) != int(self.content):
            raise CheckpointError(
                f"the recordings of {self._setting} have changed since the checkpoint: found {len(self)} of them with "
                "other names or lengths; restore the folder, or train anew with another --out"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def whole(self, index: int, rate: int) -> np.ndarray:
        """Return a recording, `(S,)` float32.

        One that turns out to be damaged is passed over, with a warning: the next in order takes its place.

        Raises:
            ConfigError: none can be decoded.
        """
        return self._readable(index, lambda number: self._whole(number, rate))

    def _whole(self, index: int, rate: int) -> np.ndarray:
        if (index, rate) in self._kept:
            self._kept.move_to_end((index, rate))
            return self._kept[index, rate]
        wave = decode(self.files[index][0], rate=rate, channel=self._channel)
        if self._audible and not wave.any():
            raise AudioError("silent: every sample is 0; remove it from the folder", cause="silent")
        self._kept[index, rate] = wave
        self._bytes += wave.nbytes
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return wave

    def stretch(self, index: int, share: float, samples: int, rate: int) -> np.ndarray:
        """Return `samples` of a recording from a random place, `(samples,)` float32.

        A recording that is shorter begins anywhere and is repeated from its start. Damaged ones as in `whole`.

        Args:
            index: of the recording.
            share: in [0, 1), the place, as a share of those that there are.
            samples: length of the result at `rate`.
            rate: sample rate in Hz.

        Raises:
            ConfigError: as `whole`.
        """
        return self._readable(index, lambda number: self._stretch(number, share, samples, rate))

    def _stretch(self, index: int, share: float, samples: int, rate: int) -> np.ndarray:
        path, seconds = self.files[index]
        if seconds > max(_WHOLE_SECONDS, samples / rate):
            start = share * (seconds - samples / rate)
            wave = decode(path, start=start, seconds=samples / rate, rate=rate, channel=self._channel)
            return np.resize(wave, samples)
        wave = self._whole(index, rate)
        if len(wave) > samples:
            first = int(share * (len(wave) - samples + 1))
            return wave[first : first + samples]
        return np.resize(np.roll(wave, -int(share * len(wave))), samples)

    def _readable(self, index: int, read: Callable[[int], np.ndarray]) -> np.ndarray:
        for number in (np.arange(len(self)) + index) % len(self):
            if int(number) in self._damaged:
                continue
            try:
                return read(int(number))
            except AudioError as error:
                self._damaged.add(int(number))
                warnings.warn(f"{self._setting}: skipped {self.files[number][0]}: {_said(error)}", stacklevel=2)
        raise ConfigError(
            f"none of the {counted(len(self), 'recording')} of {self._setting} can be decoded; set --{self._setting} "
            "to another folder"
        )


def skipped_lines(folder: str, setting: str) -> tuple[str, ...]:
    """Return a line about the files of a folder that are skipped, or none.

    Raises:
        ConfigError: as `list_recordings`.
    """
    listed = list_recordings(folder, setting)
    if not listed.skipped:
        return ()
    named = "; ".join(listed.skipped[:_NAMED])
    more = len(listed.skipped) - _NAMED
    rest = f"; and {more} more" if more > 0 else ""
    return (f"{setting}: skipped {counted(len(listed.skipped), 'file')} that can't be read ({named}{rest})",)
