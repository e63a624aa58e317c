"""Running statistics at the end of a run: those of plain batches, on the last weights, also where the run resumed."""

from __future__ import annotations

import shutil
import signal
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.contract import Encoder
from auricle.encoders.spectrogram_layouts import layout
from auricle.errors import Terminated, TrainingError
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.training import checkpoint, loop
from auricle.training.batch_statistics import BATCHES, estimate_statistics
from auricle.training.budget import Budget
from auricle.training.checkpoint import HALF, find_checkpoints, read_tensors
from auricle.training.run_folder import RunFolder

NTT = AudioNTTConfig(width=16, mels=32, channels=4, dropout=0.5)


def batches(count: int) -> list[Features]:
    generator = torch.Generator().manual_seed(4)
    return [
        Features(torch.randn(6, 64, 32, generator=generator) * (n + 1), torch.full((6,), 64), 100.0)
        for n in range(count)
    ]


def first_norm(encoder: nn.Module) -> nn.BatchNorm2d:
    return next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))


def test_statistics_are_means_over_the_batches_of_the_weights_as_they_are() -> None:
    encoder = NTT.build().train()
    given = batches(3)
    for features in batches(2):
        encoder(features)  # what the training left
    assert estimate_statistics(encoder, given) == 3
    norm, conv = first_norm(encoder), encoder.features[0]
    maps = [conv(x.x.transpose(1, 2).unsqueeze(1)).transpose(0, 1).flatten(1) for x in given]
    torch.testing.assert_close(norm.running_mean, torch.stack([m.mean(1) for m in maps]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([m.var(1) for m in maps]).mean(0))
    assert (norm.momentum, encoder.training, norm.training) == (0.1, True, True)
    # No dropout: the same numbers a second time.
    before = {name: value.clone() for name, value in encoder.named_buffers() if "tracked" not in name}
    estimate_statistics(encoder, given)
    assert all(torch.equal(before[name], value) for name, value in encoder.named_buffers() if name in before)


def test_the_norm_of_mel_bins_is_one_of_them_and_layer_norms_are_not() -> None:
    encoder = layout("dasheng", "tiny", depth=1, mels=32, patch=(4, 32), frames=64).build().train()
    given = batches(2)
    assert estimate_statistics(encoder, given) == 1
    expected = torch.stack([x.x.mean((0, 1)) for x in given]).mean(0)
    torch.testing.assert_close(encoder.input_norm.running_mean, expected)
    encoder = layout("audio_mae", "tiny", depth=1, mels=32, frames=64).build().train()
    assert estimate_statistics(encoder, iter([])) == 0


@pytest.fixture
def convolutional(toy, monkeypatch: pytest.MonkeyPatch):
    """A toy run of a net with BatchNorm."""

    def parts() -> tuple[Encoder, nn.Module]:
        encoder = NTT.build(torch.Generator().manual_seed(1))
        return encoder, ContrastiveConfig(mask=MaskConfig(mode="none")).build(encoder, torch.Generator().manual_seed(2))

    monkeypatch.setattr(toy, "parts", parts)
    return toy


def statistics(encoder: nn.Module) -> list[Tensor]:
    norm = first_norm(encoder)
    return [norm.running_mean.clone(), norm.running_var.clone()]  # type: ignore[union-attr]


def test_a_run_ends_with_those_of_the_next_batches(convolutional) -> None:
    _, encoder, _ = convolutional.go()
    ended = statistics(encoder)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        convolutional.augment(batch.audio, 2, generator.manual_seed(0))[0].features
        for batch in islice(convolutional.loader.iterate(8), BATCHES)
    ]
    estimate_statistics(encoder, inputs)
    torch.testing.assert_close(statistics(encoder), ended, rtol=0, atol=0)
    assert "3 norms: running statistics of 12 plain batches" in (convolutional.path / "events.log").read_text()
    # Not a moving average over the last steps, which are augmented.
    moved = NTT.build(torch.Generator().manual_seed(1)).train()
    moved.load_state_dict(encoder.state_dict())
    for features in inputs:
        moved(features)
    assert float((statistics(moved)[1] - ended[1]).abs().max()) > 1e-4


