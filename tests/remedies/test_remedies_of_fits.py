"""What `auricle fit` advises is done to the letter, and a model is then fitted."""

from __future__ import annotations

from pathlib import Path

import pytest
from remedy_tools import TUNE, Command, after, changed, executes, probe, table, tones

from auricle.errors import CheckpointError
from auricle.models import load_head

FIT = ["fit", "remedy_encoders:Bands", "--data", "data", "--out", "owl"]


@pytest.fixture
def data(auricle: Command, tmp_path: Path) -> Path:
    return tones(tmp_path / "data")


def events(folder: Path) -> None:
    """Calls of both classes in every recording of a folder without labels of clips."""
    files = [f"{i:02d}.wav" for i in range(12)]
    tones(folder, columns={"source": files})
    onsets = [0.1 if i % 2 else 0.3 for i in range(12)]
    labels = ["low" if i % 2 else "high" for i in range(12)]
    rows = {"file": files, "onset": onsets, "offset": [one + 0.2 for one in onsets], "label": labels}
    table(folder / "events.csv", rows)


@executes(
    "set --segment to the length in seconds of the windows to fit, or fit their onsets and offsets with --task",
    "lower --min-overlap, or set another --segment",
)
def test_calls_in_recordings(auricle: Command, tmp_path: Path) -> None:
    events(tmp_path / "marked")
    words = changed(FIT, "--data", "marked")
    message = auricle.refused(*words)
    auricle.works(*words, after(message, "set ", "(--segment)"), "0.2")
    auricle.works(*changed(words, "--out", "frames"), *after(message, "offsets with ", "(--task [a-z_]+)").split())
    words = [*changed(words, "--out", "w"), "--hop", "0.2", "--min-overlap", "1"]
    message = auricle.refused(*words, "--segment", "0.2")
    auricle.works(*changed(words, after(message, "lower ", "(--min-overlap)"), "0.5"), "--segment", "0.2")
    words = changed(changed(words, "--out", "v"), "--hop", "0.1")
    auricle.works(*words, after(message, "set another ", "(--segment)"), "0.1")


@executes("and no fitted model; choose another folder for --out", "holds a fitted model; set --overwrite to replace it")
def test_folders_that_are_not_free(auricle: Command, data: Path, tmp_path: Path) -> None:
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "notes.txt").write_text("mine")
    flag = after(auricle.refused(*FIT), "another folder for ", "(--out)")
    words = changed(FIT, flag, "other")
    auricle.works(*words)
    auricle.works(*words, after(auricle.refused(*words), "set ", "(--overwrite)"))


@executes(
    "keeps no head that could be saved; choose for example logistic, centroid or linear with --probes",
    "keeps no head; choose a probe that does with --probes",
)
def test_probes_that_keep_no_head(auricle: Command, data: Path) -> None:
    message = auricle.refused(*FIT, "--probes", "knn")
    names = after(message, "for example ", "([a-z, ]+) with --probes").replace(",", "").replace(" or ", " ").split()
    assert names == ["logistic", "centroid", "linear"]
    auricle.refused(*FIT, "--probes", "layer_curve")
    for name in names:
        auricle.works(*changed(FIT, "--out", name), "--probes", name)


@executes(
    "every clip was taken as normal; set --rule.normal to the label of the normal ones",
    "name another --rule.normal",
)
def test_normal_clips(auricle: Command, data: Path) -> None:
    words = [*FIT, "--task", "folder_anomaly"]
    code, _, err = auricle.run(*words)
    assert code == 0
    flag = after(err, "taken as normal; set ", "(--rule.normal)")
    words = changed(words, "--out", "normal")
    message = auricle.refused(*words, flag, "none")
    auricle.works(*words, flag, after(message, "found ", r"(\w+)"))


@executes("is slightly optimistic; name one with --probes to avoid that")
def test_one_probe_of_numbers(auricle: Command, tmp_path: Path) -> None:
    tones(tmp_path / "numbers", columns={"value": [1.0, 2.0] * 6})
    words = [*changed(FIT, "--data", "numbers"), "--task", "folder_regression"]
    code, _, err = auricle.run(*words, "--probes", "ridge", "linear_mean")
    assert code == 0
    flag = after(err, "name one with ", "(--probes)")
    code, _, err = auricle.run(*changed(words, "--out", "one"), flag, "ridge")
    assert code == 0
    assert "slightly optimistic" not in err


@executes("this task has numbers; leave --balanced out")
def test_balanced_numbers(auricle: Command, run: Path, tmp_path: Path) -> None:
    tones(tmp_path / "numbers", columns={"value": [1.0, 2.0] * 6})
    words = ["finetune", run, "--task", "folder_regression", "--data", "numbers", "--out", "tuned", *TUNE]
    auricle.refused(*words, "--mode", "head", "--balanced")
    auricle.works(*words, "--mode", "head")


@executes("expected a folder that `auricle probe --keep-heads` wrote")
def test_heads_are_kept(auricle: Command, data: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_head("heads")
    auricle.said.append(str(caught.value))
    flag = after(str(caught.value), "`auricle probe ", "(--[a-z-]+)")
    auricle.works(*changed(probe(data), "--probes", "linear"), flag)
    (folder,) = Path("out/data/heads").iterdir()
    assert load_head(next(folder.iterdir())).classes == ("high", "low")


@executes("set --trust-remote-code (Python: trust_remote_code=True) if you trust whoever wrote both")
def test_code_that_a_folder_names(auricle: Command, data: Path) -> None:
    auricle.works(*FIT, "--probes", "centroid")
    words = ["embed", "owl", "--data", "data", "--out", "vectors.parquet"]
    auricle.works(*words, after(auricle.refused(*words), "Bands; set ", "(--[a-z-]+)"))
