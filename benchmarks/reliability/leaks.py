"""Error rates of the search for copies (`auricle.corpus.copies`) on real recordings.

    python benchmarks/reliability/leaks.py FOLDER --corpora esc10 fsdd piano_notes

FOLDER holds the corpora. For each, two questions. Which pairs of its own clips are called copies? Distinct clips should
not be: neither the same digit by the same speaker, nor the same note. And which re-encodings of its clips are found
among all of its clips? Seeded; the figures are in `leaks.md` beside this file.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import soxr

from auricle.corpus.copies import find_copies
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus

# name: file ending, format, subtype, rate (None: the recording's), gain, settings of the encoder
VARIANTS = {
    "the same samples as FLAC": ("flac", "FLAC", "PCM_16", None, 1.0, {}),
    "a fifth of the level": ("wav", "WAV", "PCM_16", None, 0.2, {}),
    "polarity inverted": ("wav", "WAV", "PCM_16", None, -1.0, {}),
    "resampled to 11,025 Hz": ("wav", "WAV", "PCM_16", 11025, 1.0, {}),
    "resampled to 48,000 Hz": ("wav", "WAV", "PCM_16", 48000, 1.0, {}),
    "mu-law": ("wav", "WAV", "ULAW", None, 1.0, {}),
    "MP3, medium": ("mp3", "MP3", "MPEG_LAYER_III", None, 1.0, {"compression_level": 0.5}),
    "MP3, lowest": ("mp3", "MP3", "MPEG_LAYER_III", None, 1.0, {"compression_level": 0.95}),
    "Vorbis, medium": ("ogg", "OGG", "VORBIS", None, 1.0, {"compression_level": 0.6}),
    "Vorbis, lowest": ("ogg", "OGG", "VORBIS", None, 1.0, {"compression_level": 1.0}),
    "Opus at 24,000 Hz": ("opus", "OGG", "OPUS", 24000, 1.0, {}),
}


def write_variant(wave: np.ndarray, rate: int, name: str, path: Path) -> None:
    """Write one clip in another form; `path` without its ending."""
    ending, kind, subtype, other, gain, settings = VARIANTS[name]
    if other is not None:
        wave, rate = soxr.resample(wave, rate, other, quality="HQ"), other
    soundfile.write(f"{path}.{ending}", np.clip(wave * gain, -1, 1), rate, format=kind, subtype=subtype, **settings)


def measure(folder: Path, clips: int, draws: int) -> None:
    """Print the figures of one corpus."""
    corpus = open_corpus(folder)
    corpus = corpus.select(np.arange(min(clips, len(corpus))))
    own = find_copies(corpus, range(len(corpus)))
    kinds = Counter(copy.kind for copy in own)
    pairs = len(corpus) * (len(corpus) - 1) // 2
    print(f"\n{folder.name}: {len(corpus)} clips, {pairs:,} pairs: {dict(kinds) or 'no pair'} called copies")
    for copy in [copy for copy in own if copy.kind == "near"][:12]:
        print(f"    {corpus[copy.first].file}  {corpus[copy.second].file}")
    drawn = np.random.default_rng(0).permutation(len(corpus))[:draws]
    for name in VARIANTS:
        with tempfile.TemporaryDirectory() as made:
            for row in drawn.tolist():
                path = corpus[row].path
                wave, rate = soundfile.read(str(path), dtype="float32")
                write_variant(wave, rate, name, Path(made) / f"{row}")
            files = sorted(path.name for path in Path(made).iterdir())
            columns = {
                "file": [str(corpus[row].path) for row in range(len(corpus))],
                "seconds": corpus.column("seconds"),
            }
            columns = {
                "file": [*columns["file"], *(str(Path(made) / file) for file in files)],
                "seconds": [*columns["seconds"], *(corpus[int(Path(file).stem)].seconds for file in files)],
            }
            joined = Corpus.from_columns(columns, root=Path("/"))
            origin = {len(corpus) + i: int(Path(file).stem) for i, file in enumerate(files)}
            same = {(copy.first, copy.second) for copy in own}
            found, wrong = set(), 0
            for copy in find_copies(joined, range(len(joined))):
                of = origin.get(copy.second)
                if of is None or copy.first >= len(corpus):
                    continue
                # A copy of a copy of the corpus's own is no error.
                if copy.first == of:
                    found.add(copy.second)
                elif (min(of, copy.first), max(of, copy.first)) not in same:
                    wrong += 1
        print(f"  {name:26s} found {len(found):3d} of {len(files)}, wrong pairs {wrong}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpora", nargs="+", default=["esc10", "fsdd", "piano_notes"])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=40)
    options = parser.parse_args()
    for each in options.corpora:
        measure(options.folder / each, options.clips, options.draws)
