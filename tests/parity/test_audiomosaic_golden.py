"""AudioMosaic's golden vectors: produced by the official classes in float64, from filled weights and a formula's input.

Two models: S (width 96, depth 2, 3 heads) and B (the published size, 166 tensors).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.zoo.families.audiomosaic import from_official, to_official
from auricle.zoo.families.audiomosaic_heads import AttentiveSum, AudioMosaicHead, Classifier, LayerProbe, WeightedSum

TOLERANCE = 2e-8  # eight printed digits after the point, in float64


def fill(shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """The sheet's filling rule, on the official names in sorted order."""
    state = {}
    for j, name in enumerate(sorted(shapes)):
        count = int(np.prod(shapes[name], dtype=np.int64))
        s = np.sin(0.7 * np.arange(count, dtype=np.float64) + 1.3 * j + 0.1)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
            continue
        if name.endswith("running_var"):
            s = 1 + 0.5 * np.abs(s)
        elif len(shapes[name]) == 1 and name.endswith(".weight"):
            s = 1 + 0.1 * s
        else:
            s = 0.05 * s
        state[name] = torch.from_numpy(s).reshape(shapes[name])
    return state


def golden_input() -> Features:
    b, t, f = np.arange(2)[:, None, None], np.arange(1024)[None, :, None], np.arange(128)[None, None, :]
    x = np.sin(0.01 * t * (b + 1) + 0.05 * f) + 0.3 * np.cos(0.002 * t * f)
    assert x.sum() == pytest.approx(1333.111049, abs=1e-6)
    return Features(torch.from_numpy(x), torch.tensor([1024, 1024]), 100.0)


def golden_noise(lines: int) -> torch.Tensor:
    i, b = np.arange(lines)[None], np.arange(2)[:, None]
    v = 43758.5453 * np.sin(12.9898 * (i + 1) + 78.233 * (b + 1))
    return torch.from_numpy(v - np.floor(v))


CONFIGS = {
    "S": SpectrogramTransformerConfig(width=96, depth=2, heads=3, drop_path=0.0),
    "B": SpectrogramTransformerConfig.size("base", drop_path=0.0),
}
GOLDEN = {
    "S": {
        "keys": 46,
        "token": [-1.47103676, 0.12592820, 1.45879312, 1.47107779],
        "abs": 90455.51626,
        "f": [-0.44056805, -0.31704478, -0.24442229],
        "z0": [0.76127298, 0.36138013, 0.02390141, -0.27849821],
        "z1": [0.76564970, 0.36193501, 0.02114009, -0.28467251],
        "time": [0.75673338, 0.36096353, 0.02706031, -0.27165503],
        "freq": [0.76093191, 0.36135275, 0.02414601, -0.27797325],
    },
    "B": {
        "keys": 166,
        "token": [-25.24354262, 14.80467456, 21.23668074, -20.21521954],
        "abs": 11509841.72368,
        "f": [-19.59968131, 16.25389115, 19.09368811],
        "z0": [0.72288874, 0.47743111, 0.14950200, -0.12519085],
        "z1": [0.72094861, 0.47387931, 0.14516987, -0.13004410],
        "time": [0.72514389, 0.48150889, 0.15445106, -0.11966289],
        "freq": [0.72334160, 0.47877443, 0.15138975, -0.12290929],
    },
}


def golden_model(name: str) -> tuple[SpectrogramTransformer, torch.nn.Sequential, int]:
    config = CONFIGS[name]
    projector = ProjectorConfig(hidden=(512,), out=128).build(config.width)
    shapes = {k: t.shape for k, t in to_official(config.build(), projector.state_dict()).items()}
    state = fill(shapes)
    loaded = from_official(state, heads=config.heads)
    assert not loaded.rest
    projector.double().load_state_dict(loaded.projector)
    return loaded.encoder.eval(), projector.eval(), len(state)


