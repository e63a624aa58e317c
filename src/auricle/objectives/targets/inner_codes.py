"""Encoders that quantise inside (VQ-APC, vq-wav2vec): their context, their codes, and the losses of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.parts.quantisers.gumbel import GumbelLayer, Quantised, QuantisingEncoder, gumbel_noise, perplexity
from auricle.objectives.distributed import gather_rows, global_mean, rand_rows
from auricle.objectives.targets.learned_codes import TemperatureConfig


def contextualize_with_codes(
    encoder: Encoder,
    tokens: Tokens,
    generator: torch.Generator,
    temperature: TemperatureConfig | None,
    step: int,
    rows_wide: int | None = None,
) -> tuple[Tokens, tuple[Quantised, ...]]:
    """Contextualize, the quantisers' noise drawn for all ranks together; `()` where the encoder has no quantiser.

    Args:
        encoder: any.
        tokens: from its `tokenize`.
        generator: in the same state on every rank.
        temperature: of Gumbel-softmax quantisers by the step; None: that of their settings.
        step: steps that are done.
        rows_wide: tokens of a row that noise is drawn for, at least the row's own; None: the row's own.
    """
    if not isinstance(encoder, QuantisingEncoder):
        return encoder.contextualize(tokens), ()
    noise: list[Tensor] = []
    for module in encoder.modules():
        if isinstance(module, GumbelLayer):
            cool(module, temperature, step)
            if module.training:
                noise.append(layer_noise(module, tokens.x.shape[0], tokens.x.shape[1], generator, rows_wide))
    return encoder.contextualize_quantised(tokens, noise=noise or None)


def cool(layer: GumbelLayer, temperature: TemperatureConfig | None, step: int) -> None:
    """Set a layer's temperature by the step; None changes nothing."""
    if temperature is not None:
        layer.temperature = temperature.at(step)


def layer_noise(
    layer: GumbelLayer, rows: int, places: int, generator: torch.Generator, rows_wide: int | None = None
) -> Tensor:
    """Return Gumbel noise `(rows, places, G, V)` for a layer, drawn for all ranks together."""
    shape = (rows_wide or places, layer.config.groups, layer.config.entries)
    drawn = rand_rows(generator, rows, *shape)[:, :places]
    like = next(layer.parameters())
    return gumbel_noise(drawn.to(like.device, like.dtype))


def diversity_loss(quantised: Quantised) -> Tensor:
    """Return (G V - sum of perplexities) / (G V): 0 where all entries are used equally, almost 1 for a single one.

    A group's perplexity is exp of the entropy of its softmax (without noise), averaged over the valid tokens of all
    ranks (wav2vec 2.0, arXiv 2006.11477, equation 4, in its released form). Without a softmax (k-means) there is no
    gradient.
    """
    with torch.autocast(quantised.x.device.type, enabled=False):
        # The softmax of a rank counts by its tokens, so that ranks together are one batch.
        count = gather_rows(quantised.count.reshape(1))
        share = gather_rows((quantised.probabilities * quantised.count).unsqueeze(0)).sum(0)
        used = perplexity(share / count.sum().clamp(min=1))
        return 1 - used.sum() / quantised.probabilities.numel()


def inner_code_losses(quantised: Sequence[Quantised], diversity: float) -> dict[str, tuple[float, Tensor]]:
    """Return the losses of quantisers: name -> (weight, scalar).

    Args:
        quantised: their outputs.
        diversity: weight of `diversity_loss`, averaged over the quantisers; 0: without it.
    """
    found: dict[str, tuple[float, Tensor]] = {}
    asked = [global_mean(q.penalty * q.count, q.count) for q in quantised if q.penalty is not None]
    if asked:
        found["quantiser"] = (1.0, torch.stack(asked).mean())
    if quantised and diversity:
        found["diversity"] = (diversity, torch.stack([diversity_loss(q) for q in quantised]).mean())
    return found


def inner_code_watch(quantised: Sequence[Quantised]) -> dict[str, Callable[[], Tensor]]:
    """Return a maker of `codes/perplexity` (`codes1/perplexity` ... of several): of the chosen codes, over groups."""

    def maker(one: Quantised) -> Callable[[], Tensor]:
        return lambda: one.code_perplexity.detach().mean()

    tags = ["codes"] if len(quantised) == 1 else [f"codes{number}" for number in range(1, len(quantised) + 1)]
    return {f"{tag}/perplexity": maker(one) for tag, one in zip(tags, quantised, strict=True)}
