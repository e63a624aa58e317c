"""Every objective on every encoder: which pairs train, which are refused, and why.

An objective comes from a recipe (with its views, its front end and its window), an encoder from a family at a small
size. Nothing here knows a pair: what is refused is refused by the contracts, saying which need is not met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontend import FrontEnd, FrontEndConfig
from auricle.audio.log_mel import LogMelConfig
from auricle.audio.views import PlainViewsConfig
from auricle.audio.waveform import WaveformConfig
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.codebook import CodebookConfig
from auricle.encoders.coding_encoder import CodingEncoderConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.encoders.contract import MEETS, Ability, Encoder, EncoderConfig
from auricle.encoders.efficientnet import EfficientNetConfig
from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.hts_at import HtsAtConfig
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.pase import PaseConfig
from auricle.encoders.resnet import ResNetConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.encoders.state_space_config import StateSpaceConfig
from auricle.encoders.waveform_recurrent import WaveformConvolutionConfig, WaveformRecurrentConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import AuricleError, NeedError
from auricle.objectives.contract import Objective, Preparation, View
from auricle.recipes.recipe import Recipe

CLIPS = 4
# Clips that stages (clusters, tokenizers) are fitted on.
PREPARED = 96
Outcome = Literal["trains", "refused"]


@dataclass(frozen=True)
class Family:
    """An encoder family at a small size.

    Attributes:
        name: of the family.
        make: settings for (mel bins, frames per second, frames of a window); samples count as frames.
        frontend: what it reads where the recipe's front end is not of its kind.
        paradigm: of the survey's Table II.
    """

    name: str
    make: Callable[[int, float, int], EncoderConfig]
    frontend: FrontEndConfig
    paradigm: str

    @property
    def samples(self) -> bool:
        """Whether it reads samples."""
        return isinstance(self.frontend, WaveformConfig)


_MEL = LogMelConfig(mels=64)
_WAVE = WaveformConfig()


def _padded(frames: int, step: int) -> int:
    return -(-frames // step) * step


def families() -> dict[str, Family]:
    """Return the encoder families by name, each small enough for a step in a fraction of a second."""

    def transformer(mels: int, rate: float, frames: int) -> EncoderConfig:
        return SpectrogramTransformerConfig(
            width=32, depth=12, heads=2, mels=mels, frames=_padded(frames, 16), frame_rate=rate, drop_path=0.0
        )

    def frame_transformer(mels: int, rate: float, frames: int) -> EncoderConfig:
        return SpectrogramTransformerConfig(
            width=32, depth=12, heads=2, mels=mels, frames=_padded(frames, 4), frame_rate=rate, drop_path=0.0,
            patch=(4, mels), cls=False, pooling="mean",
        )  # fmt: skip

    def coding(mels: int, rate: float, frames: int) -> EncoderConfig:
        body = BEATsConfig(width=32, embed=16, depth=12, heads=2, mels=mels, frame_rate=rate)
        return CodingEncoderConfig(body, CodebookConfig(codes=32, dim=16))

    def hts_at(mels: int, rate: float, frames: int) -> EncoderConfig:
        return HtsAtConfig.size("tiny", mels=mels, bins=64 * -(-mels // 64), frame_rate=rate)

    def state_space(bidirectional: bool) -> Callable[[int, float, int], EncoderConfig]:
        return lambda mels, rate, frames: StateSpaceConfig(
            width=32, depth=4, states=4, expand=2, bidirectional=bidirectional, patch=(16, 16), mels=mels,
            frames=_padded(frames, 16), frame_rate=rate,
        )  # fmt: skip

    made = (
        Family("AudioNTT", lambda m, r, n: AudioNTTConfig(width=64, mels=m, frame_rate=r, channels=16), _MEL, "CNN"),
        Family("EfficientNet", lambda m, r, n: EfficientNetConfig.size("tiny", mels=m, frame_rate=r), _MEL, "CNN"),
        Family("ResNet", lambda m, r, n: ResNetConfig(channels=8, mels=m, frame_rate=r), _MEL, "CNN"),
        Family("frame GRU", lambda m, r, n: FrameRecurrentConfig(width=32, mels=m, frame_rate=r), _MEL, "recurrent"),
        Family("state space, causal", state_space(False), _MEL, "state space"),
        Family("state space, both ways", state_space(True), _MEL, "state space"),
        Family("patch transformer", transformer, _MEL, "transformer"),
        Family("frame transformer", frame_transformer, _MEL, "transformer"),
        Family(
            "BEATs", lambda m, r, n: BEATsConfig(width=32, embed=16, depth=12, heads=2, mels=m, frame_rate=r), _MEL,
            "transformer",
        ),
        Family("BEATs, codes", coding, _MEL, "transformer"),
        Family("Conformer", lambda m, r, n: ConformerConfig(width=32, depth=12, mels=m, frame_rate=r), _MEL, "hybrid"),
        Family("HTS-AT", hts_at, _MEL, "transformer"),
        Family("waveform GRU", lambda m, r, n: WaveformRecurrentConfig.size("tiny", rate=r), _WAVE, "recurrent"),
        Family("waveform CNN", lambda m, r, n: WaveformConvolutionConfig.size("tiny", rate=r), _WAVE, "CNN"),
        Family("SincNet", lambda m, r, n: PaseConfig.size("tiny", rate=r), _WAVE, "CNN"),
        Family(
            "waveform transformer", lambda m, r, n: WaveformTransformerConfig.size("tiny", sample_rate=int(r)), _WAVE,
            "hybrid",
        ),
        Family("log-mel statistics", lambda m, r, n: LogMelStatisticsConfig(mels=m, frame_rate=r), _MEL, "none"),
    )  # fmt: skip
    return {family.name: family for family in made}


@dataclass(frozen=True)
class Cell:
    """A pair's outcome.

    Attributes:
        objective: the recipe that the objective is of.
        encoder: the family.
        outcome: `trains`: a step came out finite; `refused`: a contract said no.
        why: what was said.
        needs: abilities that were missing, where that was the reason.
        loss: of the step.
        idle: trainable parameters that no gradient reached.
        built: class of the encoder, which messages name.
    """

    objective: str
    encoder: str
    outcome: Outcome
    why: str = ""
    needs: tuple[str, ...] = ()
    loss: float = float("nan")
    idle: tuple[str, ...] = ()
    built: str = ""


def pair(recipe: Recipe, family: Family) -> Recipe:
    """Return the recipe on an encoder of the family; its own front end stays where it is of the family's kind."""
    own = isinstance(recipe.frontend, WaveformConfig)
    frontend = recipe.frontend if own == family.samples else family.frontend
    built = frontend.build()
    frames = built.frames(recipe.window.samples(built.rate))
    return recipe.replace(frontend=frontend, encoder=family.make(built.width, built.frame_rate, frames))


