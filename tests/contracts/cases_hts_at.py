"""Contract cases of HTS-AT: with and without stretching."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.hts_at import HtsAtConfig

# Images of 64 x 64, 32 mel bins in two folds: 16, 8 and 4 rows of patches in the three stages.
_SMALL = HtsAtConfig(
    width=8, depths=(2, 2, 2), heads=(2, 2, 4), window=4, mels=32, fold=2, clip_frames=128, drop_path=0.0
)


def _whole(frames: int) -> tuple[int, int]:
    return (frames + 15) // 16, 2


def _stretched(frames: int) -> tuple[int, int]:
    # 125 frames become 128, of which 16 make a token: 7.8125 frames of the input each, counted in whole images.
    images, rest = divmod(frames, 125)
    return images * 8 + -(-rest * 1000 // 15625), 2


CASES = {
    "hts_at": Case(_SMALL.build, grid=_whole, local=(4, 4)),
    "hts_at-stretched": Case(_SMALL.replace(clip_frames=125, mels=20, bins=32).build, grid=_stretched),
}
