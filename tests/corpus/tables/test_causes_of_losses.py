"""The word by which a lost recording is counted is that of its real reason."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from auricle.audio.decode import decode
from auricle.corpus.scan import scan
from auricle.corpus.sources import open_corpus
from auricle.errors import AudioError

CONTENT = {
    "empty": b"",
    "not downloaded": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    "not audio": b"<!DOCTYPE html><html><body>Access denied</body></html>",
    "corrupt": bytes(range(7, 250)) * 40,
}


@pytest.mark.parametrize("cause", CONTENT)
def test_a_file_without_audio_is_counted_by_what_it_is(cause: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    (tmp_path / "odd.wav").write_bytes(CONTENT[cause])
    expected = f"1 of 2 recordings used; 1 skipped: 1 {cause}"
    assert open_corpus(tmp_path).ledger.sentence == expected
    assert scan(tmp_path, write=False).ledger.sentence == expected


def test_causes_are_those_of_the_error_and_not_of_its_words(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(tmp_path / "good.wav", wave, 16000)
    # Phrases of other causes in its name, which messages hold.
    odd = tmp_path / "no such file, silent, empty (0 bytes).wav"
    odd.write_bytes(CONTENT["corrupt"])
    (tmp_path / "annex.wav").symlink_to("../.git/annex/objects/aa/bb/x.wav")
    sentence = scan(tmp_path, write=False).ledger.sentence
    assert sentence == "1 of 3 recordings used; 2 skipped: 1 corrupt, 1 unreadable"
    with pytest.raises(AudioError) as gone:
        decode(tmp_path / "nothing.wav")
    assert gone.value.reason.cause == "missing"
    assert copy.deepcopy(gone.value.reason).cause == "missing"


def test_a_recording_has_one_line_for_each_cause(tmp_path: Path) -> None:
    files = {}
    for i, name in enumerate(("cut", "joined", "both")):
        wave = np.random.default_rng(i).normal(0, 0.1, 16000)
        content = io.BytesIO()
        soundfile.write(content, wave, 16000, format="WAV" if name == "cut" else "OGG")
        files[name] = content.getvalue()
    (tmp_path / "cut.wav").write_bytes(files["cut"][:-8000])
    (tmp_path / "joined.ogg").write_bytes(files["joined"] * 2)
    (tmp_path / "both.ogg").write_bytes(files["both"] * 2 + files["both"][:-100])
    expected = [
        ("both.ogg", "joined"),
        ("both.ogg", "read in part"),
        ("cut.wav", "read in part"),
        ("joined.ogg", "joined"),
    ]
    opened, scanned = open_corpus(tmp_path), scan(tmp_path)
    again = scan(tmp_path)  # of the table that the first one wrote
    for ledger in (opened.ledger, scanned.ledger, again.ledger):
        assert sorted((entry.name, entry.cause) for entry in ledger.entries if entry.kind == "recording") == expected
        used, _, remarks = ledger.sentence.rstrip(")").partition(" (")
        assert (used, sorted(remarks.split(", "))) == ("3 of 3 recordings used", ["2 joined", "2 read in part"])
    out = io.StringIO()
    scanned.render(Console(file=out, width=200))
    assert out.getvalue().count("cut.wav") == 1
