"""What every encoder promises, tested on each (see encoder_cases)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from encoder_cases import Case, batch, cases

from auricle.encoders.contract import Ability, Encoder

CASES = cases()


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def encoder(case: Case) -> Encoder:
    built = case.build()
    with torch.no_grad():  # beyond the tiny initial weights, so that what should differ does
        for p in built.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    return built.eval()


def promised(encoder: Encoder, ability: Ability) -> None:
    if ability not in encoder.abilities:
        pytest.skip(f"{type(encoder).__name__} does not promise {ability.name}")


def test_padding_never_changes_a_valid_token(case: Case, encoder: Encoder) -> None:
    promised(encoder, Ability.EXACT_PADDING)
    layers = range(encoder.depth + 1)
    encoder.double()
    lengths = [case.longest, *case.lengths]
    together = encoder(batch(encoder, lengths, case.longest, torch.float64), layers)
    pooled = encoder.pool(together)
    for b, length in enumerate(lengths):
        alone = encoder(batch(encoder, [length], length, torch.float64, seed=b), layers)
        count = alone.x.shape[1]
        valid = together.valid[b] if together.valid is not None else torch.ones(together.x.shape[1], dtype=torch.bool)
        assert valid[:count].all()
        assert not valid[count:].any()
        torch.testing.assert_close(together.x[b, :count], alone.x[0], rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(pooled[b], encoder.pool(alone)[0], rtol=1e-9, atol=1e-10)
        assert together.layers is not None
        assert alone.layers is not None
        for ours, theirs in zip(together.layers, alone.layers, strict=True):
            torch.testing.assert_close(ours.block[b, : theirs.block.shape[1]], theirs.block[0], rtol=1e-9, atol=1e-10)


def test_grid(case: Case, encoder: Encoder) -> None:
    for frames in (case.longest, *case.lengths):
        tokens, grid = encoder(batch(encoder, [frames], frames)), encoder.grid(frames)
        assert tokens.grid == grid
        assert tokens.x.shape == (1, grid.tokens, encoder.width)
        if case.grid is not None:
            assert (grid.time, grid.freq) == case.grid(frames)


def test_the_rate_is_that_of_long_inputs(case: Case, encoder: Encoder) -> None:
    near, far = (encoder.grid(int(seconds * encoder.input_rate)) for seconds in (100, 1100))
    assert (far.time - near.time) / 1000 == pytest.approx(near.rate, rel=1e-3)


def test_tokens_are_time_major(case: Case, encoder: Encoder) -> None:
    """Changing the input around one place of the grid changes that token before context, and no other."""
    if case.local is None:
        pytest.skip("its tokens before context see more than their own stretch")
    data = batch(encoder, [case.longest], case.longest)
    grid = encoder.tokenize(data).grid
    before = encoder.tokenize(data).x
    time, freq = case.local
    for t, f in ((0, 0), (grid.time - 1, 0), (min(3, grid.time - 1), grid.freq - 1)):
        x = data.x.clone()
        x[0, t * time : (t + 1) * time, f * freq : (f + 1) * freq] += torch.arange(freq) * 0.3
        changed = (encoder.tokenize(replace(data, x=x)).x - before).abs().amax(-1)[0] > 1e-5
        assert changed.nonzero().flatten().tolist() == [t * grid.freq + f]


def test_a_causal_token_never_depends_on_later_input(case: Case, encoder: Encoder) -> None:
    promised(encoder, Ability.CAUSAL)
    encoder.double()
    data = batch(encoder, [case.longest], case.longest, torch.float64)
    layers = range(encoder.depth + 1)
    before = encoder(data, layers)
    assert before.layers is not None
    for place in (case.longest // 3, case.longest // 2, case.longest - 1):
        x = data.x.clone()
        x[:, place:] += torch.randn(x[:, place:].shape, generator=torch.Generator().manual_seed(place)).double()
        after = encoder(replace(data, x=x), layers)
        assert after.layers is not None
        # Tokens whose last input comes before the change: as many as an input that ends there has.
        untouched = encoder.grid(place).time
        for old, new in zip(
            (before.x, *(la.block for la in before.layers)), (after.x, *(la.block for la in after.layers)), strict=True
        ):
            torch.testing.assert_close(new[:, :untouched], old[:, :untouched], rtol=0, atol=1e-12)
        assert not torch.allclose(before.x, after.x)


def test_layers_come_in_the_order_asked(case: Case, encoder: Encoder) -> None:
    data = batch(encoder, [case.longest] * 2, case.longest)
    wanted = [encoder.depth, 0]
    tokens = encoder(data, wanted)
    assert tokens.layers is not None
    assert len(tokens.layers) == 2
    for layer in tokens.layers:
        assert layer.block.shape[:2] == (2, layer.grid.tokens)
        assert layer.feedforward is None or layer.feedforward.shape == layer.block.shape
    assert encoder(data).layers is None


def test_evaluation_is_deterministic(case: Case, encoder: Encoder) -> None:
    data = batch(encoder, [case.longest, case.lengths[0]], case.longest)
    one, two = encoder(data), encoder(data)
    assert torch.equal(one.x, two.x)
    assert torch.equal(encoder.pool(one), encoder.pool(two))
    assert encoder.pool(one).shape == (2, encoder.pooled_width)


def test_equal_seeds_build_equal_weights(case: Case) -> None:
    one, two = case.build(), case.build()
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_dropping_is_kept(case: Case, encoder: Encoder) -> None:
    promised(encoder, Ability.DROP)
    tokens = encoder.tokenize(batch(encoder, [case.longest] * 2, case.longest))
    index = torch.stack(
        [torch.randperm(tokens.grid.tokens, generator=torch.Generator().manual_seed(i))[:5] for i in (0, 1)]
    )
    kept = encoder.contextualize(tokens.keep(index))
    assert kept.x.shape == (2, 5, encoder.width)
    assert kept.index is not None
    assert torch.equal(kept.index, index)
    # What was dropped had no say: its content doesn't matter.
    other = tokens.x + 1
    mixed = other.scatter(1, index[..., None].expand(-1, -1, encoder.width), kept_inputs(tokens.x, index))
    again = encoder.contextualize(replace(tokens, x=mixed).keep(index))
    torch.testing.assert_close(kept.x, again.x)
    # And order doesn't matter either.
    turned = encoder.contextualize(tokens.keep(index.flip(1)))
    torch.testing.assert_close(turned.x, kept.x.flip(1), rtol=1e-4, atol=1e-5)


def test_masking_is_kept(case: Case, encoder: Encoder) -> None:
    """A token can be replaced before context, and its neighbours notice; its position can be given back."""
    promised(encoder, Ability.MASK)
    tokens = encoder.tokenize(batch(encoder, [case.longest] * 2, case.longest))
    assert tokens.positions is None or tokens.positions.shape == (1, *tokens.x.shape[1:])
    masked = tokens.x.clone()
    masked[:, 2] = 0.5
    out, plain = encoder.contextualize(replace(tokens, x=masked)), encoder.contextualize(tokens)
    assert out.x.shape == plain.x.shape
    assert not torch.allclose(out.x[:, 3], plain.x[:, 3])


def test_a_class_token_is_there(case: Case, encoder: Encoder) -> None:
    promised(encoder, Ability.CLS)
    tokens = encoder(batch(encoder, [case.longest] * 2, case.longest))
    assert tokens.cls is not None
    assert tokens.cls.shape[::2] == (2, encoder.width)


def kept_inputs(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def test_dropping_the_padding_equals_masking_it(case: Case, encoder: Encoder) -> None:
    promised(encoder, Ability.DROP)
    promised(encoder, Ability.EXACT_PADDING)
    tokens = encoder.tokenize(batch(encoder, [case.lengths[0]], case.longest))
    assert tokens.valid is not None
    index = tokens.valid[0].nonzero().T
    kept, masked = encoder.contextualize(tokens.keep(index)), encoder.contextualize(tokens)
    torch.testing.assert_close(kept.x, masked.x[:, index[0]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.pool(kept), encoder.pool(masked), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("full", [True, False])
def test_every_parameter_gets_a_gradient(case: Case, encoder: Encoder, full: bool) -> None:
    parameters = dict(encoder.named_parameters())
    if not parameters:
        pytest.skip("no parameters")
    torch.manual_seed(0)
    encoder.train()
    lengths = [case.longest] * 4 if full else [case.longest, case.longest, case.lengths[0], case.lengths[1]]
    tokens = encoder(batch(encoder, lengths, case.longest))
    target = encoder.pool(tokens).pow(3).sum() + tokens.x.pow(3).mean()
    target.backward()
    without = {n for n, p in parameters.items() if p.grad is None or not bool(p.grad.abs().sum() > 0)}
    assert without <= case.unused
    assert all(p.grad.isfinite().all() for p in parameters.values() if p.grad is not None)


@pytest.mark.parametrize("full", [True, False])
def test_half_precision_stays_finite_and_close(case: Case, encoder: Encoder, full: bool) -> None:
    data = batch(encoder, [case.longest, case.longest if full else case.lengths[-1]], case.longest)
    with torch.no_grad():
        exact = encoder.pool(encoder(data))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = encoder.pool(encoder(data))
    assert pooled.isfinite().all()
    assert torch.nn.functional.cosine_similarity(pooled.float(), exact).min() > case.low_precision
    if pooled.requires_grad:
        pooled.float().square().sum().backward()
        for name, p in encoder.named_parameters():
            assert p.grad is None or (p.grad.dtype == torch.float32 and p.grad.isfinite().all()), name


def test_a_large_input_stays_finite(case: Case, encoder: Encoder) -> None:
    data = batch(encoder, [case.longest], case.longest)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder.pool(encoder(replace(data, x=data.x * 1e4))).isfinite().all()
