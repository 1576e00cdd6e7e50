r"""Loops, redundancy, format and language of runs: hand-built ones, and the markov model against its own text."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from extrap_eval.engines.markov import text as markov_text
from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.errors import UserError
from extrap_eval.metrics.intervals import interval, resamples
from extrap_eval.scoring.loops import certain_length
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.quality import quality_table, quality_tables, readable_quality, run_quality
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.steps.score import score
from extrap_eval.store import Run, open_run
from tests.steps.episode_runs import ids_of, text_run

RIGHT = "<think>\nI see.\n</think>\n\n\\boxed{7}"
LOOP = "<think>\n" + "no way. " * 40
MIXED = "<think>\n是 one two\n</think>\n\\boxed{8}"
TWICE = "<think>\n\\boxed{7} a b c a b c a \\boxed{7}"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = text_run(tmp_path / "run", [[RIGHT, LOOP], [MIXED, TWICE]])
    score(found.path, workers=1)
    return open_run(found.path)


def cell(table: pd.DataFrame, budget: int, ending: str, measure: str) -> pd.Series:
    rows = table[(table["budget"] == budget) & (table["ending"] == ending) & (table["measure"] == measure)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_known_values(run: Run) -> None:
    table = quality_table(run, budgets=[20, 110, 5000])
    assert set(table["unit"]) == {"words"}

    def value(budget: int, ending: str, measure: str) -> float:
        return float(cell(table, budget, ending, measure)["value"])

    assert [value(5000, ending, "looped") for ending in ("all", "correct", "incorrect", "cut")] == [0.25, 0, 0, 1]
    assert [value(budget, "all", "looped") for budget in (20, 110)] == [0, 0.25]
    assert [value(5000, ending, "loop onset") for ending in ("all", "cut")] == [8, 8]
    assert math.isnan(value(5000, "correct", "loop onset"))
    assert [value(5000, e, "format violation") for e in ("all", "correct", "incorrect", "cut")] == [0.5, 0.5, 0, 1]
    assert value(20, "all", "format violation") == 0.75  # the box of TWICE is the only one so far
    assert [value(5000, ending, "several boxes") for ending in ("all", "correct", "cut")] == [0.25, 0.5, 0]
    assert [value(budget, "all", "language mixing") for budget in (20, 5000)] == [0.25, 0.25]
    assert value(5000, "incorrect", "language mixing") == 1
    # No 3-gram of RIGHT is repeated; a-b-c and b-c-a are, of the 8 of TWICE.
    assert value(5000, "correct", "redundancy") == pytest.approx((0 + 4 / 8) / 2)
    assert value(5000, "correct", "redundant") == 0.5
    # <think>, 80 words, of which all but "<think> no way." are of two kinds
    assert value(5000, "cut", "redundancy") == pytest.approx(78 / 79)
    assert [int(cell(table, 5000, e, "looped")["completions"]) for e in ("all", "correct", "incorrect", "cut")] == [
        *(4, 2, 1, 1)
    ]


def test_units_and_thresholds(run: Run) -> None:
    tokens = quality_table(run, budgets=[5000], unit="tokens")
    ids = ids_of(RIGHT).tolist(), ids_of(TWICE, finished=False).tolist()
    counts = [Counter(zip(each, each[1:], each[2:], strict=False)) for each in ids]
    expected = [sum(c for c in each.values() if c > 1) / sum(each.values()) for each in counts]
    assert cell(tokens, 5000, "correct", "redundancy")["value"] == pytest.approx(np.mean(expected))
    strict = quality_table(run, budgets=[5000], threshold=0.5)
    assert cell(strict, 5000, "correct", "redundant")["value"] == 0


def test_intervals_are_those_over_problems(run: Run) -> None:
    found = cell(quality_table(run, budgets=[5000]), 5000, "all", "looped")
    low, high = interval(np.array([0.5, 0.0]), resamples(2, 2000, 0))
    assert (found["low"], found["high"]) == pytest.approx((float(low), float(high)))
    alone = cell(quality_table(run, budgets=[5000]), 5000, "cut", "looped")
    assert math.isnan(alone["low"])


def test_readable(run: Run) -> None:
    rows = readable_quality(quality_table(run, budgets=[5000]))
    assert [(row["ending"], row["completions"]) for row in rows] == [
        ("all", 4),
        ("correct", 2),
        ("incorrect", 1),
        ("cut", 1),
    ]
    assert rows[3]["loop onset"] == "8"
    assert rows[1]["loop onset"] == "–"
    assert str(rows[0]["looped"]).startswith("25.0 [")


def files(run: Run) -> list[str]:
    return [path.name for path in (run.path / "derived" / "quality").glob("rows-*")]


def test_completions_are_read_again_only_where_something_is_new(run: Run) -> None:
    seen: list[tuple[int, int]] = []
    quality_table(run, budgets=[20, 5000], progress=lambda *at: seen.append(at))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    first = files(run)
    whole = quality_table(run, budgets=[5000], threshold=0.5, progress=lambda *at: seen.append(at))
    assert files(run) == first
    assert len(seen) == 4
    quality_table(run, budgets=[110], progress=lambda *at: seen.append(at))
    assert files(run) != first
    assert len(seen) == 8
    second = files(run)
    pd.testing.assert_frame_equal(quality_table(run, budgets=[5000], threshold=0.5), whole)
    quality_table(run, budgets=[20, 110])  # what was asked for before is kept
    assert files(run) == second


def test_a_top_up_is_read(tmp_path: Path) -> None:
    text_run(tmp_path / "run", [[RIGHT], [MIXED]])
    score(tmp_path / "run", workers=1)
    assert cell(quality_table(tmp_path / "run", budgets=[5000]), 5000, "all", "looped")["value"] == 0
    text_run(tmp_path / "run", [[RIGHT, LOOP], [MIXED, LOOP]])
    score(tmp_path / "run", workers=1)
    assert cell(quality_table(tmp_path / "run", budgets=[5000]), 5000, "all", "looped")["value"] == 0.5


def test_refusals(run: Run) -> None:
    with pytest.raises(UserError, match=r"budget: 6000 is not in 1\.\.5000"):
        quality_table(run, budgets=[6000])
    with pytest.raises(UserError, match="2 of 6 samples are missing"):
        run_quality(run, ["set/0", "set/1"], 3, [20])
    with pytest.raises(UserError, match="no run was given"):
        quality_tables([])


LOOPING = 0.1  # probability of every attempt


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the markov model that loops often."""
    folder = tmp_path_factory.mktemp("looping")
    (folder / "hidden.yaml").write_text(
        "name: Hidden\nsource: {generator: hidden_number, args: {problems: 12, probabilities: [0.05, 0.2]}}\n"
        "answer: {kind: integer}\nbudgets: [256, 512, 1024]\n"
    )
    card = Path(__file__).parents[2] / "model_cards" / "markov.yaml"
    changed = card.read_text().replace("loop: 0.0005", f"loop: {LOOPING}").replace("name: markov", "name: looping")
    assert changed.count(str(LOOPING)) >= 1
    (folder / "looping.yaml").write_text(changed)
    plan = plan_sampling(str(folder / "looping.yaml"), str(folder / "hidden.yaml"), n=12, budget_max=2000)
    run = prepare_run(plan, folder / "run")
    assert run.model_card.policy is not None
    engine = MarkovEngine(MarkovPolicy(**run.model_card.policy))  # type: ignore[arg-type]
    assert sample(plan, run, engine, concurrency=64, seed=5).missing == ()
    score(run.path, workers=1)
    return open_run(run.path)


