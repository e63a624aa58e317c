"""Contract cases of the selective state space encoders."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.state_space import BidirectionalStateSpaceConfig, StateSpaceConfig

_SSAM = StateSpaceConfig(width=32, depth=3, states=5, mels=32, frames=160)
_SSAMBA = BidirectionalStateSpaceConfig(width=32, depth=4, states=4, mels=32, frames=160, drop_path=0.0)


def _ceil(frames: int, step: int) -> int:
    return (frames + step - 1) // step


CASES = {
    "ssam": Case(_SSAM.build, grid=lambda n: (_ceil(n, 4), 2), local=(4, 16)),
    "ssam-published": Case(_SSAM.replace(cls="first").build, grid=lambda n: (_ceil(n, 4), 2), local=(4, 16)),
    "ssam-summary": Case(
        _SSAM.replace(cls="last", pooling="cls").build, grid=lambda n: (_ceil(n, 4), 2), local=(4, 16)
    ),
    "ssamba": Case(_SSAMBA.build, grid=lambda n: (_ceil(n, 16), 2), local=(16, 16)),
    "ssamba-bands": Case(
        _SSAMBA.replace(order="frequency", norm_twice=True).build, grid=lambda n: (_ceil(n, 16), 2), local=(16, 16)
    ),
    "ssamba-stacked": Case(
        _SSAMBA.replace(pairs="none", cls="last", pooling="cls", positions="sincos", norm_twice=True).build,
        grid=lambda n: (_ceil(n, 16), 2),
        local=(16, 16),
    ),
    "ssamba-single": Case(_SSAMBA.replace(pairs="single", cls="none").build, grid=lambda n: (_ceil(n, 16), 2)),
}
