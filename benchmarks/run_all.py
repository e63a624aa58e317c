"""Run every benchmark one after the other and keep what each prints.

    python benchmarks/run_all.py [--data FOLDER]

Each benchmark compares its variants within one run, because the same machine is never equally fast twice. What it
prints is stored in `benchmarks/results/<name>.txt` with the command that made it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUICK = ("fbank", "augmentation", "augmentation_closeness", "training_step", "end_to_end", "memory", "speedrun")
WITH_DATA = ("augmentation_closeness", "end_to_end", "speedrun", "search")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(QUICK), help=f"which ones; by default {' '.join(QUICK)}")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "audio", help="real corpora")
    args = parser.parse_args()
    if not args.data.is_dir():
        parser.error(f"no folder {args.data}: give --data, a folder of audio with esc10 and esc50_dev20 in it")
    failed = []
    for name in args.names:
        command = [sys.executable, str(HERE / f"{name}.py"), *(["--data", str(args.data)] if name in WITH_DATA else [])]
        shown = f"python benchmarks/{name}.py" + (" --data CORPORA" if name in WITH_DATA else "")
        print(f"== {shown}", flush=True)
        run = subprocess.run(
            command, env={"OMP_WAIT_POLICY": "passive", **os.environ}, stdout=subprocess.PIPE, text=True, check=False
        )
        print(run.stdout, flush=True)
        if run.returncode:
            failed.append(name)
            continue
        out = HERE / "results" / f"{name}.txt"
        out.parent.mkdir(exist_ok=True)
        out.write_text(f"$ {shown}\n{run.stdout}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
