"""Every paradigm on the same audio for the same time, read by the same probes.

    python benchmarks/paradigms.py train hubert --data CORPORA --out RUNS --minutes 25 --threads 1
    python benchmarks/paradigms.py signal hubert --data CORPORA --out RUNS
    python benchmarks/paradigms.py probe hubert --data CORPORA --out RUNS
    python benchmarks/paradigms.py table --out RUNS

`train` measures how long a step takes, sets the schedule to the steps that fit into the time (equal shares for methods
of several stages), and pre-trains on all corpora but those kept for the test; clap on the one whose clips have titles.
`signal` reads its own loss on what was kept, beside what it must beat.
`probe` reads the frozen encoder and its random-weight control, and the fixed baselines (log-mel and MFCC statistics).
`table` prints what is there as Markdown. What is there is not done again.
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
from auricle.evaluation.controls import baseline
from auricle.evaluation.driver import EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.probing import evaluated_on
from auricle.models import load
from auricle.objectives.contract import View
from auricle.objectives.text.clap import ClapConfig
from auricle.probes import SearchConfig
from auricle.recipes import Recipe, get_recipe, load_recipe, pretrain
from auricle.recipes.building import build
from auricle.recipes.matrix import make_ready
from auricle.results.record import Control, Result, Role, read_results
from auricle.results.tables import interval_text
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.training.checkpoint import load_weights, read_state, verify_file
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.step import TrainingStep
from auricle.training.threads import threads

METHODS = (
    "byol-a", "cola", "wav2vec2", "cpc", "apc", "audio-mae", "hubert", "best-rq", "beats", "eat", "ssamba", "clap",
    "permutation",
)  # fmt: skip
BASELINES: tuple[Control, ...] = ("log-mel", "mfcc")
# Kept for the test: no method sees them. fsdd, nemo_pl and medley_solos_mini are seen, without labels, and marked.
KEPT = ("esc10", "sed_synth")
TITLED = "esc50_dev20"  # its clips have the titles that their uploaders gave them: captions that are no labels
TASKS = ("esc10", "sed_synth", "fsdd", "nemo_pl", "medley_solos_mini")
ROLES: tuple[Role, ...] = ("pretrained", "random")
PROBES = ("linear", "mhca", "protobin")
SIGNAL_BATCHES = 6
# What is read of each: the number, what it is, and what it must beat (an accuracy from above, else from below).
_CODES = ("codes/code_accuracy", "right code", ("codes/majority", "codes/position_accuracy"))
SIGNALS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "byol-a": ("accuracy", "finds the other view (top 1)", ("chance",)),
    "cola": ("accuracy", "finds the other crop (top 1)", ("chance",)),
    "wav2vec2": ("contrast", "contrast, nats", ("contrast/chance", "contrast/position")),
    "cpc": ("future", "contrast, nats", ("future/chance",)),
    "apc": ("future", "L1, 3 frames ahead", ("future/copy_last", "future/constant", "future/position")),
    "audio-mae": ("patch_mse", "error of hidden patches", ("patch_mse/constant", "patch_mse/position")),
    "hubert": _CODES,
    "best-rq": _CODES,
    "beats": _CODES,
    "eat": ("patch", "error of hidden latents", ("patch/constant", "patch/position")),
    "ssamba": ("nce", "contrast, nats", ("nce/chance", "nce/position")),
    "clap": ("accuracy", "finds the title (top 1)", ("clap/chance",)),
}
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


def fitted(recipe: Recipe, corpus: Corpus, minutes: float, count: int) -> Recipe:
    """Return the recipe with as many steps as fit into its share of the time, its stages before likewise."""
    share = 60 * minutes / len(parts(recipe))
    fit = None
    for part in parts(recipe):
        steps = max(20, int(share / seconds_a_step(part, corpus, count)))
        train = part.train.replace(
            steps=steps, warmup_steps=min(part.train.warmup_steps, steps // 5), threads=count, save_every=200
        )
        fit = part.replace(previous=fit, train=train)
    return fit or recipe


def lesson(name: str, data: Path) -> tuple[Recipe, Corpus]:
    """Return a method's tiny recipe and what it hears: all that is not kept; clap: what has titles, with these."""
    recipe = get_recipe(name, "tiny")
    if not isinstance(recipe.objective, ClapConfig):
        return recipe, open_corpus(data, exclude=KEPT)
    return recipe.replace(objective=recipe.objective.replace(columns=("title",))), open_corpus(data / TITLED)


def train(name: str, args: argparse.Namespace) -> None:
    """Pre-train a method."""
    out = args.out / name
    if (out / "measured.json").exists():
        return
    recipe, corpus = lesson(name, args.data)
    recipe = fitted(recipe, corpus, args.minutes, args.threads)
    wall, processor = time.perf_counter(), time.process_time()
    pretrain(recipe, corpus, out, progress=False)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    encoder = build(recipe, 0)[1]
    steps = [part.train.steps for part in parts(recipe)]
    measured = {
        "minutes": wall / 60,
        "processor_minutes": processor / 60,
        "steps": steps,
        "batch": recipe.loader.batch,
        "window": recipe.window.seconds,
        "clips_per_second": sum(steps) * recipe.loader.batch / processor,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "threads": args.threads,
    }
    (out / "measured.json").write_text(json.dumps(measured, indent=2))
    print(name, measured, flush=True)


