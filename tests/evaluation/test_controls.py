"""The controls: fixed baselines that depend on no encoder, checked against librosa and scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from result_files import write_results

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.presets import preset
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import AuricleError, CorpusError
from auricle.evaluation.controls import baseline, controls
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.report.run_data import read_runs
from auricle.results.book import ResultBook
from auricle.results.record import SCHEME, Result, read_results
from auricle.results.tables import list_sheets
from auricle.tasks.card import TaskCard

QUICK = EvaluationConfig(seeds=1, controls=False)


def of_front_end(name: str) -> FrozenEncoder:
    """Statistics of a published front end: `asr80` and `s3prl80` normalise each band of a clip, `kaldi128` does not."""
    frontend = preset(name).build()
    settings = LogMelStatisticsConfig(mels=frontend.width, frame_rate=frontend.frame_rate)
    return FrozenEncoder(frontend, settings.build(), name=f"statistics of {name}")


def test_baselines_do_not_depend_on_the_encoder_beside_them(encoder: FrozenEncoder) -> None:
    made = {
        name: {c.role: c.encoder.fingerprint for c in controls(beside)}
        for name, beside in {"toy": encoder, **{n: of_front_end(n) for n in ("asr80", "s3prl80", "music128")}}.items()
    }
    assert made["toy"].keys() == {"random", "log-mel", "mfcc"}
    assert made["asr80"] == made["s3prl80"] == made["music128"]
    assert made["asr80"] == {name: baseline(name).encoder.fingerprint for name in ("log-mel", "mfcc")}
    assert [c.role for c in controls(encoder, ("mfcc", "random"))] == ["random", "mfcc"]


def test_baselines_vary_over_clips_where_a_clip_normalising_front_end_does_not() -> None:
    draw = np.random.default_rng(0)
    time = np.arange(16000) / 16000
    clips = np.stack([np.sin(2 * np.pi * f * time) * a for f, a in ((300, 0.5), (900, 0.1), (2500, 0.02))])
    clips += 1e-3 * draw.standard_normal(clips.shape)

    def spread(frozen: FrozenEncoder) -> float:
        vectors = frozen.embed(clips, 16000).astype(np.float64)
        return float(np.sqrt(vectors.var(0).mean() / np.square(vectors).mean()))

    assert spread(of_front_end("asr80")) < 1e-3
    assert all(spread(baseline(name).encoder) > 0.1 for name in ("log-mel", "mfcc"))


def test_tokens_of_baselines_are_40_ms_frames_of_their_front_end() -> None:
    wave = np.random.default_rng(1).standard_normal(16000).astype(np.float32)
    audio = Audio.stack([wave], 16000)
    for name in ("log-mel", "mfcc"):
        frozen = baseline(name).encoder
        tokens = frozen.tokens(audio)
        frames = frozen.frontend(audio).x[0]
        assert tokens.grid.rate == 25
        np.testing.assert_allclose(tokens.x[0, 3], frames[12:16].mean(0), atol=1e-5)


@pytest.mark.real
def test_log_mel_statistics_score_as_librosa_and_scikit_learn(shared_audio: Path, tmp_path: Path) -> None:
    """Within sampling noise of an independent baseline, beside any encoder; the old control failed by 26 points."""
    import librosa
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    wanted = ("dog", "rain", "helicopter", "rooster", "sea_waves")
    corpus = open_corpus(shared_audio / "esc10").filter(lambda clip: clip.labels[0] in wanted)
    independent = []
    for row in range(len(corpus)):
        wave = soxr.resample(corpus.audio(row, 44100), 44100, 16000)
        mel = librosa.feature.melspectrogram(
            y=wave, sr=16000, n_fft=512, win_length=400, hop_length=160, n_mels=128, power=2.0
        )
        level = librosa.power_to_db(mel, amin=1e-10, top_db=None)
        independent.append(np.concatenate([level.mean(1), level.std(1)]))
    vectors = np.stack(independent)
    labels, folds = np.array([c.labels[0] for c in corpus]), np.array(corpus.column("fold"))
    hits = np.zeros(len(corpus), bool)
    for fold in np.unique(folds):
        test = folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        hits[test] = model.fit(vectors[~test], labels[~test]).predict(vectors[test]) == labels[test]
    beside = [controls(of_front_end(name))[0] for name in ("asr80", "kaldi128")]
    results = [
        evaluate([one], "esc10", corpus, out=tmp_path / str(n), probes=("logistic",), config=QUICK, progress=False)[0]
        for n, one in enumerate(beside)
    ]
    assert (results[0].value, results[0].key) == (results[1].value, results[1].key)
    result = results[0]
    assert (result.clips, result.fold_names, result.role) == (200, ["1", "2", "3", "4", "5"], "log-mel")
    # Two standard errors of the difference of two independent shares; these are of the same clips, so less.
    error = np.sqrt(2 * hits.mean() * (1 - hits.mean()) / len(hits))
    assert abs(result.value - hits.mean()) < 2 * error
    assert hits.mean() > 0.6


def test_vectors_that_are_the_same_for_every_clip_are_told(tones: Callable[..., Corpus], tmp_path: Path) -> None:
    old, fixed = of_front_end("asr80"), baseline("log-mel").encoder
    card = TaskCard(name="toys", folds=3)
    corpus = tones(clips=60).select(np.arange(60) % 2 == 0)  # clips of one length
    results = evaluate([old, fixed], card, corpus, out=tmp_path, probes=("knn",), config=QUICK, progress=False)
    assert ["same for every clip" in " ".join(r.notes) for r in results] == [True, False]


def old_and_new(tones: Callable[..., Corpus], out: Path) -> tuple[Result, Result]:
    card, command = TaskCard(name="toys", folds=3), "auricle probe runs/mine --task toys --data clips"
    run = [baseline("log-mel"), baseline("mfcc")]
    now = evaluate(run, card, tones(), out=out, probes=("knn",), config=QUICK, command=command, progress=False)
    return replace(now[0], scheme=0, key="old", encoder_fingerprint="old", value=0.193), now[0]


def test_controls_made_on_the_encoders_front_end_are_stale(tones: Callable[..., Corpus], tmp_path: Path) -> None:
    out = tmp_path / "run" / "probes" / "toys"
    old, new = old_and_new(tones, out)
    mfcc = next(r for r in read_results(out) if r.role == "mfcc")
    write_results(out / "results.jsonl", [old, mfcc])
    book = ResultBook.collect([out])
    assert [f.result.role for f in book.found] == ["mfcc"]
    said = (
        "stale results of log-mel statistics are not shown (toys with knn): they were computed from the front end of "
        "the encoder beside them, not from the fixed one; run again: auricle probe runs/mine --task toys --data clips"
    )
    assert book.notes == (said,)
    assert said in list_sheets(book)[-1].notes
    (shown,) = read_runs([tmp_path / "run"])
    assert ([r["role"] for r in shown.results], said in shown.problems) == (["mfcc"], True)
    # Once the command was run again there is nothing to say, although the old line is still in the file.
    write_results(out / "results.jsonl", [old, mfcc, new])
    again = ResultBook.collect([out])
    assert {f.result.key for f in again.found} == {mfcc.key, new.key}
    assert again.notes == ()
    write_results(out / "results.jsonl", [old])
    with pytest.raises(CorpusError, match=r"no result in .*; stale results of log-mel statistics"):
        ResultBook.collect([out])


def test_records_name_their_scheme_and_old_ones_have_none(tones: Callable[..., Corpus], tmp_path: Path) -> None:
    _, new = old_and_new(tones, tmp_path)
    assert new.scheme == SCHEME
    data = json.loads(json.dumps(new.to_json()))
    del data["scheme"]
    assert Result.from_json(data).scheme == 0


def test_the_command_takes_the_names_of_controls(
    tones: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auricle.cli import evaluation as verbs

    corpus, asked = tones(), []

    def run(model: str, **how: Any) -> list[Result]:
        asked.append(how["config"].controls)
        return []

    monkeypatch.setattr("auricle.evaluation.probing.probe", run)
    monkeypatch.setattr("auricle.results.export.render_results", lambda results: "")
    words = ["module:Class", "--task", "folder", "--data", str(corpus.root), "--out", str(tmp_path)]
    for more in ([], ["--controls", "mfcc"], ["--no-controls"]):
        verbs.probe([*words, *more])
    assert asked == [("random", "log-mel", "mfcc"), ("mfcc",), ()]
    with pytest.raises(AuricleError, match="set --no-controls"):
        verbs.probe([*words, "--controls"])


def test_random_weights_have_statistics_of_their_own() -> None:
    frontend = LogMelConfig(mels=64).build()
    trained = FrozenEncoder(frontend, AudioNTTConfig(width=64, channels=16).build(), name="ntt")
    control = next(one.encoder for one in controls(trained, ("random",)) if one.role == "random")
    again = next(one.encoder for one in controls(trained, ("random",)) if one.role == "random")
    plain = trained.randomised(0)
    assert control.fingerprint == again.fingerprint != plain.fingerprint
    assert not any(module.training for module in control.encoder.modules())
    # Other sounds than those that it was measured on are normalised, too.
    corpus = open_corpus("builtin:scenes?clips=16&seconds=4&seed=5")
    clips = Audio.stack([torch.from_numpy(corpus.audio(row)) for row in range(16)], 16000)
    for encoder, near in ((control, True), (plain, False)):
        found: list[torch.Tensor] = []
        first = next(m for m in encoder.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
        hook = first.register_forward_hook(lambda m, i, out, found=found: found.append(out))
        encoder.pooled(clips)
        hook.remove()
        deviation = found[0].std((0, 2, 3)) / first.weight.abs()
        assert bool(((deviation > 0.6) & (deviation < 1.7)).all()) is near
