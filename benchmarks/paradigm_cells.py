"""The cells of `paradigms.py`, and the tables of what is done: one file for each cell in `results/paradigms`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "paradigms"
METHODS = (
    "cola", "apc", "audio-mae", "best-rq", "byol-a", "clap", "wav2vec2", "ssamba", "cpc", "eat", "hubert", "pase",
    "permutation", "beats",
)  # fmt: skip
# Encoders that every objective is tried on, where the contracts let it.
SHARED = ("audio-ntt", "patch-transformer")
# The fastest to learn, with two more seeds.
SEEDED = ("cola", "byol-a", "apc", "audio-mae", "clap", "best-rq")
BASELINES = ("log-mel", "mfcc")
# Kept for the evaluation: seen by no method. The other tasks are seen by all but clap, without labels.
KEPT = ("esc10", "sed_synth")
TITLED = "esc50_dev20"  # its clips have the titles that their uploaders gave them: captions that are no labels
# No setting was chosen on these.
PROBES = ("linear", "mhca", "protobin")
# Probes of tokens on two tasks only: on the others they take longer than pre-training.
TASKS = {
    "esc10": PROBES, "sed_synth": PROBES, "fsdd": PROBES[:1], "nemo_pl": PROBES[:1], "piano_pitch_class": PROBES[:1],
}  # fmt: skip
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


def cells() -> list[str]:
    """Return the names of all cells, in their order."""
    names = [f"{method}.own.0" for method in METHODS]
    names += [f"{method}.{encoder}.0" for encoder in SHARED for method in METHODS]
    return names + [f"{method}.own.{seed}" for seed in (1, 2) for method in SEEDED]


def table() -> None:
    """Print what is there."""
    done = {name: read for name in (*cells(), *BASELINES) if (read := stored(name))}
    trained = {name: found for name, found in done.items() if "training" in found}
    print("| cell | encoder, M | clips/s | window, s | steps | min | peak MB |\n|---|---:|---:|---:|---:|---:|---:|")
    for name, found in trained.items():
        m = found["training"]
        print(
            f"| {name} | {m['parameters'] / 1e6:.2f} | {m['clips_per_second']:.1f} | {m['window']:g} | "
            f"{' + '.join(map(str, m['steps']))} | {m['processor_minutes']:.1f} | {m['peak_mb']:.0f} |"
        )
    print("\n| cell | its own signal | own clips | to beat | targets of other clips |\n|---|---|---:|---|---:|")
    for name, found in trained.items():
        key, said, beaten = SIGNALS.get(name.split(".")[0], ("loss", "loss", ()))
        own, other = found["signal"]["own"], found["signal"]["other"]
        beat = ", ".join(f"{b.rpartition('/')[2].replace('_', ' ')} {own[b]:.3f}" for b in beaten if b in own)
        print(f"| {name} | {said} | {own.get(key, own['loss']):.3f} | {beat} | {other.get(key, other['loss']):.3f} |")
    for task, probes in TASKS.items():
        if not any("tasks" in found for found in done.values()):
            break
        metric = next(found["tasks"][task]["metric"] for found in done.values() if "tasks" in found)
        print(f"\n**{task}** ({metric}; gain over random weights of the same encoder, paired)\n")
        print("| cell | " + " | ".join(f"{probe} | random | gain" for probe in probes) + " |")
        print("|---" * (1 + 3 * len(probes)) + "|")
        for name, found in done.items():
            if "tasks" in found:
                each = [found["tasks"][task]["probes"][probe] for probe in probes]
                row = [text(one.get(column)) for one in each for column in ("trained", "random", "gain")]
                print(f"| {name} | " + " | ".join(row) + " |")
    below = [
        f"{name}, {task}, {probe}: {text(gain)}"
        for name, found in trained.items()
        for task, numbers in found["tasks"].items()
        for probe, one in numbers["probes"].items()
        if (gain := one.get("gain")) and gain["high"] is not None and gain["high"] < 0
    ]
    print("\nBelow their random weights, with an interval that excludes zero:\n")
    print("\n".join(f"- {line}" for line in below) or "none.")
    print("\nRefused by a contract:\n")
    print("\n".join(f"- {name}: {found['refused']}" for name, found in done.items() if "refused" in found) or "none.")


def stored(name: str) -> dict[str, Any] | None:
    """Return what was found of a cell; None where it is not done."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def text(found: dict[str, float | None] | None) -> str:
    """Return a value with its interval, in percent; bold where a gain's interval excludes zero."""
    if found is None or found["value"] is None:
        return ""
    value, low, high = found["value"], found["low"], found["high"]
    sign = "+" if "p" in found else ""
    said = f"{100 * value:{sign}.1f}"
    if low is None or high is None or low != low or high != high:
        return said
    said += f" [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
    return f"**{said}**" if "p" in found and (low > 0 or high < 0) else said
