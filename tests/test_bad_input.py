"""What a user's folder, label table, run or disk can have wrong with it, met through the command itself.

Every case ends with a message that names what is wrong and what to do (exit code 2), or goes on and says what was left
out (exit code 0). An exception that escapes `main` fails the test, so no case can end in a traceback.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from auricle.cli import main

RATE = 16000
TINY = [
    "--loader.batch", "8", "--loader.workers", "0", "--loader.sampling", "clip",
    "--train.steps", "3", "--train.warmup-steps", "1", "--train.log-every", "1", "--train.threads", "1",
    "--train.save-every", "2", "--train.precision", "fp32",
    "--encoder.depth", "2", "--encoder.width", "48", "--encoder.frames", "64", "--window.seconds", "0.64",
]  # fmt: skip
QUICK = ["--probes", "linear", "--seeds", "1", "--no-controls", "--search.epochs", "2", "--search.lr-count", "2"]


def tone(pitch: float, seconds: float = 0.7, rate: int = RATE, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * pitch * time) + noise).astype(np.float32)


def write_tones(folder: Path, classes: int = 2, clips: int = 12) -> Path:
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True, exist_ok=True)
        for clip in range(clips):
            wave = tone(200.0 * 4**number + 10 * clip, seed=100 * number + clip)
            soundfile.write(folder / f"class{number}" / f"good{clip}.wav", wave, RATE)
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def run(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["pretrain", "audiomosaic", "--data", str(good), "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are printed for a wide terminal, where long names are not cut."""
    monkeypatch.setenv("COLUMNS", "250")


class Said:
    """Runs the command and keeps what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        self.capsys.readouterr()
        code = main([str(word) for word in arguments])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def refused(self, *arguments: str | Path) -> str:
        """The one message of a command that can't go on."""
        assert self(*arguments) == 2
        lines = [line for line in self.err.splitlines() if line.startswith("auricle: ")]
        assert len(lines) == 1, self.err
        return self.err[self.err.index("auricle: ") :]


