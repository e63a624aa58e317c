"""Distillation of the previous stage into a tokenizer: BEATs' acoustic tokenizer of the second and later iterations.

Source: BEATs (arXiv 2212.09058, section 3.2). The tokenizer encodes the whole clip and quantises every token; from the
codes alone a small transformer, the estimator, regresses the last layer of the previous model. The codes then keep the
information in that layer, instead of what a random projection happens to separate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import NonNegative
from auricle.encoders.coding_encoder import CodingEncoder
from auricle.encoders.contract import Ability, Encoder, Tokens
from auricle.encoders.parts.first_weights import initialise_linear
from auricle.encoders.parts.quantisers.codebook import Coded
from auricle.objectives.baselines import regression_watch
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, Preparation, View, clean_audio
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import float32_or_wider, gather_rows, mean_where, rand_rows, total_over_ranks
from auricle.objectives.predictive.decoder import DecoderConfig, TransformerDecoderConfig
from auricle.objectives.targets.kmeans import StreamingKMeans
from auricle.objectives.targets.previous_codes import check_grid, tokenizer_of
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.target import shuffle_clips

# Tokens for each code that the first codes are fitted on.
_TOKENS_PER_CODE = 30
# Of a dimension of the previous model's output, so that one that is constant stays so.
_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True)
class TokenizerDistillationConfig(ObjectiveConfig):
    """Settings of the tokenizer's training.

    Attributes:
        previous: the model that is regressed; the previous stage must have these settings.
        estimator: between the codes and the regression; its input are the codes only.
        commitment: weight of the squared distance between a quantised vector and its code (beta).
        commitment_dims: whether the distance is the `mean` over dimensions (as released) or their `sum`.
        standardise: regress each dimension of the previous model's output with the mean and deviation that it has over
            the corpus taken out, measured before the first step: what all tokens share says nothing about any of them.
    """

    previous: PreviousEncoderConfig
    estimator: DecoderConfig = field(default_factory=lambda: TransformerDecoderConfig(width=768, depth=3, heads=12))
    commitment: NonNegative = 1.0
    commitment_dims: Literal["mean", "sum"] = "sum"
    standardise: bool = False


class TokenizerDistillation(Objective):
    """1 - cosine of the estimate with the previous model's last layer, and the commitment; means over valid tokens.

    The codebook is the encoder's own: its codes are fitted by k-means in `prepare`, and follow the vectors assigned to
    them after each optimiser step, by the sums over all ranks and all micro-batches of the step.
    """

    needs = frozenset({Ability.CODES})
    prepares = True

    sums: Tensor
    counts: Tensor
    # Of each dimension of the previous model's output: saved, so that a resumed run needs no second measurement.
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: TokenizerDistillationConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.check(encoder)
        tokenizer = tokenizer_of(encoder)
        self.previous = config.previous.build()
        dim = tokenizer.config.codebook.dim
        self.lift = nn.Linear(dim, encoder.width)
        initialise_linear(self.lift, generator)
        self.estimator = config.estimator.build(encoder, generator)
        for name, parameter in self.estimator.named_parameters():
            # Decoders have a vector for dropped tokens; here no token is dropped.
            if name.rpartition(".")[2] == "mask_token":
                parameter.requires_grad_(False)
        self.head = nn.Linear(self.estimator.width, self.previous.width)
        initialise_linear(self.head, generator)
        self.register_buffer("sums", torch.zeros(tokenizer.entries, dim), persistent=False)
        self.register_buffer("counts", torch.zeros(tokenizer.entries), persistent=False)
        if config.standardise:
            self.register_buffer("mean", torch.zeros(self.previous.width))
            self.register_buffer("deviation", torch.ones(self.previous.width))
        self._candidates: Tensor | None = None

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        self.previous.adopt(preparation.previous, "TokenizerDistillationConfig")
        tokenizer = tokenizer_of(encoder)
        device = tokenizer.codebook.book.device
        means = StreamingKMeans(tokenizer.entries, preparation.generator, batch=_TOKENS_PER_CODE * tokenizer.entries)
        wanted, found, training = _TOKENS_PER_CODE * tokenizer.entries, 0, encoder.training
        outputs = torch.zeros(2, self.previous.width, dtype=torch.float64)
        encoder.eval()
        with torch.no_grad():
            for view in preparation.views(preparation.clips):
                tokens = encoder(view.features.to(device))
                unit = tokenizer.codebook.project(tokens.x)
                unit = unit.flatten(0, 1) if tokens.valid is None else unit[tokens.valid]
                means.partial_fit(unit)
                found += len(unit)
                if self.config.standardise:
                    known = self.previous(clean_audio(view, "TokenizerDistillationConfig"))
                    x = (known.x.flatten(0, 1) if known.valid is None else known.x[known.valid]).double()
                    outputs += torch.stack([x.sum(0), x.square().sum(0)]).cpu()
                if found >= wanted:
                    break
        encoder.train(training)
        report = means.finish()
        tokenizer.codebook.start(means.centres)
        if self.config.standardise:
            mean, square = outputs / found
            self.mean.copy_(mean)
            self.deviation.copy_((square - mean.square()).clamp(min=_LEAST_VARIANCE).sqrt())
        preparation.note(
            f"tokenizer: {tokenizer.entries} codes from {found} tokens, perplexity {report.perplexity:.0f}"
        )

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        view, tokenizer = views[0], tokenizer_of(encoder)
        tokens: Tokens = encoder(view.features)
        coded = tokenizer.quantise(tokens)
        whole = torch.ones(coded.codes.shape, dtype=torch.bool, device=coded.codes.device)
        valid = whole if tokens.valid is None else tokens.valid
        known: Tokens = self.previous(clean_audio(view, "TokenizerDistillationConfig"))
        check_grid(known.grid, tokens.grid, "the previous model")
        target = float32_or_wider(known.x)
        if self.config.standardise:
            target = (target - self.mean) / self.deviation
        if self.shuffled:
            target = shuffle_clips(target)
        codes = Tokens(self.lift(coded.x), tokens.grid, valid=tokens.valid)
        estimate = self.head(self.estimator(codes).x)
        with torch.autocast(target.device.type, enabled=False):
            estimate = estimate.to(target.dtype)
            distance = (coded.unit - tokenizer.codebook.book[coded.codes]).square()
            distance = distance.mean(-1) if self.config.commitment_dims == "mean" else distance.sum(-1)
            distil, commit = mean_where(unlikeness(estimate, target), valid), mean_where(distance, valid)
        self._remember(coded, valid, generator)
        return Loss(
            distil + self.config.commitment * commit,
            {"distil": distil.detach(), "commitment": commit.detach()},
            self._watch(tokenizer, tokens.x.detach(), estimate.detach(), target, coded.codes, valid),
        )

    @torch.no_grad()
    def _remember(self, coded: Coded, valid: Tensor, generator: torch.Generator) -> None:
        """Sum the vectors of each code, and keep one random token of each clip to replace dead codes."""
        order = rand_rows(generator, *valid.shape).to(valid.device).masked_fill(~valid, -1.0)
        if not self.training:
            return
        unit, codes = coded.unit[valid], coded.codes[valid]
        # A product instead of index_add, which adds in another order each time on a GPU.
        for part, code in zip(unit.split(8192), codes.split(8192), strict=True):
            self.sums += F.one_hot(code, len(self.counts)).to(part.dtype).T @ part
        self.counts += torch.bincount(codes, minlength=len(self.counts)).to(self.counts.dtype)
        place = order.argmax(1)[:, None, None].expand(-1, 1, coded.unit.shape[2])
        self._candidates = coded.unit.gather(1, place)[:, 0]

    @torch.no_grad()
    def after_step(self, encoder: Encoder, step: int) -> None:
        super().after_step(encoder, step)
        if self._candidates is None:
            return
        sums, counts = total_over_ranks(self.sums), total_over_ranks(self.counts)
        tokenizer_of(encoder).codebook.follow(sums, counts, gather_rows(self._candidates))
        self.sums.zero_()
        self.counts.zero_()
        self._candidates = None

    def _watch(
        self, tokenizer: CodingEncoder, tokens: Tensor, estimate: Tensor, target: Tensor, codes: Tensor, valid: Tensor
    ) -> LazyWatch:
        codes, idle = codes[valid], tokenizer.codebook.idle.clone()

        def share() -> Tensor:
            return torch.bincount(codes, minlength=tokenizer.entries) / max(1, len(codes))

        # Of length 1: the mean of such vectors is the constant with the greatest cosine.
        made = regression_watch(unlikeness, estimate, F.normalize(target, dim=-1), valid, 1)
        return LazyWatch(
            {f"distil/{name}": maker for name, maker in made.items()}
            | {
                "codes/perplexity": lambda: torch.special.entr(share()).sum().exp(),
                "codes/used": lambda: (share() > 0).float().mean(),
                "codes/alive": lambda: (idle < 10).float().mean(),
                "rank_tokens": lambda: effective_rank(tokens[valid][:2048]),
            }
        )


def unlikeness(estimate: Tensor, target: Tensor) -> Tensor:
    """Return 1 - cosine `(...)` of `(..., D)`."""
    return 1 - F.cosine_similarity(estimate, target, dim=-1)
