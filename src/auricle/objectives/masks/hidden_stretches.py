"""Terms on stretches of the waveform that the view itself masked: MusicFM masks before the front end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from auricle.config import ShareAboveZero
from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.masks.token_mask import MaskedPositions
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss


@dataclass(frozen=True)
class HiddenStretchesConfig(TermConfig):
    """Another term, on the tokens whose time an operator masked in the waveform.

    The operator certifies the hops of the clip that it masked (`HopMaskConfig`); a token counts as masked if at least
    `share` of its time was. Source: MusicFM (arXiv 2311.03318) masks hops of 0.4 s, ten tokens of 25 Hz each; the share
    decides where hops do not end with tokens.

    Attributes:
        term: the prediction of those tokens.
        certificate: name of the masked hops in the view's certificate, `(B, hops)` bool.
        hop: name of the length of a hop there, `(B,)` seconds.
        share: of a token's time that makes it a masked one.
    """

    term: TermConfig = field(default_factory=lambda: CodeConfig(RandomProjectionTargetConfig()))
    certificate: str = "hidden"
    hop: str = "hop_seconds"
    share: ShareAboveZero = 0.5


class HiddenStretches(Term):
    """Gives a term the batch with the masked positions of the view's certificate."""

    def __init__(self, config: HiddenStretchesConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.term = config, config.term.build(encoder, width, generator)
        self.weight, self.layers = self.term.weight, self.term.layers

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        lost = self._lost(masked_batch)
        mask = MaskedPositions(masked_batch.mask.masked | lost, masked_batch.mask.predicted | lost)
        made: TermLoss = self.term(replace(masked_batch, mask=mask), decoded, shuffled)
        shares = {f"{name}/hidden_share": lambda: mask.masked.float().mean() for name in made.parts}
        return TermLoss(made.value, made.parts, {**made.watch, **shares})

    def _lost(self, masked_batch: MaskedBatch) -> Tensor:
        certificate, config = masked_batch.view.certificate, self.config
        missing = [name for name in (config.certificate, config.hop) if name not in certificate]
        if missing:
            raise ConfigError(
                f"the view's certificate has {', '.join(sorted(certificate)) or 'no entry'}, expected "
                f"{' and '.join(missing)} of masked stretches; add an operator that masks hops of the waveform "
                "(ViewPlanConfig(wave=(HopMaskConfig(),)))"
            )
        hops, seconds = certificate[config.certificate], certificate[config.hop]
        shares = masked_shares(hops, seconds, masked_batch.grid.time, masked_batch.grid.rate)
        lost = shares > config.share - 1e-6  # a share that is equal but for rounding counts
        lost = lost.repeat_interleave(masked_batch.grid.freq, 1).to(masked_batch.mask.masked.device)
        return masked_batch.per_row(lost if masked_batch.valid is None else lost & masked_batch.valid)


def masked_shares(masked: Tensor, hop: Tensor, steps: int, rate: float) -> Tensor:
    """Return the share `(B, steps)` of each time step that lies in masked hops.

    Args:
        masked: `(B, hops)` bool; hop i covers the time from i to i + 1 hops.
        hop: `(B,)` seconds; NaN for clips in which nothing was masked.
        steps: time steps of the token grid.
        rate: of them, in Hz; step t covers the time from t to t + 1 periods.
    """
    # Borders of steps, counted in hops; in double precision, because borders coincide where the rates divide.
    borders = torch.arange(steps + 1, device=masked.device).double() / rate
    places = borders / hop.to(masked.device).double().nan_to_num(1.0).unsqueeze(1)
    before = torch.nn.functional.pad(masked.double().cumsum(1), (1, 1))
    before[:, -1] = before[:, -2]
    places = places.clamp(max=masked.shape[1])
    whole = places.floor().long()
    below, above = before.gather(1, whole), before.gather(1, whole + 1)
    sums = below + (places - whole) * (above - below)
    width = 1.0 / rate / hop.to(masked.device).double().nan_to_num(1.0).unsqueeze(1)
    return sums.diff(dim=1) / width
