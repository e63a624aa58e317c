"""The driver: what is known, what is run, what a stopped call leaves, and which settings make another experiment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import (
    EvaluatedEncoder,
    Evaluation,
    EvaluationConfig,
    PlannedTask,
    drive,
)
from auricle.evaluation.token_store import TokenStore
from auricle.probes import SearchConfig, get_loss
from auricle.probes.heads.linear import LinearConfig
from auricle.results.record import CONTROL_NAMES, Result, read_results
from auricle.tasks.card import TaskCard
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.shallow import KnnConfig
from auricle.tasks.task_type import Protocol
from auricle.tasks.types import task_type

CARD = TaskCard(name="toys", folds=3)
PROTOCOL = Protocol((0,), SearchConfig(), None, True, 0.95, 0)


@dataclass(frozen=True)
class Counted(Evaluation):
    """An evaluation whose value is that of a table, and which counts its runs."""

    runs: list[str] = field(default_factory=list)
    stop: tuple[str, ...] = ()
    saved: str | None = None

    def run(self, cache: Any, progress: Callable[[float], None]) -> Result:
        self.runs.append(f"{self.evaluated.encoder.name} {self.name} {cache}")
        progress(0.5)
        if self.name in self.stop:
            raise KeyboardInterrupt
        names = ("task", "kind", "interval", "corpus", "corpus_fingerprint", "command", "made", "protocol", "split")
        shares = dict.fromkeys(("value", "low", "high", "confidence", "seconds"), 0.5)
        empty: dict[str, Any] = {name: [] for name in ("per_fold", "per_seed", "values", "classes", "fold_names")}
        empty |= {"sizes": [], "chosen": [], "seeds": [0], "metrics": {}, "per_class": {}, "settings": {}}
        counts = dict.fromkeys(("clips", "clips_total", "tried", "params", "width"), 1)
        return Result(
            **dict.fromkeys(names, "x"), **shares, **empty, **counts, encoder=self.evaluated.encoder.name,
            encoder_fingerprint=self.evaluated.encoder.fingerprint, role=self.evaluated.role, probe=self.name,
            metric="accuracy", confusion=None, refit=False, seen=self.evaluated.seen, predictions=self.saved,
            versions={}, key=self.key,
        )  # fmt: skip


@pytest.fixture
def planned(tones: Callable[..., Corpus], tmp_path: Path) -> PlannedTask:
    corpus = tones(clips=6, label=["a", "b"] * 3)
    kind = task_type(CARD)
    return PlannedTask(CARD, corpus, kind, kind.plan(CARD, corpus, 0), PROTOCOL, tmp_path / "out")


def listed(planned: PlannedTask, encoder: FrozenEncoder, *names: str, **more: Any) -> list[Counted]:
    runs: list[str] = more.pop("runs", [])
    stop = more.pop("stop", ())
    evaluated = EvaluatedEncoder(encoder, **more)
    return [Counted(planned, evaluated, name, KnnConfig(k=1 + ord(name)), runs=runs, stop=stop) for name in names]


def test_only_what_is_not_known_is_run_and_results_come_in_order(planned: PlannedTask, encoder: FrozenEncoder) -> None:
    path, opened = planned.out / "results.jsonl", []

    def open_cache(one: Evaluation) -> str:
        opened.append(one.name)
        return f"cache {one.name}"

    first = listed(planned, encoder, "b", "d")
    assert [r.probe for r in drive(first, open_cache, progress=False)] == ["b", "d"]
    again = listed(planned, encoder, "a", "b", "c", "d", "a")
    found = drive(again, open_cache, progress=False)
    assert [r.probe for r in found] == ["a", "b", "c", "d", "a"]
    # An evaluation that is asked for twice is run once.
    assert again[0].runs == ["toy encoder a cache a", "toy encoder c cache c"]
    assert opened == ["b", "d", "a", "c"]
    assert [r.probe for r in read_results(path)] == ["b", "d", "a", "c"]
    before = path.read_bytes()
    assert drive(again, open_cache, progress=False) == found
    assert path.read_bytes() == before
    assert len(again[0].runs) == 2


def test_a_result_whose_predictions_were_deleted_is_made_again(planned: PlannedTask, encoder: FrozenEncoder) -> None:
    (one,) = (replace(one, saved="a.npz") for one in listed(planned, encoder, "a"))
    drive([one], lambda one: 0, progress=False)
    (planned.out / "a.npz").touch()
    drive([one], lambda one: 0, progress=False)
    assert len(one.runs) == 1
    (planned.out / "a.npz").unlink()
    drive([one], lambda one: 0, progress=False)
    assert len(one.runs) == 2


def test_nothing_to_do_writes_nothing(planned: PlannedTask) -> None:
    assert drive([], lambda one: None) == []
    assert not planned.out.exists()


def test_a_stopped_call_keeps_what_was_done_and_goes_on(planned: PlannedTask, encoder: FrozenEncoder) -> None:
    runs: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        drive(listed(planned, encoder, "a", "b", "c", runs=runs, stop=("b",)), lambda one: 0, progress=False)
    assert [r.probe for r in read_results(planned.out)] == ["a"]
    found = drive(listed(planned, encoder, "a", "b", "c", runs=runs), lambda one: 0, progress=False)
    assert [run.split()[2] for run in runs] == ["a", "b", "b", "c"]
    assert [r.probe for r in found] == [r.probe for r in read_results(planned.out)] == ["a", "b", "c"]


def test_all_caches_are_opened_before_the_first_run(planned: PlannedTask, encoder: FrozenEncoder) -> None:
    """What can't be read is found before hours of work."""

    def open_cache(one: Evaluation) -> None:
        if one.name == "c":
            raise CorpusError("no tokens")

    wanted = listed(planned, encoder, "a", "b", "c")
    with pytest.raises(CorpusError, match="no tokens"):
        drive(wanted, open_cache, progress=False)
    assert wanted[0].runs == []


