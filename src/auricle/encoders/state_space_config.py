"""Settings of the selective state space encoders: SSAM's and SSAMBA's, by size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch

from auricle.config import nearest
from auricle.encoders.contract import EncoderConfig
from auricle.errors import ConfigError

if TYPE_CHECKING:
    from auricle.encoders.state_space import StateSpace


@dataclass(frozen=True)
class StateSpaceConfig(EncoderConfig):
    """Settings of a selective state space encoder; the defaults are SSAM's tiny size without a class token.

    SSAM (arXiv 2406.02178, released code): two seconds of 80 mel bins, patches of 4 frames by 16 bins, 12 blocks of one
    direction with 24 states and three times the width inside, fixed sin-cos positions. Its class token stands *first*,
    where a recurrence has nothing to tell it yet: every clip's would be the same. `cls="first"` keeps it as published;
    the default leaves it out and pools by the mean. Put a summary token `last` instead to read one.

    Attributes:
        width: D, a multiple of 4.
        depth: number of blocks.
        states: N, states per channel.
        expand: channels inside a block over D.
        kernel: of the causal convolution in a block.
        bidirectional: every block scans from both ends.
        pairs: blocks 1 and 2, 3 and 4, ... read the same input, the second one turned round, and their outputs are
            added. `published` adds their residual streams too, which doubles the stream at every pair (SSAMBA's code,
            from Vision Mamba's); `single` adds it once. `none`: blocks follow each other.
        patch: size of a patch in (frames, mel bins); patches do not overlap.
        mels: mel bins of the input, a multiple of the patch's.
        frames: longest input in frames; it fixes the grid of positions.
        frame_rate: frames per second of the front end.
        cls: where a class token stands: `none`, `first` (published by both) or `last` (behind the last valid token).
        pooling: `mean` of the valid tokens, or `cls`.
        positions: `sincos`, fixed on the (time, freq) grid, or `learned`.
        norm_twice: apply the final norm twice (SSAMBA's code; needed for its checkpoints only).
        drop_path: chance that a clip skips a block's branch in training.
        eps: of the layer norms.
    """

    width: int = 192
    depth: int = 12
    states: int = 24
    expand: int = 3
    kernel: int = 4
    bidirectional: bool = False
    pairs: Literal["none", "published", "single"] = "none"
    patch: tuple[int, int] = (4, 16)
    mels: int = 80
    frames: int = 200
    frame_rate: float = 100.0
    cls: Literal["none", "first", "last"] = "none"
    pooling: Literal["mean", "cls"] = "mean"
    positions: Literal["sincos", "learned"] = "sincos"
    norm_twice: bool = False
    drop_path: float = 0.0
    eps: float = 1e-6

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 192, "depth": 12},
        "small": {"width": 384, "depth": 12},
        "base": {"width": 768, "depth": 12},
    }

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            ConfigError: naming the setting and what it must fit.
        """
        for name in ("width", "depth", "states", "expand", "kernel"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name, known in (
            ("pairs", ("none", "published", "single")),
            ("cls", ("none", "first", "last")),
            ("pooling", ("mean", "cls")),
            ("positions", ("sincos", "learned")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}{nearest(str(getattr(self, name)), known)}")
        if self.positions == "sincos" and self.width % 4:
            raise ConfigError(f"width {self.width} must be a multiple of 4 for sin-cos positions on two axes")
        if self.pairs != "none" and self.depth % 2:
            raise ConfigError(f"depth {self.depth} must be even: blocks come in pairs (pairs={self.pairs!r})")
        if min(self.patch) < 1 or self.mels % self.patch[1]:
            raise ConfigError(f"mels {self.mels} must be a multiple of the patch height {self.patch[1]}")
        if self.frames % self.patch[0] or self.frames < self.patch[0]:
            raise ConfigError(f"frames {self.frames} must be a multiple of the patch length {self.patch[0]}")
        if not 0.0 <= self.drop_path < 1.0:
            raise ConfigError(f"drop_path {self.drop_path} must lie in [0, 1)")
        if self.pooling == "cls" and self.cls == "none":
            raise ConfigError("pooling 'cls' reads the class token, but cls is 'none'; use 'mean' or cls='last'")
        if self.pooling == "cls" and self.cls == "first" and self.causal:
            raise ConfigError(
                "pooling 'cls' with cls 'first' gives every clip the same vector: read in one direction, the first "
                "token hears nothing; use cls='last' or pooling='mean'"
            )

    @property
    def causal(self) -> bool:
        """Whether every token depends on earlier ones only."""
        return not self.bidirectional and self.pairs == "none"

    @property
    def layers(self) -> int:
        """Number of layers: pairs of blocks, or blocks."""
        return self.depth if self.pairs == "none" else self.depth // 2

    @classmethod
    def size(cls, name: str, /, **changes: Any) -> Self:
        """Return the settings of a named size, with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in cls.sizes:
            raise ConfigError(f"unknown size {name!r}{nearest(name, cls.sizes)}")
        return cls(**{**cls.sizes[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> StateSpace:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        from auricle.encoders.state_space import StateSpace

        return StateSpace(self, generator)


@dataclass(frozen=True)
class BidirectionalStateSpaceConfig(StateSpaceConfig):
    """SSAMBA's settings (arXiv 2405.11831 and its pre-training script); fields as in `StateSpaceConfig`.

    1024 frames of 128 mel bins in patches of 16 by 16, learned positions, class token first, 24 blocks, each of which
    scans from both ends (Vision Mamba), in pairs of which the second sees the sequence turned round. Tokens are read in
    time-major order here, frequency-major there. The clip vector is the mean of the patch tokens, as in its
    fine-tuning (`ft_avgtok`). Published sizes are `tiny`, `small` and `base`; `micro` is ours, for two CPU cores: a
    step of `tiny` takes some seconds there.
    """

    depth: int = 24
    states: int = 16
    expand: int = 2
    bidirectional: bool = True
    pairs: Literal["none", "published", "single"] = "published"
    patch: tuple[int, int] = (16, 16)
    mels: int = 128
    frames: int = 1024
    cls: Literal["none", "first", "last"] = "first"
    positions: Literal["sincos", "learned"] = "learned"
    drop_path: float = 0.1
    eps: float = 1e-5

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": {"width": 128, "depth": 8},
        "tiny": {"width": 192, "depth": 24},
        "small": {"width": 384, "depth": 24},
        "base": {"width": 768, "depth": 24},
    }
