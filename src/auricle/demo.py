"""The demonstration: pre-training, probing and report on the built-in corpus, in minutes on a laptop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from auricle.devices import Device, Precision, find_device
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.probing import probe
from auricle.recipes import Recipe, get_recipe, load_recipe, pretrain
from auricle.report.page import write_report
from auricle.results.record import Result
from auricle.tasks.cards.registry import get_task
from auricle.training.run_folder import RunFolder

# Other scenes, from another seed, than those of the tasks.
TRAINING = "builtin:scenes?clips=1200&seed=1"
TASKS = {"scenes": "builtin:scenes?clips=400&seed=0", "scenes_single": "builtin:single?clips=400&seed=0"}
STEPS, BATCH = 110, 64
ONE_SEED = EvaluationConfig(seeds=1)


def demo(
    out: Path | str = "runs/demo", *, minutes: float = 3.0, device: Device = "auto", precision: Precision = "auto"
) -> tuple[list[Result], Path]:
    """Pre-train AudioMosaic (tiny) on synthesised scenes, probe it three ways beside its controls, write the report.

    Nothing is downloaded. Called again with the same folder it goes on where it was stopped.

    Args:
        out: run folder.
        minutes: time limit of pre-training; its schedule takes about two minutes on a laptop.
        device: where to pre-train and probe: `auto`, `cpu`, `cuda` or `mps`.
        precision: of both: `fp32`, `bf16` (autocast), or `auto`: as the device computes, and fp32 in probing.

    Returns:
        The results of both tasks, and the path of `report.html`.

    Raises:
        CheckpointError: `out` holds a run of something else.
        ConfigError: there is no such device here.
    """
    find_device(device)
    console, out = Console(), Path(out)
    recipe = get_recipe("audiomosaic", "tiny")
    train = replace(recipe.train, steps=STEPS, warmup_steps=STEPS // 10, save_every=25, log_every=5, minutes=minutes)
    train = replace(train, device=device, precision=precision)
    recipe = recipe.replace(train=train, loader=replace(recipe.loader, batch=BATCH))
    begun = (out / "recipe.json").is_file()
    if begun and _finished(out, recipe):
        console.print(f"{out} holds a finished pre-training run; probing it")
    else:
        console.rule("1. pre-training without labels, on synthesised sound scenes")
        pretrain(recipe, TRAINING, out, resume=begun)
    results = []
    for number, (task, data) in enumerate(TASKS.items(), 2):
        console.rule(f"{number}. probing the frozen encoder: {get_task(task).title}")
        # One split instead of five folds: a demonstration, not a benchmark.
        card = get_task(task).replace(protocol="split")
        exact: Precision = "fp32" if precision == "auto" else precision
        results += probe(out, task=card, data=data, config=ONE_SEED.replace(device=device), precision=exact)
    return results, write_report([out], out / "report.html")


def _finished(out: Path, recipe: Recipe) -> bool:
    """Whether pre-training is over: all steps are done, or their time was; events alone are no checkpoint to probe."""
    run = RunFolder.open(out)
    # But for the statistics that were measured: another run must not pass for the demonstration.
    run.check_recipe(recipe.replace(frontend=load_recipe(out).frontend).to_json())
    return run.finished(over=True)
