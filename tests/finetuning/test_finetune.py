"""Fine-tuning end to end: it learns, compares with probes clip by clip, resumes when killed, and loads again."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError, CorpusError, MissingExtraError, TrainingError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.finetuning import fold as finetune_fold
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.fold import schedule
from auricle.finetuning.run import finetune_encoder
from auricle.models import load
from auricle.models.folder import read_card
from auricle.probes import SearchConfig
from auricle.results.predictions import load_predictions
from auricle.results.record import Result, read_results
from auricle.results.scoring import compare_predictions
from auricle.tasks.card import TaskCard
from auricle.tensor_files import tensor_bytes
from auricle.training.lock import RunLock

CARD = TaskCard(name="toy", labels="single", protocol="folds", folds=3)
FAST = FinetuneConfig(epochs=4, batch=6, lr=1e-3, head_lr=1e-2, spec_time=0.0, spec_freq=0.0, precision="fp32")


def run(encoder: FrozenEncoder, corpus: Corpus, out: Path, **settings: Any) -> list[Result]:
    given: dict[str, Any] = {"config": FAST, "seeds": 1, "progress": False, **settings}
    card = given.pop("card", CARD)
    return finetune_encoder(encoder, card, corpus, out=out, **given)


@pytest.mark.parametrize("mode", ["full", "last_n", "lora", "head"])
def test_every_mode_learns_tones(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path, mode: str
) -> None:
    config = FAST.replace(mode=mode, last_n=1, epochs=8)
    (result,) = run(encoder, tones(45), tmp_path, config=config, controls=False)
    assert result.value > 0.8
    assert result.probe == f"finetune_{mode}"
    assert 1 / 3 < result.low <= result.value <= result.high
    size = {name: p.numel() for name, p in encoder.encoder.named_parameters()}
    trained = {
        "full": sum(size.values()),
        "last_n": sum(n for name, n in size.items() if name.startswith(("blocks.", "norm.", "fc_norm."))),
        "lora": 8 * ((32 + 96) + 2 * 32 + 2 * (32 + 128)),
        "head": 0,
    }
    assert result.params == trained[mode] + 3 * 33


def test_a_second_process_in_the_same_folder_is_refused(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    corpus, settings = tones(9), {"config": FAST.replace(mode="head", epochs=1), "controls": False}
    with (
        RunLock(tmp_path, "another one"),
        pytest.raises(CheckpointError, match=r"holds fine-tuning by another process \(process \d+ .* another --out"),
    ):
        run(encoder, corpus, tmp_path, **settings)
    assert not (tmp_path / "results.jsonl").exists()
    assert run(encoder, corpus, tmp_path, **settings)


def test_shuffled_labels_teach_nothing(tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path) -> None:
    corpus = tones(45)
    draw = np.random.default_rng(0)
    shuffled = corpus.with_column("label", [corpus[int(i)].labels[0] for i in draw.permutation(45)])
    (result,) = run(encoder, shuffled, tmp_path, controls=False)
    assert abs(result.value - 1 / 3) < 0.25


def test_the_record_is_whole_and_compares_with_a_probe(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    corpus = tones(30)
    before = {name: t.clone() for name, t in encoder.encoder.state_dict().items()}
    tuned, control = run(encoder, corpus, tmp_path, seeds=2)
    assert [tuned.role, control.role] == ["pretrained", "random"]
    assert tuned.encoder_fingerprint == encoder.fingerprint != control.encoder_fingerprint
    assert tuned.type_name == "clips"
    assert tuned.seeds == [0, 1]
    assert np.array(tuned.values).shape == (2, 3)
    assert [c["fold"] for c in tuned.chosen] == ["1", "2", "3"]
    for chosen in tuned.chosen:
        assert all(1 <= epoch <= FAST.epochs for epoch in chosen["epoch"])
        assert chosen["metric"] == "accuracy"
    training = tuned.details["training"]
    assert [(t["fold"], t["seed"]) for t in training] == [(f, s) for f in "123" for s in (0, 1)]
    for fit in training:
        scores = [h["validation"] for h in fit["history"]]
        assert len(scores) == FAST.epochs
        assert fit["validation"] == max(scores) == scores[fit["epoch"] - 1]
    assert tuned.macs is not None
    assert tuned.macs > 3 * 32
    assert not tuned.refit
    (saved,) = (note for note in tuned.notes if "saved" in note)
    held = read_card(next((tmp_path / "finetuned").iterdir()))
    assert held is not None
    assert f"one of 6 trainings (fold {held['fold']}, seed {held['seed']})" in saved
    assert not any("saved" in note for note in control.notes)
    assert tuned.constant_metrics["accuracy"] == pytest.approx(1 / 3, abs=0.05)
    assert tuned.clips == tuned.clips_total == 30
    assert Result.from_json(json.loads(json.dumps(tuned.to_json()))).chosen == tuned.chosen
    for name, tensor in encoder.encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    # The same folds and clips as a probe of the frozen encoder: a paired comparison is possible.
    search = SearchConfig(epochs=3, batch=8, lr=(1e-2,), weight_decay=(0.0,))
    config = EvaluationConfig(seeds=2, controls=False, search=search)
    (probe,) = evaluate([encoder], CARD, corpus, out=tmp_path, probes=["linear"], config=config, progress=False)
    assert probe.sizes == tuned.sizes
    answers = [load_predictions(tmp_path / r.predictions) for r in (tuned, probe) if r.predictions]
    assert answers[0].names.tolist() == answers[1].names.tolist()
    difference = compare_predictions(answers[0], answers[1], "accuracy")
    assert difference.value == pytest.approx(tuned.value - probe.value)
    assert {r.key for r in read_results(tmp_path)} == {tuned.key, control.key, probe.key}


def test_what_is_there_is_not_computed_again(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tones(30)
    first = run(encoder, corpus, tmp_path)

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(finetune_fold.FoldTuning, "run", never)
    assert [r.key for r in run(encoder, corpus, tmp_path)] == [r.key for r in first]
    with pytest.raises(AssertionError, match="trained again"):
        run(encoder, corpus, tmp_path, config=FAST.replace(epochs=5))


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_killed_run_resumes_to_the_same_numbers(
    tones: Callable[..., Corpus],
    encoder: FrozenEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    corpus = tones(30)
    config = FAST.replace(
        mode=mode, spec_time=0.2, mixup=0.5, lora_dropout=0.1, **{"drop_path": 0.2} if mode == "full" else {}
    )
    (whole,) = run(encoder, corpus, tmp_path / "whole", config=config, controls=False)
    trained = finetune_fold.FoldTuning._train_epoch
    epochs: list[tuple[str, int]] = []

    def dies(self: finetune_fold.FoldTuning, epoch: int) -> float:
        epochs.append((self.fold.name, epoch))
        if len(epochs) in (3, 7):
            raise KilledError
        return trained(self, epoch)

    monkeypatch.setattr(finetune_fold.FoldTuning, "_train_epoch", dies)
    for _ in range(2):
        with pytest.raises(KilledError):
            run(encoder, corpus, tmp_path / "killed", config=config, controls=False, checkpoint_minutes=0)
        # Finished folds need no checkpoint any more.
        assert len(list((tmp_path / "killed" / "fits").rglob("*.safetensors"))) == 1
    (checkpoint,) = (tmp_path / "killed" / "fits").rglob("*.safetensors")
    content = checkpoint.read_bytes()
    for damaged in (content[:-9], tensor_bytes({"x": torch.ones(1)}), tensor_bytes({}, {"progress": "{"})):
        checkpoint.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged.*delete it to fine-tune this fold from scratch"):
            run(encoder, corpus, tmp_path / "killed", config=config, controls=False, checkpoint_minutes=0)
    checkpoint.write_bytes(content)
    (again,) = run(encoder, corpus, tmp_path / "killed", config=config, controls=False, checkpoint_minutes=0)
    # No epoch was done twice but those that the kills cut off.
    assert len(epochs) == 3 * config.epochs + 2
    assert again.values == whole.values
    assert again.details == whole.details
    one, two = (
        load_predictions(tmp_path / name / str(r.predictions)) for name, r in (("whole", whole), ("killed", again))
    )
    assert np.array_equal(one.scores, two.scores)  # type: ignore[attr-defined]
    assert not list((tmp_path / "killed" / "fits").rglob("*.safetensors"))


def test_the_best_model_is_kept_and_repeats_its_answers(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    corpus = tones(30)
    tuned, control = run(encoder, corpus, tmp_path, config=FAST.replace(mode="lora", epochs=6))
    folder = tmp_path / "finetuned" / tuned.key
    assert not (tmp_path / "finetuned" / control.key).exists()
    card = read_card(folder)
    assert card is not None
    best = max(fit["validation"] for fit in tuned.details["training"])
    assert card["validation"] == best
    model = load(folder, device="cpu")
    predictions: Any = load_predictions(tmp_path / str(tuned.predictions))
    fold = [c["fold"] for c in tuned.chosen].index(card["fold"])
    names = {f"{corpus[i].file}@{corpus[i].start:.6f}": i for i in range(30)}
    rows = [names[unit] for unit in predictions.names[predictions.fold == fold]]
    said = model.predict([corpus.audio(i, 16000) for i in rows], 16000)
    np.testing.assert_allclose(said, predictions.scores[0][predictions.fold == fold], atol=1e-3)
    (none,) = run(encoder, corpus, tmp_path / "none", controls=False, save=False)
    assert not (tmp_path / "none" / "finetuned" / none.key).exists()


def test_several_labels_mix_by_default_and_are_scored_by_map(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    card = TaskCard(name="toys", labels="multi", protocol="folds", folds=3)
    config = FAST.replace(epochs=10, balanced=True)
    (result,) = run(encoder, tones(60, several=True), tmp_path, card=card, config=config, controls=False)
    assert result.metric == "mAP"
    assert result.chosen[0]["metric"] == "map"
    assert result.value > 0.75


def test_broken_clips_are_counted_and_named(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    corpus = tones(30)
    for row in (4, 11):
        (corpus.root / corpus[row].file).write_bytes(b"no sound")
    (result,) = run(encoder, corpus, tmp_path, controls=False, config=FAST.replace(epochs=1))
    assert (result.clips, result.clips_total) == (28, 30)
    assert set(result.missing) == {corpus[4].file, corpus[11].file}
    for row in range(30):
        (corpus.root / corpus[row].file).write_bytes(b"no sound")
    with pytest.raises(CorpusError, match="not one of 30 clips"):
        run(encoder, corpus, tmp_path / "none")


def test_a_diverging_rate_is_an_error_that_says_so(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="lower learning rates"):
        run(encoder, tones(30), tmp_path, config=FAST.replace(lr=1e30, head_lr=1e30, clip_norm=0.0, norm="none"))


def test_refusals_come_before_anything_is_read(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tones(30)
    with pytest.raises(ConfigError, match="seeds is 0; expected at least one"):
        run(encoder, corpus, tmp_path, seeds=0)
    with pytest.raises(CorpusError, match="at least two classes"):
        run(encoder, corpus.with_column("label", ["same"] * 30), tmp_path)
    with pytest.raises(ConfigError, match="loss 'mse' does not fit single-label clips"):
        run(encoder, corpus, tmp_path, config=FAST.replace(loss="mse"))
    anonymous = FrozenEncoder(encoder.frontend, Anonymous(encoder.encoder), name="mine")
    with pytest.raises(ConfigError, match="mine carries no settings"):
        run(anonymous, corpus, tmp_path, controls=False)
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"auricle\[finetune\]"):
        run(encoder, corpus, tmp_path, config=FAST.replace(mode="lora"))


def absent(name: str) -> object:
    raise ImportError(f"No module named {name!r}")


class Anonymous(Encoder):
    """An encoder without settings."""

    def __init__(self, inner: Encoder) -> None:
        super().__init__()
        self.inner = inner
        self.width, self.depth, self.max_frames = inner.width, inner.depth, inner.max_frames

    def tokenize(self, features: Any) -> Any:
        return self.inner.tokenize(features)

    def contextualize(self, tokens: Any, layers: Any = ()) -> Any:
        return self.inner.contextualize(tokens, layers)

    def pool(self, tokens: Any) -> Any:
        return self.inner.pool(tokens)

    def grid(self, frames: int) -> Any:
        return self.inner.grid(frames)


def test_someone_elses_encoder_is_fine_tuned_without_saving(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    anonymous = FrozenEncoder(encoder.frontend, Anonymous(encoder.encoder), name="mine")
    config = FAST.replace(mode="last_n", last_n=1)
    (theirs,) = run(anonymous, tones(30), tmp_path / "a", controls=False, save=False, config=config)
    (ours,) = run(encoder, tones(30), tmp_path / "b", controls=False, config=config)
    assert theirs.values == ours.values


def test_the_schedule_warms_up_and_falls_to_its_floor() -> None:
    config = FinetuneConfig(warmup=0.2, min_lr=0.1)
    found = [schedule(step, 100, config) for step in range(100)]
    assert found[0] == pytest.approx(1 / 20)
    assert found[19] == found[20] == 1.0
    assert found[60] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert 0.1 < found[-1] < 0.11
    assert all(a >= b for a, b in pairwise(found[20:]))
    assert schedule(0, 10, FinetuneConfig(warmup=0.0)) == 1.0


@pytest.mark.real
def test_real_clips(shared_audio: Path, encoder: FrozenEncoder, tmp_path: Path) -> None:
    corpus = open_corpus(shared_audio / "esc10")
    wanted = ("crying_baby", "clock_tick", "rain")
    small = corpus.filter(lambda clip: clip.labels[0] in wanted)
    card = TaskCard(name="esc3", labels="single", protocol="folds")
    config = FinetuneConfig(epochs=2, batch=12, lr=1e-3, head_lr=1e-2, max_seconds=1.0, warmup=0.2)
    (result,) = run(encoder, small, tmp_path, card=card, config=config, controls=False)
    assert result.fold_names == ["1", "2", "3", "4", "5"]
    assert result.value > 1 / 3 + 0.15
    assert result.low > 1 / 3


def test_the_epoch_is_selected_by_the_headline_metric(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    rare = tones(60).select([row for row in range(60) if row % 3 == 0 or row < 9])
    (result,) = run(encoder, rare, tmp_path, config=FAST.replace(mode="head", epochs=1), controls=False)
    assert [result.metric, *(chosen["metric"] for chosen in result.chosen)] == ["balanced_accuracy"] * 4
