"""Wrappers of the audio models of transformers, one per kind: from samples, through their extractor, to token maps.

Letters in shapes: B clips of one length, S samples, T time tokens, F frequency tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError


@dataclass(frozen=True)
class Encoded:
    """Output for clips of one length: `(B, T, F, D)` maps; class tokens `(B, P, D)`; branches where known."""

    x: Tensor
    layers: tuple[Tensor, ...]
    cls: tuple[Tensor, ...] = ()
    branches: tuple[Tensor | None, ...] = field(default=())


class ModelWrapper(ABC):
    """Base of the wrappers.

    Attributes:
        model: the part of the model that encodes audio.
        rate: sample rate in Hz.
        width: D of the output.
        depth: L, number of layers; the model's hidden states are layers 0 ... L.
        freq: F, frequency tokens per time step.
        token_rate: time tokens per second.
        most: longest input in samples, or None for any.
        least: shortest input in samples.
        unit_variance: whether clips are normalised to zero mean and unit variance first.
        class_tokens: P, their number.
    """

    freq: int = 1
    class_tokens: int = 0
    most: int | None = None
    least: int = 1
    unit_variance: bool = False

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        self.model, self.extractor = model, extractor
        self.rate = int(extractor.sampling_rate)
        settings: Any = model.config
        self.width = _found(settings, model, "hidden_size", "d_model")
        self.depth = _found(settings, model, "num_hidden_layers", "encoder_layers", "num_layers")
        self.token_rate = 0.0

    @abstractmethod
    def steps(self, samples: int) -> int:
        """Return the time tokens of an input of `samples` samples."""

    @abstractmethod
    def encode(self, wave: Tensor) -> Encoded:
        """Encode clips `(B, S)` of one length, without padding."""

    def features(self, wave: Tensor, **options: Any) -> dict[str, Tensor]:
        """Return the features of the model's own extractor, computed on the CPU without gradients."""
        clips: list[np.ndarray] = [clip.detach().float().cpu().numpy() for clip in wave]
        with torch.autocast("cpu", enabled=False):
            found = self.extractor(clips, sampling_rate=self.rate, return_tensors="pt", **options)
        weight = next(self.model.parameters())
        return {name: v.to(weight.device, weight.dtype if v.is_floating_point() else None) for name, v in found.items()}


