"""The page in a real browser: keys, undo, a ranking that changes, two tabs, hostile names, both widths and schemes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_labels import Truth, made_library, opened, served, write_scenes

import auricle
from auricle.answers.label_log import Key
from auricle.answers.labelling import Labelling

Serving = Callable[..., AbstractContextManager[Callable[..., "Tab"]]]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<img src=x onerror=\"document.title='broken in'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    return made_library(tmp_path_factory.mktemp("made"))


@pytest.fixture
def library(made: tuple[Path, Truth], tmp_path: Path) -> Path:
    return shutil.copytree(made[0], tmp_path / "library")


@pytest.fixture
def serving(browser: Any) -> Serving:
    """Serves a page to tabs of their own; each of them may neither write to the console nor fail to load anything."""

    @contextmanager
    def serve(labelling: Labelling, export: Callable[[], list[str]] = list) -> Iterator[Callable[..., Tab]]:
        contexts: list[Any] = []
        said: list[str] = []
        with served(labelling, export) as address:

            def open_tab(width: int = 1280, height: int = 900, **settings: Any) -> Tab:
                contexts.append(browser.new_context(viewport={"width": width, "height": height}, **settings))
                page = contexts[-1].new_page()
                page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
                page.on("pageerror", lambda error: said.append(str(error)))
                page.on("requestfailed", lambda request: said.append(f"{request.url} {request.failure}"))
                page.goto(address)
                page.wait_for_selector("#keys button")
                return Tab(page)

            try:
                yield open_tab
            finally:
                for context in contexts:
                    context.close()
        assert [each for each in said if "ERR_ABORTED" not in each] == []

    return serve


class Tab:
    """A page, and what its user sees and does."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector))

    def shown(self) -> tuple[str, str]:
        return self.text("#file"), self.text("#time")

    def place(self) -> Key:
        """The segment that is shown: what the page says of it, read as a person does."""
        file, time = self.shown()
        begin, end = (int(part.split(":")[0]) * 60 + float(part.split(":")[1]) for part in time.split(" \u2013 "))
        return Key(file, begin, end)

    def press(self, key: str) -> None:
        before = self.shown()
        self.page.keyboard.press(key)
        for _ in range(400):
            if self.shown() != before:
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"{key} changed nothing: {self.text('#messages')}")

    def until(self, true: Callable[[], bool]) -> None:
        for _ in range(400):
            if true():
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(self.text("#messages"))

    def ranking(self) -> list[str]:
        return [str(each.get_attribute("data-row")) for each in self.page.query_selector_all("#ranking button")]


def test_thirty_labels_by_keys_change_the_ranking(library: Path, made: tuple[Path, Truth], serving: Serving) -> None:
    labelling = opened(library, ("owl",))
    with serving(labelling, lambda: ["written", "second line"]) as open_tab:
        tab = open_tab()
        assert tab.text("#unranked").startswith("Appears")
        rankings, sampled = [], 0
        for number in range(30):
            sampled += tab.text("#why") == "random sample"
            place = tab.place()
            tab.press("1" if "owl" in made[1][place] else "0")
            label = labelling.log.label_of(place)
            assert label is not None
            assert label.classes == (("owl",) if "owl" in made[1][place] else ())
            if number in (20, 29):
                # Fitted after every ten labels, without a key.
                tab.until(lambda: bool(tab.ranking()) and tab.ranking() not in rankings)
                rankings.append(tab.ranking())
        tab.until(lambda: tab.text("#counts").startswith("30 labels of 200 segments · 6 in the random sample"))
        assert sampled == 6
        tab.until(lambda: labelling.detectors.labels == labelling.log.last)  # type: ignore[union-attr]
        known = labelling.detectors
        tab.until(lambda: not tab.page.is_disabled("#fit"))
        tab.page.keyboard.press("r")
        tab.until(lambda: labelling.detectors is not known)
        tab.until(lambda: not tab.page.is_disabled("#fit"))
        assert tab.ranking() == [str(each.row) for each in labelling.ranking("owl", 12)]
        assert any(mark in tab.text("#ranking") for mark in ("new", "↑", "↓", "owl"))
        there = ["owl" in made[1][labelling.segments.key(int(row))] for row in tab.ranking()]
        assert sum(there) >= 10
        assert "Precision" in tab.text("#tiles")
        assert f"of {len(labelling.segments)}" in tab.text("#tiles")
        assert "among 6 labels" in tab.text("#basis")
        tab.page.keyboard.press("e")
        tab.until(lambda: "second line" in tab.text("#exported"))
        # Any of the ranking can be shown, and labelled again.
        tab.page.click("#ranking li:first-child button")
        tab.until(lambda: tab.place() == labelling.segments.key(int(tab.ranking()[0])))


