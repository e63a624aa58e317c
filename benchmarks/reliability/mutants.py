"""Damaged recordings of every readable format, read as `scan`, `embed` and pre-training read them.

    python benchmarks/reliability/mutants.py --mutants 10000

Small recordings are made in every format, and each mutant is one of them with bits flipped, a part cut off, zeroed or
repeated, a field of its header overwritten, or a piece of another recording in its place. Child processes read them in
folders: header, whole and a range of each, then a scan, an embedding and batches of the folder. None may end by a
signal, hold more than 2 GB, take more than 10 s of a processor for a file, or raise anything but an error in words.
Mutant number n follows from the seed and n alone: `--first n --mutants 1` reads it again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

SECONDS, MEBIBYTES = 10.0, 2048.0
RATE = 16000
FORMATS = {
    "pcm16.wav": ("WAV", "PCM_16"),
    "pcm24.wav": ("WAV", "PCM_24"),
    "byte.wav": ("WAV", "PCM_U8"),
    "float.wav": ("WAV", "FLOAT"),
    "ima.wav": ("WAV", "IMA_ADPCM"),
    "ms.wav": ("WAV", "MS_ADPCM"),
    "gsm.wav": ("WAV", "GSM610"),
    "alaw.wav": ("WAV", "ALAW"),
    "ex.wav": ("WAVEX", "PCM_16"),
    "a.rf64": ("RF64", "PCM_16"),
    "a.w64": ("W64", "PCM_16"),
    "a.aiff": ("AIFF", "PCM_16"),
    "double.aiff": ("AIFF", "DOUBLE"),
    "a.caf": ("CAF", "PCM_16"),
    "alac.caf": ("CAF", "ALAC_16"),
    "a.au": ("AU", "PCM_16"),
    "a.sph": ("NIST", "PCM_16"),
    "a.voc": ("VOC", "PCM_16"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
}
# By the extra `av`: container, codec, rate.
FOREIGN = {
    "a.m4a": ("ipod", "aac", 16000),
    "a.aac": ("adts", "aac", 16000),
    "a.webm": ("webm", "libopus", 48000),
    "a.wma": ("asf", "wmav2", 16000),
    "a.3gp": ("3gp", "aac", 16000),
    "a.amr": ("amr", "libopencore_amrnb", 8000),
    "a.wv": ("wv", "wavpack", 16000),
    "a.mka": ("matroska", "ac3", 48000),
    "a.mp2": ("mp2", "mp2", 16000),
}
FIELDS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def made_recordings() -> dict[str, bytes]:
    """Return a recording of each format: a tone in noise, 0.4 s, one or two channels."""
    made = {}
    for number, (name, (container, subtype)) in enumerate(FORMATS.items()):
        file = io.BytesIO()
        channels = 1 + (number % 3 == 0 and subtype != "GSM610")
        soundfile.write(file, _sound(RATE, channels, number), RATE, format=container, subtype=subtype)
        made[name] = file.getvalue()
    try:
        import av
    except ImportError:
        return made
    for number, (name, (container, codec, rate)) in enumerate(FOREIGN.items()):
        made[name] = encoded(av, container, codec, rate, _sound(rate, 1, number)[:, 0])
    return made


def encoded(av: object, container: str, codec: str, rate: int, wave: np.ndarray) -> bytes:
    """Encode a mono wave by PyAV."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:  # type: ignore[attr-defined]
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 12200 if rate == 8000 else 64000
        wanted = stream.codec_context.format.name
        frame = av.AudioFrame.from_ndarray(  # type: ignore[attr-defined]
            np.rint(wave * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = rate
        frame.pts = 0
        size = stream.codec_context.frame_size or len(wave)
        resampler = av.AudioResampler(format=wanted, layout="mono", rate=rate, frame_size=size)  # type: ignore[attr-defined]
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(each))
        out.mux(stream.encode(None))
    return file.getvalue()


def _sound(rate: int, channels: int, seed: int) -> np.ndarray:
    n = np.arange(round(0.4 * rate))
    tone = 0.3 * np.sin(2 * np.pi * (200 + 50 * seed) * n / rate)[:, None]
    return tone + 0.05 * np.random.default_rng(seed).standard_normal((len(n), channels))


def mutant(recordings: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of one damaged recording."""
    generator = np.random.default_rng([seed, number])
    names = sorted(recordings)
    name = names[number % len(names)]
    data = bytearray(recordings[name])
    changes: tuple[Callable[..., None], ...] = (_flip, _cut, _zero, _repeat, _field, _field, _splice)
    for _ in range(int(generator.integers(1, 4))):
        if len(data) > 16:
            changes[int(generator.integers(len(changes)))](data, generator, recordings)
    return f"{number:06d}-{name}", bytes(data)


def _range(data: bytearray, generator: np.random.Generator) -> slice:
    begin = int(generator.integers(len(data)))
    return slice(begin, begin + int(generator.integers(1, max(2, len(data) // 4))))


def _flip(data: bytearray, generator: np.random.Generator, _: dict[str, bytes]) -> None:
    for place in generator.integers(0, len(data), size=int(generator.integers(1, 65))):
        data[place] ^= 1 << int(generator.integers(8))


def _cut(data: bytearray, generator: np.random.Generator, _: dict[str, bytes]) -> None:
    del data[int(generator.integers(1, len(data))) :]


def _zero(data: bytearray, generator: np.random.Generator, _: dict[str, bytes]) -> None:
    part = _range(data, generator)
    data[part] = bytes(len(data[part]))


def _repeat(data: bytearray, generator: np.random.Generator, _: dict[str, bytes]) -> None:
    part = _range(data, generator)
    data[part.start : part.start] = data[part]


def _field(data: bytearray, generator: np.random.Generator, _: dict[str, bytes]) -> None:
    width = int(generator.choice([1, 2, 4, 8]))
    place = int(generator.integers(0, min(len(data), 200)))
    value = int(FIELDS[int(generator.integers(len(FIELDS)))]) & ((1 << 8 * width) - 1)
    data[place : place + width] = value.to_bytes(width, "little" if generator.random() < 0.5 else "big")


def _splice(data: bytearray, generator: np.random.Generator, recordings: dict[str, bytes]) -> None:
    other = recordings[sorted(recordings)[int(generator.integers(len(recordings)))]]
    data[_range(data, generator)] = other[_range(bytearray(other), generator)]


def child(folder: Path) -> None:
    """Read all recordings of a folder and print what happened, one JSON object a line."""
    from auricle.audio.decode import decode, probe
    from auricle.audio.frontends.log_mel import LogMelConfig
    from auricle.corpus.loader import Loader, LoaderConfig
    from auricle.corpus.scan import scan
    from auricle.corpus.windows import WindowConfig
    from auricle.encoders.frozen import FrozenEncoder
    from auricle.encoders.slice_cnn import SliceCNNConfig
    from auricle.errors import AuricleError
    from auricle.tokens.embeddings import embed_corpus

    def attempt(what: str, work: Callable[[], object]) -> object:
        print(json.dumps({"begun": what}), flush=True)
        # Of the processor: on a busy machine the clock says little. A wait without end is the parent's to end.
        before, error, result = time.process_time(), "", None
        try:
            result = work()
        except AuricleError as found:
            error = type(found).__name__
        except Exception as found:
            error = f"traceback: {type(found).__name__}: {found}"
        print(json.dumps({"what": what, "error": error, "seconds": time.process_time() - before}), flush=True)
        return result

    for path in sorted(folder.iterdir()):
        attempt(
            path.name,
            lambda path=path: [
                (probe(source, thorough=True), decode(source), decode(source, start=0.1, seconds=0.1))
                for source in (path, path.read_bytes())
            ],
        )
    report = attempt("scan", lambda: scan(folder, write=False))
    if report is not None:
        encoder = FrozenEncoder(LogMelConfig(mels=64).build(), SliceCNNConfig().build(), name="mutants")
        with tempfile.TemporaryDirectory() as out:
            attempt("embed", lambda: embed_corpus(encoder, report.corpus, Path(out) / "v.parquet", progress=False))
        loader = attempt(
            "loader", lambda: Loader(report.corpus, WindowConfig(seconds=0.5), LoaderConfig(batch=2, workers=0))
        )
        if loader is not None:
            attempt("batches", lambda: [None for _ in loader.iterate(0, min(20, loader.steps_per_epoch))])
    # Of this program alone: ru_maxrss also holds the size of the process that started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"peak": peak}), flush=True)


def folders(total: int, size: int, first: int) -> Iterator[range]:
    """Divide the numbers of mutants into folders."""
    for begin in range(first, first + total, size):
        yield range(begin, min(begin + size, first + total))


def measure(total: int, *, seed: int = 0, first: int = 0, size: int = 120) -> dict[str, object]:
    """Read mutants in child processes and return what happened: counts, failures, largest time and memory."""
    recordings = made_recordings()
    outcome: Counter[str] = Counter()
    failures: list[str] = []
    slowest, largest, noise = 0.0, 0.0, 0
    for numbers in folders(total, size, first):
        with tempfile.TemporaryDirectory() as place:
            for number in numbers:
                name, data = mutant(recordings, seed, number)
                (Path(place) / name).write_bytes(data)
            command = [sys.executable, __file__, "--child", place]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS * (len(numbers) + 30))
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        begun = ""
        for line in lines:
            begun = line.get("begun", begun)
            if "what" in line:
                outcome[line["error"].partition(":")[0] or "read"] += line["what"][:1].isdigit()
                slowest = max(slowest, line["seconds"] if line["what"][:1].isdigit() else 0.0)
                if line["error"].startswith("traceback") or (line["seconds"] > SECONDS and line["what"][:1].isdigit()):
                    failures.append(f"{line['what']}: {line['error'] or 'slow'} ({line['seconds']:.1f} s)")
            if "peak" in line:
                largest = max(largest, line["peak"])
                if line["peak"] > MEBIBYTES:
                    failures.append(f"folder from {numbers.start} on: {line['peak']:.0f} MiB")
        if done.returncode:
            failures.append(f"{begun}: the process ended with {done.returncode}: {done.stderr[-300:]}")
        print(f"{numbers.stop} read, {len(failures)} failures", file=sys.stderr)
        noise += sum(bool(line.strip()) for line in done.stderr.splitlines())
    return {
        "mutants": total,
        "formats": len(recordings),
        "outcome": dict(outcome),
        "failures": failures,
        "slowest": slowest,
        "largest": largest,
        "noise": noise,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    found = measure(args.mutants, seed=args.seed, first=args.first)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