class WaveWrapper(ModelWrapper):
    """Models that read samples through a stack of convolutions: wav2vec 2.0 and its descendants.

    Some can be split between convolutions and transformer (`splits`), so that tokens can be hidden there.
    """

    # Models whose transformer masks padding; in the others it leaks through convolutions or norms.
    _EXACT = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"})
    _SPLIT = _EXACT | {"data2vec-audio", "wav2vec2-conformer"}

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        settings: Any = model.config
        self.unit_variance = bool(getattr(extractor, "do_normalize", False))
        self.splits = settings.model_type in self._SPLIT and getattr(model, "adapter", None) is None
        self.exact = settings.model_type in self._EXACT
        hop = int(np.prod(settings.conv_stride))
        # Each layer of an adapter after the transformer reduces the rate.
        adapted = settings.adapter_stride**settings.num_adapter_layers if getattr(model, "adapter", None) else 1
        self.token_rate = self.rate / (hop * adapted)
        self.least = smallest(lambda n: self.steps(n) >= 1, 16 * self.rate)

    def steps(self, samples: int) -> int:
        model: Any = self.model
        return int(model._get_feat_extract_output_lengths(torch.tensor(samples)))

    def encode(self, wave: Tensor) -> Encoded:
        return _as_maps(self.model(wave, output_hidden_states=True))

    def start(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the projected tokens `(B, T, D)`, and the stem's output `(B, T, C)` before and after its norm."""
        model: Any = self.model
        raw = model.feature_extractor(wave).transpose(1, 2)
        projected = model.feature_projection(raw)
        # HuBERT returns the projected tokens alone; the norm is the same.
        x = projected[0] if isinstance(projected, tuple) else projected
        return x, raw, model.feature_projection.layer_norm(raw)

    def finish(self, x: Tensor, valid: Tensor | None) -> Encoded:
        """Run the transformer on `(B, T, D)` and record its layers; `valid (B, T)` is False for padding."""
        model: Any = self.model
        blocks: list[Tensor] = []
        branches: list[Tensor | None] = [None]

        def first(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            blocks.append(args[0] if args else kwargs["hidden_states"])

        def after(_: nn.Module, __: Any, output: Any) -> None:
            blocks.append(output[0] if isinstance(output, tuple) else output)

        def branch(_: nn.Module, __: Any, output: Tensor) -> None:
            branches.append(output)

        layers = model.encoder.layers
        hooks = [layers[0].register_forward_pre_hook(first, with_kwargs=True)]
        for layer in layers:
            hooks.append(layer.register_forward_hook(after))
            # A Conformer's last branch is its second feed-forward layer.
            last = getattr(layer, "feed_forward", None) or layer.ffn2
            hooks.append(last.register_forward_hook(branch))
        try:
            # A copy, because the transformer zeroes padding in place.
            output = model.encoder(x if valid is None else x.clone(), attention_mask=valid)
        finally:
            for hook in hooks:
                hook.remove()
        maps = tuple(block.unsqueeze(2) for block in blocks)
        parts = tuple(None if b is None else b.unsqueeze(2) for b in branches)
        return Encoded(output[0].unsqueeze(2), maps, branches=parts)


class PatchWrapper(ModelWrapper):
    """AST: patches of a filter bank of fixed length, turned time-major, and two class tokens.

    A clip shorter than the model's input (10.24 s as published) is padded by its feature extractor, as in the original;
    tokens that begin beyond the clip's end are removed.
    """

    class_tokens = 2
    _WINDOW = 400  # samples; a clip shorter than one window of the filter bank is padded with zeros

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        settings: Any = model.config
        for name in ("max_length", "num_mel_bins"):
            own, found = getattr(settings, name), getattr(extractor, name, None)
            if own != found:
                raise ConfigError(
                    f"the model reads {own} and its feature extractor makes {found} ({name}, frames or bands); save "
                    "the model's own extractor in its folder (extractor.save_pretrained(folder))"
                )
        self.frames, self.stride = settings.max_length, settings.time_stride
        self.total = (settings.max_length - settings.patch_size) // settings.time_stride + 1
        self.freq = (settings.num_mel_bins - settings.patch_size) // settings.frequency_stride + 1
        self.hop = self.rate // 100
        self.token_rate = 100 / self.stride
        self.most = self._WINDOW + (self.frames - 1) * self.hop

    def steps(self, samples: int) -> int:
        frames = 1 + max(0, samples - self._WINDOW) // self.hop
        begun = -(-frames // self.stride)
        return min(begun, self.total) if frames <= self.frames else begun

    def encode(self, wave: Tensor) -> Encoded:
        count = self.steps(wave.shape[1])
        wave = F.pad(wave, (0, max(0, self._WINDOW - wave.shape[1])))
        output = self.model(**self.features(wave), output_hidden_states=True)

        def turned(x: Tensor) -> Tensor:
            return x[:, 2:].unflatten(1, (self.freq, self.total)).transpose(1, 2)[:, :count]

        hidden = output.hidden_states
        cls = tuple(h[:, :2] for h in (*hidden, output.last_hidden_state))
        return Encoded(turned(output.last_hidden_state), tuple(turned(h) for h in hidden), cls)


class WhisperWrapper(ModelWrapper):
    """Whisper's encoder: log-mel spectrogram of fixed length (30 s as published), the clip followed by silence.

    Tokens that begin beyond the clip's end are removed.
    """

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        settings: Any = model.config
        self.most = 2 * settings.max_source_positions * extractor.hop_length
        if extractor.n_samples != self.most:
            raise ConfigError(
                f"found a feature extractor of {extractor.n_samples} samples and a model of {self.most}; save the "
                "model's own extractor in its folder"
            )
        self.hop = 2 * extractor.hop_length
        self.token_rate = self.rate / self.hop

    def steps(self, samples: int) -> int:
        return max(1, -(-samples // self.hop))

    def encode(self, wave: Tensor) -> Encoded:
        output = self.model(self.features(wave)["input_features"], output_hidden_states=True)
        count = self.steps(wave.shape[1])
        cut = [h[:, :count].unsqueeze(2) for h in (*output.hidden_states, output.last_hidden_state)]
        return Encoded(cut[-1], tuple(cut[:-1]))


class ClapWrapper(ModelWrapper):
    """CLAP's audio tower (HTS-AT): a spectrogram of fixed length (10 s as published), folded to an image.

    Shorter clips are repeated to that length, as in the original; tokens that begin beyond the clip's end are removed.
    Each layer has its own grid and width.
    """

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        settings: Any = model.config
        self.depth = len(settings.depths)
        self.fold = settings.spec_size // settings.num_mel_bins
        side = settings.spec_size // settings.patch_stride[0] // 2 ** (self.depth - 1)
        self.freq, self.total = side // self.fold, side * self.fold
        self.width = settings.patch_embeds_hidden_size * 2 ** (self.depth - 1)
        self.most = int(extractor.nb_max_samples)
        self.token_rate = self.total * self.rate / self.most

    def steps(self, samples: int) -> int:
        return max(1, -(-samples * self.total // int(self.most or 1)))

    def encode(self, wave: Tensor) -> Encoded:
        inputs = self.features(wave)
        # The extractor marks a random clip as longer than the input where none is.
        inputs["is_longer"] = torch.zeros_like(inputs["is_longer"])
        output = self.model(**inputs, output_hidden_states=True)
        most = int(self.most or 1)

        def cut(x: Tensor) -> Tensor:
            """Turn `(B, D, F, T)` time-major and remove what is beyond the clip's end."""
            return x.permute(0, 3, 2, 1)[:, : -(-wave.shape[1] * x.shape[3] // most)]

        def unfolded(x: Tensor) -> Tensor:
            """Undo the folding of time along the image's rows."""
            bands = x.unflatten(2, (self.fold, x.shape[2] // self.fold))
            return bands.permute(0, 1, 3, 2, 4).flatten(3)

        return Encoded(cut(output.last_hidden_state), tuple(cut(unfolded(h)) for h in output.hidden_states))


class FramesWrapper(ModelWrapper):
    """Any other model with a `last_hidden_state (B, T, D)`; steps and rate are measured on silence."""

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        self._known: dict[int, int] = {}
        self.least = self.rate // 10
        one, two = self.steps(2 * self.rate), self.steps(4 * self.rate)
        self.token_rate = (two - one) / 2

    def steps(self, samples: int) -> int:
        # Longer than 30 s: by proportion.
        if samples > 30 * self.rate:
            return self.steps(30 * self.rate) + round((samples / self.rate - 30) * self.token_rate)
        if samples not in self._known:
            training = self.model.training
            with torch.no_grad():
                self.encode(torch.zeros(1, samples, device=next(self.model.parameters()).device))
            self.model.train(training)
        return self._known[samples]

    def encode(self, wave: Tensor) -> Encoded:
        output = self.model(**self.features(wave), output_hidden_states=True)
        last = getattr(output, "last_hidden_state", None)
        if not isinstance(last, Tensor) or last.dim() != 3:
            raise ConfigError(
                f"{type(self.model).__name__} returns no token map (B, T, D); wrap it in your own callable "
                "(`module:Class`, see `auricle check encoder`)"
            )
        self._known[wave.shape[1]] = last.shape[1]
        return _as_maps(output)


def _as_maps(output: Any) -> Encoded:
    hidden = output.hidden_states or (output.last_hidden_state,)
    return Encoded(output.last_hidden_state.unsqueeze(2), tuple(h.unsqueeze(2) for h in hidden))


def _found(settings: Any, model: nn.Module, *names: str) -> int:
    for name in names:
        if isinstance(getattr(settings, name, None), int):
            return int(getattr(settings, name))
    raise ConfigError(
        f"{type(model).__name__} has no {names[0]}, so it is no encoder of token maps; wrap it in your own callable "
        "(`module:Class`, see `auricle check encoder`)"
    )


def smallest(enough: Callable[[int], bool], most: int) -> int:
    """Return the smallest number in 1 ... `most` that is `enough`, by bisection."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def wrap_model(model: Any, extractor: Any) -> ModelWrapper:
    """Return the wrapper of a model, or of its part that encodes audio."""
    kind = model.config.model_type
    if kind == "clap":
        return ClapWrapper(model.audio_model, extractor)
    if kind == "whisper":
        return WhisperWrapper(model.get_encoder(), extractor)
    if kind == "audio-spectrogram-transformer":
        return PatchWrapper(model, extractor)
    if hasattr(model, "feature_extractor") and hasattr(model, "_get_feat_extract_output_lengths"):
        return WaveWrapper(model, extractor)
    return FramesWrapper(model.get_encoder() if model.config.is_encoder_decoder else model, extractor)
