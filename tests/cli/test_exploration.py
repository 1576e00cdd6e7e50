"""``extrap-eval unsolvable``, ``diversity`` and ``attempts`` as a user runs them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from extrap_eval.cli import app
from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.problems.multiplication import multiplication
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from tests.steps.episode_runs import text_run
from tests.steps.test_chained import LONG, OPEN, SHORT

pytestmark = pytest.mark.slow  # commands, each a process of its own

MARKOV = """name: {name}
tokenizer: package:markov
think: {{open: "<think>", close: "</think>", opened_by_prompt: false}}
end_tokens: ["<|im_end|>"]
verification: {{phrases: [" works.", " fails."]}}
policy: {{attempt_tokens: 40, accept_right: {right}, accept_wrong: 0.1, give_up: 0.1, loop: 0.01, max_attempts: 6}}
"""
BENCHMARK = """name: Small
source: {generator: hidden_number, args: {problems: 10, probabilities: [0.05, 0.3]}}
answer: {kind: integer}
budgets: [120, 400]
"""


def call(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("exploration")
    (folder / "b.yaml").write_text(BENCHMARK)
    made = []
    for i in range(4):
        (folder / f"m{i}.yaml").write_text(MARKOV.format(name=f"markov-{i}", right=0.9 - 0.2 * i))
        made.append(folder / f"run{i}")
        plan = plan_sampling(str(folder / f"m{i}.yaml"), str(folder / "b.yaml"), n=4, budget_max=400)
        sample(plan, prepare_run(plan, made[-1]), MarkovEngine(MarkovPolicy(**plan.model.policy or {})), seed=i)  # type: ignore[arg-type]
    return made


def test_unsolvable(runs: list[Path], tmp_path: Path) -> None:
    done = call("unsolvable", *runs[:2], "--k", 2, "--list", "--figure", tmp_path / "venn.svg")
    assert "Small, 10 problems: 0 of k = 2 right at 400 tokens" in " ".join(done.stdout.split())
    assert "markov-0 + markov-1: hidden-" in done.stdout
    assert (tmp_path / "venn.svg").read_text().startswith("<?xml")
    found = json.loads(call("unsolvable", *runs[:2], "--k", 2, "--json").stdout)
    shared = set(found["combinations"][0]["problem_ids"])
    sizes = [row["size"] for row in found["sets"]]
    assert found["overlap"] == pytest.approx(len(shared) / (sum(sizes) - len(shared)))
    done = call("unsolvable", *runs, "--csv", "--figure", tmp_path / "upset.png")
    assert (tmp_path / "upset.png").stat().st_size > 10_000
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert all(len(row["problem_ids"].split()) == int(row["size"]) > 0 for row in rows)
    call("plot", *runs[:3], "--figure", "unsolvable", "--budgets", 120, "-o", tmp_path / "venn3.pdf")


def test_diversity(runs: list[Path], tmp_path: Path) -> None:
    done = call("diversity", *runs[:2], "--figure", tmp_path / "d.png")
    assert "distinct answers among k samples" in done.stdout
    assert "attempts: boxed answers" in done.stdout
    found = json.loads(call("diversity", runs[0], "--k", "1,4", "--budgets", "120,400", "--json").stdout)
    one, four = (row["value"] for row in found["answers"])
    assert one <= 1 < four <= 4
    assert {row["quantity"] for row in found["attempts"]} == {
        "attempts",
        "unique",
        "unique right",
        "tried",
        "of problem",
    }
    rows = list(csv.DictReader(io.StringIO(call("diversity", runs[0], "--csv").stdout)))
    assert {row["quantity"] for row in rows} >= {"distinct answers", "unique"}
    call("plot", *runs[:2], "--figure", "diversity", "-o", tmp_path / "d.svg")


def test_attempts(runs: list[Path], tmp_path: Path) -> None:
    done = call("attempts", *runs[:2], "--figure", tmp_path / "a.png")
    assert "pass@k (%) of traces cut after j episodes" in done.stdout
    assert "verification-generation gap" in done.stdout
    found = json.loads(
        call(
            "attempts", runs[0], "--unit", "verifications", "--caps", "1,6", "--json", "--grid", tmp_path / "g.png"
        ).stdout
    )
    assert [row["attempts"] for row in found["gap"]] == [1, 6]
    assert len(found["traces"]) == 40
    rows = list(csv.DictReader(io.StringIO(call("attempts", runs[0], "--csv", "--k", "1,2").stdout)))
    assert {row["k"] for row in rows} == {"1", "2"}
    call("plot", runs[0], "--figure", "attempts", "-o", tmp_path / "a.svg")


def test_phrases_of_the_command(tmp_path: Path) -> None:
    text_run(tmp_path / "run", [[LONG, SHORT], [OPEN, LONG]])
    rows = json.loads(call("attempts", tmp_path / "run", "--verifications", "double-check|Easy", "--json").stdout)
    assert [row["verifications"] for row in rows["traces"]] == [0, 2, 0, 0]
    assert "only" not in call("attempts", tmp_path / "run").stdout
    done = call("attempts", tmp_path / "run", "--pattern", "is (8)")
    assert "Toy: only 25 % of the first attempts try an answer" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unsolvable", "{run}", "--budget", "100,200"], "one is needed here, not 2"),
        (["unsolvable", "{run}", "--k", "9"], "--k: 9 is not in 1..4"),
        (["unsolvable", "{run}", "--figure", "x.png"], "two runs at least"),
        (["diversity", "{run}", "--pattern", "a"], "0 groups"),
        (["diversity", "{run}", "--csv", "--json"], "exclude each other"),
        (["attempts", "{run}", "{run}", "--grid", "g.png"], "--grid draws one run"),
        (["attempts", "{run}", "--k", "5"], "not in 1..4"),
    ],
)
def test_bad_input(runs: list[Path], arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, [each.format(run=runs[0]) for each in arguments])
    assert done.exit_code == 1
    assert message in str(done.exception)


COUNTDOWN = [
    "3 * 5 + 7 = 22, no. 5 + 7 = 12. So 12 * 3 = 36. \\boxed{3 * (5 + 7)}",
    "3 + 5 + 7 = 15. Again 7 + 5 + 3 = 15. \\boxed{3 + 5 + 7}",
]


def test_imported_countdown(tmp_path: Path, fixtures_dir: Path) -> None:
    """Completions of another harness, with a benchmark card that says that answers are expressions."""
    (tmp_path / "card.yaml").write_text(
        f"name: Countdown\nsource: {{file: {tmp_path / 'p.jsonl'}}}\nanswer: {{kind: expression}}\nbudgets: [10, 60]\n"
    )
    problem = {"problem": "Make 36 of 3, 5, 7.", "answer": json.dumps({"numbers": [3, 5, 7], "target": 36})}
    (tmp_path / "p.jsonl").write_text(json.dumps(problem) + "\n")
    lines: list[dict[str, Any]] = [problem | {"completion": text} for text in COUNTDOWN]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    call("import", "jsonl", tmp_path / "log.jsonl", "--field", "completion=completion", "--field", "problem=problem",
         "--tokenizer", fixtures_dir / "tokenizers" / "qwen2.5", "--max-tokens", 100, "--gold", tmp_path / "card.yaml",
         "-o", tmp_path / "run")  # fmt: skip
    rows = json.loads(call("diversity", tmp_path / "run", "--budgets", "100", "--json").stdout)["attempts"]
    found = {row["quantity"]: row["value"] for row in rows}
    assert rows[0]["attempts"] == "expressions of all given numbers"
    assert found == {"attempts": 3, "unique": 1.5, "unique right": 0.5, "tried": 0.5, "of problem": 3}


def test_imported_products(tmp_path: Path, fixtures_dir: Path) -> None:
    (tmp_path / "card.yaml").write_text(
        "name: Products\nsource: {generator: multiplication, args: {problems: 1, digits: [2, 2]}}\n"
        "answer: {kind: integer}\nbudgets: [60]\n"
    )
    problem = multiplication(problems=1, digits=(2, 2))[0]
    a, b = (int(word.strip(".")) for word in problem.text.split() if word.strip(".").isdigit())
    texts = [f"{a} × {b} = {a * b + 10}. No, {b} * {a} = {a * b}. \\boxed{{{a * b}}}", f"\\boxed{{{a * b - 1}}}"]
    lines = [{"problem": problem.text, "answer": problem.gold, "completion": text} for text in texts]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    call("import", "jsonl", tmp_path / "log.jsonl", "--field", "completion=completion", "--field", "problem=problem",
         "--tokenizer", fixtures_dir / "tokenizers" / "qwen2.5", "--max-tokens", 100, "--gold", tmp_path / "card.yaml",
         "-o", tmp_path / "run")  # fmt: skip
    rows = json.loads(call("diversity", tmp_path / "run", "--budgets", "100", "--json").stdout)["attempts"]
    found = {row["quantity"]: row["value"] for row in rows}
    assert rows[0]["attempts"] == "numbers stated to be the product"
    assert found == {"attempts": 2, "unique": 1.5, "unique right": 0.5, "tried": 0.5, "of problem": 3}
