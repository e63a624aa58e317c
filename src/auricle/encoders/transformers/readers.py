"""How the audio models of transformers are fed, and what of their output is a token map: one reader a kind.

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
    """What a model says of clips of one length: `(B, T, F, D)` maps; class tokens `(B, P, D)`; branches where known."""

    x: Tensor
    layers: tuple[Tensor, ...]
    cls: tuple[Tensor, ...] = ()
    branches: tuple[Tensor | None, ...] = field(default=())


class Reader(ABC):
    """Base of the readers.

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
        class_tokens: P, how many there are.
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
        """Return the time tokens of an input of so many samples."""

    @abstractmethod
    def encode(self, wave: Tensor) -> Encoded:
        """Encode clips `(B, S)` of one length, none of them padded."""

    def features(self, wave: Tensor, **options: Any) -> dict[str, Tensor]:
        """Let the model's own feature extractor read clips; it computes on the CPU, without gradients."""
        clips: list[np.ndarray] = [clip.detach().float().cpu().numpy() for clip in wave]
        with torch.autocast("cpu", enabled=False):
            found = self.extractor(clips, sampling_rate=self.rate, return_tensors="pt", **options)
        weight = next(self.model.parameters())
        return {name: v.to(weight.device, weight.dtype if v.is_floating_point() else None) for name, v in found.items()}