def test_undo_brings_the_segment_back(library: Path, serving: Serving) -> None:
    labelling = opened(library)
    with serving(labelling) as open_tab:
        tab = open_tab()
        first = tab.place()
        tab.press("1")
        second = tab.place()
        tab.press("s")
        assert labelling.log.label_of(second).classes is None  # type: ignore[union-attr]
        tab.press("u")
        assert tab.place() == second
        tab.page.reload()
        tab.page.wait_for_selector("#keys button")
        tab.press("Control+z")
        assert tab.place() == first
        assert labelling.log.labels == {}
        # Several classes at once.
        tab.page.keyboard.press("Shift+Digit1")
        tab.page.keyboard.press("Shift+Digit2")
        tab.press("Enter")
        assert labelling.log.label_of(first).classes == ("owl", "fox")  # type: ignore[union-attr]
        tab.page.keyboard.press("7")  # no such class
        tab.press("u")
        assert tab.place() == first
        # The same on a phone, without keys.
        for selector in ("#several", "#keys button:nth-child(1)", "#keys button:nth-child(2)", "#several"):
            tab.page.click(selector)
        tab.until(lambda: tab.place() != first)
        assert labelling.log.label_of(first).classes == ("owl", "fox")  # type: ignore[union-attr]
        assert tab.text("#several span") == "Several classes"
        tab.press("u")
        tab.page.keyboard.press("u")
        tab.until(lambda: "nothing of this tab to undo" in tab.text("#messages"))


def test_a_digit_corrects_a_label(library: Path, serving: Serving) -> None:
    labelling = opened(library)
    with serving(labelling) as open_tab:
        tab = open_tab()
        first = tab.place()
        tab.press("1")
        for key, wanted in (("2", ("fox",)), ("0", ()), ("1", ("owl",))):
            # Shown again with its label, as from the list of high scores.
            row = labelling.segments.row(first)
            tab.press("u")
            labelling.label(row, ["owl", "fox"], "highest", "other")  # type: ignore[arg-type]
            tab.until(lambda: "Labelled owl + fox" in tab.text("#hint"))
            tab.press(key)
            assert labelling.log.label_of(first).classes == wanted  # type: ignore[union-attr]


def test_the_segment_is_played(library: Path, serving: Serving) -> None:
    with serving(opened(library)) as open_tab:
        tab = open_tab()

        def playing(tab: Tab = tab) -> bool:
            return bool(tab.page.evaluate("!document.getElementById('audio').paused"))

        # At once: it plays when the sound is there.
        tab.page.keyboard.press(" ")
        tab.until(playing)
        tab.page.keyboard.press(" ")
        tab.until(lambda: not playing())
        before = tab.page.evaluate("document.getElementById('audio').src")
        place = tab.place()
        # A button that the mouse pressed does not answer to the space bar, and the sound is that of the new segment.
        tab.page.click("#skip")
        tab.until(lambda: tab.place() != place)
        place = tab.place()
        tab.page.keyboard.press("c")
        tab.until(playing)
        assert tab.place() == place
        assert tab.page.evaluate("document.getElementById('audio').src") != before
        assert 2.0 <= tab.page.evaluate("document.getElementById('audio').duration") <= 3.0
        assert tab.page.evaluate("document.getElementById('image').naturalWidth") > 100


