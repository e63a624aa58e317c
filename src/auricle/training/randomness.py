"""All randomness of a run as a function of its seed, so that there is no state to save."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, purpose: str, step: int = 0, rank: int = 0) -> int:
    """Return a 63-bit seed that depends on every argument."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def step_generator(seed: int, purpose: str, step: int, rank: int = 0) -> torch.Generator:
    """Return a fresh CPU generator for one purpose (`augment`, `objective` ...) of one step on one rank."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, step, rank))


def seed_layers(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch's global generators for a step: the only ones that dropout and drop path can draw from."""
    torch.manual_seed(derive_seed(seed, "layers", step, rank))
