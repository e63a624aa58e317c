"""The demonstration: pre-training, probing and report on the built-in corpus, in minutes on a laptop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from auricle.answers.calls_demo import CALLS_LABELLED, detect_calls
from auricle.audio.ops.wave_filters import PassFilterConfig, ReverbConfig
from auricle.audio.ops.wave_ops import WaveNoiseConfig
from auricle.config import Natural
from auricle.devices import Device, Precision, find_device
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.probing import probe
from auricle.recipes import Recipe, get_recipe, pretrain
from auricle.report.page import write_report
from auricle.results.book import ResultBook
from auricle.results.comparison import Pair, compare_results
from auricle.results.record import CONTROLS, Result, Role
from auricle.results.tables import Sheet
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.training.run_folder import RunFolder

# Sounds of two seconds, most of which the event fills. Corpora of different seeds share no sound and no voice.
TRAINING = "builtin:single?clips=2000&seconds=2&seed={}"
# Of each class and fold eight clips: one fold trains, one validates, three test.
LABELLED = "builtin:single?clips=640&seconds=2&train_folds=1&seed={}"
STEPS, BATCH = 250, 64
# The settings were chosen on seeds below.
SEED: Natural = 3
ONE_SEED = EvaluationConfig(seeds=1)


def demo(
    out: Path | str = "runs/demo",
    *,
    minutes: float = 3.0,
    seed: Natural = SEED,
    device: Device = "auto",
    precision: Precision = "auto",
) -> tuple[list[Result], Path]:
    """Pre-train COLA on synthesised sounds, probe it with few labels, detect calls with it, write the report.

    Nothing is downloaded. Called again with the same folder it goes on where it was stopped.

    Args:
        out: run folder.
        minutes: time limit of pre-training; its schedule takes about two minutes on a laptop.
        seed: of the sounds, of the first weights and of training. The settings were chosen on seeds below 3.
        device: where to pre-train and probe: `auto`, `cpu`, `cuda` or `mps`.
        precision: of both: `fp32`, `bf16` (autocast), or `auto`: as the device computes, and fp32 in probing.

    Returns:
        The results, and the path of `report.html`.

    Raises:
        CheckpointError: `out` holds a run of something else.
        ConfigError: there is no such device here.
    """
    find_device(device)
    console, out = Console(), Path(out)
    recipe = demo_recipe(seed)
    train = replace(recipe.train, minutes=minutes, device=device, precision=precision)
    recipe = recipe.replace(train=train)
    begun = (out / "recipe.json").is_file()
    if begun and _finished(out, recipe):
        console.print(f"{out} holds a finished pre-training run; probing it")
    else:
        console.rule("1. pre-training without labels, on synthesised sounds")
        pretrain(recipe, TRAINING.format(2 * seed + 1), out, resume=begun)
    console.rule("2. probing the frozen encoder and its controls: few labels, other voices")
    exact: Precision = "fp32" if precision == "auto" else precision
    config = ONE_SEED.replace(device=device)
    results = probe(out, task=demo_task(), data=LABELLED.format(2 * seed), config=config, precision=exact)
    console.rule(f"3. a detector of {CALLS_LABELLED} labelled calls, on a minute of other sounds")
    for name, found in detect_calls(out, seed, device=device, precision=exact).items():
        console.print(f"{name}: {found.words}", highlight=False)
    return results, write_report([out], out / "report.html")


def demo_recipe(seed: Natural = SEED) -> Recipe:
    """Return the tiny COLA with half the channels, a shorter schedule, and views of different rooms and devices."""
    recipe = get_recipe("cola", "tiny")
    train = replace(
        recipe.train, steps=STEPS, warmup_steps=STEPS // 10, schedule="cosine", save_every=50, log_every=10, seed=seed
    )
    # Both crops of a clip share its room, microphone and noise: without other ones in each view, COLA goes by these.
    views = (ReverbConfig(p=0.5), PassFilterConfig(p=0.5), WaveNoiseConfig(p=0.8))
    return recipe.replace(
        notes=recipe.notes.with_deviations("half the channels; each view has another room, filter and noise"),
        augment=recipe.augment.replace(wave=views, clean=()),
        window=recipe.window.replace(seconds=2.0),
        encoder=AudioNTTConfig(width=512, channels=32),
        loader=replace(recipe.loader, batch=BATCH),
        train=train,
    )


def demo_task() -> TaskCard:
    """Return the demonstration's task: sixteen classes, eight labelled clips of each, voices not seen in training."""
    return get_task("scenes_single").replace(
        title="Built-in sounds: eight labelled clips a class, other voices in the test", protocol="split"
    )