def try_pair(recipe: Recipe, family: Family, seed: int = 0) -> Cell:
    """Do one step of a recipe's objective on an encoder of the family, on sounds that are made here.

    A refusal is an outcome; any other error is raised, because it would be a defect.
    """
    own = pair(recipe, family)
    built = type(own.encoder).__name__.removesuffix("Config")
    try:
        encoder = own.encoder.build(torch.Generator().manual_seed(seed))
        objective = own.objective.build(encoder, torch.Generator().manual_seed(seed + 1))
        frontend = own.frontend.build()
        make_ready(own, frontend, encoder, objective, seed)
        views = shown(own, frontend, objective, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            loss = objective(encoder.train(), views, torch.Generator().manual_seed(seed))
        if not loss.total.requires_grad:
            return Cell(recipe.name, family.name, "refused", "neither encoder nor heads have anything to train")
        loss.total.backward()
    except NeedError as error:
        return Cell(recipe.name, family.name, "refused", str(error), error.needs, built=built)
    except AuricleError as error:
        return Cell(recipe.name, family.name, "refused", str(error), built=built)
    named = [(f"encoder.{n}", p) for n, p in encoder.named_parameters()]
    named += [(f"objective.{n}", p) for n, p in objective.named_parameters()]
    idle = tuple(n for n, p in named if p.requires_grad and (p.grad is None or not bool(p.grad.any())))
    return Cell(recipe.name, family.name, "trains", loss=float(loss.total.detach()), idle=idle)


def matrix(recipes: Sequence[Recipe], chosen: Sequence[Family]) -> Iterator[Cell]:
    """Yield the outcome of every objective on every encoder."""
    for recipe in recipes:
        for family in chosen:
            yield try_pair(recipe, family)


def shown(recipe: Recipe, frontend: FrontEnd, objective: Objective, seed: int = 0, clips: int = CLIPS) -> list[View]:
    """Return the views of a batch of sounds, as the training step would make them."""
    audio = made_audio(recipe, frontend.rate, clips, seed)
    views = recipe.augment.build(frontend)
    made = views(audio, objective.views, torch.Generator().manual_seed(seed + 2))
    place = torch.arange(clips)
    return [View(view.features, place, view.certificate, view.reference) for view in made]


def made_audio(recipe: Recipe, rate: int, clips: int, seed: int = 0) -> Audio:
    """Return tones that glide, with noise: each clip its own, full of the recipe's window."""
    samples = recipe.window.samples(rate)
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    waves = []
    for _ in range(clips):
        low, high = generator.uniform(100, 0.4 * rate, 2)
        phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * time[-1]))
        beat = 1 + np.sin(2 * np.pi * generator.uniform(1, 8) * time)
        waves.append((0.2 * beat * np.sin(phase) + 0.02 * generator.standard_normal(samples)).astype(np.float32))
    return Audio.stack(waves, rate)


