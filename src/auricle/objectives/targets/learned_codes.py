"""Codes that are learned along with the encoder.

A Gumbel quantiser turns features of the batch into codes once; all uses of those codes (a contrast, a prediction of
their numbers, a reconstruction from them, a diversity loss) share that quantiser and one draw of its noise. wav2vec
2.0, w2v-BERT and DeCoAR 2.0 differ in the quantised features and in the uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Config, Positive, ShareAboveZero, ShareBelowOne
from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.parts.quantisers.gumbel import GumbelQuantiser, Quantised, Start, gumbel_noise
from auricle.errors import ConfigError
from auricle.objectives.contract import Part
from auricle.objectives.distributed import rand_rows
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.terms import TokensWhere, chosen_tokens, read_source, source_layers
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss, Weight, shuffle_clips


def features_before_context(tokens: Tokens) -> Tensor:
    """Return `(B, N, C)`: the tokens of the whole clip before any of them sees another.

    The stem's normalised output where the encoder has one, else the tokens without their positions (a code must not
    depend on its position), each normalised over its channels (a quantiser's first choices depend on the scale).
    """
    if tokens.stem is not None:
        return tokens.stem.x
    x = tokens.x if tokens.positions is None else tokens.x - tokens.positions
    return F.layer_norm(x, x.shape[-1:])


@torch.no_grad()
def feature_width(encoder: Encoder) -> int:
    """Return C of `features_before_context`, found by tokenizing a second of silence."""
    modes = [(module, module.training) for module in encoder.modules()]
    like = next(iter(encoder.parameters()), torch.zeros(()))
    frames = max(encoder.least_frames, round(encoder.input_rate))
    frames = frames if encoder.max_frames is None else min(frames, encoder.max_frames)
    shape = (1, frames) if encoder.bands is None else (1, frames, encoder.bands or 64)
    silence = Features(like.new_zeros(shape), torch.tensor([frames], device=like.device), encoder.input_rate)
    try:
        return features_before_context(encoder.eval().tokenize(silence)).shape[-1]
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Places:
    """The chosen tokens of each row, side by side. C is the largest number of them in a row.

    Attributes:
        index: `(R, C)` positions on the grid, rising; where a row has fewer, positions that were not chosen follow.
        real: `(R, C)` bool, False for those.
        grid: N, tokens on the full grid.
    """

    index: Tensor
    real: Tensor
    grid: int

    @classmethod
    def of(cls, chosen: Tensor) -> Places:
        """Return the places where `chosen (R, N)` is True; at least one column, even where nothing is chosen."""
        count = chosen.sum(1)
        most = max(1, int(count.max()))
        # Stable: False (chosen) before True, each in its order.
        index = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
        return cls(index, torch.arange(most, device=chosen.device) < count.unsqueeze(1), chosen.shape[1])

    def take(self, x: Tensor) -> Tensor:
        """Return `x (R, N, D)` at the places: `(R, C, D)`."""
        return x.gather(1, self.index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

    def put(self, x: Tensor) -> Tensor:
        """Return `x (R, C, D)` on the grid: `(R, N, D)`, zeros (and values that are not real) elsewhere."""
        full = x.new_zeros(x.shape[0], self.grid, x.shape[-1])
        return full.scatter(1, self.index.unsqueeze(-1).expand_as(x), x)


@dataclass(frozen=True)
class TemperatureConfig(Config):
    """Schedule of a Gumbel-softmax's temperature: max(end, first * factor^step).

    Source: wav2vec 2.0 (arXiv 2006.11477, section 4.2): 2 to 0.5 (base) or 0.1 (large), factor 0.999995 per update.

    Attributes:
        first: temperature of the first step.
        end: lowest temperature.
        factor: of each step.
    """

    first: Positive = 2.0
    end: Positive = 0.5
    factor: ShareAboveZero = 0.999995

    def __post_init__(self) -> None:
        if self.end > self.first:
            raise ConfigError(f"found a temperature from {self.first} to {self.end}; expected end <= first")

    def at(self, step: int) -> float:
        """Return the temperature after a number of steps."""
        return max(self.end, self.first * self.factor**step)


@dataclass(frozen=True)
class CodeReading:
    """Input of the uses of learned codes.

    Attributes:
        masked_batch: the batch.
        decoded: the decoder's output `(R, N, W)`.
        places: the tokens that are compared.
        quantised: their codes; `(R, C, ...)`.
        shuffled: whether the targets are another clip's.
    """

    masked_batch: MaskedBatch
    decoded: Tokens
    places: Places
    quantised: Quantised
    shuffled: bool

    def context(self, source: str) -> Tensor:
        """Return the output of the decoder, the encoder or a hidden layer at the places: `(R, C, W)`."""
        return self.places.take(full_grid(read_source(source, self.masked_batch, self.decoded)).x)

    def draw(self, numbers: int) -> Tensor:
        """Return uniform numbers `(R, C, numbers)` for the places, drawn for all ranks."""
        rows, device = self.places.index.shape[0], self.places.index.device
        return self.places.take(rand_rows(self.masked_batch.generator, rows, self.places.grid, numbers).to(device))


@dataclass(frozen=True)
class CodeUseConfig(Config, ABC):
    """Base of the settings of uses of learned codes. Every use has a `weight` and a `name`."""

    predicts: ClassVar[bool] = False
    """Whether the codes are predicted, so that they must not come from the prediction itself."""

    def build(self, encoder: Encoder, width: int, quantiser: GumbelQuantiser, generator: torch.Generator) -> CodeUse:
        """Build the use.

        Args:
            encoder: the encoder that is trained.
            width: W of the decoder's output.
            quantiser: of the codes; not to be kept, or its weights would be counted twice.
            generator: draws the weights.

        Raises:
            ConfigError: a target does not fit.
        """
        return self.built_class()(self, encoder, width, quantiser, generator)


class CodeUse(Part, ABC):
    """Base of uses of learned codes.

    Attributes:
        weight: of its value in the term.
        layers: hidden layers that it reads.
    """

    weight: float
    layers: tuple[int, ...] = ()

    @abstractmethod
    def forward(self, reading: CodeReading) -> TermLoss:
        """Return the loss of the use."""


@dataclass(frozen=True)
class LearnedCodesConfig(TermConfig):
    """Settings of a Gumbel product quantiser and its uses. The defaults are wav2vec 2.0's (base).

    Attributes:
        uses: of the codes.
        source: features that are quantised: `tokens`: those before context of the whole clip, nothing masked
            (wav2vec 2.0, w2v-BERT); or `decoder`, `encoder`, `layer 9`: predictions at masked positions (DeCoAR 2.0).
        where: tokens that are quantised and compared: `predicted`, `masked`, `visible` or `all`.
        groups: G, codes of a token.
        entries: V, codebook entries a group.
        width: D of the codes together.
        shared: all groups choose from one codebook.
        depth: layers from input to logits.
        start: how fresh weights are drawn, see `GumbelQuantiser`.
        temperature: of the Gumbel-softmax.
        dropout: of the quantised features.
        weight: of all uses together.
        name: prefix of the monitored scalars.
    """

    uses: tuple[CodeUseConfig, ...]
    source: str = "tokens"
    where: TokensWhere = "predicted"
    groups: int = 2
    entries: int = 320
    width: int = 256
    shared: bool = False
    depth: int = 1
    start: Start = "normal"
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    dropout: ShareBelowOne = 0.1
    weight: Weight = 1.0
    name: str = "quantiser"

    def __post_init__(self) -> None:
        if not self.uses:
            raise ConfigError("learned codes have no use; name at least one, such as QuantisedContrastConfig")
        if self.source != "tokens":
            source_layers(self.source)
            trivial = [type(use).__name__ for use in self.uses if use.predicts]
            if trivial:
                raise ConfigError(
                    f"{' and '.join(trivial)} would predict codes of {self.source} from {self.source} itself; set the "
                    "source of learned codes to tokens"
                )


class LearnedCodes(Term):
    """One quantiser, its uses, and their weighted sum. In evaluation the likeliest code is chosen, without noise."""

    def __init__(self, config: LearnedCodesConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        if config.source == "tokens":
            own: tuple[int, ...] = ()
            wide = feature_width(encoder)
        else:
            own = source_layers(config.source)
            wide = width if config.source == "decoder" else encoder.width
        self.quantiser = GumbelQuantiser(
            wide, config.groups, config.entries, config.width, config.shared, config.depth, config.start, generator
        )
        self.uses = nn.ModuleList(use.build(encoder, width, self.quantiser, generator) for use in config.uses)
        self.layers = tuple(sorted({*own, *(layer for use in self._uses for layer in use.layers)}))
        encoder.check_layers(self.layers)

    @property
    def _uses(self) -> list[CodeUse]:
        return list(self.uses)  # type: ignore[arg-type]  # a ModuleList of CodeUses

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        config = self.config
        places = Places.of(chosen_tokens(config.where, masked_batch))
        if config.source == "tokens":
            every = features_before_context(masked_batch.tokens)
            x = places.take(masked_batch.per_row(shuffle_clips(every) if shuffled else every))
        else:
            x = places.take(full_grid(read_source(config.source, masked_batch, decoded)).x)
        temperature = config.temperature.at(masked_batch.step)
        quantised = self._quantise(x, places, masked_batch, temperature)
        reading = CodeReading(masked_batch, decoded, places, quantised, shuffled)
        value = torch.zeros((), device=x.device)
        parts: dict[str, Tensor] = {}
        size = config.groups * config.entries
        watch: dict[str, Callable[[], Tensor]] = {
            f"{config.name}/perplexity": quantised.code_perplexity.mean,
            f"{config.name}/used_share": lambda: quantised.code_perplexity.sum() / size,
            f"{config.name}/temperature": lambda: x.new_tensor(temperature, dtype=torch.float32),
        }
        for use in self._uses:
            made = use(reading)
            value = value + use.weight * made.value
            parts |= made.parts
            watch |= made.watch
        return TermLoss(value, parts, watch)

    def _quantise(self, x: Tensor, places: Places, masked_batch: MaskedBatch, temperature: float) -> Quantised:
        config, noise = self.config, None
        if self.training:
            # Drawn for the whole grid, because ranks may have chosen different numbers of places.
            rows, N, generator = x.shape[0], places.grid, masked_batch.generator
            if config.dropout:
                kept = rand_rows(generator, rows, N, x.shape[-1]) >= config.dropout
                x = x * places.take(kept.to(x.device)) / (1 - config.dropout)
            uniform = rand_rows(generator, rows, N, config.groups * config.entries).to(x.device)
            noise = gumbel_noise(places.take(uniform)).unflatten(-1, (config.groups, config.entries))
        made: Quantised = self.quantiser(x, temperature, noise, places.real)
        return made
