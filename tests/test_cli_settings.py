"""Settings of commands: files, flags that override them, devices; lists that import nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import yaml
from toy_pretraining import write_corpus

from auricle.cli import VERBS, main
from auricle.cli.arguments import expand, read_settings
from auricle.errors import ConfigError

QUICK = {
    "loader": {"batch": 4, "workers": 0},
    "window": {"seconds": 1.6},
    "train": {"steps": 2, "warmup_steps": 1, "threads": 1, "precision": "fp32", "save_every": 1, "log_every": 1},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("clips") / "clips", clips=8)


def flags(argv: list[str], file: Path, settings: dict) -> list[str]:
    file.write_text(json.dumps(settings))
    return expand([*argv, "--config", str(file)])


def test_a_file_becomes_flags_that_the_command_line_overrides(tmp_path: Path) -> None:
    settings = {
        "model": "runs/a", "seeds": 2, "controls": False, "probes": ["linear", "knn"], "search": {"lr_count": 3},
        "out": None,
    }  # fmt: skip
    found = flags(["--seeds", "5"], tmp_path / "a.json", settings)
    assert found == [
        "runs/a", "--seeds", "2", "--no-controls", "--probes", "linear", "knn", "--search.lr-count", "3", "--out",
        "None", "--seeds", "5", "--config", str(tmp_path / "a.json"),
    ]  # fmt: skip
    # A model on the command line replaces that of the file.
    assert flags(["runs/b"], tmp_path / "a.json", settings)[0] == "runs/b"
    assert "runs/a" not in flags(["runs/b"], tmp_path / "a.json", settings)
    assert expand(["runs/b", "--seeds", "1"]) == ["runs/b", "--seeds", "1"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.json", None, "can't be read"),
        ("bad.json", "{", "can't be read"),
        ("bad.yaml", "a: [1", "can't be read"),
        ("list.json", "[1, 2]", "holds no settings by name"),
        ("empty.yaml", "", "holds no settings by name"),
    ],
)
def test_files_that_hold_no_settings(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_settings(tmp_path / name)


def test_pretrain_from_a_file_then_from_what_the_run_wrote(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({"recipe": "cola", "data": str(clips), **QUICK}))
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    assert main(["pretrain", "--config", str(file), "--out", str(one), "--train.seed", "7"]) == 0
    wrote = json.loads((one / "recipe.json").read_text())
    assert (wrote["name"], wrote["train"]["steps"], wrote["train"]["seed"]) == ("cola", 2, 7)
    # The recipe that a run wrote is a settings file like any other: the same weights come out.
    again = ["pretrain", "--config", str(one / "recipe.json"), "--data", str(clips)]
    assert main([*again, "--out", str(two)]) == 0
    weights = [folder / "checkpoints/step-00000002/encoder.safetensors" for folder in (one, two)]
    assert weights[0].read_bytes()[-4096:] == weights[1].read_bytes()[-4096:]
    # Flags override it, and an encoder of another family by name replaces its own.
    assert main([*again, "--out", str(three), "--train.steps", "1", "--device", "cpu"]) == 0
    assert json.loads((three / "recipe.json").read_text())["train"]["steps"] == 1
    capsys.readouterr()
    file.write_text(yaml.safe_dump({"train": {"stpes": 3}}))
    assert main(["pretrain", "cola", "--config", str(file), "--data", str(clips), "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert "small.yaml" in said
    assert "did you mean 'steps'" in said


def test_trust_is_never_taken_from_a_file(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("model: hf:x/y\ntrust_remote_code: true\n")
    assert main(["embed", "--config", str(file), "--data", str(clips), "--out", str(tmp_path / "v.parquet")]) == 2
    assert "set --trust-remote-code on the command line" in capsys.readouterr().err
    evil = {"kind": "TransformersEncoderConfig", "model": "x/y", "trust_remote_code": True}
    file.write_text(yaml.safe_dump({"recipe": "cola", "encoder": evil}))
    assert main(["pretrain", "--config", str(file), "--data", str(clips), "--out", str(tmp_path / "x")]) == 2
    assert "data does not decide" in capsys.readouterr().err


def test_spellings_of_names(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Dotted names and arguments of the command in a file of `pretrain`; underscores in a flag.
    file = tmp_path / "dotted.yaml"
    flat = {f"{group}.{name}": value for group, held in QUICK.items() for name, value in held.items()}
    file.write_text(yaml.safe_dump({"recipe": "cola", "data": str(clips), "device": "cpu", **flat}))
    assert main(["pretrain", "--config", str(file), "--out", str(tmp_path / "run"), "--train.save_every", "2"]) == 0
    wrote = json.loads((tmp_path / "run/recipe.json").read_text())["train"]
    assert (wrote["steps"], wrote["save_every"], wrote["device"]) == (2, 2, "cpu")
    # Several arguments without a flag stay together.
    found = flags(["runs/a", "runs/b", "--ranks"], tmp_path / "r.json", {"task": ["esc*"]})
    assert found == ["runs/a", "runs/b", "--task", "esc*", "--ranks", "--config", str(tmp_path / "r.json")]
    capsys.readouterr()
    words = ["probe", "runs/none", "--task", "esc10", "--protocol", "hear", "--published_search"]
    assert main(words) == 2
    assert "leave --published-search out" in capsys.readouterr().err


def test_every_verb_that_computes_takes_a_device(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "level_meter.py").write_text(
        "class Level:\n    rate, width = 8000, 1\n    def __call__(self, wave):\n"
        "        return wave.std(1, keepdim=True)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        out = tmp_path / "v.parquet"
        settings = tmp_path / "embed.json"
        settings.write_text(
            json.dumps({"data": str(clips), "out": str(out), "device": "cpu", "segment": 0.4, "hop": 0.2})
        )
        assert main(["embed", "level_meter:Level", "--config", str(settings)]) == 0
        assert out.exists()
        for verb in (
            ["embed", "level_meter:Level", "--data", str(clips), "--out", str(out)],
            ["probe", "level_meter:Level", "--task", "folder", "--data", str(clips), "--out", str(tmp_path / "p")],
            ["finetune", "level_meter:Level", "--task", "folder", "--data", str(clips), "--out", str(tmp_path / "f")],
        ):
            with pytest.raises(SystemExit):
                main([*verb, "--device", "gpu"])
            assert "cuda" in capsys.readouterr().err
        assert main(["embed", "level_meter:Level", "--data", str(clips), "--out", str(out), "--hop", "0.2"]) == 2
        assert "hop needs segment" in capsys.readouterr().err
    finally:
        sys.path.remove(str(tmp_path))


def test_a_task_and_a_suite_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--task", "esc10", "--suite", "hear"]):
        assert main(["probe", "runs/none", *more]) == 2
        assert "either --task or --suite" in capsys.readouterr().err
    assert main(["probe", "runs/none", "--suite", "hear"]) == 2
    assert "--suite needs --data" in capsys.readouterr().err


LIGHT = """
import sys
from auricle.cli import main
try:
    main({words!r})
