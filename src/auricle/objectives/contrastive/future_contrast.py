"""Contrastive prediction of the future: which of several candidates follows the past (CPC, wav2vec).

Sources: CPC, arXiv 1807.03748, section 2.3 (equation 4), and its reimplementation, arXiv 2002.02848; wav2vec, arXiv
1904.05862, section 3.2 (equation 1: binary decisions); vq-wav2vec, arXiv 1910.05453 (quantised candidates).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Count, NonNegative
from auricle.encoders.contract import Ability, Encoder, Grid, Tokens
from auricle.encoders.parts.quantisers.gumbel import GumbelLayer, GumbelLayerConfig, Quantised
from auricle.encoders.parts.quantisers.kmeans import KMeansLayer, KMeansLayerConfig
from auricle.encoders.waveform_recurrent import VQ_WAV2VEC_QUANTISER
from auricle.errors import ConfigError
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, View
from auricle.objectives.contrastive.embedding_statistics import LazyWatch
from auricle.objectives.contrastive.future_scores import ContrastLoss, Scored, contrast_loss, contrast_watch
from auricle.objectives.contrastive.negatives import draw_negatives, numbered
from auricle.objectives.distributed import float32_or_wider, gather_rows, gather_wide, rand_rows, rank, widest
from auricle.objectives.targets.inner_codes import (
    contextualize_with_codes,
    cool,
    inner_code_losses,
    inner_code_watch,
    layer_noise,
)
from auricle.objectives.targets.learned_codes import TemperatureConfig, feature_width, features_before_context


@dataclass(frozen=True)
class FutureContrastConfig(ObjectiveConfig):
    """Settings of contrastive prediction; the defaults are CPC's, as reimplemented.

    Attributes:
        steps: K, number of steps ahead that are predicted, each by its own map.
        first: distance of the nearest of them; wav2vec: 3, the first that shares no sample with the past (ceil of the
            receptive field over the hop).
        source: of the candidates: `features` before context (`Stem.x`, or, without a stem, the tokens without their
            positions, normalised over channels), or their `codes`: those of the quantiser inside the encoder, which its
            context reads as well (vq-wav2vec), or, for an encoder without one, those of `quantiser`.
        quantiser: for encoders without one.
        negatives: n, candidates beside the true one, drawn for every token.
        pool: of negatives: `clip`: other steps of the same clip; `batch`: any other steps of the batch; `others`: other
            clips of the batch; `column`: clips of the batch with the same value in `column`. With `train.micro_batch`
            the batch is that of a rank's micro-batch.
        column: of the corpus, for `pool` column, such as the speaker.
        loss: `nce`: one of n + 1; `binary`: yes or no for each of them, summed (wav2vec).
        negative_weight: of a wrong candidate in `binary`; 1 as published (1/n would balance the two).
        scale: scores are the `mean` over channels of the product (CPC's code), or the `sum` (wav2vec).
        bias: one learned vector added to the predictions of all steps (wav2vec's transposed convolution).
        anchors: `common`: predict only from steps from which all K steps lie inside the clip (CPC's code); `all`: from
            all steps from which the predicted one does.
        distinct: exclude negatives with the same codes as the true candidate. Published neither by CPC nor by wav2vec,
            and safe only with `diversity`: without it, equal candidates everywhere have no loss.
        temperature: of Gumbel quantisers by the step; None: that of their settings.
        diversity: weight of the quantisers' diversity loss.
    """

    steps: Count = 12
    first: Count = 1
    source: Literal["features", "codes"] = "features"
    quantiser: GumbelLayerConfig | KMeansLayerConfig = VQ_WAV2VEC_QUANTISER
    negatives: Count = 128
    pool: Literal["clip", "batch", "others", "column"] = "batch"
    column: str = "speaker"
    loss: ContrastLoss = "nce"
    negative_weight: NonNegative = 1.0
    scale: Literal["mean", "sum"] = "mean"
    bias: bool = False
    anchors: Literal["common", "all"] = "common"
    distinct: bool = False
    temperature: TemperatureConfig | None = None
    diversity: NonNegative = 0.0

    def __post_init__(self) -> None:
        if self.distinct and (self.source != "codes" or not self.diversity):
            raise ConfigError(
                "found distinct without a diversity loss on codes: where equal candidates are excluded, an encoder "
                "that makes all of them equal has nothing to lose; set source to codes and diversity above 0, or "
                "distinct to False"
            )
        if self.pool == "column" and not self.column:
            raise ConfigError("pool column needs the name of a column of the corpus; set column, for example speaker")


class StepMaps(nn.Module):
    """Maps from a context to the following steps: one linear map for each of K steps."""

    def __init__(self, width: int, size: int, steps: int, bias: bool, generator: torch.Generator) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(steps, size, width).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the predictions `(B, N, K, C)` from contexts `(B, N, D)`."""
        y = F.linear(x, self.weight.flatten(0, 1)).unflatten(-1, self.weight.shape[:2])
        return y if self.bias is None else y + self.bias


class FutureContrast(Objective):
    """Classifies candidates into the one that follows a context and those that do not, for K steps ahead.

    Features and predictions are compared in float32 (or wider). Gradients flow into the candidates, true and wrong: the
    stem learns from them. For the monitored scalars see `contrast_watch`; `future/pool_clip` is 1 where all negatives
    are of the same clip, `codes/perplexity` that of the quantisers.
    """

    needs = frozenset({Ability.CAUSAL})

    def __init__(self, config: FutureContrastConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.check(encoder)
        size = feature_width(encoder)
        self.quantisers = nn.ModuleList()
        if config.source == "codes":
            inside = code_width(encoder)
            if inside is None:
                self.quantisers.append(config.quantiser.build(size, generator))
            size = inside or int(self.quantisers[0].width)  # type: ignore[arg-type]  # of either layer
        self.maps = StepMaps(encoder.width, size, config.steps, config.bias, generator)
        self.columns = (config.column,) if config.pool == "column" else ()
        self.fewest = 2 if config.pool == "others" else 1
        self._groups: Tensor | None = None

    def take_columns(self, columns: Mapping[str, Sequence[object]]) -> None:
        for name in self.columns:
            values = list(columns[name])
            empty = sum(value is None or str(value).strip() == "" for value in values)
            if empty:
                raise ConfigError(
                    f"the column {name!r} has no value for {empty} of {len(values)} clips, and negatives are drawn "
                    "from clips with equal values; fill it, exclude those clips, or set objective.pool to batch"
                )
            self._groups = numbered(values)

    def predict(self, context: Tokens) -> Tensor:
        """Return the prediction of each position, by step: `(B, N, K, C)`.

        `[:, i, k]` comes from the context `first + k` time steps before position i; zeros where there is none.
        """
        y = self.maps(context.x)
        shifts = self.shifts(context.grid)
        return torch.stack([F.pad(y[:, :-shift, k], (0, 0, shift, 0)) for k, shift in enumerate(shifts)], 2)

    def shifts(self, grid: Grid) -> tuple[int, ...]:
        """Return the number of tokens between a context and each of the K steps that it predicts."""
        return tuple((self.config.first + number) * grid.freq for number in range(self.config.steps))

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        config, view = self.config, views[0]
        tokens = encoder.tokenize(view.features)
        self._check_length(tokens.grid)
        wide = widest(tokens.grid.tokens, tokens.x.device)
        out, quantised = contextualize_with_codes(encoder, tokens, generator, config.temperature, self.step, wide)
        quantised = (*quantised, *self._quantised(tokens, generator, wide))
        prediction = self.predict(out)
        with torch.autocast(prediction.device.type, enabled=False):
            scored = self._scored(view, tokens, prediction, quantised, generator, wide)
            total = value = contrast_loss(scored, config.loss, config.negative_weight)
            parts = {"future": value.detach()}
            for name, (weight, more) in inner_code_losses(quantised, config.diversity).items():
                total, parts[name] = total + weight * more, more.detach()
        made = contrast_watch(scored, config.loss, config.negative_weight, out.x.detach())
        # Which clip it is helps only where other clips are candidates (see `CollapseAlarm`).
        made["future/pool_clip"] = lambda: total.new_tensor(float(config.pool == "clip"))
        return Loss(total, parts, LazyWatch(made | inner_code_watch(quantised)))

    def _quantised(self, tokens: Tokens, generator: torch.Generator, wide: int) -> list[Quantised]:
        """Quantise the features, where no quantiser inside the encoder does."""
        made = []
        for layer in self.quantisers:
            noise = None
            if isinstance(layer, GumbelLayer):
                cool(layer, self.config.temperature, self.step)
                noise = layer_noise(layer, tokens.x.shape[0], tokens.x.shape[1], generator, wide)
            made.append(layer(features_before_context(tokens), tokens.valid, noise))
        return made

    def _check_length(self, grid: Grid) -> None:
        last = self.config.first + self.config.steps - 1
        if grid.time <= last:
            raise ConfigError(
                f"found {grid.time} time steps at {grid.rate:g} per second, and the farthest predicted one lies {last} "
                f"ahead; take windows of at least {(last + 3) / grid.rate:.2f} s (--window.seconds), or fewer "
                "--objective.steps"
            )

    def _scored(
        self,
        view: View,
        tokens: Tokens,
        prediction: Tensor,
        quantised: tuple[Quantised, ...],
        generator: torch.Generator,
        wide: int,
    ) -> Scored:
        """Score the true candidate and the negatives of every position, by step."""
        config, (B, N) = self.config, tokens.x.shape[:2]
        codes = quantised[-1].codes if config.source == "codes" else None
        z = quantised[-1].x if codes is not None else features_before_context(tokens)
        z = float32_or_wider(z)
        valid = torch.ones(B, N, dtype=torch.bool, device=z.device) if tokens.valid is None else tokens.valid
        inside = config.pool == "clip"
        pool = z if inside else gather_wide(z, wide)
        known = valid.cpu() if inside else gather_wide(valid, wide).cpu()
        width, first = pool.shape[1], 0 if inside else rank() * B
        uniform = rand_rows(generator, B, wide, config.negatives)[:, :width]
        drawn = draw_negatives(known, self._group(view, len(known)), first, uniform, config.pool == "others")
        if not drawn.possible:
            larger = "longer windows (--window.seconds)" if inside else "larger batches (--loader.batch)"
            raise ConfigError(
                f"there is nothing to draw negatives from: pool {config.pool} in a batch of {len(known)} clips; take "
                f"{larger}, or another --objective.pool"
            )
        index = drawn.index[:, :N].to(z.device)
        negatives = F.embedding(index, pool.flatten(0, 1))
        equal = torch.zeros(negatives.shape[:3], dtype=torch.bool, device=z.device)
        if config.distinct and codes is not None:
            every = codes if inside else gather_wide(codes, wide)
            equal = (every.flatten(0, 1)[index] == codes.unsqueeze(2)).all(-1)
        candidates = torch.cat([z.unsqueeze(2), negatives], 2)
        enough = drawn.enough[:, :N].to(z.device)
        reached = valid & enough
        if self.shuffled:
            candidates, equal, reached = candidates.roll(1, 0), equal.roll(1, 0), reached.roll(1, 0)
        prediction = prediction.to(candidates.dtype)
        scores = torch.einsum("bnkc,bnmc->bnkm", prediction, candidates)
        scores = scores / z.shape[-1] if config.scale == "mean" else scores
        return Scored(scores, self._chosen(valid, reached, tokens.grid), equal, candidates, self.shifts(tokens.grid))

    def _chosen(self, valid: Tensor, reached: Tensor, grid: Grid) -> Tensor:
        """Return `(B, N, K)`: positions that are predicted, by step."""
        shifts, anchor = self.shifts(grid), valid
        if self.config.anchors == "common":
            anchor = valid & F.pad(valid[:, shifts[-1] :], (0, shifts[-1]))
        return torch.stack([F.pad(anchor[:, :-shift], (shift, 0)) & reached for shift in shifts], 2)

    def _group(self, view: View, clips: int) -> Tensor:
        if self.config.pool in ("clip", "others"):
            return torch.arange(clips)
        if self.config.pool == "batch":
            return torch.zeros(clips, dtype=torch.int64)
        if self._groups is None:
            raise ConfigError(
                f"negatives are drawn by the column {self.config.column!r}, whose values are not known; call "
                "take_columns before the first step, or set pool to batch"
            )
        return self._groups[gather_rows(view.clip).cpu()]


def code_width(encoder: Encoder) -> int | None:
    """Return the width of the codes of the encoder's last quantiser, or None where it has none."""
    widths = [module.width for module in encoder.modules() if isinstance(module, GumbelLayer | KMeansLayer)]
    return widths[-1] if widths else None
