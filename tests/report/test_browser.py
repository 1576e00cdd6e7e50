"""The report in a real browser, opened from file://."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.report.build import write_report
from extrap_eval.report.text import shown
from extrap_eval.scoring.outcomes import OUTCOMES
from extrap_eval.scoring.timeline import answer_index
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.store import Run
from tests.report.conftest import Opened
from tests.report.runs import byte_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Opens = Callable[..., Opened]

# What a reader sees within the budget: everything in the trace that is not greyed out.
WITHIN = """() => {
  const found = [];
  const walk = document.createTreeWalker(document.querySelector('[data-part="text"]'), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const at = walk.currentNode.parentElement;
    if (at.closest('.words') && !at.closest('.beyond')) found.push(walk.currentNode.data);
  }
  return found.join('');
}"""
CELLS = """() => [...document.querySelectorAll('#problems [data-at]')].map((cell) =>
  [Number(cell.dataset.at), [...cell.classList].find((name) => name !== 'cell')])
  .sort((a, b) => a[0] - b[0]).map((pair) => pair[1])"""


def expected_cells(run: Run, budget: int) -> list[str]:
    found = outcomes(run, [budget])
    right, answered = found.correct[..., 0], found.class_id[..., 0] >= 0
    return np.where(right, "right", np.where(answered, "wrong", "none")).ravel().tolist()


def set_budget(opened: Opened, budget: int) -> None:
    opened.page.fill("#tokens", str(budget))


def test_it_opens_from_a_file_and_asks_for_nothing(page: Path, opens: Opens) -> None:
    opened = opens(page)
    assert opened.page.is_visible("#overview h1")
    assert opened.page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert not opened.page.is_visible("#command-1 code")
    opened.page.click("text=the commands that made the run")
    assert opened.page.is_visible("#command-1 code")
    for key in ("2", "3"):
        opened.page.keyboard.press(key)
    opened.trace(0, 0)
    assert {url.split(":")[0] for url in opened.requests} <= {"file", "data", "about", "blob"}
    assert sum(url.startswith("file") for url in opened.requests) == 1
    assert opened.complaints == []


def test_the_slider_recolours_the_grid_as_computed_in_python(markov: Run, page: Path, opens: Opens) -> None:
    opened = opens(page, "#view=problems")
    seen = set()
    for budget in (1, 60, 200, 256, 300, 512, 700, 1024, 1199, 1200):
        set_budget(opened, budget)
        expected = expected_cells(markov, budget)
        assert opened.page.evaluate(CELLS) == expected
        seen.add(tuple(expected))
        share = 100 * expected.count("right") / len(expected)
        assert f"pass@1 {share:.1f} %" in opened.page.inner_text("#problems [data-part=summary]")
    assert len(seen) > 3  # the budgets differ
    # The knob itself, moved by keys: the number beside it and the cells follow.
    opened.page.focus("#knob")
    for _ in range(5):
        opened.page.keyboard.press("PageDown")
        budget = int(opened.page.input_value("#tokens"))
        assert opened.page.evaluate(CELLS) == expected_cells(markov, budget)
    assert budget < 1200
    opened.page.select_option("#problems [data-part=colour]", "outcome")
    codes = outcomes(markov, [budget]).outcome.ravel().tolist()
    assert opened.page.evaluate(CELLS) == [f"o-{OUTCOMES[code]}" for code in codes]


def test_the_slider_cuts_the_trace_as_computed_in_python(markov: Run, page: Path, opens: Opens) -> None:
    table = markov.token_table()
    assert table is not None
    completions = {completion.key: completion.token_ids for completion in markov.completions()}
    timelines = dict(markov.layer().timelines())
    judged = {(row.problem_id, row.answer): row.verdict for row in markov.layer().answers().itertuples()}
    problem = markov.problems()[2].id
    opened = opens(page, f"#problem={problem}&sample=1")
    opened.trace(2, 1)
    opened.page.keyboard.press("m")  # formulas as written
    ids, timeline = completions[problem, 1], timelines[problem, 1]
    ends = timeline.ends.tolist()
    assert ends
    for budget in sorted(
        {0, 1, 2, 37, 100, *(edge for end in ends[:6] for edge in (end - 1, end)), len(ids) - 1, len(ids)}
    ):
        opened.page.locator("[data-part=slider]").fill(str(budget))
        assert opened.page.evaluate(WITHIN) == table.text_bytes(ids[:budget]).decode()
        chosen = int(answer_index(timeline, np.array([budget]))[0])
        status = opened.page.inner_text("[data-part=status]")
        assert status.startswith(f"{budget:,} of {len(ids):,} tokens")
        if chosen < 0:
            assert "no answer" in status
        else:
            answer = timeline.answers[chosen]
            assert ("✓ right" in status) == (judged[problem, answer] == "correct")
            assert f" {answer} boxed at token {ends[chosen]:,}" in status
    assert opened.complaints == []


def test_a_deep_link_restores_the_view(markov: Run, page: Path, opens: Opens) -> None:
    problem = markov.problems()[3].id
    opened = opens(page, f"#problem={problem}&sample=2&budget=77")
    opened.trace(3, 2)
    assert opened.page.input_value("#tokens") == "77"
    assert opened.page.inner_text("[data-part=status]").startswith("77 of")
    opened.page.keyboard.press("j")
    opened.trace(3, 3)
    assert f"problem={problem}&sample=3&budget=77" in opened.page.url
    opened.page.go_back()
    opened.trace(3, 2)
    set_budget(opened, 80)
    opened.page.wait_for_url("**budget=80")
    url = opened.page.url
    opened.page.reload()
    opened.trace(3, 2)
    assert opened.page.url == url
    assert opened.page.input_value("#tokens") == "80"
    # An address that leads nowhere is no error.
    opened.go("#problem=nonsense&sample=99&budget=-3")
    assert opened.complaints == []


def test_keys_alone_reach_everything(markov: Run, page: Path, opens: Opens) -> None:
    opened = opens(page)
    keys = opened.page.keyboard
    keys.press("2")
    for _ in range(30):  # Tab to the first cell of the grid, which is one stop
        keys.press("Tab")
        if opened.page.evaluate("document.activeElement.dataset.at"):
            break
    assert opened.page.evaluate("document.activeElement.dataset.at") == "0"
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        keys.press(key)
    keys.press("Enter")
    opened.trace(2, 1)
    for key, at in (
        ("j", (2, 2)),
        ("k", (2, 1)),
        ("J", (3, 0)),
        ("K", (2, 0)),
        ("ArrowLeft", (1, 3)),
        ("ArrowRight", (2, 0)),
    ):
        keys.press(key)
        opened.trace(*at)
    keys.press("[")
    assert int(opened.page.input_value("#tokens")) == 1024
    keys.press(",")
    assert int(opened.page.input_value("#tokens")) == 1023
    ends = sorted({int(end) for end in dict(markov.layer().timelines())[markov.problems()[2].id, 0].ends})
    set_budget(opened, 0)
    opened.page.locator("[data-part=text]").focus()
    for end in ends[:3]:
        keys.press("b")
        assert int(opened.page.input_value("#tokens")) == end
    keys.press("/")
    keys.type("boxed")
    assert opened.page.inner_text("[data-part=hits]").startswith("1 of ")
    keys.press("Enter")
    assert opened.page.inner_text("[data-part=hits]").startswith("2 of ")
    assert opened.page.evaluate("document.querySelector('mark.current').textContent") == "boxed"
    keys.press("Escape")
    keys.press("?")
    assert opened.page.is_visible("#help")
    keys.press("Escape")
    keys.press("t")
    assert opened.page.evaluate("document.documentElement.dataset.theme") == "light"
    assert opened.complaints == []


def test_probes_and_extensions_stand_with_their_trace(page: Path, opens: Opens, markov: Run) -> None:
    opened = opens(page, f"#problem={markov.problems()[0].id}&sample=0")
    opened.trace(0, 0)
    said = opened.page.evaluate(
        "[...document.querySelectorAll('[data-part=asides] summary')].map((each) => each.textContent)"
    )
    assert [each.split(" ")[0] for each in said] == ["Asked", "Extended"]
    assert opened.page.locator(".marks circle").count() > 1
    opened.page.click("summary:has-text('Extended')")
    assert "Wait" in opened.page.inner_text(".extensions blockquote >> nth=0")


HOSTILE = (
    "<script>window.ran = 1; alert(1)</script> </script><script>alert(2)</script> <img src=x onerror=alert(3)> "
    "[a](javascript:alert(4)) <a href='javascript:alert(5)'>b</a> <svg onload=alert(6)> <!-- --> ]]> &lt;b&gt; "
    "$\\href{javascript:alert(7)}{c}$ $\\html{<img src=x onerror=alert(8)>}$ \u2028 \u2029 \u202eright to left\u202c "
    "{{ 7 * 7 }} ${alert(9)} \\boxed{<img src=x onerror=alert(10)>}"
)


@pytest.mark.parametrize("inline", [0, 1 << 20], ids=["beside", "inline"])
@pytest.mark.parametrize("guarded", [True, False], ids=["as shipped", "without the content policy"])
def test_hostile_text_is_shown_and_never_run(tmp_path: Path, opens: Opens, inline: int, guarded: bool) -> None:
    raw = HOSTILE.encode() + b" \x00\x01\x1b[31m\x7f \xff\xfe \xed\xa0\x80\xed\xb0\x80 \xf0\x9f end"
    id = '"><img src=x onerror=alert(11)>&sample=1'
    run = byte_run(tmp_path / "run", [[raw, raw[::-1]]], texts=[HOSTILE], ids=[id], name=f"M {HOSTILE[:80]}")
    opened = opens(
        write_report([run.path], tmp_path / "report <b>#1.html", inline=inline, title=HOSTILE).page,
        bypass_csp=not guarded,
    )
    opened.page.keyboard.press("2")
    opened.page.click("#problems [data-at='0']")
    opened.trace(0, 0)
    shown_text = opened.page.evaluate("document.querySelector('[data-part=text] .words').textContent")
    for part in (
        "<script>window.ran = 1; alert(1)</script>",
        "</script><script>alert(2)</script>",
        "<img src=x onerror=alert(3)>",
        "javascript:alert(4)",
        "<svg onload=alert(6)>",
        "&lt;b&gt;",
        "\\href{javascript:alert(7)}{c}",
        "\\html{",
        "[U+202E]",
        "[U+2028]",
        "␀␁␛[31m␡",
        "\ufffd\ufffd",
        "{{ 7 * 7 }}",
    ):
        assert part in shown_text
    opened.page.click("[data-part=problem] summary")
    assert "<img src=x onerror=alert(3)>" in opened.page.inner_text("[data-part=problem]")
    opened.page.keyboard.press("m")
    expected = shown(raw, np.array([0]))[0]
    visible = opened.page.evaluate("document.querySelector('[data-part=text]').textContent")
    assert "<img src=x onerror=alert(10)>" in visible
    assert expected.count("<") == opened.page.evaluate(WITHIN).count("<")
    for budget in (0, 40, len(HOSTILE) // 2, len(raw)):  # cuts inside of all of it
        set_budget(opened, budget)
    opened.page.reload()
    opened.trace(0, 0)
    assert HOSTILE[:60] in opened.page.title()
    assert opened.page.evaluate("window.ran") is None
    assert opened.page.locator("main img:not([alt])").count() == 0
    assert opened.page.locator("a[href^=javascript]").count() == 0
    assert opened.complaints == []


def test_chunks_beside_the_page_load_from_files_and_a_missing_one_is_said(
    markov: Run, tmp_path: Path, opens: Opens
) -> None:
    written = write_report([markov.path], tmp_path / "a report.html", inline=0)
    assert written.folder is not None
    problem = markov.problems()[1].id
    opened = opens(written.page, f"#problem={problem}&sample=0")
    opened.trace(1, 0)
    table = markov.token_table()
    assert table is not None
    (ids,) = (each.token_ids for each in markov.completions() if each.key == (problem, 0))
    opened.page.keyboard.press("m")
    assert opened.page.evaluate(WITHIN) == table.text_bytes(ids).decode()
    assert opened.complaints == []
    for path in written.folder.iterdir():
        path.unlink()
    opened.page.reload()
    opened.page.wait_for_selector(".failure")
    assert "a report_files" in opened.page.inner_text(".failure")


def test_formulas_are_typeset_and_text_stays_selectable(tmp_path: Path, opens: Opens) -> None:
    text = "So $x^2 = 4$ costs $5 and $6, \\[\\frac{1}{2}\\] and \\(\\alpha\\); $\\broken{$ stays."
    text += " \\boxed{\\frac{1}{2}} \\boxed{7}"
    run = byte_run(tmp_path / "run", [[text.encode()]])
    opened = opens(write_report([run.path], tmp_path / "report.html").page, "#problem=p0&sample=0")
    opened.trace(0, 0)
    opened.page.wait_for_selector(".block .katex")
    drawn = opened.page.evaluate("[...document.querySelectorAll('.block .formula')].map((each) => each.title)")
    assert drawn == ["x^2 = 4", "\\frac{1}{2}", "\\alpha", "\\boxed{\\frac{1}{2}}", "\\boxed{7}"]
    assert opened.page.evaluate(
        "[...document.querySelectorAll('.block .box')].map((each) => each.classList.contains('right'))"
    ) == [False, True]
    assert "costs $5 and $6," in opened.page.inner_text(".block")
    cut = text.index("= 4")
    opened.page.locator("[data-part=slider]").fill(str(cut))
    assert "$x^2 " in opened.page.evaluate(WITHIN)  # a formula that the budget cuts stands as it was written
    opened.page.keyboard.press("m")
    assert (
        opened.page.evaluate(
            """() => {
                const chosen = getSelection();
                chosen.selectAllChildren(document.querySelector('.block'));
                return String(chosen);
            }"""
        ).strip()
        == text
    )
    assert opened.complaints == []


def test_two_models_side_by_side_with_flips_first(tmp_path: Path, opens: Opens) -> None:
    said = {"A": ["7777", "7788", "8888", "7778"], "B": ["7777", "8888", "7777", "8888"]}  # of four samples each
    runs = [
        byte_run(
            tmp_path / name, [[b"xxxx \\boxed{%s}" % digit.encode() for digit in each] for each in answers], name=name
        )
        for name, answers in said.items()
    ]
    opened = opens(
        write_report([run.path for run in runs], tmp_path / "report.html", compare=True).page, "#view=problems"
    )
    rows = """[...document.querySelectorAll('tbody[data-part=flips] tr')].map((row) =>
        [row.dataset.problem, row.classList.contains('flipped'), row.children[5].textContent])"""
    assert opened.page.evaluate(rows) == [
        ["2", True, "−100.0"],
        ["3", True, "+75.0"],
        ["1", True, "+50.0"],
        ["0", False, "+0.0"],
    ]
    assert "3 of 4 problems flip" in opened.page.inner_text("#problems [data-part=summary]")
    set_budget(opened, 5)
    assert "0 of 4 problems flip" in opened.page.inner_text("#problems [data-part=summary]")
    set_budget(opened, 400)
    opened.page.click("tr[data-problem='3'] [data-side='1'][data-sample='2']")
    opened.trace(3, 0, pane=0)
    opened.trace(3, 2, pane=1)
    assert "problem=p3&sample=0&other=2" in opened.page.url
    names = opened.page.evaluate("[...document.querySelectorAll('.pane h2')].map((each) => each.textContent)")
    assert names == ["A · sample 0", "B · sample 2"]
    opened.page.reload()
    opened.trace(3, 2, pane=1)
    assert opened.complaints == []
