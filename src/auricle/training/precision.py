"""The precision that the training step computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from auricle.errors import ConfigError

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def processor_has_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 matrices itself (AVX512-BF16, AMX, Arm BF16).

    False where this is unknown (no /proc/cpuinfo): emulated bfloat16 is slower than float32.
    """
    cpuinfo = Path("/proc/cpuinfo")
    if not torch.backends.mkldnn.is_available() or not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return bool(_BF16_FLAGS & set(value.split()))
    return False


def has_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 without emulation."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and processor_has_bf16()


def autocast_dtype(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype | None:
    """Return the dtype to autocast to, or None for float32 throughout.

    Raises:
        ConfigError: bf16 is asked for on an accelerator that lacks it.
    """
    if precision == "fp32":
        return None
    if has_bf16(device):
        return torch.bfloat16
    if precision == "bf16" and device.type == "cuda":
        raise ConfigError(f"train.precision is bf16, but {device} does not compute in bfloat16; use auto or fp32")
    return torch.bfloat16 if precision == "bf16" else None
