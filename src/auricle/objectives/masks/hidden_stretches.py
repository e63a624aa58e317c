"""Terms that look where the view itself hid stretches of the waveform: MusicFM masks before the front end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation
from auricle.objectives.masks.token_mask import MaskedPositions
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss


@dataclass(frozen=True)
class HiddenStretchesConfig(TermConfig):
    """Another term, on the tokens whose time an operator on the waveform has hidden.

    The operator certifies which hops of the clip it hid (`HopMaskConfig`); a token counts as hidden if at least `share`
    of the time it stands for was. Source: MusicFM (arXiv 2311.03318) hides hops of 0.4 s, ten tokens of 25 Hz each;
    where hops do not end with tokens, the share settles it.

    Attributes:
        term: what is predicted there.
        certificate: the name under which the view says which hops were hidden, `(B, hops)` bool.
        hop: the name under which it says how long a hop is, `(B,)` seconds.
        share: of a token's time, that makes it a hidden one.
    """

    term: TermConfig = field(default_factory=lambda: CodeConfig(RandomProjectionTargetConfig()))
    certificate: str = "hidden"
    hop: str = "hop_seconds"
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ConfigError(f"HiddenStretchesConfig: found share={self.share}, expected 0 < share <= 1")


class HiddenStretches(Term):
    """Shows a term the scene with the hidden tokens that the view's certificate tells."""

    def __init__(self, config: HiddenStretchesConfig, term: Term) -> None:
        super().__init__()
        self.config, self.term = config, term
        self.weight, self.layers, self.prepares = term.weight, term.layers, term.prepares

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        self.term.prepare(encoder, preparation)

    def after_step(self, encoder: Encoder, step: int) -> None:
        self.term.after_step(encoder, step)

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        lost = self._lost(masked_batch)
        hidden = MaskedPositions(masked_batch.hidden.masked | lost, masked_batch.hidden.predicted | lost)
        made: TermLoss = self.term(replace(masked_batch, hidden=hidden), decoded, shuffled)
        shares = {f"{name}/hidden_share": lambda: hidden.masked.float().mean() for name in made.parts}
        return TermLoss(made.value, made.parts, {**made.watch, **shares})

    def _lost(self, masked_batch: MaskedBatch) -> Tensor:
        told, config = masked_batch.view.certificate, self.config
        missing = [name for name in (config.certificate, config.hop) if name not in told]
        if missing:
            raise ConfigError(
                f"the view does not tell {' and '.join(missing)}, so the hidden stretches are not known (it tells "
                f"{', '.join(sorted(told)) or 'nothing'}); add an operator that hides hops of the waveform "
                "(ViewPlanConfig(wave=(HopMaskConfig(),)))"
            )
        shares = hidden_tokens(
            told[config.certificate], told[config.hop], masked_batch.grid.time, masked_batch.grid.rate
        )
        lost = shares > config.share - 1e-6  # a rounded share of exactly so much counts
        lost = lost.repeat_interleave(masked_batch.grid.freq, 1).to(masked_batch.hidden.masked.device)
        return masked_batch.per_row(lost if masked_batch.valid is None else lost & masked_batch.valid)


def hidden_tokens(hidden: Tensor, hop: Tensor, steps: int, rate: float) -> Tensor:
    """Return the share `(B, steps)` of each time step that lies in hidden hops.

    Args:
        hidden: `(B, hops)` bool; hop i covers the time from i to i + 1 hops.
        hop: `(B,)` seconds; NaN for clips in which nothing was hidden.
        steps: time steps of the token grid.
        rate: of them, in Hz; step t covers the time from t to t + 1 periods.
    """
    # Borders of steps, counted in hops; double precision, for a border is met exactly where the two rates divide.
    borders = torch.arange(steps + 1, device=hidden.device).double() / rate
    places = borders / hop.to(hidden.device).double().nan_to_num(1.0).unsqueeze(1)
    before = torch.nn.functional.pad(hidden.double().cumsum(1), (1, 1))
    before[:, -1] = before[:, -2]
    places = places.clamp(max=hidden.shape[1])
    whole = places.floor().long()
    below, above = before.gather(1, whole), before.gather(1, whole + 1)
    sums = below + (places - whole) * (above - below)
    width = 1.0 / rate / hop.to(hidden.device).double().nan_to_num(1.0).unsqueeze(1)
    return sums.diff(dim=1) / width
