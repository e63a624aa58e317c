"""MusicFM: BEST-RQ for music, the waveform masked in hops of 0.4 s (arXiv 2311.03318, ICASSP 2024)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_masking import HopMaskConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.objectives.masks.hidden_stretches import HiddenStretchesConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.discrete_tokens.best_rq import best_rq
from auricle.recipes.recipe import Recipe, Reference, recipe

REFERENCE = Reference(
    title="A Foundation Model for Music Informatics",
    authors="Won, Hung, Le",
    arxiv="2311.03318",
    section="2, and the released code",
)
_ALWAYS = (
    "natural logarithms where the original has decibels: the same after standardising",
    "noise that hides the waveform comes from one drawn noise for all clips of a batch, each from its own place",
)
_TINY = (
    *small_scale.DEVIATIONS,
    "encoder: a Conformer of 4 blocks of width 144; published: 12 of width 1024",
    "1024 codes of vectors that are standardised over the clip; published: 4096, standardised over the corpus",
    "windows of 5.12 s in batches of 24; published: 30 s",
)


@recipe("musicfm", sizes=("tiny", "paper"), paradigm="discrete tokens")
def musicfm(size: str = "tiny") -> Recipe:
    """MusicFM: BEST-RQ on longer stretches of music, hidden before the front end, with rotary positions.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    base = best_rq(size)
    body = ConformerConfig(width=1024, depth=12, heads=16) if paper else ConformerConfig.size("tiny")
    codes = RandomProjectionTargetConfig(
        codes=4096 if paper else 1024, dim=16, seed=142, norm="none" if paper else "clip_channels"
    )
    return base.replace(
        name="musicfm",
        reference=REFERENCE,
        deviations=_ALWAYS if paper else (*_ALWAYS, *_TINY),
        kept=(
            "128 log-mel bins of audio at 24 kHz, 100 frames per second, standardised by the corpus (paper)",
            "hops of 0.4 s of the waveform are replaced by N(0, 0.1) noise with probability 0.6 each",
            "codes of the clean clip: 4 frames side by side, projected to 16 dimensions, seed 142, 4096 codes (paper)",
            "cross-entropy on the tokens of 25 Hz whose time was hidden; a Conformer with rotary positions",
        ),
        unknown=(
            "optimiser, learning rate and batch: those of BEST-RQ here (AdamW, 8e-4, two hours of audio in a batch)",
            "16 attention heads, a kernel of 31 and no dropout of whole layers (paper)",
            "seed 142 draws other numbers in another generator: the projection is of the same kind, not the same",
        ),
        cost="As BEST-RQ, and the front end twice: of the masked and of the clean waveform. Thirty seconds of context "
        "are 750 tokens.",
        choose="For music, where what is to be predicted spans beats. Hidden before the front end, nothing of a hop is "
        "left in frames that reach into it, as it would be behind a mask on features with windows of 85 ms.",
        measure_statistics=True,
        frontend=preset("music128"),
        augment=ViewPlanConfig(wave=(HopMaskConfig(hop_seconds=0.4, hidden=0.6, sigma=0.1),), clean=(1,)),
        encoder=body.replace(mels=128, positions="rotary_before", final_norm=True),
        objective=base.objective.replace(corruption=None, views=2, terms=(HiddenStretchesConfig(CodeConfig(codes)),)),
        window=WindowConfig(seconds=30.0, short="pad") if paper else small_scale.window(5.12),
        loader=LoaderConfig(batch_seconds=7200.0) if paper else small_scale.loader(24),
        train=base.train if paper else base.train.replace(steps=1800),
    )
