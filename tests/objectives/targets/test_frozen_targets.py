from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from toy_stages import SMALL, clips, frozen, preparation, view_of

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.targets.frozen import LayerDistillationConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig

TERM = LayerDistillationConfig(previous=PreviousEncoderConfig(SMALL, WaveformConfig()), layers=(1, 3))


def distilled(term: LayerDistillationConfig = TERM, notes: list[str] | None = None):
    teacher = frozen()
    student = SMALL.replace(depth=1).build(torch.Generator().manual_seed(1))
    objective = MaskedPredictionConfig(mask=None, hide="none", decoder=NoDecoderConfig(), terms=(term,)).build(student)
    objective.prepare(student, preparation(previous=teacher, notes=notes))
    return teacher, student, objective


def test_loss_equals_a_slow_oracle() -> None:
    teacher, student, objective = distilled()
    view = view_of(clips(2, seed=1))
    loss = objective(student, [view], torch.Generator())
    with torch.no_grad():
        out = student(view.features).x
        layers = teacher.tokens(view.reference, (1, 3)).layers
        total = 0.0
        for head, layer in zip(objective.terms[0].heads, layers, strict=True):
            each = []
            for row in range(2):
                for step in range(out.shape[1]):
                    found, target = head(out[row, step]), layer.block[row, step]
                    cosine = torch.dot(found, target) / found.norm() / target.norm()
                    each.append((found - target).abs().sum() / len(target) - torch.log(torch.sigmoid(cosine)))
            total += torch.stack(each).mean()
    torch.testing.assert_close(loss.total.detach(), total)
    assert set(loss.parts) == {"layer1", "layer3"}
    cosine = F.cosine_similarity(objective.terms[0].heads[0](out), layers[0].block, dim=-1).mean()
    torch.testing.assert_close(loss.watch["layer1/cosine"], cosine)
    assert 0 < loss.watch["layer1/cosine_constant"] <= 1


def test_the_student_begins_as_the_teachers_lower_part() -> None:
    notes: list[str] = []
    teacher, student, _ = distilled(notes=notes)
    its = teacher.encoder.state_dict()
    assert all(torch.equal(tensor, its[name]) for name, tensor in student.state_dict().items())
    assert f"starts with {len(student.state_dict())} of its {len(student.state_dict())} tensors" in notes[-1]
    _, fresh, _ = distilled(TERM.replace(begin=False))
    assert not torch.equal(fresh.projection.weight, its["projection.weight"])


def test_a_student_of_another_kind_begins_fresh_and_says_so() -> None:
    student = AudioNTTConfig(width=64, mels=64, channels=8).build()
    objective = MaskedPredictionConfig(mask=None, hide="none", decoder=NoDecoderConfig(), terms=(TERM,)).build(student)
    notes: list[str] = []
    objective.prepare(student, preparation(previous=frozen(), notes=notes))
    assert "none has the name and shape" in notes[-1]
    # It pools as it goes: its tokens are fewer at its end, and the teacher's are taken to those.
    audio = Audio.stack(clips(2, seed=1), 16000)
    view = View(LogMelConfig(mels=64).build()(audio), torch.arange(2), {}, audio)
    loss = objective(student, [view], torch.Generator())
    loss.total.backward()
    assert torch.isfinite(loss.total)


def test_padding_does_not_count() -> None:
    _, student, objective = distilled()
    waves = clips(2, seed=3)
    alone = objective(student, [view_of([waves[0][:8000]])], torch.Generator()).parts["layer3"]
    audio = Audio.stack([waves[0][:8000]], 16000)
    wave = F.pad(audio.wave, (0, 4000))
    padded = View(Features(wave, audio.lengths, 16000.0), torch.arange(1), {}, Audio(wave, audio.lengths, 16000))
    torch.testing.assert_close(objective(student, [padded], torch.Generator()).parts["layer3"], alone)


def test_shuffled_targets_are_another_clips() -> None:
    _, student, objective = distilled()
    waves = clips(2, seed=4)
    one = objective(student, [view_of(waves)], torch.Generator()).total
    objective.shuffled = True
    other = objective(student, [view_of(waves)], torch.Generator()).total
    reference = view_of(waves[::-1]).reference
    view = view_of(waves)
    objective.shuffled = False
    swapped = objective(student, [View(view.features, view.clip, {}, reference)], torch.Generator()).total
    assert not torch.equal(one, other)
    torch.testing.assert_close(other, swapped)


def test_what_the_teacher_lacks() -> None:
    student = SMALL.build()
    with pytest.raises(ConfigError, match=r"layers \(4, 8, 12\).*has 3; choose from 1 ... 3"):
        TERM.replace(layers=(4, 8, 12)).build(student, 16, torch.Generator())
    with pytest.raises(ConfigError, match="named once"):
        TERM.replace(layers=(2, 2))
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        TERM.replace(measure="cosinus")
    with pytest.raises(ConfigError, match="where is 'clip'"):
        TERM.replace(where="clip")
    slower = SMALL.replace(stem=SMALL.stem.replace(layers=(*SMALL.stem.layers[:-1], (8, 3, 3))))
    objective = MaskedPredictionConfig(mask=None, hide="none", decoder=NoDecoderConfig(), terms=(TERM,)).build(
        slower.build()
    )
    objective.prepare(slower.build(), preparation(previous=frozen()))
    with pytest.raises(ConfigError, match=r"a layer of the previous stage comes at 50.*tokens at 33\.3"):
        objective(slower.build(), [view_of(clips(2))], torch.Generator())


def test_a_checkpoint_holds_the_teacher() -> None:
    _, student, objective = distilled()
    view = view_of(clips(2))
    again: MaskedPrediction = MaskedPredictionConfig.from_json(objective.config.to_json()).build(student)
    with pytest.raises(ConfigError, match=r"weights are not loaded; call the objective's `prepare`"):
        again(student, [view], torch.Generator())
    again.load_state_dict(objective.state_dict())
    expected = objective(student.eval(), [view], torch.Generator()).total
    assert torch.equal(again(student, [view], torch.Generator()).total, expected)


def test_another_teacher_than_expected() -> None:
    _, student, objective = distilled()
    wide = SMALL.replace(position=ConvPositionConfig(kernel=7, groups=4))
    with pytest.raises(ConfigError, match=r"encoder of other is not the one.*position: found"):
        objective.prepare(
            student, preparation(previous=FrozenEncoder(WaveformConfig().build(), wide.build(), name="other"))
        )