def test_a_damaged_file_of_results_is_refused_before_any_work(planned: PlannedTask, encoder: FrozenEncoder) -> None:
    planned.out.mkdir()
    (planned.out / "results.jsonl").write_text('{"task": "toys"\n')
    wanted = listed(planned, encoder, "a")
    with pytest.raises(CorpusError, match="line 1"):
        drive(wanted, lambda one: 0, progress=False)
    assert wanted[0].runs == []
    assert (planned.out / "results.jsonl").read_text() == '{"task": "toys"\n'


@pytest.mark.parametrize("role", ["pretrained", "random"])
@pytest.mark.parametrize("seen", [True, False, None])
def test_a_known_result_takes_name_role_and_seen_of_this_call(
    planned: PlannedTask, encoder: FrozenEncoder, role: Any, seen: bool | None
) -> None:
    first = listed(planned, encoder, "a", "b")
    drive(first, lambda one: 0, progress=False)
    encoder.name = "neuer Name"
    again = listed(planned, encoder, "a", role=role, seen=seen)
    (found,) = drive(again, lambda one: 0, progress=False)
    assert again[0].runs == []
    assert (found.encoder, found.role, found.seen) == ("neuer Name", role, seen)
    kept = {r.probe: r for r in read_results(planned.out)}
    assert kept["a"] == found
    assert (kept["b"].encoder, kept["b"].role) == ("toy encoder", "pretrained")


# Keys


def key(task: PlannedTask, encoder: FrozenEncoder, **more: Any) -> str:
    made = {"task": task, "evaluated": EvaluatedEncoder(encoder), "name": "knn", "probe": KnnConfig()}
    return Evaluation(**{**made, **more}).key


def test_whatever_decides_a_number_decides_the_key(
    planned: PlannedTask, encoder: FrozenEncoder, tones: Callable[..., Corpus]
) -> None:
    def of_card(**changes: Any) -> str:
        return key(replace(planned, card=CARD.replace(**changes)), encoder)

    def of_protocol(**changes: Any) -> str:
        return key(replace(planned, protocol=replace(PROTOCOL, **changes)), encoder)

    other = tones(clips=6, name="other", label=["a", "b", "b"] * 2)
    keys = [
        key(planned, encoder),
        key(planned, encoder.randomised(2)),
        key(replace(planned, corpus=other), encoder),
        key(planned, encoder, probe=KnnConfig(k=3)),
        key(planned, encoder, probe=LinearConfig()),
        key(planned, encoder, facts={"template": "a sound of {}"}),
        of_card(name="others"),
        of_card(label="species"),
        of_card(labels="multi"),
        of_card(protocol="split"),
        of_card(folds=4),
        of_card(metric="macro_f1"),
        of_card(loss="bce"),
        of_card(source="bird"),
        of_card(rule=EventsRule()),
        of_card(rule=EventsRule(collar=0.3)),
        of_protocol(seeds=(0, 1)),
        of_protocol(search=SearchConfig(epochs=3)),
        of_protocol(loss=get_loss("bce")),
        of_protocol(refit=False),
        of_protocol(confidence=0.9),
        of_protocol(split_seed=1),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in keys)


