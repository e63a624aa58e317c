"""Every type of task from the command line, on real clips, beside its controls.

    python benchmarks/task_types.py RUN --data CORPORA --out FOLDER

Runs `auricle probe` once for each task below, as a user would, and prints one table: the encoder, random weights and
log-mel and MFCC statistics with 95 % intervals, and the command. What is there already is not computed again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from auricle.results.record import CONTROL_NAMES, Result, read_results
from auricle.results.tables import interval_text
from auricle.tasks.cards.registry import get_task

# A task of each type with one or two of its probes, and flags that keep it short.
RUNS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("esc10", ("linear", "logistic"), ("--seeds", "1")),
    ("sed_synth", ("linear", "protobin"), ("--seeds", "1")),
    ("sed_synth_events", (), ("--seeds", "1")),
    ("mdb_drums_onsets", (), ("--seeds", "1")),
    ("piano_pitch", ("ridge", "mhca"), ("--seeds", "1")),
    ("esc10_level", ("ridge", "mhca"), ("--seeds", "1")),
    ("arabic_verification", ("cosine", "cosine_whitened"), ()),
    ("esc10_retrieval", ("cosine", "cosine_centred"), ()),
    ("esc10_few_shot", (), ()),
    ("esc10_budget", ("logistic",), ()),
    ("esc10_anomaly", (), ()),
    ("esc10_clustering", (), ()),
    (
        "fsdd_asr",
        ("ctc_conv",),
        ("--seeds", "1", "--search.epochs", "15", "--search.lr-count", "2", "--search.weight-decay", "1e-4"),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with the corpora of the tasks")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and token caches")
    parser.add_argument("--tasks", nargs="+", default=[task for task, _, _ in RUNS])
    args = parser.parse_args()
    print("| type | task | probe | metric | pre-trained | random weights | log-mel | MFCC | seconds |")
    print("|---|---|---|---|---|---|---|---|---:|")
    commands, failed = [], []
    for task, probes, flags in RUNS:
        if task not in args.tasks:
            continue
        card = get_task(task)
        out = args.out / task
        command = ["auricle", "probe", str(args.run), "--task", task, "--data", str(args.data / card.corpus)]
        command += [*(("--probes", *probes) if probes else ()), *flags, "--out", str(out)]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "auricle.cli", *command[1:]], capture_output=True, text=True, check=False
        )
        if done.returncode:
            failed.append(f"{task}: {done.stderr.strip()[-400:]}")
            continue
        rows(card.rule.type_name, read_results(out), time.monotonic() - began)
        commands.append(
            f"auricle probe RUN --task {task} --data CORPORA/{card.corpus} " + " ".join(command[6 + 1 : -2])
        )
    print("\nCommands:\n")
    print("\n".join(f"    {command}".rstrip() for command in commands))
    if failed:
        sys.exit("\n".join(failed))


def rows(kind: str, results: list[Result], seconds: float) -> None:
    for probe in dict.fromkeys(r.probe for r in results):
        mine = {r.role: r for r in results if r.probe == probe}
        first = next(iter(mine.values()))
        arrow = " ↓" if first.better == "lower" else ""
        shown = [interval_text(mine[role]) if role in mine else "-" for role in ("pretrained", *CONTROL_NAMES)]
        unit = f", {first.unit}" if first.unit else ""
        print(
            f"| {kind} | {first.task} | {probe} | {first.metric}{unit}{arrow} | {' | '.join(shown)} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
