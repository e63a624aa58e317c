"""Audio2Vec, both directions, and TemporalGap: tasks on slices of a clip, for small encoders (arXiv 1905.11796)."""

from __future__ import annotations

from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.slices import SliceViewsConfig
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.objectives.predictive.slice_reconstruction import SliceReconstructionConfig
from auricle.objectives.workers.temporal_gap import TemporalGapConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched

AUDIO2VEC = Method(
    name="audio2vec",
    paradigm="auxiliary",
    summary="Audio2Vec (CBoW): reconstruct the spectrogram of a slice from the slices around it.",
)
SKIP_GRAM = Method(
    name="audio2vec-skip-gram",
    paradigm="auxiliary",
    summary="Audio2Vec (skip-gram): reconstruct the spectrograms of the slices around from the slice in the middle.",
)
TEMPORAL_GAP = Method(
    name="temporal-gap",
    paradigm="auxiliary",
    summary="TemporalGap: predict the distance in time between two slices of a clip from their vectors.",
)
_REFERENCE = Reference(
    title="Self-supervised audio representation learning for mobile devices",
    authors="Marco Tagliasacchi, Beat Gfeller, Felix de Chaumont Quitry, Dominik Roblek",
    arxiv="1905.11796",
    section="3 (the tasks)",
)
_INPUT = "16 kHz, 64 mel bands, windows of 25 ms every 10 ms"
_DEVIATIONS = ("AdamW; published: Adam, with settings that could not be verified",)
NOTES = Notes(
    method="audio2vec",
    reference=_REFERENCE,
    faithful=(
        _INPUT,
        "slices of one clip with a gap between them; the vectors of the slices around in the order of time",
        "separable convolutions, a global maximum and 128 numbers a slice; a decoder that mirrors the encoder",
        "mean squared error of the standardised log-mel slice",
    ),
    deviations=_DEVIATIONS,
    not_specified=searched(
        "paper; its code is not public",
        "widths of encoder and decoder, optimiser, batch and length of training: chosen",
        "number of slices and gap: one on either side, 0.2 s (tiny: 0.16 s) (chosen)",
        "norm of the decoder: over each clip's channels, not over the batch (chosen)",
    ),
    cost="one pass of a very small net over the input slices, and a small decoder",
    when_to_use="encoders for small devices; a vector a second. As a reconstruction it keeps loudness and colour, and "
    "loses detail that neighbouring slices do not determine",
)
SKIP_GRAM_NOTES = NOTES.replace(
    method="audio2vec-skip-gram",
    faithful=(
        _INPUT,
        "slices of one clip with a gap between them; one decoder for each predicted slice",
        *NOTES.faithful[2:],
    ),
    cost="one pass of a very small net over one slice per clip; a decoder for each slice around it",
    when_to_use="as audio2vec; cheaper for the encoder, and a harder task: its error stays higher",
)
GAP_NOTES = Notes(
    method="temporal-gap",
    reference=_REFERENCE,
    faithful=(
        _INPUT,
        "two slices of a clip in the order of time, both through one small net",
        "binary cross-entropy against the distance as a share of the largest possible one",
    ),
    deviations=_DEVIATIONS,
    not_specified=searched(
        "paper; its code is not public",
        "widths, optimiser, batch and length of training: chosen",
        "draw of the two slices: evenly in their distance (even positions would make large distances rare), without "
        "overlap (chosen)",
    ),
    cost="one pass of a very small net over two slices per clip",
    when_to_use="as a comparison: one number per clip teaches little, and clips that stay the same teach nothing",
)

_FRONTEND = LogMelConfig(n_fft=512, window=400)


def _audio2vec(seconds: float, gap: float) -> Recipe:
    """Return the parts of both sizes: three slices of some seconds, with a gap between them."""
    return Recipe(
        name="audio2vec",
        frontend=_FRONTEND,
        augment=SliceViewsConfig(count=3, seconds=seconds, gap=gap),
        encoder=SliceCNNConfig.size("base"),
        objective=SliceReconstructionConfig(mode="cbow", slices=3, seconds=seconds, frontend=_FRONTEND),
    )


@AUDIO2VEC.size("paper")
def audio2vec_paper() -> Recipe:
    """Slices of 0.975 s, batch 128 for 20,000 steps."""
    return _audio2vec(seconds=0.975, gap=0.2).replace(
        size="paper",
        notes=NOTES,
        window=small_scale.window(10.0),
        loader=small_scale.loader(128),
        train=small_scale.train(20_000, 1e-3, save_every=1000),
    )


@AUDIO2VEC.size("tiny")
def audio2vec_tiny() -> Recipe:
    """Small scale: slices of 0.64 s, batch 64 for 1500 steps."""
    return _audio2vec(seconds=0.64, gap=0.16).replace(
        size="tiny",
        notes=NOTES.with_deviations("3 slices of 0.64 s; published: about 0.975 s each", *small_scale.DEVIATIONS),
        window=small_scale.window(2.56),
        loader=small_scale.loader(64),
        train=small_scale.train(1500, 1e-3),
    )


def _skip_gram(base: Recipe) -> Recipe:
    return base.replace(
        name="audio2vec-skip-gram",
        notes=SKIP_GRAM_NOTES.replace(deviations=base.notes.deviations),
        objective=base.objective.replace(mode="skip_gram"),
    )


@SKIP_GRAM.size("paper")
def audio2vec_skip_gram_paper() -> Recipe:
    """Audio2Vec's constants in the other direction."""
    return _skip_gram(audio2vec_paper())


@SKIP_GRAM.size("tiny")
def audio2vec_skip_gram_tiny() -> Recipe:
    """Small scale: Audio2Vec's tiny size in the other direction."""
    return _skip_gram(audio2vec_tiny())


@TEMPORAL_GAP.size("paper")
def temporal_gap_paper() -> Recipe:
    """Two slices of 0.975 s."""
    return audio2vec_paper().replace(
        name="temporal-gap",
        notes=GAP_NOTES,
        augment=SliceViewsConfig(count=2, seconds=0.975, gap=None),
        objective=TemporalGapConfig(),
    )


@TEMPORAL_GAP.size("tiny")
def temporal_gap_tiny() -> Recipe:
    """Small scale: two slices of 0.64 s."""
    return audio2vec_tiny().replace(
        name="temporal-gap",
        notes=GAP_NOTES.with_deviations("slices of 0.64 s; published: about 0.975 s", *small_scale.DEVIATIONS),
        augment=SliceViewsConfig(count=2, seconds=0.64, gap=None),
        objective=TemporalGapConfig(),
    )
