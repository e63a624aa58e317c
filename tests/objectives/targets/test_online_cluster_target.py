from __future__ import annotations

import pytest
import torch
from toy_stages import SMALL, clips, view_of

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.online_clusters import OnlineClusterTargetConfig
from auricle.recipes import get_recipe
from auricle.recipes.matrix import shown
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep

TARGET = OnlineClusterTargetConfig(layers=2, clusters=6, decay=0.9)


def dinosr(target: OnlineClusterTargetConfig = TARGET, teacher: bool = True) -> MaskedPredictionConfig:
    return MaskedPredictionConfig(
        mask=SpanMask(p=0.8, length=10),
        hide="token",
        decoder=NoDecoderConfig(),
        teacher=TeacherConfig(scope="context") if teacher else None,
        terms=(CodeConfig(target),),
    )


def made(target: OnlineClusterTargetConfig = TARGET) -> tuple[MaskedPrediction, torch.nn.Module]:
    encoder = SMALL.build()
    return dinosr(target).build(encoder), encoder


def test_codes_and_centres_equal_a_slow_oracle() -> None:
    objective, encoder = made()
    target = objective.terms[0].target
    centres, sums, counts = target.centres.clone(), target.centres.clone(), torch.ones(2, 6)
    for step in range(3):
        view = view_of(clips(3, seed=step))
        seen: list[torch.Tensor] = []
        grid = encoder.grid(view.features.x.shape[1])
        masked = objective.config.mask.draw(grid, 3, torch.Generator().manual_seed(step)).predicted
        hook = target.register_forward_hook(lambda module, given, codes, seen=seen: seen.append(codes))
        objective(encoder, [view], torch.Generator().manual_seed(step))
        hook.remove()
        with torch.no_grad():
            layers = objective.teacher.copy.contextualize(encoder.tokenize(view.features), (2, 3)).layers
        for book, layer in enumerate(layers):
            x = layer.feedforward
            x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
            codes = torch.cdist(x, centres[book].expand(3, -1, -1)).argmin(-1)
            assert torch.equal(seen[0][..., book], codes)
            for code in range(6):
                # Masked tokens move the centres; a centre that none of them chose keeps its sum and number.
                mine = x[(codes == code) & masked]
                if not len(mine):
                    continue
                sums[book, code] = 0.9 * sums[book, code] + 0.1 * mine.sum(0)
                counts[book, code] = 0.9 * counts[book, code] + 0.1 * len(mine)
        objective.after_step(encoder, step)
        centres = sums / counts[..., None]
        torch.testing.assert_close(target.centres, centres, rtol=1e-4, atol=1e-5)


def test_parts_of_a_batch_move_the_centres_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_half(self: SpanMask, grid: Grid, rows: int, *more: object) -> torch.Tensor:
        return (torch.arange(grid.time) < grid.time // 2).expand(rows, -1)

    monkeypatch.setattr(SpanMask, "sample", first_half)
    (one, encoder), (two, _) = made(), made()
    view = view_of(clips(4))
    one(encoder, [view], torch.Generator().manual_seed(0))
    for rows in (slice(0, 2), slice(2, 4)):
        two(encoder, [view[rows]], torch.Generator().manual_seed(0))
    for objective in (one, two):
        objective.after_step(encoder, 0)
    torch.testing.assert_close(one.terms[0].target.centres, two.terms[0].target.centres)


def test_evaluation_and_skipped_steps_move_nothing() -> None:
    objective, encoder = made()
    before = {name: tensor.clone() for name, tensor in objective.terms[0].target.state_dict().items()}
    assert set(before) == {"centres", "sums", "counts"}
    objective.eval()
    objective(encoder, [view_of(clips(2))], torch.Generator())
    objective.after_step(encoder, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.terms[0].target.state_dict().items())
    recipe = get_recipe("dinosr").replace(encoder=SMALL)
    recipe = recipe.replace(
        objective=dinosr(), window=recipe.window.replace(seconds=1.0), train=recipe.train.replace(precision="fp32")
    )
    frontend, again = recipe.frontend.build(), dinosr().build(encoder)
    step = TrainingStep(encoder, again, lambda *_: (), recipe.train, Ranks(0, 1, torch.device("cpu")))
    views = shown(recipe, frontend, again)
    views[0].features.x[0, 5] = torch.nan
    assert float(step(0, views).skipped) == 1
    centres = again.terms[0].target.centres
    assert torch.equal(centres, before["centres"])
    views = shown(recipe, frontend, again)
    assert float(step(1, views).skipped) == 0
    assert not torch.equal(centres, before["centres"])
    assert torch.isfinite(centres).all()


def test_a_centre_that_gets_nothing_stays_where_it_is() -> None:
    objective, encoder = made()
    target = objective.terms[0].target
    with torch.no_grad():
        target.centres[0, 0] = target.sums[0, 0] = 100.0
    for step in range(1500):
        target.pending[..., -1] = 1.0
        target.pending[..., :-1] = 1.0
        target.pending[0, 0] = 0.0
        target.after_step(encoder, step)
    assert torch.isfinite(target.centres).all()
    torch.testing.assert_close(target.centres[0, 0], torch.full((16,), 100.0))
    torch.testing.assert_close(target.centres[0, 1], torch.ones(16))


def test_what_is_missing_is_named() -> None:
    encoder = SMALL.build()
    with pytest.raises(ConfigError, match="top 9 layers of the teacher to cluster, and the encoder has 3"):
        dinosr(TARGET.replace(layers=9)).build(encoder)
    with pytest.raises(ConfigError, match="there is no teacher"):
        dinosr(teacher=False).build(encoder)(encoder, [view_of(clips(2))], torch.Generator())
    with pytest.raises(ConfigError, match="decay is 1"):
        TARGET.replace(decay=1.0)
    with pytest.raises(ConfigError, match="tensor is 'ffn'"):
        TARGET.replace(tensor="ffn")
