"""Checks of your own encoder before anything runs: one precise message per fault."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rich.table import Table
from torch import Tensor, nn

from auricle.devices import Precision, find_device, find_precision
from auricle.encoders.callables import CallableEncoder, can_randomise, make_callable
from auricle.errors import AuricleError

DURATIONS = (0.1, 0.5, 1.0, 2.37, 10.0)
# Relative difference that rounding may cause between batches.
CLOSE = {"fp32": 1e-3, "bf16": 3e-2}
Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """Result of one check: `ok`, a `warning` (usable, with a limitation), or a `fault` (unusable)."""

    check: str
    level: Level
    message: str


class _Checked:
    """The encoder where it is checked; outputs come back to the CPU."""

    def __init__(self, encoder: CallableEncoder, device: torch.device, precision: str) -> None:
        self.encoder, self.device, self.precision = encoder.to(device), device, precision
        self.rate, self.width, self.call, self.close = encoder.rate, encoder.width, encoder.call, CLOSE[precision]

    def output(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor | str:
        """Return the output, or the message of the error."""
        lengths = torch.full((len(wave),), wave.shape[1]) if lengths is None else lengths
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        try:
            with torch.no_grad(), half:
                return self.encoder.run(wave.to(self.device), lengths.to(self.device)).cpu()
        except AuricleError as error:
            return str(error)


def check_encoder(
    what: str | Callable[..., Any], *, device: str = "auto", precision: Precision = "fp32"
) -> list[Finding]:
    """Check an encoder: `module:Class`, or the callable itself. Checks that can't run are left out.

    Checks: import and construction; `rate` and `width`; shape, type and finiteness of the output; repeatability; a clip
    alone equals the clip in a batch; padding; durations from 0.1 to 10 s; silence; different inputs give different
    outputs; re-initialisation for the random-weight control; speed.

    Args:
        what: the encoder.
        device: where to compute: `auto`, `cpu`, `cuda` or `mps`; a torch module is moved there, in place.
        precision: `fp32`, `bf16` (autocast), or `auto`: bfloat16 on CUDA devices that compute in it.

    Raises:
        ConfigError: there is no such device here.

    Examples:
        >>> class Loudness:
        ...     rate, width = 16000, 1
        ...     def __call__(self, wave):
        ...         return wave.square().mean(1, keepdim=True).sqrt()
        >>> faults(check_encoder(Loudness()))
        []
    """
    place = find_device(device)
    try:
        call = make_callable(what) if isinstance(what, str) else what
    except AuricleError as error:
        return [Finding("can be made", "fault", str(error))]
    findings = [Finding("can be made", "ok", type(call).__name__)]
    try:
        encoder = _Checked(CallableEncoder(call), place, find_precision(precision, place))
    except AuricleError as error:
        return [*findings, Finding("rate and width", "fault", str(error))]
    findings.append(Finding("rate and width", "ok", f"{encoder.rate} Hz, width {encoder.width}"))
    noise = _noise(3, encoder.rate)
    first = encoder.output(noise)
    if isinstance(first, str):
        return [*findings, Finding("output", "fault", first)]
    findings.append(Finding("output", "ok", f"(B, S) = {tuple(noise.shape)} -> {tuple(first.shape)}, {first.dtype}"))
    return [*findings, *_checks(encoder, noise, first)]


def faults(findings: list[Finding]) -> list[Finding]:
    """Return the findings that make an encoder unusable."""
    return [f for f in findings if f.level == "fault"]


def render_findings(name: str, findings: list[Finding]) -> Table:
    """Return the findings as a table for a terminal."""
    table = Table(title=f"check of {name}", title_justify="left")
    for column in ("check", "", "found"):
        table.add_column(column, overflow="fold")
    styles = {"ok": "green", "warning": "yellow", "fault": "bold red"}
    for f in findings:
        table.add_row(f.check, f"[{styles[f.level]}]{f.level}[/]", f.message)
    return table


def _checks(encoder: _Checked, noise: Tensor, first: Tensor) -> Iterator[Finding]:
    yield Finding("finite", *_finite(first))
    if bool(first.isfinite().all()):
        # With NaN or infinity the comparisons would only repeat that fault.
        yield Finding("repeatable", *_repeatable(encoder, noise, first))
        yield Finding("batch", *_batch(encoder, noise, first))
        yield Finding("padding", *_padding(encoder, noise))
    yield from _durations(encoder)
    yield Finding("silence", *_silence(encoder))
    yield Finding("distinguishes inputs", *_distinguishes(first))
    yield Finding("random control", *_control(encoder))
    yield Finding("speed", *_speed(encoder))


def _finite(first: Tensor) -> tuple[Level, str]:
    bad = int((~first.isfinite()).sum())
    if bad:
        return "fault", f"{bad} of {first.numel()} numbers are NaN or infinite on quiet noise"
    return "ok", f"largest magnitude {float(first.abs().max()):.3g}"


def _repeatable(encoder: _Checked, noise: Tensor, first: Tensor) -> tuple[Level, str]:
    again = encoder.output(noise)
    if isinstance(again, str):
        return "fault", again
    gap = _gap(again, first)
    if not gap <= encoder.close:  # NaN is not close
        hint = "call .eval() inside it" if isinstance(encoder.call, nn.Module) else "switch its dropout off"
        return "fault", f"the same input twice differs by {gap:.1%}: {hint}, or fix its seed"
    return "ok", "the same input gives the same output"


def _batch(encoder: _Checked, noise: Tensor, first: Tensor) -> tuple[Level, str]:
    alone = encoder.output(noise[:1])
    if isinstance(alone, str):
        return "fault", f"a batch of one clip fails: {alone}"
    if alone.shape[1:] != first.shape[1:]:
        return "fault", f"one clip gives {tuple(alone.shape)}, the same in a batch {tuple(first.shape)}"
    gap = _gap(alone, first[:1])
    if not gap <= encoder.close:
        return "fault", f"a clip's output changes by {gap:.1%} with the other clips in the batch: no batch statistics"
    return "ok", "a clip alone equals the clip in a batch"


def _padding(encoder: _Checked, noise: Tensor) -> tuple[Level, str]:
    if not encoder.encoder.takes_lengths:
        return "warning", "it takes no `lengths`: only clips of one length share a batch, which is slower"
    samples = noise.shape[1]
    padded = torch.cat([noise[:1], torch.zeros(1, samples // 2)], 1)
    alone = encoder.output(noise[:1])
    both = encoder.output(
        torch.cat([padded, torch.ones_like(padded) * 0.01]), torch.tensor([samples, samples * 3 // 2])
    )
    if isinstance(alone, str) or isinstance(both, str):
        return "fault", next(output for output in (alone, both) if isinstance(output, str))
    gap = _gap(both[:1] if both.dim() == 2 else both[:1, : alone.shape[1]], alone)
    if not gap <= encoder.close:
        return "fault", f"half a clip of padding changes its output by {gap:.1%}, lengths given"
    return "ok", "padding changes nothing"


def _durations(encoder: _Checked) -> Iterator[Finding]:
    failed: dict[float, str] = {}
    tokens: list[str] = []
    for seconds in DURATIONS:
        out = encoder.output(_noise(1, max(1, round(encoder.rate * seconds))))
        if isinstance(out, str):
            failed[seconds] = out
        elif not bool(out.isfinite().all()):
            failed[seconds] = "the output is not finite"
        else:
            tokens.append(f"{seconds:g} s: {1 if out.dim() == 2 else out.shape[1]}")
    level: Level = "fault" if len(failed) == len(DURATIONS) else "warning"
    for seconds, reason in failed.items():
        yield Finding(f"{seconds:g} s", level, f"{reason}; clips of this length will be skipped and counted")
    if tokens:
        yield Finding("durations", "ok", f"time tokens of {', '.join(tokens)}")


def _silence(encoder: _Checked) -> tuple[Level, str]:
    out = encoder.output(torch.zeros(1, encoder.rate))
    if isinstance(out, str):
        return "warning", out
    if not bool(out.isfinite().all()):
        return "warning", "a silent clip gives NaN or infinity: such clips will be skipped and counted"
    return "ok", "a silent clip gives finite numbers"


def _distinguishes(first: Tensor) -> tuple[Level, str]:
    flat = first.flatten(1)
    gap = _gap(flat[1:2], flat[:1])
    if not math.isfinite(gap):
        return "fault", "the output is not finite"
    if gap < 1e-6:
        return "fault", "two different inputs give the same output: is the input used at all?"
    return "ok", f"the outputs of two noises differ by {gap:.1%}"


def _control(encoder: _Checked) -> tuple[Level, str]:
    if can_randomise(encoder.call):
        return "ok", "its weights can be re-initialised"
    return "warning", "no random-weight control: it is no torch module whose parts have reset_parameters()"


def _speed(encoder: _Checked) -> tuple[Level, str]:
    wave = _noise(1, encoder.rate * 10)
    began = time.perf_counter()
    if isinstance(encoder.output(wave), str):
        return "warning", "ten seconds can't be encoded at once"
    return "ok", f"about {10 / max(time.perf_counter() - began, 1e-9):,.0f} times real time, one clip"


def _noise(clips: int, samples: int) -> Tensor:
    return 0.05 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(1))


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-12))
