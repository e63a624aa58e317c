"""WavLM: HuBERT on mixed speech, with gated relative positions (arXiv 2110.13900)."""

from __future__ import annotations

from auricle.audio.ops.wave_mixing import UtteranceMixConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.recipes import Method, Notes, Recipe, Reference
from auricle.recipes.methods.discrete_tokens.hubert import (
    BATCHES,
    DEVIATIONS,
    FAITHFUL,
    TINY,
    TINY_ENCODER,
    hubert_paper,
    hubert_tiny,
)
from auricle.recipes.notes import searched

WAVLM = Method(
    name="wavlm",
    paradigm="discrete tokens",
    summary="WavLM: HuBERT's task with other speech or noise mixed into a fifth of the clips; codes of the clean clip.",
    learns="tests/learning/test_learn_wavlm.py",
)
NOTES = Notes(
    method="wavlm",
    reference=Reference(
        title="WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
        authors="Chen, Wang, Chen et al.",
        arxiv="2110.13900",
        section="III, IV, the released models' settings, and the mixing of the released training code",
    ),
    faithful=(
        "a fifth of the clips is mixed, over at most half of their length: 9 of 10 with another clip (-5 to 5 dB), the "
        "others with noise (-5 to 20 dB); codes belong to the clean clip",
        "relative positions in 320 buckets, learned, gated by each layer's input; convolutional positions too",
        *FAITHFUL,
    ),
    deviations=(
        "noise is white and Gaussian; published: recordings of noise",
        "partners come from the batch before mixing; the released code mixes in place, so that a later clip may get a "
        "partner that is mixed already",
        *DEVIATIONS,
    ),
    not_specified=searched(
        "paper, released code",
        BATCHES,
        "probabilities: the paper's (0.2; noise 0.1 of those); the released task's own default is 0.5 and 0.5",
        "the largest distance of the buckets: 800, the released models' (the code's default is 1280)",
    ),
    cost="As HuBERT: a step encodes each clip once, in the second iteration the encoder of the first as well. Relative "
    "positions cost a bias for each pair of steps and head.",
    when_to_use="As HuBERT, where voices overlap or noise covers them: separation, diarisation, speakers. Accuracy on "
    "mixed clips stays below that on clean ones.",
)


@WAVLM.size("paper")
def wavlm_paper() -> Recipe:
    """The constants of the base model."""
    return hubert_paper().replace(
        name="wavlm",
        notes=NOTES,
        augment=ViewPlanConfig(wave=(UtteranceMixConfig(),)),
        encoder=WaveformTransformerConfig.size("wavlm_base"),
    )


@WAVLM.size("tiny")
def wavlm_tiny() -> Recipe:
    """Small scale: HuBERT's tiny size on mixed clips."""
    return hubert_tiny().replace(
        name="wavlm",
        notes=NOTES.with_deviations(*TINY),
        augment=ViewPlanConfig(wave=(UtteranceMixConfig(),)),
        encoder=WaveformTransformerConfig.size("tiny", **TINY_ENCODER, bias="wavlm"),
    )
