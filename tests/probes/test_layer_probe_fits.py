"""Probes of all layers on tokens whose classes are in one layer: learning, saving, and streaming."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.errors import ConfigError
from auricle.probes.contract import Labelled, ProbeConfig
from auricle.probes.fitted import FittedProbe
from auricle.probes.heads.cgp import Cgp, CgpConfig
from auricle.probes.heads.layer_attentive import LayerAttentive, LayerAttentiveConfig
from auricle.probes.heads.layer_gated import GatedLinear, GatedLinearConfig, WeightedSum, WeightedSumConfig
from auricle.probes.search import feed as feed_file
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.search import fit_probe
from auricle.tokens.token_set import TokenSet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(n: int, seed: int, *, ragged: bool = True) -> Labelled:
    """Three layers of which only the middle one depends on the class, in every token a little and in one strongly."""
    draw = generator(seed)
    x = torch.randn(3, n, 8, 16, generator=draw) * torch.tensor([1.0, 3.0, 0.5]).view(3, 1, 1, 1)
    labels = torch.arange(n) % 4
    signs = torch.randn(4, 16, generator=generator(9)).sign()
    x[1] += 1.5 * signs[labels].unsqueeze(1)
    x[1, torch.arange(n), torch.randint(0, 4, (n,), generator=draw)] += 8 * signs[labels]
    valid = torch.arange(8)[None] < torch.randint(4, 9, (n, 1), generator=draw) if ragged else None
    layers = [
        TokenSet.from_tensors(one, valid=valid, class_tokens=one.mean(1, keepdim=True), freq=2, layer=k, encoder="e")
        for k, one in enumerate(x)
    ]
    return Labelled(TokenSet.of_layers(layers), labels)


@pytest.mark.parametrize(
    "config",
    [CgpConfig(5), WeightedSumConfig(), GatedLinearConfig(), LayerAttentiveConfig()],
    ids=lambda c: type(c).__name__,
)
def test_probes_find_the_layer_of_the_classes(config: ProbeConfig, tmp_path: Path) -> None:
    train, valid, test = clips(160, 0), clips(60, 1), clips(100, 2)
    search = SearchConfig(epochs=25, batch=16, lr_count=3, weight_decay=(1e-5,))
    fitted = fit_probe(config, train, valid, classes=tuple("abcd"), search=search)
    assert (fitted.predict(test.tokens).argmax(1) == test.targets.numpy()).mean() > 0.8
    head = fitted.head
    if isinstance(head, LayerAttentive):
        shares = head.attention(head.read(test.tokens.batch(range(100)))).mean(1)
    else:
        assert isinstance(head, Cgp | WeightedSum | GatedLinear)
        shares = head.shares()
        used = fitted.trial.watched["layers"]
        assert used[-1] < used[0] <= 3.0001
    torch.testing.assert_close(shares.sum(-1), torch.ones(1))
    assert shares[0].argmax().item() == 1
    fitted.save(tmp_path)
    again = FittedProbe.load(tmp_path)
    np.testing.assert_array_equal(again.predict(test.tokens), fitted.predict(test.tokens))
    with pytest.raises(ConfigError, match="use its own encoder"):
        again.predict(test.tokens.stack[0])


@pytest.mark.parametrize("read_bytes", [2**24, 10_000])
def test_streamed_and_held_layers_are_the_same(read_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of ragged clips are held; maps of ragged clips are streamed; both read what the set holds."""
    monkeypatch.setattr(feed_file, "_READ_BYTES", read_bytes)
    ragged, even = clips(20, 0).tokens, clips(20, 0, ragged=False).tokens
    for tokens, config, held in (
        (ragged, WeightedSumConfig(), True),
        (ragged, CgpConfig(2), False),
        (even, CgpConfig(2), True),
    ):
        head = config.build(tokens.shape, 5, settings=1, generator=generator()).eval()
        feeds = [Feed(tokens, head), Feed(tokens, head, memory_mb=0)]
        assert [feed.held is not None for feed in feeds] == [held, False]
        for places in (np.arange(20), np.array([7, 3])):
            a, b = (feed.batch(places) for feed in feeds)
            torch.testing.assert_close(head(a), head(b), rtol=1e-6, atol=1e-6)
        whole = feeds[0].gather(head)
        assert torch.equal(whole, torch.cat([head(inputs) for inputs in feeds[0].all()], 1))
        torch.testing.assert_close(whole, head(feeds[1].batch(np.arange(20))), rtol=1e-6, atol=1e-6)
