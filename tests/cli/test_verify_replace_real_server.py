"""Judging and replacing with a real vLLM server and the reference model."""

from __future__ import annotations

import json
from pathlib import Path

from extrap_eval.sampling.following import stored_traces
from extrap_eval.steps.replacement import replacement_table
from extrap_eval.steps.verification import judgement_table
from extrap_eval.store import open_run
from tests.cli.conftest import Command
from tests.cli.test_verify_replace import OWN
from tests.engine_servers import EngineServer


def test_judged_and_replaced_end_to_end(command: Command, vllm_server: EngineServer, tmp_path: Path) -> None:
    served = ("--endpoint", vllm_server.url, "--concurrency", "48", "--json")
    done = command(
        *("sample", "--model", str(vllm_server.model_path), "--benchmark", "residue_search_tiny", "--n", 4),
        *("--budget-max", 700, "--logprobs", 20, "--out", "run", *served),
    )
    assert done.returncode == 0, done.stderr

    judged = command("verify", "run", "--mode", "thought", *OWN, "--answer-tokens", 64, *served, "--figure", "v.png")
    assert judged.returncode == 0, judged.stderr
    run = open_run(tmp_path / "run")
    rows = {row["quantity"]: row for row in json.loads(judged.stdout)["tables"]["verification"]}
    table = judgement_table(run)
    assert len(table) == rows["gap"]["judgements"]
    assert rows["unreadable"]["value"] < 0.1
    assert rows["right accepted"]["value"] > 0.8
    # This model hardly ever concludes something wrong here, and without any there is no gap.
    assert (rows["gap"]["value"] is None) == bool(table["right"].all())

    asked = command("verify", "run", "--answers", 2, "--replicates", 1, "--answer-tokens", 200, *served)
    assert asked.returncode == 0, asked.stderr  # the chat form runs as well, though this model cannot follow it

    swap = ("replace", "run", "--n", "2", "--positions", "2", "--replicates", "2")
    replaced = command(*swap, *served, "--figure", "r.png")
    assert replaced.returncode == 0, replaced.stderr
    facts = json.loads(replaced.stdout)
    effects = {row["at"]: row for row in facts["tables"]["effects"]}
    assert list(effects) == ["high-entropy", "low-entropy", "early", "late", "random"]
    assert all(row["positions"] == 48 for row in effects.values())
    run = open_run(tmp_path / "run")
    traces = {(trace.problem_id, trace.sample_index): trace for trace in stored_traces(run)}
    for variant in run.variants("replace"):
        places = replacement_table(run, variant.name)
        assert (places["token"] != places["other"]).all()
        own = [
            int(traces[id, i].ids[at]) for id, i, at in places[["problem_id", "sample_index", "position"]].to_numpy()
        ]
        assert places["token"].tolist() == own
        end = set(run.sampling.stop_token_ids)
        assert not end & set(places["other"])
    # The rest of the budget is what the completions may use.
    lengths = [
        c.n_tokens + (c.prefix_tokens or 0) for c in run.completions(run.variants("replace")[0].answers, columns=[])
    ]
    assert max(lengths) <= 700
    again = command(*swap, *served)
    assert json.loads(again.stdout)["finished"] == 0
    print()
    for at, row in effects.items():
        print(f"{at}: {100 * row['value']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] points")
    said = table.groupby("right")["said"].value_counts(normalize=True)
    print(said.to_string())
