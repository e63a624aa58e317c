"""The device that a command computes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from auricle.errors import ConfigError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


def find_device(name: str = "auto") -> torch.device:
    """Return the torch device of a name.

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
    return found


def find_precision(name: str, device: torch.device) -> str:
    """Return `fp32` or `bf16`.

    Args:
        name: `fp32`, `bf16`, or `auto`: bfloat16 on CUDA devices that compute in it, else float32.
        device: that computes.

    Raises:
        ConfigError: the name is unknown.
    """
    import torch

    if name not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"precision is {name!r}; expected auto, fp32 or bf16")
    if name != "auto":
        return name
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"
