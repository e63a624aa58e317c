"""Recordings that libsndfile decodes: opened by what is in them, with headers corrected where they are wrong."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from auricle.audio.complaints import COMPLAINTS
from auricle.audio.container import Layout, Stream, lay_out
from auricle.audio.foreign import ForeignRecording
from auricle.audio.identify import foreign_format, no_audio
from auricle.audio.recording import BLOCK, IN_PART, SCARCE, Recording, Source, name_of
from auricle.audio.spliced import Spliced
from auricle.errors import AudioError, Reason

_UNKNOWN_FRAMES = 1 << 62
# Of an MP3 the last codec frames may be without content, whatever its header counts.
_MP3_SLACK = 2 * 1152
# The emptiest block of FLAC, Vorbis or Opus (no format has longer ones than FLAC's 65535 samples in 11 bytes) stays
# below this many samples a byte.
_MOST_SAMPLES_PER_BYTE = 8192
_HEAD = 4096
# Samples by which damage may be taken for longer than it is.
_STEP = 4096
# Each stream is open as long as the file: 10,000 take a gigabyte.
_MOST_STREAMS = 256


class _File(soundfile.SoundFile):
    """Not seekable: soundfile would seek after each read, which fails at the end of a file of unknown length."""

    def seekable(self) -> bool:
        return False


class SndfileRecording(Recording):
    """The streams of a file, one after the other."""

    def __init__(self, name: str, stream: io.BytesIO | io.FileIO, layout: Layout, size: int) -> None:
        """Open every stream of a file.

        Raises:
            soundfile.LibsndfileError: the first one is no audio.
            AudioError: it holds no samples, more than fit into its size, or too many streams.
        """
        if len(layout.streams) > _MOST_STREAMS:
            raise AudioError(
                f"{len(layout.streams):,} streams follow each other in it, expected at most {_MOST_STREAMS}; divide it "
                "into files of fewer streams",
                name,
            )
        self.name, self._stream = name, stream
        self.notes = list(layout.notes)
        self._streams = list(layout.streams)
        self._files: list[_File] = []
        for part in layout.streams:
            try:
                self._files.append(self._open(part))
            except soundfile.LibsndfileError:
                if not self._files:
                    raise
                self._drop(len(self._files), "are damaged")
                break
            if self._shape(-1) != self._shape(0):
                self._files.pop().close()
                self._drop(len(self._files), "have another rate or number of channels")
                break
        first = self._files[0]
        self.rate, self.channels, self.format = first.samplerate, first.channels, first.format
        self.floats = first.subtype in ("FLOAT", "DOUBLE")
        self.slack = _MP3_SLACK if self.format == "MP3" else 0
        self._at = [0] * len(self._files)
        lengths = [self._length(k, size) for k in range(len(self._files))]
        self._lengths = [there for there, _ in lengths]
        self.frames = sum(self._lengths)
        self.promised = sum(stated for _, stated in lengths)
        if not self.frames:
            raise AudioError("no samples (zero length); drop it from the corpus", name, "empty")

    def _shape(self, k: int) -> tuple[int, int]:
        return self._files[k].samplerate, self._files[k].channels

    def _drop(self, kept: int, why: str) -> None:
        said = f"only the first {kept} of its {len(self._streams)} streams are read: the others {why}"
        self.notes.append(Reason(said, IN_PART))
        del self._streams[kept:]

    def _open(self, part: Stream) -> _File:
        if part.spans:
            return _File(Spliced(self._stream, part.spans, part.claimed))
        if isinstance(self._stream, io.BytesIO):
            # Damaged headers make libsndfile seek before the beginning, which a BytesIO refuses.
            return _File(Spliced(self._stream, ((0, self._stream.getbuffer().nbytes),)))
        self._stream.seek(0)
        # Given a descriptor, libsndfile reads without calling back into Python.
        return _File(self._stream.fileno(), closefd=False)

    def _length(self, k: int, size: int) -> tuple[int, int]:
        """Return the samples of one stream, and how many its header promises."""
        part, stated = self._streams[k], self._files[k].frames
        if part.frames >= 0:
            return part.frames, round(part.frames * part.promised)
        if part.stated is None and stated <= _MOST_SAMPLES_PER_BYTE * size:
            return stated, round(stated * part.promised)
        # FLAC written to a pipe has no length, and a damaged header any. Of a table of packets the samples of a cut one
        # are counted, too, and a seek into it finds those of the one before.
        found = sum(len(block) for block in self._blocks(k, 0, stated))
        if self.ended is not None:
            self._reopen(k)
            self.ended = None
        if part.stated is not None:
            return found, max(found, part.stated if part.stated <= _MOST_SAMPLES_PER_BYTE * size else 0)
        return found, found if stated >= _UNKNOWN_FRAMES else stated

    def blocks(self, begin: int, end: int) -> Iterator[np.ndarray]:
        offset = 0
        for k, length in enumerate(self._lengths):
            first, last = max(begin - offset, 0), min(end - offset, length)
            if first < last:
                yield from self._blocks(k, first, last)
                if self.ended is not None:
                    self.ended += offset
                    return
            offset += length

    def _blocks(self, k: int, begin: int, end: int) -> Iterator[np.ndarray]:
        """Yield the samples of one stream, as far as they can be decoded."""
        if not self._move(k, begin):
            self.ended = self._at[k]
            return
        most = max(1, BLOCK // self.channels)
        while self._at[k] < end:
            wanted = min(most, end - self._at[k])
            out = np.empty((wanted, self.channels), np.float32)
            try:
                got = len(self._files[k].read(wanted, out=out))
            except soundfile.LibsndfileError:
                # What was decoded before the damage is in `out`; the position shows how much.
                got = max(0, min(wanted, self._tell(k) - self._at[k]))
            self._at[k] += got
            yield out[:got]
            if got < wanted:
                self.ended = self._at[k]
                return

    def _tell(self, k: int) -> int:
        try:
            return int(self._files[k].tell())
        except soundfile.LibsndfileError:
            return self._at[k]

    def _move(self, k: int, begin: int) -> bool:
        """Move to a sample: by seeking where the format can, otherwise by decoding up to it."""
        if self._at[k] == begin and (begin or self.format != "MP3"):
            return True
        try:
            # To the beginning of an MP3, too: libmpg123 decodes it differently in the last bit without.
            self._at[k] = self._files[k].seek(begin)
            return True
        except soundfile.LibsndfileError:
            self._reopen(k)
        if begin == 0:
            return True
        for _ in self._blocks(k, 0, begin):
            pass
        reached = self.ended is None
        self.ended = None
        return reached

    def _reopen(self, k: int) -> None:
        self._files[k].close()
        self._files[k], self._at[k] = self._open(self._streams[k]), 0

    def reaches(self, frame: int) -> bool:
        if self.ended is not None:
            # After damage a decoder finds nothing more.
            self._reopen(len(self._files) - 1)
            self.ended = None
        found = any(len(block) for block in self.blocks(frame, frame + 1))
        self.ended = None
        return found

    def surviving(self, begin: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        # Of damaged MP3 and Ogg files the decoders pass over what is lost, and what follows comes too early.
        at: int | None = begin
        # What libmpg123 decoded before changes the last bits of what follows a seek.
        self._repair(always=self.format == "MP3")
        while at is not None and at < end:
            for block in self.blocks(at, end):
                if len(block):
                    yield at, block
                at += len(block)
            if self.ended is None:
                return
            self._repair()
            at = self._after_damage(at, end)
        self._repair()

    def _after_damage(self, at: int, end: int) -> int | None:
        """Return the first sample that can be decoded again, to within `_STEP`; None: there is none up to `end`."""
        low, step = at, _STEP
        while not self._readable(low + step):
            if low + step >= end:
                return None
            low += step
            step *= 2
        high = low + step
        while high - low > _STEP:
            middle = (low + high) // 2
            low, high = (low, middle) if self._readable(middle) else (middle, high)
        return high

    def _readable(self, frame: int) -> bool:
        found = sum(len(block) for block in self.blocks(frame, frame + _STEP // 4))
        self._repair()
        return found > 0

    def _repair(self, *, always: bool = False) -> None:
        """Open everything anew after an error: a decoder finds nothing more by itself."""
        if always or self.ended is not None:
            for k in range(len(self._files)):
                self._reopen(k)
            self.ended = None

    def count(self) -> int:
        found = super().count()
        self._repair()
        return found

    def close(self) -> None:
        """Close libsndfile's side of the file."""
        for file in self._files:
            file.close()


