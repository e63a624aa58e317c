"""MusicFM: BEST-RQ for music, the waveform masked in hops of 0.4 s (arXiv 2311.03318, ICASSP 2024)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_masking import HopMaskConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.objectives.masks.hidden_stretches import HiddenStretchesConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.discrete_tokens.best_rq import best_rq_paper, best_rq_tiny
from auricle.recipes.notes import searched

MUSICFM = Method(
    name="musicfm",
    paradigm="discrete tokens",
    summary="MusicFM: BEST-RQ on longer stretches of music, masked before the front end, with rotary positions.",
)
NOTES = Notes(
    method="musicfm",
    reference=Reference(
        title="A Foundation Model for Music Informatics",
        authors="Won, Hung, Le",
        arxiv="2311.03318",
        section="2, and the released code",
    ),
    faithful=(
        "128 log-mel bins of audio at 24 kHz, 100 frames per second, standardised by the corpus (paper)",
        "hops of 0.4 s of the waveform are replaced by N(0, 0.1) noise with probability 0.6 each",
        "codes of the clean clip: 4 frames side by side, projected to 16 dimensions, seed 142, 4096 codes (paper)",
        "cross-entropy on the tokens of 25 Hz whose time was masked; a Conformer with rotary positions",
    ),
    deviations=(
        "natural logarithms where the original has decibels: the same after standardising",
        "noise that masks the waveform comes from one drawn noise for all clips of a batch, each from its own offset",
        "seed 142 draws other numbers in another generator: a projection of the same kind, not the same one",
    ),
    not_specified=searched(
        "paper, released code, which does not pre-train",
        "optimiser, learning rate and batch: those of BEST-RQ here (AdamW, 8e-4, two hours of audio in a batch)",
        "16 attention heads, a kernel of 31 and no dropout of whole layers (paper)",
    ),
    cost="As BEST-RQ, and the front end twice: of the masked and of the clean waveform. Thirty seconds of context are "
    "750 tokens.",
    when_to_use="For music, where the masked part should span beats. Hops masked before the front end leave no trace "
    "in the frames that reach into them, unlike a mask on features with windows of 85 ms.",
)


def _objective(codes: RandomProjectionTargetConfig) -> MaskedPredictionConfig:
    return MaskedPredictionConfig(
        mask=None, hide="none", views=2, decoder=NoDecoderConfig(), terms=(HiddenStretchesConfig(CodeConfig(codes)),)
    )


_VIEWS = ViewPlanConfig(wave=(HopMaskConfig(hop_seconds=0.4, hidden=0.6, sigma=0.1),), clean=(1,))


@MUSICFM.size("paper")
def musicfm_paper() -> Recipe:
    """12 blocks of width 1024 on 30 s, 4096 codes."""
    return best_rq_paper().replace(
        name="musicfm",
        notes=NOTES,
        measure_statistics=True,
        frontend=preset("music128"),
        augment=_VIEWS,
        encoder=ConformerConfig(width=1024, depth=12, heads=16, mels=128, positions="rotary_before", final_norm=True),
        objective=_objective(RandomProjectionTargetConfig(codes=4096, dim=16, seed=142, norm="none")),
        window=WindowConfig(seconds=30.0, short="pad"),
    )


@MUSICFM.size("tiny")
def musicfm_tiny() -> Recipe:
    """Small scale: 4 blocks of width 144 on 5.12 s, 256 codes, 1800 steps."""
    base = best_rq_tiny()
    return base.replace(
        name="musicfm",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            "encoder: a Conformer of 4 blocks of width 144; published: 12 of width 1024",
            "256 codes; published: 4096",
            "windows of 5.12 s in batches of 24; published: 30 s",
        ),
        measure_statistics=True,
        frontend=preset("music128"),
        augment=_VIEWS,
        encoder=ConformerConfig.size("tiny", mels=128, positions="rotary_before", final_norm=True),
        objective=_objective(RandomProjectionTargetConfig(codes=256, dim=16, seed=142, norm="none")),
        window=small_scale.window(5.12),
        loader=small_scale.loader(24),
        train=base.train.replace(steps=1800),
    )