def gains(results: Sequence[Result], folder: Path | str) -> tuple[Sheet, str]:
    """Compare the pre-trained encoder with each control, probe by probe, on the same test clips.

    Args:
        results: of one task: the pre-trained encoder and its controls.
        folder: run folder or folder of results, with the predictions.

    Returns:
        A sheet of paired gains with 95 % intervals, and what follows from it in one sentence.
    """
    book = ResultBook.collect([folder])
    encoders: dict[Role, str] = {}
    for result in results:  # a second result of a role reads other features
        encoders.setdefault(result.role, result.encoder_fingerprint)
    controls: list[Role] = [role for role in encoders if role != "pretrained"]
    pairs = {role: compare_results(book, encoders["pretrained"], encoders[role]).pairs for role in controls}
    probes = list(dict.fromkeys(pair.shared for found in pairs.values() for pair in found))
    rows, best = [], set()
    for y, role in enumerate(controls):
        cells = {pair.shared: pair for pair in pairs[role]}
        rows.append((CONTROLS[role], *(_cell(cells[name]) if name in cells else "-" for name in probes)))
        best |= {(y, x) for x, name in enumerate(probes, 1) if name in cells and cells[name].clear}
    sheet = Sheet(
        "What pre-training gains over",
        ("", *probes),
        tuple(rows),
        frozenset(best),
        ("points of accuracy on the same test clips, with the 95% interval of the paired difference; bold: it excludes "
        "zero",),
    )  # fmt: skip
    return sheet, verdict(pairs)


def verdict(pairs: Mapping[Role, Sequence[Pair]]) -> str:
    """Say in a sentence over which controls, and with which probes, the gain of pre-training excludes zero.

    Args:
        pairs: comparisons with each control, by its role.
    """
    every = [(CONTROLS[role], pair) for role, found in pairs.items() for pair in found]
    better = [pair for _, pair in every if pair.low > 0]
    worse = [f"{name} ({pair.shared})" for name, pair in every if pair.high < 0]
    equal = [f"{name} ({pair.shared})" for name, pair in every if not pair.clear]
    if len(better) == len(every):
        least = min(pair.condition.info.factor * pair.gain for pair in better)
        return (
            f"Pre-training pays here: all {len(every)} intervals exclude zero; the smallest gain is {least:.1f} points."
        )
    parts = [f"{len(better)} of {len(every)} intervals exclude zero in favour of pre-training"]
    parts += [f"no difference is shown from {', '.join(equal)}"] if equal else []
    parts += [f"pre-training is worse than {', '.join(worse)}"] if worse else []
    return f"{'; '.join(parts)}."


def _cell(pair: Pair) -> str:
    info = pair.condition.info
    gain = info.text(pair.gain, plus=True)
    low, high = info.text(pair.low, plus=True), info.text(pair.high, plus=True)
    return f"{gain} [{low}, {high}]" if math.isfinite(pair.low) else gain


def _finished(out: Path, recipe: Recipe) -> bool:
    """Whether pre-training is over: all steps are done, or their time was; events alone are no checkpoint to probe."""
    run = RunFolder.open(out)
    # Another run must not pass for the demonstration.
    run.check_recipe(recipe.to_json())
    return run.finished(over=True)
