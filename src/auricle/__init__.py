"""auricle: pre-train, probe and compare self-supervised audio encoders.

The verbs of the command line as functions, with the same names and defaults; the rooms (`auricle.audio`,
`auricle.encoders`, ...) hold everything else. Names are imported when they are first used, so that `import auricle` is
quick.

Examples:
    >>> import auricle
    >>> vector = auricle.load("runs/mine").embed(wave, rate)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auricle.answers.fit import fit
    from auricle.answers.indexing import index
    from auricle.answers.label_session import label
    from auricle.answers.library import Library
    from auricle.answers.predicting import predict
    from auricle.answers.searching import search
    from auricle.corpus.scan import scan
    from auricle.corpus.sources import open_corpus
    from auricle.encoders.checking import check_encoder
    from auricle.evaluation.audio_text.run import text_retrieval, zero_shot
    from auricle.evaluation.driver import EvaluationConfig
    from auricle.evaluation.evaluate import evaluate
    from auricle.evaluation.probing import probe
    from auricle.finetuning.config import FinetuneConfig
    from auricle.finetuning.run import finetune
    from auricle.kits.suites import run_suite
    from auricle.models import Model, load
    from auricle.models.embedding import embed
    from auricle.plugins import load_plugins
    from auricle.recipes.pretraining import pretrain, resume
    from auricle.recipes.registry import get_recipe
    from auricle.recipes.registry import recipes as list_recipes
    from auricle.report import write_report
    from auricle.results.book import ResultBook
    from auricle.results.comparison import compare_results
    from auricle.studies import run_study
    from auricle.tasks.cards.registry import get_task
    from auricle.tasks.cards.registry import tasks as list_tasks

__version__ = version("auricle")

# Name -> module, and its name there where it differs: `recipes` and `tasks` are rooms.
_WHERE = {
    "EvaluationConfig": "auricle.evaluation.driver",
    "FinetuneConfig": "auricle.finetuning.config",
    "Library": "auricle.answers.library",
    "Model": "auricle.models",
    "ResultBook": "auricle.results.book",
    "check_encoder": "auricle.encoders.checking",
    "compare_results": "auricle.results.comparison",
    "embed": "auricle.models.embedding",
    "evaluate": "auricle.evaluation.evaluate",
    "finetune": "auricle.finetuning.run",
    "fit": "auricle.answers.fit",
    "get_recipe": "auricle.recipes.registry",
    "get_task": "auricle.tasks.cards.registry",
    "index": "auricle.answers.indexing",
    "label": "auricle.answers.label_session",
    "list_recipes": "auricle.recipes.registry:recipes",
    "list_tasks": "auricle.tasks.cards.registry:tasks",
    "load": "auricle.models",
    "load_plugins": "auricle.plugins",
    "open_corpus": "auricle.corpus.sources",
    "predict": "auricle.answers.predicting",
    "pretrain": "auricle.recipes.pretraining",
    "probe": "auricle.evaluation.probing",
    "resume": "auricle.recipes.pretraining",
    "run_study": "auricle.studies",
    "run_suite": "auricle.kits.suites",
    "scan": "auricle.corpus.scan",
    "search": "auricle.answers.searching",
    "text_retrieval": "auricle.evaluation.audio_text.run",
    "write_report": "auricle.report",
    "zero_shot": "auricle.evaluation.audio_text.run",
}

__all__ = [
    "EvaluationConfig",
    "FinetuneConfig",
    "Library",
    "Model",
    "ResultBook",
    "check_encoder",
    "compare_results",
    "embed",
    "evaluate",
    "finetune",
    "fit",
    "get_recipe",
    "get_task",
    "index",
    "label",
    "list_recipes",
    "list_tasks",
    "load",
    "load_plugins",
    "open_corpus",
    "predict",
    "pretrain",
    "probe",
    "resume",
    "run_study",
    "run_suite",
    "scan",
    "search",
    "text_retrieval",
    "write_report",
    "zero_shot",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'auricle' has no attribute {name!r}")
    module, _, inner = _WHERE[name].partition(":")
    return getattr(import_module(module), inner or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
