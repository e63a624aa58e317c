"""Published constants of CLAP, PASE and PASE+; zero-shot classification and retrieval with a CLAP run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_captions import captioned

from auricle.corpus.readers.side_tables import read_captions
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.errors import CheckpointError, ConfigError, CorpusError
from auricle.evaluation.audio_text.model import open_audio_text
from auricle.evaluation.audio_text.run import text_retrieval, zero_shot
from auricle.recipes import get_recipe, pretrain
from auricle.recipes.recipe import Recipe
from auricle.results.record import read_results


def small(steps: int = 2) -> Recipe:
    recipe = get_recipe("clap", "tiny")
    text = recipe.objective.text.replace(width=16, depth=1, words=64)
    return recipe.replace(
        encoder=SliceCNNConfig(channels=(4, 8, 8)),
        objective=recipe.objective.replace(text=text, dim=8),
        loader=recipe.loader.replace(batch=4, workers=0),
        train=recipe.train.replace(
            steps=steps, warmup_steps=0, threads=1, device="cpu", precision="fp32", micro_batch=None
        ),
    )


@pytest.fixture(scope="module")
def run(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    out = tmp_path_factory.mktemp("clap")
    corpus = open_corpus(captioned(toy_corpus, out))
    kinds = [caption.split(" of ")[1].split(",")[0] for caption in corpus.column("caption")]
    corpus = corpus.with_column("label", kinds)
    return pretrain(small(), corpus, out / "run", progress=False), corpus


def test_clap_constants() -> None:
    recipe = get_recipe("clap", "paper")
    assert (recipe.frontend.rate, recipe.frontend.window, recipe.frontend.hop, recipe.frontend.mels) == (
        48000,
        1024,
        480,
        64,
    )
    assert (recipe.frontend.low, recipe.frontend.high) == (50, 14000)
    assert (recipe.objective.dim, recipe.objective.head.hidden, recipe.objective.temperature) == (512, (512,), 0.07)
    assert (recipe.loader.batch, recipe.train.lr, recipe.train.warmup_steps) == (2304, 1e-4, 3200)
    assert recipe.window.seconds == 10
    assert recipe.window.short == "repeat"
    assert recipe.objective.text.model == "roberta-base"
    tiny = get_recipe("clap", "tiny")
    assert any("training with labels" in line for line in (*tiny.notes.deviations, tiny.notes.when_to_use))


def test_pase_constants() -> None:
    recipe = get_recipe("pase", "paper")
    assert recipe.encoder.width == 100
    assert sum(p.numel() for p in recipe.encoder.build().parameters()) == pytest.approx(5.8e6, rel=0.01)
    assert (recipe.loader.batch, recipe.train.lr) == (32, 5e-4)
    workers = {worker.name: worker for worker in recipe.objective.workers}
    assert set(workers) == {"wave", "lps", "mfcc", "prosody", "lim", "gim", "spc"}
    sizes = {name: workers[name].frontend.build().width for name in ("lps", "mfcc", "prosody")}
    assert sizes == {"lps": 1025, "mfcc": 20, "prosody": 4}
    assert workers["lps"].hidden == 256
    wave = workers["wave"]
    assert (wave.channels, wave.strides, wave.kernel, wave.hidden) == ((512, 256, 128), (4, 4, 10), 30, 64)
    plus = get_recipe("pase-plus", "paper")
    ops = {type(op).__name__.removesuffix("Config"): op for op in plus.augment.wave}
    assert {name: op.p for name, op in ops.items()} == {
        "Reverb": 0.5, "WaveNoise": 0.4, "Overlap": 0.1, "Clipping": 0.2, "Chops": 0.2, "Narrowband": 0.25,
        "BandDrop": 0.35,
    }  # fmt: skip
    assert ops["WaveNoise"].choices_db == (0, 5, 10)
    assert ops["Overlap"].choices_db == (5, 7.5, 10)
    assert ops["Clipping"].factors == (0.1, 0.3, 0.5)
    values = {w.name: w.frontend.build().width * (1 + w.deltas) for w in plus.objective.workers if hasattr(w, "deltas")}
    assert values == {
        "lps": 3075, "lps_long": 3075, "fbank": 120, "fbank_long": 120, "gammatone": 120, "gammatone_long": 120,
        "mfcc": 39, "mfcc_long": 60, "prosody": 12,
    }  # fmt: skip
    windows = {w.name: w.frontend.window for w in plus.objective.workers if w.name.endswith("_long")}
    assert windows == {"lps_long": 512, "fbank_long": 1024, "gammatone_long": 2048, "mfcc_long": 2048}
    # Seven frames in all.
    assert {w.context for w in plus.objective.workers if hasattr(w, "context") and hasattr(w, "deltas")} == {3}
    assert len(plus.objective.workers) == 12
    assert (plus.augment.crop.samples(16000), plus.loader.batch, plus.train.lr) == (32000, 16, 1e-3)
    assert plus.encoder.width == 256


def test_scores_of_a_run(run: tuple[Path, Corpus], tmp_path: Path) -> None:
    path, corpus = run
    towers = open_audio_text(path)
    one, two = towers.texts(["a steady tone", "an unknown word"]), towers.waves(np.zeros((3, 16000), np.float32), 16000)
    assert one.shape == (2, 8)
    assert two.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([one, two]), axis=1), 1, rtol=1e-5)
    out = tmp_path / "zero" / "shot.json"
    answers = zero_shot(towers, corpus, templates=("a tone of {}", "{}"), out=out, progress=False).found
    names = [score.name for score in answers.scores]
    assert names == ["accuracy", "macro_f1"]
    assert answers.scores[0].chance == 0.25
    embedded = towers.embed(corpus, progress=False)
    rows, vectors = embedded.present, embedded.vectors
    prompts = (
        towers.texts([f"a tone of kind {k}" for k in range(4)]) + towers.texts([f"kind {k}" for k in range(4)])
    ) / 2
    prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
    expected = np.mean(
        [f"kind {k}" == corpus.column("label")[r] for r, k in zip(rows, (vectors @ prompts.T).argmax(1), strict=True)]
    )
    assert answers.scores[0].value == pytest.approx(expected)
    assert any("were seen in training" in note for note in answers.notes)
    found = text_retrieval(towers, corpus, progress=False).found
    assert len(found.scores) == 10
    first = {score.name: score for score in found.scores}["text to audio: recall_at_1"]
    assert first.chance == pytest.approx(1 / len(corpus))
    assert first.interval.low <= first.value <= first.interval.high
    written = json.loads(out.read_text())
    assert written["scores"][0]["name"] == "accuracy"
    (record,) = read_results(out.parent)
    assert (record.type_name, record.probe, record.value) == ("zero_shot", "text", answers.scores[0].value)
    assert not (path / "zero-shot").exists()


def test_several_labels_and_several_captions(run: tuple[Path, Corpus]) -> None:
    path, corpus = run
    labels = [None if i == 0 else "kind 0;kind 1" if i % 2 else "kind 1" for i in range(len(corpus))]
    towers = open_audio_text(path)
    answers = zero_shot(towers, corpus.with_column("label", labels), progress=False).found
    assert [score.name for score in answers.scores] == ["mAP"]
    assert answers.clips == len(corpus) - 1
    assert any("without label and caption" in note for note in answers.notes)
    more = corpus.with_column("other", [f"number {i}" for i in range(len(corpus))])
    found = text_retrieval(towers, more, columns=("caption", "other"), progress=False).found
    assert f"{2 * len(corpus)} different captions" in found.task


def test_unknown_words_are_noted_and_equal_classes_refused(run: tuple[Path, Corpus]) -> None:
    """Its captions are `a steady tone of kind K, number N`."""
    towers, corpus = open_audio_text(run[0]), run[1]
    ask = {"progress": False}
    known = zero_shot(towers, corpus, templates=("a tone of {}",), **ask).found
    assert not any("unknown to the text tower" in note for note in known.notes)
    half = corpus.with_column("label", ["siren" if i % 2 else "tone_kind" for i in range(len(corpus))])
    answers = zero_shot(towers, half, templates=("a sound of {}",), **ask).found
    assert [note for note in answers.notes if "unknown to the text tower" in note] == [
        "1 of the 3 different words of the classes (33%) are unknown to the text tower, which has one token for all of "
        "them: 'siren'; 1 of 2 classes contain such words: 'siren'",
        "1 of the 3 different words of the templates (33%) are unknown to the text tower, which has one token for all "
        "of them: 'sound'; 1 of 1 templates contain such words",
    ]
    names = ("siren", "dog", "tone")
    strange = corpus.with_column("label", [names[i % 3] for i in range(len(corpus))])
    words = r"same tokens for the classes 'dog', 'siren' \(unknown to it: 'dog', 'siren'\).*captions.*--labels"
    with pytest.raises(ConfigError, match=words):
        zero_shot(towers, strange, templates=("a tone of {}", "{}"), **ask)
    spelt = corpus.with_column("label", ["a_tone" if i % 2 else "A tone" for i in range(len(corpus))])
    with pytest.raises(ConfigError, match=r"same tokens for the classes 'A tone', 'a_tone' and can't"):
        zero_shot(towers, spelt, **ask)
    texts = [f"a {('dog', 'cat', 'tone', 'kind')[i % 4]}" for i in range(len(corpus))]
    found = text_retrieval(towers, corpus.with_column("caption", texts), **ask).found
    assert [note for note in found.notes if "of the captions (" in note or "their tokens" in note] == [
        "2 of the 5 different words of the captions (40%) are unknown to the text tower, which has one token for all "
        "of them: 'cat', 'dog'; 2 of 4 captions contain such words",
        "2 of 4 captions can't be distinguished from another of them: their tokens are the same",
    ]


def test_captions_of_a_table_beside_the_corpus(run: tuple[Path, Corpus], tmp_path: Path) -> None:
    path, corpus = run
    table = tmp_path / "captions.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption"])
        writer.writerows([name, f"take {i % 3}"] for i, name in enumerate(corpus.column("file")))
    captions = read_captions(table, corpus)
    towers = open_audio_text(path)
    found = text_retrieval(towers, corpus, captions=captions, progress=False).found
    assert "3 different captions" in found.task


def test_pretraining_finds_the_captions_beside_the_clips(toy_corpus: Path, tmp_path: Path) -> None:
    data = shutil.copytree(toy_corpus, tmp_path / "data")
    names = open_corpus(data).column("file")
    lines = ["file,some_caption", *(f"{name},take {i}" for i, name in enumerate(names))]
    (data / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    path = pretrain(small(), data, tmp_path / "run", progress=False)
    assert "read from captions.csv (some_caption)" in (path / "events.log").read_text(encoding="utf-8")
    towers = open_audio_text(path)
    known, other = towers.texts(["take 1", "take 2"])
    assert not np.allclose(known, other)  # its words are those of the table


def test_what_is_refused(run: tuple[Path, Corpus], toy_corpus: Path, tmp_path: Path) -> None:
    path, corpus = run
    with pytest.raises(CorpusError, match="no column 'kind'"):
        zero_shot(path, corpus, labels="kind", progress=False)
    with pytest.raises(CorpusError, match="expected at least two"):
        zero_shot(path, corpus.with_column("label", ["x"] * len(corpus)), progress=False)
    with pytest.raises(ConfigError, match="one place for the label"):
        zero_shot(path, corpus, templates=("a sound",), progress=False)
    with pytest.raises(ConfigError, match=r"the corpus .* has none"):
        pretrain(small(), toy_corpus, tmp_path / "none", progress=False)
    holes = corpus.with_column("caption", [None, *corpus.column("caption")[1:]])
    with pytest.raises(ConfigError, match=f"1 of {len(corpus)} clips have no caption"):
        pretrain(small(), holes, tmp_path / "holes", progress=False)
    other = get_recipe("temporal-gap", "tiny")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(other.to_json()))
    with pytest.raises(CheckpointError, match="has no text tower"):
        open_audio_text(tmp_path / "run")
