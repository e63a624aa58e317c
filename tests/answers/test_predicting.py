"""The verb `predict`: a table of what is found in recordings, killed and continued, in shares, with bad input."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_heads import RATE, LoudHead, ToneHead, recording, tone_model

import auricle
from auricle.answers.predicting import predict
from auricle.answers.prediction_table import read_predictions
from auricle.answers.prediction_work import PredictedCorpus
from auricle.corpus import stretches
from auricle.corpus.ledger import Ledger, beside
from auricle.errors import ConfigError, CorpusError, StorageError
from auricle.models.scoring import Predictor
from auricle.storage import FULL


class Killed(BaseException):
    """What a kill is to the process."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five recordings, which make nine units."""
    monkeypatch.setattr(stretches, "UNIT_SECONDS", 20.0)
    folder = tmp_path / "in"
    recording(folder / "long.wav", 61.0, ("low", 10.0, 20.0), ("high", 33.0, 35.0), rate=22050)
    recording(folder / "=1+2.wav", 7.0, ("low", 0.0, 7.0))
    recording(folder / "sub" / 'a,"b" ü.wav', 5.0, ("high", 0.0, 5.0))
    recording(folder / "short.wav", 0.7, ("low", 0.0, 0.7))
    recording(folder / "silent.wav", 12.0, seed=1)
    return folder


def run(data: Path, out: Path, **settings: object) -> PredictedCorpus:
    settings = {"segment": 2.0, "hop": 1.0, "progress": False, **settings}
    return predict(tone_model(), data, out, **settings)


def test_a_table_of_all_recordings(data: Path, tmp_path: Path) -> None:
    done = run(data, tmp_path / "hits.csv")
    table = read_predictions(done.path).to_pylist()
    assert done.rows == len(table) > 20
    assert [row["file"] for row in table] == sorted((row["file"] for row in table), key=_order(data))
    for file in {row["file"] for row in table}:
        alone = tone_model().predict_file(data / file, segment=2.0, hop=1.0).to_pylist()
        mine = [row for row in table if row["file"] == file]
        assert [(r["start"], r["end"], r["label"]) for r in mine] == [(r["start"], r["end"], r["label"]) for r in alone]
        assert [r["score"] for r in mine] == pytest.approx([r["score"] for r in alone], abs=1e-6)
    assert done.ledger.sentence == "5 of 5 recordings used"
    again = run(data, tmp_path / "hits.csv")
    assert (again.rows, again.ledger) == (done.rows, done.ledger)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "hits.csv", "hits.csv.ledger.jsonl"}


def _order(data: Path):  # type: ignore[no-untyped-def]
    return auricle.open_corpus(data).column("file").index


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl", ".raven", ".audacity"])
def test_a_killed_call_ends_in_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    whole, out = tmp_path / f"whole{ending}", tmp_path / f"hits{ending}"
    first = run(data, whole)
    score, done = Predictor.score, []

    def dying(*args: object) -> object:
        if len(done) in (2, 3, 5):
            done.append(None)
            raise Killed
        done.append(args)
        return score(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "score", dying)
    for resume in (False, True, True):
        with pytest.raises(Killed):
            run(data, out, resume=resume)
    assert not out.exists()
    with pytest.raises(StorageError, match="continue it with --resume"):
        run(data, out)
    with pytest.raises(StorageError, match="unfinished work of another settings"):
        run(data, out, resume=True, hop=2.0)
    last = run(data, out, resume=True)
    assert len([one for one in done if one]) == 9
    assert _bytes(out) == _bytes(whole)
    assert (last.rows, last.ledger) == (first.rows, first.ledger)
    assert not list(tmp_path.glob(".*"))


def _bytes(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".jsonl")
    return {"" if path.is_file() else str(p.relative_to(path)): p.read_bytes() for p in files}


def test_a_kill_between_the_table_and_its_list_loses_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending in (".csv", ".audacity"):
        out = tmp_path / f"hits{ending}"
        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "write", lambda *_, **__: (_ for _ in ()).throw(Killed))
            with pytest.raises(Killed):
                run(data, out)
        whole = _bytes(out)
        with monkeypatch.context() as patched:
            patched.setattr(Predictor, "score", lambda *_: pytest.fail("it was done"))
            assert run(data, out, resume=True).rows == run(data, tmp_path / f"hits{ending}").rows
        assert _bytes(out) == whole


