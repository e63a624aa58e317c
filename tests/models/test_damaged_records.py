"""Saved models and probes whose record was cut, changed or made by another program: refused with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from older_models import save_linear, write_older

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import AuricleError, CheckpointError
from auricle.models import load
from auricle.models.calibration import Calibration
from auricle.models.clip_heads import LinearHead, ProbedHead
from auricle.models.folder import CARD, checksum, open_folder, read_card, save_model
from auricle.probes import get_loss
from auricle.probes.fitted import FittedProbe
from auricle.probes.heads.protobin import ProtobinConfig
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.search import Labelled, fit_probe
from auricle.storage import write_atomic
from auricle.tokens.token_set import TokenSet


def toy() -> FrozenEncoder:
    config = SpectrogramTransformerConfig(width=32, depth=1, heads=1, mels=32, frames=128)
    encoder = config.build(torch.Generator().manual_seed(1))
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), encoder, name="t")


def older(folder: Path) -> Path:
    frozen = toy()
    return write_older(folder, frozen, torch.nn.Linear(frozen.pooled_width, 2), ("ä", "b c"))


def model(folder: Path) -> Path:
    return save_linear(folder, toy(), ("ä", "b c")) / "model.safetensors"


def fitted() -> FittedProbe:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 2
    x = torch.randn(12, 4, 8, generator=draw) + 3 * labels[:, None, None]
    clips = Labelled(TokenSet.from_tensors(x, encoder="enc"), labels)
    search = SearchConfig(epochs=1, lr=(0.01,), weight_decay=(0.0,), halving=(), min_batches=1)
    return fit_probe(ProtobinConfig(2), clips, clips, classes=("ä", "b c"), search=search)


def probe(folder: Path) -> Path:
    return fitted().save(folder)


Case = tuple[Callable[[Path], Path], Callable[[Path], Any], str]
CASES: dict[str, Case] = {
    "older": (older, open_folder, "again"),
    "model": (model, open_folder, "again"),
    "probe": (probe, FittedProbe.load, "fit"),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A file, what reads it, and the remedy that a message must name."""
    make, read, remedy = CASES[request.param]
    folder = tmp_path_factory.mktemp("schöne modelle")
    return make(folder), read, remedy  # type: ignore[return-value]


def parts(path: Path) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        mark, text = next((mark, text) for mark, text in file.metadata().items() if text.startswith("{"))
        return mark, json.loads(text), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_a_record_without_one_of_its_fields_is_refused(case: Case, tmp_path: Path) -> None:
    path, read, remedy = case
    mark, record, tensors = parts(path)  # type: ignore[arg-type]
    bad = tmp_path / path.name  # type: ignore[attr-defined]
    optional = {"probe.safetensors": {"notes", "scaling"}, "finetuned.safetensors": {"from", "features"}}
    for name in record.keys() - optional.get(path.name, set()):  # type: ignore[attr-defined]
        rest = {key: value for key, value in record.items() if key != name}
        bad.write_bytes(safetensors.torch.save(tensors, {mark: json.dumps(rest)}))
        with pytest.raises(AuricleError, match=remedy):
            read(bad)


def test_a_record_that_is_no_json_is_refused(case: Case, tmp_path: Path) -> None:
    path, read, remedy = case
    mark, record, tensors = parts(path)  # type: ignore[arg-type]
    bad = tmp_path / path.name  # type: ignore[attr-defined]
    for text in (json.dumps(record)[:-5], "", "[1, 2]"):
        bad.write_bytes(safetensors.torch.save(tensors, {mark: text}))
        with pytest.raises(CheckpointError, match=remedy):
            read(bad)


def test_a_file_of_another_program_is_refused(case: Case, tmp_path: Path) -> None:
    path, read, _ = case
    bad = tmp_path / path.name  # type: ignore[attr-defined]
    bad.write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}, {"format": "pt"}))
    with pytest.raises(CheckpointError, match=str(bad)):
        read(bad)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_changed_bytes_of_the_header_are_refused_in_words(case: Case, data: st.DataObject) -> None:
    path, read, _ = case
    content = bytearray(path.read_bytes())  # type: ignore[attr-defined]
    length = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
    bad = path.with_name("bad.safetensors")  # type: ignore[attr-defined]
    bad.write_bytes(content)
    # Any other exception is a traceback for whoever opens the file.
    with suppress(AuricleError):
        read(bad)


@pytest.mark.parametrize("write", [older, model])
def test_what_is_not_damaged_opens_as_it_was(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "größe")
    wave = np.sin(np.arange(16000) / 9).astype(np.float32)
    expected = load(path, device="cpu").predict(wave, 16000)
    moved = tmp_path / "anderswo" / path.name
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    # Without the JSON beside it: that one is for people.
    found = load(moved.parent, device="cpu")
    assert np.array_equal(found.predict(wave, 16000), expected)
    assert found.classes == ("ä", "b c")
    assert found.card["task"] == "toys"


