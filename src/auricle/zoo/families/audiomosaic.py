"""AudioMosaic's published checkpoints: import and export.

Source: arXiv 2605.14231; names and shapes of the released code (MIT licence), commit 67a86a89. Weights are published in
the collection `hanxunh/AudioMosaic-*` of the Hugging Face Hub as `model.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.config import nearest
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.errors import CheckpointError, ConfigError
from auricle.storage import write_atomic
from auricle.tensor_files import tensor_bytes
from auricle.zoo.safe_load import check_keys, load_tensors

MELS, PATCH = 128, 16
_FREQ = MELS // PATCH

# Statistics of the released models' training data: (mean, std); features are (x - mean) / (2 std).
STATISTICS: dict[str, tuple[float, float]] = {
    "audioset": (-4.2677393, 4.5689974),
    "esc50": (-6.6268077, 5.358466),
    "speech_commands": (-6.845978, 5.5654526),
}

_OUTSIDE_BLOCKS = {
    "cls_token": "cls_token",
    "positions": "pos_embed",
    "patch_proj": "patch_embed.proj",
    "patch_norm": "patch_embed.norm",
    "norm_pre": "norm_pre",
    "fc_norm": "fc_norm",
}
_IN_BLOCK = {
    "norm1": "norm1",
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
Resize = Literal["legacy", "true"]


class AudioMosaicCheckpoint(NamedTuple):
    """Content of a published file.

    Attributes:
        encoder: with the file's weights.
        projector: state dict of the projector (`0.weight`, `1.bias` ...); empty where the file has none.
        rest: other tensors of the file (a classifier's `head.weight`, a probe's weights), by their official names.
    """

    encoder: SpectrogramTransformer
    projector: dict[str, Tensor]
    rest: dict[str, Tensor]


def official_name(name: str) -> str:
    """Return the official name of one of our encoder's parameters.

    Raises:
        CheckpointError: AudioMosaic has no such parameter.
    """
    parts = name.split(".")
    if parts[0] == "blocks" and len(parts) == 4 and parts[2] in _IN_BLOCK:
        return f"blocks.{parts[1]}.{_IN_BLOCK[parts[2]]}.{parts[3]}"
    if parts[0] not in _OUTSIDE_BLOCKS:
        raise CheckpointError(f"AudioMosaic has no counterpart of {name}; its encoder ends with fc_norm")
    return ".".join([_OUTSIDE_BLOCKS[parts[0]], *parts[1:]])


def to_official(encoder: SpectrogramTransformer, projector: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return our weights under the official names and shapes.

    Args:
        encoder: with AudioMosaic's architecture.
        projector: its projector's state dict, or None.

    Raises:
        CheckpointError: the encoder has parts that AudioMosaic lacks.
    """
    _check_kind(encoder.config)
    state = {}
    for name, tensor in encoder.state_dict().items():
        if name == "patch_proj.weight":
            tensor = tensor.unflatten(1, (1, *encoder.config.patch))
        state[official_name(name)] = tensor
    for name, tensor in (projector or {}).items():
        state[f"projector.{name}"] = tensor
    return state


def _check_kind(config: SpectrogramTransformerConfig) -> None:
    """Refuse a spectrogram transformer with equal parameter names but another architecture."""
    plain = SpectrogramTransformerConfig()
    block = ("block_norm", "shared_layers", "layer_scale", "qkv_bias")
    names = ("stride", "input_norm", "class_tokens", "positions", *block)
    other = [name for name in names if getattr(config, name) != getattr(plain, name)]
    if other or not config.cls:
        what = ", ".join(f"{name} {getattr(config, name)!r}" for name in other) or "cls False"
        raise CheckpointError(f"the encoder is not AudioMosaic's ({what}); its weights have no official names")


