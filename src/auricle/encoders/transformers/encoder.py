"""Any audio encoder of the library transformers, by its Hub id or from a local folder, as an `Encoder`.

    encoder = open_transformers("hf:facebook/wav2vec2-base")       # a FrozenEncoder: embeds, probes, compares
    config = TransformersEncoderConfig("facebook/hubert-base-ls960")   # to continue its training

Waveform models (wav2vec 2.0, HuBERT, WavLM, data2vec audio, SEW, UniSpeech) read samples; AST, CLAP, Whisper,
wav2vec2-BERT and others read the features of their own extractor (computed on the CPU, without gradients to the
samples).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.callables import guarded
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Stem, Tokens
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.transformers.load import load_parts
from auricle.encoders.transformers.wrappers import Encoded, ModelWrapper, WaveWrapper, wrap_model
from auricle.errors import AudioError, ConfigError

PREFIX = "hf:"


@dataclass(frozen=True)
class TransformersEncoderConfig(EncoderConfig):
    """Settings of a model of transformers.

    Attributes:
        model: Hub id (`facebook/wav2vec2-base`) or local folder; either needs `config.json`, `preprocessor_config.json`
            and weights as safetensors (other formats can run code when they are read, and are refused).
        revision: branch, tag or commit on the Hub; None: its main branch.
        weights: `pretrained`, or `random`: fresh ones of the same architecture, from the generator of `build`.
        layer: layer whose hidden states are the output; None: the model's own output, after its last norm.
        trust_remote_code: let the Hub's repository run its own Python code here. Read it first.
        local_only: never ask the Hub.
    """

    model: str
    revision: str | None = None
    weights: Literal["pretrained", "random"] = "pretrained"
    layer: int | None = None
    trust_remote_code: bool = False
    local_only: bool = False

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("found no model; set its Hub id (facebook/wav2vec2-base) or a local folder")

    def fresh(self) -> TransformersEncoderConfig:
        """Return the settings of the random-weight control: the same architecture."""
        return self.replace(weights="random")


class TransformersEncoder(Encoder):
    """A model of transformers; front end: `encoder.frontend` (samples, normalised as by the model's extractor).

    Clips of one length go through the model together, without padding, so that no clip's tokens depend on its
    neighbours in a batch. The transformers of wav2vec 2.0, HuBERT, WavLM and UniSpeech run on the whole batch with a
    padding mask, which is as exact. A clip too short for a token has no valid ones.

    Tokens of waveform models can be replaced by a mask vector (before their convolutional positions). The other models
    run completely in `tokenize`; `contextualize` only selects layers. SpecAugment and layer drop of the model's
    settings are switched off: objectives hide tokens, and a dropped layer has no states.

    The clip vector is the mean of the valid tokens; of AST the mean of its two class tokens, as in the original.

    Attributes:
        config: the settings.
        model: the part of the model that encodes audio.
        frontend: settings of the front end that it needs.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: there is no such model, access to it is refused, or it is no audio encoder.
        DownloadError: the Hub can't be reached.
    """

    def __init__(self, config: TransformersEncoderConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        parts = load_parts(
            config.model,
            generator,
            random=config.weights == "random",
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            local_only=config.local_only,
        )
        with guarded(f"reading the model {config.model}"):
            self.wrapper: ModelWrapper = wrap_model(*parts)
        self.model = self.wrapper.model
        self.width, self.depth = self.wrapper.width, self.wrapper.depth
        if config.layer is not None:
            self.check_layers([config.layer])
        self.bands, self.input_rate = None, float(self.wrapper.rate)
        self.max_frames, self.least_frames = self.wrapper.most, self.wrapper.least
        normalise: Literal["none", "clip"] = "clip" if self.wrapper.unit_variance else "none"
        self.frontend = WaveformConfig(rate=self.wrapper.rate, normalise=normalise)
        masks = isinstance(self.wrapper, WaveWrapper) and self.wrapper.splits
        abilities = {Ability.EXACT_PADDING}
        abilities |= {Ability.MASK} if masks else set()
        abilities |= {Ability.CLS} if self.wrapper.class_tokens else set()
        self.abilities = frozenset(abilities)

    def grid(self, frames: int) -> Grid:
        return Grid(self.wrapper.steps(frames), self.wrapper.freq, self.wrapper.token_rate)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        wave, grid = features.x, self.grid(features.x.shape[1])
        lengths = features.lengths.tolist()
        counts = torch.tensor([self.wrapper.steps(n) if n >= self.least_frames else 0 for n in lengths])
        if isinstance(self.wrapper, WaveWrapper) and self.wrapper.splits:
            with self._guarded(wave):
                started = _by_length(lengths, counts, grid.time, lambda rows, n: self._start(wave[rows, :n]))
            x, raw, normed = (part.squeeze(2) for part in started)
            tokens = Tokens(x, grid, stem=Stem(raw, normed))
        else:
            parts: list[Encoded] = []

            def encode(rows: Tensor, length: int) -> tuple[Tensor, ...]:
                parts.append(self.wrapper.encode(wave[rows, :length]))
                return (parts[-1].x, *parts[-1].layers, *parts[-1].cls)

            with self._guarded(wave):
                found = _by_length(lengths, counts, grid.time, encode)
            tokens = self._whole(found, grid, len(parts[0].layers))
        columns = torch.arange(grid.time) < counts.unsqueeze(1)
        if bool(columns.all()):
            return tokens
        return replace(tokens, valid=columns.repeat_interleave(grid.freq, 1).to(wave.device))

    def _guarded(self, x: Tensor) -> AbstractContextManager[None]:
        """Turn whatever the model or its extractor raises on a batch into an error of its clips."""
        return guarded(f"{self.config.model} failed on a batch of shape {tuple(x.shape)}: it", AudioError)

    def _start(self, wave: Tensor) -> tuple[Tensor, ...]:
        wrapper = self.wrapper
        if not isinstance(wrapper, WaveWrapper):
            raise ConfigError(f"{type(wrapper).__name__} can't be split before its transformer")
        return tuple(part.unsqueeze(2) for part in wrapper.start(wave))

    def _whole(self, found: Sequence[Tensor], grid: Grid, hidden: int) -> Tokens:
        """Turn the maps of a whole model into tokens with every layer."""
        cls = found[1 + hidden :]
        layers = []
        for number, block in enumerate(found[1 : 1 + hidden]):
            time, freq = block.shape[1:3]
            own = replace(grid, time=time, freq=freq, rate=grid.rate * time / max(1, grid.time))
            own = grid if (time, freq) == (grid.time, grid.freq) else own
            layers.append(Layer(block.flatten(1, 2), own, cls=cls[number] if cls else None))
        return Tokens(found[0].flatten(1, 2), grid, cls=cls[-1] if cls else None, layers=tuple(layers))

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        self.check_all_tokens(tokens)
        wrapper = self.wrapper
        if isinstance(wrapper, WaveWrapper) and wrapper.splits:
            with self._guarded(tokens.x):
                output, found = self._finish(wrapper, tokens)
        elif tokens.layers is None:
            raise ConfigError("found tokens without layers, expected what tokenize() returned")
        else:
            output, found = tokens.x, tokens.layers
        chosen = None if self.config.layer is None else found[self.config.layer]
        if chosen is not None and (chosen.block.shape[-1] != self.width or chosen.grid != tokens.grid):
            raise ConfigError(
                f"layer {self.config.layer} has its own grid or width ({chosen.block.shape[-1]}, not {self.width}); "
                "leave `layer` at None and read this layer from `Tokens.layers`"
            )
        cls = tokens.cls if chosen is None else chosen.cls
        hidden = tuple(found[layer] for layer in layers) if layers else None
        return replace(tokens, x=output if chosen is None else chosen.block, cls=cls, layers=hidden)

    def _finish(self, wrapper: WaveWrapper, tokens: Tokens) -> tuple[Tensor, tuple[Layer, ...]]:
        """Run a waveform model's transformer, on the batch where it masks padding exactly, else by length."""
        count = tokens.x.shape[1]
        if tokens.valid is None or wrapper.exact:
            # A row without any valid token attends to all, and is never pooled: else the softmax would be 0/0.
            valid = None if tokens.valid is None else tokens.valid | ~tokens.valid.any(1, keepdim=True)
            done = wrapper.finish(tokens.x, valid)
            maps, branches = (done.x, *done.layers), [b for b in done.branches if b is not None]
        else:
            counts = tokens.valid.sum(1).cpu()

            def finish(rows: Tensor, length: int) -> tuple[Tensor, ...]:
                part = wrapper.finish(tokens.x[rows, :length], None)
                return (part.x, *part.layers, *(b for b in part.branches if b is not None))

            found = _by_length(counts.tolist(), counts, count, finish)
            maps, branches = tuple(found[: self.depth + 2]), list(found[self.depth + 2 :])
        flat = [m.flatten(1, 2) for m in maps]
        branch: list[Tensor | None] = [None, *(b.flatten(1, 2) for b in branches)]
        layers = tuple(Layer(b, tokens.grid, f) for b, f in zip(flat[1:], branch, strict=True))
        return flat[0], layers

    def pool(self, tokens: Tokens) -> Tensor:
        return tokens.mean() if tokens.cls is None else tokens.cls.mean(1)


def _by_length(
    lengths: Sequence[int], counts: Tensor, time: int, run: Callable[[Tensor, int], tuple[Tensor, ...]]
) -> list[Tensor]:
    """Run rows of one length together and return the results in order, padded with zeros.

    Args:
        lengths: of each row, the argument of `run`.
        counts: `(B,)` time tokens of each row; rows without any are not run.
        time: time tokens of the batch.
        run: from rows and their length to maps `(B, T, F, D)` and class tokens `(B, P, D)`.

    Raises:
        ConfigError: no row has a token.
    """
    results: list[tuple[Tensor, tuple[Tensor, ...]]] = []
    for length in sorted({n for n, c in zip(lengths, counts.tolist(), strict=True) if c > 0}):
        rows = torch.tensor([i for i, n in enumerate(lengths) if n == length])
        results.append((rows, run(rows, length)))
    if not results:
        raise ConfigError("found no clip that is long enough for a token; exclude such clips (--loader.shortest)")
    if len(results) == 1 and len(results[0][0]) == len(lengths) and int(counts.max()) == time:
        return list(results[0][1])
    joined = []
    for place, longest in enumerate(results[-1][1]):
        # Layers may have other grids, and class tokens none: these keep the length of the longest clip's.
        same = longest.dim() == 4 and longest.shape[1] == int(counts.max())
        room = time if same else longest.shape[1]
        whole = longest.new_zeros(len(lengths), room, *longest.shape[2:])
        for rows, tensors in results:
            part = tensors[place]
            whole = whole.index_copy(0, rows.to(part.device), _filled(part, room))
        joined.append(whole)
    return joined


def _filled(x: Tensor, time: int) -> Tensor:
    missing = time - x.shape[1]
    return x if not missing else torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], 1)