class WaveReader(Reader):
    """Models that read samples through a stack of convolutions: wav2vec 2.0 and its descendants.

    Some of them can be entered between convolutions and transformer (`splits`), so that tokens can be hidden there.
    """

    # Their transformer ignores padding that it is told of; in the others it leaks through convolutions or norms.
    _EXACT = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"})
    _SPLIT = _EXACT | {"data2vec-audio", "wav2vec2-conformer"}

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        settings: Any = model.config
        self.unit_variance = bool(getattr(extractor, "do_normalize", False))
        self.splits = settings.model_type in self._SPLIT and getattr(model, "adapter", None) is None
        self.exact = settings.model_type in self._EXACT
        hop = int(np.prod(settings.conv_stride))
        # An adapter behind the transformer halves the rate, once a layer of it.
        adapted = settings.adapter_stride**settings.num_adapter_layers if getattr(model, "adapter", None) else 1
        self.token_rate = self.rate / (hop * adapted)
        self.least = smallest(lambda n: self.steps(n) >= 1, 16 * self.rate)

    def steps(self, samples: int) -> int:
        """Return the frames after all convolutions, by the model's own formula."""
        model: Any = self.model
        return int(model._get_feat_extract_output_lengths(torch.tensor(samples)))

    def encode(self, wave: Tensor) -> Encoded:
        """Run the whole model."""
        return _as_maps(self.model(wave, output_hidden_states=True))

    def start(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the projected `(B, T, D)`, and the convolutions' `(B, T, C)` before and after their norm."""
        model: Any = self.model
        raw = model.feature_extractor(wave).transpose(1, 2)
        projected = model.feature_projection(raw)
        # HuBERT returns the projected alone; the norm is the same.
        x = projected[0] if isinstance(projected, tuple) else projected
        return x, raw, model.feature_projection.layer_norm(raw)

    def finish(self, x: Tensor, valid: Tensor | None) -> Encoded:
        """Run the transformer on `(B, T, D)`, watching its layers; `valid (B, T)` tells of padding."""
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


class PatchReader(Reader):
    """AST: patches of a filter bank of fixed length; its two class tokens are kept, patches turned time-major.

    A clip shorter than the model's input (10.24 s as published) is filled up by its feature extractor, as in the
    original; tokens that begin beyond the clip's end are cut off.
    """

    class_tokens = 2
    _WINDOW = 400  # samples; a clip shorter than one window of the filter bank is filled up with zeros

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        settings: Any = model.config
        self.frames, self.stride = settings.max_length, settings.time_stride
        self.total = (settings.max_length - settings.patch_size) // settings.time_stride + 1
        self.freq = (settings.num_mel_bins - settings.patch_size) // settings.frequency_stride + 1
        self.hop = self.rate // 100
        self.token_rate = 100 / self.stride
        self.most = self._WINDOW + (self.frames - 1) * self.hop

    def steps(self, samples: int) -> int:
        """Return the patches that begin within the clip."""
        frames = 1 + max(0, samples - self._WINDOW) // self.hop
        begun = -(-frames // self.stride)
        return min(begun, self.total) if frames <= self.frames else begun

    def encode(self, wave: Tensor) -> Encoded:
        """Run the model on the extractor's filter bank."""
        count = self.steps(wave.shape[1])
        wave = F.pad(wave, (0, max(0, self._WINDOW - wave.shape[1])))
        output = self.model(**self.features(wave), output_hidden_states=True)

        def turned(x: Tensor) -> Tensor:
            return x[:, 2:].unflatten(1, (self.freq, self.total)).transpose(1, 2)[:, :count]

        hidden = output.hidden_states
        cls = tuple(h[:, :2] for h in (*hidden, output.last_hidden_state))
        return Encoded(turned(output.last_hidden_state), tuple(turned(h) for h in hidden), cls)


class WhisperReader(Reader):
    """Whisper's encoder: log-mel spectrogram of fixed length (30 s as published), silence behind the clip.

    Tokens that begin beyond the clip's end are cut off.
    """

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        settings: Any = model.config
        self.most = 2 * settings.max_source_positions * extractor.hop_length
        if extractor.n_samples != self.most:
            raise ConfigError(
                f"found a feature extractor of {extractor.n_samples} samples and a model of {self.most}; save the one "
                "that belongs to the model beside it"
            )
        self.hop = 2 * extractor.hop_length
        self.token_rate = self.rate / self.hop

    def steps(self, samples: int) -> int:
        """Return the tokens that begin within the clip."""
        return max(1, -(-samples // self.hop))

    def encode(self, wave: Tensor) -> Encoded:
        """Run the encoder on the extractor's spectrogram."""
        output = self.model(self.features(wave)["input_features"], output_hidden_states=True)
        count = self.steps(wave.shape[1])
        cut = [h[:, :count].unsqueeze(2) for h in (*output.hidden_states, output.last_hidden_state)]
        return Encoded(cut[-1], tuple(cut[:-1]))


class ClapReader(Reader):
    """CLAP's audio tower (HTS-AT): a spectrogram of fixed length (10 s as published), folded to an image.

    Shorter clips are repeated to that length, as in the original; tokens that begin beyond the clip's end are cut off.
    Layers have their own grids and widths.
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
        """Return the time steps that begin within the clip."""
        return max(1, -(-samples * self.total // int(self.most or 1)))

    def encode(self, wave: Tensor) -> Encoded:
        """Run the audio tower on the extractor's spectrogram."""
        inputs = self.features(wave)
        # The extractor marks one clip at random as longer than the input where none is: none is, here.
        inputs["is_longer"] = torch.zeros_like(inputs["is_longer"])
        output = self.model(**inputs, output_hidden_states=True)
        most = int(self.most or 1)

        def cut(x: Tensor) -> Tensor:
            """From `(B, D, F, T)` with all T to time-major with the clip's own."""
            return x.permute(0, 3, 2, 1)[:, : -(-wave.shape[1] * x.shape[3] // most)]

        def unfolded(x: Tensor) -> Tensor:
            """Lay the bands of time that are stacked on the image's rows behind each other."""
            bands = x.unflatten(2, (self.fold, x.shape[2] // self.fold))
            return bands.permute(0, 1, 3, 2, 4).flatten(3)

        return Encoded(cut(output.last_hidden_state), tuple(cut(unfolded(h)) for h in output.hidden_states))


class FramesReader(Reader):
    """Any other model: its own feature extractor, then its `last_hidden_state (B, T, D)`; the rate is measured."""

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__(model, extractor)
        self._known: dict[int, int] = {}
        self.least = self.rate // 10
        one, two = self.steps(2 * self.rate), self.steps(4 * self.rate)
        self.token_rate = (two - one) / 2

    def steps(self, samples: int) -> int:
        """Return the tokens of an input, from a run on silence; beyond 30 s by proportion."""
        if samples > 30 * self.rate:
            return self.steps(30 * self.rate) + round((samples / self.rate - 30) * self.token_rate)
        if samples not in self._known:
            training = self.model.training
            with torch.no_grad():
                self.encode(torch.zeros(1, samples, device=next(self.model.parameters()).device))
            self.model.train(training)
        return self._known[samples]

    def encode(self, wave: Tensor) -> Encoded:
        """Run the model on what its extractor makes of the clips."""
        output = self.model(**self.features(wave), output_hidden_states=True)
        last = getattr(output, "last_hidden_state", None)
        if not isinstance(last, Tensor) or last.dim() != 3:
            raise ConfigError(
                f"{type(self.model).__name__} returns no token map (B, T, D); wrap it yourself as a callable "
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
        f"{type(model).__name__} tells no {names[0]}: it is no encoder that returns token maps; wrap it yourself as a "
        "callable (`module:Class`, see `auricle check encoder`)"
    )


def smallest(enough: Callable[[int], bool], most: int) -> int:
    """Return the smallest number in 1 ... `most` that is enough, by bisection."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def make_reader(model: Any, extractor: Any) -> Reader:
    """Choose the reader of a model; of composite models only the part that encodes audio is read."""
    kind = model.config.model_type
    if kind == "clap":
        return ClapReader(model.audio_model, extractor)
    if kind == "whisper":
        return WhisperReader(model.get_encoder(), extractor)
    if kind == "audio-spectrogram-transformer":
        return PatchReader(model, extractor)
    if hasattr(model, "feature_extractor") and hasattr(model, "_get_feat_extract_output_lengths"):
        return WaveReader(model, extractor)
    return FramesReader(model.get_encoder() if model.config.is_encoder_decoder else model, extractor)
