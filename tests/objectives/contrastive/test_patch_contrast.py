from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.contrastive.patch_contrast import PatchContrastConfig, same_patches
from auricle.objectives.masks.blocks import ClusterMask
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.learned_codes import Places
from auricle.objectives.targets.teachers import TeacherClipTargetConfig

ENCODER = SpectrogramTransformerConfig(
    width=24, depth=1, heads=2, mels=32, frames=96, patch_norm=False, pre_norm=False, final="norm", drop_path=0.0,
    pooling="mean",
)  # fmt: skip


def made(term: PatchContrastConfig, **changes: object) -> tuple[SpectrogramTransformer, MaskedPrediction]:
    encoder = ENCODER.build().double()
    settings = {"mask": ClusterMask(ratio=0.75), "hide": "token", "decoder": NoDecoderConfig(), "terms": (term,)}
    config = MaskedPredictionConfig(**(settings | changes))  # type: ignore[arg-type]
    return encoder, config.build(encoder).double()


def view(lengths: tuple[int, ...] = (96, 96, 96), silent: int = 0) -> View:
    torch.manual_seed(0)
    count = torch.tensor(lengths)
    x = torch.randn(len(lengths), 96, 32, dtype=torch.float64)
    x[:, 96 - silent :] = -1.5
    x = x * (torch.arange(96) < count[:, None])[..., None]
    return View(Features(x, count, 100.0), torch.arange(len(lengths)))


def oracle(
    prediction: Tensor, target: Tensor, chosen: Tensor, over: str, same: Callable[[Tensor, Tensor], bool]
) -> tuple[float, float]:
    """Return loss and accuracy, one hidden patch after the other."""
    losses, hits = [], []
    for row in range(len(chosen)):
        places = chosen[row].nonzero().flatten().tolist()
        for i in places:
            scores, own = [], 0
            for j in places:
                if j != i and same(target[row, i], target[row, j]):
                    continue
                if j == i:
                    own = len(scores)
                pair = (
                    (prediction[row, i], target[row, j]) if over == "patches" else (prediction[row, j], target[row, i])
                )
                scores.append(float(pair[0] @ pair[1]))
            largest = max(scores)
            losses.append(largest + math.log(sum(math.exp(s - largest) for s in scores)) - scores[own])
            hits.append(scores.index(largest) == own)
    return sum(losses) / len(losses), sum(hits) / len(hits)


@pytest.mark.parametrize("over", ["patches", "predictions"])
@pytest.mark.parametrize("alike", ["negatives", "ignored"])
@pytest.mark.parametrize("lengths", [(96, 96, 96), (96, 50, 70)])
def test_loss_is_that_of_a_slow_oracle(over: str, alike: str, lengths: tuple[int, ...]) -> None:
    encoder, objective = made(PatchContrastConfig(over=over, alike=alike))  # type: ignore[arg-type]
    shown = view(lengths, silent=48)
    masked_batch = objective.look(encoder, [shown], torch.Generator().manual_seed(3), objective._terms)
    term = objective._terms[0]
    loss = term(masked_batch, objective.decoder(masked_batch.out), False)
    prediction = term.head(masked_batch.out.x)  # type: ignore[operator]
    target = term.target(masked_batch)  # type: ignore[operator]
    value, accuracy = oracle(
        prediction, target, masked_batch.mask.predicted, over,
        lambda a, b: alike == "ignored" and float((a - b).abs().max()) < 1e-9,
    )  # fmt: skip
    assert float(loss.value.detach()) == pytest.approx(value, rel=1e-9)
    if alike == "ignored":  # silent patches are as good as each other
        assert float(loss.watch["nce/accuracy"]()) == pytest.approx(accuracy, abs=1e-9)
    if lengths == (96, 96, 96) and alike == "negatives":
        assert float(loss.watch["nce/chance"]()) == pytest.approx(math.log(9))
        assert float(loss.watch["nce/majority"]()) == pytest.approx(1 / 9)


