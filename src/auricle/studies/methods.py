"""The study `methods`: what each pre-training method is worth, on its own encoder and on shared ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from auricle.corpus.loader import Loader
from auricle.objectives.contract import View
from auricle.recipes.building import build
from auricle.results.tables import NONE, Sheet
from auricle.studies.budget import Budget
from auricle.studies.cells import Cell, Diet, Evaluated, Place, Pretraining
from auricle.studies.statement import Statement, decide
from auricle.studies.study import Book, Conclusion, Study, StudyConfig, register_study
from auricle.training.checkpoint import load_weights, read_state, verify_file
from auricle.training.run_folder import RunFolder
from auricle.training.threads import threads

METHODS = (
    "cola", "apc", "audio-mae", "best-rq", "byol-a", "clap", "wav2vec2", "ssamba", "cpc", "eat", "hubert", "pase",
    "permutation", "beats",
)  # fmt: skip
# Encoders that every objective is tried on, where the contracts let it.
SHARED = ("audio-ntt", "patch-transformer")
# The fastest to learn: only these have several seeds.
SEEDED = ("cola", "byol-a", "apc", "audio-mae", "clap", "best-rq")
# Kept for the evaluation. The other tasks' audio is seen in pre-training, without labels, by all but clap.
KEPT = ("esc10", "sed_synth")
# Its clips have the titles that their uploaders gave them: captions that are no labels.
TITLED = Diet(only=("esc50_dev20",))
BASELINES = ("log-mel", "mfcc")
# No setting was chosen on these tasks. Probes of tokens on the first alone: elsewhere they take longer than training.
TASKS = {
    "esc10": ("linear", "mhca", "protobin"), "sed_synth": ("linear",), "fsdd": ("linear",), "nemo_pl": ("linear",),
    "piano_pitch_class": ("linear",),
}  # fmt: skip
_BATCHES = 6
# Of each method: the number, what it is, and its baselines (an accuracy from above, else from below).
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


@dataclass(frozen=True)
class Signal(Cell):
    """The own loss of a method on audio that was kept, and the same with targets of other clips.

    Attributes:
        of: the pre-training.
        kept: corpora below the data.
    """

    of: Pretraining
    kept: tuple[str, ...] = KEPT

    @property
    def title(self) -> str:
        return f"own signal: {self.of.title}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        return (self.of,)

    def facts(self, place: Place) -> dict[str, Any]:
        return {"of": self.of.name(place), "audio": place.pretraining(Diet(only=self.kept)).fingerprint}

    @torch.no_grad()
    def run(self, place: Place, folder: Path) -> dict[str, Any]:
        recipe, run = self.of.trained(place), place.folder(self.of) / "run"
        frontend, encoder, objective = build(recipe, recipe.train.seed)
        checkpoint = RunFolder.open(run).checkpoint(None)
        state = read_state(checkpoint)
        for module, file in ((encoder, "encoder.safetensors"), (objective, "objective.safetensors")):
            load_weights(module.eval(), verify_file(checkpoint, file, state))
        corpus = place.pretraining(Diet(only=self.kept))
        if objective.columns:
            objective.take_columns({column: corpus.column(column) for column in objective.columns})
        views = recipe.augment.build(frontend)
        found: dict[str, dict[str, float]] = {}
        for mode in ("own", "other"):
            objective.shuffled = mode == "other"
            sums: dict[str, float] = {}
            loader = Loader(corpus, recipe.window, recipe.loader.replace(workers=0), rate=frontend.rate, seed=5)
            with threads(self.of.budget.threads):
                for batch in loader.iterate(0, _BATCHES):
                    generator = torch.Generator().manual_seed(batch.step)
                    made = [
                        View(v.features, batch.clip, v.certificate, v.reference)
                        for v in views(batch.audio, objective.views, generator)
                    ]
                    loss = objective(encoder, made, generator)
                    for key, value in {"loss": loss.total, **loss.parts, **loss.watch}.items():
                        sums[key] = sums.get(key, 0.0) + float(value) / _BATCHES
            found[mode] = sums
        return {"signal": found}


class Methods(Study):
    """Every method in its tiny size, trained on the same audio for the same budget, beside its random weights."""

    name = "methods"
    summary = "what each pre-training method is worth, on its own encoder and on shared ones, beside random weights"
    defaults = StudyConfig(Budget(minutes=10.0), seeds=3)

    def cells(self, config: StudyConfig) -> Sequence[Cell]:
        grid: list[Cell] = [Evaluated(task, baseline=name) for name in BASELINES for task in TASKS]
        pairs = [(method, "own", 0) for method in METHODS]
        pairs += [(method, encoder, 0) for encoder in SHARED for method in METHODS]
        pairs += [(method, "own", seed) for seed in range(1, config.seeds) for method in SEEDED]
        for method, encoder, seed in pairs:
            trained = pretraining(method, encoder, seed, config.budget)
            titled = trained.columns != ()
            grid += [trained, Signal(trained, KEPT[:1] if titled else KEPT)]
            for task, probes in TASKS.items():
                # The first alone, so that studies that read only this find it.
                grid += [Evaluated(task, trained, probes=part) for part in (probes[:1], probes[1:]) if part]
        return grid

    def conclude(self, book: Book) -> Conclusion:
        trained = [cell for cell in book.results if isinstance(cell, Pretraining) and "steps" in book.results[cell]]
        statements = [_gains(method, book) for method in METHODS if any(cell.method == method for cell in trained)]
        sheets = [_cost(trained, book), _signals(book), *(_scores(task, book) for task in TASKS)]
        return Conclusion(tuple(statements), tuple(sheet for sheet in sheets if sheet.rows))


def pretraining(method: str, encoder: str, seed: int, budget: Budget) -> Pretraining:
    """Return the pre-training of a method on all corpora but those kept; of audio and text, on the one with titles."""
    if method == "clap":
        return Pretraining(method, encoder, "tiny", seed, TITLED, budget, ("title",))
    return Pretraining(method, encoder, "tiny", seed, Diet(exclude=KEPT), budget)


def _gains(method: str, book: Book) -> Statement:
    """Return whether a method's own encoder gains over its random weights: a value a task, the mean over seeds."""
    values = []
    for task in TASKS:
        gains = [
            found["probes"]["linear"]["gain"]["value"] * (1 if found["better"] == "higher" else -1)
            for cell, found in book.results.items()
            if isinstance(cell, Evaluated) and cell.of is not None and (cell.task, cell.of.method) == (task, method)
            and cell.of.encoder == "own" and "gain" in found["probes"].get("linear", {})
        ]  # fmt: skip
        if gains:
            values.append(sum(gains) / len(gains))
    text = f"{method} is worth more than its random weights"
    return decide(text, "random-weight control", "gain of the linear probe, points", values, "task")


