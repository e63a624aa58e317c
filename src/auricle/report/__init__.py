"""One self-contained HTML page from results."""

from __future__ import annotations

from auricle.report.page import write_report

__all__ = ["write_report"]
