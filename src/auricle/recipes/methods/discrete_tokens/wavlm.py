"""WavLM: HuBERT on mixed speech, with gated relative positions (arXiv 2110.13900)."""

from __future__ import annotations

from auricle.audio.ops.wave_mixing import UtteranceMixConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.recipes.methods.discrete_tokens.hubert import hubert
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("wavlm", sizes=("tiny", "paper"), paradigm="discrete tokens")
def wavlm(size: str = "tiny") -> Recipe:
    """WavLM: HuBERT's task where other speech or noise lies over a fifth of the clips; codes are the clean clip's.

    Args:
        size: `paper` has the constants of the base model; `tiny` is for hours of audio and two cores.
    """
    base = hubert(size)
    small = WaveformTransformerConfig.size("tiny", depth=6, stem_gradient=1.0, bias="wavlm")
    return base.replace(
        name="wavlm",
        reference=Reference(
            title="WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
            authors="Chen, Wang, Chen et al.",
            arxiv="2110.13900",
            section="III, IV, the released models' settings, and the mixing of the released training code",
        ),
        deviations=(
            *base.deviations,
            "noise is white and Gaussian; published: recordings of noise",
            "partners come from the batch as it was; the released code mixes in place, so that a later clip may get a "
            "partner that was mixed already",
        ),
        kept=(
            *base.kept,
            "a fifth of the clips is mixed, over at most half of their length: 9 of 10 with another clip (-5 to 5 dB), "
            "the others with noise (-5 to 20 dB); codes belong to the clean clip",
            "relative positions in 320 buckets, learned, gated by each layer's input; convolutional positions too",
        ),
        unknown=(
            *base.unknown,
            "probabilities: the paper's (0.2; noise 0.1 of those); the released task's own default is 0.5 and 0.5",
            "the largest distance of the buckets: 800, the released models' (the code's default is 1280)",
        ),
        cost=f"{base.cost} Relative positions cost a bias for each pair of steps and head.",
        choose="As HuBERT, where voices overlap or noise lies over them: separation, diarisation, speakers. Accuracy "
        "on mixed clips stays below that on clean ones.",
        augment=ViewPlanConfig(wave=(UtteranceMixConfig(),)),
        encoder=WaveformTransformerConfig.size("wavlm_base") if size == "paper" else small,
    )
