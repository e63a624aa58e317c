"""Notes belong to one recipe, and speak of parts that the recipe has; recipes of version 0.1 are read."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from auricle.encoders.features import OUTPUT
from auricle.errors import ConfigError
from auricle.recipes import Notes, Recipe, Reference, get_recipe, load_recipe, recipes
from auricle.recipes.notes import searched

ALL = [(method.name, size) for method in recipes() for size in method.sizes]

# Words of a deviation, and the settings of which one must then be in the recipe.
PARTS = {
    r"\bteacher": r"TeacherConfig|PreviousEncoderConfig",
    r"mixup|memory bank": r"MixupExpConfig",
    r"views": r"ViewPlanConfig|AugmentConfig|SliceViewsConfig|PlainViewsConfig",
    r"\bdecoder": r"(?<!No)DecoderConfig|SliceReconstruction",
    r"predictor": r"(?<!No)DecoderConfig|PredictorConfig|Bootstrap|FutureContrast",
    r"\bcode(s|book|books)\b|codes of": r"Code|Quantis|Gumbel|Cluster|Projection",
    r"cluster|k-means|centres": r"Cluster|KMeans|Codebook",
    r"mask vector": r'"hide": "token"',
    r"hidden": r'"mask"|corruption|HopMask',
    r"distractors": r"distractors",
    r"temperature": r"temperature",
    r"\bdice": r"DiceSpans",
    r"squares": r"ClusterMask",
    r"projector": r"ProjectorConfig",
    r"off-diagonal": r"Barlow",
    r"class token": r'"cls": ',
    r"negatives": r"negatives|InBatch|NTXent|alike",
    r"partners": r"UtteranceMix",
    r"roll\b|gain of": r"WaveRollConfig|WaveGainConfig",
    r"^padding": r'"short": "pad"',
    r"workers?\b": r"WorkerConfig",
    r"clones": r'"clones": [2-9]|"clones": 1\d',
    r"stochastic depth|drop path": r"drop_path",
    r"stem": r"StemConfig",
    r"GRU": r'"gru"|Recurrent|recurrent',
}


@pytest.mark.parametrize(("name", "size"), ALL)
def test_deviations_are_about_parts_of_the_recipe(name: str, size: str) -> None:
    recipe = get_recipe(name, size)
    settings = json.dumps(recipe.without_notes().to_json())
    for line in recipe.notes.deviations:
        # Of the recipe, not of what is published.
        own = re.split(r"; (?:published|released|in the released|the release)", line)[0]
        own = re.sub(r"\b(?:no|without) [a-z -]+", "", own)
        for word, part in PARTS.items():
            if re.search(word, own):
                assert re.search(part, settings), f"{line!r} is about {word!r}"


# Kinds of sources in which a detail is looked up.
SOURCES = r"paper|survey|abstract|code|configuration|settings|scripts|re-implementation|s3prl|models"
PUBLIC = r"code|configuration|settings|scripts|re-implementation|s3prl|models"


@pytest.mark.parametrize(("name", "size"), ALL)
def test_details_that_are_not_specified_name_where_they_were_searched(name: str, size: str) -> None:
    """And in public code, where the recipe was written from any: an open detail that it answers is not open."""
    notes = get_recipe(name, size).notes
    for line in notes.not_specified:
        found = re.search(r"\S \(searched: ([^()]+)\)$", line)
        assert found, line
        assert re.search(SOURCES, found[1]), line
        if re.search(r"released|re-implement|s3prl", notes.reference.section):
            assert re.search(PUBLIC, found[1]), line


def test_searched_details() -> None:
    assert searched("paper, code", "depth: 3", "width: 4") == (
        "depth: 3 (searched: paper, code)",
        "width: 4 (searched: paper, code)",
    )


def test_deviations_of_audio_barlow_are_its_own() -> None:
    base, derived = get_recipe("byol-a", "tiny"), get_recipe("audio-barlow", "tiny")
    assert "TeacherConfig" not in json.dumps(derived.to_json())
    assert not any("teacher" in line or "heads" in line for line in derived.notes.deviations)
    assert derived.notes.faithful != base.notes.faithful
    assert derived.notes.reference != base.notes.reference


@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_every_method_states_its_own_notes(size: str) -> None:
    for one, two in itertools.combinations([method.name for method in recipes()], 2):
        first, second = get_recipe(one, size).notes, get_recipe(two, size).notes
        assert first.faithful != second.faithful, (one, two)
        assert first.when_to_use != second.when_to_use, (one, two)


def test_inherited_notes_are_refused() -> None:
    base = get_recipe("byol-a", "tiny")
    with pytest.raises(ConfigError, match=r"recipe 'mine' has the notes of 'byol-a'; write notes of its own"):
        base.replace(name="mine")
    with pytest.raises(ConfigError, match=r"recipe 'byol-a' has the notes of 'mine'"):
        base.replace(notes=base.notes.replace(method="mine"))
    assert base.replace(name="mine", notes=Notes()).notes.method == ""
    assert base.replace(name="mine", notes=Notes(method="mine", cost="much")).name == "mine"


def test_notes_do_not_count_as_settings() -> None:
    recipe = get_recipe("sslam", "tiny")
    other = recipe.replace(notes=recipe.notes.with_deviations("another"))
    assert other != recipe
    assert other.fingerprint() == recipe.fingerprint()
    assert recipe.changes(other) == {}
    assert recipe.without_notes().previous.notes == Notes()


# As version 0.1 wrote a recipe: notes are fields, the previous stage is `before`.
OLD = {
    "kind": "Recipe",
    "name": "hubert",
    "size": "tiny",
    "reference": {"kind": "Reference", "title": "HuBERT", "authors": "Hsu", "arxiv": "2106.07447", "section": "III"},
    "deviations": ["AdamW"],
    "kept": ["spans of 10 steps"],
    "unknown": ["weight decay"],
    "cost": "one pass",
    "choose": "for speech",
    "before": {
        "kind": "Recipe", "name": "hubert-1", "size": "tiny",
        "reference": {"kind": "Reference", "title": "", "authors": "", "arxiv": "", "section": ""},
        "deviations": [], "kept": [], "unknown": [], "cost": "", "choose": "", "before": None, "begin": "fresh",
        "frontend": {"kind": "WaveformConfig"}, "encoder": {"kind": "WaveformTransformerConfig", "depth": 2},
    },
    "begin": "earlier",
    "measure_statistics": False,
    "frontend": {"kind": "WaveformConfig"},
    "encoder": {"kind": "WaveformTransformerConfig", "depth": 2},
    "objective": {
        "kind": "MaskedPredictionConfig",
        "terms": [
            {
                "kind": "CodeConfig",
                "target": {
                    "kind": "KMeansTargetConfig",
                    "source": {
                        "kind": "ClusteredLayerConfig",
                        "layer": 1,
                        "earlier": {
                            "kind": "EarlierEncoderConfig",
                            "encoder": {"kind": "WaveformTransformerConfig", "depth": 2},
                            "frontend": {"kind": "WaveformConfig"},
                        },
                    },
                },
            },
            {"kind": "CodeConfig", "target": {"kind": "RandomProjectionTargetConfig", "books": 2}, "name": "more"},
        ],
    },
}  # fmt: skip


def test_a_recipe_of_version_0_1_is_read(tmp_path: Path) -> None:
    recipe = Recipe.from_json(json.loads(json.dumps(OLD)))
    assert recipe.notes == Notes(
        method="hubert",
        reference=Reference(title="HuBERT", authors="Hsu", arxiv="2106.07447", section="III"),
        faithful=("spans of 10 steps",),
        deviations=("AdamW",),
        not_specified=("weight decay",),
        cost="one pass",
        when_to_use="for speech",
    )
    assert recipe.begin == "previous"
    assert recipe.previous is not None
    assert recipe.previous.name == "hubert-1"
    term, more = recipe.objective.terms
    assert more.target.codebooks == 2
    assert term.target.source.previous.encoder == recipe.previous.encoder
    assert Recipe.from_json(recipe.to_json()) == recipe
    (tmp_path / "recipe.json").write_text(json.dumps(OLD))
    assert load_recipe(tmp_path) == recipe


@pytest.mark.parametrize(("name", "size"), ALL)
def test_what_is_read_of_an_encoder_is_a_deviation_where_it_is_not_the_output(name: str, size: str) -> None:
    stage: Recipe | None = get_recipe(name, size)
    while stage is not None:
        said = [line for line in stage.notes.deviations if "are read instead of the output (features)" in line]
        assert len(said) == (stage.features != OUTPUT), (stage.name, size)
        stage = stage.previous
