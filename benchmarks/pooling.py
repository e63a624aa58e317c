"""The pooling study in small: every probe, on random weights, log-mel and MFCC statistics and a pre-trained encoder.

    python benchmarks/pooling.py RUN --data CORPORA --out FOLDER [--tasks sed_synth scenes] [--seeds 2]

Evaluates (what is there already is not done again), then prints one table per task: value with 95 % interval, rank,
parameters and multiply-adds of each probe; the paired difference of each probe from the linear one on the pre-trained
encoder; Kendall's tau between the probes' ranks on different encoders and tasks; and how probes rank the encoders.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.evaluation.controls import controls
from auricle.evaluation.driver import EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.seen import seen
from auricle.probes import SearchConfig
from auricle.recipes.loading import load
from auricle.results.record import CONTROL_NAMES, CONTROLS, Result
from auricle.results.scoring import compare
from auricle.results.tables import interval_text
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task

ROLES = {"pretrained": "AudioMosaic-tiny", **{role: CONTROLS[role] for role in CONTROL_NAMES}}


def table(results: list[Result]) -> None:
    first = results[0]
    print(f"\n### {first.task}: {first.metric} in %\n")
    columns = [role for role in ROLES if any(r.role == role for r in results)]
    print("| probe | " + " | ".join(f"{ROLES[c]} | rank" for c in columns) + " | parameters | M multiply-adds a clip |")
    print("|---|" + "---|---:|" * len(columns) + "---:|---:|")
    cells = {(r.probe, r.role): r for r in results}
    ranks = {c: ranking(results, c) for c in columns}
    for probe in sorted({r.probe for r in results}, key=lambda p: ranks["pretrained"].get(p, 99)):
        shown = [
            f"{interval_text(cells[probe, c])} | {ranks[c][probe]:.0f}" if (probe, c) in cells else "- | -"
            for c in columns
        ]
        r = cells[probe, "pretrained"]
        macs = "-" if r.macs is None else f"{r.macs / 1e6:.2f}"
        print(f"| {probe} | " + " | ".join(shown) + f" | {r.params:,} | {macs} |")
    print(
        f"\n{first.clips} of {first.clips_total} test clips; {first.split}; {len(first.seeds)} seeds; {first.interval}."
    )


def ranking(results: list[Result], role: str) -> dict[str, float]:
    """Rank of each probe on one encoder, 1 is best."""
    mine = sorted((r for r in results if r.role == role), key=lambda r: -r.value)
    return {r.probe: place for place, r in enumerate(mine, 1)}


def differences(results: list[Result], folder: Path) -> None:
    mine = {r.probe: r for r in results if r.role == "pretrained"}
    print("\n| paired difference from `linear`, pre-trained | points | p |\n|---|---|---|")
    for probe, result in sorted(mine.items(), key=lambda item: -item[1].value):
        if probe != "linear":
            gap = compare(result, mine["linear"], folder)
            ends = f"[{100 * gap.interval.low:+.1f}, {100 * gap.interval.high:+.1f}]"
            print(f"| {probe} | {100 * gap.value:+.1f} {ends} | {gap.p:.3f} |")


def stability(by_task: dict[str, list[Result]]) -> None:
    columns = [(task, role) for task, found in by_task.items() for role in ROLES if any(r.role == role for r in found)]
    print("\n| ranks of the probes on | and on | Kendall's tau | p |\n|---|---|---:|---:|")
    for one, two in itertools.combinations(columns, 2):
        a, b = ranking(by_task[one[0]], one[1]), ranking(by_task[two[0]], two[1])
        shared = sorted(a.keys() & b.keys())
        tau = kendalltau([a[p] for p in shared], [b[p] for p in shared])
        print(f"| {one[0]}, {ROLES[one[1]]} | {two[0]}, {ROLES[two[1]]} | {tau.statistic:+.2f} | {tau.pvalue:.3f} |")
    print("\n| task | probes that put the pre-trained encoder first | of |\n|---|---:|---:|")
    for task, results in by_task.items():
        cells = {(r.probe, r.role): r.value for r in results}
        probes = sorted({r.probe for r in results})
        first = sum(
            cells[p, "pretrained"] >= np.nanmax([cells.get((p, role), np.nan) for role in ROLES]) for p in probes
        )
        print(f"| {task} | {first} | {len(probes)} |")


def one_division(card: TaskCard, corpus: Corpus) -> tuple[TaskCard, Corpus]:
    """Divide the built-in corpus once by its folds, which share no voice: the last tests, the one before chooses."""
    folds = corpus.column("fold")
    sides = {max(folds): "test", max(folds) - 1: "valid"}
    return card.replace(protocol="split"), corpus.with_column("split", [sides.get(f, "train") for f in folds])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with the corpora of the tasks")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and token caches")
    parser.add_argument("--tasks", nargs="+", default=["sed_synth", "scenes"])
    parser.add_argument("--probes", nargs="+", default=[], help="names; by default all that read labelled clips")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--clips", type=int, default=300, help="clips of the built-in corpus")
    parser.add_argument(
        "--roles", nargs="+", default=list(ROLES), choices=list(ROLES), help="encoders: the run and its controls"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    from auricle.tasks.clips.run import ClipsTask

    probes = args.probes or list(ClipsTask.probes)
    by_task: dict[str, list[Result]] = {}
    for name in args.tasks:
        card = get_task(name)
        if card.corpus.startswith("builtin:"):
            card, corpus = one_division(card, open_corpus(f"builtin:scenes?clips={args.clips}&seed=0"))
        else:
            corpus = open_corpus(args.data / card.corpus)
        tested = EvaluatedEncoder(load(args.run), "pretrained", seen(args.run, corpus))
        evaluated = [tested, *controls(tested.encoder)]
        by_task[name] = evaluate(
            [evaluated for evaluated in evaluated if evaluated.role in args.roles],
            card,
            corpus,
            out=args.out / name,
            probes=probes,
            config=EvaluationConfig(seeds=args.seeds, search=SearchConfig(epochs=args.epochs), controls=False),
            command=shlex.join(["python", "benchmarks/pooling.py", *sys.argv[1:]]),
        )
    for name, results in by_task.items():
        table(results)
        differences(results, args.out / name)
    stability(by_task)


if __name__ == "__main__":
    main()
