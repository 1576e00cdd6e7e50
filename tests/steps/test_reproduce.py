"""Recipes from runs: every figure from a stand-in, the paper's own counts, and from nothing to the figure."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from extrap_eval.cards.recipe import FigureName, list_recipes, load_recipe
from extrap_eval.engines.base import Engine
from extrap_eval.errors import UserError
from extrap_eval.steps.forcing import plan_forcing
from extrap_eval.steps.logprobs import plan_second_pass
from extrap_eval.steps.points import _OF_FIGURE, points
from extrap_eval.steps.prices import Cost
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.reproduce import FIGURE_SUFFIXES, cost, reproduce, sample_missing, sources_from, wanted_runs
from extrap_eval.steps.sample import SamplingPlan, open_engine
from extrap_eval.steps.score import ensure_scored
from extrap_eval.steps.sliding import plan_sliding
from extrap_eval.store import Run
from tests.steps.followed_runs import asked, sampled_run
from tests.steps.scored_runs import Said, scored_run

pytestmark = pytest.mark.slow

NAMES = [path.parent.name for path in list_recipes()]
MARKOV = """paper: no paper
question: Does it work?
figure: {figure}
runs: [{{models: [markov], benchmark: {benchmark}}}]
stages:
  sample: {{n: 2, budget_max: 1024}}
  {stages}
