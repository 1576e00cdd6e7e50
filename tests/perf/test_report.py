"""How large a report is, how long it takes to make, to open, and to show a trace: 4 800 completions of 32k tokens.

``EXTRAP_EVAL_REPORT_COMPLETIONS`` chooses another number of completions.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.cards.schema import BenchmarkCard, ModelCard
from extrap_eval.problems.problem import Problem
from extrap_eval.report.build import Written, write_report
from extrap_eval.scoring.tokens import TokenTable
from extrap_eval.steps.score import score
from extrap_eval.store import Completion, Run, create_run

pytestmark = [pytest.mark.perf, pytest.mark.browser, pytest.mark.timeout(3600)]

COMPLETIONS = int(os.environ.get("EXTRAP_EVAL_REPORT_COMPLETIONS", "4800"))
PROBLEMS, TOKENS = 30, 32768
WORDS = 4000


def a_table() -> TokenTable:
    """Four thousand words of three to eight letters, then what makes paragraphs, episodes, formulas and boxes."""
    rng = np.random.default_rng(0)
    letters = [rng.integers(97, 123, size, dtype=np.uint8).tobytes() for size in rng.integers(3, 9, WORDS)]
    return TokenTable(
        (
            *(b" " + word for word in letters),
            b"\n\n",
            b"Wait",
            b" $x^",
            b"$",
            b" \\boxed{",
            b"}",
            *(b"%d" % i for i in range(10)),
        )
    )


BREAK, WAIT, OPEN, CLOSE, BOX, END, DIGIT = range(WORDS, WORDS + 7)


def a_completion(rng: np.random.Generator) -> np.ndarray:
    """Paragraphs of 40 tokens, an episode every 640, a formula every 80, a box every 2048; int32 (TOKENS,)."""
    ids = rng.integers(0, WORDS, TOKENS, dtype=np.int32)
    ids[40::40] = BREAK
    ids[641::640] = WAIT
    at = np.arange(20, TOKENS - 4, 80)
    ids[at], ids[at + 1], ids[at + 2] = OPEN, DIGIT + rng.integers(0, 10, len(at)), CLOSE
    at = np.arange(2000, TOKENS - 4, 2048)
    ids[at], ids[at + 1], ids[at + 2] = BOX, DIGIT + rng.integers(0, 10, len(at)), END
    return ids


def a_run(path: Path) -> Run:
    problems = [Problem(f"p{i}", f"Find ${i}^x$.", str(i % 10), "integer") for i in range(PROBLEMS)]
    run = create_run(
        path,
        model_card=ModelCard.model_validate(
            {"name": "synthetic", "hf_id": "org/synthetic", "training_budget": {"tokens": 16384, "source": "none"}}
        ),
        benchmark_card=BenchmarkCard.model_validate({"name": "synthetic", "source": {"file": "none.jsonl"}}),
        problems=problems,
        prompts={problem.id: np.arange(3, dtype=np.int32) for problem in problems},
        token_table=a_table(),
        settings={"temperature": 1.0, "top_p": 1.0, "top_k": -1, "max_tokens": TOKENS, "stop_token_ids": ()},
        n=COMPLETIONS // PROBLEMS,
    )
    rng = np.random.default_rng(1)
    with run.writer() as writer:
        for sample in range(COMPLETIONS // PROBLEMS):
            writer.append(
                [
                    Completion(problem.id, sample, token_ids=a_completion(rng), finish_reason="length")
                    for problem in problems
                ]
            )
        writer.seal()
    score(path)
    return run


def in_browser(written: Written) -> dict[str, float]:
    """Milliseconds in headless chromium: from the request to a page that answers, to a trace that is painted, to a
    budget that is painted (medians).
    """
    from playwright.sync_api import sync_playwright

    painted = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
    show = """([id, sample]) => new Promise((done) => {
        const began = performance.now();
        const pane = document.querySelector('.pane');
        const seen = new MutationObserver(() => {
          if (pane.hasAttribute('aria-busy')) return;
          seen.disconnect();
          requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
        });
        seen.observe(pane, {attributes: true, attributeFilter: ['aria-busy']});
        location.hash = `#problem=${id}&sample=${sample}`;
    })"""
    move = """(selector) => new Promise((done) => {
        const slider = document.querySelector(selector);
        const began = performance.now();
        slider.value = slider.max * (0.2 + 0.6 * Math.random());
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
    })"""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        opened = []
        for _ in range(3):
            page.goto("about:blank")
            page.goto(written.page.as_uri() + "#view=problems")
            page.wait_for_selector("html[data-ready]")
            opened.append(page.evaluate(painted))
        grid = [page.evaluate(move, "#knob") for _ in range(9)]
        rng = np.random.default_rng(2)
        traces = [
            page.evaluate(show, [f"p{rng.integers(PROBLEMS)}", int(rng.integers(COMPLETIONS // PROBLEMS))])
            for _ in range(21)
        ]
        cuts = [page.evaluate(move, "[data-part=slider]") for _ in range(9)]
        browser.close()
    return {
        "page open and painted": float(np.median(opened)),
        "trace shown, median": float(np.median(traces)),
        "trace shown, slowest of 21": float(np.max(traces)),
        "grid recoloured": float(np.median(grid)),
        "trace cut elsewhere": float(np.median(cuts)),
    }


def test_a_large_run(tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    began = time.monotonic()
    run = a_run(tmp_path / "run")
    made = time.monotonic() - began
    written = write_report([run.path], tmp_path / "report.html")
    assert written.traces == COMPLETIONS
    browser: dict[str, Any] = in_browser(written)
    chunks = list(written.folder.iterdir()) if written.folder else []
    print(f"\n{COMPLETIONS:,} completions of {TOKENS:,} tokens (sampled and scored in {made:.0f} s)")
    print(f"{'report made':<28}{written.seconds:>10.1f} s")
    print(f"{'page':<28}{written.page.stat().st_size / 2**20:>10.1f} MiB")
    print(f"{'chunks (' + str(len(chunks)) + ')':<28}{sum(path.stat().st_size for path in chunks) / 2**20:>10.1f} MiB")
    for name, milliseconds in browser.items():
        print(f"{name:<28}{milliseconds:>10.0f} ms")
