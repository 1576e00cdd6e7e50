from __future__ import annotations

from extrap_eval.cli.terminal import draw


def test_numbers_stand_right_and_text_left() -> None:
    lines = draw(
        [{"name": "a", "n": 1234567, "gain": "+0.5"}, {"name": "longer", "n": None, "gain": "−10.0"}]
    ).splitlines()
    assert "│ a      │ 1,234,567 │  +0.5 │" in lines
    assert "│ longer │         – │ −10.0 │" in lines


def test_square_brackets_are_text() -> None:
    lines = draw([{"[bold]": "[red]x"}], title="[maj@p]").splitlines()
    assert lines[0].rstrip() == "[maj@p]"
    assert "│ [red]x │" in lines
