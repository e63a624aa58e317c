"""Contract cases of the Conformer: subsamplings, positions, norms, causal."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.conformer import ConformerConfig

_SMALL = ConformerConfig(width=32, depth=2, heads=2, kernel=7, mels=16, channels=8, dropout=0.0)

_CAUSAL = _SMALL.replace(causal=True, conv_norm="layer")
_WHOLE = (100, 33, 32, 31, 17, 16, 5, 4)


def _quarter(frames: int) -> tuple[int, int]:
    return (frames + 3) // 4, 1


def _unpadded(frames: int) -> tuple[int, int]:
    half = (frames - 3) // 2 + 1
    return (half - 3) // 2 + 1, 1


CASES = {
    "conformer": Case(_SMALL.build, grid=_quarter),
    "conformer-valid_rotary": Case(
        _SMALL.replace(subsampling="conv2d_valid", positions="rotary", conv_norm="layer", final_norm=True).build,
        lengths=(100, 33, 32, 31, 17, 16, 8, 7),
        grid=_unpadded,
    ),
    "conformer-stack_group": Case(
        _SMALL.replace(subsampling="stack", positions="rotary_before", conv_norm="group").build,
        grid=_quarter,
        local=(4, 16),
    ),
    "conformer-frames_without_positions": Case(
        _SMALL.replace(subsampling="none", positions="none", kernel=4).build,
        lengths=(100, 33, 17, 16, 5, 1),
        grid=lambda n: (n, 1),
        local=(1, 16),
    ),
    "conformer-causal": Case(_CAUSAL.build, lengths=_WHOLE, grid=lambda n: (n // 4, 1)),
    "conformer-causal_stack": Case(
        _CAUSAL.replace(subsampling="stack", positions="rotary").build,
        lengths=_WHOLE,
        grid=lambda n: (n // 4, 1),
        local=(4, 16),
    ),
    "conformer-causal_frames": Case(
        _CAUSAL.replace(subsampling="none", positions="none").build,
        lengths=(100, 33, 17, 16, 5, 1),
        grid=lambda n: (n, 1),
        local=(1, 16),
    ),
}