def test_names_and_places_are_no_part_of_the_key(planned: PlannedTask, encoder: FrozenEncoder, tmp_path: Path) -> None:
    first = key(planned, encoder)
    prose = {name: "in other words" for name in ("title", "made", "licence", "citation", "notes")}
    elsewhere = replace(
        planned, card=CARD.replace(**prose), out=tmp_path / "elsewhere", device="cuda", command="by another command"
    )
    assert key(elsewhere, encoder) == first
    assert key(planned, encoder, evaluated=EvaluatedEncoder(encoder, "random", True), name="another name") == first
    encoder.name = "renamed"
    assert key(planned, encoder) == first


# Settings


SEARCHES = st.builds(
    SearchConfig,
    epochs=st.integers(1, 100),
    lr=st.none() | st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=3).map(tuple),
    weight_decay=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3).map(tuple),
    halving=st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 1.0)), max_size=2).map(tuple),
    method=st.sampled_from(["grid", "tpe"]),
)


@settings(max_examples=60, deadline=None)
@given(
    config=st.builds(
        EvaluationConfig,
        seeds=st.integers(1, 50),
        controls=st.booleans() | st.lists(st.sampled_from(CONTROL_NAMES), unique=True).map(tuple),
        search=SEARCHES,
        loss=st.none() | st.sampled_from(["ce", "bce", "asl"]) | st.just(get_loss("asl")),
        refit=st.booleans(),
        confidence=st.floats(0.01, 0.99),
        split_seed=st.integers(0, 2**31),
        batch=st.integers(1, 512),
        device=st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    )
)
def test_settings_travel_as_json(config: EvaluationConfig) -> None:
    data = json.loads(json.dumps(config.to_json()))
    back = EvaluationConfig.from_json(data)
    assert back == config
    assert back.fingerprint() == config.fingerprint()
    assert Config.from_json(data) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": 3}, "seedz"),
        ({"seeds": "3"}, "seeds is '3'; expected a whole number"),
        ({"confidence": 95}, r"confidence is 95; expected a number above 0 and below 1"),
        ({"controls": "yes"}, "controls is 'yes'; expected true or false"),
        ({"search": {"kind": "SearchConfig", "epochs": 0}}, "epochs is 0; expected a whole number of at least 1"),
        ({"loss": 3}, "loss is 3; expected"),
    ],
)
def test_settings_of_a_file_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig.from_json({**EvaluationConfig().to_json(), **changes})


# Caches


def test_each_cache_is_opened_once_and_layers_have_their_own(
    planned: PlannedTask, encoder: FrozenEncoder, tmp_path: Path
) -> None:
    store = TokenStore(planned.corpus, tmp_path / "tokens", progress=False)
    open_cache = store.opener()
    other = encoder.randomised(3)

    def of(which: FrozenEncoder, layers: Any = None) -> Any:
        return open_cache(Evaluation(planned, EvaluatedEncoder(which), "knn", KnnConfig(), layers))

    output, blocks, states = of(encoder), of(encoder, "blocks"), of(encoder, "states")
    assert of(encoder) is output
    assert of(encoder, "blocks") is blocks
    assert of(other) is not output
    assert [cache.origin.layers for cache in (output, blocks, states)] == [(1,), (1,), (0, 1)]
    assert {path.name for path in (tmp_path / "tokens").iterdir()} == {
        cache.origin.key for cache in (output, blocks, states, of(other))
    }


def test_caches_of_an_earlier_version_are_named_and_not_read(
    planned: PlannedTask, encoder: FrozenEncoder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "tokens" / encoder.fingerprint
    old.mkdir(parents=True)
    (old / "manifest.json").write_text("{}")
    for _ in range(2):
        assert len(TokenStore(planned.corpus, tmp_path / "tokens", progress=False).open(encoder).select())
    said = f"1 token caches of an earlier version in {tmp_path / 'tokens'} are not read"
    assert capfd.readouterr().err.count(said) == 1


def test_another_decoding_is_another_result(
    planned: PlannedTask, encoder: FrozenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Evaluation(planned, EvaluatedEncoder(encoder), "knn", KnnConfig()).key
    monkeypatch.setattr("auricle.evaluation.driver.DECODING", -1)
    assert Evaluation(planned, EvaluatedEncoder(encoder), "knn", KnnConfig()).key != before
