"""CPC: contrastive predictive coding of the waveform (arXiv 1807.03748, and its reimplementation, 2002.02848)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.waveform_recurrent import WaveformRecurrentConfig
from auricle.objectives.contrastive.future_contrast import FutureContrastConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched

CPC = Method(
    name="cpc",
    paradigm="contrastive",
    summary="CPC: from a recurrent context, pick the features of the next steps out of negatives.",
    learns="tests/learning/test_learn_cpc.py",
)
NOTES = Notes(
    method="cpc",
    reference=Reference(
        title="Representation Learning with Contrastive Predictive Coding; Unsupervised Pretraining Transfers Well "
        "Across Languages",
        authors="van den Oord et al.; Rivière et al.",
        arxiv="1807.03748",
        section="2 and 3.1; the constants of the reimplementation 2002.02848 and its released code",
    ),
    faithful=(
        "strided convolutions of hop 160 with a norm over channels, then recurrent layers; a linear map for each of 12 "
        "steps ahead; scores are the mean over channels of the product; softmax over the true step and the negatives; "
        "predictions only where all 12 steps lie inside the window; gradients into the candidates",
    ),
    deviations=(
        "the stem is padded at the left only, so that no step sees later samples; in the released code padding is "
        "symmetric: 2 ms of each step's input lie ahead of it",
        "contexts begin anew in every window; the released code can carry the recurrent state from window to window",
    ),
    not_specified=searched(
        "both papers, released code of the reimplementation",
        "number of updates: the released code says 200 epochs of a corpus; 300,000 chosen for the paper size",
        "the reimplementation's best predictor is a one-layer transformer for each step; linear maps here, its simpler "
        "choice and the first paper's",
        "weight decay: none in the paper size",
    ),
    cost="the stem is most of a step; twelve score matrices add little up to about 128 negatives",
    when_to_use="speech and other sound that changes fast, features at 100 Hz, streaming: no step sees later samples. "
    "Choose the pool of negatives by the information to keep: `others` or `batch` favour the identity of a clip, "
    "`clip` or the speaker's column favour its content",
)


@CPC.size("paper")
def cpc_paper() -> Recipe:
    """The reimplementation: 128 negatives of the same speaker, for corpora with a column `speaker`."""
    return Recipe(
        name="cpc",
        size="paper",
        notes=NOTES.with_deviations(
            "a batch holds windows of any speakers, so that most of the 128 negatives of a window come from the window "
            "itself where speakers are many; published: all windows of a batch are of one speaker",
            "the learning rate rises with every step of the first twentieth of the run; released code: with every "
            "epoch, over 10 of 200, which it calls necessary for other predictors than transformers",
        ),
        window=small_scale.window(1.28),
        loader=small_scale.loader(64),
        frontend=preset("wave16"),
        augment=PlainViewsConfig(),
        encoder=WaveformRecurrentConfig.size("base"),
        objective=FutureContrastConfig(
            steps=12, first=1, negatives=128, pool="column", column="speaker", anchors="common"
        ),
        train=small_scale.train(300_000, 2e-4, schedule="constant", weight_decay=0.0, warmup_steps=15_000),
    )


@CPC.size("tiny")
def cpc_tiny() -> Recipe:
    """Small scale: 16 negatives from the same clip, 2000 steps."""
    paper = cpc_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            "a stem of 128 channels and one GRU of 256 (published: 256 channels, two LSTM of 256), for 2000 steps",
            "16 negatives from the same clip: those of other clips are known by which clip it is, at any "
            "distance; published: 128 of the same speaker",
        ),
        loader=small_scale.loader(16),
        features=small_scale.FEATURES,
        encoder=WaveformRecurrentConfig.size("tiny"),
        objective=paper.objective.replace(negatives=16, pool="clip"),
        train=small_scale.train(2000, 1e-3),
    )
