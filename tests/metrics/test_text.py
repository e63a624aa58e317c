from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import ConfigError, MissingExtraError
from auricle.metrics.text import bleu, cider, cider_of_clips, spice, spice_of_clips

TRUE = [
    ["a dog barks in the distance", "a dog is barking far away"],
    ["rain falls on a metal roof"],
    ["a man speaks while a car passes by", "speech and a passing car", "a car passes"],
]
SAID = ["a dog barks far away", "Rain falls on a tin roof.", "a man speaks"]


def test_bleu_by_hand() -> None:
    pytest.importorskip("sacrebleu")
    # Found: 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1 quadruples, which smoothing counts as half of one.
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert bleu([["the dog barks loud"]], ["the dog barks cat"]) == pytest.approx(expected)
    assert bleu(TRUE, [texts[0] for texts in TRUE]) == 1.0
    assert bleu([["one two three four"]], ["ONE two three four"], lowercase=False) < 1.0


def test_bleu_against_torchmetrics() -> None:
    theirs = pytest.importorskip("torchmetrics.functional.text").bleu_score
    same = [texts[:1] for texts in TRUE]
    said = ["a dog barks in the field", "rain falls on a tin roof", "a man speaks while a dog passes by"]
    assert bleu(same, said) == pytest.approx(float(theirs(said, same)), abs=1e-6)


def slow_cider(references: list[list[str]], estimated: list[str]) -> list[float]:
    """CIDEr-D by definition (Vedantam et al., 2015): clipped TF-IDF cosine, length penalty (sigma 6), times 10."""

    def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    result = []
    for texts, said in zip(references, estimated, strict=True):
        total = 0.0
        for n in range(1, 5):
            holds = Counter(g for each in references for g in {g for t in each for g in grams(t, n)})

            def weigh(text: str, n: int = n, holds: Counter[tuple[str, ...]] = holds) -> dict[tuple[str, ...], float]:
                return {g: c * math.log(len(references) / max(1, holds[g])) for g, c in grams(text, n).items()}

            for text in texts:
                true, ours = weigh(text), weigh(said)
                norms = [math.sqrt(sum(v * v for v in w.values())) for w in (true, ours)]
                product = sum(min(v, true.get(g, 0.0)) * true.get(g, 0.0) for g, v in ours.items())
                gap = len(said.split()) - len(text.split())
                if min(norms) > 0:
                    total += product / norms[0] / norms[1] * math.exp(-(gap**2) / 72) / len(texts) / 4
        result.append(10 * total)
    return result


def test_cider_against_its_definition() -> None:
    pytest.importorskip("pycocoevalcap")
    said = [text.lower().strip(".") for text in SAID]
    np.testing.assert_allclose(cider_of_clips(TRUE, SAID), slow_cider(TRUE, said), atol=1e-9)
    assert cider([[t[0]] for t in TRUE], [t[0] for t in TRUE]) == pytest.approx(10.0)


@pytest.mark.skipif(shutil.which("java") is None, reason="no Java")
def test_cider_with_treebank_tokens() -> None:
    pytest.importorskip("pycocoevalcap")
    # These captions split alike either way, an empty one included.
    said = [SAID[0], SAID[1], ""]
    np.testing.assert_allclose(cider_of_clips(TRUE, said, tokens="ptb"), cider_of_clips(TRUE, said), atol=1e-9)


def test_spice_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="no java on the path"):
        spice(TRUE, SAID)
    with pytest.raises(MissingExtraError, match="no java on the path"):
        cider(TRUE, SAID, tokens="ptb")
    _program(tmp_path, "exit 0")
    monkeypatch.setattr("auricle.metrics.text._MODELS", "there-is-no-such.jar")
    with pytest.raises(MissingExtraError, match=r"there-is-no-such.*get_stanford_models"):
        spice(TRUE, SAID)


def test_spice_reads_what_the_program_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real program needs 400 MB of models; a stand-in writes its format."""
    module = pytest.importorskip("pycocoevalcap.spice.spice")
    present = next(p.name for p in (Path(module.__file__).parent / "lib").iterdir())
    monkeypatch.setattr("auricle.metrics.text._MODELS", present)
    monkeypatch.setattr(module, "get_stanford_models", lambda: None)
    monkeypatch.setattr(module, "TEMP_DIR", str(tmp_path / "temp"))
    monkeypatch.setattr(module, "CACHE_DIR", str(tmp_path / "cache"))
    items = [f'{{"image_id": {i}, "scores": {{"All": {{"f": {f}}}}}}}' for i, f in enumerate((0.5, 0.25, 0.0))]
    _program(tmp_path, f"""while [ "$1" != -out ]; do shift; done; echo '[{", ".join(items)}]' > "$2" """)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert spice_of_clips(TRUE, SAID).tolist() == [0.5, 0.25, 0.0]
    assert spice(TRUE, SAID) == 0.25
    _program(tmp_path, "exit 1")
    with pytest.raises(MissingExtraError, match="made for Java 8"):
        spice(TRUE, SAID)


def _program(folder: Path, body: str) -> None:
    file = folder / "java"
    file.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    file.chmod(0o755)


def test_what_is_empty_has_a_defined_result() -> None:
    pytest.importorskip("sacrebleu")
    pytest.importorskip("pycocoevalcap")
    assert math.isnan(bleu([], []))
    assert math.isnan(cider([], []))
    assert math.isnan(cider(TRUE[:1], SAID[:1]))
    assert bleu(TRUE, ["", "", ""]) == 0.0
    assert cider(TRUE, ["", "", ""]) == 0.0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="references of 3 clips, 1 captions"):
        bleu(TRUE, ["a"])
    with pytest.raises(ConfigError, match="clip 0 has references 'a'"):
        cider(["a"], ["a"])
    with pytest.raises(ConfigError, match="clip 0 has references"):
        spice([[""]], ["a"])
    with pytest.raises(ConfigError, match="unknown tokens"):
        cider(TRUE, SAID, tokens="bytes")  # type: ignore[arg-type]
