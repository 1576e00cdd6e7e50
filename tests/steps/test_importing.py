from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.cards.load import load_benchmark_card, load_model_card
from extrap_eval.cards.schema import ModelCard
from extrap_eval.errors import UserError
from extrap_eval.problems.load import load_problems
from extrap_eval.prompts.tokenizer import end_token_ids, load_tokenizer
from extrap_eval.steps.importing import import_run, imported_table
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.score import score
from extrap_eval.store import open_run
from tests.importers.logs import write_lines
from tests.prompts.conftest import qwen_folder, r1_folder
from tests.prompts.tokenizers import small_folder

__all__ = ["qwen_folder", "r1_folder"]

FIELDS = {"completion": "c", "problem": "q", "gold": "a", "label": "ok"}
RIGHT, WRONG, CUT = "so \\boxed{2}.", "so \\boxed{3}.", "so that x"


def rows(*completions: list[str]) -> list[dict[str, Any]]:
    return [
        {"q": f"What is 1+{i}?", "a": i + 1, "c": texts, "ok": ["{2}" in text and i == 1 for text in texts]}
        for i, texts in enumerate(completions, start=1)
    ]


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return str(small_folder(tmp_path / "tokenizer"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "some.log.jsonl", rows([RIGHT, CUT], ["a \\boxed{3}.", WRONG]))


def imported(path: Path, out: Path, tokenizer: str, **options: Any) -> Any:
    return import_run("jsonl", [path], out=out, tokenizer=tokenizer, fields=FIELDS, **options)


def test_text_is_tokenised_once_and_stays_the_record(log: Path, tmp_path: Path, tokenizer: str) -> None:
    run = imported(log, tmp_path / "run", tokenizer)
    assert run.n == 2
    assert run.missing() == []
    found = {completion.key: completion for completion in run.completions()}
    table = run.token_table()
    loaded = load_tokenizer(ModelCard(name="x"), tokenizer)
    assert [found["0", i].text for i in range(2)] == [RIGHT, CUT]
    for completion in found.values():
        assert completion.token_source == "retokenized"
        assert completion.text is not None
        assert completion.token_ids.tolist() == loaded.encode(completion.text, add_special_tokens=False)
        assert table.decode(completion.token_ids) == completion.text
    assert [found["0", i].finish_reason for i in range(2)] == ["stop", "length"]
    assert run.prompts()["0"].tolist() == []  # the log has none


def test_side_table_has_what_the_log_says_besides(log: Path, tmp_path: Path, tokenizer: str) -> None:
    table = imported_table(imported(log, tmp_path / "run", tokenizer))
    assert table.drop(columns="recorded_tokens").to_dict("records") == [
        {
            "problem_id": id,
            "sample_index": index,
            "author_label": label,
            "finish_known_by": "ending",
            "file": "some.log.jsonl",
            "row": int(id) + 1,
        }
        for id, index, label in (("0", 0, True), ("0", 1, False), ("1", 0, False), ("1", 1, False))
    ]
    assert table["recorded_tokens"].isna().all()


def test_run_can_be_scored_and_cut_like_any_other(log: Path, tmp_path: Path, tokenizer: str) -> None:
    run = imported(log, tmp_path / "run", tokenizer, max_tokens=100)
    score(run.path)
    length = len(next(c for c in run.completions() if c.key == ("0", 0)).token_ids)
    found = outcomes(run.path, [length - 2, length, 100])
    assert found.correct[0].tolist() == [[False, True, True], [False, False, False]]
    assert found.correct[1, :, -1].tolist() == [True, True]
    assert found.benchmark == "some.log"


def test_cards_of_the_run_load_again(log: Path, tmp_path: Path, tokenizer: str) -> None:
    run = imported(log, tmp_path / "run", tokenizer, model="My model", max_tokens=2000)
    model = load_model_card(run.path / "model.yaml")
    assert (model.name, model.n, model.max_new_tokens, model.think) == ("My model", 2, 2000, None)
    benchmark = load_benchmark_card(run.path / "benchmark.yaml")
    assert benchmark.budgets == [512, 1024, 2000]
    assert load_problems(benchmark) == run.problems()
    assert [problem.gold for problem in run.problems()] == ["2", "3"]


@pytest.mark.parametrize(
    ("completions", "reasons", "how"),
    [
        # An open thought was cut, whatever its last character.
        (["<think>hm.", "<think>hm.</think>so."], ["length", "stop"], ["ending", "ending"]),
        # The card's end token is in this log, so whatever lacks it was cut.
        (["<think>hm.</think>so.", "so.<|im_end|>"], ["length", "stop"], ["no end token", "end token"]),
    ],
)
def test_known_model_card_gives_markers_and_end_tokens(
    tmp_path: Path, completions: list[str], reasons: list[str], how: list[str]
) -> None:
    path = write_lines(tmp_path / "log.jsonl", rows(completions))
    run = import_run("jsonl", [path], out=tmp_path / "run", model="markov", fields=FIELDS)
    assert [completion.finish_reason for completion in run.completions()] == reasons
    assert imported_table(run)["finish_known_by"].tolist() == how
    (end,) = end_token_ids(load_tokenizer(run.model_card), run.model_card)
    assert [c.stop_token_id for c in run.completions()] == [end if h == "end token" else None for h in how]
    card = load_model_card("markov")
    assert (run.model_card.think, run.model_card.policy) == (card.think, card.policy)
    assert (run.model_card.n, run.manifest.distribution["temperature"]) == (2, None)


def test_same_import_again_changes_nothing(log: Path, tmp_path: Path, tokenizer: str) -> None:
    run = imported(log, tmp_path / "run", tokenizer)
    before = run.digest()
    again = imported(log, tmp_path / "run", tokenizer)
    assert again.digest() == before
    assert len(list((run.path / "completions" / "rollout").glob("part-*"))) == 1


def test_larger_n_adds_samples(log: Path, tmp_path: Path, tokenizer: str) -> None:
    run = imported(log, tmp_path / "run", tokenizer, n=1)
    assert (run.n, len(run.keys()), len(imported_table(run))) == (1, 2, 2)
    run = imported(log, tmp_path / "run", tokenizer)
    assert (run.n, len(run.keys()), len(imported_table(run))) == (2, 4, 4)
    assert run.missing() == []


def test_other_log_into_the_same_run_is_refused(log: Path, tmp_path: Path, tokenizer: str) -> None:
    run = imported(log, tmp_path / "run", tokenizer)
    before = run.digest()
    other = write_lines(tmp_path / "some.log.jsonl", rows([RIGHT, RIGHT], [WRONG, WRONG]))
    with pytest.raises(UserError, match=r"run: holds a run that was imported with other files; choose another --out"):
        imported(other, tmp_path / "run", tokenizer)
    assert open_run(run.path).digest() == before


def test_gold_from_a_benchmark_card_makes_runs_comparable(tmp_path: Path, tokenizer: str) -> None:
    benchmark = load_benchmark_card("residue_search_tiny")
    problems = load_problems(benchmark)
    lines = [
        {"q": f"Question: {problem.text}\nBox it.", "c": [f"\\boxed{{{problem.gold}}}."], "ok": True}
        for problem in reversed(problems)
    ]
    path = write_lines(tmp_path / "log.jsonl", lines)
    fields = {"completion": "c", "problem": "q", "label": "ok"}
    options: dict[str, Any] = {"tokenizer": tokenizer, "fields": fields, "gold": "residue_search_tiny"}
    run = import_run("jsonl", [path], out=tmp_path / "all", **options)
    assert run.problems() == problems
    assert run.benchmark_card == benchmark
    write_lines(path, lines[:3])
    run = import_run("jsonl", [path], out=tmp_path / "some", **options)
    assert run.problems() == problems[-3:]
    assert run.benchmark_card.sha256 is None
    with pytest.raises(UserError, match=rf"--kind expression: .* of kind {benchmark.answer.kind}"):
        import_run("jsonl", [path], out=tmp_path / "x", kind="expression", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": None}, r"no tokenizer: name the model's own with --tokenizer PATH"),
        ({"tokenizer": None, "model": "no-such-card"}, r"no model card is named no-such-card"),
        ({"model": "no/such.yaml"}, r"no/such\.yaml: no such file"),
        ({"format": "csv"}, r"format csv: unknown; it is one of lighteval, qwen-math, areal, jsonl"),
        ({"format": "areal"}, r"--field belongs to the format jsonl"),
        ({"format": "qwen-math", "fields": None}, r"some\.log\.jsonl:1: no field 'code'"),
        ({"format": "lighteval", "fields": None}, r"some\.log\.jsonl: not a Parquet file"),
        ({"paths": ["nowhere.jsonl"]}, r"nowhere\.jsonl: no such file"),
        ({"paths": []}, r"at least one file"),
        ({"paths": ["."]}, r"a folder; name the files in it"),
        ({"gold": "no_such_benchmark"}, r"no benchmark card is named no_such_benchmark"),
        ({"gold": "nowhere.json"}, r"--gold nowhere\.json: cannot be read"),
        ({"n": 3}, r"--n 3: problem 0 has 2"),
        ({"max_tokens": 1}, r"some\.log\.jsonl:1: the completion has .* tokens .*--max-tokens 1; raise it"),
    ],
)
def test_refused_in_one_line_and_nothing_written(
    log: Path, tmp_path: Path, tokenizer: str, options: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"format": "jsonl", "paths": [log], "tokenizer": tokenizer, "fields": FIELDS, **options}
    with pytest.raises(UserError, match=message):
        import_run(given.pop("format"), given.pop("paths"), out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_folder_that_is_no_run_is_left_alone(log: Path, tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("x")
    with pytest.raises(UserError, match=r"not empty \(precious\.txt\)"):
        imported(log, tmp_path / "run", tokenizer)
    assert [path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(("lock", "."))] == [
        "precious.txt"
    ]


def test_lone_surrogates_do_not_stop_an_import(tmp_path: Path, tokenizer: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"q": "1?", "a": 1, "c": "\\ud835 \\\\boxed{1}.", "ok": true}\n')
    (completion,) = imported(path, tmp_path / "run", tokenizer).completions()
    assert completion.text == "? \\boxed{1}."


def test_lighteval_run_keeps_exact_ids(fixtures_dir: Path, r1_folder: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    paths = sorted((fixtures_dir / "saturn_lighteval").iterdir())
    run = import_run("lighteval", paths, out=tmp_path / "run", tokenizer=str(r1_folder))
    details = pq.read_table(next(path for path in paths if path.suffix == ".parquet")).to_pylist()
    for completion in run.completions():
        row = details[int(completion.problem_id)]
        assert completion.token_ids.tolist() == row["cont_tokens"][0][0]
        assert completion.token_source == "engine"
        assert completion.prompt_tokens == len(row["input_tokens"][0])
    known = {name: run.manifest.distribution[name] for name in ("temperature", "top_p", "max_tokens")}
    assert known == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 16384}
    assert run.benchmark_card.name == "r1_distill_qwen_1.5b_aime24"
    settings = run.manifest.invocations[0]["settings"]["import"]
    assert settings["format"] == "lighteval"
    assert [len(file["sha256"]) for file in settings["files"]] == [64]


def test_command_line(log: Path, tmp_path: Path, tokenizer: str) -> None:
    from typer.testing import CliRunner

    from extrap_eval.cli import app

    fields = [word for name, path in FIELDS.items() for word in ("--field", f"{name}={path}")]
    command = ["import", "jsonl", str(log), *fields, "--tokenizer", tokenizer, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {
        "run": str(tmp_path / "run"),
        "model": "run",
        "problems": 2,
        "samples_per_problem": 2,
        "exact_token_ids": 0,
        "retokenized": 4,
        "finished": 3,
        "cut": 1,
        "finish_known_by": {"ending": 4},
    }
    result = CliRunner().invoke(app, command)
    assert f"extrap-eval score {tmp_path / 'run'}" in result.output
    for bad in (["--field", "completion"], ["--field", "completion=x"]):
        result = CliRunner().invoke(app, [*command, *bad])
        assert isinstance(result.exception, UserError)
