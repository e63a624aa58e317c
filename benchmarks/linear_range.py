"""The learning rates of the linear probes: which range holds the best one?

    python benchmarks/linear_range.py CORPORA --store FOLDER > benchmarks/results/linear_range.txt

Probes of standardised vectors (`linear`, `linearc`) on corpora that no page reports probes of, and on two more as a
check; encoders: random weights of two architectures, and the log-mel and MFCC baselines. First, every rate from 1e-5 to
1 is trained to the end, and the best one by validation is compared with the best one inside the default range. Then the
default search runs over several ranges. The score is that of test clips, at the setting that validation chose.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from auricle.corpus.sources import open_corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.evaluation.controls import baseline
from auricle.probes import PROBES, FittedProbe, Labelled, SearchConfig, fit_probe
from auricle.recipes.building import build_encoder
from auricle.recipes.registry import get_recipe
from auricle.tasks.cards.registry import get_task
from auricle.tasks.folds import plan_folds
from auricle.tasks.targets import cells, labels_of, make_targets, source_groups
from auricle.tokens.extract import extract

CHOICE, CHECK = ("arabic_commands", "drum_oneshots"), ("medley_solos_mini", "esc50_dev20")
PROBED = ("linear", "linearc")
GRID = tuple(float(x) for x in np.geomspace(1e-5, 1, 16))
RANGES = ((1e-4, 7e-3), (1e-4, 0.1), (3e-4, 0.3), (1e-3, 1.0), (1e-4, 1.0))  # the first: the paper's
DEFAULT = PROBES["linear"].grid_range
# As an evaluation searches: the last epoch counts, since it is trained again with the validation clips.
SEARCH = SearchConfig(best_epoch=False)


def encoders() -> Iterator[FrozenEncoder]:
    """Yield random weights of two recipes, and the fixed baselines."""
    for method in ("byol-a", "audiomosaic"):
        yield FrozenEncoder(*build_encoder(get_recipe(method, "tiny"), seed=0), name=f"{method}, random")
    yield from (baseline(name).encoder for name in ("log-mel", "mfcc"))


def runs(folder: Path, store: Path, name: str) -> Iterator[tuple[str, Labelled, Labelled, Labelled, tuple[str, ...]]]:
    """Yield encoder, training, validation and test clips and the classes: each encoder on each fold of a corpus."""
    card = get_task(name).replace(protocol="folds", folds=4)
    corpus = open_corpus(folder / name)
    if name == "esc50_dev20":
        corpus = corpus.select(np.flatnonzero(np.isin([str(fold) for fold in corpus.column("fold")], ["1", "2", "3"])))
    targets = make_targets(card, labels_of(card, corpus))
    own = cells(corpus, "fold", targets.rows) if name == "esc50_dev20" else [""] * len(targets.rows)
    groups = source_groups(card, corpus, targets.rows).tolist()
    plan = plan_folds(card, targets, splits=[""] * len(own), folds=own, groups=groups)
    for encoder in encoders():
        tokens = extract(encoder, corpus, store, progress=False).select(targets.rows)
        for fold in plan.folds:
            sides = [
                Labelled(tokens.select(rows), targets.labels(rows)) for rows in (fold.train, fold.valid, fold.test)
            ]
            yield encoder.name, *sides, targets.classes


def accuracy(fitted: FittedProbe, test: Labelled) -> float:
    """Return the accuracy of the test clips in per cent."""
    return 100 * float((fitted.predict(test.tokens).argmax(1) == test.targets.numpy()).mean())


def measure(folder: Path, store: Path, name: str) -> None:
    """Print the figures of one corpus."""
    inside, lost, chosen = [], [], {rate: 0 for rate in GRID}
    edges: dict[tuple[float, float], list[tuple[bool, bool, float, float]]] = {ends: [] for ends in RANGES}
    for _, train, valid, test, classes in runs(folder, store, name):
        for probe in PROBED:
            whole = fit_probe(probe, train, valid, classes=classes, search=SEARCH.replace(lr=GRID, halving=()))
            within = [t.score for t in whole.trials if DEFAULT[0] <= t.lr * 1.001 and t.lr <= DEFAULT[1] * 1.001]
            chosen[whole.trial.lr] += 1
            inside.append(DEFAULT[0] <= whole.trial.lr * 1.001 and whole.trial.lr <= DEFAULT[1] * 1.001)
            lost.append(100 * (whole.trial.score - max(within)))
            for ends in RANGES:
                rates = tuple(float(x) for x in np.geomspace(*ends, SEARCH.lr_count))
                fitted = fit_probe(probe, train, valid, classes=classes, search=SEARCH.replace(lr=rates))
                rate = fitted.trial.lr
                edges[ends].append(
                    (rate == rates[0], rate == rates[-1], 100 * fitted.validation, accuracy(fitted, test))
                )
    print(f"\n{name}: {len(inside)} runs. Best of {len(GRID)} rates inside {DEFAULT[0]:g} to {DEFAULT[1]:g}: ", end="")
    print(f"{np.mean(inside):.0%}; validation lost by the range: {np.mean(lost):.2f} points, at most {max(lost):.2f}")
    print("chosen: " + ", ".join(f"{rate:.1g} {count}x" for rate, count in chosen.items() if count))
    print("| range, six rates | lower end | upper end | validation, % | test, % |\n|---|---:|---:|---:|---:|")
    for ends, rows in edges.items():
        low, high, validation, score = np.mean(rows, 0)
        print(f"| {ends[0]:g} to {ends[1]:g} | {low:.0%} | {high:.0%} | {validation:.2f} | {score:.2f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder that holds the corpora")
    parser.add_argument("--store", type=Path, required=True, help="where tokens are kept")
    parser.add_argument("--corpora", nargs="+", default=[*CHOICE, *CHECK])
    options = parser.parse_args()
    for corpus_name in options.corpora:
        measure(options.folder, options.store, corpus_name)
