"""Finds what is wrong with somebody's own encoder before anything runs: one precise message a fault."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rich.table import Table
from torch import Tensor, nn

from auricle.encoders.foreign import ForeignEncoder, can_randomise, check_output, make_callable, told
from auricle.errors import AuricleError

DURATIONS = (0.1, 0.5, 1.0, 2.37, 10.0)
CLOSE = 1e-3  # relative difference that rounding may cause between batches


@dataclass(frozen=True)
class Finding:
    """What one check found: `ok`, a `warning` (it runs, but something is lost), or a `fault` (it can't be used)."""

    check: str
    level: Literal["ok", "warning", "fault"]
    message: str


def check_encoder(what: str | Callable[..., Any]) -> list[Finding]:
    """Check an encoder: `module:Class`, or the callable itself. Later checks are left out where they can't run.

    Checks: it can be imported and made; `rate` and `width`; shape, type and finiteness of the output; same answer
    twice; a clip alone equals the clip in a batch; padding; durations from 0.1 to 10 s; silence; different sounds give
    different answers; weights that a control can draw anew; speed.
    """
    findings: list[Finding] = []
    try:
        call = make_callable(what) if isinstance(what, str) else what
    except AuricleError as error:
        return [Finding("can be made", "fault", str(error))]
    findings.append(Finding("can be made", "ok", type(call).__name__))
    try:
        encoder = ForeignEncoder(call)
    except AuricleError as error:
        return [*findings, Finding("rate and width", "fault", str(error))]
    findings.append(Finding("rate and width", "ok", f"{encoder.rate} Hz, width {encoder.width}"))
    noise = _noise(3, encoder.rate)
    first = _answer(encoder, noise)
    if isinstance(first, str):
        return [*findings, Finding("output", "fault", first)]
    findings.append(Finding("output", "ok", f"(B, S) = {tuple(noise.shape)} -> {tuple(first.shape)}, {first.dtype}"))
    findings += _checks(encoder, noise, first)
    return findings


def faults(findings: list[Finding]) -> list[Finding]:
    """Return the findings that forbid the use of an encoder."""
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


def _checks(encoder: ForeignEncoder, noise: Tensor, first: Tensor) -> Iterator[Finding]:
    yield _finite(first)
    if bool(first.isfinite().all()):
        # Numbers that are none can't be compared: the fault above would be told again in other words.
        yield _repeats(encoder, noise, first)
        yield _batch(encoder, noise, first)
        yield _padding(encoder, noise)
    yield from _durations(encoder)
    yield _silence(encoder)
    yield _tells_apart(first)
    yield _control(encoder)
    yield _speed(encoder)


def _finite(first: Tensor) -> Finding:
    bad = int((~first.isfinite()).sum())
    if bad:
        return Finding("finite", "fault", f"{bad} of {first.numel()} numbers are NaN or infinite on quiet noise")
    return Finding("finite", "ok", f"largest magnitude {float(first.abs().max()):.3g}")


def _repeats(encoder: ForeignEncoder, noise: Tensor, first: Tensor) -> Finding:
    again = _answer(encoder, noise)
    if isinstance(again, str):
        return Finding("repeats itself", "fault", again)
    gap = _gap(again, first)
    if not gap <= CLOSE:  # NaN is not close
        hint = "call .eval() inside it" if isinstance(encoder.call, nn.Module) else "switch its dropout off"
        return Finding("repeats itself", "fault", f"the same input twice differs by {gap:.1%}: {hint}, or fix its seed")
    return Finding("repeats itself", "ok", "the same input gives the same output")


def _batch(encoder: ForeignEncoder, noise: Tensor, first: Tensor) -> Finding:
    alone = _answer(encoder, noise[:1])
    if isinstance(alone, str):
        return Finding("batch", "fault", f"a batch of one clip fails: {alone}")
    if alone.shape[1:] != first.shape[1:]:
        return Finding(
            "batch", "fault", f"one clip gives {tuple(alone.shape)}, the same in a batch {tuple(first.shape)}"
        )
    gap = _gap(alone, first[:1])
    if not gap <= CLOSE:
        return Finding(
            "batch",
            "fault",
            f"a clip's output changes by {gap:.1%} with its neighbours in the batch: no batch statistics",
        )
    return Finding("batch", "ok", "a clip alone equals the clip in a batch")


def _padding(encoder: ForeignEncoder, noise: Tensor) -> Finding:
    if not encoder.takes_lengths:
        return Finding(
            "padding", "warning", "it takes no `lengths`: only clips of one length share a batch, which is slower"
        )
    samples = noise.shape[1]
    padded = torch.cat([noise[:1], torch.zeros(1, samples // 2)], 1)
    alone = _answer(encoder, noise[:1])
    both = _answer(
        encoder, torch.cat([padded, torch.ones_like(padded) * 0.01]), torch.tensor([samples, samples * 3 // 2])
    )
    if isinstance(alone, str):
        return Finding("padding", "fault", alone)
    if isinstance(both, str):
        return Finding("padding", "fault", both)
    kept = both[:1] if both.dim() == 2 else both[:1, : alone.shape[1]]
    gap = _gap(kept, alone)
    if not gap <= CLOSE:
        return Finding("padding", "fault", f"half a clip of padding changes its output by {gap:.1%}, lengths given")
    return Finding("padding", "ok", "padding changes nothing")


def _durations(encoder: ForeignEncoder) -> Iterator[Finding]:
    failed: dict[float, str] = {}
    tokens: list[str] = []
    for seconds in DURATIONS:
        out = _answer(encoder, _noise(1, max(1, round(encoder.rate * seconds))))
        if isinstance(out, str):
            failed[seconds] = out
        elif not bool(out.isfinite().all()):
            failed[seconds] = "the output is not finite"
        else:
            tokens.append(f"{seconds:g} s: {1 if out.dim() == 2 else out.shape[1]}")
    for seconds, reason in failed.items():
        level: Literal["warning", "fault"] = "fault" if len(failed) == len(DURATIONS) else "warning"
        yield Finding(f"{seconds:g} s", level, f"{reason}; clips of this length would be skipped and counted")
    if tokens:
        yield Finding("durations", "ok", f"time tokens of {', '.join(tokens)}")


def _silence(encoder: ForeignEncoder) -> Finding:
    out = _answer(encoder, torch.zeros(1, encoder.rate))
    if isinstance(out, str):
        return Finding("silence", "warning", out)
    if not bool(out.isfinite().all()):
        return Finding(
            "silence", "warning", "a silent clip gives NaN or infinity: such clips would be skipped and counted"
        )
    return Finding("silence", "ok", "a silent clip gives finite numbers")


def _tells_apart(first: Tensor) -> Finding:
    flat = first.flatten(1)
    gap = _gap(flat[1:2], flat[:1])
    if not math.isfinite(gap):
        return Finding("tells apart", "fault", "the output is not finite, so that no two sounds can be told apart")
    if gap < 1e-6:
        return Finding("tells apart", "fault", "two different sounds give the same output: is the input used at all?")
    return Finding("tells apart", "ok", f"two noises differ by {gap:.1%}")


def _control(encoder: ForeignEncoder) -> Finding:
    if can_randomise(encoder.call):
        return Finding("random control", "ok", "its weights can be drawn anew")
    return Finding(
        "random control",
        "warning",
        "no random-weight control will stand beside it: it is no torch module whose parts have reset_parameters()",
    )


def _speed(encoder: ForeignEncoder) -> Finding:
    wave = _noise(1, encoder.rate * 10)
    began = time.perf_counter()
    if isinstance(_answer(encoder, wave), str):
        return Finding("speed", "warning", "ten seconds can't be encoded at once")
    return Finding("speed", "ok", f"about {10 / max(time.perf_counter() - began, 1e-9):,.0f} times real time, one clip")


def _noise(clips: int, samples: int) -> Tensor:
    return 0.05 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(1))


def _answer(encoder: ForeignEncoder, wave: Tensor, lengths: Tensor | None = None) -> Tensor | str:
    """Call the encoder; what it raises, or what is wrong with its answer, comes back in words."""
    try:
        with torch.no_grad():
            if encoder.takes_lengths:
                full = torch.full((len(wave),), wave.shape[1])
                out = encoder.call(wave, lengths=full if lengths is None else lengths)
            else:
                out = encoder.call(wave)
        check_output(out, len(wave), encoder.width)
    except AuricleError as error:
        return str(error)
    except Exception as error:  # a stranger's code may raise anything, and that is the finding
        return f"calling it on wave {tuple(wave.shape)} raised {told(error)}"
    answer: Tensor = out.float()
    return answer


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-12))
