"""`python -m auricle.cli`, as launchers of several processes call it."""

from __future__ import annotations

import sys

from auricle.cli import main

if __name__ == "__main__":
    sys.exit(main())
