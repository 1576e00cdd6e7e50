"""Probes of a run, from the plan to tables, against what the completions themselves say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.sampling.following import stored_traces
from extrap_eval.steps.following import find_variant, is_complete, price, siblings
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.probe_curves import (
    direct_baseline,
    forced_budgets,
    probe_progress,
    probe_votes,
)
from extrap_eval.steps.probes import NOT_A_REPLICATE, arrays_of, plan_probes, probe_table
from extrap_eval.steps.score import ensure_scored
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import asked, engine_of, sampled_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = sampled_run(tmp_path_factory.mktemp("probes"))
    asked(run, plan_probes(run, group_size=3, replicates=4), plan_probes(run, at="budgets", replicates=2))
    return open_run(run.path)


def test_every_group_of_every_trace_is_probed_and_the_table_says_where(run: Run) -> None:
    table = probe_table(run)
    probes = plan_probes(run, group_size=3, replicates=4).protocol
    expected = {
        (trace.problem_id, trace.sample_index, job.step, job.replicate, job.prefix_tokens)
        for trace in stored_traces(run)
        for job in probes.jobs(trace, ())
    }
    columns = ["problem_id", "sample_index", "j", "replicate", "prefix_tokens"]
    found = set(table[columns].itertuples(index=False, name=None))
    assert found == expected
    assert len(table) == len(expected)
    first = table[table["j"] == 0]
    assert (first["episodes"] == 0).all()
    per_trace = table.groupby(["problem_id", "sample_index"])
    for _, rows in per_trace:
        assert (np.diff(rows["prefix_tokens"]) >= 0).all()
        groups = int(rows["j"].max())
        episodes = int(rows["episodes"].max())
        assert groups == -(-episodes // 3)
        assert rows[rows["last"]]["j"].unique().tolist() == [groups]


def test_answers_come_from_the_probes_alone_and_are_judged(run: Run) -> None:
    table = probe_table(run)
    problems = {problem.id: problem.gold for problem in run.problems()}
    answered = table[table["answer"].notna()]
    assert (answered["correct"] == (answered["answer"] == answered["problem_id"].map(problems))).all()
    for _, rows in answered.groupby("problem_id"):
        pairs = set(rows[["answer", "answer_class"]].itertuples(index=False, name=None))
        assert len(pairs) == rows["answer"].nunique() == rows["answer_class"].nunique()
    variant = find_variant(run, "probe-episodes")
    tokens = {item.place: item.n_tokens for item in run.completions(variant.name, columns=[])}
    for row in table.itertuples():
        assert tokens[row.problem_id, row.sample_index, row.j, row.replicate] == row.answer_tokens


def test_the_same_plan_is_complete_and_more_replicates_top_up(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=2, n=2)
    plan = plan_probes(run, replicates=2, n=1)
    first = asked(run, plan)
    assert (first.missing, is_complete(run, plan)) == (0, True)
    assert asked(run, plan).finished == 0
    more = plan_probes(run, replicates=3, n=2)
    assert more.name == plan.name
    assert not is_complete(run, more)
    traces = {trace.sample_index: 0 for trace in stored_traces(run)}
    for trace in stored_traces(run):
        traces[trace.sample_index] += more.protocol.most(trace) // 3
    assert asked(run, more).finished == traces[0] * 1 + traces[1] * 3
    assert len(probe_table(run)) == 3 * (traces[0] + traces[1])
    other = plan_probes(run, replicates=2, answer_tokens=100)
    assert other.name != plan.name
    assert "answer_tokens: 4096 → 100" in (siblings(run, other) or "")
    assert siblings(run, more) is None


def test_several_variants_have_to_be_named(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=2, n=1)
    plans = [plan_probes(run, replicates=1, groups=groups) for groups in (1, 2)]
    asked(run, *plans)
    with pytest.raises(UserError, match=r"several variants: .*groups: 1 → 2.*choose one with --variant"):
        probe_table(run)
    assert set(probe_table(run, plans[0].name)["j"]) == {0, 1}
    with pytest.raises(UserError, match=r"no variant probe-x of kind probe-episodes \(there: "):
        probe_table(run, "probe-x")


def test_where_an_answer_has_no_box_the_thought_before_it_may_be_searched(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=4, n=2)
    asked(run, plan_probes(run, group_size=3, replicates=2, answer_tokens=2))  # too few for a box
    assert not probe_table(run)["answer"].notna().any()
    table = probe_table(run, search_prefix=True)
    texts = {completion.key: completion for completion in run.completions()}
    pieces = run.token_table()
    assert pieces is not None
    seen = 0
    for row in table.itertuples():
        ids = texts[row.problem_id, row.sample_index].token_ids[: row.prefix_tokens]
        boxes = re.findall(r"\\boxed\{(\d+)\}", pieces.decode(ids))
        assert (row.answer if isinstance(row.answer, str) else None) == (boxes[-1] if boxes else None)
        assert (row.answer_class >= 0) == bool(boxes)
        gold = next(problem.gold for problem in run.problems() if problem.id == row.problem_id)
        assert row.correct == (row.answer == gold)
        seen += bool(boxes)
    assert seen > len(table) / 3
    assert probe_votes(run, search_prefix=True)["value"].max() > probe_votes(run)["value"].max()


def test_an_incomplete_variant_has_no_table(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=2, n=1)
    plan = plan_probes(run, replicates=1)
    asked(run, plan)
    (part,) = (run.path / "completions" / plan.name).glob("part-*.parquet")
    part.unlink()
    with pytest.raises(UserError, match=r"is not complete: repeat the command"):
        probe_table(run)
    asked(run, plan)
    assert len(probe_table(run)) > 0
    with pytest.raises(UserError, match="nothing of kind probe-budgets yet: run extrap-eval probe --at budgets"):
        probe_table(run, at="budgets")


def test_a_run_that_lacks_samples_is_not_probed(tmp_path: Path) -> None:
    from extrap_eval.steps.sample import plan_sampling, prepare_run

    run = sampled_run(tmp_path, problems=2, n=1)
    topped = prepare_run(plan_sampling("markov", str(tmp_path / "run.yaml"), n=2, budget_max=1500), run.path)
    asked(topped, plan_probes(topped, replicates=1, n=1))  # what is there can be followed
    with pytest.raises(UserError, match=r"2 of 4 promised samples are missing .* top up with"):
        asked(topped, plan_probes(topped, replicates=1))


def test_budgets_where_a_completion_had_ended_count_its_own_answer(run: Run) -> None:
    table = probe_table(run, at="budgets")
    ensure_scored(run.path)
    found = outcomes(run, [256, 512, 1024])
    place = {id: i for i, id in enumerate(found.problem_ids)}
    for budget, b in ((256, 0), (512, 1), (1024, 2)):
        rows = table[table["budget"] == budget]
        for (id, index), here in rows.groupby(["problem_id", "sample_index"]):
            ended = found.finished[place[id], index] and found.n_tokens[place[id], index] <= budget
            assert here["replicate"].tolist() == ([NOT_A_REPLICATE] if ended else [0, 1])
            if ended:
                assert bool(here["correct"].iloc[0]) == bool(found.correct[place[id], index, b])
                assert here["answer_tokens"].iloc[0] == 0
            else:
                assert (here["prefix_tokens"] == budget).all()
    curve = forced_budgets(run)
    forced = curve[curve["semantics"] == "forced"].set_index("budget")["value"]
    plain = curve[curve["semantics"] == "cut"].set_index("budget")["value"]
    arrays = arrays_of(table, "budget")
    for i, budget in enumerate((256, 512, 1024)):
        assert plain[budget] == pytest.approx(found.correct[..., i].mean())
        assert forced[budget] == pytest.approx(arrays.correct[:, :, i].mean())


def test_votes_are_those_of_the_table(run: Run) -> None:
    table = probe_table(run)
    curve = probe_votes(run, bin_width=1000)
    single = curve[curve["p"] == 1].set_index("group")
    for j, rows in table.groupby("j"):
        assert single.loc[j, "value"] == pytest.approx(
            rows.groupby(["problem_id", "sample_index"])["correct"].mean().mean()
        )
        assert single.loc[j, "traces"] == len(rows) / 4
        assert single.loc[j, "tokens"] == pytest.approx((rows["prefix_tokens"] + rows["answer_tokens"]).mean())
    together = probe_votes(run)
    assert (together["traces"] == 18).all()
    last = together[(together["p"] == 1)].sort_values("group").iloc[-1]
    ends = table[table["last"]]
    assert last["value"] == pytest.approx(ends.groupby(["problem_id", "sample_index"])["correct"].mean().mean())
    with pytest.raises(UserError, match=r"p: \[5\] is not in 1\.\.4"):
        probe_votes(run, ks=[5])


def test_the_other_tables_have_their_columns_and_ranges(run: Run) -> None:
    gained = probe_progress(run)
    assert gained["progress"].between(-1, 1).all()
    direct = direct_baseline(run)
    assert direct["k"].tolist() == [1, 2]
    assert direct["tokens"].tolist() == pytest.approx([direct["tokens"].iloc[0], 2 * direct["tokens"].iloc[0]])


def test_the_price_is_what_is_asked(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=2, n=2)
    plan = plan_probes(run, replicates=2)
    total, existing = price(run, [plan])
    assert existing == 0
    report = asked(run, plan)
    stored = list(run.completions(plan.name, columns=[]))
    assert (total.requests, total.prompt_tokens) == (report.finished, sum(item.prompt_tokens for item in stored))
    assert total.completion_tokens == 4096 * report.finished
    assert total.distinct_tokens < total.prompt_tokens
    assert price(run, [plan])[1] == report.finished


def test_scores_of_probes_are_made_once_and_renewed_by_a_top_up(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=2, n=1)
    plan = plan_probes(run, replicates=1)
    asked(run, plan)
    probe_table(run)
    layer = run.layer(plan.name)
    created = layer.score()["files"]
    probe_table(open_run(run.path))
    assert layer.score()["files"] == created
    asked(run, plan_probes(run, replicates=2))
    assert probe_table(run)["replicate"].max() == 1
    assert layer.score()["files"] != created


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": {"temperature": -1.0}}, r"sampling\.temperature: -1\.0 is negative"),
        ({"n": 9}, r"--n: 9 is not in 1\.\.1"),
        ({"group_size": 2, "groups": 2}, "exclude each other"),
        ({"budgets": [100]}, "--budgets does not belong to --at episodes"),
        ({"at": "budgets", "paper_exact": True}, "--paper-exact does not belong to --at budgets"),
        ({"at": "budgets", "phrases": ["Hm"]}, "--phrases does not belong to --at budgets"),
        ({"at": "budgets", "budgets": [4000]}, r"--budgets: 4000 is not in 1\.\.1500"),
        ({"text": "{think_close} and {think_close}"}, r"holds \{think_close\} 2 times"),
        ({"text": "Stop.<|im_end|>"}, r"holds '<\|im_end\|>', which begins or ends a completion"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, options: dict[str, object], message: str) -> None:
    run = sampled_run(tmp_path, problems=1, n=1)
    with pytest.raises(UserError, match=message):
        asked(run, plan_probes(run, **options))  # type: ignore[arg-type]


def test_what_does_not_fit_the_context_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=1, n=1)
    plan = plan_probes(run, answer_tokens=40_000)
    with pytest.raises(UserError, match=r"probe-episodes: .* but the context holds 40960: lower --answer-tokens"):
        asked(run, plan)
    assert run.variants() == []


def test_paper_exact_is_another_variant(run: Run) -> None:
    default, exact = plan_probes(run), plan_probes(run, paper_exact=True)
    assert default.name != exact.name
    trace = next(trace for trace in stored_traces(run) if trace.finished)
    last = [list(replace(plan.protocol, replicates=1).jobs(trace, ()))[-1] for plan in (default, exact)]  # type: ignore[type-var]
    lengths = [len(job.request.prompt_token_ids) for job in last]
    assert lengths[0] < lengths[1]  # the whole thought gets the probe text there, and keeps its own end here
    assert engine_of(run).info.kind == "markov"