def test_of_a_model_whose_text_is_known(looping: Run) -> None:
    """The loop begins two tokens before its block, whose end ("." and a blank line) every step before it shares."""
    budgets = [150, 256, 700, 2000]
    found = outcomes(looping, budgets)
    read = run_quality(looping, found.problem_ids, found.n, budgets)
    table = looping.token_table()
    assert table is not None
    period = markov_text.length(markov_text.LOOP_BLOCK)
    looped = 0
    for completion in looping.completions():
        place = found.problem_ids.index(completion.problem_id), completion.sample_index
        pieces = [table.text_bytes(completion.token_ids[i : i + 1]).decode() for i in range(completion.n_tokens)]
        text = "".join(pieces)
        at = text.find(markov_text.LOOP_BLOCK)
        starts = np.cumsum([0, *map(len, pieces)])
        onset = int(np.searchsorted(starts, at)) - 2 if at >= 0 else None
        looped += onset is not None
        for column, budget in enumerate(budgets):
            held = min(budget, completion.n_tokens)
            certain = onset is not None and held >= onset + certain_length(period)
            assert read.loop_onset[place][column] == (onset if certain else -1)
            assert read.loop_period[place][column] == (period if certain else -1)
            prefix = "".join(pieces[:held])
            assert read.boxes[place][column] == prefix.count(r"\boxed{")
            words = [word.group() for word in re.finditer(r"\S+", text) if word.end() <= len(prefix)]
            for unit, items in (("words", words), ("tokens", pieces[:held])):
                kinds = Counter(zip(items, items[1:], items[2:], strict=False))
                share = sum(count for count in kinds.values() if count > 1) / kinds.total()
                assert read.redundancy[unit][place][column] == pytest.approx(share)  # type: ignore[index]
    assert not read.mixed.any()
    assert 60 < looped < 144
    # Of known probability: every attempt loops, or it proposes, is accepted or given up, or goes on.
    policy = MarkovPolicy(**looping.model_card.policy)  # type: ignore[arg-type]
    chances = np.array([0.05, 0.2] * 6)
    accepted = chances * policy.accept_right + (1 - chances) * policy.accept_wrong
    goes_on = (1 - policy.loop) * (1 - accepted) * (1 - policy.give_up)
    attempts = (2000 - 96 - period) // policy.attempt_tokens  # so that a loop is certain within 2000 tokens
    expected = policy.loop * (1 - goes_on**attempts) / (1 - goes_on)
    mean, spread = 12 * expected.sum(), math.sqrt(12 * (expected * (1 - expected)).sum())
    assert abs((read.loop_onset[..., -1] >= 0).sum() - mean) < 4 * spread


def test_of_several_runs(looping: Run, run: Run) -> None:
    table = quality_tables([looping, run], budgets=[256])
    assert list(dict.fromkeys(table["model"])) == ["looping", "Toy"]
