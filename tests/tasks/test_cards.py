"""The cards: whole, of one name each, fitting the corpora and layouts that they name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from rich.console import Console

from auricle.corpus.published.data_sets import DATA_SETS
from auricle.corpus.published.layouts.opening import LAYOUTS
from auricle.corpus.sources import open_corpus, open_for
from auricle.corpus.synthetic.scenes import parse_builtin
from auricle.errors import ConfigError, CorpusError
from auricle.kits.suites import SUITES, run_suite
from auricle.tasks.card import TaskCard
from auricle.tasks.cards import registry
from auricle.tasks.cards.registry import CARDS, get_task, render_cards, tasks
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.folds import plan_folds
from auricle.tasks.targets import make_targets


def test_cards_travel_and_say_where_their_data_come_from() -> None:
    for name, card in CARDS.items():
        assert card.name == name
        assert TaskCard.from_json(card.to_json()) == card
        assert card.title
        if name.startswith("folder"):
            continue
        assert card.licence, name
        assert card.citation, name
        assert card.made, name
        if card.corpus.startswith("layout:"):
            layout = card.corpus.removeprefix("layout:")
            assert layout in LAYOUTS, name
            assert any(layout == d.layout or d.name in layout for d in DATA_SETS.values()), name
        elif card.corpus.startswith("builtin:"):
            parse_builtin(card.corpus)


def test_every_data_set_is_used_or_its_use_is_known() -> None:
    used = {card.corpus.removeprefix("layout:") for card in tasks()}
    unused = {d.name for d in DATA_SETS.values() if d.layout and d.layout not in used}
    assert unused <= {"clotho"}


def test_two_cards_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CARDS", {})
    mine = TaskCard(name="a")
    registry.register_task(mine)
    registry.register_task(mine)
    assert registry.get_task("a") is mine
    with pytest.raises(ConfigError, match="two task cards are named 'a'"):
        registry.register_task(TaskCard(name="a", title="another one"))
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="no task is called 'us8'; did you mean 'us8k'"):
        get_task("us8")


def test_all_cards_are_listed_with_their_type() -> None:
    console = Console(file=io.StringIO(), width=400)
    console.print(render_cards())
    said = console.file.getvalue()
    for card in tasks():
        assert card.name in said
    assert get_task("mimii").rule.type_name == "anomaly"
    assert get_task("us8k").rule.type_name == "clips"


# Sheet part C of the evaluation kits: C2 (HEAR), C3 (EVAR), C4 (X-ARES), C5 (MARBLE v1), C6 (SUPERB).
COUNTS = {"hear": 18, "evar": 11, "xares": 22, "marble": 14, "superb": 13}


def test_suites_name_every_task_of_the_published_kits() -> None:
    assert {name: len(listed) for name, listed in SUITES.items()} == COUNTS
    for listed in SUITES.values():
        assert len({task.name for task in listed}) == len(listed)
        for task in listed:
            assert task.card or task.differs, f"{task.name} has neither a card nor a reason"
    with pytest.raises(ConfigError, match="no suite of tasks is called 'heer'; did you mean 'hear'"):
        run_suite("random", "heer", ".")


@pytest.mark.parametrize("name", SUITES)
def test_suites_have_their_cards(name: str) -> None:
    cards = [get_task(task.card) for task in SUITES[name] if task.card]
    assert cards
    assert all(isinstance(card, TaskCard) for card in cards)


REAL = {
    # task: (corpus, clips that take part, classes, folds)
    "arabic_commands": ("arabic_commands", 960, 10, 1),
    "nemo_pl": ("nemo_pl", 360, 6, 6),
    "medley_solos_mini": ("medley_solos_mini", 97, 8, 1),
    "piano_pitch_class": ("piano_notes", 222, 12, 4),
}


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_cards_fit_their_real_corpora(shared_audio: Path, name: str) -> None:
    folder, clips, classes, folds = REAL[name]
    card = get_task(name)
    assert card.corpus == folder
    corpus = open_corpus(shared_audio / folder)
    targets = make_targets(card, corpus.column(card.label))
    assert (len(targets.rows), len(targets.classes)) == (clips, classes)
    sources = corpus.column("source") if card.source == "source" else corpus.column("file")
    groups = [str(sources[row]) for row in targets.rows]
    plan = plan_folds(
        card,
        targets,
        splits=[corpus.column("split")[row] for row in targets.rows],
        folds=[corpus.column("fold")[row] for row in targets.rows],
        groups=groups,
    )
    assert len(plan.folds) == folds
    for fold in plan.folds:
        learnt = {groups[i] for i in np.concatenate([fold.train, fold.valid])}
        assert not learnt & {groups[i] for i in fold.test}


@pytest.mark.real
def test_drum_hits_are_told_apart_on_unheard_instruments(shared_audio: Path) -> None:
    corpus = open_corpus(shared_audio / "drum_oneshots")
    targets = make_targets(get_task("drum_oneshots"), corpus.column("label"))
    plan = plan_folds(
        get_task("drum_oneshots"),
        targets,
        splits=corpus.column("split"),
        folds=corpus.column("fold"),
        groups=corpus.column("source"),
    )
    (fold,) = plan.folds
    sources = np.array(corpus.column("source"))
    assert not set(sources[np.concatenate([fold.train, fold.valid])]) & set(sources[fold.test])
    assert len({targets.classes[targets.numbers[i]] for i in fold.test}) == 10


def toy_us8k(root: Path) -> None:
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for i in range(40):
        fold, name = i // 4 + 1, f"{i}-{i % 2}-0-0.wav"
        lines.append(f"{name},{i},0,1,1,{fold},{i % 2},{('siren', 'drilling')[i % 2]}")
        path = root / "audio" / f"fold{fold}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.full(400, 0.1), 4000)
    (root / "metadata").mkdir()
    (root / "metadata/UrbanSound8K.csv").write_text("\n".join(lines) + "\n")


def test_a_card_opens_the_folder_of_its_publisher(tmp_path: Path) -> None:
    toy_us8k(tmp_path / "UrbanSound8K")
    card = get_task("us8k")
    assert isinstance(card.rule, ClipsRule)
    corpus = open_for(card.corpus, tmp_path)
    targets = make_targets(card, corpus.column("label"))
    plan = plan_folds(
        card,
        targets,
        splits=corpus.column("split"),
        folds=corpus.column("fold"),
        groups=corpus.column("source"),
    )
    assert len(plan.folds) == 10
    assert plan.description == "the corpus's own folds; the next fold validates"
    assert open_for(card.corpus, f"layout:us8k:{tmp_path}").fingerprint == corpus.fingerprint
    (tmp_path / "other").mkdir()
    sf.write(tmp_path / "other" / "a.wav", np.full(400, 0.1), 4000)
    with pytest.raises(CorpusError, match="not laid out as UrbanSound8K is published"):
        open_for(card.corpus, tmp_path / "other")
    assert len(open_for("", tmp_path / "other")) == 1
    (tmp_path / "other" / "metadata.csv").write_text("file,label\na.wav,siren\n")
    assert open_for(card.corpus, tmp_path / "other").column("label") == ["siren"]
    with pytest.raises(CorpusError, match="there is no folder or file"):
        open_for(card.corpus, tmp_path / "nowhere")