@pytest.mark.parametrize("name", ["S", "B"])
def test_pretrain_model(name: str) -> None:
    golden, features = GOLDEN[name], golden_input()
    encoder, projector, keys = golden_model(name)
    assert keys == golden["keys"]
    assert encoder.positions.dtype == torch.float64
    with torch.no_grad():
        tokens = encoder(features)
        f = tokens.mean(with_cls=True)  # the table's f is the mean before fc_norm
        z = projector(encoder.pool(tokens))
        assert tokens.cls is not None
        scale = 1 if name == "S" else 20  # the digits are as many, the numbers larger
        torch.testing.assert_close(tokens.cls[0, 0, :4], vector(golden["token"]), rtol=0, atol=TOLERANCE * scale)
        total = tokens.cls.abs().sum() + tokens.x.abs().sum()
        assert float(total) == pytest.approx(golden["abs"], abs=2e-5)
        torch.testing.assert_close(f[0, :3], vector(golden["f"]), rtol=0, atol=TOLERANCE * scale)
        torch.testing.assert_close(z[0, :4], vector(golden["z0"]), rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(z[1, :4], vector(golden["z1"]), rtol=0, atol=TOLERANCE)

        masks = MaskConfig(grid="released")
        for kind, lines, kept in (("time", 8, 192), ("freq", 64, 304)):
            before = encoder.tokenize(features[:1])
            chosen = masks.choose(kind, before.grid, golden_noise(lines)[:1])
            assert chosen.index.shape == (1, kept)
            visible = before.keep(chosen.index)
            assert visible.x.shape[1] == kept
            masked = projector(encoder.pool(encoder.contextualize(visible)))
            torch.testing.assert_close(masked[0, :4], vector(golden[kind]), rtol=0, atol=TOLERANCE)


def test_float32_stays_close() -> None:
    encoder, projector, _ = golden_model("S")
    features = golden_input()
    features = Features(features.x.float(), features.lengths, features.rate)
    with torch.no_grad():
        tokens = encoder.float()(features)
        z = projector.float()(encoder.pool(tokens))
    assert tokens.cls is not None
    torch.testing.assert_close(tokens.cls[0, 0, :4], vector(GOLDEN["S"]["token"]).float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(z[0, :4], vector(GOLDEN["S"]["z0"]).float(), rtol=0, atol=1e-6)


def test_kept_lines_of_the_golden_noise() -> None:
    grid = CONFIGS["S"].build().grid(1024)
    masks = MaskConfig(grid="released")
    blocks = masks.choose("time", grid, golden_noise(8)).index[0].unique() // 64
    assert set(blocks.tolist()) == {3, 2, 6}
    columns = masks.choose("freq", grid, golden_noise(64)).index[0] % 64
    assert {9, 21, 53, 42, 46, 34, 63, 26, 28, 24} <= set(columns.tolist())


def test_parameter_counts_of_the_published_model() -> None:
    encoder = CONFIGS["B"].build()
    objective = ContrastiveConfig().build(encoder)
    count = sum(p.numel() for p in encoder.parameters())
    projector = sum(p.numel() for p in objective.projector.parameters())
    assert (count, projector, count + projector) == (85_651_200, 460_032, 86_111_232)
    assert sum(p.numel() for p in Classifier(encoder, 527).parameters()) == 86_056_463


HEADS = {
    "classifier": (36, [2.29321041, -1.44121458, -1.42781063, 2.30674344, -0.17200050, -2.15797938, 1.72137483]),
    "layer": (36, [2.65776456, -2.03521819, -1.39143219, 2.87619281, -0.59273824, -2.44344484, 2.33479222]),
    "weighted": (37, [-0.20891178, -2.63157725, 1.87776659, 1.26595194, -2.77507823, 0.63980262, 2.43604320]),
    "attentive": (45, [-0.05291745, -0.05819311, 0.18730016, -0.03139391, -0.20486972, 0.07355014, 0.04694588]),
    "training": (36, [2.27157681, -1.43933028, -1.40744887, 2.29111563, -0.18181401, -2.13572779, 1.71616926]),
}


@pytest.mark.parametrize("name", list(HEADS))
def test_heads(name: str) -> None:
    encoder = CONFIGS["S"].build()
    head: AudioMosaicHead
    if name == "layer":
        head = LayerProbe(encoder, 7, layer=1)
    elif name == "weighted":
        head = WeightedSum(encoder, 7)
    elif name == "attentive":
        head = AttentiveSum(encoder, 7)
    else:
        head = Classifier(encoder, 7)
    keys, logits = HEADS[name]
    ours = {ours: official for ours, official in head.official_names().items()}
    shapes = {ours[k]: t.shape for k, t in head.state_dict().items()}
    assert len(shapes) == keys
    # Only the official kernel's shape differs, and the rule reads it row-major: the same numbers in the same order.
    head.double().load_official(fill(shapes))
    head.train(name == "training")
    with torch.no_grad():
        if name == "training":
            assert isinstance(head, Classifier)
            noise = (golden_noise(64), golden_noise(8))
            assert head.keep(encoder.tokenize(golden_input()), noise).x.shape[1] == 306
            found = head(golden_input(), noise)
        else:
            found = head(golden_input())
    torch.testing.assert_close(found[0], vector(logits), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "count"), [("layer", 406_799), ("weighted", 406_812), ("attentive", 1_607_183)])
def test_trainable_parameters_of_the_probes(name: str, count: int) -> None:
    encoder = SpectrogramTransformerConfig.size("base").build()
    head: AudioMosaicHead
    if name == "layer":
        head = LayerProbe(encoder, 527, layer=12)
    elif name == "weighted":
        head = WeightedSum(encoder, 527)
    else:
        head = AttentiveSum(encoder, 527)
    inside = {id(p) for p in encoder.parameters()} - {id(p) for p in encoder.fc_norm.parameters()}
    assert sum(p.numel() for p in head.parameters() if id(p) not in inside) == count


def vector(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
