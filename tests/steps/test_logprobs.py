"""Entropy, branching and perplexity of runs against sums sample by sample."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.scoring.distributions import TokenDistributions, condense
from extrap_eval.steps.logprobs import (
    DIFFERENCE,
    METRICS,
    agreement,
    distribution_table,
    plan_second_pass,
    position_table,
    token_distributions,
)
from extrap_eval.store import Completion, Key, Run, open_run
from tests.steps.scored_runs import Said, random_samples, scored_run

TOP = 6


def drawn(key: Key, length: int, top: int = TOP) -> TokenDistributions:
    """Of random distributions over 40 tokens that follow from the key."""
    rng = np.random.default_rng([int(key[0][1:]), key[1]])
    p = -np.sort(-rng.dirichlet(np.full(40, 0.2), length))
    which = rng.integers(0, 3, length)
    return condense(np.log(p[np.arange(length), which]), np.log(p[:, :top]))


def add_pass(run: Run, *, top: int = TOP, only: set[Key] | None = None) -> dict[Key, TokenDistributions]:
    """A second pass over the samples, written through the store."""
    variant, _ = run.put_variant("logprobs", {"top_logprobs": top}, {"samples": run.n, "again": 0})
    kept, rows = {}, []
    for completion in run.completions(columns=["token_ids"]):
        if only is not None and completion.key not in only:
            continue
        kept[completion.key] = drawn(completion.key, completion.n_tokens, top)
        rows.append(
            Completion(
                *completion.key,
                variant.name,
                token_ids=completion.token_ids,
                finish_reason="length",
                step=0,
                replicate=0,
                prefix_tokens=0,
                distributions=kept[completion.key],
            )
        )
    with run.writer(variant.name) as writer:
        writer.append(rows)
        writer.seal()
    return kept


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = scored_run(tmp_path_factory.mktemp("logprobs") / "run", random_samples(8, 5, seed=3))
    add_pass(made)
    return open_run(made.path)


def per_sample(kept: TokenDistributions) -> dict[str, float]:
    return {
        "entropy": sum(kept.entropy.tolist()) / len(kept),
        "branching": sum(kept.branching.tolist()) / len(kept),
        "perplexity": math.exp(-sum(kept.chosen.tolist()) / len(kept)),
    }


def test_the_table_agrees_with_sums_sample_by_sample(run: Run) -> None:
    # The last complete box decides; what is empty is no answer.
    samples = random_samples(8, 5, seed=3)
    correct = {}
    for i, of_problem in enumerate(samples):
        for j, said in enumerate(of_problem):
            correct[f"p{i}", j] = bool(said.boxes) and said.boxes[-1][1] == "7"
    table = distribution_table([run.path]).set_index(["part", "metric"])
    kept = dict(token_distributions(run))
    assert len(kept) == 40
    means: dict[str, dict[str, list[float]]] = {}
    for part, belongs in (("all", (True, False)), ("correct", (True,)), ("incorrect", (False,))):
        chosen = [key for key in kept if correct[key] in belongs]
        problems = sorted({key[0] for key in chosen})
        for metric in METRICS:
            of_problems = [
                [per_sample(kept[key])[metric] for key in chosen if key[0] == problem] for problem in problems
            ]
            expected = sum(sum(values) / len(values) for values in of_problems) / len(of_problems)
            row = table.loc[part, metric]
            assert row["value"] == pytest.approx(expected, rel=1e-9)
            assert row["low"] < row["value"] < row["high"]
            assert (row["traces"], row["problems"], row["top"]) == (len(chosen), len(problems), TOP)
            means.setdefault(part, {})[metric] = [sum(values) / len(values) for values in of_problems]
        short = sum(int(kept[key].uncovered.sum()) for key in chosen)
        assert table.loc[part, "entropy"]["uncovered"] == pytest.approx(short / sum(len(kept[key]) for key in chosen))
        assert short > 0
    both = sorted({k[0] for k in kept if correct[k]} & {k[0] for k in kept if not correct[k]})
    for metric in METRICS:
        gaps = []
        for problem in both:
            of = [(correct[key], per_sample(kept[key])[metric]) for key in kept if key[0] == problem]
            right, wrong = ([value for is_right, value in of if is_right == which] for which in (True, False))
            gaps.append(sum(right) / len(right) - sum(wrong) / len(wrong))
        row = table.loc[DIFFERENCE, metric]
        assert row["value"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-9)
        assert row["problems"] == len(both)


def test_positions_average_to_the_whole_where_bins_divide_the_tokens(tmp_path: Path) -> None:
    samples = [[Said(40, [(30, "7" if (i + j) % 2 else "8")]) for j in range(4)] for i in range(5)]
    run = scored_run(tmp_path / "run", samples)
    kept = add_pass(run)
    table = position_table([run], bins=8)
    whole = distribution_table([run]).set_index(["part", "metric"])["value"]
    for part in ("all", "correct", "incorrect"):
        for metric in ("entropy", "branching"):
            line = table[(table["part"] == part) & (table["metric"] == metric)]
            assert line["position"].tolist() == [(b + 0.5) / 8 for b in range(8)]
            assert line["value"].mean() == pytest.approx(whole[part, metric])
    first = [np.mean([kept[f"p{i}", j].entropy[:5].mean(dtype=np.float64) for j in range(4)]) for i in range(5)]
    entropy = table[(table["part"] == "all") & (table["metric"] == "entropy")]
    assert entropy["value"].iloc[0] == pytest.approx(np.mean(first))


def test_a_completion_shorter_than_the_bins_counts_where_it_has_tokens(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [[Said(2, []), Said(0, [])], [Said(40, []), Said(40, [])]])
    add_pass(run, only={("p0", 0), ("p1", 0), ("p1", 1)})
    table = position_table([run], bins=4)
    line = table[(table["part"] == "all") & (table["metric"] == "entropy")]
    assert line["traces"].tolist() == [3, 2, 3, 2]
    assert line["problems"].tolist() == [2, 1, 2, 1]
    assert distribution_table([run])["traces"].max() == 3  # an empty completion has no tokens


def test_the_widest_of_several_passes_counts(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", random_samples(2, 2, seed=1))
    add_pass(run, top=20, only={("p0", 0)})
    add_pass(run, top=3)
    assert {key: kept.top for key, kept in token_distributions(run)} == {
        ("p0", 0): 20, ("p0", 1): 3, ("p1", 0): 3, ("p1", 1): 3,
    }  # fmt: skip
    assert distribution_table([run])["top"].tolist() == [3] * 12


def test_the_agreement_of_samples_that_have_both(tmp_path: Path) -> None:
    plain = scored_run(tmp_path / "plain", random_samples(3, 2, seed=1))
    rows = list(plain.completions())
    (part,) = (plain.path / "completions" / "rollout").glob("part-*.parquet")
    part.unlink()
    shifted = []
    for row in rows:
        kept = drawn(row.key, row.n_tokens)
        shifted.append(replace(row, distributions=replace(kept, entropy=kept.entropy + 1)))
    with plain.writer() as writer:
        writer.append(shifted)
    add_pass(plain)
    found = agreement(plain).set_index("quantity")
    assert found.loc["entropy", "mean"] == pytest.approx(1, abs=2e-3)
    assert found.loc["branching", "equal"] == 1.0
    assert found.loc["chosen", "largest"] == 0.0
    assert found["tokens"].unique().tolist() == [sum(row.n_tokens for row in rows)]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", random_samples(2, 2, seed=1))
    with pytest.raises(UserError, match=r"4 of 4 samples have no log-probabilities .*extrap-eval logprobs"):
        distribution_table([run])
    add_pass(run, only={("p0", 0), ("p0", 1), ("p1", 0)})
    with pytest.raises(UserError, match=r"1 of 4 samples .*sample 1 of problem p1"):
        distribution_table([run])
    assert len(distribution_table([run], n=1)) == 12
    with pytest.raises(UserError, match=r"--n: 3 is not in 1\.\.2"):
        plan_second_pass(run, n=3)


def test_prompts_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    from tests.store.making import completion, make_run

    run = make_run(tmp_path / "run", prompts={})
    with run.writer() as writer:
        writer.append([completion("p0", 0)])
    with pytest.raises(UserError, match=r"the prompt of p0 is not known \(an import\)"):
        plan_second_pass(run)


def test_no_interval_goes_below_what_is_possible(tmp_path: Path) -> None:
    """Where all problems agree, as on tokens of which the model is sure, the bound alone would."""
    run = scored_run(tmp_path / "run", [[Said(20, [(10, "7")])] for _ in range(5)])
    variant, _ = run.put_variant("logprobs", {"top_logprobs": 2}, {"samples": 1, "again": 0})
    sure = condense(np.zeros(20), np.tile([0.0, -np.inf], (20, 1)))
    with run.writer(variant.name) as writer:
        writer.append(
            [
                Completion(
                    *row.key, variant.name, token_ids=row.token_ids, finish_reason="length",
                    step=0, replicate=0, prefix_tokens=0, distributions=sure,
                )
                for row in run.completions()
            ]
        )  # fmt: skip
    table = distribution_table([run]).set_index(["part", "metric"])
    for metric, least in (("entropy", 0), ("branching", 1), ("perplexity", 1)):
        row = table.loc["all", metric]
        assert (row["low"], row["value"]) == (least, least)
        assert row["high"] > least
    assert (position_table([run])["low"].dropna() >= 0).all()