def make_ready(recipe: Recipe, frontend: FrontEnd, encoder: Encoder, objective: Objective, seed: int = 0) -> None:
    """Do what comes before the first step, on sounds that are made here; the stage before is one of random weights."""
    if objective.columns:
        objective.take_columns({name: [f"a sound of kind {i}" for i in range(PREPARED)] for name in objective.columns})
    if not objective.prepares:
        return
    plain = PlainViewsConfig().build(frontend)

    def views(clips: int) -> Iterator[View]:
        for start in range(0, min(clips, PREPARED), 8):
            audio = made_audio(recipe, frontend.rate, 8, seed + 100 + start)
            (made,) = plain(audio, 1, torch.Generator())
            yield View(made.features, torch.arange(start, start + 8), made.certificate, made.reference)

    objective.prepare(
        encoder, Preparation(views, PREPARED, stage_before(recipe), torch.Generator().manual_seed(seed + 3), _silent)
    )


def stage_before(recipe: Recipe) -> FrozenEncoder | None:
    """Return the encoder of the stage before with random weights, or None where there is no such stage."""
    if recipe.before is None:
        return None
    encoder = recipe.before.encoder.build()
    return FrozenEncoder(recipe.before.frontend.build(), encoder, name=recipe.before.name)


def _silent(text: str) -> None:
    """Take a line of the log and say nothing."""


def markdown(cells: Sequence[Cell]) -> str:
    """Return the matrix as a Markdown page."""
    rows = list(dict.fromkeys(cell.objective for cell in cells))
    columns = list(dict.fromkeys(cell.encoder for cell in cells))
    at = {(cell.objective, cell.encoder): cell for cell in cells}
    reasons: dict[str, int] = {}
    lines = [
        "# Objectives and encoders",
        "",
        "Made by `auricle matrix --out docs/matrix.md`; every cell is one training step on made sounds, and the test "
        "suite repeats all of them.",
        "",
        "● trains · a number: refused, for the reason of that number below.",
        "",
        "| objective | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in rows:
        marks = []
        for column in columns:
            cell = at[row, column]
            if cell.outcome == "trains":
                marks.append("●")
            else:
                reason = reason_of(cell)
                marks.append(str(reasons.setdefault(reason, len(reasons) + 1)))
        lines.append(f"| {row} | " + " | ".join(marks) + " |")
    lines += ["", "## Why a pair is refused", ""]
    lines += [f"{number}. {reason}" for reason, number in reasons.items()]
    trained = sum(cell.outcome == "trains" for cell in cells)
    lines += ["", f"{trained} of {len(cells)} pairs train."]
    return "\n".join(lines) + "\n"


def reason_of(cell: Cell) -> str:
    """Return why a pair is refused, in words that pairs share."""
    if cell.needs:
        said = [
            f"{need}: an encoder that {Ability[need].value}; offered by {MEETS[Ability[need]]}" for need in cell.needs
        ]
        return f"needs {'; '.join(said)}"
    return cell.why.replace(cell.built, "the encoder") if cell.built else cell.why