def test_two_tabs_are_told_of_each_other(library: Path, serving: Serving) -> None:
    labelling = opened(library)
    with serving(labelling) as open_tab:
        one, two = open_tab(), open_tab()
        place = one.place()
        assert two.place() != place
        one.press("1")
        row = labelling.segments.row(place)
        # The second tab labels the same segment, as from its list of high scores.
        two.page.evaluate(
            "([row]) => fetch('label', {method: 'POST', body: JSON.stringify("
            "{row, labels: ['fox'], origin: 'highest', tab: 'second', seen: 0})})",
            [row],
        )
        said = "Another tab labelled a segment of yours again: “fox” instead of “owl”"
        one.until(lambda: said in one.text("#messages"))
        assert labelling.log.label_of(place).classes == ("fox",)  # type: ignore[union-attr]
        # A label of the segment that is shown is seen at once, and one key replaces it.
        place = two.place()
        labelling.label(labelling.segments.row(place), ["owl"], "highest", "third")  # type: ignore[arg-type]
        two.until(lambda: "labelled the segment that you see “owl”" in two.text("#messages"))
        assert two.page.get_attribute("#keys button:nth-child(1)", "class") == "chosen"
        two.press("2")
        assert labelling.log.label_of(place).classes == ("fox",)  # type: ignore[union-attr]
        assert len(opened(library).log.labels) == 2


def test_hostile_names_are_text(tmp_path: Path, serving: Serving) -> None:
    write_scenes(tmp_path / "recordings", files=20, seconds=2)
    for number, file in enumerate(sorted((tmp_path / "recordings").iterdir())):
        file.rename(file.with_name(f"{number}{HOSTILE}&amp;\u202e\n.wav"))
    auricle.index("toy_library:Bands", tmp_path / "recordings", tmp_path / "library", segment=1.0, progress=False)
    labelling = opened(tmp_path / "library", (HOSTILE, "</script><script>document.title='broken in'</script>"))
    with serving(labelling) as open_tab:
        tab = open_tab()
        for number in range(14):
            tab.press("12"[number % 2])
        tab.page.keyboard.press("r")
        tab.until(lambda: bool(tab.ranking()))
        assert HOSTILE in tab.text("#file")
        assert HOSTILE in tab.text("#keys")
        assert HOSTILE in tab.text("#ranking")
        assert tab.page.query_selector("img[src=x]") is None
        assert "broken in" not in tab.page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_horizontal_scrolling_and_readable_text(width: int, scheme: str, library: Path, serving: Serving) -> None:
    labelling = opened(library, ("owl", "a class of a rather long name, and a_word_without_any_place_to_break_it_at"))
    with serving(labelling, lambda: ["/a/very/long/" + "path" * 40]) as open_tab:
        tab = open_tab(width, 844, color_scheme=scheme)
        for number in range(8):
            tab.press("102"[number % 3])
        tab.page.keyboard.press("r")
        tab.until(lambda: bool(tab.ranking()))
        tab.page.keyboard.press("e")
        tab.until(lambda: "very/long" in tab.text("#exported"))
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        for selector in ("#file", "#counts", "#fitted", "#keys button", "#ranking .place", "#why"):
            assert contrast(tab.page, selector) >= 4.5, selector


def contrast(page: Any, selector: str) -> float:
    """Contrast of an element's text with what is behind it, as WCAG defines it."""
    colours = page.evaluate(
        """(selector) => {
          const element = document.querySelector(selector);
          let behind = element;
          while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
          return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        }""",
        selector,
    )
    light = []
    for colour in colours:
        share = np.array([float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_a_server_that_is_gone_is_said_and_the_segment_stays(library: Path, browser: Any) -> None:
    labelling = opened(library)
    with served(labelling) as address:
        page = browser.new_context().new_page()
        page.goto(address)
        page.wait_for_selector("#keys button")
        tab = Tab(page)
        place = tab.place()
    page.keyboard.press("1")
    tab.until(lambda: "what you just did was not saved" in tab.text("#messages"))
    assert tab.place() == place
    assert labelling.log.labels == {}
    page.context.close()
