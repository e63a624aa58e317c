"""Whether an encoder has heard a corpus before: its audio took part in pre-training, without its labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auricle.corpus.table import Corpus
from auricle.errors import CheckpointError


def heard(run: Path, corpus: Corpus) -> bool | None:
    """Compare a task's corpus with what a run was pre-trained on.

    A corpus counts as heard if the run's corpus, or one of the corpora joined in it, has its name or its fingerprint:
    a name alone can raise a false alarm, which is the safer mistake.

    Args:
        run: a run folder; its `corpus.json` says what was heard.
        corpus: the corpus of the task.

    Returns:
        None if the run does not say what it heard.

    Raises:
        CheckpointError: `corpus.json` is damaged.
    """
    path = run / "corpus.json"
    if not path.is_file():
        return None
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {str(told["name"]), str(told["fingerprint"]), *map(str, told.get("parts", {}))}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not say what was heard ({error}); it is damaged: restore it, or say heard=True or False"
        ) from error
    mine = {corpus.name, corpus.fingerprint}
    if "corpus" in corpus.columns:
        mine |= {str(name) for name in corpus.column("corpus")}
    return bool(known & mine)
