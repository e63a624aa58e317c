"""Anybody's callable as an encoder: shapes, padding, fingerprints, controls, and what is refused."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torch import nn

from auricle.audio.batch import Audio
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.corpus.sources import open_corpus
from auricle.encoders.callables import CallableEncoder, FrozenCallable, make_callable, open_callable
from auricle.encoders.checking import check_encoder, faults, render_findings
from auricle.errors import AudioError, ConfigError
from auricle.tokens.embeddings import embed_corpus
from auricle.tokens.extract import extract


class Frames(nn.Module):
    """Frames of 400 samples, a linear layer each: (B, S) -> (B, T, D)."""

    rate, width = 16000, 24

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(400, 24)

    def forward(self, wave: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        wave = nn.functional.pad(wave, (0, -wave.shape[1] % 400))
        return self.linear(wave.unflatten(1, (-1, 400)))


class Vectors:
    """Four statistics of the samples: (B, S) -> (B, 4)."""

    rate, width = 8000, 4

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        return torch.stack([wave.mean(1), wave.std(1), wave.abs().amax(1), wave.square().mean(1)], 1)


def test_token_maps_are_masked_beyond_a_clips_end() -> None:
    torch.manual_seed(0)
    frozen = FrozenCallable(Frames(), name="frames")
    short, long = np.random.default_rng(0).normal(size=(2, 16000)).astype(np.float32) * 0.1
    short = short[:6000]
    tokens, pooled = frozen.encode(Audio.stack([short, long], 16000))
    assert (tokens.grid.time, tokens.grid.freq, tokens.grid.rate) == (40, 1, 40.0)
    assert tokens.valid is not None
    assert tokens.valid.sum(1).tolist() == [15, 40]
    alone = frozen.pooled(Audio.stack([short], 16000))
    torch.testing.assert_close(pooled[:1], alone)
    linear = frozen.encoder.call.linear
    by_hand = linear(torch.from_numpy(short).view(15, 400)).mean(0)
    torch.testing.assert_close(alone[0], by_hand)


def test_vectors_are_one_token_without_a_time_axis() -> None:
    frozen = FrozenCallable(Vectors(), name="vectors")
    wave = np.random.default_rng(1).normal(size=(3, 4000)).astype(np.float32) * 0.1
    vectors = frozen.embed(wave, 8000)
    np.testing.assert_allclose(vectors[:, 0], wave.mean(1), atol=1e-6)
    assert frozen.encoder.grid(123456).tokens == 1
    assert frozen.encoder.grid(5).rate == 0
    assert not frozen.randomisable
    assert "no random-weight control" in frozen.notes[0]
    with pytest.raises(ConfigError, match="no random-weight control"):
        frozen.randomised(0)


def test_fingerprint_follows_the_weights_and_the_control_has_others() -> None:
    torch.manual_seed(0)
    one = Frames()
    first = FrozenCallable(one, name="a")
    assert FrozenCallable(one, name="b").fingerprint == first.fingerprint
    control, same, other = first.randomised(1), first.randomised(1), first.randomised(2)
    assert control.fingerprint == same.fingerprint
    assert len({first.fingerprint, control.fingerprint, other.fingerprint}) == 3
    before = torch.random.get_rng_state()
    first.randomised(3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bird_encoders.py").write_text(
        "import torch\n"
        "class Bird:\n    rate, width = 16000, 2\n"
        "    def __call__(self, wave):\n        return torch.stack([wave.mean(1), wave.std(1)], 1)\n"
        "class Needs:\n    def __init__(self, size): pass\n"
        "def make():\n    return Bird()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert open_callable("bird_encoders:Bird").width == 2
    assert open_callable("bird_encoders:make").width == 2
    for text, words in {
        "bird_encoders": "not of the form module:Class",
        "bird_encoders:Brid": "did you mean 'Bird'",
        "no_such_module:X": "can't import 'no_such_module'",
        "bird_encoders:Needs": "needs the arguments size",
    }.items():
        with pytest.raises(ConfigError, match=words):
            make_callable(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raising:Broken", r"making raising:Broken raised KeyError: 'weights' \(.*raising\.py:4\)"),
        ("raising:leave", r"making raising:leave raised SystemExit"),
        ("spoilt:X", r"can't import 'spoilt': it raised SyntaxError: .*spoilt\.py:2\)"),
        ("stopping:X", r"can't import 'stopping': it raised ZeroDivisionError: .*stopping\.py:1\)"),
        ("lacking:X", "can't import 'lacking'.*no_such_library"),
    ],
)
def test_exceptions_of_the_user_s_code_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "raising.py").write_text(
        "class Broken:\n    rate, width = 16000, 2\n    def __init__(self):\n        {}['weights']\n"
        "def leave():\n    raise SystemExit(1)\n"
    )
    (tmp_path / "spoilt.py").write_text("class X:\n    rate = = 3\n")
    (tmp_path / "stopping.py").write_text("1 / 0\n")
    (tmp_path / "lacking.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        open_callable(text)
    assert re.search(words, faults(check_encoder(text))[0].message)
    sys.modules.pop("raising", None)


def test_a_call_may_raise_anything() -> None:
    def call(self: object, wave: torch.Tensor) -> torch.Tensor:
        raise KeyError("layer 3")

    with pytest.raises(AudioError, match=r"failed on samples \(.*KeyError: 'layer 3' \(.*test_callables\.py:\d+\)"):
        FrozenCallable(changed(__call__=call), name="keys")  # type: ignore[arg-type]

    def rate(self: object) -> int:
        raise OSError("no card")

    assert "OSError: no card" in faults(check_encoder(changed(rate=property(rate))))[-1].message  # type: ignore[arg-type]


def test_numbers_that_are_none_are_never_ok() -> None:
    found = check_encoder(changed(__call__=lambda self, wave: Vectors()(wave) * math.nan))  # type: ignore[arg-type]
    assert {f.check for f in faults(found)} >= {"finite", "distinguishes inputs"}
    assert not any("nan%" in f.message for f in found)
    # Finite once, and not the second time.
    answers = iter([1.0, math.nan] + [1.0] * 20)
    found = check_encoder(changed(__call__=lambda self, wave: Vectors()(wave) * next(answers)))  # type: ignore[arg-type]
    assert "repeatable" in {f.check for f in faults(found)}


def changed(**attributes: object) -> object:
    kind = type("Changed", (Vectors,), attributes)
    return kind()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda wave: wave, "no attribute `rate`"),
        (changed(rate=-1), "`rate` is -1"),
        (changed(rate=True), "`rate` is True"),
        (changed(width=2.5), "`width` is 2.5"),
        (changed(width=5), "width 4 on its last axis, but its `width` is 5"),
        (changed(__call__=lambda self, wave: wave.numpy()), "returned ndarray"),
        (changed(__call__=lambda self, wave: wave.mean(1)), r"returned shape \(3,\)"),
        (changed(__call__=lambda self, wave: Vectors()(wave)[:1]), "1 rows for 3 clips"),
        (changed(__call__=lambda self, wave: Vectors()(wave).long()), "returned torch.int64"),
        (changed(__call__=lambda self, wave: Vectors()(wave).log()), "NaN or infinite"),
        (changed(__call__=lambda self, wave: torch.rand(len(wave), 4)), "same input twice differs"),
        (changed(__call__=lambda self, wave: Vectors()(wave) - Vectors()(wave).mean(0)), "batch"),
        (changed(__call__=lambda self, wave: torch.ones(len(wave), 4)), "is the input used at all"),
        (changed(__call__=lambda self, wave: wave.nope), "raised AttributeError"),
        ("no_such_module:X", "can't import"),
    ],
)
def test_each_fault_has_its_message(call: object, words: str) -> None:
    found = faults(check_encoder(call))
    assert found
    assert any(re.search(words, f.message) for f in found), found


def test_a_sound_encoder_has_no_fault_and_warnings_say_what_is_lost() -> None:
    torch.manual_seed(0)
    findings = check_encoder(Frames())
    assert not [f for f in findings if f.level != "ok"], findings
    findings = check_encoder(Vectors())
    assert not faults(findings)
    assert {f.check for f in findings if f.level == "warning"} == {"padding", "random control"}
    assert render_findings("x", findings).row_count == len(findings)


class Leaky(Frames):
    """Takes lengths and ignores them: the mean over padding too."""

    def forward(self, wave: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(wave).mean(1)


class Picky(Vectors):
    """Needs a second of sound."""

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        if wave.shape[1] < self.rate:
            raise ValueError("too short")
        return super().__call__(wave)


def test_padding_that_leaks_and_short_clips_are_named() -> None:
    assert any("of padding changes its output" in f.message for f in faults(check_encoder(Leaky())))
    findings = check_encoder(Picky())
    short = [f for f in findings if f.level == "warning" and "too short" in f.message]
    assert [f.check for f in short] == ["0.1 s", "0.5 s"]
    assert not faults(findings)


def test_other_layers_are_refused() -> None:
    encoder = CallableEncoder(Vectors())
    features = WaveformConfig(rate=8000).build()(Audio.stack([np.ones(8000, np.float32)], 8000))
    with pytest.raises(ConfigError, match="returns its output alone"):
        encoder(features, layers=(1,))
    assert encoder(features, layers=(0,)).layers is not None


def test_clips_that_it_can_not_read_are_skipped_and_counted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=20000) * 0.1
    for name, samples in {"a": 8000, "b": 4000, "c": 12000, "d": 8000}.items():
        soundfile.write(tmp_path / f"{name}.wav", noise[:samples], 8000)
    corpus = open_corpus(tmp_path)
    frozen = FrozenCallable(Picky(), name="picky")
    cache = extract(frozen, corpus, tmp_path / "tokens", progress=False)
    assert [corpus[row].file for row in cache.missing] == ["b.wav"]
    assert "too short" in next(iter(cache.missing.values()))
    table = embed_corpus(frozen, corpus, tmp_path / "e.parquet", progress=False)
    assert table.clips == 3
    assert list(table.broken) == ["b.wav"]
    # Clips of other lengths never share a batch: each vector is that of the clip alone.
    vectors = np.stack(pq.read_table(tmp_path / "e.parquet")["embedding"].to_pylist())
    np.testing.assert_allclose(vectors[1], frozen.embed(noise[:12000].astype(np.float32), 8000), atol=1e-4)