def test_what_was_changed_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "m")
    assert read_card(path.parent) == {"task": "toys"}
    mark, record, tensors = parts(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    whole = path.read_bytes()
    tensors["head.bias"] += 1
    path.write_bytes(safetensors.torch.save(tensors, metadata))
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        load(path.parent)
    metadata[mark] = json.dumps({**record, "format": 99})
    path.write_bytes(safetensors.torch.save(tensors, metadata))
    with pytest.raises(CheckpointError, match="has format 99, this auricle reads 1"):
        load(path.parent)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load(path.parent)
    assert read_card(path.parent) is None
    path.write_bytes(whole)
    card = path.parent / CARD
    shown = json.loads(card.read_text())
    card.write_text(json.dumps({**shown, "head": {**shown["head"], "thresholds": [0.1, 0.9]}}))
    with pytest.raises(CheckpointError, match=r"delete model.json to open the model as it was fitted"):
        load(path.parent)
    card.unlink()
    assert load(path.parent).classes == ("ä", "b c")
    path.unlink()
    card.write_text(json.dumps(shown))
    with pytest.raises(CheckpointError, match=r"only its model.json: copy the whole folder"):
        load(path.parent)


def test_a_kill_while_a_model_is_replaced_leaves_one_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the writes is the last."""
    real = write_atomic
    for writes in range(2):
        path = model(tmp_path / str(writes))
        done: list[Path] = []

        def killed(file: Path, data: bytes, writes: int = writes, done: list[Path] = done) -> None:
            if len(done) == writes:
                raise KeyboardInterrupt
            done.append(file)
            real(file, data)

        monkeypatch.setattr("auricle.models.folder.write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            save_linear(path.parent, toy(), ("x", "y"))
        monkeypatch.setattr("auricle.models.folder.write_atomic", real)
        assert load(path.parent, device="cpu").classes == (("ä", "b c"), ("x", "y"))[writes]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"classes": ["ä", "b c", "d"]}, "2 outputs of 3 classes"),
        ({"thresholds": [0.5]}, "1 thresholds of 2 classes"),
        ({"form": "oracle"}, "found a head of form 'oracle'"),
        ({"calibration": {"method": "temperature", "scale": ["x"]}}, "fit the model again"),
    ],
)
def test_a_head_that_does_not_fit_its_record_is_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    """Even where the sum is right: whoever wrote the file wrote nonsense."""
    path = model(tmp_path / "m")
    mark, record, tensors = parts(path)
    text = json.dumps({**record, "head": {**record["head"], **change}}, ensure_ascii=False)
    path.write_bytes(safetensors.torch.save(tensors, {mark: text, "auricle.sum": checksum(text, tensors)}))
    (path.parent / CARD).unlink()
    with pytest.raises(CheckpointError, match=match):
        load(path.parent, device="cpu").predict(np.zeros(16000, np.float32), 16000)


def test_a_probe_of_other_classes_than_its_head(tmp_path: Path) -> None:
    frozen = toy()
    clips = Labelled(TokenSet.from_tensors(torch.randn(12, 4, 32), encoder=frozen.fingerprint), torch.arange(12) % 2)
    search = SearchConfig(epochs=1, lr=(0.01,), weight_decay=(0.0,), halving=(), min_batches=1)
    found = fit_probe("linear", clips, clips, classes=("owl", "fox"), search=search)
    head = ProbedHead(kind="clips", classes=("owl", "rain"), single=True, probe=found)
    save_model(tmp_path / "m", frozen, head, card={})
    with pytest.raises(CheckpointError, match="the probe has the classes owl, fox, its head owl, rain"):
        load(tmp_path / "m", device="cpu")


@pytest.mark.parametrize("calibration", [Calibration(), Calibration("temperature", (2.0,))])
def test_scores_of_one_label_add_up_to_one_with_a_class_that_was_not_seen(calibration: Calibration) -> None:
    head = LinearHead(
        kind="clips",
        classes=("a", "b", "c"),
        single=True,
        unseen=(2,),
        calibration=calibration,
        weight=torch.eye(3),
        bias=torch.zeros(3),
        loss=get_loss("ce"),
    )
    logits = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 9.0], [-50.0, 3.0, 1.0]])
    scores = head.finished(head.of_vectors(logits))
    scale = calibration.scale[0] if calibration.scale else 1.0
    assert torch.allclose(scores[:, :2], (logits[:, :2] * scale).softmax(-1), atol=1e-5)
    assert bool((scores[:, 2] == 0).all())