class TransformersFrozen(FrozenEncoder):
    """A model of transformers, ready to embed, probe and compare.

    Args:
        config: the model.
        generator: for random weights.
        name: for tables; None: the model's.
        precision: `fp32`, or `bf16` (autocast).
    """

    def __init__(
        self,
        config: TransformersEncoderConfig,
        generator: torch.Generator | None = None,
        *,
        name: str | None = None,
        precision: str = "fp32",
    ) -> None:
        encoder = TransformersEncoder(config, generator)
        name = PREFIX + config.model if name is None else name
        super().__init__(encoder.frontend.build(), encoder, name=name, precision=precision)
        self.settings = config

    def randomised(self, seed: int) -> FrozenEncoder:
        """Return the control: the same architecture with fresh random weights, as transformers draws them."""
        generator = torch.Generator().manual_seed(seed)
        name = f"{self.name}, random weights (seed {seed})"
        control = TransformersFrozen(self.settings.fresh(), generator, name=name, precision=self.precision)
        return control.reading(self.features).to(self.device)


def open_transformers(text: str, **changes: Any) -> TransformersFrozen:
    """Open `hf:user/model`, `hf:user/model@revision` or `hf:path/to/folder`.

    Args:
        text: the model, with or without the prefix.
        changes: other settings of `TransformersEncoderConfig`.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: there is no such model, access to it is refused, or it is no audio encoder.
        DownloadError: the Hub can't be reached.
    """
    name, _, revision = text.removeprefix(PREFIX).partition("@")
    return TransformersFrozen(TransformersEncoderConfig(name, revision=revision or None, **changes))
