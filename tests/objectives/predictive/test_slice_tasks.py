"""Tasks on slices: order, distance, reconstruction; labels come from certificates, targets from the clean slices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.slices import SliceViewsConfig
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import Objective, ObjectiveConfig, Preparation, View
from auricle.objectives.predictive.slice_embedding import embed_slices
from auricle.objectives.predictive.slice_reconstruction import SliceReconstructionConfig
from auricle.objectives.workers.permutation import PermutationConfig
from auricle.objectives.workers.ranking_losses import plackett_luce
from auricle.objectives.workers.temporal_gap import TemporalGapConfig
from auricle.recipes import get_recipe

MEL = LogMelConfig(n_fft=400, window=400)
FRONTEND = MEL.build()
PARTS = SliceViewsConfig(count=4, order="shuffle")
SLICES = SliceViewsConfig(count=3, seconds=0.3, gap=0.1)
RECONSTRUCTION = SliceReconstructionConfig(seconds=0.3, frontend=MEL, channels=(16, 8, 8))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


AUDIO = Audio(0.1 * torch.randn(6, 24000, generator=random()), torch.full((6,), 24000), 16000)
ENCODER = SliceCNNConfig(channels=(4, 8, 8)).build()


def views(config: SliceViewsConfig, seed: int = 1) -> list[View]:
    made = config.build(FRONTEND)(AUDIO, config.count, random(seed))
    return [View(v.features, torch.arange(6), v.certificate, v.reference) for v in made]


def built(config: ObjectiveConfig) -> Objective:
    objective = config.build(ENCODER)

    def shown(clips: int) -> Iterator[View]:
        yield View(FRONTEND(AUDIO), torch.arange(6), {}, AUDIO)

    objective.prepare(ENCODER, Preparation(shown, 6, None, random(), lambda text: None))
    return objective


def test_vectors_are_those_of_each_slice_by_itself() -> None:
    encoder, shown = ENCODER.eval(), views(PARTS)
    together = embed_slices(encoder, shown)
    alone = torch.stack([encoder.pool(encoder(view.features)) for view in shown], 1)
    torch.testing.assert_close(together, alone)
    encoder.train()


def test_the_loss_of_an_order_is_that_of_the_certificates_places() -> None:
    objective = PermutationConfig(slices=4, loss="plackett_luce").build(ENCODER.eval())
    shown = views(PARTS)
    places = torch.stack([view.certificate["place"] for view in shown], 1)
    assert bool((places.sort(1).values == torch.arange(4)).all())
    assert len({tuple(row) for row in places.tolist()}) > 2
    scores = objective.head(embed_slices(ENCODER, shown).flatten(1))
    torch.testing.assert_close(objective(ENCODER, shown, random()).total, plackett_luce(scores, places).mean())
    objective.shuffled = True
    expected = plackett_luce(scores, places.roll(1, 0)).mean()
    torch.testing.assert_close(objective(ENCODER, shown, random()).total, expected)
    ENCODER.train()


@pytest.mark.parametrize(
    ("config", "slices"),
    [
        (PermutationConfig(slices=4), PARTS),
        (PermutationConfig(slices=4, loss="soft_rank"), PARTS),
        (TemporalGapConfig(), SliceViewsConfig(count=2, seconds=0.3, gap=None)),
        (TemporalGapConfig(loss="l2"), SliceViewsConfig(count=2, seconds=0.3, gap=None)),
        (RECONSTRUCTION, SLICES),
        (RECONSTRUCTION.replace(mode="skip_gram"), SLICES),
    ],
)
def test_everything_learns_and_is_watched(config: ObjectiveConfig, slices: SliceViewsConfig) -> None:
    objective = built(config)
    ENCODER.zero_grad()
    loss = objective(ENCODER, views(slices), random(2))
    loss.total.backward()
    for module in (ENCODER, objective):
        assert [n for n, p in module.named_parameters() if p.requires_grad and not bool(p.grad.any())] == []
    again = objective(ENCODER, views(slices), random(2))
    torch.testing.assert_close(again.total, loss.total)
    assert all(bool(torch.isfinite(value)) for value in loss.watch.values())


def test_reconstruction_is_of_the_slice_in_the_middle_or_of_those_around() -> None:
    shown = views(SLICES)
    for mode, hidden in (("cbow", [1]), ("skip_gram", [0, 2])):
        objective = built(RECONSTRUCTION.replace(mode=mode))
        raw = [FRONTEND(shown[place].reference).x for place in hidden]
        expected = torch.stack([objective.signal.standardise(x) for x in raw], 1)
        vectors = embed_slices(ENCODER.eval(), [view for place, view in enumerate(shown) if place not in hidden])
        made = torch.stack([decoder(vectors.flatten(1)) for decoder in objective.decoders], 1)
        assert made.shape == expected.shape == (6, len(hidden), 31, 64)
        loss = objective(ENCODER, shown, random())
        torch.testing.assert_close(loss.total, (made - expected).square().mean())
        # Standardised over the corpus: who says the mean is off by about one.
        assert float(loss.watch["slice/constant"]) == pytest.approx(1, abs=0.15)
        assert float(loss.watch["slice/position"]) > 0.9
        objective.shuffled = True
        shuffled = objective(ENCODER, shown, random()).total
        torch.testing.assert_close(shuffled, (made - expected.roll(1, 0)).square().mean())
    ENCODER.train()


def test_gaps_are_even_and_what_is_estimated() -> None:
    config = SliceViewsConfig(count=2, seconds=0.3, gap=None)
    gaps = torch.cat([views(config, seed)[0].certificate["gap"] for seed in range(100)])
    # Evenly between the smallest distance, 0.3 s, and the largest, 1.2 s.
    assert float(gaps.min()) >= 0.249
    assert float(gaps.mean()) == pytest.approx(0.625, abs=0.02)
    objective = built(TemporalGapConfig())
    shown = views(config)
    loss = objective(ENCODER.eval(), shown, random())
    said = objective.head(embed_slices(ENCODER, shown).flatten(1))[:, 0].sigmoid()
    gap = shown[0].certificate["gap"]
    expected = -(gap * said.log() + (1 - gap) * (1 - said).log()).mean()
    torch.testing.assert_close(loss.total, expected)
    correlation = torch.corrcoef(torch.stack([said.detach(), gap]))[0, 1]
    torch.testing.assert_close(loss.watch["gap/r"], correlation, atol=1e-4, rtol=0)
    ENCODER.train()


def test_views_that_do_not_fit_are_refused() -> None:
    made = PlainViewsConfig().build(FRONTEND)(AUDIO, 4, random())
    plain = [View(v.features, torch.arange(6), v.certificate, v.reference) for v in made]
    with pytest.raises(ConfigError, match=r"reads 'place'.*SliceViewsConfig"):
        PermutationConfig(slices=4).build(ENCODER)(ENCODER, plain, random())
    with pytest.raises(ConfigError, match=r"reads 'gap'.*SliceViewsConfig"):
        TemporalGapConfig().build(ENCODER)(ENCODER, plain[:2], random())
    with pytest.raises(ConfigError, match="no permutation of 3 slices"):
        PermutationConfig(slices=3).build(ENCODER)(ENCODER, views(PARTS), random())
    with pytest.raises(ConfigError, match=r"found slices of 0.3 s, expected 0.4 s"):
        built(RECONSTRUCTION.replace(seconds=0.4))(ENCODER, views(SLICES), random())
    with pytest.raises(ConfigError, match="odd number"):
        SliceReconstructionConfig(slices=4)
    with pytest.raises(ConfigError, match=r"loss is 'listmle'.*'fenchel_young'"):
        PermutationConfig(loss="listmle")  # type: ignore[arg-type]
    tiles = SliceViewsConfig(count=4, rows=2, axis="grid", order="shuffle")
    with pytest.raises(ConfigError, match="set the encoder's mel bins"):
        PermutationConfig(slices=4).build(ENCODER)(ENCODER, views(tiles), random())


def test_published_constants() -> None:
    permutation = get_recipe("permutation", "paper")
    assert permutation.augment.axis == "grid"
    assert permutation.objective.loss == "fenchel_young"
    assert permutation.objective.slices == permutation.augment.count == 9
    for name in ("audio2vec", "audio2vec-skip-gram"):
        made = get_recipe(name, "paper")
        assert (made.frontend.mels, made.frontend.window, made.frontend.hop) == (64, 400, 160)
        assert made.augment.seconds == made.objective.seconds == 0.975
        assert made.augment.gap > 0
        assert made.encoder.channels[-1] == 128
    assert get_recipe("temporal-gap", "paper").objective.loss == "bce"
    for name in ("permutation", "audio2vec", "audio2vec-skip-gram", "temporal-gap"):
        made = get_recipe(name, "paper")
        encoder = made.encoder.build()
        shown = made.augment.build(made.frontend.build())(
            Audio(torch.randn(2, 160000), torch.full((2,), 160000), 16000), made.augment.count, random()
        )
        assert encoder(shown[0].features).x.shape[0] == 2
        made.objective.build(encoder)
