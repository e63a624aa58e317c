"""Parts of every kind from a module outside the package: listed, checked, trained and evaluated by the commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_pretraining import write_corpus

from auricle.errors import ConfigError
from auricle.plugins import load_plugins

PARTS = Path(__file__).parent / "outside_parts.py"
QUICK = [
    "--loader.batch", "8", "--loader.workers", "0", "--train.steps", "4", "--train.warmup-steps", "1",
    "--train.threads", "1", "--train.save-every", "4", "--train.precision", "fp32",
]  # fmt: skip
PROBE = ["--seeds", "1", "--search.epochs", "2", "--search.lr-count", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the module, clips, and a run of its recipe."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copy(PARTS, folder / "outside_parts.py")
    write_corpus(folder / "clips", clips=24)
    run = ["pretrain", "outside-level", "--data", "clips", "--out", "run", *QUICK]
    assert command(folder, run).returncode == 0
    return folder


def command(folder: Path, words: list[str], plugin: bool = True, path: str = "") -> subprocess.CompletedProcess[str]:
    flag = ["--plugin", "outside_parts"] if plugin else []
    environment = {**os.environ, "PYTHONPATH": path} if path else None
    return subprocess.run(
        [sys.executable, "-m", "auricle.cli", *flag, *words],
        cwd=folder, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def said(folder: Path, *words: str) -> str:
    done = command(folder, list(words))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recipes_are_listed_described_and_checked(home: Path) -> None:
    listed = said(home, "recipes")
    assert "outside-level" in listed
    assert "cola" in listed
    assert "Not shown to learn" in " ".join(said(home, "recipes", "outside-level").split())
    for name in ("outside-level", "outside-masked"):
        found = said(home, "check", "recipe", name)
        assert "the same weights twice" in found
        assert "fault" not in found
    assert "outside-level" not in command(home, ["recipes"], plugin=False).stdout


def test_the_objective_meets_every_encoder_and_the_encoder_every_objective(home: Path) -> None:
    found = said(home, "matrix", "outside-level")
    assert "outside-linear" in found
    assert "audio-ntt" in found
    own = [line for line in found.splitlines() if "outside-linear" in line]
    assert any("trains" in line for line in own)
    other = said(home, "matrix", "byol-a")
    assert any("outside-linear" in line and "trains" in line for line in other.splitlines())
    assert "trains" in said(home, "check", "objective", "outside_parts:OutsideObjectiveConfig")


def test_a_recipe_of_the_package_on_an_outside_encoder(home: Path) -> None:
    words = ["pretrain", "cola", "--encoder", "outside-linear", "--data", "clips", "--out", "other", *QUICK]
    assert command(home, words).returncode == 0
    assert json.loads((home / "other/recipe.json").read_text())["encoder"]["kind"] == "OutsideEncoderConfig"


def test_a_run_is_evaluated_by_outside_probes_tasks_and_metrics(home: Path) -> None:
    assert "outside_folder" in said(home, "tasks")
    assert "outside_max" in said(home, "tasks", "outside_folder")
    # Tones of 24 pitches in four classes.
    words = ["probe", "run", "--task", "outside_folder", "--data", "clips", "--probes", "outside_max", "linear", *PROBE]
    said(home, *words)
    lines = (home / "run/probes/outside_folder/results.jsonl").read_text().splitlines()
    results = [json.loads(line) for line in lines]
    assert {r["probe"] for r in results} == {"outside_max", "linear"}
    for result in results:
        assert result["metrics"]["outside_error"] == pytest.approx(1 - result["metrics"]["accuracy"])
    assert "error rate" in said(home, "results", "run", "--metric", "outside_error", "--task", "outside_folder")
    said(home, "probe", "run", "--task", "outside_typed", "--data", "clips", *PROBE)
    (typed, *_) = map(json.loads, (home / "run/probes/outside_typed/results.jsonl").read_text().splitlines())
    assert (typed["type_name"], typed["probe"]) == ("outside_clips", "outside_max")
    assert "outside_typed" in said(home, "results", "run")
    said(home, "report", "run")


def test_a_run_of_a_plug_in_says_what_it_needs_where_that_is_missing(home: Path) -> None:
    done = command(home, ["embed", "run", "--data", "clips", "--out", "v.parquet"], plugin=False)
    assert done.returncode == 2
    assert "OutsideEncoderConfig" in done.stderr
    assert "--plugin" in done.stderr


def test_an_installed_package_is_found_by_its_entry_point(home: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    about = site / "outside-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(PARTS, site / "outside_parts.py")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[auricle.plugins]\nparts = outside_parts\n")
    path = os.pathsep.join([str(site), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
    done = command(tmp_path, ["recipes"], plugin=False, path=path)
    assert done.returncode == 0, done.stderr
    assert "outside-level" in done.stdout


def test_a_plug_in_that_cant_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"plug-in no_such_parts can't be imported .*leave --plugin no_such_parts out"
    ):
        load_plugins(["no_such_parts"])
    (tmp_path / "broken_parts.py").write_text("raise RuntimeError('half written')\n")
    with pytest.raises(ConfigError, match="RuntimeError: half written"):
        load_plugins(["broken_parts"])
    (tmp_path / "clashing_parts.py").write_text(
        "from auricle.recipes.registry import Method\n"
        "COLA = Method(name='cola', paradigm='contrastive', summary='Another one.')\n"
        "@COLA.size('tiny')\ndef make():\n    raise RuntimeError\n"
    )
    with pytest.raises(ConfigError, match="two methods are named 'cola'"):
        load_plugins(["clashing_parts"])
