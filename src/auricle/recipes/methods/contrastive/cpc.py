"""CPC: contrastive predictive coding of the waveform (arXiv 1807.03748, and its reimplementation, 2002.02848)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.waveform_recurrent import WaveformRecurrentConfig
from auricle.objectives.contrastive.future_contrast import FutureContrastConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe

_ALWAYS = (
    "the stem's padding stands at the left only, so that no step sees later samples; the code's is symmetric: 2 ms of "
    "each step's input lie ahead of it",
    "contexts begin anew in every window; the code can carry the recurrent state from window to window",
)


_BATCHES = (
    "a batch holds windows of any speakers, so that most of the 128 negatives of a window come from the window itself "
    "where speakers are many; published: all windows of a batch are of one speaker",
)


@recipe("cpc", sizes=("tiny", "paper"), paradigm="contrastive")
def cpc(size: str = "tiny") -> Recipe:
    """CPC: a recurrent context tells the next steps of the waveform's features from others of the batch.

    Args:
        size: `paper` is the reimplementation's (256 channels, two LSTM layers, 128 negatives of the same speaker), for
            corpora with a column `speaker`; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    few = (
        *small_scale.DEVIATIONS,
        "a stem of 128 channels and two GRU of 256 (published: 256 channels, two LSTM of 256), windows of 2.56 s "
        "(1.28 s), for 1000 steps",
        "16 negatives from the whole batch, whoever speaks; published: 128 of the same speaker. They are drawn anew "
        "for every step, which in memory is what bounds their number",
    )
    return Recipe(
        name="cpc",
        size=size,
        reference=Reference(
            title="Representation Learning with Contrastive Predictive Coding; Unsupervised Pretraining Transfers Well "
            "Across Languages",
            authors="van den Oord et al.; Rivière et al.",
            arxiv="1807.03748",
            section="2 and 3.1; the constants of the reimplementation 2002.02848 and its released code",
        ),
        deviations=(*_ALWAYS, *(_BATCHES if paper else few)),
        kept=(
            "strided convolutions of hop 160 with a norm over channels, then recurrent layers; a linear map for each "
            "of 12 steps ahead; scores are the mean over channels of the product; softmax over the true step and the "
            "negatives; predictions only from where all 12 steps lie inside the window; gradients into the candidates",
        ),
        unknown=(
            "number of updates: the code says 200 epochs of a corpus; 300,000 chosen for the paper size",
            "the reimplementation's best predictor is a one-layer transformer for each step: linear maps here, its "
            "simpler choice and the first paper's",
            "weight decay, warm-up: none in the paper size",
        ),
        cost="the stem is most of a step; twelve score matrices add little up to about 128 negatives",
        choose="speech and other sound that unfolds fast, features at 100 Hz, streaming: nothing looks ahead. Choose "
        "the pool by what shall be kept: others or batch favour what a clip is, clip or the speaker's column what "
        "happens in it",
        window=small_scale.window(1.28 if paper else 2.56),
        loader=small_scale.loader(64 if paper else 16),
        frontend=preset("wave16"),
        augment=PlainViewsConfig(),
        encoder=WaveformRecurrentConfig.size("base" if paper else "tiny"),
        objective=FutureContrastConfig(
            steps=12,
            first=1,
            negatives=128 if paper else 16,
            pool="column" if paper else "batch",
            column="speaker",
            anchors="common",
        ),
        train=small_scale.train(300_000, 2e-4, schedule="constant", weight_decay=0.0, warmup_steps=0)
        if paper
        else small_scale.train(1000, 5e-4),
    )
