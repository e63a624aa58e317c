"""hear-eval-kit's own predictor over a grid of points and folds; started by `hear_grid.py` with the kit's Python.

    PYTHON_OF_THE_KIT benchmarks/hear_rival.py --kit CLONE --vectors FILE.npz --out FILE.npz [--points 16] [--folds 5]

The kit's functions train and test each point as they do in a run of the kit: `task_predictions_train` with its grid,
its epochs, checks and early stopping, embeddings in memory, then `task_predictions_test`. What is done here is to lay
the vectors down in the kit's own files, and to call these for all points of all folds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import resource
import sys
import tempfile
import time
from pathlib import Path

# The kit's checkpoints hold its settings as objects.
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import numpy as np
import torch


def lay_down(vectors: np.ndarray, labels: np.ndarray, folds: np.ndarray, place: Path) -> dict:
    """Write embeddings, labels and metadata as the kit's earlier steps leave them; returns the metadata."""
    names = []
    for number, fold in enumerate(np.unique(folds)):
        name, rows = f"fold{number:02d}", np.flatnonzero(folds == fold)
        names.append(name)
        kept = np.memmap(place / f"{name}.embeddings.npy", np.float32, "w+", shape=(len(rows), vectors.shape[1]))
        kept[:] = vectors[rows]
        kept.flush()
        (place / f"{name}.embedding-dimensions.json").write_text(json.dumps([len(rows), vectors.shape[1]]))
        (place / f"{name}.target-labels.pkl").write_bytes(pickle.dumps([[str(label)] for label in labels[rows]]))
    metadata = {
        "task_name": "clips",
        "embedding_type": "scene",
        "prediction_type": "multiclass",
        "evaluation": ["top1_acc"],
        "split_mode": "presplit_kfold",
        "splits": names,
    }
    (place / "task_metadata.json").write_text(json.dumps(metadata))
    return metadata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument("--folds", type=int, default=0, help="how many folds; 0: all")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sys.path.insert(0, str(args.kit))
    from heareval.predictions import task_predictions as kit
    from sklearn.model_selection import ParameterGrid

    held = np.load(args.vectors)
    classes = int(held["labels"].max()) + 1
    index = {str(c): c for c in range(classes)}
    said = sys.stderr
    results: list[tuple[int, int, float, float, int, float]] = []
    scores = np.zeros((args.points, len(held["labels"]), classes), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        place = Path(folder)
        metadata = lay_down(held["vectors"], held["labels"], held["folds"], place)
        splits = kit.get_splits_from_metadata(metadata)[: args.folds or None]
        grid = list(ParameterGrid(kit.PARAM_GRID))[: args.points]
        metric = [kit.available_scores["top1_acc"](label_to_idx=index)]
        common = {"embedding_path": place, "metadata": metadata, "label_to_idx": index, "nlabels": classes}
        common["in_memory"] = True
        for fold, split in enumerate(splits):
            rows = np.flatnonzero(held["folds"] == np.unique(held["folds"])[fold])
            for point, conf in enumerate(grid):
                # The kit's prints and bars go to memory: a terminal would make it slower.
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    kit.seed_everything(42, workers=False)
                    began, busy = time.perf_counter(), time.process_time()
                    found = kit.task_predictions_train(
                        embedding_size=held["vectors"].shape[1],
                        data_splits=split,
                        scores=metric,
                        conf=conf,
                        use_scoring_for_early_stopping=True,
                        gpus=None,
                        deterministic=True,
                        **common,
                    )
                    kit.task_predictions_test(grid_point=found, data_splits=split, **common)
                    seconds, busy = time.perf_counter() - began, time.process_time() - busy
                scores[point, rows] = found.predictor.test_predictions["prediction"].numpy()
                results.append((fold, point, seconds, found.validation_score, found.epoch + 1, busy))
                print(f"kit: fold {fold} point {point}: {seconds:.1f} s", file=said, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.savez(args.out, results=np.array(results), scores=scores, peak=peak)


if __name__ == "__main__":
    main()