@contextmanager
def opened(source: Source) -> Iterator[Recording]:
    """Open a file or its content by whatever decodes it.

    Raises:
        AudioError: missing, unreadable, not a regular file, no audio, without samples, or with an impossible header.
    """
    name = name_of(source)
    with ExitStack() as stack:
        stream = open_stream(source)
        stack.callback(stream.close)
        head = stream.read(_HEAD)
        size = stream.seek(0, os.SEEK_END)
        if not size:
            raise AudioError("empty (0 bytes); expected a recording; copy it again from its source", name, "empty")
        layout = _layout(source, stream)
        said = layout.refused or (None if layout.streams[0].rate else no_audio(head, size))
        if said is not None:
            raise AudioError(said, name)
        if layout.streams[0].rate:
            stack.enter_context(COMPLAINTS.caught())
        recording = _read_by_libsndfile(name, source, stream, layout, head, size)
        if isinstance(recording, SndfileRecording):
            stack.callback(recording.close)
        recording.check()
        yield recording


def _read_by_libsndfile(
    name: str, source: Source, stream: io.BytesIO | io.FileIO, layout: Layout, head: bytes, size: int
) -> Recording:
    kind = None if layout.streams[0].rate else foreign_format(head)
    if kind is None and not layout.streams[0].rate and _looks_like_mpeg(head):
        # libmpg123 would search it all for a frame, and print what it finds.
        raise AudioError("no audio of a known format: it holds no MPEG frames; drop it from the corpus", name)
    try:
        return SndfileRecording(name, stream, layout, size)
    except soundfile.LibsndfileError as error:
        if kind is not None:
            return ForeignRecording(source, kind, layout.notes)
        reason = error.error_string.strip().rstrip(".")
        if "possibly a pipe" in reason or "Format not recognised" in reason:
            reason = "its first bytes are those of no known format"
        elif "SF_INFO struct" in reason:
            reason = "its header states no valid rate or number of channels"
        raise AudioError(
            f"not readable as audio ({reason}); expected wav, flac, ogg, opus, mp3 or aiff; copy it again from "
            "its source, or drop it from the corpus",
            name,
        ) from error


