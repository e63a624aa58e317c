"""Approximate search: what it says of itself is what it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_library import write_recordings, write_tone

import auricle
from auricle.answers import additions
from auricle.answers.library import Library


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of 660 rows of noisy tones, that counts as large."""
    monkeypatch.setattr(additions, "EXACT_BELOW", 600)
    recordings = write_recordings(tmp_path / "recordings")
    for place in range(12):
        write_tone(recordings / f"more/{place}.wav", 200.0 + 300 * place, seconds=6, seed=place)
    done = auricle.index("toy_library:Bands", recordings, tmp_path / "library", segment=0.5, hop=0.1, progress=False)
    assert any("approximate" in note and "--exact" in note for note in done.notes)
    return tmp_path / "library"


def test_recall_is_what_a_search_finds_and_exact_searches_find_all(library: Path) -> None:
    opened = Library.open(library)
    near = opened.record.approximate
    assert near is not None
    assert (near.rows, near.groups) == (len(opened), round(len(opened) ** 0.5))
    assert near.searched < near.groups
    assert near.recall >= 0.85
    vectors = opened.vectors().astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = []
    for row in np.random.default_rng(1).choice(len(opened), 60, replace=False):
        best = np.argsort(-(unit @ unit[row]), kind="stable")[:51]
        exact = opened.search(vectors[row], 51, exact=True)
        np.testing.assert_allclose(exact.column("score").to_numpy(), np.sort(unit @ unit[row])[::-1][:51], atol=1e-4)
        found = set(opened.search(vectors[row], 51).column("id").to_pylist())
        shares.append(len(found & set(best.tolist()) - {row}) / 50)
    # Two measurements of 60 and 100 queries.
    assert abs(np.mean(shares) - near.recall) < 0.08
    assert f"finds {near.recall:.1%} of the 50 nearest rows" in near.words


def test_a_search_is_exact_where_asked_or_where_it_wants_many_rows(library: Path) -> None:
    opened = Library.open(library)
    assert not opened.is_exact(50)
    assert opened.is_exact(50, exact=True)
    assert opened.is_exact(501)
    assert len(opened.search(opened.vectors([0])[0], 600)) == 600


def test_rows_that_are_added_are_found_and_measured(library: Path, tmp_path: Path) -> None:
    before = Library.open(library).record.approximate
    write_tone(tmp_path / "recordings" / "new.wav", 3900.0, seconds=2, seed=40)
    done = auricle.index("toy_library:Bands", tmp_path / "recordings", library, progress=False)
    opened = Library.open(library)
    near = opened.record.approximate
    assert before is not None
    assert near is not None
    assert (near.rows, near.trained) == (done.rows, before.trained)
    new = opened.rows().filter(np.array([f == "new.wav" for f in opened.rows().column("file").to_pylist()]))
    row = new.column("id")[3].as_py()
    assert opened.search(opened.vectors([row])[0], 5).column("file").to_pylist() == ["new.wav"] * 5
    auricle.index("toy_library:Bands", tmp_path / "recordings", library, progress=False)
    assert Library.open(library).record.approximate == near


def test_what_a_kill_leaves_of_it_is_not_used(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    write_tone(tmp_path / "recordings" / "new.wav", 3900.0, seconds=2, seed=40)
    monkeypatch.setattr(additions, "approximate", killed)
    with pytest.raises(Killed):
        auricle.index("toy_library:Bands", tmp_path / "recordings", library, progress=False)
    assert Library.open(library).is_exact(50)
    monkeypatch.undo()
    monkeypatch.setattr(additions, "EXACT_BELOW", 600)
    auricle.index("toy_library:Bands", tmp_path / "recordings", library, progress=False)
    assert not Library.open(library).is_exact(50)
