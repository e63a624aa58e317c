"""MAE-AST: SSAST's terms behind a masked autoencoder's encoder (arXiv 2203.16691, Interspeech 2022)."""

from __future__ import annotations

from typing import Any

from auricle.audio.frontends.presets import preset
from auricle.corpus.loader import LoaderConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.contrastive.patch_contrast import Alike, PatchContrastConfig
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.heads import LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.placed_decoder import PlacedDecoderConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.ssast import ALIKE, ssast_paper, ssast_tiny
from auricle.recipes.notes import PADDED
from auricle.training.train_config import TrainConfig

MAE_AST = Method(
    name="mae-ast",
    paradigm="reconstruction",
    summary="MAE-AST: drop masked patches before the encoder; a short decoder discriminates and reconstructs them.",
)
NOTES = Notes(
    method="mae-ast",
    reference=Reference(
        title="MAE-AST: Masked Autoencoding Audio Spectrogram Transformer",
        authors="Alan Baade, Puyuan Peng, David Harwath",
        arxiv="2203.16691",
        section="3, and numbers of the released code",
    ),
    faithful=(
        "75 % of the patches masked one by one, dropped before a post-norm encoder of 12 layers with sinusoids over "
        "the patches, dropout 0.1 and layer drop 0.05; a decoder of 2 such layers over all patches (paper)",
        "contrast of each prediction with the masked patches of its clip (weight 1) and their reconstruction (weight "
        "10), raw patches, one linear layer each",
        "betas of 0.9 and 0.98, decay 0.01, a linear fall from 1e-4 after 32,000 of 400,000 steps, clipping at 10 "
        "(paper)",
    ),
    deviations=(
        "spectrograms normalised by the corpus to a deviation of 0.5; released code: by each batch, to the same",
        "mask tokens of std 0.02; released code: uniform in [0, 1)",
    ),
    cost="a quarter of the patches in the encoder, all in two layers: about a third of SSAST's with one mask",
    when_to_use="as SSAST, at less cost",
)


def _objective(decoder: PlacedDecoderConfig, alike: Alike) -> MaskedPredictionConfig:
    target, head = PatchTargetConfig(norm="none"), LinearHeadConfig(init="fan_in")
    return MaskedPredictionConfig(
        mask=RandomMask(ratio=0.75),
        hide="drop",
        decoder=decoder,
        terms=(
            PatchContrastConfig(target, head, over="patches", alike=alike),
            RegressionConfig(target, head, measure="l2", weight=10.0, name="patch_mse"),
        ),
    )


_DECODER: dict[str, Any] = {"positions": "sinusoid", "block_norm": "post", "pre_norm": True}
_ENCODER: dict[str, Any] = {
    "positions": "sinusoid", "block_norm": "post", "pre_norm": True, "final": "none", "cls": False, "eps": 1e-5,
    "init": "trunc_normal", "patch_init": "fan_in",
}  # fmt: skip


@MAE_AST.size("paper")
def mae_ast_paper() -> Recipe:
    """ViT-B on 10.24 s, 400,000 steps."""
    return ssast_paper().replace(
        name="mae-ast",
        notes=NOTES.with_deviations(
            "clips are padded to 10.24 s in batches of 2800 s; published: up to 1.4 million samples on each of 32 "
            "devices, cropped to the shortest clip",
            PADDED,
        ),
        measure_statistics=True,
        frontend=preset("kaldi128", window="povey", remove_clip_mean=False),
        loader=LoaderConfig(batch_seconds=32 * 1_400_000 / 16_000, workers=-1),
        encoder=layout(
            "audio_mae", "base", frames=1024, **_ENCODER, dropout=0.1, attention_dropout=0.1, layer_drop=0.05
        ),
        objective=_objective(PlacedDecoderConfig(768, 2, 12, dropout=0.1, **_DECODER), "negatives"),
        train=TrainConfig(
            steps=400_000, warmup_steps=32_000, lr=1e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98), eps=1e-6,
            weight_decay=0.01, clip_norm=10.0, save_every=4000,
        ),
    )  # fmt: skip


@MAE_AST.size("tiny")
def mae_ast_tiny() -> Recipe:
    """Small scale: width 192 on 2.56 s, 1500 steps."""
    return ssast_tiny().replace(
        name="mae-ast",
        notes=NOTES.with_deviations(
            ALIKE,
            "encoder of width 192 on 2.56 s, decoder of width 128, no dropout; published: 768 on 10.24 s, dropout 0.1, "
            "layer drop 0.05",
            "batch 24 for 1500 steps at 5e-4",
            *small_scale.DEVIATIONS,
        ),
        encoder=layout("audio_mae", "tiny", frames=256, **_ENCODER),
        objective=_objective(PlacedDecoderConfig(128, 2, 4, **_DECODER), "ignored"),
    )
