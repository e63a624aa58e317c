"""Every paradigm on the same audio for the same time, on its own encoder and on shared ones, evaluated alike.

    python benchmarks/paradigms.py cells                                   # every cell, and which are done
    python benchmarks/paradigms.py run --data CORPORA --work FOLDER        # the next cells, one after the other
    python benchmarks/paradigms.py run --data CORPORA --work FOLDER cola.own.0 cola.audio-ntt.0
    python benchmarks/paradigms.py table

A cell is METHOD.ENCODER.SEED: the tiny recipe of a method on its own encoder (`own`) or on a family that all share. It
is trained on all corpora but those kept for the evaluation (clap: on the one whose clips have titles): the schedule is
fitted to the steps that the time allows by a measured step, equal shares for methods of several stages. Time is the
processor's. Then its own loss is measured on what was kept, beside what it must beat, and its frozen encoder is
evaluated beside random weights of the same encoder under the same features, with paired intervals. Each finished cell
is a file in `benchmarks/results/paradigms`, and is not done again; an interrupted one resumes in its work folder.
Cells come in an order in which every beginning is a balanced design.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.errors import AuricleError
from auricle.evaluation.controls import baseline, controls
from auricle.evaluation.driver import EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.probing import evaluated_on
from auricle.models import load
from auricle.objectives.contract import View
from auricle.objectives.text.clap import ClapConfig
from auricle.probes import SearchConfig
from auricle.recipes import Recipe, get_recipe, load_recipe, pretrain, resume
from auricle.recipes.building import build
from auricle.recipes.families import get_family, on_family
from auricle.recipes.matrix import make_ready, try_pair
from auricle.results.record import Result
from auricle.results.scoring import compare
from auricle.tasks.cards.registry import get_task
from auricle.training.checkpoint import load_weights, read_state, verify_file
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.step import TrainingStep
from auricle.training.threads import threads
from paradigm_cells import BASELINES, KEPT, RESULTS, TASKS, TITLED, cells, stored, table

EVALUATION = EvaluationConfig(seeds=1, search=SearchConfig(lr_count=3, epochs=10), controls=False)
SIGNAL_BATCHES = 6
WARM, LEAST_STEPS, LEAST_SECONDS = 3, 6, 6.0


def parts(recipe: Recipe) -> list[Recipe]:
    """Return a recipe's stages, the first to be trained first."""
    return [*([] if recipe.previous is None else parts(recipe.previous)), recipe]


def seconds_a_step(recipe: Recipe, corpus: Corpus, count: int) -> float:
    """Measure a step: decoding, views, forward, backward and update, in seconds of a processor.

    Processor time, not the clock's: with one thread they are the same on a quiet machine, and on a busy one only the
    first still says what fits. The first steps are not counted.
    """
    frontend, encoder, objective = build(recipe, recipe.train.seed)
    make_ready(recipe, frontend, encoder, objective)
    objective.take_columns({name: corpus.column(name) for name in objective.columns})
    with threads(count):
        step = TrainingStep(
            encoder, objective, recipe.augment.build(frontend), recipe.train, Ranks(0, 1, torch.device("cpu"))
        )
        loader = Loader(corpus, recipe.window, recipe.loader, rate=frontend.rate, seed=0)
        began = spent = 0.0
        for batch in loader.iterate():
            spent = time.process_time() - began
            if batch.step == WARM:
                began = time.process_time()
            elif batch.step > WARM + LEAST_STEPS and spent > LEAST_SECONDS:
                return spent / (batch.step - WARM)
            step(batch.step, step.views(batch.step, batch.audio, batch.clip))
    raise AssertionError("the loader ended")


