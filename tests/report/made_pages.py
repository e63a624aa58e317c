"""Records, runs and pages that the tests of the report share."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from auricle.report import write_report
from auricle.results.record import SCHEME

# What a record of `Result` has beside the fields of `line`.
EVERY_FIELD: dict[str, Any] = {
    "kind": "single", "interval": "bootstrap", "metrics": {}, "per_fold": [], "per_seed": [], "values": [],
    "per_class": {}, "classes": [], "confusion": None, "split": "", "fold_names": [], "sizes": [], "refit": False,
    "chosen": [], "tried": 1, "settings": {}, "seeds": [0], "params": 1, "width": 1, "corpus": "c", "seen": None,
    "predictions": None, "command": "made", "versions": {}, "seconds": 1.0, "made": "2026-01-01",
}  # fmt: skip


def line(task: str, role: str, probe: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "task": task, "role": role, "encoder": {"pretrained": "mosaic"}.get(role, role), "encoder_fingerprint": role,
        "probe": probe, "metric": "accuracy", "value": value, "low": value - 0.01, "high": value + 0.01, "clips": 9,
        "clips_total": 9, "confidence": 0.95, "key": f"{task} {role} {probe} {more.get('corpus_fingerprint')}",
        "corpus_fingerprint": f"corpus of {task}", "protocol": "split", "type_name": "clips",
        "scheme": SCHEME, **more,
    }  # fmt: skip


def run_of(folder: Path, *records: dict[str, Any], **files: Any) -> Path:
    for record in records:
        where = folder / "probes" / record["task"]
        where.mkdir(parents=True, exist_ok=True)
        with (where / "results.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    for name, data in files.items():
        (folder / "probes" / records[0]["task"] / f"{name}.json").write_text(json.dumps(data))
    return folder


class Page(HTMLParser):
    """What a browser would make of the page, as far as the tests ask."""

    VOID = frozenset({"meta", "img", "br", "hr", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.scripts: dict[str, str] = {}
        self.plain_scripts: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        self.loaded += [str(found[name]) for name in ("src", "data", "poster", "srcset") if found.get(name)]
        if tag in {"link", "iframe", "object", "embed", "base"}:
            self.loaded.append(tag)
        self.handlers += [name for name in found if name.startswith("on")]
        if tag == "script":
            self._script = str(found.get("id", ""))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = data
        elif self._script == "":
            self.plain_scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def figures(self) -> list[dict[str, Any]]:
        return json.loads(self.scripts["figures"])

    @property
    def clips(self) -> list[list[dict[str, Any]]]:
        return json.loads(self.scripts["clips"])


def written(tmp_path: Path, *runs: Path) -> Page:
    return Page(write_report(runs, tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
