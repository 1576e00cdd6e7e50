"""A real browser, and pages opened in it from file://."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.report.build import write_report
from extrap_eval.store import Run
from tests.report.runs import markov_run


@pytest.fixture(scope="session")
def markov(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five problems, four samples, probes and extensions."""
    return markov_run(tmp_path_factory.mktemp("markov"), problems=5, n=4)


@pytest.fixture(scope="session")
def page(markov: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of that run."""
    return write_report([markov.path], tmp_path_factory.mktemp("page") / "report.html").page


@dataclass
class Opened:
    """A page in the browser, with all that it said and asked for."""

    page: Any
    path: Path
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def go(self, hash: str = "") -> None:
        """Open the page anew, at an address."""
        self.page.goto("about:blank")
        self.page.goto(self.path.as_uri() + hash)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_selector(".pane[aria-busy]", state="detached")

    def trace(self, problem: int, sample: int, pane: int = 0) -> None:
        """Wait until a trace is shown."""
        self.page.wait_for_selector(f".pane:nth-child({pane + 1})[data-shown='{problem}/{sample}']")
        self.ready()


@pytest.fixture
def chromium() -> Iterator[Any]:
    """Debian's browser, driven by playwright; one per test, since playwright keeps an event loop running until it is
    closed, in which nothing else of this project could run its own.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opens(chromium: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a page file; options are those of a browser context."""
    contexts = []

    def opened(path: Path, hash: str = "", **options: Any) -> Opened:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        found = Opened(context.new_page(), path)
        page = found.page
        page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
        page.on("request", lambda request: found.requests.append(request.url))

        def dialog(each: Any) -> None:
            found.complaints.append(f"dialog: {each.message}")
            each.dismiss()

        page.on("dialog", dialog)
        found.go(hash)
        return found

    yield opened
    for context in contexts:
        context.close()
