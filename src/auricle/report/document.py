"""A self-contained page: it opens offline, and loads nothing."""

from __future__ import annotations

from importlib.resources import files

from auricle.report.markup import Child, Markup, element

# The page may run its own script and show its own data, and nothing else: not even a broken label could load anything.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; media-src data:; "
    "form-action 'none'; base-uri 'none'"
)


def document(title: str, *body: Child) -> str:
    """Return a page with the report's style.

    Args:
        title: of the window.
        body: what it holds; see `auricle.report.markup.render`.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="generator", content="auricle"),
        element("title", title),
        element("style", packaged("page.css")),
    )
    return f"<!doctype html>\n{element('html', head, element('body', *body), lang='en')}\n"


def packaged(name: str) -> Markup:
    """Return a style or script that comes with the package, to stand inside a page."""
    return Markup((files("auricle.report") / name).read_text(encoding="utf-8"))
