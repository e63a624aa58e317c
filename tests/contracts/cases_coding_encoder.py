"""Contract cases of encoders with a codebook: everything is as the body has it."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoderConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig

_BODY = BEATsConfig(width=32, embed=16, depth=2, heads=2, mels=32, position=ConvPositionConfig(kernel=8, groups=4))
_CODING = CodingEncoderConfig(body=_BODY, codebook=CodebookConfig(codes=16, dim=8))


def _grid(frames: int) -> tuple[int, int]:
    return frames // 16, 2


CASES = {
    "coding_encoder": Case(
        _CODING.build,
        lengths=(100, 33, 32, 31, 17, 16),
        grid=_grid,
        local=(16, 16),
        # What gives codes takes no part in encoding.
        unused=frozenset({"codebook.fc1.weight", "codebook.fc1.bias", "codebook.fc2.weight", "codebook.fc2.bias"}),
    ),
}