except SystemExit:
    pass
print(sorted(m for m in {heavy!r} if m in sys.modules), file=sys.stderr)
"""
HEAVY = ("torch", "sklearn", "scipy", "pyarrow", "datasets", "transformers")


@pytest.mark.parametrize("words", [["--help"], ["tasks"], ["recipes"], ["pretrain", "--help"], ["data", "list"]])
def test_lists_import_nothing_heavy(words: list[str]) -> None:
    code = LIGHT.format(words=words, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert len(done.stdout.splitlines()) > 10


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = (*HEAVY, "numpy", "rich")
    code = f"import sys, auricle; dir(auricle); print(sorted(m for m in {heavy!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {verb}" in listed for verb in VERBS)
    assert max(len(line) for line in listed.splitlines()) <= 110


def test_every_public_name_opens_and_is_documented() -> None:
    import auricle

    assert sorted(auricle.__all__) == auricle.__all__
    for name in auricle.__all__:
        assert getattr(auricle, name).__doc__, name
    assert set(auricle.__all__) <= set(dir(auricle))
    with pytest.raises(AttributeError, match="no attribute 'pretarin'"):
        _ = auricle.pretarin  # type: ignore[attr-defined]


def test_segments_of_a_recording_get_a_row_each(clips: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    import auricle

    class Level:
        rate, width = 8000, 1

        def __call__(self, wave):
            return wave.std(1, keepdim=True)

    from auricle.encoders.callables import FrozenCallable
    from auricle.models import Model

    model = Model(FrozenCallable(Level(), name="level"), None, tmp_path)
    table = auricle.embed(model, clips, tmp_path / "v.parquet", segment=0.4, hop=0.2, progress=False)
    rows = pq.read_table(table.path)
    longest = max(soundfile.info(file).duration for file in clips.rglob("*.wav"))
    assert rows.num_rows > len(list(clips.rglob("*.wav")))
    starts = sorted(set(rows["start"].to_pylist()))
    assert starts[:3] == pytest.approx([0.0, 0.2, 0.4])
    assert starts[-1] < longest


def test_a_file_serves_verbs_in_groups_and_verbs_of_lists(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, listed = tmp_path / "scan.yaml", tmp_path / "results.yaml"
    scan.write_text(yaml.safe_dump({"path": str(clips), "out": str(tmp_path / "table.parquet")}))
    assert main(["corpus", "scan", "--config", str(scan)]) == 0
    assert (tmp_path / "table.parquet").exists()
    listed.write_text(yaml.safe_dump({"paths": [str(tmp_path)], "encoder": ["mine"], "format": "csv"}))
    assert main(["results", "--config", str(listed)]) == 2
    assert "no results.jsonl in or below" in capsys.readouterr().err
