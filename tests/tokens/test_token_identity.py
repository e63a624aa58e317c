"""Tokens are found by what a clip holds; what is damaged, or of something else, is never read."""

from __future__ import annotations

import os
import shutil
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from toy_tokens import LENGTHS, RATE, make_encoder, run

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.content import clip_keys
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, CorpusError
from auricle.tokens import writer
from auricle.tokens.cache import TokenCache, wanted_origin
from auricle.tokens.clip_store import FILES, JOURNAL, ClipStore


def test_only_what_is_new_is_encoded(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, encoded: list[int]
) -> None:
    """Renamed, relabelled, reordered, copied to another folder, added, changed, cut: against fresh caches."""
    folder, root = tmp_path / "cache", corpus.root
    run(encoder, corpus, folder)
    assert sum(encoded) == 6
    seconds = dict(zip(corpus.column("file"), LENGTHS, strict=True))

    def check(columns: dict[str, list], root: Path, new: int) -> None:
        encoded.clear()
        changed = Corpus.from_columns(columns, root=root)
        cache = run(encoder, changed, folder)
        assert sum(encoded) == new
        fresh = run(encoder, changed, tmp_path / f"fresh{len(list(tmp_path.iterdir()))}")
        for row in range(len(changed)):
            torch.testing.assert_close(
                cache.select([row]).batch([0]).x, fresh.select([row]).batch([0]).x, atol=2e-3, rtol=2e-3
            )

    shutil.copytree(root, tmp_path / "copied")
    (tmp_path / "copied" / "3.wav").rename(tmp_path / "copied" / "other name.wav")
    check({"file": ["other name.wav", "1.wav"], "seconds": [0.5, 1.3], "label": ["x", "y"]}, tmp_path / "copied", 0)
    sf.write(root / "new.wav", 0.1 * np.random.default_rng(9).standard_normal(RATE), RATE)
    check({"file": [*seconds, "new.wav"], "seconds": [*LENGTHS, 1.0]}, root, 1)
    # The same length and size, and other samples; its times are put back.
    before = (root / "1.wav").stat()
    sf.write(root / "1.wav", 0.1 * np.random.default_rng(8).standard_normal(int(1.3 * RATE)), RATE)
    os.utime(root / "1.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (root / "1.wav").stat().st_size == before.st_size
    check({"file": list(seconds), "seconds": LENGTHS}, root, 1)
    check({"file": ["1.wav", "1.wav"], "start": [0.0, 0.5], "seconds": [0.5, 0.5]}, root, 2)
    check({"file": ["1.wav", "0.wav"], "seconds": [1.3, 0.5], "fold": [1, 2]}, root, 0)


def test_another_encoder_or_front_end_has_tokens_of_its_own(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path
) -> None:
    first = run(encoder, corpus, tmp_path)
    # The same fingerprint of weights beside another front end.
    other = KaldiFbankConfig(mels=32, mean=0.0).build()
    frontend = FrozenEncoder(other, encoder.encoder, name="toy", fingerprint=encoder.fingerprint)
    caches = [
        first,
        run(make_encoder(1), corpus, tmp_path),
        run(frontend, corpus, tmp_path),
        run(encoder, corpus, tmp_path, layers=(2,)),
        # The output and the last block: they differ where a norm follows.
        run(encoder, corpus, tmp_path, layers=(encoder.depth,)),
    ]
    assert len({cache.store.folder for cache in caches}) == 5
    assert len({cache.select([1]).pooled.tobytes() for cache in caches}) == 3
    assert np.array_equal(run(encoder, corpus, tmp_path).select().pooled, first.select().pooled)


@pytest.mark.parametrize("damage", ["zeros", "half", "gone", "flipped", "line", "journal"])
@pytest.mark.parametrize("name", FILES)
def test_damaged_clips_are_encoded_again_and_reported(
    damage: str, name: str, encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, encoded: list[int],
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("auricle.tokens.extract._COMMIT_CLIPS", 2)
    whole = run(encoder, corpus, tmp_path / "whole", batch=1)
    run(encoder, corpus, tmp_path / "cache", batch=1)
    path = (
        whole.store.folder.parents[1]
        / "cache"
        / whole.store.folder.name
        / (JOURNAL if damage in ("line", "journal") else name)
    )
    data = bytearray(path.read_bytes())
    if damage in ("flipped", "line"):
        data[len(data) // 2] ^= 1
    elif damage == "half":
        del data[len(data) // 2 :]
    elif damage == "zeros":
        data[len(data) // 3 :] = bytes(len(data) - len(data) // 3)
    path.unlink() if damage in ("gone", "journal") else path.write_bytes(data)
    for again in range(2):
        encoded.clear()
        repaired = run(encoder, corpus, tmp_path / "cache", batch=1)
        for row in range(6):
            ours, expected = repaired.select([row]).batch([0]), whole.select([row]).batch([0])
            assert torch.equal(ours.x, expected.x)
            assert torch.equal(ours.pooled, expected.pooled)
        if again == 0:
            assert 1 <= sum(encoded) <= 6
        else:
            assert encoded == []
    assert capfd.readouterr().err.count("is damaged") == (damage != "journal")


def test_sums_are_compared_once_while_the_files_stay_as_they_are(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(encoder, corpus, tmp_path)
    read: list[int] = []
    crc32 = zlib.crc32
    monkeypatch.setattr(
        "auricle.tokens.clip_store.zlib.crc32", lambda data, *a: read.append(len(data)) or crc32(data, *a)
    )
    keys = clip_keys(corpus)
    store = ClipStore(tmp_path / wanted_origin(encoder, None).key)

    def counted(some: list[bytes]) -> int:
        read.clear()
        assert store.damaged(some) == []
        return sum(read)

    assert [counted(keys), counted(keys)] == [store.bytes_of(keys), 0]
    assert counted(keys[:2]) == store.bytes_of(keys[:2])
    path = store.folder / "tokens.bin"
    os.utime(path, (1.0, 1.0))
    assert counted(keys) == store.bytes_of(keys)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    assert len(store.damaged(keys)) == len(store.damaged(keys)) == 1


def test_a_clip_that_can_be_decoded_later_is_encoded_then(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AudioError("needs an extra")

    with monkeypatch.context() as patch:
        patch.setattr("auricle.corpus.stores.decode", refuse)
        with pytest.raises(CorpusError, match="needs an extra"):
            run(encoder, corpus, tmp_path / "cache")
    assert run(encoder, corpus, tmp_path / "cache").missing == {}


def test_a_second_writer_waits_and_then_encodes_nothing(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, encoded: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    store = ClipStore(tmp_path / wanted_origin(encoder, None).key, wanted_origin(encoder, None))
    with ThreadPoolExecutor(1) as pool:
        with writer.ClipWriter(store) as first:
            second = pool.submit(run, encoder, corpus, tmp_path)
            while "waiting" not in capfd.readouterr().err:
                time.sleep(0.01)
            rest = run(encoder, corpus, tmp_path / "elsewhere")
            encoded.clear()
            for key in dict.fromkeys(clip_keys(corpus)):
                first.add(key, whole_clip(rest, clip_keys(corpus).index(key)))
            first.commit()
        assert len(second.result().select()) == 6
    assert encoded == []


def whole_clip(cache: TokenCache, row: int) -> writer.ClipTokens:
    batch, grids = cache.select([row]).batch([0]), cache.store.grids
    assert grids is not None
    assert batch.cls is not None
    return writer.ClipTokens(
        (batch.x[0].half().numpy(),), (batch.valid[0].numpy(),), (batch.grid.time,), grids.freq, grids.rate,
        batch.pooled[0].numpy(), batch.cls.half().numpy(),
    )  # fmt: skip


def test_clips_that_no_corpus_holds_any_more_are_reported(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("auricle.tokens.extract._MANY_BYTES", 0)
    run(encoder, corpus, tmp_path / "cache")
    assert capfd.readouterr().err == ""
    cache = run(encoder, corpus.select([0, 5]), tmp_path / "cache")
    said = capfd.readouterr().err
    assert f"MB in {cache.store.folder} are of clips that clips does not hold; delete the folder" in said
    shutil.rmtree(cache.store.folder)
    assert len(run(encoder, corpus.select([0, 5]), tmp_path / "cache").select()) == 2
