"""Every paradigm on the same audio for the same time, read by the same probes.

    python benchmarks/paradigms.py train hubert --data CORPORA --out RUNS --minutes 25 --threads 1
    python benchmarks/paradigms.py probe hubert --data CORPORA --out RUNS
    python benchmarks/paradigms.py table --out RUNS

`train` measures how long a step takes, sets the schedule to the steps that fit into the time (equal shares for methods
of several stages), and pre-trains on all corpora but those kept for the test. `probe` reads the frozen encoder, its
random-weight control and log-mel statistics. `table` prints what is there as Markdown. What is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch

from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.probes import SearchConfig
from auricle.recipes import Recipe, get_recipe, pretrain
from auricle.recipes.matrix import make_ready
from auricle.recipes.pretrain import build
from auricle.studies.probing import probe
from auricle.studies.tables import interval_text
from auricle.tasks import Result, read_results
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep
from auricle.training.threads import threads

METHODS = (
    "byol-a", "cola", "wav2vec2", "cpc", "apc", "audio-mae", "hubert", "best-rq", "beats", "eat", "ssamba", "clap",
    "permutation",
)  # fmt: skip
# Kept for the test: no method hears them. fsdd, nemo_pl and medley_solos_mini are heard, without labels, and marked.
KEPT = ("esc10", "sed_synth")
TASKS = ("esc10", "sed_synth", "fsdd", "nemo_pl", "medley_solos_mini")
PROBES = ("linear", "mhca", "protobin")
MEASURED = 4


def stages(recipe: Recipe) -> int:
    """Return how many stages a recipe has."""
    return 1 if recipe.before is None else 1 + stages(recipe.before)


def seconds_a_step(recipe: Recipe, corpus: Corpus, count: int) -> float:
    """Measure a step: loading, views, forward, backward and update; the first ones are not counted."""
    frontend, encoder, objective = build(recipe, recipe.train.seed)
    make_ready(recipe, frontend, encoder, objective)
    with threads(count):
        step = TrainingStep(
            encoder, objective, recipe.augment.build(frontend), recipe.train, Ranks(0, 1, torch.device("cpu"))
        )
        loader = Loader(corpus, recipe.window, recipe.loader, rate=frontend.rate, seed=0)
        began = 0.0
        for batch in loader.iterate():
            if batch.step == 2:
                began = time.perf_counter()
            if batch.step == 2 + MEASURED:
                break
            step(batch.step, step.views(batch.step, batch.audio, batch.clip))
        return (time.perf_counter() - began) / MEASURED


def fitted(recipe: Recipe, corpus: Corpus, minutes: float, count: int) -> Recipe:
    """Return the recipe with as many steps as fit into its share of the time, its stages before likewise."""
    share = 60 * minutes / stages(recipe)
    fit: dict[int, Recipe] = {}

    def each(part: Recipe) -> Recipe:
        before = None if part.before is None else each(part.before)
        steps = max(20, int(share / seconds_a_step(part, corpus, count)))
        train = part.train.replace(
            steps=steps, warmup_steps=min(part.train.warmup_steps, steps // 5), threads=count, save_every=200
        )
        fit[len(fit)] = part
        return part.replace(before=before, train=train)

    return each(recipe)


def train(name: str, args: argparse.Namespace) -> None:
    """Pre-train a method."""
    out = args.out / name
    if (out / "measured.json").exists():
        return
    corpus = open_corpus(args.data, exclude=KEPT)
    recipe = get_recipe(name, "tiny")
    recipe = fitted(recipe, corpus, args.minutes, args.threads)
    wall, processor = time.perf_counter(), time.process_time()
    pretrain(recipe, corpus, out, progress=False)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    encoder = build(recipe, 0)[1]
    steps = recipe.train.steps
    measured = {
        "minutes": wall / 60,
        "processor_minutes": processor / 60,
        "steps": steps,
        "stages": stages(recipe),
        "batch": recipe.loader.batch,
        "window": recipe.window.seconds,
        "clips_per_second": steps * recipe.loader.batch * stages(recipe) / wall,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "threads": args.threads,
    }
    (out / "measured.json").write_text(json.dumps(measured, indent=2))
    print(name, measured, flush=True)


def read(name: str, args: argparse.Namespace) -> None:
    """Probe a method's encoder on every task."""
    for task in args.tasks:
        out = args.out / name / "probes" / task
        if list(out.glob("results*")):
            continue
        began = time.perf_counter()
        with threads(args.threads):
            probe(
                args.out / name,
                task=task,
                data=args.data / task,
                probes=PROBES,
                seeds=tuple(range(args.seeds)),
                search=SearchConfig(lr_count=args.rates, epochs=args.epochs),
                out=out,
                progress=False,
            )
        print(name, task, f"{time.perf_counter() - began:.0f} s", flush=True)


def table(args: argparse.Namespace) -> None:
    """Print what is there."""
    names = [name for name in METHODS if (args.out / name / "measured.json").exists()]
    print("| method | encoder, M | clips/s | steps | min | peak MB |\n|---|---:|---:|---:|---:|---:|")
    for name in names:
        m = json.loads((args.out / name / "measured.json").read_text())
        print(
            f"| {name} | {m['parameters'] / 1e6:.2f} | {m['clips_per_second']:.1f} | {m['steps']} x {m['stages']} | "
            f"{m['minutes']:.1f} | {m['peak_mb']:.0f} |"
        )
    for task in args.tasks:
        rows: dict[tuple[str, str], dict[str, Result]] = {}
        for name in names:
            out = args.out / name / "probes" / task
            for result in read_results(out) if out.exists() else []:
                key = (name if result.role != "log-mel" else "log-mel statistics", result.role)
                rows.setdefault(key, {})[result.probe] = result
        if not rows:
            continue
        some = next(iter(next(iter(rows.values())).values()))
        heard = any(r.heard for mine in rows.values() for r in mine.values())
        print(f"\n**{task}** ({some.metric}{', heard without labels' if heard else ''})\n")
        print("| encoder | " + " | ".join(PROBES) + " |\n|---" * 1 + "|---" * len(PROBES) + "|")
        for (name, role), mine in rows.items():
            said = name if role != "random" else f"{name}, random weights"
            print(f"| {said} | " + " | ".join(interval_text(mine[p]) if p in mine else "-" for p in PROBES) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "probe", "table"))
    parser.add_argument("methods", nargs="*", default=[])
    parser.add_argument("--data", type=Path, help="folder of the corpora")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    if args.what == "table":
        table(args)
        return
    if args.data is None:
        parser.error("--data is needed: the folder of the corpora")
    for name in args.methods or METHODS:
        {"train": train, "probe": read}[args.what](name, args)


if __name__ == "__main__":
    main()
