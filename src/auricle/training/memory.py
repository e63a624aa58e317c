"""How much memory a run takes."""

from __future__ import annotations

import psutil
import torch


def memory_use(device: torch.device) -> dict[str, float]:
    """Return gigabytes: `memory_gb`, resident in this process; on CUDA also `gpu_gb`, the peak that was allocated."""
    use = {"memory_gb": round(psutil.Process().memory_info().rss / 1e9, 3)}
    if device.type == "cuda":
        use["gpu_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 3)
    return use
