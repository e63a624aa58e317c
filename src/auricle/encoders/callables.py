"""Any callable as an `Encoder`: it needs a sample rate and a width.

    class MyEncoder:            # my_module.py
        rate, width = 16000, 512
        def __call__(self, wave):          # (B, S) float32 in [-1, 1]
            return ...                     # (B, D), or (B, T, D), or (B, T, F, D)

`open_callable("my_module:MyEncoder")` turns it into a `FrozenEncoder` that embeds, probes and compares like any other.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.config import nearest
from auricle.encoders.contract import Ability, Encoder, Grid, Layer, Tokens
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, AuricleError, ConfigError

EXAMPLE_SECONDS = 2.0


@contextmanager
def guarded(action: str, error_type: type[AuricleError] = ConfigError, remedy: str = "") -> Iterator[None]:
    """Turn any exception of the user's own code into an error of ours, with type, message, file and line.

    Args:
        action: for the message: `{action} raised ...`.
        error_type: of the error.
        remedy: appended to the message.
    """
    try:
        yield
    except AuricleError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError) and error.filename:
            # The traceback ends where Python reads the file, not at the fault.
            found = f"{error.msg} ({error.filename}:{error.lineno})"
        else:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen ")]
            found = f"{error} ({frames[-1].filename}:{frames[-1].lineno})"
        raise error_type(f"{action} raised {type(error).__name__}: {found}{remedy}") from error


class CallableEncoder(Encoder):
    """Adapts a callable `wave (B, S) -> (B, D) | (B, T, D) | (B, T, F, D)`.

    If the callable takes an argument `lengths` (`(B,)` int64, valid samples), clips of different lengths are encoded
    together and tokens beyond a clip's end are masked; otherwise clips of different lengths never share a batch. One
    vector per clip is one token on a grid without a time axis (rate 0). The only layer is the output (depth 0).

    Args:
        call: the callable, with attributes `rate` (Hz) and `width` (D).

    Raises:
        ConfigError: `rate` or `width` is missing or not a positive whole number.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        if not callable(call):
            raise ConfigError(f"{type(call).__name__} can't be called; expected a callable: wave (B, S) -> (B, D)")
        self.call = call.eval() if isinstance(call, nn.Module) else call
        self.rate = _positive(call, "rate", "sample rate in Hz")
        self.width = _positive(call, "width", "size of a token or clip vector")
        self.depth = 0
        self.takes_lengths = _takes(call, "lengths")
        self.abilities = frozenset({Ability.EXACT_PADDING}) if self.takes_lengths else frozenset()
        self._measured: tuple[float, int] | None = None

    @property
    def measured(self) -> tuple[float, int]:
        """Time tokens per second (0: one vector per clip) and frequency rows, from examples of 2 and 4 seconds."""
        if self._measured is None:
            samples = round(EXAMPLE_SECONDS * self.rate)
            with torch.no_grad():
                maps = [self.encode(torch.zeros(1, k * samples), torch.tensor([k * samples])) for k in (1, 2)]
            # The difference, because the ends of a clip may cost a token or two.
            self._measured = (maps[1].shape[1] - maps[0].shape[1]) / EXAMPLE_SECONDS, maps[0].shape[2]
        return self._measured

    def grid(self, frames: int) -> Grid:
        rate, freq = self.measured
        return Grid(max(1, round(rate * frames / self.rate)), freq, rate)

    def tokenize(self, features: Features) -> Tokens:
        x, lengths = features.x, features.lengths
        B, S = x.shape
        maps = self.encode(x, lengths)
        _, T, F, D = maps.shape
        grid = Grid(T, F, self.measured[0])
        valid = None
        if T > 1 and not bool((lengths == S).all()):
            kept = (lengths.double() * T / S).ceil().clamp(min=1)
            inside = torch.arange(T, device=x.device) < kept.unsqueeze(1)
            valid = inside.unsqueeze(2).expand(B, T, F).reshape(B, T * F)
        return Tokens(maps.reshape(B, T * F, D), grid, valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        if any(layer != 0 for layer in layers):
            raise ConfigError(f"found layers {list(layers)}, expected 0 only: this encoder returns its output alone")
        hidden = tuple(Layer(tokens.x, tokens.grid) for _ in layers)
        return replace(tokens, layers=hidden or None)

    def run(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Call it and return its checked output.

        Raises:
            ConfigError: the output has not the promised shape.
            AudioError: the call fails on these clips (they may be too short, for example).
        """
        with guarded(f"the encoder failed on samples {tuple(wave.shape)}: it", AudioError):
            out = self.call(wave, lengths=lengths) if self.takes_lengths else self.call(wave)
        check_output(out, len(wave), self.width)
        output: Tensor = out.float()
        return output

    def encode(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Return its output as a map `(B, T, F, D)`; see `run`."""
        out = self.run(wave, lengths)
        return out.view(len(wave), *{2: (1, 1), 3: (-1, 1), 4: out.shape[1:3]}[out.dim()], self.width)


def check_output(out: Any, clips: int, width: int) -> None:
    """Refuse an output that is no batch of vectors or token maps.

    Raises:
        ConfigError: naming what was found and what was expected.
    """
    if not isinstance(out, Tensor):
        raise ConfigError(
            f"the encoder returned {type(out).__name__}; expected a tensor (B, D), (B, T, D), (B, T, F, D)"
        )
    if not out.is_floating_point():
        raise ConfigError(f"the encoder returned {out.dtype}; expected floating point numbers")
    if out.dim() not in (2, 3, 4):
        raise ConfigError(f"the encoder returned shape {tuple(out.shape)}; expected (B, D), (B, T, D) or (B, T, F, D)")
    if out.shape[0] != clips:
        raise ConfigError(f"the encoder returned {out.shape[0]} rows for {clips} clips; keep the batch axis first")
    if out.shape[-1] != width:
        raise ConfigError(f"the encoder returned width {out.shape[-1]} on its last axis, but its `width` is {width}")
    if 0 in out.shape:
        raise ConfigError(f"the encoder returned shape {tuple(out.shape)}: no token at all; pad short clips inside it")


class FrozenCallable(FrozenEncoder):
    """A callable, ready to embed, probe and compare.

    Examples:
        >>> class Loudness:
        ...     rate, width = 16000, 1
        ...     def __call__(self, wave):
        ...         return wave.square().mean(1, keepdim=True).sqrt()
        >>> FrozenCallable(Loudness(), name="loudness").embed(torch.ones(3, 8000), rate=16000).shape
        (3, 1)

    Args:
        call: the callable, see `CallableEncoder`.
        name: for tables.
    """

    def __init__(self, call: Callable[..., Any], *, name: str) -> None:
        encoder = CallableEncoder(call)
        frontend = WaveformConfig(rate=encoder.rate).build()
        notes = () if can_randomise(call) else ("no random-weight control: it can't be re-initialised",)
        super().__init__(frontend, encoder, name=name, fingerprint=output_fingerprint(encoder), notes=notes)

    @property
    def randomisable(self) -> bool:
        return can_randomise(self.encoder.call)

    def randomised(self, seed: int) -> FrozenEncoder:
        call: Any = self.encoder.call
        if not self.randomisable:
            raise ConfigError(f"{self.name} has parts with weights but no reset_parameters(): no random-weight control")
        fresh = copy.deepcopy(call)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in fresh.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
        control = FrozenCallable(fresh, name=f"{self.name}, random weights (seed {seed})")
        return control.reading(self.features).to(self.device)


def can_randomise(call: Any) -> bool:
    """Return whether every part of a module with weights has `reset_parameters`."""
    if not isinstance(call, nn.Module) or not any(True for _ in call.parameters()):
        return False
    return all(
        hasattr(module, "reset_parameters")
        for module in call.modules()
        if any(True for _ in module.parameters(recurse=False))
    )


def output_fingerprint(encoder: CallableEncoder) -> str:
    """Return 16 hexadecimal digits of an encoder's output on fixed noise; other weights give others."""
    noise = torch.randn(2, max(1, round(EXAMPLE_SECONDS * encoder.rate)), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = encoder.encode(noise * 0.1, torch.full((2,), noise.shape[1]))
    digest = hashlib.sha256(f"{encoder.rate} {encoder.width} {tuple(output.shape)}".encode())
    # Rounded, so that the last bits of another number of threads do not make it another encoder.
    scale = float(output.abs().max()) or 1.0
    digest.update((output / scale * 1e4).round().to(torch.int32).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def import_object(text: str) -> Any:
    """Import `module:name`; the current folder is searched first.

    Raises:
        ConfigError: the text is not of that form, the module can't be imported, or it has no such name.
    """
    module_name, colon, name = text.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"{text!r} is not of the form module:Class; for example my_encoders.birds:BirdEncoder")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        with guarded(f"can't import {module_name!r}: it", remedy="; fix the module"):
            module = importlib.import_module(module_name)
    except ConfigError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        raise ConfigError(
            f"can't import {module_name!r} ({error.__cause__}); run this in the folder that holds it, or install it"
        ) from error.__cause__
    finally:
        if added:
            sys.path.remove(here)
    if not hasattr(module, name):
        raise ConfigError(f"{module_name} has no {name!r}{nearest(name, [n for n in vars(module) if n[:1] != '_'])}")
    return getattr(module, name)


def make_callable(text: str) -> Any:
    """Import `module:name` and, if it is a class or a factory without arguments, call it.

    Raises:
        ConfigError: it can't be imported, needs arguments, or raises an exception.
    """
    found = import_object(text)
    if not inspect.isclass(found):
        # A function with rate and width is an encoder; one without them makes one.
        if hasattr(found, "rate") and hasattr(found, "width"):
            return found
        if not inspect.isfunction(found):
            return found
    needed = [
        p.name
        for p in inspect.signature(found).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if needed:
        raise ConfigError(
            f"{text} needs the arguments {', '.join(needed)}; add defaults, or name a function without arguments that "
            "makes the encoder"
        )
    with guarded(f"making {text}", remedy="; fix it"):
        return found()


def open_callable(text: str) -> FrozenCallable:
    """Open an encoder by `module:Class` (or a function that makes one).

    Raises:
        ConfigError: it can't be imported or made, or is no encoder; `auricle check encoder` names every fault.
    """
    return FrozenCallable(make_callable(text), name=text)


def _positive(call: Any, name: str, meaning: str) -> int:
    with guarded(f"reading `{name}` ({meaning})", remedy="; fix it"):
        value = getattr(call, name, None)
    if value is None:
        raise ConfigError(f"{type(call).__name__} has no attribute `{name}` ({meaning}); set it")
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value != int(value) or value < 1:
        raise ConfigError(f"`{name}` is {value!r}; expected a positive whole number ({meaning})")
    return int(value)


def _takes(call: Any, argument: str) -> bool:
    function = call.forward if isinstance(call, nn.Module) else call
    try:
        return argument in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