def test_a_full_disk_in_the_middle_keeps_what_is_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path / "whole.csv")
    write, calls = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        if ".npz" in path.name:
            calls.append(path)
            if len(calls) == 4:
                raise OSError(FULL[0], os.strerror(errno.ENOSPC))
        return write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match="no space left to write"):
            run(data, tmp_path / "hits.csv")
    assert len(list((tmp_path / ".hits.csv.unfinished").glob("part-*.npz"))) == 3
    run(data, tmp_path / "hits.csv", resume=True)
    assert _bytes(tmp_path / "hits.csv") == _bytes(tmp_path / "whole.csv")


def test_files_of_others_are_not_replaced(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "hits.csv"
    out.write_text("mine")
    with pytest.raises(StorageError, match=r"`auricle predict` did not write.*add --overwrite"):
        run(data, out)
    run(data, out, overwrite=True)
    with pytest.raises(StorageError, match="holds 25 predictions of the corpus in by the model toy; expected no file"):
        run(data, out, threshold=0.9)
    out.write_text(out.read_text() + "x")
    with pytest.raises(StorageError, match="that was changed since"):
        run(data, out)
    folder = tmp_path / "hits.raven"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="did not write"):
        run(data, folder)
    assert (folder / "mine.txt").read_text() == "mine"
    run(data, folder, overwrite=True)
    assert run(data, folder).rows == 25
    assert not (folder / "mine.txt").exists()


def test_another_process_is_kept_out(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Predictor.score

    def second(*args: object) -> object:
        monkeypatch.setattr(Predictor, "score", score)
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_predicting as t;"
            "from auricle.corpus import stretches; stretches.UNIT_SECONDS = 20.0;"
            "t.run(Path(sys.argv[2]), Path(sys.argv[3]))"
        )
        words = [sys.executable, "-c", code, str(Path(__file__).parent), str(data), str(tmp_path / "hits.csv")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert "holds work on hits.csv by another process (process" in done.stderr
        return score(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "score", second)
    assert run(data, tmp_path / "hits.csv").rows == 25


def test_a_killed_process_is_continued(data: Path, tmp_path: Path) -> None:
    """SIGKILL, in the middle of work, twice."""
    whole = run(data, tmp_path / "whole.csv")
    out, work = tmp_path / "hits.csv", tmp_path / ".hits.csv.unfinished"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_predicting as t, toy_heads;"
        "from auricle.corpus import stretches; stretches.UNIT_SECONDS = 20.0; import torch; torch.set_num_threads(1);"
        "raw = toy_heads.ToneHead.raw; import time;"
        "toy_heads.ToneHead.raw = lambda *a: (time.sleep(0.5), raw(*a))[1];"
        "t.run(Path(sys.argv[2]), Path(sys.argv[3]), resume=True)"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(data), str(out)]
    for parts in (2, 4):
        process = subprocess.Popen(words)
        while len(list(work.glob("part-*.npz"))) < parts:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not out.exists()
    done = run(data, out, resume=True)
    assert (out.read_bytes(), done.ledger) == ((tmp_path / "whole.csv").read_bytes(), whole.ledger)
    assert not work.exists()


