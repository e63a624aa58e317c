"""What a file is that no decoder of libsndfile reads: another format, or no audio at all, with the way out."""

from __future__ import annotations

import shlex
from pathlib import Path

from auricle.errors import Reason

EXTRA = "av"
# Those from .m4a on need the extra; without it they are listed with the reason.
AUDIO_SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".bwf", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mp1", ".mpga", ".aif", ".aiff"),
        *(".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".bw64", ".sph", ".nist", ".voc"),
        *(".m4a", ".m4b", ".aac", ".adts", ".wma", ".mp4", ".3gp", ".3gpp", ".3g2", ".amr", ".awb", ".webm", ".weba"),
        *(".mka", ".wv", ".ape", ".tta", ".mpc", ".ac3", ".eac3", ".dts", ".spx", ".ra", ".dsf", ".dff"),
    )
)
# First bytes -> the format; read by the extra.
_FOREIGN = (
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "WMA (ASF)"),
    (0, b"#!AMR", "AMR"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b"ADIF", "AAC"),
    (0, b"\x0bw", "AC-3"),
    (0, b".RMF", "RealAudio"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"FLV", "Flash video"),
    (4, b"ftyp", "MP4, M4A or 3GP"),
)
_NO_AUDIO = (
    (b"version https://git-lfs", "a Git LFS pointer, not the recording; get it with: git lfs pull", "not downloaded"),
    (b"PK\x03\x04", "a zip archive; unpack it first", "not audio"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first", "not audio"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first", "not audio"),
    (b"Rar!", "a rar archive; unpack it first", "not audio"),
    (b"%PDF", "a PDF document; drop it from the corpus", "not audio"),
    (b"\x89PNG", "a picture (PNG); drop it from the corpus", "not audio"),
    (b"\xff\xd8\xff", "a picture (JPEG); drop it from the corpus", "not audio"),
    (b"MThd", "MIDI: notes, not sound; render them to audio first", "not audio"),
)
# Codecs inside WAV that libsndfile refuses without naming them.
_WAV_CODECS = {
    0x0160: "WMA 1",
    0x0161: "WMA",
    0x0162: "WMA Pro",
    0x0163: "WMA lossless",
    0x028F: "G.722",
    0x0045: "G.726",
    0x0040: "G.721",
    0x0014: "G.723",
    0x0022: "TrueSpeech",
    0x00FF: "AAC",
    0x1600: "AAC (ADTS)",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x566F: "Vorbis",
    0xA109: "Speex",
    0xF1AC: "FLAC",
}


def foreign_format(head: bytes) -> str | None:
    """Return the name of a format that only the extra may read, or None.

    Examples:
        >>> foreign_format(b"#!AMR-WB")
        'AMR'
    """
    for place, magic, name in _FOREIGN:
        if head[place : place + len(magic)] == magic:
            return name
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return "AAC (ADTS)"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE" and head[12:16] == b"fmt ":
        return _WAV_CODECS.get(int.from_bytes(head[20:22], "little"))
    if head[:4] == b"caff" and head[28:32] in (b"alac", b"aac ", b"ilbc", b"opus", b"ima4"):
        return f"{head[28:32].decode().strip().upper()} in CAF"
    if head[:4] == b"OggS":
        return "FLAC in Ogg" if b"\x7fFLAC" in head else "Speex" if b"Speex" in head else None
    return None


def no_audio(head: bytes, size: int) -> Reason | None:
    """Return what a file is instead of audio, and what to do about it; None if its first bytes don't show it.

    Examples:
        >>> no_audio(b"<!DOCTYPE html><html>", 5000)
        'a page of HTML or XML, not the recording (often an error of its server); download it again'
    """
    for magic, said, cause in _NO_AUDIO:
        if head.startswith(magic):
            return Reason(said, cause)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:40].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<error", b"<head")):
        said = "a page of HTML or XML, not the recording (often an error of its server); download it again"
        return Reason(said, "not audio")
    if start.startswith((b"{", b"[")):
        return Reason("JSON text, not the recording; download it again", "not audio")
    if b"annex/objects/" in head and size < 1000:
        return Reason("a git-annex pointer, not the recording; get it with: git annex get .", "not downloaded")
    if head and not any(head):
        return Reason("zeros from its first byte on, without a header; copy it again from its source")
    return None


def conversion(source: object) -> str:
    """Return the command that converts a file to WAV beside it.

    Examples:
        >>> conversion("memo 1.m4a")
        "ffmpeg -i 'memo 1.m4a' -c:a pcm_s16le 'memo 1.wav'"
    """
    path = Path("FILE") if isinstance(source, bytes) else Path(str(source))
    made = path.with_suffix(".wav") if path.suffix.lower() != ".wav" else path.with_name(f"{path.stem}-pcm.wav")
    return f"ffmpeg -i {shlex.quote(str(path))} -c:a pcm_s16le {shlex.quote(str(made))}"
