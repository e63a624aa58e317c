"""The device and the precision that a command computes on."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from auricle.errors import ConfigError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_device(name: str = "auto") -> torch.device:
    """Return the torch device of a name; of the CPU, freed memory is kept from here on (see `keep_freed_memory`).

    Args:
        name: `auto` (CUDA where there is a CUDA device, else Apple's MPS, else the CPU), `cpu`, `cuda`, `mps`, or
            another name that torch knows, such as `cuda:1`.

    Raises:
        ConfigError: torch has no such device here.

    Examples:
        >>> find_device("cpu")
        device(type='cpu')
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no device {name!r}; expected auto, cpu, cuda or mps") from error
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(found.type, True):
        raise ConfigError(f"torch finds no {found.type} device here; set --device auto or --device cpu")
    if found.type == "cpu":
        keep_freed_memory()
    return found


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next allocation, and return whether it does.

    By default it gives large blocks back to the system, which fills them with zeros again at every step of a training:
    up to half of the processor's time. MALLOC_MMAP_MAX_ and MALLOC_TRIM_THRESHOLD_ in the environment are obeyed.
    Elsewhere than on Linux nothing changes.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def find_precision(name: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return `fp32` or `bf16`, in training and in evaluation.

    Args:
        name: `fp32`, `bf16`, or `auto`: bfloat16 where the device computes in it (see `has_bf16`), else float32.
        device: that computes.

    Raises:
        ConfigError: the name is unknown, or bf16 is asked for on an accelerator that lacks it.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"precision is {name!r}; expected auto, fp32 or bf16")
    if name == "bf16" and device.type == "cuda" and not has_bf16(device):
        raise ConfigError(f"precision is bf16, and {device} does not compute in bfloat16; set --precision auto or fp32")
    return "bf16" if name == "bf16" or (name == "auto" and has_bf16(device)) else "fp32"


def autocast_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype to autocast to, or None for float32 throughout; `find_precision` says which."""
    import torch

    return torch.bfloat16 if find_precision(name, device) == "bf16" else None


def has_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 without emulation."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and processor_has_bf16()


def processor_has_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 matrices itself (AVX512-BF16, AMX, Arm BF16).

    False where this is unknown (no /proc/cpuinfo): emulated bfloat16 is slower than float32.
    """
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(value.split())
    return False