def _cost(trained: Sequence[Pretraining], book: Book) -> Sheet:
    rows = []
    for cell in trained:
        m = book.results[cell]
        rate = NONE if m["clips_per_second"] is None else f"{m['clips_per_second']:.1f}"
        peak = NONE if m["peak_mb"] is None else f"{m['peak_mb']:.0f}"
        rows.append(
            (
                cell.title, f"{m['parameters'] / 1e6:.2f}", rate, f"{m['window']:g}", " + ".join(map(str, m["steps"])),
                f"{m['processor_minutes']:.1f}", peak,
            )
        )  # fmt: skip
    head = ("pre-training", "encoder, M", "clips/s", "window, s", "steps", "processor min", "peak MB")
    return Sheet("Cost", head, tuple(rows))


def _signals(book: Book) -> Sheet:
    rows = []
    for cell, found in book.results.items():
        if not isinstance(cell, Signal):
            continue
        key, said, beaten = SIGNALS.get(cell.of.method, ("loss", "loss", ()))
        own, other = found["signal"]["own"], found["signal"]["other"]
        beat = ", ".join(f"{b.rpartition('/')[2].replace('_', ' ')} {own[b]:.3f}" for b in beaten if b in own)
        values = (f"{each.get(key, each['loss']):.3f}" for each in (own, other))
        first, second = values
        rows.append((cell.of.title, said, first, beat or NONE, second))
    head = ("pre-training", "signal on kept clips", "own targets", "to beat", "targets of other clips")
    return Sheet("Own signals", head, tuple(rows))


def _scores(task: str, book: Book) -> Sheet:
    probes = TASKS[task]
    found: dict[str, dict[str, Any]] = {}
    metric = ""
    for cell, result in book.results.items():
        if isinstance(cell, Evaluated) and cell.task == task:
            name = cell.baseline if cell.of is None else cell.of.title
            found.setdefault(name, {}).update(result["probes"])
            metric = result["metric"]
    rows, best = [], set()
    for y, (name, by_probe) in enumerate(found.items()):
        row = [name]
        for probe in probes:
            one = by_probe.get(probe, {})
            row += [_value(one.get("encoder")), _value(one.get("random"))]
            gain = one.get("gain")
            if gain and gain["low"] is not None and (gain["low"] > 0 or gain["high"] < 0):
                best.add((y, len(row)))
            row.append(_value(gain, "+"))
        rows.append(tuple(row))
    head = ("encoder", *(f"{probe}{more}" for probe in probes for more in ("", ", random weights", ", gain")))
    notes = ("in %, with 95 % intervals over clips; gain: paired with random weights of the same encoder, bold where "
             "its interval excludes zero",)  # fmt: skip
    return Sheet(f"{task} ({metric})", head, tuple(rows), frozenset(best), notes)


def _value(found: dict[str, Any] | None, sign: str = "") -> str:
    if found is None or found["value"] is None:
        return NONE
    text = f"{100 * found['value']:{sign}.1f}"
    if found["low"] is None or found["low"] != found["low"]:
        return text
    return f"{text} [{100 * found['low']:{sign}.1f}, {100 * found['high']:{sign}.1f}]"


register_study(Methods())