"""
STAGES = {
    "forcing": "force: [{extensions: 1, extension_tokens: 96, answers_after: [0, 1], replicates: 2, "
    "answer_tokens: 64}]",
    "progress": "probe: [{groups: 2, replicates: 2, answer_tokens: 64}]",
    "slide": "slide: [{mode: linear, n: 1, episodes: 2, answer_tokens: 64}, {mode: parallel, answer_tokens: 64}]",
    "lengths": "{}",
    "pass-at-k": "logprobs:\n    n: 1\n    top: 8",
}


def test_every_figure_that_a_recipe_may_name_can_be_measured() -> None:
    assert set(get_args(FigureName)) == set(_OF_FIGURE)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small markov run with everything that any recipe draws."""
    run = sampled_run(tmp_path_factory.mktemp("stand-in"), problems=4, n=2, budget_max=700)
    ensure_scored(run.path)
    plans = [
        plan_probes(run, groups=3, replicates=8, answer_tokens=64),
        plan_forcing(run, extensions=2, extension_tokens=96, answers_after=(0, 1, 2), replicates=2, answer_tokens=64),
        plan_sliding(run, episodes=2, n=1, answer_tokens=64),
        plan_sliding(run, mode="parallel", answer_tokens=64),
    ]
    second_pass = plan_second_pass(run, top_logprobs=8)
    assert second_pass is not None
    asked(run, *plans, second_pass)
    return run


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_measures_a_stand_in(stand_in: Run, name: str) -> None:
    file = load_recipe(name)
    sources, notes = sources_from(file, [stand_in.path])
    table, _ = points(file.recipe, sources)
    assert len(table) >= 1
    assert table["value"].between(-1e-9, 1 + 1e-9).all() or file.recipe.protocol == "paper-exact"
    known = table["low"].notna()
    assert (table["low"][known] <= table["value"][known] + 1e-9).all()
    assert any("is not of this recipe" in note for note in notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_drawn_over_the_published_values(stand_in: Run, name: str, tmp_path: Path) -> None:
    file = load_recipe(name)
    sources, notes = sources_from(file, [stand_in.path])
    done = reproduce(file, sources, tmp_path, notes)
    assert [path.name for path in done.files][:4] == ["figure.png", "figure.pdf", "points.csv", "table.csv"]
    assert done.files[0].read_bytes().startswith(b"\x89PNG")
    assert done.files[1].read_bytes().startswith(b"%PDF")
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["paper"].notna().any() == (file.reference is not None)
    assert table["ours"].notna().any()


def test_further_panels_are_drawn_from_the_runs_that_can_show_them(stand_in: Run, tmp_path: Path) -> None:
    file = load_recipe("rlvr_fig1")
    other = shutil.copytree(stand_in.path, tmp_path / "other")
    (alone, _), (two, _) = sources_from(file, [stand_in.path]), sources_from(file, [stand_in.path, other])
    first, second = (reproduce(file, runs, tmp_path / f"{len(runs)}") for runs in (alone, two))
    panels = [f"figure_{name}{suffix}" for name in ("unsolvable", "diversity", "entropy") for suffix in FIGURE_SUFFIXES]
    assert [path.name for path in first.files[4:]] == panels[2:]
    assert "figure_unsolvable is not drawn: " in " ".join(first.notes)
    assert [path.name for path in second.files[4:]] == panels
    assert not any("not drawn" in note for note in second.notes)
    assert all(path.stat().st_size > 4000 for path in second.files[4:])


def published_counts(folder: Path, counts: list[int]) -> Run:
    """30 x 16 samples of which so many are right within 4k, 8k, 16k and 32k tokens."""
    said = [Said(50) for _ in range(480)]
    before = 0
    for budget, count in zip((4096, 8192, 16384, 32768), counts, strict=True):
        for place in range(before, count):
            said[(place * 7) % 480] = Said(budget, [(budget, "7")])
        before = count
    return scored_run(
        folder,
        [said[i * 16 : i * 16 + 16] for i in range(30)],
        model={"name": "DeepSeek-R1-Distill-Qwen-1.5B", "training_budget": None},
        benchmark={"name": "AIME 2025"},
        max_tokens=32768,
    )


@pytest.mark.parametrize(("recipe", "panel"), [("e3_fig11", "DeepSeek-R1-Distill-Qwen-1.5B"), ("e3_fig2", "AIME 2025")])
def test_the_papers_own_counts_are_no_different_from_the_paper(tmp_path: Path, recipe: str, panel: str) -> None:
    run = published_counts(tmp_path / "run", [62, 94, 109, 111])
    file = load_recipe(recipe)
    sources, notes = sources_from(file, [run.path])
    done = reproduce(file, sources, tmp_path / "out", notes)
    ours = done.table[done.table["ours"].notna()]
    assert ours["panel"].tolist() == [panel] * 4
    assert ours["at"].tolist() == [4096, 8192, 16384, 32768]
    assert ours["difference"].abs().max() < 1e-12
    assert ours["within"].astype(bool).all()
    assert notes == []


def test_other_numbers_are_flagged(tmp_path: Path) -> None:
    run = published_counts(tmp_path / "run", [240, 300, 310, 320])
    file = load_recipe("e3_fig11")
    sources, _ = sources_from(file, [run.path])
    table = reproduce(file, sources, tmp_path / "out").table
    measured = table[table["ours"].notna()]
    assert not measured["within"].astype(bool).any()
    assert len(table) == 40


@pytest.mark.parametrize("figure", STAGES)
def test_from_nothing_to_the_figure_and_nothing_twice(tmp_path: Path, figure: str) -> None:
    benchmark = tmp_path / "small.yaml"
    benchmark.write_text(
        "name: Small\nsource: {generator: hidden_number, args: {problems: 3, probabilities: [0.2]}}\n"
        "answer: {kind: integer}\nbudgets: [256, 512]\nsize: 3\n"
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(MARKOV.format(figure=figure, benchmark="small.yaml", stages=STAGES[figure].strip("{}")))
    file = load_recipe(recipe)
    (wanted,) = wanted_runs(file, tmp_path / "runs")
    opened: list[Path] = []

    def engine(plan: SamplingPlan, run: Path, context: int) -> tuple[Engine, int]:
        opened.append(run)
        return open_engine("markov", plan), 8

    assert (wanted.sampled(), wanted.complete) == (0, False)
    before = cost(wanted)
    assert before.requests >= 6
    assert before.tokens >= 6 * 1024
    source = sample_missing(wanted, engine, seed=1)
    assert (wanted.sampled(), wanted.complete) == (6, True)
    assert cost(wanted) == Cost()
    done = reproduce(file, [source], tmp_path / "out")
    assert done.points["value"].notna().all()
    sample_missing(wanted, engine, seed=1)
    assert opened == [wanted.path]


def test_a_run_without_what_the_figure_needs_is_refused_with_the_command(tmp_path: Path) -> None:
    run = published_counts(tmp_path / "run", [1, 2, 3, 4])
    for name, command in (("mrt_fig3", "probe"), ("e3_fig6", "force"), ("mrt_fig8", "slide")):
        with pytest.raises(UserError, match=rf"{name} needs what extrap-eval {command} adds to a run"):
            sources_from(load_recipe(name), [run.path])


def test_fewer_problems_than_the_paper_are_not_compared_with_it(tmp_path: Path) -> None:
    run = scored_run(
        tmp_path / "run",
        [[Said(10, [(10, "7")])] * 16] * 2,
        model={"name": "DeepSeek-R1-Distill-Qwen-1.5B"},
        benchmark={"name": "AIME 2025", "size": 30},
        max_tokens=32768,
    )
    file = load_recipe("e3_fig2")
    sources, notes = sources_from(file, [run.path])
    table, _ = points(file.recipe, sources)
    assert set(table["panel"]) == {"AIME 2025, first 2 problems"}
    assert any("nothing is compared" in note for note in notes)


def test_recipes_that_ask_for_the_same_share_their_runs() -> None:
    paths = [{wanted.path for wanted in wanted_runs(load_recipe(name))} for name in ("e3_fig2", "e3_fig11", "mrt_fig3")]
    assert paths[0] <= paths[1]
    assert not paths[1] & paths[2]
    assert Path("runs/deepseek-r1-distill-qwen-32b__omni-math--40-problems-t0.7-p1-max8192") in paths[2]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_has_a_price(name: str, tmp_path: Path) -> None:
    for wanted in wanted_runs(load_recipe(name), tmp_path):
        price = cost(wanted)
        assert price.requests >= wanted.problems * wanted.n
        assert price.tokens >= wanted.problems * wanted.n * wanted.most_tokens


def test_the_price_is_what_the_settings_say() -> None:
    forced, _, _, alone = (cost(wanted) for wanted in wanted_runs(load_recipe("e3_fig6"), Path("nowhere")))
    assert alone == Cost(480, 480 * 32768)
    # s1.1-7B: a completion, 8 extensions and 5 x 8 answers for each of the 480 thoughts.
    assert forced == Cost(480 * (1 + 8 + 40), 480 * (31000 + 8 * 2048 + 40 * 4096))
    assert forced.gpu_hours(1000) == pytest.approx(forced.tokens / 3.6e6)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_recipe_asks_fits_into_the_context_of_its_models(name: str) -> None:
    prompt = 500  # tokens, more than any problem of these benchmarks with its instruction and what forces an answer
    for wanted in wanted_runs(load_recipe(name)):
        context = wanted.model_card.max_model_len
        assert context is not None
        needed = [wanted.most_tokens]
        stages = wanted.recipe.recipe.stages
        needed += [wanted.most_tokens + probe.answer_tokens for probe in stages.probe if wanted.follow]
        for force in stages.force if wanted.follow else []:
            extended = wanted.most_tokens + (force.extensions or 8) * (10 + (force.extension_tokens or 2048))
            needed.append(min(extended, force.thinking_tokens or extended) + force.answer_tokens)
        assert max(needed) + prompt <= context
