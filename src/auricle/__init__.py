"""auricle: pre-train, probe and compare self-supervised audio encoders.

The verbs of the command line as functions; everything else lives in the rooms (`auricle.audio`, `auricle.encoders`,
...). Names are imported when they are first used, so that `import auricle` is quick.

    import auricle

    vector = auricle.load("runs/mine").embed(wave, rate)
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auricle.corpus.scan import scan
    from auricle.corpus.sources import open_corpus
    from auricle.encoders.checking import check_encoder
    from auricle.evaluation.evaluate import evaluate
    from auricle.evaluation.probing import probe
    from auricle.finetune.run import finetune
    from auricle.models.finetuned import load_finetuned
    from auricle.models import load
    from auricle.recipes import get_recipe, pretrain
    from auricle.report import write_report
    from auricle.tasks.cards.registry import get_task
    from auricle.tokens.embeddings import embed_corpus

__version__ = version("auricle")

_WHERE = {
    "check_encoder": "auricle.encoders.checking",
    "embed_corpus": "auricle.tokens.embeddings",
    "evaluate": "auricle.evaluation.evaluate",
    "finetune": "auricle.finetune.run",
    "get_recipe": "auricle.recipes",
    "get_task": "auricle.tasks.cards.registry",
    "load": "auricle.models",
    "load_finetuned": "auricle.models.finetuned",
    "open_corpus": "auricle.corpus.sources",
    "pretrain": "auricle.recipes",
    "probe": "auricle.evaluation.probing",
    "scan": "auricle.corpus.scan",
    "write_report": "auricle.report",
}

__all__ = [
    "check_encoder",
    "embed_corpus",
    "evaluate",
    "finetune",
    "get_recipe",
    "get_task",
    "load",
    "load_finetuned",
    "open_corpus",
    "pretrain",
    "probe",
    "scan",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'auricle' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