@pytest.mark.parametrize("how", ["out of time", "interrupted", "terminated"])
def test_a_run_that_is_stopped_has_them_and_goes_on_exactly(
    convolutional, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    _, whole, _ = convolutional.go()
    convolutional.path = tmp_path / "stopped"
    with monkeypatch.context() as stop:
        if how == "out of time":
            stop.setattr(Budget, "over", property(lambda self: True))
        else:
            number = signal.SIGINT if how == "interrupted" else signal.SIGTERM
            after = RunFolder.metrics
            stop.setattr(RunFolder, "metrics", lambda *line: (after(*line), signal.raise_signal(number)))
        ending, encoder, _ = convolutional.go(minutes=1.0 if how == "out of time" else None)
    assert ending == how
    inputs = [
        convolutional.augment(batch.audio, 2, torch.Generator().manual_seed(0))[0].features
        for batch in islice(convolutional.loader.iterate(1), BATCHES)
    ]
    ended = statistics(encoder)
    estimate_statistics(encoder, inputs)
    torch.testing.assert_close(statistics(encoder), ended, rtol=0, atol=0)
    saved = read_tensors(convolutional.path / "checkpoints" / "step-00000001" / "encoder.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in encoder.state_dict().items() if "running" in name)
    # The moving average goes on from where it was: it is seen in place of the last estimate.
    seen: list[list[Tensor]] = []
    monkeypatch.setattr(loop, "estimate_statistics", lambda encoder, inputs: seen.append(statistics(encoder)))
    _, resumed, _ = convolutional.go(resume=True)
    convolutional.path = tmp_path / "again"
    _, again, _ = convolutional.go()
    assert len(seen) == 2
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)
    for one, other in zip(again.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_second_signal_while_they_are_estimated_costs_no_step(
    convolutional, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole, _ = convolutional.go()
    convolutional.path = tmp_path / "stopped"
    with monkeypatch.context() as stop:
        after = RunFolder.metrics
        stop.setattr(RunFolder, "metrics", lambda *line: (after(*line), signal.raise_signal(signal.SIGTERM)))
        stop.setattr(loop, "estimate_statistics", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Terminated):
            convolutional.go()
    assert list(find_checkpoints(convolutional.path / "checkpoints")) == [1]
    _, resumed, _ = convolutional.go(resume=True)
    assert "resumed at step 1" in (convolutional.path / "events.log").read_text()
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("killed", [False, True])
def test_a_checkpoint_is_there_until_another_one_takes_its_name(
    convolutional, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Ctrl-C, or a kill, between the moment at which the old one is put away and that at which the new one is there."""
    convolutional.loader.end = 4
    with pytest.raises(TrainingError):
        convolutional.go()
    folder = convolutional.path / "checkpoints"
    (final,) = find_checkpoints(folder).values()
    before = {file.name: file.read_bytes() for file in final.iterdir()}
    new = folder / f"{HALF}{final.name}"
    shutil.copytree(final, new)
    put = Path.replace

    def stopped(path: Path, target: Path) -> Path:
        if path == new or (killed and target == final):
            raise KeyboardInterrupt
        return put(path, target)

    with monkeypatch.context() as stop:
        stop.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            checkpoint._replace(new, final)
    assert final.exists() != killed
    assert RunFolder.begun(convolutional.path) is not None
    assert {file.name: file.read_bytes() for file in final.iterdir()} == before
    convolutional.loader.end = None
    assert convolutional.go(resume=True)[0] == "complete"


def test_resuming_ends_with_the_same(convolutional, tmp_path: Path) -> None:
    _, encoder, _ = convolutional.go()
    convolutional.path = tmp_path / "resumed"
    convolutional.loader.end = 5
    with pytest.raises(TrainingError, match="loader ended after step 5"):
        convolutional.go()
    convolutional.loader.end = None
    _, resumed, _ = convolutional.go(resume=True)
    for one, other in zip(encoder.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
