"""Notes and shots in time: MAESTRO, Surge synthesizer notes, gunshots recorded by four microphones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import audio_below, columns_of, read_rows
from auricle.corpus.readers.label_table import tidy_split
from auricle.errors import CorpusError
from auricle.extras import require

_SUSTAIN = 64
_KEYS = range(21, 109)


def midi_notes(path: Path) -> list[tuple[float, float, int]]:
    """Read the notes of a MIDI file, lengthened by the sustain pedal: (onset, offset, key) in seconds.

    While the pedal is down a released key sounds until the pedal is lifted or the key is struck again, as in Onsets
    and Frames (arXiv 1710.11153, section 2) and HEAR.

    Raises:
        CorpusError: the file can't be read.
        MissingExtraError: `mido` is not installed.
    """
    mido = require("mido", extra="music")
    try:
        messages = list(mido.MidiFile(path))
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise CorpusError(f"{path} is no readable MIDI file: {error}") from error
    now, pedal = 0.0, False
    down: dict[int, float] = {}  # sounding keys, held or sustained by the pedal
    held: set[int] = set()
    notes: list[tuple[float, float, int]] = []

    def end(key: int) -> None:
        onset = down.pop(key)
        if now > onset:
            notes.append((onset, now, key))

    for message in messages:
        now += message.time
        if message.type == "note_on" and message.velocity > 0:
            if message.note in down:
                end(message.note)
            down[message.note] = now
            held.add(message.note)
        elif message.type in ("note_off", "note_on"):
            held.discard(message.note)
            if message.note in down and not pedal:
                end(message.note)
        elif message.type == "control_change" and message.control == _SUSTAIN:
            pedal = message.value >= 64
            if not pedal:
                for key in [key for key in down if key not in held]:
                    end(key)
    for key in list(down):
        end(key)
    return sorted(notes)


def _maestro(root: Path) -> Content:
    """Label of an event is its key (21 to 108); the split is MAESTRO's own, and the source is the composition."""
    path = root / "maestro-v3.0.0.csv"
    rows = read_rows(path, ("canonical_composer", "canonical_title", "split", "midi_filename", "audio_filename"))
    made: list[dict[str, Any]] = []
    events: dict[str, list[Any]] = {"file": [], "onset": [], "offset": [], "label": []}
    for row in rows:
        file = row["audio_filename"]
        made.append(
            {"file": file, "split": tidy_split(row["split"])}
            | {"source": f"{row['canonical_composer']}: {row['canonical_title']}"}
        )
        if (root / file).is_file():
            for onset, offset, key in midi_notes(root / row["midi_filename"]):
                if key in _KEYS:
                    for name, value in zip(events, (file, onset, offset, str(key)), strict=True):
                        events[name].append(value)
    return Content(columns_of(made), events)


def _surge(root: Path) -> Content:
    """`TONE/NOTE.ogg`: label is the MIDI note, source the synthesizer's tone. EVAR divides by tone (give its table)."""
    files = audio_below(root, "*/*")
    files = [file for file in files if Path(file).stem.isdigit()]
    return Content(
        {
            "file": files,
            "label": [Path(file).stem for file in files],
            "source": [file.partition("/")[0] for file in files],
            "pitch": [int(Path(file).stem) for file in files],
        }
    )


# HEAR's alignment of the four recorders, in samples at 48 kHz, and its rule for shots.
_MICS = {"mic1raw": 15764451, "mic2raw16b": 13764742, "mic3raw": 9334032, "mic4raw": 6794611}
_ALIGNED, _SHOTS, _APART, _LOUD, _BEFORE, _SECONDS = 48000, 22, 25000 / 48000, 0.8, 1 / 8, 1.5


def _gunshots(root: Path) -> Content:
    """Which of four microphones recorded a shot; fold = firearm (7). Clips are ranges.

    A shot is where the first microphone exceeds 0.8 of full scale, as in the publisher's own script; the first firearm
    fired four, the others three (HEAR's preprocessing).
    """
    begins = {name: offset / _ALIGNED - 1 for name, offset in _MICS.items()}
    shots = _find_shots(root / "mic1raw.wav", begins["mic1raw"])
    made: list[dict[str, Any]] = []
    for shot, time in enumerate(shots):
        firearm = 1 if shot == 0 else (shot - 1) // 3 + 1
        for mic, name in enumerate(_MICS, start=1):
            made.append(
                {"file": f"{name}.wav", "start": begins[name] + time - _BEFORE, "seconds": _SECONDS}
                | {"label": f"mic{mic}", "fold": firearm, "source": f"firearm{firearm}", "shot": shot}
            )
    if not made:
        raise CorpusError(f"no shot exceeds {_LOUD} of full scale in {root / 'mic1raw.wav'}; it is another recording")
    return Content(columns_of(made))


def _find_shots(path: Path, begin: float) -> list[float]:
    shots: list[float] = []
    try:
        with soundfile.SoundFile(path) as recording:
            rate = recording.samplerate
            recording.seek(min(round(begin * rate), recording.frames))
            base = 0
            for block in recording.blocks(blocksize=1 << 20, dtype="float32", always_2d=True):
                for sample in np.flatnonzero(np.abs(block[:, 0]) >= _LOUD):
                    time = (base + int(sample)) / rate
                    if (not shots or time - shots[-1] > _APART) and len(shots) < _SHOTS:
                        shots.append(time)
                base += len(block)
    except soundfile.LibsndfileError as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    return shots


LAYOUTS = (
    Layout("maestro", "MAESTRO 3", ("maestro-v3.0.0.csv",), _maestro),
    Layout("surge", "Pitch Audio Dataset (Surge)", ("*/60.ogg",), _surge),
    Layout("gunshots", "Gunshot Triangulation", tuple(f"{name}.wav" for name in _MICS), _gunshots),
)
