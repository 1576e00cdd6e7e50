"""Light and dark, narrow and wide: contrast, width, and pictures to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.report.build import write_report
from extrap_eval.store import Run
from tests.report.conftest import Opened

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Text whose contrast with what is painted below it is less than 4.5 (3 where it is large); WCAG 2, success
# criterion 1.4.3. Colours with an opacity are laid over what is below.
FAINT = """() => {
  const colour = (text) => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const known = new Map();
  const read = (text) => known.get(text) ?? (known.set(text, colour(text)), known.get(text));
  const light = ([r, g, b]) => [r, g, b].map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const below = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = read(getComputedStyle(at).backgroundColor);
      if (found[3] === 1) return found;
    }
    return read(getComputedStyle(document.documentElement).colorScheme.includes('dark') ? '#000' : '#fff');
  };
  const faint = [];
  let count = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('script, .katex-mathml')) continue;
    count++;
    const style = getComputedStyle(element);
    const ink = read(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(below(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.7 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (ratio < needed) faint.push([walk.currentNode.data.slice(0, 40), ratio.toFixed(2), style.color]);
  }
  return {faint, count};
}"""

VIEWS = {
    "overview": "#view=overview",
    "problems": "#view=problems&budget=512",
    "trace": "#problem={problem}&sample=1&budget=200",
}


@pytest.fixture(scope="module")
def pages(markov: Run, page: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    comparison = tmp_path_factory.mktemp("comparison") / "comparison.html"
    return {"report": page, "comparison": write_report([markov.path, markov.path], comparison, compare=True).page}


@pytest.mark.parametrize("kind", ["report", "comparison"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(
    pages: dict[str, Path], markov: Run, opens: Callable[..., Opened], scheme: str, kind: str
) -> None:
    opened = opens(pages[kind], color_scheme=scheme)
    for name, hash in VIEWS.items():
        opened.go(hash.format(problem=markov.problems()[1].id))
        opened.page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        found: dict[str, Any] = opened.page.evaluate(FAINT)
        assert found["count"] > 20, name
        assert found["faint"] == [], name


@pytest.mark.parametrize("kind", ["report", "comparison"])
@pytest.mark.parametrize("width", [360, 390, 768])
def test_a_phone_needs_no_sideways_scrolling(
    pages: dict[str, Path], markov: Run, opens: Callable[..., Opened], width: int, kind: str
) -> None:
    opened = opens(pages[kind], viewport={"width": width, "height": 740})
    for name, hash in VIEWS.items():
        opened.go(hash.format(problem=markov.problems()[1].id))
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_pictures_to_look_at(
    pages: dict[str, Path], markov: Run, opens: Callable[..., Opened], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "screenshots"
    folder.mkdir()
    for kind, path in pages.items():
        for look, options in {
            "light": {"color_scheme": "light"},
            "dark": {"color_scheme": "dark"},
            "phone": {"viewport": {"width": 390, "height": 800}},
        }.items():
            opened = opens(path, **options)
            for name, hash in VIEWS.items():
                opened.go(hash.format(problem=markov.problems()[1].id))
                picture = folder / f"{kind}-{look}-{name}.png"
                opened.page.screenshot(path=picture)
                assert picture.stat().st_size > 10_000  # a blank page takes less
            assert opened.complaints == []
    print(f"screenshots: {folder}")