@pytest.fixture
def auricle(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow past `room` bytes: the system refuses each further write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Folders


@pytest.mark.parametrize("verb", ["scan", "pretrain", "embed", "probe"])
@pytest.mark.parametrize(("name", "said"), [("absent", "no folder or file"), ("texts", "no audio")])
def test_a_folder_that_is_missing_or_without_audio(
    auricle: Said, run: Path, tmp_path: Path, verb: str, name: str, said: str
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no sound here")
    folder, out = tmp_path / name, tmp_path / "out"
    commands = {
        "scan": ["corpus", "scan", folder],
        "pretrain": ["pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY],
        "embed": ["embed", run, "--data", folder, "--out", out / "vectors.parquet"],
        "probe": ["probe", run, "--task", "folder", "--data", folder, "--out", out],
    }
    message = auricle.refused(*commands[verb])
    assert said in message
    assert str(folder) in message
    assert not out.exists()


@pytest.mark.parametrize("verb", ["scan", "pretrain", "embed", "probe"])
def test_a_folder_of_broken_recordings_only(auricle: Said, run: Path, tmp_path: Path, verb: str) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(10):
            (folder / label / f"{number}.wav").write_bytes(b"not audio")
    commands = {
        "scan": ["corpus", "scan", folder],
        "pretrain": ["pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY],
        "embed": ["embed", run, "--data", folder, "--out", out / "vectors.parquet"],
        "probe": ["probe", run, "--task", "folder", "--data", folder, "--out", out],
    }
    message = auricle.refused(*commands[verb])
    assert ".wav" in message
    assert not list(tmp_path.rglob("*.parquet"))


# Recordings


def cut(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def write_odd(folder: Path) -> None:
    """Every kind of recording that somebody's folder may hold, beside good ones."""
    low, high = folder / "class0", folder / "class1"
    wave = tone(300)
    soundfile.write(low / "truncated.wav", wave, RATE)
    cut(low / "truncated.wav", 0.5)
    soundfile.write(low / "truncated.flac", np.random.default_rng(0).standard_normal(RATE) * 0.1, RATE)
    cut(low / "truncated.flac", 0.5)
    (low / "empty.wav").write_bytes(b"")
    soundfile.write(high / "noframes.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(high / "nan.wav", np.where(np.arange(len(wave)) == 700, np.nan, wave), RATE, subtype="FLOAT")
    soundfile.write(high / "inf.wav", np.where(np.arange(len(wave)) == 700, np.inf, wave), RATE, subtype="FLOAT")
    (high / "text.wav").write_bytes(b"this is a text")
    soundfile.write(low / "silent.wav", np.zeros(RATE // 2, np.float32), RATE)
    soundfile.write(low / "single.wav", np.full(1, 0.5, np.float32), RATE)
    soundfile.write(low / "eight.wav", np.stack([tone(200, seed=s) for s in range(8)], 1), RATE)
    soundfile.write(high / "4k.wav", tone(900, rate=4000), 4000)
    soundfile.write(high / "192k.wav", tone(900, rate=192000), 192000)
    # libsndfile takes any bytes for a name; so do the folders of users.
    for number, name in enumerate(ODD_NAMES):
        soundfile.write(low / name, tone(250 + 5 * number, seed=number), RATE)


ODD_NAMES = ("with space.wav", "Vögel 鳥 🐦.wav", "two\nlines.wav", "[bold]a+b; 'c' \"d\", 100%.wav")
BROKEN = {
    "class0/truncated.wav": "truncated",
    "class0/truncated.flac": "truncated",
    "class0/empty.wav": "empty",
    "class1/noframes.wav": "no samples",
    "class1/nan.wav": "NaN",
    "class1/inf.wav": "infinite",
    "class1/text.wav": "not readable as audio",
}
USABLE = 24 + 5 + len(ODD_NAMES)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tones(tmp_path_factory.mktemp("odd"))
    write_odd(folder)
    return folder


def check_broken(listed: dict[str, str], also: tuple[str, ...] = ()) -> None:
    assert set(listed) == set(BROKEN) | set(also)
    for file, reason in BROKEN.items():
        assert reason in listed[file], (file, listed[file])


def test_scan_lists_every_bad_recording_and_keeps_the_others(auricle: Said, odd: Path, tmp_path: Path) -> None:
    assert auricle("corpus", "scan", odd, "--out", tmp_path / "table.parquet") == 0
    for file, reason in BROKEN.items():
        line = next((text for text in auricle.out.splitlines() if Path(file).name in text), "")
        assert line, f"{file} is not listed"
        assert reason in auricle.out
    assert "silent.wav" in auricle.out
    assert str(len(BROKEN)) in auricle.out
    table = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert len(table) == USABLE
    rows = {row["file"]: row for row in table}
    assert rows["class0/eight.wav"]["scan_channels"] == 8
    assert rows["class1/192k.wav"]["scan_rate"] == 192000
    assert rows["class0/silent.wav"]["scan_silent"]
    assert {f"class0/{name}" for name in ODD_NAMES} <= rows.keys()


def test_pretraining_passes_over_every_bad_recording_and_lists_it(auricle: Said, odd: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # Two epochs: each file comes up.
    assert auricle("pretrain", "audiomosaic", "--data", odd, "--out", out, *TINY, "--train.steps", "10") == 0
    # Silent clips, and clips of one sample, are no material for a contrast.
    check_broken(json.loads((out / "corpus.json").read_text())["broken"], ("class0/silent.wav", "class0/single.wav"))
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 10
    assert np.isfinite(losses).all()


def test_embed_lists_every_bad_recording_and_writes_the_others(
    auricle: Said, run: Path, odd: Path, tmp_path: Path
) -> None:
    assert auricle("embed", run, "--data", odd, "--out", tmp_path / "vectors.parquet") == 0
    for file, reason in BROKEN.items():
        line = next((text for text in auricle.err.splitlines() if file in text), "")
        assert reason in line, (file, auricle.err)
    table = pq.read_table(tmp_path / "vectors.parquet")
    files = table["file"].to_pylist()
    assert len(files) == USABLE
    assert {f"class0/{name}" for name in ODD_NAMES} <= set(files)
    assert np.isfinite(np.array(table["embedding"].to_pylist())).all()


def test_probing_leaves_bad_recordings_out_and_says_so(auricle: Said, run: Path, odd: Path, tmp_path: Path) -> None:
    assert auricle("probe", run, "--task", "folder", "--data", odd, "--out", tmp_path / "out", *QUICK) == 0
    (line,) = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    result = json.loads(line)
    check_broken(result["missing"])
    assert result["clips"] == USABLE
    assert auricle("report", run, "--out", tmp_path / "report.html") == 0


def test_a_recording_that_may_not_be_read(
    auricle: Said, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tones(tmp_path / "data", clips=6)
    real, closed = auricle_stream(), "good3.wav"

    # Permissions stop nobody who runs as root, so the refusal comes from here.
    def refuse(source: object) -> object:
        if str(source).endswith(closed):
            raise PermissionError(13, "Permission denied", str(source))
        return real(source)

    monkeypatch.setattr("auricle.audio.decode._stream", refuse)
    assert auricle("corpus", "scan", folder, "--out", tmp_path / "t.parquet") == 0
    assert auricle.out.count("good3.wav") >= 2
    assert "permission" in auricle.out.lower()
    assert auricle("embed", run, "--data", folder, "--out", tmp_path / "v.parquet") == 0
    assert auricle.err.count("Permission denied") == 2
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 10
    out = tmp_path / "run"
    assert auricle("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY) == 0
    broken = json.loads((out / "corpus.json").read_text())["broken"]
    assert set(broken) == {"class0/good3.wav", "class1/good3.wav"}


def auricle_stream() -> Callable[[object], object]:
    from auricle.audio import decode

    return decode._stream  # type: ignore[return-value]


def test_one_bad_recording_among_a_thousand_stops_nothing(auricle: Said, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((1000, RATE // 10)).astype(np.float32)
    noise[400, 50] = np.nan
    for number, wave in enumerate(noise):
        soundfile.write(folder / f"{number:03d}.wav", wave, RATE, subtype="FLOAT")
    assert auricle("corpus", "scan", folder, "--out", tmp_path / "t.parquet") == 0
    assert "400.wav" in auricle.out
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 999
    out = tmp_path / "run"
    steps = ["--loader.batch", "250", "--train.steps", "4"]
    assert auricle("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY, *steps) == 0
    assert set(json.loads((out / "corpus.json").read_text())["broken"]) == {"400.wav"}
    assert auricle("embed", run, "--data", folder, "--out", tmp_path / "v.parquet", "--batch", "64") == 0
    assert "400.wav" in auricle.err
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 999


# Labels


def test_a_label_table_that_names_missing_files(auricle: Said, run: Path, good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "data"))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
    rows = [f"{name},{name[:6]}" for name in [*names, "class0/gone.wav", "class1/lost one.wav"]]
    (folder / "metadata.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    assert auricle("corpus", "scan", folder, "--out", tmp_path / "t.parquet") == 0
    assert "gone.wav" in auricle.out
    assert "lost one.wav" in auricle.out
    assert "metadata.csv names it, but there is no such file" in auricle.out
    assert auricle("embed", run, "--data", folder, "--out", tmp_path / "v.parquet") == 0
    assert "gone.wav" in auricle.err
    assert pq.read_table(tmp_path / "v.parquet").num_rows == len(names)
    assert auricle("probe", run, "--task", "folder", "--data", folder, "--out", tmp_path / "out", *QUICK) == 0
    result = json.loads((tmp_path / "out" / "results.jsonl").read_text())
    assert set(result["missing"]) == {"class0/gone.wav", "class1/lost one.wav"}
    out = tmp_path / "run"
    assert auricle("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY) == 0
    assert len(json.loads((out / "corpus.json").read_text())["broken"]) == 2


def test_a_label_table_that_names_nothing_but_missing_files(auricle: Said, good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "data"))
    (folder / "metadata.csv").write_text("file,label\na.wav,x\nb.wav,y\n")
    message = auricle.refused("corpus", "scan", folder)
    assert "metadata.csv" in message
    assert "'a.wav'" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label\nclass0/good0.wav,a,b\n", "line 2"),
        ("name,label\nclass0/good0.wav,a\n", "`file`"),
        ("file,fold\nclass0/good0.wav,first\n", "'first'"),
        ("", "lists nothing"),
    ],
)
def test_a_damaged_label_table(auricle: Said, good: Path, tmp_path: Path, text: str, said: str) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "data"))
    (folder / "metadata.csv").write_text(text)
    message = auricle.refused("corpus", "scan", folder)
    assert "metadata.csv" in message
    assert said in message


@pytest.mark.parametrize(
    ("classes", "clips", "said"), [(1, 8, "expected at least two classes"), (2, 2, "4 labelled clips for 5 folds")]
)
def test_one_class_only_and_fewer_clips_than_folds(
    auricle: Said, run: Path, tmp_path: Path, classes: int, clips: int, said: str
) -> None:
    folder = write_tones(tmp_path / "data", classes, clips)
    arguments = ["probe", run, "--task", "folder", "--data", folder, "--out", tmp_path / "out", *QUICK]
    message = auricle.refused(*arguments)
    assert said in message
    assert not list(tmp_path.rglob("results.jsonl"))


def test_fewer_clips_than_a_batch(auricle: Said, tmp_path: Path) -> None:
    folder, out = write_tones(tmp_path / "data", 1, 5), tmp_path / "run"
    message = auricle.refused("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY)
    assert "8" in message
    assert "5" in message
    assert "batch" in message


# Runs


def weights(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*")) / "encoder.safetensors"


def other_encoder(run: Path) -> str:
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["encoder"]["depth"] = 3
    (run / "recipe.json").write_text(json.dumps(recipe))
    return "another model"


def truncated(run: Path) -> str:
    cut(weights(run), 0.7)
    return "truncated"


def pickled(run: Path) -> str:
    torch.save({name: tensor.clone() for name, tensor in load_file(weights(run)).items()}, weights(run))
    return "pickle"


def damaged_recipe(run: Path) -> str:
    cut(run / "recipe.json", 0.5)
    return "recipe.json"


def without_checkpoints(run: Path) -> str:
    shutil.rmtree(run / "checkpoints")
    return "no checkpoint"


@pytest.mark.parametrize("harm", [other_encoder, truncated, pickled, damaged_recipe, without_checkpoints])
@pytest.mark.parametrize("verb", ["embed", "probe"])
def test_a_run_that_cant_be_read(
    auricle: Said, copy: Path, good: Path, tmp_path: Path, harm: Callable[[Path], str], verb: str
) -> None:
    said = harm(copy)
    out = tmp_path / "out"
    tail = ["--out", out / "v.parquet"] if verb == "embed" else ["--task", "folder", "--out", out, *QUICK]
    message = auricle.refused(verb, copy, "--data", good, *tail)
    assert said in message
    assert str(copy) in message
    assert not out.exists()


@pytest.mark.parametrize("harm", [truncated, pickled])
def test_resuming_from_a_damaged_checkpoint(auricle: Said, copy: Path, good: Path, harm: Callable[[Path], str]) -> None:
    harm(copy)
    arguments = ["pretrain", "audiomosaic", "--data", good, "--out", copy, "--resume", *TINY, "--train.steps", "6"]
    message = auricle.refused(*arguments)
    assert str(copy) in message


def test_a_folder_that_is_no_run(auricle: Said, good: Path, tmp_path: Path) -> None:
    message = auricle.refused("embed", good, "--data", good, "--out", tmp_path / "v.parquet")
    assert str(good) in message
    assert "recipe.json" in message
    assert str(good) in auricle.refused("report", good, "--out", tmp_path / "report.html")


# A full disk

needs_limits = pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")


@needs_limits
@pytest.mark.parametrize("room", [0, 2_000, 60_000])
def test_pretraining_on_a_full_disk(auricle: Said, good: Path, tmp_path: Path, room: int) -> None:
    """Without room for the recipe, for the metrics, for a checkpoint."""
    out = tmp_path / "run"
    with full_disk(room):
        message = auricle.refused("pretrain", "audiomosaic", "--data", good, "--out", out, *TINY)
    assert str(out) in message
    assert "space" in message
    assert not list(out.glob("checkpoints/step-*"))


@needs_limits
def test_scanning_on_a_full_disk(auricle: Said, good: Path, tmp_path: Path) -> None:
    with full_disk(500):
        message = auricle.refused("corpus", "scan", good, "--out", tmp_path / "t.parquet")
    assert str(tmp_path / "t.parquet") in message
    assert "space" in message
    assert not list(tmp_path.iterdir())


@needs_limits
def test_embedding_on_a_full_disk(auricle: Said, run: Path, good: Path, tmp_path: Path) -> None:
    with full_disk(500):
        message = auricle.refused("embed", run, "--data", good, "--out", tmp_path / "v.parquet")
    assert str(tmp_path / "v.parquet") in message
    assert "space" in message
    assert not list(tmp_path.iterdir())


@needs_limits
def test_probing_on_a_full_disk(auricle: Said, run: Path, good: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["probe", run, "--task", "folder", "--data", good, "--out", out, *QUICK]
    with full_disk(500):
        message = auricle.refused(*arguments)
    assert str(out) in message
    assert "space" in message
    # With the tokens there, the results are next.
    assert auricle(*arguments) == 0
    (out / "results.jsonl").unlink()
    with full_disk(500):
        message = auricle.refused(*arguments)
    assert str(out) in message
    assert "space" in message
    assert not (out / "results.jsonl").exists()
    assert auricle(*arguments) == 0


@needs_limits
def test_reporting_on_a_full_disk(auricle: Said, run: Path, tmp_path: Path) -> None:
    with full_disk(100_000):
        message = auricle.refused("report", run, "--out", tmp_path / "report.html")
    assert str(tmp_path / "report.html") in message
    assert "space" in message
    assert not list(tmp_path.iterdir())


def test_a_place_that_cant_be_written(auricle: Said, run: Path, good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    inside = tmp_path / "file" / "out"
    for arguments in (
        ["corpus", "scan", good, "--out", inside / "t.parquet"],
        ["pretrain", "audiomosaic", "--data", good, "--out", inside, *TINY],
        ["embed", run, "--data", good, "--out", inside / "v.parquet"],
        ["probe", run, "--task", "folder", "--data", good, "--out", inside, *QUICK],
        ["report", run, "--out", inside / "report.html"],
    ):
        assert str(tmp_path / "file") in auricle.refused(*arguments)