def fitted(recipe: Recipe, corpus: Corpus, minutes: float, count: int, seed: int) -> Recipe:
    """Return the recipe with as many steps as fit into its share of the time, its stages before likewise."""
    share = 60 * minutes / len(parts(recipe))
    fit = None
    for part in parts(recipe):
        steps = max(20, int(share / seconds_a_step(part, corpus, count)))
        train = part.train.replace(
            steps=steps,
            warmup_steps=min(part.train.warmup_steps, steps // 5),
            threads=count,
            save_every=200,
            keep=1,
            seed=part.train.seed + seed,
            device="cpu",
        )
        fit = part.replace(previous=fit, train=train)
    return fit or recipe


def lesson(name: str, data: Path) -> tuple[Recipe, Corpus]:
    """Return a method's tiny recipe and what it hears: all that is not kept; clap: what has titles, with these."""
    recipe = get_recipe(name, "tiny")
    if not isinstance(recipe.objective, ClapConfig):
        return recipe, open_corpus(data, exclude=KEPT)
    return recipe.replace(objective=recipe.objective.replace(columns=("title",))), open_corpus(data / TITLED)


def recipe_of(method: str, encoder: str) -> Recipe:
    """Return the tiny recipe of a method on an encoder.

    Raises:
        AuricleError: the contracts refuse the pair.
    """
    recipe = get_recipe(method, "tiny")
    if isinstance(recipe.objective, ClapConfig):
        recipe = recipe.replace(objective=recipe.objective.replace(columns=("title",)))
    if encoder == "own":
        return recipe
    found = try_pair(recipe, get_family(encoder), device="cpu")
    if found.outcome == "refused":
        raise AuricleError(found.why)
    return on_family(recipe, get_family(encoder))


def run(cell: str, args: argparse.Namespace) -> None:
    """Train and evaluate a cell, and keep what was found."""
    file = RESULTS / f"{cell}.json"
    if file.exists():
        return
    print(f"== {cell}", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"cell": cell}
    if cell in BASELINES:
        found["tasks"] = evaluated(cell, [baseline(cell)], args)  # type: ignore[arg-type]
    else:
        method, encoder, seed = cell.split(".")
        try:
            recipe = recipe_of(method, encoder)
        except AuricleError as error:
            found["refused"] = str(error)
        else:
            found["training"] = train(cell, recipe, int(seed), args)
            found["signal"] = signal(args.work / cell, args)
            model = load(args.work / cell)
            control = controls(model.encoder, ("random",), seed=int(seed))[0]
            found["tasks"] = evaluated(cell, [model, control], args)
    file.write_text(json.dumps(found, indent=1, allow_nan=True) + "\n")


def train(cell: str, recipe: Recipe, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Pre-train a cell and return what it cost."""
    out = args.work / cell
    measured = out / "measured.json"
    if measured.exists():
        return dict(json.loads(measured.read_text()))
    titled = isinstance(recipe.objective, ClapConfig)
    data, exclude = (args.data / TITLED, ()) if titled else (args.data, KEPT)
    begun = (out / "run.json").is_file()
    if not begun:
        recipe = fitted(recipe, open_corpus(data, exclude=exclude), args.minutes, args.threads, seed)
    wall, processor = time.perf_counter(), time.process_time()
    if begun:
        resume(out, progress=False)
        recipe = load_recipe(out)
    else:
        pretrain(recipe, data, out, exclude=exclude, progress=False)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    steps = [part.train.steps for part in parts(recipe)]
    found = {
        "budget_minutes": args.minutes,
        "minutes": wall / 60,
        "processor_minutes": processor / 60,
        "resumed": begun,
        "steps": steps,
        "batch": recipe.loader.batch,
        "window": recipe.window.seconds,
        "clips_per_second": sum(steps) * recipe.loader.batch / processor,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(p.numel() for p in build(recipe, 0)[1].parameters()),
        "threads": args.threads,
    }
    measured.write_text(json.dumps(found, indent=1))
    print(cell, found, flush=True)
    return found


@torch.no_grad()
def signal(run: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return a method's own numbers on the corpora that were kept, and the same with targets of other clips."""
    recipe = load_recipe(run)
    frontend, encoder, objective = build(recipe, recipe.train.seed)
    checkpoint = RunFolder.open(run).checkpoint(None)
    state = read_state(checkpoint)
    for module, file in ((encoder, "encoder.safetensors"), (objective, "objective.safetensors")):
        load_weights(module.eval(), verify_file(checkpoint, file, state))
    titled = isinstance(recipe.objective, ClapConfig)
    corpus = open_corpus(args.data / KEPT[0] if titled else [args.data / kept for kept in KEPT])
    if objective.columns:
        objective.take_columns({column: corpus.column(column) for column in objective.columns})
    views = recipe.augment.build(frontend)
    found: dict[str, dict[str, float]] = {}
    for mode in ("own", "other"):
        objective.shuffled = mode == "other"
        sums: dict[str, float] = {}
        loader = Loader(corpus, recipe.window, recipe.loader.replace(workers=0), rate=frontend.rate, seed=5)
        with threads(args.threads):
            for batch in loader.iterate():
                if batch.step == SIGNAL_BATCHES:
                    break
                generator = torch.Generator().manual_seed(batch.step)
                made = [
                    View(v.features, batch.clip, v.certificate, v.reference)
                    for v in views(batch.audio, objective.views, generator)
                ]
                loss = objective(encoder, made, generator)
                for key, value in {"loss": loss.total, **loss.parts, **loss.watch}.items():
                    sums[key] = sums.get(key, 0.0) + float(value) / SIGNAL_BATCHES
        found[mode] = sums
    return found


def evaluated(cell: str, encoders: list[Any], args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate encoders on every task: the first beside its control, with the paired gain."""
    tasks: dict[str, Any] = {}
    for task, probes in TASKS.items():
        began, out = time.perf_counter(), args.work / cell / "probes" / task
        corpus = open_corpus(args.data / get_task(task).corpus)
        mine = [one if isinstance(one, EvaluatedEncoder) else evaluated_on(one, corpus) for one in encoders]
        with threads(args.threads):
            results = evaluate(
                mine, get_task(task), corpus, out=out, probes=probes, config=EVALUATION, progress=False,
                tokens=args.work / cell / "tokens",
            )  # fmt: skip
        tasks[task] = {
            "metric": results[0].metric,
            "constant": results[0].constant_metrics.get(results[0].metric),
            "clips": results[0].clips,
            "seen": results[0].seen,
            "probes": {probe: numbers([r for r in results if r.probe == probe], out) for probe in probes},
        }
        shutil.rmtree(args.work / cell / "tokens", ignore_errors=True)
        print(cell, task, f"{time.perf_counter() - began:.0f} s", flush=True)
    return tasks


def numbers(results: list[Result], out: Path) -> dict[str, Any]:
    """Return the values of one probe, and the gain over the control with its interval."""
    found: dict[str, Any] = {}
    for result in results:
        name = "random" if result.role == "random" else "trained"
        found[name] = {"value": result.value, "low": result.low, "high": result.high}
    if len(results) == 2:
        first, second = sorted(results, key=lambda result: result.role == "random")
        gain = compare(first, second, out)
        found["gain"] = {"value": gain.value, "low": gain.interval.low, "high": gain.interval.high, "p": gain.p}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cells", "run", "table"))
    parser.add_argument("cells", nargs="*", default=[], help="by default all that are not done, in their order")
    parser.add_argument("--data", type=Path, help="folder of the corpora")
    parser.add_argument("--work", type=Path, help="folder of the runs; needed to resume an interrupted cell")
    parser.add_argument("--minutes", type=float, default=25.0, help="processor minutes of pre-training")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_intermixed_args()
    if args.what == "table":
        table()
        return
    chosen = args.cells or [*BASELINES, *cells()]
    if args.what == "cells":
        for name in chosen:
            print(f"{'done' if stored(name) else '-':6}{name}")
        return
    if args.data is None or args.work is None:
        parser.error("run needs --data, the folder of the corpora, and --work, a folder for the runs")
    for name in chosen:
        run(name, args)


if __name__ == "__main__":
    main()
