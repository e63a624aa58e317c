"""Contrast of audio and text: a clip's vector against the vector of a caption, over the batch of all ranks (CLAP).

Sources: CLAP, arXiv 2206.04769, section 2 (symmetric cross-entropy, learned temperature); LAION-CLAP, arXiv 2211.06687,
section 3 (two-layer projections to 512, gathering over devices); CLIP, arXiv 2103.00020, section 2.3, for the bound of
the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Count, Positive
from auricle.encoders.contract import Encoder, Grid
from auricle.errors import ConfigError
from auricle.objectives.contract import BatchCoupled, IndexSet, Loss, ObjectiveConfig, View
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import gather_rows, rand_rows, rank, refuse_single
from auricle.objectives.predictive.heads import HeadConfig, MlpHeadConfig
from auricle.objectives.text.captions import CaptionTable, caption_table, check_template
from auricle.objectives.text.text_tower import TextTowerConfig, WordTowerConfig


@dataclass(frozen=True)
class ClapConfig(ObjectiveConfig):
    """Settings of the contrast of audio and text.

    Attributes:
        columns: columns of the corpus with captions: one text each, or a list of texts. One of several captions of a
            clip is drawn in each step.
        template: makes captions of a label column instead: `a sound of {}`. That is training with labels.
        text: the text tower.
        dim: width of the common space.
        head: both projections.
        temperature: first value of the learned temperature that divides the cosines.
        largest_scale: bound of its inverse.
        same_text: other clips of the batch with the same caption: `contrast` against them like any other (as published,
            where captions hardly repeat), or `ignore` them.
    """

    columns: tuple[str, ...] = ("caption",)
    template: str = ""
    text: TextTowerConfig = field(default_factory=WordTowerConfig)
    dim: Count = 512
    head: HeadConfig = field(default_factory=lambda: MlpHeadConfig(hidden=(512,), activation="relu"))
    temperature: Positive = 0.07
    largest_scale: Positive = 100.0
    same_text: Literal["contrast", "ignore"] = "contrast"

    def __post_init__(self) -> None:
        if not self.columns or not all(self.columns):
            raise ConfigError(f"found columns {self.columns}; name at least one column of captions")
        if self.template:
            check_template(self.template)
        if self.largest_scale * self.temperature < 1:
            raise ConfigError(
                f"found temperature {self.temperature} and largest_scale {self.largest_scale}; expected a scale of at "
                "least 1 / temperature"
            )


class Clap(BatchCoupled):
    """Audio against text, both ways: each clip finds its caption among all of the batch, each caption its clip.

    The representations are the pooled vectors `(b, D)`, the captions' vectors `(b, W)`, and the captions' numbers
    `(b, 1)`; projections and loss belong to the comparison, so gradient caching bounds the memory of both towers.

    Captions of another corpus can be taken later, for tests on them: the vocabulary of the text tower does not change.
    A column `file`, where there is one, names clips in messages.

    Monitored: `accuracy` (top 1, mean of both ways), `chance` (1 over the candidates), `clap/scale` (inverse
    temperature), `clap/rank_audio`, `clap/rank_text` and `clap/std_audio`, `clap/std_text` (of the projections).
    """

    def __init__(self, config: ClapConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.columns = config, config.columns
        self.check(encoder)
        self.text = config.text.build(generator)
        self.audio_head = config.head.build(encoder.pooled_width, config.dim, generator)
        self.text_head = config.head.build(self.text.width, config.dim, generator)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self._captions: CaptionTable | None = None

    def take_columns(self, columns: Mapping[str, Sequence[object]]) -> None:
        self._captions = caption_table(columns, self.columns, self.config.template)
        self.text.learn_words([self._captions.texts[int(number)] for number in self._captions.numbers])

    @property
    def captions(self) -> CaptionTable:
        """The captions of the corpus.

        Raises:
            ConfigError: none were given.
        """
        if self._captions is None:
            raise ConfigError(
                f"the captions are not known; call take_columns() with the columns {', '.join(self.columns)} of the "
                "corpus before the first step"
            )
        return self._captions

    def draw(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> tuple[IndexSet, ...]:
        clip = views[0].clip.cpu()
        chosen = self.captions.choose(clip, rand_rows(generator, len(clip), 1)[:, 0])
        return (IndexSet("caption", chosen.unsqueeze(1), Grid(1, 1, 1.0)),)

    def represent(self, encoder: Encoder, views: Sequence[View], draws: Sequence[IndexSet]) -> tuple[Tensor, ...]:
        numbers = draws[0].index
        pooled = encoder.pool(encoder(views[0].features))
        text = self.text.embed([self.captions.texts[int(number)] for number in numbers[:, 0]])
        # Floating-point numbers, because all representations are gathered, sliced and joined alike.
        return pooled, text, numbers.to(pooled.device, torch.float64)

    def compare(self, representations: Sequence[Tensor]) -> Loss:
        own = representations[0].shape[0]
        with torch.autocast(representations[0].device.type, enabled=False):
            dtype = self.log_scale.dtype
            f, g = (x.to(dtype) for x in representations[:2])
            audio = gather_rows(F.normalize(self.audio_head(f), dim=1))
            text = gather_rows(F.normalize(self.text_head(g), dim=1))
            number = gather_rows(representations[2].detach())[:, 0]
            refuse_single(len(audio))
            if self.shuffled:
                text, number = text.roll(1, 0), number.roll(1, 0)
            rows = slice(rank() * own, (rank() + 1) * own)
            scale, partner = self.log_scale.exp(), torch.arange(len(audio), device=audio.device)[rows]
            to_text, to_audio = scale * audio[rows] @ text.T, scale * text[rows] @ audio.T
            same = number[rows, None] == number
            same[torch.arange(own, device=same.device), partner] = False
            if self.config.same_text == "contrast":
                same = torch.zeros_like(same)
            to_text, to_audio = (x.masked_fill(same, -math.inf) for x in (to_text, to_audio))
            ways = {
                "audio_to_text": F.cross_entropy(to_text, partner),
                "text_to_audio": F.cross_entropy(to_audio, partner),
            }
            total = (ways["audio_to_text"] + ways["text_to_audio"]) / 2
        hits = [x.detach().argmax(1) == partner for x in (to_text, to_audio)]
        z, w = audio.detach(), text.detach()
        watch = LazyWatch(
            {
                "accuracy": lambda: torch.stack(hits).float().mean(),
                "chance": lambda: (1 / (~same).sum(1)).mean(),
                "clap/chance": lambda: (1 / (~same).sum(1)).mean(),
                "clap/scale": lambda: scale.detach(),
                "clap/rank_audio": lambda: effective_rank(z[:2048]),
                "clap/rank_text": lambda: effective_rank(w[:2048]),
                "clap/std_audio": lambda: z.std(0).mean(),
                "clap/std_text": lambda: w.std(0).mean(),
            }
        )
        return Loss(total, {name: value.detach() for name, value in ways.items()}, watch)

    @torch.no_grad()
    def after_step(self, encoder: Encoder, step: int) -> None:
        super().after_step(encoder, step)
        self.log_scale.clamp_(max=math.log(self.config.largest_scale))

    @torch.no_grad()
    def place_audio(self, pooled: Tensor) -> Tensor:
        """Return the unit vectors `(B, dim)` of clip vectors `(B, D)` in the space shared with text."""
        return F.normalize(self.audio_head(pooled.to(self.log_scale.dtype)), dim=1)

    @torch.no_grad()
    def place_text(self, texts: Sequence[str]) -> Tensor:
        """Return the unit vectors `(n, dim)` of texts in the space shared with audio."""
        return F.normalize(self.text_head(self.text.embed(texts).to(self.log_scale.dtype)), dim=1)
