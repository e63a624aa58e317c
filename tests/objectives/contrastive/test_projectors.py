from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.predictive.bootstrap import byol_head


def kinds(module: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in module]


def test_the_default_is_audiomosaics() -> None:
    projector = ProjectorConfig().build(64)
    assert kinds(projector) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert [layer.bias for layer in projector if isinstance(layer, nn.Linear)] == [None, None]
    assert not projector[4].bias.requires_grad  # type: ignore[union-attr]
    assert float(projector[0].weight.detach().std()) == pytest.approx(0.02, rel=0.05)  # type: ignore[operator,union-attr]


def test_byols_head() -> None:
    head = byol_head().build(2048)
    assert kinds(head) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    # 2048 x 4096 + 4096, twice 4096 for the norm, 4096 x 256 + 256.
    assert sum(p.numel() for p in head.parameters()) == 9_449_728
    assert float(head[0].weight.detach().abs().max()) == pytest.approx(2048**-0.5, rel=1e-3)  # type: ignore[operator,union-attr]


def test_colas_head() -> None:
    config = ProjectorConfig(hidden=(), out=512, end="layer_tanh", bias=True, draw="uniform")
    head = config.build(1280)
    assert kinds(head) == ["Linear", "LayerNorm", "Tanh"]
    x = torch.randn(3, 1280, generator=torch.Generator().manual_seed(0))
    linear = head[0]
    expected = torch.tanh(F.layer_norm(F.linear(x, linear.weight, linear.bias), (512,)))  # type: ignore[arg-type]
    torch.testing.assert_close(head(x), expected)
    assert Config.from_json(config.to_json()) == config


def test_one_generator_one_head() -> None:
    made = [ProjectorConfig(draw="uniform").build(8, torch.Generator().manual_seed(s))[0].weight for s in (1, 1, 2)]
    assert torch.equal(made[0], made[1])  # type: ignore[arg-type]
    assert not torch.equal(made[0], made[2])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"norm": "bach"}, "did you mean 'batch'"),
        ({"end": "tanh"}, "did you mean 'layer_tanh'"),
        ({"draw": "x"}, "draw is 'x'"),
        ({"out": 0}, "out is 0"),
        ({"hidden": (4, 0)}, "hidden.1 is 0"),
    ],
)
def test_bad_settings(change: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        ProjectorConfig(**change)  # type: ignore[arg-type]
