"""EAT, data2vec and data2vec 2.0 as a whole against slow loops; who averages what; the guard against collapse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.contract import View
from auricle.objectives.distributed import randn_rows
from auricle.objectives.predictive.conv_decoder import Conv1dDecoderConfig, Conv2dDecoderConfig
from auricle.objectives.predictive.heads import IdentityHeadConfig, LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.terms import reduce_tokens
from auricle.recipes import get_recipe
from auricle.training.monitors import CollapseAlarm

CLIPS, CLONES = 3, 2


def views(waveform: bool) -> list[View]:
    generator = torch.Generator().manual_seed(5)
    shape, rate = ((CLIPS, 8000), 16000.0) if waveform else ((CLIPS, 96, 64), 100.0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return [View(Features(x, torch.full((CLIPS,), shape[1]), rate), torch.arange(CLIPS))]


def made(name: str, **changes: object) -> tuple[Encoder, MaskedPrediction]:
    objective = get_recipe(name, "tiny").objective
    assert isinstance(objective, MaskedPredictionConfig)
    if name == "eat":
        config = layout("eat", "tiny", width=32, depth=3, heads=2, frames=96, mels=64)
        objective = objective.replace(decoder=Conv2dDecoderConfig(width=32, depth=2, groups=4), clones=CLONES)
    else:
        config = WaveformTransformerConfig.size("tiny").replace(
            stem=WaveformTransformerConfig.size("tiny").stem.narrow(8), width=32, depth=5, heads=2, dropout=0.0,
            input_dropout=0.0, position=ConvPositionConfig(3, 4, 2), bias="alibi" if name == "data2vec2" else "none",
        )  # fmt: skip
        if name == "data2vec2":
            objective = objective.replace(decoder=Conv1dDecoderConfig(width=32, depth=2, groups=4), clones=CLONES)
    encoder = config.build(torch.Generator().manual_seed(0)).double()
    objective = objective.replace(**changes)
    return encoder, objective.build(encoder, torch.Generator().manual_seed(1)).double()


def slow_targets(teacher: nn.Module, view: View, top: int, after: bool) -> Tensor:
    """The averaged feed-forward branches `(B, N, D)`, caught as they leave the layers, normalised by loops."""
    caught: list[Tensor] = []
    hooks = [block.fc2.register_forward_hook(lambda m, i, o: caught.append(o)) for block in teacher.blocks]
    with torch.no_grad():
        skip = 0 if (cls := teacher(view.features).cls) is None else cls.shape[1]
    for hook in hooks:
        hook.remove()
    total = torch.zeros(())
    for branch in caught[-top:]:
        x = branch[:, skip:].clone()
        for clip in range(x.shape[0]):
            for channel in range(x.shape[2]):
                line = x[clip, :, channel]
                x[clip, :, channel] = (line - line.mean()) / (((line - line.mean()) ** 2).mean() + 1e-5) ** 0.5
        total = total + x / top
    if after:
        for clip in range(total.shape[0]):
            for place in range(total.shape[1]):
                line = total[clip, place]
                total[clip, place] = (line - line.mean()) / (((line - line.mean()) ** 2).mean() + 1e-5) ** 0.5
    return total


@pytest.mark.parametrize("name", ["eat", "data2vec", "data2vec2"])
def test_loss_equals_loops(name: str) -> None:
    encoder, objective = made(name)
    # The teacher has gone its own way by now.
    with torch.no_grad():
        for p in objective.teacher.copy.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2), dtype=p.dtype)
        if name != "eat":
            objective.teacher.copy.stem.load_state_dict(encoder.stem.state_dict())
            objective.teacher.copy.stem_norm.load_state_dict(encoder.stem_norm.state_dict())
            objective.teacher.copy.projection.load_state_dict(encoder.projection.state_dict())
    (view,) = views(name != "eat")
    loss = objective(encoder, [view], torch.Generator().manual_seed(3))
    config, clones = objective.config, objective.config.clones
    target = slow_targets(objective.teacher.copy, view, {"eat": 3}.get(name, 4), name == "eat")
    generator = torch.Generator().manual_seed(3)
    tokens = encoder.tokenize(view.features)
    hidden = config.mask.draw(tokens.grid, CLIPS * clones, generator)
    if name == "data2vec":
        x = tokens.x.clone()
        x[hidden.masked] = objective.mask_token
        decoded = encoder.contextualize(copy.copy(tokens).__class__(x, tokens.grid)).x
    else:
        noise = randn_rows(generator, CLIPS * clones, tokens.grid.tokens, 32) * config.decoder.noise
        full, classes = noise.to(torch.float64), []
        for row in range(CLIPS * clones):
            clip = row // clones
            index = (~hidden.masked[row]).nonzero()[:, 0]
            one = tokens.__class__(
                tokens.x[clip : clip + 1], tokens.grid, cls=None if tokens.cls is None else tokens.cls[clip : clip + 1]
            )
            out = encoder.contextualize(one.keep(index[None]))
            full[row, index] = out.x[0]
            if out.cls is not None:
                classes.append(objective.terms[1].head(out.cls).detach())
        decoded = objective.decoder(tokens.__class__(full, tokens.grid)).x
    prediction = objective.terms[0].head(decoded).detach()
    each = [
        float((prediction[row, place] - target[row // clones, place]).square().sum() / 32**0.5)
        for row, place in hidden.masked.nonzero().tolist()
    ]
    wanted = sum(each) / len(each)
    part = next(iter(loss.parts))
    assert float(loss.parts[part]) == pytest.approx(wanted, rel=1e-9)
    if name == "eat":
        whole = target.mean(1)
        clip = [float((c[0, 0] - whole[row // clones]).square().sum() / 32**0.5) for row, c in enumerate(classes)]
        assert float(loss.parts["clip"]) == pytest.approx(sum(clip) / len(clip), rel=1e-9)
        wanted += sum(clip) / len(clip)
    assert float(loss.total.detach()) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("name", "moves"), [("eat", True), ("data2vec", False), ("data2vec2", False)])
def test_who_averages_the_tokenizer(name: str, moves: bool) -> None:
    # EAT's teacher has patches of its own, data2vec's shares the student's stem.
    encoder, objective = made(name)
    given = views(name != "eat")
    before = float(objective(encoder, given, torch.Generator().manual_seed(0)).parts[latent(name)])
    with torch.no_grad():
        copied = objective.teacher.copy
        (copied.patch_proj if name == "eat" else copied.projection).weight.mul_(-2.0)
    after = float(objective(encoder, given, torch.Generator().manual_seed(0)).parts[latent(name)])
    assert (before != after) == moves


def latent(name: str) -> str:
    return "patch" if name == "eat" else "latent"


def test_both_reductions_of_eat() -> None:
    # 12 clips of 16 clones on a device: the released sum is 192 times the mean.
    values = torch.rand(192, 1, generator=torch.Generator().manual_seed(0))
    chosen = torch.ones(192, 1, dtype=torch.bool)
    mean, total = reduce_tokens(values, chosen, "clip_mean"), reduce_tokens(values, chosen, "clip_sum")
    assert float(total) == pytest.approx(192 * float(mean), rel=1e-5)
    # Four such devices, of which the sum is weighted by 12 / 48: the same factor.
    released = get_recipe("eat", "paper").objective.terms
    assert [term.reduce for term in released] == ["token_mean", "clip_sum"]
    assert released[1].weight * 48 * 16 == 192
    assert released[1].head == IdentityHeadConfig()
    for method in ("eat", "sslam"):
        means = get_recipe(method, "tiny").objective.terms[:2]
        assert [(term.reduce, term.weight) for term in means] == [("token_mean", 1.0), ("clip_mean", 1.0)]
        assert means[1].head == LinearHeadConfig()


def test_clones_share_one_pass_of_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, objective = made("eat", clones=5)
    rows: list[int] = []
    whole = objective.teacher.copy.contextualize

    def counted(tokens: object, layers: object = ()) -> object:
        rows.append(tokens.x.shape[0])
        return whole(tokens, layers)

    monkeypatch.setattr(objective.teacher.copy, "contextualize", counted)
    objective(encoder, views(False), torch.Generator().manual_seed(0))
    assert rows == [CLIPS]


def test_a_constant_teacher_raises_the_alarm() -> None:
    encoder, objective = made("eat")
    given = views(False)
    alarm = CollapseAlarm(patience=0)
    healthy = objective(encoder, given, torch.Generator().manual_seed(0))
    line = {name: float(value) for name, value in healthy.watch.items()}
    assert not [name for name in alarm.signs(0, line) if "std_target" in name]
    assert line["patch/std_target"] > 0.1
    with torch.no_grad():
        for block in objective.teacher.copy.blocks:
            block.fc2.weight.zero_()
    dead = objective(encoder, given, torch.Generator().manual_seed(0))
    signs = alarm.signs(1, {name: float(value) for name, value in dead.watch.items()})
    assert signs["patch/std_target"][0] == "teacher"
    assert signs["clip/std_target"][0] == "teacher"


def test_the_control_takes_another_clips_latents() -> None:
    encoder, objective = made("data2vec2")
    given = views(True)
    straight = float(objective(encoder, given, torch.Generator().manual_seed(0)).total)
    objective.shuffled = True
    rolled = float(objective(encoder, given, torch.Generator().manual_seed(0)).total)
    assert straight != rolled
