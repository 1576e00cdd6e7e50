"""Recipes: what they may say, and that every shipped one says what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from extrap_eval.cards.load import load_benchmark_card, load_model_card
from extrap_eval.cards.recipe import kinds_followed, list_recipes, load_recipe
from extrap_eval.errors import UserError
from extrap_eval.steps.references import read_reference
from tests.conftest import REPO

NAMES = [
    "e3_fig2",
    "e3_fig11",
    "e3_fig5",
    "e3_fig6",
    "e3_table1",
    "e3_fig10",
    "e3_fig15",
    "mrt_fig3",
    "mrt_fig24",
    "mrt_fig25",
    "mrt_fig7",
    "mrt_fig8",
    "mrt_fig9",
    "mrt_fig12",
    "mrt_fig16",
    "mrt_fig17_20",
    "mrt_fig23",
    "mrt_fig26",
    "mrt_fig29",
    "mrt_table1",
    "s1_fig",
    "rlvr_fig1",
    "rlvr_table3",
]
# Whose published values are about models without a card: they stand beside ours.
BESIDE = {"e3_fig10", "mrt_fig12"}
SMALL = """paper: a paper, Fig. 1
question: Why?
figure: budgets
runs: [{models: [markov], benchmark: hidden_number}]
"""


def test_every_promised_recipe_is_shipped() -> None:
    assert sorted(path.parent.name for path in list_recipes()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_names_cards_and_published_values_that_exist(name: str) -> None:
    file = load_recipe(name)
    assert file.name == name
    cards = [load_model_card(model) for group in file.recipe.runs for model in group.models if group.follow]
    benchmarks = [load_benchmark_card(group.benchmark) for group in file.recipe.runs]
    assert all(benchmark.size for benchmark in benchmarks)
    if file.reference is None:
        assert any("have not been read off" in line for line in file.recipe.not_yet)
        return
    paper = read_reference(file.reference)
    assert paper["source"].str.contains(r"arXiv|paper|project page|notebook|repo|RLVR", regex=True).all()
    assert ((paper["error"] >= 0) & (paper["error"] <= 0.006)).all()
    assert paper["value"].between(0, 1).all()
    if name in BESIDE:
        assert any("beside ours" in line for line in file.recipe.not_yet)
        return
    lines = {line.removesuffix(", forced") for line in (*paper["line"], *paper["panel"])}
    measured = {card.name for card in cards}
    assert measured <= lines
    for line in {*paper["line"]} - {*measured}:  # of models that cannot be asked, which the recipe says
        assert (
            file.recipe.panels == "model"
            or ", " in line
            or any("no card" in note or "not published" in note for note in file.recipe.not_yet)
        ), line


def test_the_gallery_shows_every_recipe_and_says_what_is_missing() -> None:
    gallery = (REPO / "results" / "README.md").read_text()
    for path in list_recipes():
        file = load_recipe(path)
        assert f"[`{file.name}`]({file.name}/recipe.yaml)" in gallery
        assert (f"({file.name}/published.png)" in gallery) == (file.reference is not None)
        assert all(f"| `{file.name}` | {line} |" in gallery for line in file.recipe.not_yet)
    for picture in re.findall(r"\]\(([^)]+)\)", gallery):
        assert (REPO / "results" / picture).is_file(), picture


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("budgts: [4]", "budgts: unknown field; did you mean budgets?"),
        ("figure: probes", "stages: figure probes needs a stage probe"),
        ("figure: pie", "figure: 'pie' is not one of"),
        ("runs: []", "runs: [] is empty"),
        ("budgets: [0]", "budgets.0: 0 is not a positive whole number"),
        ("runs: [{models: [markov], benchmark: hidden_number, follow: false}]", "runs: none of them is followed"),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_and_field(tmp_path: Path, changed: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    kept = [line for line in SMALL.splitlines() if line.split(":")[0] != changed.split(":")[0]]
    path.write_text("\n".join([*kept, changed]))
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert str(caught.value).count("\n") == 0
    assert "mine.yaml: " in str(caught.value)
    assert message in str(caught.value)


def test_a_recipe_of_ones_own_is_named_after_its_file_or_folder(tmp_path: Path) -> None:
    for path, name in ((tmp_path / "mine.yaml", "mine"), (tmp_path / "ours" / "recipe.yaml", "ours")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(SMALL)
        file = load_recipe(path)
        assert (file.name, file.reference, kinds_followed(file.recipe)) == (name, None, ())


def test_an_unknown_name_brings_near_ones() -> None:
    with pytest.raises(UserError, match=r"no recipe is named e3_fig22; did you mean e3_fig2 or"):
        load_recipe("e3_fig22")