@torch.no_grad()
def signal(name: str, args: argparse.Namespace) -> None:
    """Read a method's own signal on the corpora that were kept, and the same with targets of other clips."""
    run = args.out / name
    if (run / "signal.json").exists():
        return
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
    (run / "signal.json").write_text(json.dumps(found, indent=2))
    print(name, found, flush=True)


def judged_by(task: str, data: Path) -> tuple[TaskCard, Corpus]:
    """Return a task and its clips; of medley the folds of its training part, as its test part has eight clips only."""
    card, corpus = get_task(task), open_corpus(data / task)
    if task != "medley_solos_mini":
        return card, corpus
    return card.replace(protocol="folds"), corpus.filter(lambda clip: clip.split == "train")


def read(name: str, args: argparse.Namespace) -> None:
    """Probe a method's encoder and its random-weight control on every task; the baselines are one row each."""
    for task in args.tasks:
        began = time.perf_counter()
        card, corpus = judged_by(task, args.data)
        if name in BASELINES:
            mine = [baseline(name)]
        else:
            evaluated = evaluated_on(load(args.out / name), corpus)
            mine = [evaluated, EvaluatedEncoder(evaluated.encoder.randomised(0), "random", False)]
        with threads(args.threads):
            evaluate(
                mine,
                card,
                corpus,
                out=args.out / name / "probes" / task,
                probes=args.probes,
                config=EvaluationConfig(
                    seeds=args.seeds, search=SearchConfig(lr_count=args.rates, epochs=args.epochs), controls=False
                ),
                progress=False,
            )
        print(name, task, f"{time.perf_counter() - began:.0f} s", flush=True)


def table(args: argparse.Namespace) -> None:
    """Print what is there."""
    names = [name for name in METHODS if (args.out / name / "measured.json").exists()]
    print("| method | encoder, M | clips/s | window, s | steps | min | peak MB |\n|---|---:|---:|---:|---:|---:|---:|")
    for name in names:
        m = json.loads((args.out / name / "measured.json").read_text())
        print(
            f"| {name} | {m['parameters'] / 1e6:.2f} | {m['clips_per_second']:.1f} | {m['window']:g} | "
            f"{' + '.join(map(str, m['steps']))} | {m['processor_minutes']:.1f} | {m['peak_mb']:.0f} |"
        )
    _signals(args)
    for task in args.tasks:
        results = [
            (name, result)
            for name in (*names, *BASELINES)
            if (args.out / name / "probes" / task / "results.jsonl").exists()
            for result in read_results(args.out / name / "probes" / task)
        ]
        if not results:
            continue
        seen = sorted({name for name, result in results if result.seen})
        print(f"\n**{task}** ({results[0][1].metric}{'; seen without labels: ' + ', '.join(seen) if seen else ''})\n")
        print("| encoder | " + " | ".join(f"{probe} | random" for probe in PROBES) + " |")
        print("|---" * (1 + 2 * len(PROBES)) + "|")
        for name in (*names, *BASELINES):
            cells = {(r.probe, r.role): r for whose, r in results if whose == name}
            if cells:
                row = [_cell(cells, probe, role) for probe in PROBES for role in ROLES]
                print(f"| {name} | " + " | ".join(row) + " |")


def _signals(args: argparse.Namespace) -> None:
    print("\n| method | its own signal | own clips | to beat | targets of other clips |\n|---|---|---:|---|---:|")
    for name, (key, said, beaten) in SIGNALS.items():
        file = args.out / name / "signal.json"
        if file.exists():
            found = json.loads(file.read_text())
            own, other = found["own"], found["other"]
            beat = ", ".join(f"{b.rpartition('/')[2].replace('_', ' ')} {own[b]:.3f}" for b in beaten)
            print(f"| {name} | {said} | {own[key]:.3f} | {beat} | {other[key]:.3f} |")


def _cell(cells: dict[tuple[str, Role], Result], probe: str, role: Role) -> str:
    found = cells.get((probe, role))
    if found is None and role == "pretrained":
        found = next((cells[probe, control] for control in BASELINES if (probe, control) in cells), None)
    return "" if found is None else interval_text(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "signal", "probe", "table"))
    parser.add_argument("methods", nargs="*", default=[])
    parser.add_argument("--data", type=Path, help="folder of the corpora")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--probes", nargs="+", default=list(PROBES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    if args.what == "table":
        table(args)
        return
    if args.data is None:
        parser.error("--data is needed: the folder of the corpora")
    for name in args.methods or ((*METHODS, *BASELINES) if args.what == "probe" else METHODS):
        {"train": train, "signal": signal, "probe": read}[args.what](name, args)


if __name__ == "__main__":
    main()
