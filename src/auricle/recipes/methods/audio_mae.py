"""Audio-MAE: masked autoencoding of spectrogram patches (arXiv 2207.06405, NeurIPS 2022)."""

from __future__ import annotations

from auricle.audio.kaldi_fbank import KaldiFbankConfig
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.objectives.decoder import TransformerDecoderConfig
from auricle.objectives.input_targets import PatchTargetConfig
from auricle.objectives.mask_samplers import RandomMask
from auricle.objectives.masked_prediction import MaskedPredictionConfig
from auricle.objectives.terms import RegressionConfig
from auricle.recipes import two_cores
from auricle.recipes.recipe import Recipe, Reference, recipe

REFERENCE = Reference(
    title="Masked Autoencoders that Listen", authors="Huang et al.", arxiv="2207.06405", section="3, 4.1"
)


@recipe("audio-mae", sizes=("tiny", "paper"))
def audio_mae(size: str = "tiny") -> Recipe:
    """Audio-MAE: an encoder sees a fifth of the patches, a decoder reconstructs the others.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    term = RegressionConfig(PatchTargetConfig(norm="patch"), measure="l2", name="patch_mse")
    return Recipe(
        name="audio-mae",
        size=size,
        reference=REFERENCE,
        frontend=KaldiFbankConfig(),
        augment=PlainViewsConfig(),
        encoder=SpectrogramTransformerConfig.size(
            "base" if paper else "tiny",
            frames=1024 if paper else 256,
            patch_norm=False,
            pre_norm=False,
            final="norm",
            drop_path=0.0,
            pooling="mean",
        ),
        objective=MaskedPredictionConfig(
            mask=RandomMask(ratio=0.8),
            hide="drop",
            decoder=TransformerDecoderConfig(width=512, depth=16, heads=16)
            if paper
            else TransformerDecoderConfig(width=128, depth=2, heads=4),
            terms=(term,),
        ),
        window=two_cores.window(10.24 if paper else 2.56),
        loader=two_cores.loader(512 if paper else 64),
        train=two_cores.train(1500, 5e-4),
    )
