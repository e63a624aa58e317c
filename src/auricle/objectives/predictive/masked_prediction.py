"""Masked prediction: mask tokens of a clip, and predict a target of them.

The masked positions (`mask`, `corruption`), the treatment of masked tokens (`hide`), the decoder between encoder and
heads (`decoder`), and targets, compared tokens and losses (`terms`) are chosen independently: Audio-MAE, HuBERT,
BEST-RQ, BEATs, EAT, data2vec, M2D, SSAST ... differ by these choices only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from auricle.config import Count, NonNegative
from auricle.encoders.contract import Ability, Encoder, Grid, Layer, Tokens
from auricle.errors import ConfigError
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, View
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import randn_rows
from auricle.objectives.masks.corruption import CorruptionConfig
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.masks.token_mask import MaskedPositions, TokenMaskConfig
from auricle.objectives.predictive.decoder import DecoderConfig, TransformerDecoderConfig
from auricle.objectives.predictive.teacher import Teacher, TeacherConfig, repeat_rows
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.target import MaskedBatch, TeacherSight, Term, TermConfig

Hide = Literal["drop", "token", "none"]
Fill = Literal["learned", "zero", "noise"]


@dataclass(frozen=True)
class MaskedPredictionConfig(ObjectiveConfig):
    """Settings of masked prediction.

    Attributes:
        mask: sampler of the masked positions; None: only those that `corruption` alters.
        hide: treatment of masked tokens: `drop`: the encoder sees the visible ones only; `token`: a vector replaces
            them; `none`: nothing is masked (distillation).
        fill: that vector: `learned`, `zero`, or `noise`.
        fill_std: standard deviation of the noise, and of a learned vector that begins `normal`.
        fill_init: first learned vector: `normal`, `uniform` in 0 ... 1 (data2vec), or `xavier_normal`, of standard
            deviation 1 / sqrt(D) (SSAST).
        corruption: alters the features before the encoder sees them; tokens of which at least half was altered count as
            masked, too.
        clones: differently masked copies of each clip, from one `tokenize` and one teacher.
        separate: draw a mask, and make a pass, for each term (SSAST's released code).
        teacher: a slow copy of the encoder, for targets that need one; it sees the last view.
        views: 1; or 2: the second is the clean view that targets are taken from.
        decoder: between the encoder and the heads.
        terms: losses on the masked tokens.
    """

    mask: TokenMaskConfig | None = field(default_factory=RandomMask)
    hide: Hide = "drop"
    fill: Fill = "learned"
    fill_std: NonNegative = 0.02
    fill_init: Literal["normal", "uniform", "xavier_normal"] = "normal"
    corruption: CorruptionConfig | None = None
    clones: Count = 1
    separate: bool = False
    teacher: TeacherConfig | None = None
    views: Literal[1, 2] = 1
    decoder: DecoderConfig = field(default_factory=TransformerDecoderConfig)
    terms: tuple[TermConfig, ...] = (RegressionConfig(PatchTargetConfig()),)

    def __post_init__(self) -> None:
        if not self.terms:
            raise ConfigError("found no terms, expected at least one; set objective.terms")
        if self.hide == "drop":
            if self.mask is None:
                raise ConfigError("hide drop needs a mask with the tokens to drop; set mask")
            if not self.mask.equal_count:
                raise ConfigError(
                    f"{type(self.mask).__name__} masks different numbers of tokens in different clips, and dropped "
                    "tokens must leave rows of equal length; choose another mask, or set hide to token"
                )
        if self.hide == "none" and self.mask is not None:
            raise ConfigError("a mask is set and hide is none: nothing would be masked; set hide to token or drop")


class MaskedPrediction(Objective):
    """See the module. The abilities that the encoder needs follow from the treatment of masked tokens."""

    no_decay = frozenset({"mask_token"})

    def __init__(self, config: MaskedPredictionConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.views = config.views
        needed = {"drop": {Ability.DROP}, "token": {Ability.MASK}, "none": set()}[config.hide]
        if config.hide == "token" and config.mask is None:
            needed = set()  # the input is altered, the tokens are not
        self.needs = frozenset(needed)  # type: ignore[misc]  # depends on the settings
        self.check(encoder)
        self.mask_token: nn.Parameter | None = None
        if config.hide == "token" and config.fill == "learned" and config.mask is not None:
            self.mask_token = nn.Parameter(_first_vector(config, encoder.width, generator))
        self.decoder = config.decoder.build(encoder, generator)
        self.terms = nn.ModuleList(term.build(encoder, self.decoder.width, generator) for term in config.terms)
        self.teacher = None if config.teacher is None else Teacher(config.teacher, encoder, generator)

    @property
    def _terms(self) -> list[Term]:
        return list(self.terms)  # type: ignore[arg-type]  # a ModuleList of Terms

    def after_step(self, encoder: Encoder, step: int) -> None:
        super().after_step(encoder, step)
        if self.teacher is not None:
            self.teacher.follow(encoder, self.teacher.config.at(step, self.progress))

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        groups = [[term] for term in self._terms] if self.config.separate else [self._terms]
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        watch: dict[str, Callable[[], Tensor]] = {}
        for terms in groups:
            masked_batch = self.look(encoder, views, generator, terms)
            decoded = self.decoder.decode(masked_batch)
            for term in terms:
                made = term(masked_batch, decoded, self.shuffled)
                total = term.weight * made.value if total is None else total + term.weight * made.value
                parts |= made.parts
                watch |= made.watch
        watch |= self._health(encoder, masked_batch)
        if total is None:
            raise ConfigError("there is no term to minimise")
        return Loss(total, parts, LazyWatch(watch))

    def _health(self, encoder: Encoder, masked_batch: MaskedBatch) -> dict[str, Callable[[], Tensor]]:
        # Only tensors that are read later: a maker that held the batch would keep all tensors of a step.
        masked, tokens = masked_batch.mask.masked, masked_batch.out.x.detach().flatten(0, 1)[:2048]
        watch: dict[str, Callable[[], Tensor]] = {
            "hidden_share": lambda: masked.float().mean(),
            "rank_tokens": lambda: effective_rank(tokens),
        }
        teacher = self.teacher
        if teacher is not None:
            watch["teacher_gap"] = lambda: teacher.distance(encoder)
        return watch

    def look(
        self, encoder: Encoder, views: Sequence[View], generator: torch.Generator, terms: Sequence[Term]
    ) -> MaskedBatch:
        """Mask, encode, and return the batch that targets and terms read."""
        config, view, clean = self.config, views[0], views[-1]
        features, altered = view.features, None
        if config.corruption is not None:
            corrupted = config.corruption.apply(features, generator)
            features, altered = corrupted.features, corrupted.altered
        tokens = encoder.tokenize(features)
        mask = self._masked(tokens, altered, generator)
        shown = self._hide(repeat_rows(tokens, config.clones), mask, generator)
        layers = tuple(sorted({layer for term in terms for layer in term.layers}))
        out = encoder.contextualize(shown, layers)
        if out.grid != tokens.grid:
            mask = self._masked_behind(encoder, tokens, out, altered, generator)
        seen: Mapping[int, Layer] = dict(zip(layers, out.layers or (), strict=True))
        masked_batch = MaskedBatch(
            encoder, view, clean, tokens, out, seen, mask, config.clones, generator, self.progress, self.step
        )
        masked_batch.altered = altered
        if self.teacher is not None:
            shared = tokens if clean is view and config.corruption is None else None
            masked_batch.teach = self._teach(encoder, clean, mask, shared)
        return masked_batch

    def _teach(
        self, encoder: Encoder, clean: View, mask: MaskedPositions, shared: Tokens | None
    ) -> Callable[[TeacherSight, Sequence[int]], Tokens]:
        """Return the teacher's pass over the clean view, computed once for all targets that ask for the same.

        No reference to the batch: a reference cycle would keep a step's tensors until the next garbage collection.
        """
        teacher, made = self.teacher, {}  # type: tuple[Teacher | None, dict[tuple[object, ...], Tokens]]
        if teacher is None:
            raise ConfigError("there is no teacher")
        # Layers that any target wants come from one pass.
        wanted = tuple(sorted({layer for term in self._terms for layer in _teacher_layers(term)}))

        def teach(sight: TeacherSight, layers: Sequence[int]) -> Tokens:
            every = tuple(sorted({*wanted, *layers}))
            if (sight,) not in made:
                made[(sight,)] = teacher.see(encoder, clean, mask, sight, every, shared)
            whole = made[(sight,)]
            held = dict(zip(every, whole.layers or (), strict=True))
            return replace(whole, layers=tuple(held[layer] for layer in layers))

        return teach

    def _masked(self, tokens: Tokens, altered: Tensor | None, generator: torch.Generator) -> MaskedPositions:
        """Draw the masked positions of each row `(R, N)`, on the tokens' device."""
        config, grid, clips, device = self.config, tokens.grid, tokens.x.shape[0], tokens.x.device
        rows = clips * config.clones
        if config.mask is not None:
            valid = None if tokens.valid is None else tokens.valid.repeat_interleave(config.clones, 0).cpu()
            mask = config.mask.draw(grid, rows, generator, valid, self.progress).to(device)
        else:
            none = torch.zeros(rows, grid.tokens, dtype=torch.bool, device=device)
            mask = MaskedPositions(none, none)
        if altered is None:
            return mask
        lost = altered_tokens(altered, grid).repeat_interleave(config.clones, 0)
        if tokens.valid is not None:
            lost = lost & tokens.valid.repeat_interleave(config.clones, 0)
        return MaskedPositions(mask.masked | lost, mask.predicted | lost)

    def _masked_behind(
        self, encoder: Encoder, tokens: Tokens, out: Tokens, altered: Tensor | None, generator: torch.Generator
    ) -> MaskedPositions:
        """Return the masked positions on the output grid of an encoder whose input tokens lie on another one."""
        if self.config.mask is not None:
            raise ConfigError(
                f"{type(encoder).__name__} takes {tokens.grid.time} x {tokens.grid.freq} tokens and gives "
                f"{out.grid.time} x {out.grid.freq}, so a mask over the former does not apply to the latter; alter its "
                "input instead (objective.corruption), or choose an encoder that keeps its grid"
            )
        valid = None if out.valid is None else out.valid[:: self.config.clones]
        return self._masked(replace(tokens, grid=out.grid, valid=valid), altered, generator)

    def _hide(self, tokens: Tokens, mask: MaskedPositions, generator: torch.Generator) -> Tokens:
        config = self.config
        if config.mask is None or config.hide == "none":
            return tokens
        if config.hide == "drop":
            index = mask.visible()
            if index is None or index.shape[1] == 0:
                counts = sorted(set((~mask.masked).sum(1).tolist()))
                raise ConfigError(
                    f"the mask leaves {counts} tokens of {tokens.grid.tokens} visible, expected equally many in each "
                    "clip, and at least one; lower its ratio, or use longer windows"
                )
            return tokens.keep(index)
        x = tokens.x
        if self.mask_token is not None:
            vector: Tensor = self.mask_token.to(x.dtype)
        elif config.fill == "noise":
            vector = randn_rows(generator, *x.shape).to(x) * config.fill_std
        else:
            vector = x.new_zeros(())
        if tokens.positions is not None:
            vector = vector + tokens.positions
        return replace(tokens, x=torch.where(mask.masked.unsqueeze(-1), vector, x))


def _first_vector(config: MaskedPredictionConfig, width: int, generator: torch.Generator) -> Tensor:
    if config.fill_init == "uniform":
        return torch.rand(width, generator=generator)
    std = width**-0.5 if config.fill_init == "xavier_normal" else config.fill_std
    return torch.randn(width, generator=generator) * std


def _teacher_layers(term: Term) -> tuple[int, ...]:
    found: list[int] = []
    for module in term.modules():
        layers = getattr(module, "layers", ())
        if getattr(module, "lifecycle", None) == "slow":
            found.extend(layers)
    return tuple(found)


def altered_tokens(altered: Tensor, grid: Grid) -> Tensor:
    """Return `(B, N)` bool: the tokens of which at least half of the frames and bands were altered.

    Args:
        altered: `(B, T', F')` bool, elements of the features.
        grid: the encoder's.
    """
    frames, bands = altered.shape[1:]
    span, height = max(1, round(frames / grid.time)), bands // grid.freq
    need = grid.time * span
    x = altered.float()
    if frames < need:
        x = torch.nn.functional.pad(x, (0, 0, 0, need - frames))
    share = x[:, :need, : grid.freq * height].unflatten(2, (grid.freq, height)).unflatten(1, (grid.time, span))
    return share.mean((2, 4)).flatten(1) >= 0.5
