"""What pre-training buys: the table of benchmarks/foundation.md from run folders that `auricle probe` filled.

    python benchmarks/foundation.py RUN [RUN ...]

One table per task: {log-mel statistics, MFCC statistics, random weights, each run} x {probes}, with 95 % intervals;
below it the paired differences (same test clips, bootstrap over source recordings) of each run from its controls and of
tokens from the pooled vector.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from auricle.results.caveats import without_stale
from auricle.results.record import CONTROL_NAMES, ROLES, Result, read_results
from auricle.results.scoring import compare
from auricle.results.tables import interval_text

PROBES = ("linear", "mhca", "protobin")
ORDER = {role: place for place, role in enumerate(ROLES)}


def load(runs: list[Path], task: str) -> list[tuple[Path, Result]]:
    """Return each run's results on a task with their folder; controls that runs share appear once."""
    found: dict[tuple[str, str, str], tuple[Path, Result]] = {}
    for run in runs:
        folder = run / "probes" / task
        if (folder / "results.jsonl").is_file():
            for result in without_stale(read_results(folder), vars)[0]:
                own = run.name if result.role == "pretrained" else ""
                found.setdefault((own, result.encoder_fingerprint, result.probe), (folder, result))
    return sorted(found.values(), key=lambda item: (ORDER[item[1].role], name_of(item)))


def name_of(item: tuple[Path, Result]) -> str:
    """Runs are called by their folder, controls by what they are."""
    return item[0].parents[1].name if item[1].role == "pretrained" else item[1].encoder


def table(task: str, results: list[tuple[Path, Result]]) -> None:
    first = results[0][1]
    print(f"\n### {task}: {first.metric} in %\n")
    seen = any(r.seen for _, r in results)
    if seen:
        print("The pre-trained encoders have seen this audio in pre-training, without labels.\n")
    print("| encoder | " + " | ".join(PROBES) + " |")
    print("|---|" + "---|" * len(PROBES))
    for name in dict.fromkeys(name_of(item) for item in results):
        mine = {item[1].probe: item[1] for item in results if name_of(item) == name}
        print(f"| {name} | " + " | ".join(interval_text(mine[p]) if p in mine else "-" for p in PROBES) + " |")
    print(f"\n{first.clips} of {first.clips_total} test clips; {first.split}; {first.interval}.\n")


def differences(results: list[tuple[Path, Result]]) -> None:
    def said(label: str, one: tuple[Path, Result], two: tuple[Path, Result]) -> None:
        gap = compare(one[1], two[1], one[0], two[0])
        print(f"| {label} | {100 * gap.value:+.1f} [{100 * gap.interval.low:+.1f}, {100 * gap.interval.high:+.1f}] |")

    print("| paired difference | points |")
    print("|---|---|")
    trained = [item for item in results if item[1].role == "pretrained"]
    for item in trained:
        for role in CONTROL_NAMES:
            beside = [c for c in results if c[1].role == role and c[1].probe == item[1].probe]
            # Each run against the control of its own architecture, where it was probed with one.
            for control in [c for c in beside if c[0] == item[0]] or beside[-1:]:
                said(f"{name_of(item)} - {name_of(control)}, {item[1].probe}", item, control)
    for name in dict.fromkeys(name_of(item) for item in trained):
        mine = {item[1].probe: item for item in trained if name_of(item) == name}
        for probe in ("mhca", "protobin"):
            if probe in mine and "linear" in mine:
                said(f"{name}: {probe} - linear", mine[probe], mine["linear"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["esc10", "sed_synth", "esc50_dev20"])
    args = parser.parse_args()
    for task in args.tasks:
        results = load(args.runs, task)
        if results:
            table(task, results)
            differences(results)


if __name__ == "__main__":
    main()