def test_who_knows_the_patches_is_always_right() -> None:
    term = PatchContrastConfig(target=PatchTargetConfig(norm="patch"))
    encoder, objective = made(term)
    built = objective._terms[0]
    shown = view()
    masked_batch = objective.look(encoder, [shown], torch.Generator().manual_seed(3), [built])
    target = built.target(masked_batch)  # type: ignore[operator]
    places = Places.of(masked_batch.mask.predicted)
    truth = places.take(target)
    for over in ("patches", "predictions"):
        made_term = PatchContrastConfig(target=term.target, over=over).build(encoder, 24, torch.Generator())  # type: ignore[arg-type]
        logits = made_term.logits(truth, truth, places.real)
        own = torch.arange(logits.shape[1]).expand(logits.shape[:2])
        assert bool((logits.argmax(-1) == own).all())
        assert float(F.cross_entropy(logits.transpose(1, 2), own)) < 1e-6


def test_every_parameter_learns_and_the_two_terms_have_masks_of_their_own() -> None:
    terms = (PatchContrastConfig(), RegressionConfig(PatchTargetConfig(norm="none"), weight=10.0, name="patch_mse"))
    encoder, objective = made(terms[0], terms=terms, separate=True)
    passes = []
    encoder.blocks[0].register_forward_hook(lambda module, args, out: passes.append(args[0].detach()))
    loss = objective(encoder, [view()], torch.Generator().manual_seed(0))
    assert len(passes) == 2
    assert not torch.equal(passes[0], passes[1])
    torch.testing.assert_close(loss.total, loss.parts["nce"] + 10 * loss.parts["patch_mse"])
    loss.total.backward()
    named = [*encoder.named_parameters(), *objective.named_parameters()]
    assert [n for n, p in named if p.grad is None or not bool(p.grad.any())] == []
    assert all(bool(torch.isfinite(value)) for value in loss.watch.values())


def test_shuffled_targets_come_from_the_clip_before() -> None:
    encoder, objective = made(PatchContrastConfig())
    shown = view()
    own = objective(encoder, [shown], torch.Generator().manual_seed(0)).total
    objective.shuffled = True
    shuffled = objective(encoder, [shown], torch.Generator().manual_seed(0)).total
    assert float((own - shuffled).abs()) > 1e-6
    alone = View(shown.features[:1], shown.clip[:1])
    objective.shuffled = False
    first = objective(encoder, [alone], torch.Generator().manual_seed(0)).total
    objective.shuffled = True
    # A batch of one has no other clip.
    torch.testing.assert_close(objective(encoder, [alone], torch.Generator().manual_seed(0)).total, first)


def test_all_but_identical_patches_are_found_at_any_level() -> None:
    torch.manual_seed(0)
    patch = torch.randn(1, 4, 256)
    patch[0, 2] = patch[0, 0]
    for level in (1e-3, 1.0, 100.0):
        same = same_patches(patch * level)[0]
        assert same.diagonal().all()
        assert bool(same[0, 2])
        assert int(same.sum()) == 6
    assert bool(same_patches(torch.zeros(1, 3, 8)).all())


def test_misfits() -> None:
    with pytest.raises(ConfigError, match="did you mean 'patches'"):
        PatchContrastConfig(over="patch")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="alike"):
        PatchContrastConfig(alike="dropped")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one value a clip"):
        PatchContrastConfig(target=TeacherClipTargetConfig()).build(ENCODER.build(), 24, torch.Generator())
    encoder, objective = made(PatchContrastConfig(), mask=None, hide="none")
    with pytest.raises(ConfigError, match="no patch is masked"):
        objective(encoder, [view()], torch.Generator())
    config = PatchContrastConfig(over="patches", alike="ignored")
    assert Config.from_json(config.to_json()) == config


def test_dropped_patches_need_a_decoder() -> None:
    encoder, objective = made(PatchContrastConfig(), mask=RandomMask(0.75), hide="drop")
    with pytest.raises(ConfigError, match="decoder"):
        objective(encoder, [view()], torch.Generator())
