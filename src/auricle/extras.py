"""Libraries that only some users need, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from auricle.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import a library of one of auricle's extras.

    Args:
        module: its import name, dotted where a part of it is wanted.
        extra: the extra that brings it.

    Raises:
        MissingExtraError: it is not installed, or lacks something itself; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module.split('.')[0]} can't be imported ({error}); it comes with: pip install 'auricle[{extra}]'"
        ) from error
