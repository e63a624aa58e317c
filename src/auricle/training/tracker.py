"""The metrics in TensorBoard's format, for those who keep their runs there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.errors import ConfigError


class TensorBoardTracker:
    """Writes each line of metrics as scalars below `tensorboard/` of the run folder."""

    def __init__(self, folder: Path, purge_step: int = 0) -> None:
        """Open the writer.

        Args:
            folder: the run folder.
            purge_step: what an earlier session wrote past this step is hidden.

        Raises:
            ConfigError: tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "train.tensorboard needs the tensorboard package: pip install 'auricle[tensorboard]', or leave it off "
                "(metrics.jsonl is written always)"
            ) from error
        self._writer = SummaryWriter(folder / "tensorboard", purge_step=purge_step or None)

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line of metrics."""
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()
