"""Anybody's encoder as an `Encoder`: a callable with a sample rate and a width is enough.

    class MyEncoder:            # my_module.py
        rate, width = 16000, 512
        def __call__(self, wave):          # (B, S) float32 in [-1, 1]
            return ...                     # (B, D), or (B, T, D), or (B, T, F, D)

`open_foreign("my_module:MyEncoder")` turns it into a `FrozenEncoder` that embeds, probes and compares like any other.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
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


class ForeignEncoder(Encoder):
    """Adapts a callable `wave (B, S) -> (B, D) | (B, T, D) | (B, T, F, D)`.

    If the callable takes an argument `lengths` (`(B,)` int64, valid samples), clips of different lengths are encoded
    together and tokens beyond a clip's end are masked; else only clips of one length go together. A vector a clip is
    one token on a grid without a time axis (rate 0). There are no layers but the output (its depth is 0).

    Args:
        call: the callable, with attributes `rate` (Hz) and `width` (D).

    Raises:
        ConfigError: it lacks one of these, or has it out of range.
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
        # Without lengths padding would be taken for sound, so that clips of different lengths never share a batch.
        self.abilities = frozenset({Ability.EXACT_PADDING}) if self.takes_lengths else frozenset()  # type: ignore[misc]
        self._measured: tuple[float, int] | None = None

    @property
    def measured(self) -> tuple[float, int]:
        """Time tokens per second (0: one vector a clip) and frequency rows, from examples of 2 and 4 seconds."""
        if self._measured is None:
            samples = round(EXAMPLE_SECONDS * self.rate)
            with torch.no_grad():
                maps = [self._map(torch.zeros(1, k * samples), torch.tensor([k * samples])) for k in (1, 2)]
            # The difference, because the ends of a clip may cost a token or two.
            self._measured = (maps[1].shape[1] - maps[0].shape[1]) / EXAMPLE_SECONDS, maps[0].shape[2]
        return self._measured

    def grid(self, frames: int) -> Grid:
        """Return the token grid of an input of so many samples, by proportion from examples."""
        rate, freq = self.measured
        return Grid(max(1, round(rate * frames / self.rate)), freq, rate)

    def tokenize(self, features: Features) -> Tokens:
        """Call it.

        Raises:
            ConfigError: it returns no float tensor of the promised shape.
            AudioError: it fails on these clips.
        """
        x, lengths = features.x, features.lengths
        B, S = x.shape
        maps = self._map(x, lengths)
        _, T, F, D = maps.shape
        grid = Grid(T, F, self.measured[0])
        valid = None
        if T > 1 and not bool((lengths == S).all()):
            kept = (lengths.double() * T / S).ceil().clamp(min=1)
            inside = torch.arange(T, device=x.device) < kept.unsqueeze(1)
            valid = inside.unsqueeze(2).expand(B, T, F).reshape(B, T * F)
        return Tokens(maps.reshape(B, T * F, D), grid, valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Return the tokens as they are; layer 0 is the only one.

        Raises:
            ConfigError: another layer is asked for.
        """
        if any(layer != 0 for layer in layers):
            raise ConfigError(f"found layers {list(layers)}, expected 0 only: this encoder shows its output alone")
        hidden = tuple(Layer(tokens.x, tokens.grid) for _ in layers)
        return replace(tokens, layers=hidden or None)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the mean of the valid tokens, `(B, D)`."""
        return tokens.mean()

    def _map(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Call it and return `(B, T, F, D)`."""
        try:
            out = self.call(wave, lengths=lengths) if self.takes_lengths else self.call(wave)
        except AuricleError:
            raise
        except Exception as error:
            # A stranger's code may raise anything. What it says of one clip (too short, say) is about that clip: it is
            # skipped and counted.
            raise AudioError(f"the encoder failed on samples {tuple(wave.shape)}: {told(error)}") from error
        check_output(out, len(wave), self.width)
        return out.float().view(len(wave), *{2: (1, 1), 3: (-1, 1), 4: out.shape[1:3]}[out.dim()], self.width)


def told(error: BaseException) -> str:
    """Return what a stranger's code raised, in words: type, message, file and line."""
    if isinstance(error, SyntaxError) and error.filename:
        # The traceback ends where Python reads the file, not where the fault is.
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    # A name may be missing for a module that is found by Python's own frozen code, which nobody can mend.
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen ")]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def check_output(out: Any, clips: int, width: int) -> None:
    """Refuse what is no batch of vectors or token maps.

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


class ForeignFrozen(FrozenEncoder):
    """Somebody's callable, ready to embed, probe and compare.

    Args:
        call: the callable, see `ForeignEncoder`.
        name: for tables.
    """

    def __init__(self, call: Callable[..., Any], *, name: str) -> None:
        encoder = ForeignEncoder(call)
        frontend = WaveformConfig(rate=encoder.rate).build()
        notes = () if can_randomise(call) else ("no random-weight control: its weights can't be drawn anew",)
        super().__init__(frontend, encoder, name=name, fingerprint=behaviour(encoder), notes=notes)

    @property
    def randomisable(self) -> bool:
        """Whether its weights can be drawn anew."""
        return can_randomise(self.encoder.call)

    def randomised(self, seed: int) -> FrozenEncoder:
        """Return the control: the same module, its weights drawn anew by the `reset_parameters` of its parts.

        Raises:
            ConfigError: a part with weights has no `reset_parameters`.
        """
        call: Any = self.encoder.call
        if not self.randomisable:
            raise ConfigError(f"{self.name} has parts with weights but no reset_parameters(): no random-weight control")
        fresh = copy.deepcopy(call)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in fresh.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
        return ForeignFrozen(fresh, name=f"{self.name}, random weights (seed {seed})").to(self.device)


def can_randomise(call: Any) -> bool:
    """Return whether every part of a module that owns weights can draw them anew."""
    if not isinstance(call, nn.Module) or not any(True for _ in call.parameters()):
        return False
    return all(
        hasattr(module, "reset_parameters")
        for module in call.modules()
        if any(True for _ in module.parameters(recurse=False))
    )


def behaviour(encoder: ForeignEncoder) -> str:
    """Return 16 hexadecimal digits of what an encoder answers to fixed noise: other weights, other digits."""
    noise = torch.randn(2, max(1, round(EXAMPLE_SECONDS * encoder.rate)), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answer = encoder._map(noise * 0.1, torch.full((2,), noise.shape[1]))
    digest = hashlib.sha256(f"{encoder.rate} {encoder.width} {tuple(answer.shape)}".encode())
    # Rounded, so that the last bits of another number of threads do not make it another encoder.
    scale = float(answer.abs().max()) or 1.0
    digest.update((answer / scale * 1e4).round().to(torch.int32).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def import_object(text: str) -> Any:
    """Import `module:name`; the current folder is searched first.

    Raises:
        ConfigError: it is not of that form, the module can't be imported (whatever it raises), or holds no such name.
    """
    module_name, colon, name = text.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"{text!r} is not of the form module:Class; for example my_encoders.birds:BirdEncoder")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"can't import {module_name!r} ({error}); run this in the folder that holds it, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        # A stranger's module may raise anything, and a script may want arguments and leave.
        raise ConfigError(f"can't import {module_name!r}: it raised {told(error)}; mend the module") from error
    finally:
        if added:
            sys.path.remove(here)
    if not hasattr(module, name):
        raise ConfigError(f"{module_name} holds no {name!r}{nearest(name, [n for n in vars(module) if n[:1] != '_'])}")
    return getattr(module, name)


def make_callable(text: str) -> Any:
    """Import `module:name` and, if it is a class or a factory without arguments, call it.

    Raises:
        ConfigError: it can't be imported, needs arguments, or raises anything while it is made.
    """
    found = import_object(text)
    if not inspect.isclass(found):
        # A function with rate and width is an encoder already; one without them makes one.
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
            f"{text} needs the arguments {', '.join(needed)}; give them defaults, or name a function without arguments "
            "that makes the encoder"
        )
    try:
        return found()
    except AuricleError:
        raise
    except (Exception, SystemExit) as error:
        # A stranger's constructor may raise anything.
        raise ConfigError(f"making {text} raised {told(error)}; mend it") from error


def open_foreign(text: str) -> ForeignFrozen:
    """Make an encoder of `module:Class` (or of a function that makes one).

    Raises:
        ConfigError: it can't be imported or made, or is no encoder; `auricle check encoder` names every fault.
    """
    return ForeignFrozen(make_callable(text), name=text)


def _positive(call: Any, name: str, meaning: str) -> int:
    try:
        value = getattr(call, name, None)
    except Exception as error:
        # It may be a property of a stranger, which may raise anything.
        raise ConfigError(f"reading `{name}` ({meaning}) raised {told(error)}; mend it") from error
    if value is None:
        raise ConfigError(f"{type(call).__name__} has no attribute `{name}` ({meaning}); set it")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"`{name}` is {value!r}; expected a positive whole number ({meaning})")
    if value != int(value) or value < 1:
        raise ConfigError(f"`{name}` is {value!r}; expected a positive whole number ({meaning})")
    return int(value)


def _takes(call: Any, argument: str) -> bool:
    function = call.forward if isinstance(call, nn.Module) else call
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return argument in parameters
