"""Extensions from outside the package: modules whose import registers their recipes, encoders, probes, tasks, metrics.

A distribution names its module as an entry point, and needs nothing else:

    [project.entry-points."auricle.plugins"]
    my_birds = "my_birds.auricle_parts"

On the command line, `--plugin my_module` imports a module of the current folder or of the environment.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from auricle.errors import ConfigError

GROUP = "auricle.plugins"


def load_plugins(modules: Sequence[str] = ()) -> tuple[str, ...]:
    """Import the installed plug-ins, and modules by name; return the names of all.

    Args:
        modules: further modules, of the environment or of the current folder.

    Raises:
        ConfigError: a module can't be imported, whatever it raises.

    Examples:
        >>> load_plugins(["json"])[-1]
        'json'
    """
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.append(here)
    names = (*_installed(), *modules)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ConfigError(
                f"plug-in {name} can't be imported ({type(error).__name__}: {error}); fix it, or uninstall it or leave "
                f"--plugin {name} out"
            ) from error
    return names


@functools.cache
def _installed() -> tuple[str, ...]:
    return tuple(sorted({found.value.partition(":")[0] for found in entry_points(group=GROUP)}))
