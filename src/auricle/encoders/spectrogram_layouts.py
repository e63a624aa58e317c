"""Published encoders as settings of the spectrogram transformer."""

from __future__ import annotations

from typing import Any

from auricle.config import nearest
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError

_SIZES = SpectrogramTransformerConfig.sizes
# A vision transformer as published: no norm before the blocks, one after them, on every token.
_VIT: dict[str, Any] = {"patch_norm": False, "pre_norm": False, "final": "norm", "drop_path": 0.0}
# BERT's encoder on frames: the sum of projection and positions is normalised, and so is every residual sum.
_BERT: dict[str, Any] = {
    "patch": (1, 80),
    "mels": 80,
    "frames": 3000,
    "positions": "sinusoid",
    "patch_norm": False,
    "pre_norm": True,
    "block_norm": "post",
    "final": "none",
    "cls": False,
    "pooling": "mean",
    "drop_path": 0.0,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "eps": 1e-12,
}
_DEIT: dict[str, Any] = {
    **_VIT,
    "patch_init": "fan_in",
    "class_tokens": 2,
    "cls_std": 0.02,
    "position_init": "normal",
    "pooling": "mean_of_cls",
}
_MAE: dict[str, Any] = {
    **_VIT,
    "positions": "sincos",
    "init": "xavier_uniform",
    "patch_init": "xavier_weights",
    "cls_std": 0.02,
    "pooling": "mean",
}
_ATST: dict[str, Any] = {
    **_VIT,
    "patch": (4, 64),
    "mels": 64,
    "frames": 1000,
    "qkv_bias": False,
    "position_init": "normal",
    "cls_std": 0.02,
}

_EAT: dict[str, Any] = {
    **_MAE,
    "init": "trunc_normal",
    "cls_std": 1.0,
    "pre_norm": True,
    "block_norm": "post",
    "final": "none",
    "pooling": "cls",
}

LAYOUTS: dict[str, dict[str, Any]] = {
    "ast": {**_DEIT, "stride": (10, 10)},
    "ssast": {**_DEIT, "pooling": "mean"},
    "ssast_frame": {**_DEIT, "pooling": "mean", "patch": (2, 128)},
    "audio_mae": _MAE,
    "maskspec": {**_MAE, "frames": 1008},
    "msm_mae": {**_MAE, "mels": 80, "frames": 208, "pooling": "concat_freq"},
    "m2d": {**_MAE, "mels": 80, "frames": 608, "pooling": "concat_freq"},
    "eat": _EAT,
    "bat": {**_EAT, "init": "xavier_uniform", "patch_init": "fan_in", "cls_std": 0.02, "attention_gate": True},
    "atst_clip": {**_ATST, "pooling": "cls"},
    "atst_frame": {**_ATST, "cls": False, "pooling": "mean"},
    "dasheng": {
        **_VIT,
        "patch": (4, 64),
        "mels": 64,
        "frames": 1008,
        "positions": "learned_separate",
        "input_norm": "batch",
        "init": "xavier_uniform",
        "patch_init": "fan_in",
        "cls": False,
        "pooling": "mean",
    },
    "mockingjay": _BERT,
    "tera": _BERT,
    "audio_albert": {**_BERT, "shared_layers": True},
    "decoar2": {**_BERT, "positions": "conv", "layer_drop": 0.05, "eps": 1e-5},
}

# Sizes of methods that differ from the common ones.
_OWN_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    name: {
        "tiny": {"width": 192, "depth": 3, "heads": 3},
        "small": {"width": 384, "depth": 3, "heads": 6},
        "base": {"width": 768, "depth": 3, "heads": 12},
        "large": {"width": 768, "depth": 12, "heads": 12},
    }
    for name in ("mockingjay", "tera", "audio_albert")
}
_OWN_SIZES["dasheng"] = {
    **_SIZES,
    "0.6B": {"width": 1280, "depth": 32, "heads": 16},
    "1.2B": {"width": 1536, "depth": 40, "heads": 24},
}


def layout(name: str, size: str = "base", **changes: Any) -> SpectrogramTransformerConfig:
    """Return the settings of a published encoder, with any changed.

    Names, with our choices where papers don't specify a setting or disagree with their code:

    - `ast`: AST (arXiv 2104.01778): patches 16 x 16 every 10, class and distillation token, 86.19 M.
    - `ssast`, `ssast_frame`: SSAST (arXiv 2110.09784): patches 16 x 16, or 2 frames x 128 bins; clip vectors are means.
    - `audio_mae`: Audio-MAE (arXiv 2207.06405): fixed sin-cos (its code: on the transposed grid), class token,
      1024 x 128. Its clip vector is the mean.
    - `maskspec`: MaskSpec (arXiv 2204.12768): the same at 10 s (1008 frames, which 16 divides).
    - `msm_mae`, `m2d`: MSM-MAE (arXiv 2204.12260) and M2D (arXiv 2210.14648): 80 bins; clip vectors are the 5
      frequency tokens of a time step side by side, averaged over time.
    - `eat`, `bat`: EAT (arXiv 2401.03497): one more norm, then post-norm blocks; its clip vector is the class token.
      BAT (ICML 2026) is the same with gated attention.
    - `atst_clip`, `atst_frame`: ATST (arXiv 2204.12076, 2306.04186): 4 frames x 64 bins; queries, keys and values
      have no bias. Both have positions for 10 s; crops of 6 s use the first of them.
    - `dasheng`: Dasheng (arXiv 2406.06992): 4 frames x 64 bins, separate learned positions of times and frequencies,
      batch norm of each bin. Inputs above 1008 frames must be cut into windows, in which positions restart, as
      published. Also sizes `0.6B` and `1.2B`.
    - `mockingjay`, `tera` (arXiv 1910.12638, 2007.06028): frames of 80 bins, BERT blocks, 3 layers (large: 12);
      `audio_albert` (arXiv 2005.08575): one block for all layers. At most 30 s (chosen). Dropout is 0.1; TERA's
      configurations have 0.1 or 0.3.
    - `decoar2`: DeCoAR 2.0 (arXiv 2012.06659): frames of 80 bins, convolutional positions, 12 layers, layer drop 0.05;
      post-norm and dropout as in wav2vec 2.0 base (chosen).

    Args:
        name: of the method.
        size: `tiny`, `small`, `base` (the published one), or `large`.
        changes: settings to override.

    Raises:
        ConfigError: no such encoder or size.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"unknown layout {name!r}{nearest(name, LAYOUTS)}")
    sizes = _OWN_SIZES.get(name, _SIZES)
    if size not in sizes:
        raise ConfigError(f"unknown size {size!r} of {name}{nearest(size, sizes)}")
    return SpectrogramTransformerConfig(**{**LAYOUTS[name], **sizes[size], **changes})