def from_official(
    state: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    frames: int | None = None,
    resize: Resize = "legacy",
    source: str = "the state dict",
) -> AudioMosaicCheckpoint:
    """Build our encoder from an official state dict; its size is read off the shapes.

    Args:
        state: the official names and tensors.
        heads: attention heads, not known from shapes; None: heads of width 64, as published.
        frames: longest input of the encoder; None: the checkpoint's own. Positions are resized to others.
        resize: see `resize_positions`.
        source: of the state dict, for errors.

    Raises:
        CheckpointError: another model's state dict, with what is missing and unexpected.
    """
    anchors = [name for name in ("cls_token", "pos_embed", "patch_embed.proj.weight") if name not in state]
    if anchors:
        raise CheckpointError(
            f"{source} lacks {', '.join(anchors)}, which every AudioMosaic checkpoint has; found names such as "
            f"{', '.join(sorted(state)[:4])}. Load it with its own model"
        )
    width = state["cls_token"].shape[-1]
    depth = 1 + max((int(n.split(".")[1]) for n in state if n.startswith("blocks.")), default=-1)
    tokens = state["pos_embed"].shape[1] - 1
    if tokens % _FREQ or tokens < _FREQ or depth < 1 or (heads is None and width % 64):
        raise CheckpointError(
            f"{source} has width {width}, {depth} blocks and {tokens} positions; expected {_FREQ} positions per time "
            "column, and heads of width 64 (or set `heads`)"
        )
    config = SpectrogramTransformerConfig(
        width=width,
        depth=depth,
        heads=width // 64 if heads is None else heads,
        mels=MELS,
        patch=(PATCH, PATCH),
        frames=tokens // _FREQ * PATCH if frames is None else frames,
        position_init_grid="released",
    )
    encoder = SpectrogramTransformer(config)
    official = dict(state)
    official["pos_embed"] = resize_positions(state["pos_embed"], config.frames // PATCH, resize)
    named = {name: official_name(name) for name in encoder.state_dict()}
    inside = {name: official.pop(name) for name in named.values() if name in official}
    projector = {n.removeprefix("projector."): official.pop(n) for n in list(official) if n.startswith("projector.")}
    others = {name: t for name, t in official.items() if name.startswith(("blocks.", "patch_embed.", "norm"))}
    check_keys({**inside, **others}, to_official(encoder), source)
    weights = {name: inside[other] for name, other in named.items()}
    weights["patch_proj.weight"] = weights["patch_proj.weight"].flatten(1)
    encoder.to(weights["positions"].dtype).load_state_dict(weights)
    return AudioMosaicCheckpoint(encoder, projector, official)


def resize_positions(table: Tensor, time: int, resize: Resize = "legacy") -> Tensor:
    """Resize learned positions `(1, 1 + N, D)` to `time` columns of 8, bilinearly; the class token's is kept.

    `legacy`, as in the released code, views the old sequence as rows of `time` columns and resizes the rows to 8, so
    that time and frequency are mixed. `true` resizes the time axis of the grid.

    Raises:
        ConfigError: an unknown way, or a legacy resize to columns that don't divide the old positions.
    """
    old = table.shape[1] - 1
    if old == time * _FREQ:
        return table
    if resize == "legacy":
        if old % time:
            raise ConfigError(f"{old} positions can't be viewed as rows of {time}, as a legacy resize does; use 'true'")
        rows, columns, size = old // time, time, (_FREQ, time)
    elif resize == "true":
        rows, columns, size = old // _FREQ, _FREQ, (time, _FREQ)
    else:
        raise ConfigError(f"unknown resize {resize!r}, expected 'legacy' or 'true'")
    grid = table[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
    grid = F.interpolate(grid, size=size, mode="bilinear", align_corners=False)
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def load_audiomosaic(
    path: str | Path, *, heads: int | None = None, frames: int | None = None, resize: Resize = "legacy"
) -> AudioMosaicCheckpoint:
    """Load a published file (`model.safetensors`, or a bare `model_state_dict.pt` read without unpickling code).

    See `from_official` for the arguments.

    Raises:
        CheckpointError: missing, truncated, unsafe, or another model's.
    """
    return from_official(load_tensors(path), heads=heads, frames=frames, resize=resize, source=str(path))


def save_audiomosaic(
    path: str | Path, encoder: SpectrogramTransformer, projector: Mapping[str, Tensor] | None = None
) -> Path:
    """Write weights as safetensors under the official names, atomically.

    Raises:
        CheckpointError: the encoder has parts that AudioMosaic lacks.
        StorageError: the file can't be written.
    """
    path = Path(path)
    write_atomic(path, tensor_bytes(to_official(encoder, projector), {"format": "pt"}))
    return path


def frozen_audiomosaic(
    path: str | Path, *, statistics: str = "audioset", resize: Resize = "legacy", name: str = "AudioMosaic (published)"
) -> FrozenEncoder:
    """Load a published file with its front end, ready to embed.

    Args:
        path: the file.
        statistics: key of `STATISTICS` that the model was trained with.
        resize: see `resize_positions`.
        name: for tables.

    Raises:
        CheckpointError: see `load_audiomosaic`.
        ConfigError: unknown statistics.
    """
    if statistics not in STATISTICS:
        raise ConfigError(f"unknown statistics {statistics!r}{nearest(statistics, STATISTICS)}")
    mean, std = STATISTICS[statistics]
    frontend = KaldiFbankConfig(mean=mean, std=std, divisor=2.0).build()
    encoder = load_audiomosaic(path, resize=resize).encoder.float()
    notes = (
        "released weights, arXiv 2605.14231, MIT licence",
        "clips shorter than the longest input are not padded to it: padding is never attended to",
    )
    return FrozenEncoder(frontend, encoder, name=name, notes=notes)
