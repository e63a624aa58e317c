"""A toy run: a small real encoder and objective on made-up batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from auricle.audio.batch import Audio, Features
from auricle.audio.views import MadeView
from auricle.corpus.loader import Batch
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import Contrastive, ContrastiveConfig
from auricle.training.loop import train
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.train_config import TrainConfig

FRAMES, MELS = 64, 32


class ToyLoader:
    """Noise over a ripple along frequency of the clip's own: a pure function of the step."""

    def __init__(self, batch: int = 8, end: int | None = None) -> None:
        self.batch, self.end = batch, end
        self.broken: Mapping[str, str] = {}
        self.closed = False

    def iterate(self, start_step: int = 0) -> Iterator[Batch]:
        step = start_step
        try:
            while self.end is None or step < self.end:
                generator = torch.Generator().manual_seed(step)
                wave = torch.randn(self.batch, FRAMES * MELS, generator=generator)
                ripple = torch.outer(torch.arange(1.0, self.batch + 1), torch.arange(FRAMES * MELS) * 0.2)
                wave += 2 * torch.sin(ripple)
                lengths = torch.full((self.batch,), FRAMES * MELS)
                clip = torch.arange(self.batch) + step * self.batch
                yield Batch(step, step // 4, Audio(wave, lengths, 16000), clip)
                step += 1
        finally:
            self.closed = True


def toy_augment(audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
    made = []
    for _ in range(views):
        gain = torch.rand(len(audio), generator=generator) + 0.5
        x = audio.wave.view(-1, FRAMES, MELS) * gain[:, None, None]
        made.append(MadeView(Features(x, torch.full((len(audio),), FRAMES), 100.0), {"gain": gain}))
    return tuple(made)


@dataclass
class ToyRun:
    """What `train` takes, and a way to start it again with fresh objects, as another process would."""

    path: Path
    config: TrainConfig
    loader: ToyLoader = field(default_factory=ToyLoader)
    recipe: dict[str, Any] = field(default_factory=lambda: {"kind": "Toy"})
    augment: Any = toy_augment
    width: int = 24
    wrap: Any = None

    def parts(self) -> tuple[SpectrogramTransformer, Contrastive]:
        config = SpectrogramTransformerConfig(
            width=self.width, depth=2, heads=2, mels=MELS, frames=FRAMES, drop_path=0.2
        )
        encoder = config.build(torch.Generator().manual_seed(1))
        config = ContrastiveConfig(projector=ProjectorConfig(hidden=(16,), out=8))
        objective = config.build(encoder, torch.Generator().manual_seed(2))
        return encoder, objective

    def go(self, resume: bool = False, progress: bool = False, **changes: Any) -> tuple[str, nn.Module, nn.Module]:
        encoder, objective = self.parts()
        if self.wrap is not None:
            objective = self.wrap(objective, encoder)
        run = RunFolder.open(self.path) if resume else RunFolder.create(self.path, self.recipe)
        ending = train(
            run=run,
            loader=self.loader,
            augment=self.augment,
            encoder=encoder,
            objective=objective,
            config=self.config.replace(**changes),
            resume=resume,
            progress=progress,
            ranks=Ranks(0, 1, torch.device("cpu")),
        )
        return ending, encoder, objective


@pytest.fixture
def toy(tmp_path: Path) -> ToyRun:
    config = TrainConfig(steps=8, lr=3e-3, warmup_steps=2, log_every=1, save_every=3, threads=1, precision="fp32")
    return ToyRun(tmp_path / "run", config)
