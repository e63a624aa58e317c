"""Whether a corpus was seen in pre-training: its audio, without its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auricle.corpus.table import Corpus
from auricle.errors import CheckpointError
from auricle.recipes.recordings import read_recordings, recording_ids
from auricle.storage import unseal
from auricle.training.run_record import RECORD


def seen(run: Path, corpus: Corpus) -> bool | None:
    """Compare a task's corpus with what a run was pre-trained on.

    A corpus counts as seen if the run's corpus, or one of the corpora joined in it, has its name (a false alarm is the
    safer mistake), or if one recording is in both, under any name and in any folder (see
    `recipes.recordings.recording_ids`). A copy in another encoding and under another name is not recognised. The
    fingerprint of file names and sizes decides where no recordings are listed.

    Args:
        run: a run folder; its `corpus.json` and `recordings.parquet` record what was seen.
        corpus: the corpus of the task.

    Returns:
        None if that is not known: the run does not record its corpus, or it does not list its recordings (an earlier
        version made it) and the names differ, or none of the task's recordings can be read.

    Raises:
        CheckpointError: `corpus.json` or `recordings.parquet` is damaged.
    """
    path = run / "corpus.json"
    if not path.is_file():
        return None
    try:
        recorded = unseal(path.read_text(encoding="utf-8"), required=(run / RECORD).exists())
        known = {str(recorded["name"]), *map(str, recorded.get("parts", {}))}
        same_table = recorded.get("table", recorded["fingerprint"]) == corpus.table_fingerprint
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); expected the name and the fingerprint of a corpus: restore the file"
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
