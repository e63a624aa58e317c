"""Pre-trains on a toy corpus and kills its own process with SIGKILL at a given moment.

Arguments: corpus folder, run folder, loader workers, moment (`metrics:STEP`, `write:COUNT`, counting the files of
checkpoints, or `ledger`, when the list of skipped recordings is written), and `resume` to go on with an earlier run.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from toy_pretraining import toy_recipe

from auricle.recipes import pretrain, pretraining
from auricle.training import checkpoint, run_folder

torch.set_num_threads(1)
data, out, workers, moment, *rest = sys.argv[1:]
kind, _, number = moment.partition(":")
written = 0
metrics, write = run_folder.RunFolder.metrics, checkpoint.write_bytes
write_ledger = pretraining.write_ledger


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killing_metrics(self, line) -> None:
    metrics(self, line)
    if kind == "metrics" and line["step"] == int(number):
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 99, "lo')
        die()


def killing_write(path: Path, content: bytes, remedy: str) -> None:
    global written
    written += 1
    if kind == "write" and written == int(number):
        path.write_bytes(content[: len(content) // 2])
        die()
    write(path, content, remedy)


def killing_ledger(*args: object) -> None:
    write_ledger(*args)
    die()


if kind == "ledger":
    pretraining.write_ledger = killing_ledger
run_folder.RunFolder.metrics = killing_metrics
checkpoint.write_bytes = killing_write
pretrain(toy_recipe(int(workers)), data, out, resume="resume" in rest, progress=False)
