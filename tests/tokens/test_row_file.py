"""Tables read from files: against numpy on the same numbers, and against files that are not what they were."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import StaleCacheError
from auricle.tokens import row_file
from auricle.tokens.row_file import RowFile

ROWS = 40


@pytest.fixture
def table() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, 3, 2, 5)).astype(np.float16)


@pytest.fixture
def path(table: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "classes.bin"
    table.tofile(path)
    return path


def open_table(path: Path) -> RowFile:
    return RowFile(path, np.float16, ROWS, (3, 2, 5))


def test_rows_are_read_like_an_array(path: Path, table: np.ndarray) -> None:
    rows = open_table(path)
    assert rows.shape == table.shape
    assert len(rows) == ROWS
    assert rows.dtype == np.float16
    for places in (
        np.array([5, 6, 7, 1, 39, 0, 0]),
        np.arange(ROWS),
        np.zeros(0, dtype=np.int64),
        table[:, 0, 0, 0] > 0,
    ):
        np.testing.assert_array_equal(rows[places], table[places])
    for part in (slice(None), slice(3, 9), slice(39, None), slice(9, 3)):
        np.testing.assert_array_equal(rows[part], table[part])


def test_columns(path: Path, table: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small pieces, so that a run of rows takes several.
    monkeypatch.setattr(row_file, "_PIECE", 200)
    for place in range(3):
        column = open_table(path).column(place)
        assert column.shape == (ROWS, 2, 5)
        np.testing.assert_array_equal(column[:], table[:, place])
        np.testing.assert_array_equal(column[np.array([39, 2, 3, 4])], table[[39, 2, 3, 4], place])
        assert column[np.zeros(0, dtype=np.int64)].shape == (0, 2, 5)


def test_a_table_goes_to_another_process(path: Path, table: np.ndarray) -> None:
    column = pickle.loads(pickle.dumps(open_table(path).column(1)))  # noqa: S301 - made here
    np.testing.assert_array_equal(column[7:20], table[7:20, 1])


def test_refusals(path: Path) -> None:
    rows = open_table(path)
    with pytest.raises(IndexError, match="of a table of 40 rows"):
        rows[np.array([40])]
    with pytest.raises(IndexError, match="a step of 2"):
        rows[::2]


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.bin"
    np.arange(100, dtype=np.float16).tofile(path)
    rows = RowFile(path, np.float16, 10, (10,))
    np.testing.assert_array_equal(rows[9:], [np.arange(90, 100)])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StaleCacheError, match="has become shorter"):
        rows[8:10]
