"""Remedies of studies: what their messages advise is followed, and works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from remedy_tools import Command, executes

from auricle.studies.cells import Cell, Evaluated
from auricle.studies.study import Book, Conclusion, Study, StudyConfig, register_study, studies


class Baselines(Study):
    """A study without training: baselines on the built-in corpus."""

    name = "baselines-of-a-test"
    summary = "are baselines evaluated?"

    def cells(self, config: StudyConfig) -> Sequence[Cell]:
        return [Evaluated("scenes_single", baseline="mfcc")]

    def conclude(self, book: Book) -> Conclusion:
        return Conclusion((), ())


@pytest.fixture
def study() -> str:
    if Baselines.name not in studies():
        register_study(Baselines())
    return Baselines.name


@executes("needs --data, a folder of corpora")
def test_a_study_without_data(auricle: Command, study: str, tmp_path: Path) -> None:
    assert "needs --data, a folder of corpora" in auricle.refused("study", study)
    code, out, _ = auricle.run("study", study, "--data", tmp_path, "--out", "s", "--dry-run")
    assert code == 0
    assert "open scenes_single: mfcc 1 cell to do" in out


@executes("take the same, or another --out: cells of other settings")
def test_a_study_with_other_settings(auricle: Command, study: str, tmp_path: Path) -> None:
    same = ("study", study, "--data", tmp_path, "--budget", "3m")
    code, out, _ = auricle.run(*same, "--out", "s")
    assert code == 0
    assert "1 of 1 cell done" in out
    other = ("study", study, "--data", tmp_path, "--budget", "4m")
    assert "begun with 3 min of a processor a pre-training" in auricle.refused(*other, "--out", "s")
    assert auricle.run(*same, "--out", "s")[0] == 0
    assert auricle.run(*other, "--out", "t")[0] == 0


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [("--budget", "ten", "expected a time such as 90s, 30m or 2h"), ("--shard", "4", "expected one such as 1/4")],
)
def test_settings_that_can_not_be_read(
    auricle: Command, study: str, tmp_path: Path, flag: str, value: str, said: str
) -> None:
    assert said in auricle.refused("study", study, "--data", tmp_path, flag, value)


def test_an_unknown_study(auricle: Command) -> None:
    assert "there is no study 'metods'; did you mean 'methods'?" in auricle.refused("study", "metods")