@pytest.mark.parametrize("kind", ["clips", "events", "anomaly"])
def test_shares_are_the_table_of_one_process(data: Path, tmp_path: Path, kind: str) -> None:
    model = tone_model(kind, LoudHead if kind == "anomaly" else ToneHead)
    settings = {"segment": 2.0, "hop": 1.0, "progress": False, "merge": 0.0}
    whole = predict(model, data, tmp_path / "whole.csv", **settings)
    for shard, left in (("2/3", 6), ("3/3", 3)):
        found = predict(model, data, tmp_path / "hits.csv", shard=shard, **settings)
        assert found.rows is None
        assert f"{left} units of 9 left to other shards" in found.notes[-1]
        again = predict(model, data, tmp_path / "hits.csv", shard=shard, resume=True, **settings)
        assert again.rows is None
    with pytest.raises(StorageError, match="continue it with --resume"):
        predict(model, data, tmp_path / "hits.csv", shard="3/3", **settings)
    done = predict(model, data, tmp_path / "hits.csv", shard="1/3", **settings)
    assert (tmp_path / "hits.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (done.rows, done.ledger) == (whole.rows, whole.ledger)
    assert predict(model, data, tmp_path / "hits.csv", shard="2/3", **settings).rows == whole.rows
    assert not list(tmp_path.glob(".*"))


def test_parts_of_shares_on_other_machines_are_put_together(data: Path, tmp_path: Path) -> None:
    """Their unfinished folders are copied into one; `--resume` then writes the table."""
    whole = run(data, tmp_path / "whole.csv")
    for i in (1, 2):
        run(data, tmp_path / f"machine{i}" / "hits.csv", shard=f"{i}/2")
    shutil.copytree(
        tmp_path / "machine2" / ".hits.csv.unfinished", tmp_path / "machine1" / ".hits.csv.unfinished",
        dirs_exist_ok=True,
    )  # fmt: skip
    done = run(data, tmp_path / "machine1" / "hits.csv", resume=True)
    assert (done.rows, _bytes(done.path)) == (whole.rows, _bytes(whole.path))


def test_bad_settings_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    for settings, said in [
        ({"shard": "0/2"}, "shard is '0/2'; expected for example 2/4"),
        ({"shard": "two"}, "shard is 'two'"),
        ({"workers": 2}, "workers is for the engine ray"),
        ({"batch": 0}, "batch is 0"),
        ({"top": 0}, "top is 0"),
    ]:
        with pytest.raises(ConfigError, match=said):
            run(nothing, tmp_path / "x.csv", **settings)
    with pytest.raises(ConfigError, match=r"ends in '\.txt', expected \.csv"):
        run(nothing, tmp_path / "x.txt")
    with pytest.raises(CorpusError, match="there is no folder or file"):
        run(nothing, tmp_path / "x.csv")


def test_what_is_lost_is_listed(data: Path, tmp_path: Path) -> None:
    corpus = auricle.open_corpus(data)
    wave = 0.1 * np.random.default_rng(0).standard_normal(RATE * 12)
    wave[RATE * 6] = np.inf
    soundfile.write(data / "silent.wav", wave, RATE, subtype="FLOAT")
    (data / "short.wav").unlink()
    done = predict(tone_model(), corpus, tmp_path / "hits.csv", segment=2.0, hop=1.0, progress=False)
    assert {name: reason.cause for name, reason in done.broken.items()} == {
        "short.wav": "missing", "short.wav [0 s + 0.7 s]": "missing", "silent.wav [5 s + 3 s]": "not finite",
    }  # fmt: skip
    assert done.ledger.sentence == (
        "4 of 5 recordings used; 1 skipped: 1 missing. 79 of 82 windows used; 3 skipped: 2 not finite, 1 missing"
    )
    lines = [json.loads(line) for line in beside(done.path).read_text().splitlines()]
    assert [line["count"] for line in lines if line.get("name") == "silent.wav [5 s + 3 s]"] == [2]


def test_nothing_that_can_be_predicted_is_an_error(data: Path, tmp_path: Path) -> None:
    corpus = auricle.open_corpus(data)
    for file in corpus.column("file"):
        (data / file).unlink()
    with pytest.raises(CorpusError, match=r"nothing of in could be predicted .*no such file"):
        predict(tone_model(), corpus, tmp_path / "hits.csv", segment=2.0, progress=False)
    assert not list(tmp_path.glob("*hits*"))
    assert not list(tmp_path.glob(".*"))


def test_a_dead_recorder_is_remarked(tmp_path: Path) -> None:
    wave = np.zeros(RATE * 20)
    wave[: RATE * 5] = 0.1 * np.sin(np.arange(RATE * 5))
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", wave, RATE)
    done = run(tmp_path / "in", tmp_path / "hits.csv", hop=2.0)
    assert done.ledger.sentence == "1 of 1 recording used. 10 of 10 windows used (7 silent)"
    assert [(e.name, e.count) for e in done.ledger.entries] == [("a.wav [6 s + 14 s]", 7)]


@pytest.mark.slow
@pytest.mark.distributed
def test_ray_makes_the_same_table(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        whole = run(data, tmp_path / "whole.csv")
        done = run(data, tmp_path / "hits.csv", engine="ray", workers=2)
    finally:
        ray.shutdown()
    assert _bytes(done.path) == _bytes(whole.path)
    assert done.ledger == whole.ledger
