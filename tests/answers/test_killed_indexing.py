"""A process that adds to a library and is killed at any moment: nothing twice, nothing lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_indexing import content
from toy_library import write_recordings, write_tone

import auricle
from auricle.answers.library import Library

KILLED = Path(__file__).with_name("killed_index.py")


def killed(recordings: Path, library: Path, seconds: float) -> bool:
    """Whether the process was killed; else it has ended."""
    done = subprocess.run([sys.executable, KILLED, recordings, library, str(seconds)], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.slow
def test_a_library_that_was_killed_again_and_again_ends_as_the_one_that_was_not(tmp_path: Path) -> None:
    recordings = write_recordings(tmp_path / "recordings")
    library, whole = tmp_path / "library", tmp_path / "whole"
    settings = {"segment": 1.0, "hop": 0.1, "progress": False, "batch": 1}
    # Killed while it was made, while rows were added, and while those of a changed recording were replaced.
    rows = []
    for seconds in (0.01, 0.15, 0.25, 0.4):
        killed(recordings, library, seconds)
        rows.append(0 if not (library / "segments.lance").exists() else len(Library.open(library)))
    assert rows == sorted(rows)
    write_tone(recordings / "low.wav", 700.0, seed=5)
    for seconds in (0.1, 0.2, 0.3):
        killed(recordings, library, seconds)
    done = auricle.index("killed_index:Slow", recordings, library, **settings)
    auricle.index("killed_index:Slow", recordings, whole, **settings)
    assert done.rows == 69
    assert content(library) == content(whole)


def test_a_full_disk_in_the_middle_keeps_what_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings, library = write_recordings(tmp_path / "recordings"), tmp_path / "library"
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); import auricle\n"
        "from auricle.answers import additions\n"
        "add = additions.Addition._commit\n"
        "def commit(self, *more):\n"
        "    if self.added:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "    add(self, *more)\n"
        "additions.Addition._commit, additions._COMMIT_SECONDS = commit, 0\n"
        "try:\n"
        "    auricle.index('toy_library:Bands', sys.argv[2], sys.argv[3], segment=1.0, hop=0.5, batch=1)\n"
        "except auricle.errors.StorageError as error:\n"
        "    print(error)\n"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(recordings), str(library)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "no space left to write" in done.stdout, done.stderr
    assert "run the same command again" in done.stdout
    assert 0 < len(Library.open(library)) < 18
    again = auricle.index("toy_library:Bands", recordings, library, progress=False)
    auricle.index("toy_library:Bands", recordings, tmp_path / "whole", segment=1.0, hop=0.5, progress=False)
    assert again.rows == 18
    assert content(library) == content(tmp_path / "whole")