def _looks_like_mpeg(head: bytes) -> bool:
    tag_only = head[:3] == b"ID3" and b"fLaC" not in head
    return tag_only or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _layout(source: Source, stream: io.BytesIO | io.FileIO) -> Layout:
    if isinstance(stream, io.BytesIO):
        return lay_out(stream)
    found = os.fstat(stream.fileno())
    return _kept_layout(Path(os.fsdecode(source)).absolute(), found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1 << 14)
def _kept_layout(path: Path, _inode: int, _changed: int, _size: int) -> Layout:
    # Walking an MP3 reads it all: once, not for each range that is read from it.
    with io.FileIO(path) as stream:
        return lay_out(stream)


def open_stream(source: Source) -> io.BytesIO | io.FileIO:
    """Open a source unbuffered: libsndfile reads from the descriptor's position."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    name = name_of(source)
    try:
        path = Path(source)
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise AudioError("a folder; expected an audio file; name the files in it", name)
        if not stat.S_ISREG(kind):
            # Opening a pipe would wait for a writer.
            raise AudioError("a pipe, socket or device; expected an audio file; drop it from the corpus", name)
        return io.FileIO(source)
    except FileNotFoundError as error:
        if path.is_symlink() and "annex" in str(path.readlink()):
            raise AudioError(
                "a git-annex link whose content is not here; get it with: git annex get .", name, "not downloaded"
            ) from error
        raise AudioError("no such file; check the path, or scan the corpus again", name, "missing") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in SCARCE:
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise AudioError(f"can't be opened ({reason}); check its permissions", name) from error
