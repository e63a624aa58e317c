"""Whether an encoder has heard a corpus before: its audio took part in pre-training, without its labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from auricle.corpus.table import Corpus
from auricle.errors import CheckpointError
from auricle.recipes.recordings import read_recordings, recording_ids


def seen(run: Path, corpus: Corpus) -> bool | None:
    """Compare a task's corpus with what a run was pre-trained on.

    A corpus counts as heard if the run's corpus, or one of the corpora joined in it, has its name (which can raise a
    false alarm, the safer mistake), or if one recording is in both, under any name and in any folder (see
    `recipes.recordings.recording_ids`). A copy in another encoding and under another name is not recognised. The
    fingerprint, which knows file names and sizes and not what is in the files, decides where no recordings are listed.

    Args:
        run: a run folder; its `corpus.json` and `recordings.parquet` say what was heard.
        corpus: the corpus of the task.

    Returns:
        None if it can't be told: the run does not say what it heard, or it does not list its recordings (it is of an
        earlier version) and the names differ, or none of the task's recordings can be read.

    Raises:
        CheckpointError: `corpus.json` or `recordings.parquet` is damaged.
    """
    path = run / "corpus.json"
    if not path.is_file():
        return None
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {str(told["name"]), *map(str, told.get("parts", {}))}
        same_table = told["fingerprint"] == corpus.fingerprint
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not say what was heard ({error}); it is damaged: restore it, or say seen=True or False"
        ) from error
    mine = {corpus.name}
    if "corpus" in corpus.columns:
        mine |= {str(name) for name in corpus.column("corpus")}
    if known & mine:
        return True
    theirs = read_recordings(run)
    if theirs is None or not len(theirs):
        return True if same_table else None
    ours = recording_ids(corpus)
    if not len(ours):
        return True if same_table else None
    return bool(np.isin(ours, theirs).any())
