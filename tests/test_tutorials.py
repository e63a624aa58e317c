"""The tutorials are executed as they are written, on real recordings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_transformers import folder as tiny_model

PAGES = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
BLOCK = re.compile(r"^```(bash|python)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return language, file name (empty: run it) and text of each block of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def recordings(shared_audio: Path, home: Path) -> None:
    """Make the folders that a tutorial expects: `recordings/`, and `labelled/` with a sub-folder per class."""
    source = shared_audio / "drum_oneshots"
    rows = [line.split(",") for line in (source / "metadata.csv").read_text(encoding="utf-8").splitlines()]
    file, label = rows[0].index("file"), rows[0].index("label")
    classes: dict[str, list[str]] = {}
    for row in rows[1:]:
        classes.setdefault(row[label], []).append(row[file])
    largest = sorted(classes, key=lambda name: -len(classes[name]))[:3]
    for name in largest:
        for place, clip in enumerate(classes[name][:24]):
            into = home / "labelled" / name if place < 12 else home / "recordings"
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / clip, into / Path(clip).name)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, shared_audio: Path, tmp_path: Path) -> None:
    recordings(shared_audio, tmp_path)
    shutil.copytree(tiny_model("wav2vec2"), tmp_path / "encoder")
    # `auricle` and `python` are those of this environment.
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "auricle").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m auricle.cli "$@"\n')
    (programs / "auricle").chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "COLUMNS": "200",
    }  # fmt: skip
    found = blocks(page)
    assert len(found) >= 3
    for language, file, text in found:
        if file:
            (tmp_path / file).write_text(text, encoding="utf-8")
            continue
        words = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
        assert (done.stdout + done.stderr).strip()


def test_every_tutorial_is_in_the_site() -> None:
    site = (PAGES.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f"tutorials/{page.name}" in site for page in PAGES.glob("*.md"))
