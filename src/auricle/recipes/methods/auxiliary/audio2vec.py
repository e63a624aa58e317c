"""Audio2Vec, both directions, and TemporalGap: tasks on slices of a clip, for small encoders (arXiv 1905.11796)."""

from __future__ import annotations

from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.slices import SliceViewsConfig
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.objectives.predictive.slice_reconstruction import SliceReconstructionConfig
from auricle.objectives.workers.temporal_gap import TemporalGapConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, get_recipe, recipe

REFERENCE = Reference(
    title="Self-supervised audio representation learning for mobile devices",
    authors="Marco Tagliasacchi, Beat Gfeller, Felix de Chaumont Quitry, Dominik Roblek",
    arxiv="1905.11796",
    section="3 (the tasks)",
)
_FRONTEND = LogMelConfig(n_fft=512, window=400)


@recipe("audio2vec", sizes=("tiny", "paper"), paradigm="auxiliary")
def audio2vec(size: str = "tiny") -> Recipe:
    """Audio2Vec (CBoW): the slices around give the spectrogram of the slice in the middle.

    Args:
        size: `paper` has slices of 0.975 s, and what else is known; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    seconds, gap = (0.975, 0.2) if paper else (0.64, 0.16)
    return Recipe(
        name="audio2vec",
        size=size,
        reference=REFERENCE,
        deviations=(
            "AdamW; published: Adam, without settings that are known to us",
            *(() if paper else ("3 slices of 0.64 s; published: about 0.975 s each", *small_scale.DEVIATIONS)),
        ),
        kept=(
            "16 kHz, 64 mel bands, windows of 25 ms every 10 ms",
            "slices of one clip with a gap between them; the vectors of the slices around in the order of time",
            "separable convolutions, a global maximum and 128 numbers a slice; a decoder that mirrors it",
            "mean squared error of the standardised log-mel slice",
        ),
        unknown=(
            "widths of encoder and decoder, optimiser, batch and length of training: chosen",
            "how many slices, and the gap: one on either side, 0.2 s (tiny: 0.16 s) (chosen)",
            "whether the decoder normalises over the batch: over each clip's channels instead (chosen)",
        ),
        cost="one pass of a very small net over the slices that are shown, and a small decoder",
        choose="encoders for small devices; a vector a second. As a reconstruction it keeps loudness and colour, and "
        "forgets what can't be told from neighbours",
        frontend=_FRONTEND,
        augment=SliceViewsConfig(count=3, seconds=seconds, gap=gap),
        encoder=SliceCNNConfig.size("base"),
        objective=SliceReconstructionConfig(mode="cbow", slices=3, seconds=seconds, frontend=_FRONTEND),
        window=small_scale.window(10.0 if paper else 2.56),
        loader=small_scale.loader(128 if paper else 64),
        train=small_scale.train(20_000 if paper else 1500, 1e-3, save_every=1000 if paper else 100),
    )


@recipe("audio2vec-skip-gram", sizes=("tiny", "paper"), paradigm="auxiliary")
def audio2vec_skip_gram(size: str = "tiny") -> Recipe:
    """Audio2Vec (skip-gram): the slice in the middle gives the spectrograms of the slices around.

    Args:
        size: as for `audio2vec`.
    """
    base = get_recipe("audio2vec", size)
    return base.replace(
        name="audio2vec-skip-gram",
        objective=base.objective.replace(mode="skip_gram"),
        kept=(*base.kept, "one decoder for each slice that is predicted"),
        cost="one pass of a very small net over one slice a clip; a decoder for each slice around",
        choose="as audio2vec; cheaper for the encoder, and a harder task: its error stays higher",
    )


@recipe("temporal-gap", sizes=("tiny", "paper"), paradigm="auxiliary")
def temporal_gap(size: str = "tiny") -> Recipe:
    """TemporalGap: how far apart two slices of a clip lie, from their vectors.

    Args:
        size: as for `audio2vec`.
    """
    base = get_recipe("audio2vec", size)
    seconds = 0.975 if size == "paper" else 0.64
    return base.replace(
        name="temporal-gap",
        augment=SliceViewsConfig(count=2, seconds=seconds, gap=None),
        objective=TemporalGapConfig(),
        kept=(
            *base.kept[:1],
            "two slices of a clip in the order of time, both through one small net",
            "binary cross-entropy against the distance as a share of the largest possible one",
        ),
        unknown=(
            "widths, optimiser, batch and length of training: chosen",
            "how places are drawn: evenly in the distance (two even places would make large distances rare); slices "
            "never overlap (chosen)",
        ),
        cost="one pass of a very small net over two slices a clip",
        choose="as a comparison: one number a clip teaches little, and clips that stay the same teach nothing",
    )
