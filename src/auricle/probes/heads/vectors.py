"""One vector a clip: pooling without parameters, and the base of probes that read such a vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs
from auricle.probes.heads.token_moments import StandardisedHead
from auricle.tokens.token_set import TokenBatch, TokenShape

Source = Literal["pooled", "cls", "mean", "mean_t_flat_f", "max", "std"]


def source_width(source: Source, shape: TokenShape) -> int:
    """Return the width of a source's vector.

    Raises:
        ConfigError: it is `cls`, and the encoder has no class token.
    """
    if source == "cls" and shape.cls == 0:
        raise ConfigError("source 'cls' needs a class token, and this encoder has none; use 'pooled' or 'mean'")
    widths = {"pooled": shape.pooled_width, "cls": shape.cls * shape.width, "mean_t_flat_f": shape.freq * shape.width}
    return widths.get(source, shape.width)


def pool(batch: TokenBatch, source: Source) -> Tensor:
    """Return the vectors of a source, `(B, width)`; padded tokens never count.

    `pooled` is the encoder's own clip vector; `cls` its class tokens in a row; `mean`, `max` and `std` (population)
    are over the valid tokens; `mean_t_flat_f` is the mean over time with the frequency rows in a row, `F * D` wide.

    Raises:
        ConfigError: it is `cls`, and the tokens come without class tokens.
    """
    if source == "pooled":
        return batch.pooled
    if source == "cls":
        if batch.cls is None:
            raise ConfigError("source 'cls' needs class tokens, and these tokens come without; use 'pooled' or 'mean'")
        return batch.cls.flatten(1)
    hidden = ~batch.valid.unsqueeze(-1)
    if source == "max":
        return batch.x.masked_fill(hidden, float("-inf")).amax(1)
    weight = batch.valid.unsqueeze(-1).to(batch.x.dtype)
    # Not weight * x: padded tokens are arbitrary, and 0 * NaN is NaN.
    x = batch.x.masked_fill(hidden, 0)
    mean = x.sum(1) / weight.sum(1)
    if source == "mean":
        return mean
    if source == "std":
        return (((x - mean.unsqueeze(1)).square() * weight).sum(1) / weight.sum(1)).sqrt()
    B, _, D = x.shape
    grid = (B, batch.grid.time, batch.grid.freq, -1)
    return (x.view(grid).sum(1) / weight.view(grid).sum(1).clamp(min=1)).reshape(B, batch.grid.freq * D)


class VectorHead(StandardisedHead):
    """Base of heads that read one vector a clip.

    Args:
        read: makes the vectors `(B, width)` of a batch.
        normalise: `train` standardises by the training clips, `none` does not.
        width: of the vectors.
        settings: S.
    """

    def __init__(
        self, read: Callable[[TokenBatch], Tensor], normalise: Literal["train", "none"], width: int, settings: int
    ) -> None:
        super().__init__(width, settings)
        self._read, self._normalise = read, normalise

    def read(self, batch: TokenBatch) -> Inputs:
        return Inputs(self._read(batch))

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        if self._normalise == "train":
            super().calibrate(inputs)

    def standardised(self, inputs: Inputs) -> Tensor:
        """Return the vectors that the linear layers read, `(S, B, D)`."""
        x = (inputs.x - self.mean[0]) * self.scale[0]
        return x.expand(self.settings, *x.shape)
