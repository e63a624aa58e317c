"""A frozen encoder with its front end, for clips of any length."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from auricle.audio.arrays import mono_clips, resampled
from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd
from auricle.encoders.contract import Ability, Encoder, Tokens
from auricle.encoders.features import OUTPUT, FeaturesConfig, Moments, join_tokens, map_tokens
from auricle.errors import AudioError, ConfigError, Reason


def weights_fingerprint(encoder: Encoder, frontend: FrontEnd) -> str:
    """Return 16 hexadecimal digits of SHA-256 over the encoder's weights and settings and the front end's settings."""
    digest = hashlib.sha256(json.dumps(frontend.config.to_json(), sort_keys=True).encode())
    config = getattr(encoder, "config", None)
    digest.update(
        json.dumps(config.to_json() if config is not None else type(encoder).__name__, sort_keys=True).encode()
    )
    for name, tensor in sorted(encoder.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class FrozenEncoder:
    """A front end and an encoder in evaluation mode, without gradients.

    Clips longer than the encoder's `max_frames` are cut into windows of that length, which are encoded separately;
    their token maps are joined along time, their means and deviations as if there were one window.

    Examples:
        >>> from auricle.audio.frontends.log_mel import LogMelConfig
        >>> from auricle.encoders.slice_cnn import SliceCNNConfig
        >>> frozen = FrozenEncoder(LogMelConfig(mels=64).build(), SliceCNNConfig().build(), name="slices")
        >>> frozen.embed(np.zeros((2, 16000), np.float32), rate=16000).shape
        (2, 128)

    Args:
        frontend: computes the features.
        encoder: encodes them.
        name: for tables.
        fingerprint: identifies weights and front end; None: computed from them.
        notes: remarks on this encoder for tables of results.
        precision: `fp32`, or `bf16` (autocast).
        features: which layers and statistics are read.

    Attributes:
        rate: sample rate of its audio in Hz.
        width: D of its tokens.
        depth: number of layers.

    Raises:
        ConfigError: the precision is unknown, or `features` names layers that the encoder does not have.
    """

    def __init__(
        self,
        frontend: FrontEnd,
        encoder: Encoder,
        *,
        name: str,
        fingerprint: str | None = None,
        notes: Sequence[str] = (),
        precision: str = "fp32",
        features: FeaturesConfig = OUTPUT,
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"found precision {precision!r}, expected 'fp32' or 'bf16'")
        self.frontend = frontend.eval()
        self.encoder = encoder.eval().requires_grad_(False)
        self.name, self.notes, self.precision = name, tuple(notes), precision
        self._weights = fingerprint or weights_fingerprint(encoder, frontend)
        self.rate, self.width, self.depth = frontend.rate, encoder.width, encoder.depth
        self.device = torch.device("cpu")
        features.check(encoder, name)
        self.features = features
        self._opened = name, features

    @property
    def weights(self) -> str:
        """16 hexadecimal digits of weights and front end alone."""
        return self._weights

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of weights, front end, precision and features: caches and results are found by them."""
        # Numbers of another precision, or of other features, must not be taken for these.
        other = [] if self.precision == "fp32" else [self.precision]
        other += [] if self.features == OUTPUT else [self.features.fingerprint()]
        return hashlib.sha256(" ".join([self._weights, *other]).encode()).hexdigest()[:16] if other else self._weights

    @property
    def pooled_width(self) -> int:
        """Size of the clip vector."""
        if self.features.vector == "encoder":
            return self.encoder.pooled_width
        # Layers state no width.
        return self.encode(self.silence())[1].shape[1]

    @property
    def exact_padding(self) -> bool:
        """Whether padding changes nothing that is read; else clips of one length only may share a batch."""
        exact = Ability.EXACT_PADDING in self.encoder.abilities
        return exact and self.one_grid(self.features.numbers(self.depth))

    def one_grid(self, layers: Sequence[int]) -> bool:
        """Return whether these layers have the output's grid, so that their validity is known."""
        if not layers:
            return True
        tokens = self.tokens(self.silence(), layers)
        output = (tokens.grid.time, tokens.grid.freq)
        return all((layer.grid.time, layer.grid.freq) == output for layer in tokens.layers or ())

    def reading(self, features: FeaturesConfig, *, marked: bool = False) -> Self:
        """Return the same encoder, of which other features are read.

        Args:
            features: which layers and statistics.
            marked: add the layers to the name with which it was made, unless its features were these.

        Raises:
            ConfigError: the encoder does not have these layers.
        """
        if features == self.features:
            return self
        other = copy.copy(self)
        if marked:
            name, own = self._opened
            other.name = name if features == own else f"{name} ({features.place})"
        features.check(other.encoder, other.name)
        other.features = features
        return other

    def silence(self) -> Audio:
        """Return a short clip of zeros, long enough for a token, on the CPU."""
        seconds = max(1.0, 1.1 * self.encoder.least_frames / self.encoder.input_rate + 0.1)
        return Audio.stack([torch.zeros(round(seconds * self.rate))], self.rate)

    def changed(self, how: str) -> Self:
        """Take another fingerprint, in place, after a change of the encoder's buffers that `how` names."""
        self._weights = hashlib.sha256(f"{self._weights} {how}".encode()).hexdigest()[:16]
        return self

    def to(self, device: torch.device | str) -> FrozenEncoder:
        """Move to a device, in place."""
        self.device = torch.device(device)
        self.frontend.to(self.device)
        self.encoder.to(self.device)
        return self

    @torch.no_grad()
    def encode(self, audio: Audio, layers: Sequence[int] = ()) -> tuple[Tokens, Tensor]:
        """Return token maps and clip vectors `(B, D')` of a batch in one pass.

        `Tokens.valid` is always set. Layers (0 ... depth) are in the requested order.

        Raises:
            ConfigError: the audio has another rate than the front end; resample it, or use `embed`.
        """
        features = self.frontend(audio.to(self.device))
        longest = self.encoder.max_frames
        frames = features.x.shape[1]
        if longest is None or frames <= longest:
            tokens, moments = self._window(features, layers)
            return tokens, self.features.summary(moments)
        parts = []
        # A last window too short for a token is dropped.
        starts = [s for s in range(0, frames, longest) if s == 0 or frames - s >= self.encoder.least_frames]
        for start in starts:
            lengths = (features.lengths - start).clamp(0, min(longest, frames - start))
            window = Features(features.x[:, start : start + longest], lengths, features.rate, features.pad)
            parts.append(self._some_rows(window, layers))
        read = zip(*(moments for _, moments in parts), strict=True)
        joined = [reduce(Moments.join, windows) for windows in read]
        return join_tokens([tokens for tokens, _ in parts]), self.features.summary(joined)

    def tokens(self, audio: Audio, layers: Sequence[int] = ()) -> Tokens:
        """Return the token maps of a batch; see `encode`."""
        return self.encode(audio, layers)[0]

    def pooled(self, audio: Audio) -> Tensor:
        """Return the clip vectors `(B, D')` of a batch; see `encode`."""
        return self.encode(audio)[1]

    def embed(self, wave: np.ndarray | Tensor | Sequence[np.ndarray], rate: int, *, batch: int = 16) -> np.ndarray:
        """Return one vector per clip, as float32.

        Args:
            wave: `(S,)` one clip, `(B, S)` clips of one length, `(B, C, S)` clips of several channels (mixed to mono),
                or a list of `(S,)` clips of any lengths. Floats in [-1, 1]; int8, int16, int32 and uint8 are scaled.
            rate: sample rate in Hz; other rates than the encoder's are resampled.
            batch: clips encoded at once.

        Returns:
            `(D,)` for one clip, else `(B, D)`.

        Raises:
            AudioError: not samples, empty, not finite, integers of unknown full scale, possibly of shape (samples,
                channels), or too short for the encoder.
            ConfigError: `batch` is out of range.
        """
        single, vectors, clips = self._over_clips(wave, rate, self.pooled, batch)
        bad = np.flatnonzero(~np.isfinite(vectors).all(1))
        if bad.size:
            raise AudioError(
                f"the vector of clip {bad[0]} is not finite (its samples reach {np.abs(clips[bad[0]]).max():.3g}); "
                "pass samples in [-1, 1], or open the model with precision='fp32'"
            )
        return vectors[0] if single else vectors

    def over_clips(
        self,
        wave: np.ndarray | Tensor | Sequence[np.ndarray],
        rate: int,
        function: Callable[[Audio], Tensor],
        *,
        batch: int = 16,
    ) -> np.ndarray:
        """Return what a function makes of clips, batched and resampled as in `embed`, float32.

        Args:
            wave: as for `embed`.
            rate: as for `embed`.
            function: from B clips at the encoder's rate to `(B, ...)`.
            batch: as for `embed`.

        Returns:
            `(...)` for one clip, else `(B, ...)`.

        Raises:
            AudioError: as for `embed`.
            ConfigError: as for `embed`.
        """
        single, rows, _ = self._over_clips(wave, rate, function, batch)
        return rows[0] if single else rows

    def _over_clips(
        self,
        wave: np.ndarray | Tensor | Sequence[np.ndarray],
        rate: int,
        function: Callable[[Audio], Tensor],
        batch: int,
    ) -> tuple[bool, np.ndarray, list[np.ndarray]]:
        if batch < 1:
            raise ConfigError(f"found batches of {batch} clips, expected at least 1")
        single = np.ndim(wave[0]) == 0 if isinstance(wave, list | tuple) and wave else np.ndim(wave) == 1
        clips = [resampled(clip, rate, self.rate) for clip in mono_clips(wave)]
        for place, clip in enumerate(clips):
            short = self.shortfall(len(clip))
            if short is not None:
                raise AudioError(f"clip {place}: {short}; pass longer clips, or pad them with zeros", cause=short.cause)
        found: dict[int, np.ndarray] = {}
        for places in self._batches([len(clip) for clip in clips], batch):
            rows = function(Audio.stack([clips[place] for place in places], self.rate)).float().cpu().numpy()
            found |= dict(zip(places, rows, strict=True))
        return single, np.stack([found[place] for place in range(len(clips))]), clips

    def _batches(self, lengths: Sequence[int], most: int) -> list[list[int]]:
        """Return places of clips to encode together: in order, or of one length where padding changes what is read."""
        groups: dict[int, list[int]] = {}
        exact = len(set(lengths)) == 1 or self.exact_padding
        for place, length in enumerate(lengths):
            groups.setdefault(0 if exact else length, []).append(place)
        return [group[i : i + most] for group in groups.values() for i in range(0, len(group), most)]

    def shortfall(self, samples: int) -> Reason | None:
        """Return why a clip of `samples` at the encoder's rate is too short for a token; None where it is not."""
        frames, least = self.frontend.frames(samples), self.encoder.least_frames
        if frames >= least:
            return None
        unit = "samples" if self.encoder.bands is None else "frames"
        seconds = least / self.encoder.input_rate
        said = f"shorter than the encoder needs: {frames} {unit} of {least} (about {seconds:.2g} s)"
        return Reason(said, "too short")

    @property
    def randomisable(self) -> bool:
        """Whether fresh random weights can be drawn, for the random-weight control."""
        buildable = hasattr(getattr(self.encoder, "config", None), "build")
        return buildable and any(True for _ in self.encoder.parameters())

    def randomised(self, seed: int) -> FrozenEncoder:
        """Return the random-weight control: the same front end and architecture, of which the same features are read.

        Raises:
            ConfigError: the encoder has no weights, or no settings to build it from.
        """
        config: Any = getattr(self.encoder, "config", None)
        if config is None or not hasattr(config, "build"):
            raise ConfigError(f"{self.name} has no settings to build it from with random weights")
        if not any(True for _ in self.encoder.parameters()):
            raise ConfigError(f"{self.name} has no weights that could be random")
        # Settings that load published weights have a `fresh` form with random ones.
        plain = config.fresh() if hasattr(config, "fresh") else config
        fresh = plain.build(torch.Generator().manual_seed(seed))
        name = f"{self.name}, random weights (seed {seed})"
        control = FrozenEncoder(self.frontend, fresh, name=name, precision=self.precision, features=self.features)
        return control.to(self.device)

    def _window(self, features: Features, layers: Sequence[int]) -> tuple[Tokens, tuple[Moments, ...]]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return self.features.read(self.encoder, features, layers)

    def _some_rows(self, window: Features, layers: Sequence[int]) -> tuple[Tokens, tuple[Moments, ...]]:
        """Encode the clips that reach into this window; return invalid zeros for the others."""
        rows = (window.lengths > 0).nonzero().squeeze(1)
        if len(rows) == len(window):
            return self._window(window, layers)
        part = Features(window.x[rows], window.lengths[rows], window.rate, window.pad)
        tokens, moments = self._window(part, layers)

        def spread(x: Tensor) -> Tensor:
            return x.new_zeros(len(window), *x.shape[1:]).index_copy_(0, rows, x)

        return map_tokens(tokens, spread), tuple(each.spread(rows, len(window)) for each in moments)
