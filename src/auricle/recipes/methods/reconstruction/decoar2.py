"""DeCoAR 2.0: masked frames reconstructed from codes that stand between encoder and decoder (arXiv 2012.06659)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.targets.code_uses import CodeDiversityConfig, CodeRegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.learned_codes import LearnedCodesConfig, TemperatureConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.discrete_tokens.best_rq import CORPUS_BINS
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

DECOAR2 = Method(
    name="decoar2",
    paradigm="reconstruction",
    summary="DeCoAR 2.0: reconstruct masked frames from a few learned codes of the encoder's output.",
)
NOTES = Notes(
    method="decoar2",
    reference=Reference(
        title="DeCoAR 2.0: Deep Contextualized Acoustic Representations with Vector Quantization",
        authors="Ling, Liu",
        arxiv="2012.06659",
        section="2, 3; its training code was never published",
    ),
    faithful=(
        "frames of 80 log-mel bins, each utterance standardised; a transformer with convolutional positions",
        "a Gumbel product quantiser of two codebooks between encoder and reconstruction; diversity 0.1",
        "a feed-forward network reconstructs the masked frames from their codes alone, mean absolute difference",
    ),
    deviations=(
        "masked frames are replaced behind the linear projection of the frames: for a learned vector the same as "
        "before it",
    ),
    not_specified=searched(
        "paper; its training code was never published",
        "the mask: wav2vec 2.0's, at the same length in seconds (spans of 20 frames, a nominal 65 %), equally many "
        "masked frames in clips of equal length; padded clips keep their own number",
        "which of two reconstruction losses the released model had: the mean absolute difference",
        "the temperatures: those of wav2vec 2.0; width of the codes and of the network: the encoder's",
        "optimiser, batch and steps: AdamW at 5e-4 after 32,000 steps of warm-up, 128 utterances, 400,000 steps",
    ),
    cost="One pass of the encoder at 100 tokens a second, so attention counts; codes and network cost little.",
    when_to_use="For speech, when a compact code of each frame is wanted besides the representation, and contrasts "
    "with distractors are not. Watch quantiser/perplexity: no reconstruction restores what the codes lose.",
)


def _objective(width: int, entries: int, temperature_factor: float) -> MaskedPredictionConfig:
    head = MlpHeadConfig(hidden=(width,), activation="gelu")
    codes = LearnedCodesConfig(
        uses=(
            CodeRegressionConfig(PatchTargetConfig(norm="none"), head=head, measure="l1"),
            CodeDiversityConfig(weight=0.1),
        ),
        source="encoder",
        groups=2,
        entries=entries,
        width=width,
        temperature=TemperatureConfig(first=2.0, end=0.5, factor=temperature_factor),
        dropout=0.0,
    )
    mask = SpanMask(p=0.65, length=20)
    return MaskedPredictionConfig(mask=mask, hide="token", fill="learned", decoder=NoDecoderConfig(), terms=(codes,))


@DECOAR2.size("paper")
def decoar2_paper() -> Recipe:
    """12 layers of width 768, 2 x 320 codes."""
    return Recipe(
        name="decoar2",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("asr80"),
        augment=PlainViewsConfig(),
        window=WindowConfig(seconds=16.0, short="pad"),
        loader=LoaderConfig(batch=128, workers=-1),
        encoder=layout("decoar2", frames=1604),
        objective=_objective(width=768, entries=320, temperature_factor=0.999995),
        train=TrainConfig(
            steps=400_000, warmup_steps=32_000, lr=5e-4, schedule="linear", min_lr=0.0, weight_decay=0.01,
            precision="bf16", save_every=5000,
        ),
    )  # fmt: skip


@DECOAR2.size("tiny")
def decoar2_tiny() -> Recipe:
    """Small scale: 4 layers of width 192, 2 x 64 codes, 1200 steps."""
    return decoar2_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            CORPUS_BINS,
            "encoder: 192 wide, 4 layers; published: 768 wide, 12 layers",
            "windows of 2.55 s in batches of 32; published: whole utterances",
            "2 x 64 codes; published: 2 x 320",
            "the temperature falls by a factor of 0.999 per step, to reach 0.5 in a short run",
        ),
        measure_statistics=True,
        frontend=preset("asr80_corpus"),
        window=small_scale.window(2.55),
        loader=small_scale.loader(32),
        features=small_scale.FEATURES,
        encoder=layout("decoar2", "tiny", depth=4, frames=256, layer_drop=0.0),
        objective=_objective(width=192, entries=64, temperature_factor=0.999),
        train=small_scale.train(1200, 5e-4),
    )
