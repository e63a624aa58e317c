"""Captions: BLEU, CIDEr and SPICE, through `sacrebleu` and `pycocoevalcap`.

Letters in shapes: n clips, each with one estimated caption and one or more references.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from auricle.config import nearest
from auricle.errors import ConfigError, MissingExtraError
from auricle.extras import require
from auricle.metrics.weights import Floats

Tokens = Literal["words", "ptb"]

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_MODELS = "stanford-corenlp-3.6.0-models.jar"


def validate_captions(
    reference: Sequence[Sequence[str]], estimated: Sequence[str]
) -> tuple[list[list[str]], list[str]]:
    """Check captions.

    Args:
        reference: for each of n clips its captions, at least one, none of them empty.
        estimated: n captions; they may be empty.

    Raises:
        ConfigError: not one estimate per clip, a clip without references, an empty reference, or something that is no
            text.
    """
    if isinstance(reference, str) or isinstance(estimated, str) or len(reference) != len(estimated):
        raise ConfigError(f"references of {len(reference)} clips, {len(estimated)} captions; expected one per clip")
    for i, (texts, said) in enumerate(zip(reference, estimated, strict=True)):
        if isinstance(texts, str) or not len(texts):
            raise ConfigError(f"clip {i} has references {texts!r}; expected a sequence of at least one text")
        if not all(isinstance(text, str) for text in (*texts, said)) or not all(text.strip() for text in texts):
            raise ConfigError(f"clip {i} has references {list(texts)!r} and caption {said!r}; expected texts")
    return [list(texts) for texts in reference], list(estimated)


def bleu(reference: Sequence[Sequence[str]], estimated: Sequence[str], *, lowercase: bool = True) -> float:
    """Return corpus BLEU-4 as a share, with `sacrebleu`'s tokens (13a) and exponential smoothing.

    Args:
        reference: captions of each clip.
        estimated: one caption a clip.
        lowercase: compare small letters, as caption evaluations do.

    Returns:
        BLEU, 0 ... 1; NaN without clips.

    Raises:
        ConfigError: see `validate_captions`.
        MissingExtraError: `sacrebleu` is not installed.
    """
    texts, said = validate_captions(reference, estimated)
    library = require("sacrebleu", extra="text")
    if not said:
        return math.nan
    most = max(len(each) for each in texts)
    streams = [[each[k] if k < len(each) else None for each in texts] for k in range(most)]
    # Rounding makes a perfect score 100.00000000000004.
    return min(float(library.corpus_bleu(said, streams, lowercase=lowercase).score) / 100, 1.0)


def cider_of_clips(reference: Sequence[Sequence[str]], estimated: Sequence[str], *, tokens: Tokens = "words") -> Floats:
    """Return CIDEr-D of each clip `(n,)`, 0 ... 10; CIDEr is their mean.

    N-grams weigh by how few clips' references hold them: values depend on all clips together, and with fewer than two
    clips they are NaN (every weight would be 0).

    Args:
        reference: captions of each clip.
        estimated: one caption a clip.
        tokens: `words`: small letters, punctuation dropped; `ptb`: the Penn Treebank tokenizer of COCO's evaluation,
            which needs Java.

    Raises:
        ConfigError: see `validate_captions`, or unknown tokens.
        MissingExtraError: `pycocoevalcap` is not installed, or there is no Java for `ptb`.
    """
    texts, said = validate_captions(reference, estimated)
    if tokens not in get_args(Tokens):
        raise ConfigError(f"unknown tokens {tokens!r}{nearest(tokens, get_args(Tokens))}")
    library = require("pycocoevalcap.cider.cider", extra="text")
    if len(said) < 2:
        return np.full(len(said), math.nan)
    split = _treebank if tokens == "ptb" else _words
    truth = split(dict(enumerate(texts)))
    captions = split({i: [text] for i, text in enumerate(said)})
    return np.asarray(library.Cider().compute_score(truth, captions)[1], dtype=np.float64)


def cider(reference: Sequence[Sequence[str]], estimated: Sequence[str], *, tokens: Tokens = "words") -> float:
    """Return CIDEr-D, 0 ... 10; NaN for fewer than two clips. See `cider_of_clips`."""
    each = cider_of_clips(reference, estimated, tokens=tokens)
    return float(each.mean()) if each.size else math.nan


def spice_of_clips(reference: Sequence[Sequence[str]], estimated: Sequence[str]) -> Floats:
    """Return SPICE of each clip `(n,)`, 0 ... 1: F1 of objects, attributes and relations; SPICE is their mean.

    Runs the authors' Java program, which needs a Java runtime (it was made for version 8) and the Stanford parser's
    models. Nothing is downloaded here: the error says how to get them.

    Raises:
        ConfigError: see `validate_captions`.
        MissingExtraError: `pycocoevalcap`, Java or the models are missing, or the program failed.
    """
    texts, said = validate_captions(reference, estimated)
    library = require("pycocoevalcap.spice.spice", extra="text")
    _java("SPICE")
    models = Path(str(library.__file__)).parent / "lib" / _MODELS
    if not models.is_file():
        raise MissingExtraError(
            f"SPICE needs the models of the Stanford parser, about 400 MB: no {models}; get them with: "
            "python -m pycocoevalcap.spice.get_stanford_models"
        )
    if not said:
        return np.zeros(0)
    try:
        _, each = library.Spice().compute_score(dict(enumerate(texts)), {i: [text] for i, text in enumerate(said)})
    except (subprocess.CalledProcessError, json.JSONDecodeError) as error:
        raise MissingExtraError(f"SPICE's Java program failed ({error}); it was made for Java 8") from error
    return np.array([scores["All"]["f"] for scores in each], dtype=np.float64)


def spice(reference: Sequence[Sequence[str]], estimated: Sequence[str]) -> float:
    """Return SPICE, 0 ... 1; NaN without clips. See `spice_of_clips`."""
    each = spice_of_clips(reference, estimated)
    return float(each.mean()) if each.size else math.nan


def _words(captions: dict[int, list[str]]) -> dict[int, list[str]]:
    return {i: [" ".join(_WORD.findall(text.lower())) for text in texts] for i, texts in captions.items()}


def _treebank(captions: dict[int, list[str]]) -> dict[int, list[str]]:
    _java("the Penn Treebank tokenizer")
    tokenizer = require("pycocoevalcap.tokenizer.ptbtokenizer", extra="text").PTBTokenizer()
    found: dict[int, list[str]] = tokenizer.tokenize(
        # An empty line would be lost, and with it the count of lines.
        {i: [{"caption": text.strip() or "."} for text in texts] for i, texts in captions.items()}
    )
    return found


def _java(what: str) -> None:
    if shutil.which("java") is None:
        raise MissingExtraError(f"{what} is a Java program and there is no java on the path; install a Java runtime")
