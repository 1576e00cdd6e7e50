"""Reading, refusing, finding and writing cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.cards.load import (
    _shipped,
    changed,
    dump_card,
    find_card,
    list_cards,
    load_benchmark_card,
    load_model_card,
)
from extrap_eval.cards.schema import BenchmarkCard, ModelCard
from extrap_eval.errors import UserError

MODEL = "name: x\n"
BENCHMARK = "name: x\nsource: {file: a.jsonl}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "card.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sampling: {top_p: 1.5}", "sampling.top_p: 1.5 is not in (0, 1]"),
        ("sampling: {top_p: 0.0}", "sampling.top_p: 0.0 is not in (0, 1]"),
        ("sampling: {top_k: 0}", "sampling.top_k: 0 is neither -1 (off) nor positive"),
        ("sampling: {temperature: -0.1}", "sampling.temperature: -0.1 is negative"),
        ("sampling: {temperature: .nan}", "sampling.temperature: nan is not a finite number"),
        ("sampling: {temperature: hot}", "sampling.temperature: 'hot' is not a number"),
        (
            "sampling: {temperature: 1e-6}",
            "sampling.temperature: '1e-6' is not a number; write 1.0e-06, without quotes",
        ),
        ("sampling: {topp: 0.9}", "sampling.topp: unknown field; did you mean top_p?"),
        ("sampling: 3", "sampling: 3 is not a mapping of names to values"),
        ("n: 0", "n: 0 is not a positive whole number"),
        ("n: 2.5", "n: 2.5 is not a whole number"),
        ("n: true", "n: True is not a whole number"),
        ("revision: 1234567", "revision: 1234567 is not text; put it in quotes"),
        ("end_tokens: [a, 3]", "end_tokens.1: 3 is not text; put it in quotes"),
        ("end_tokens: '<eos>'", "end_tokens: '<eos>' is not a list"),
        ("think: {open: a, close: b}", "think.opened_by_prompt: missing"),
        ("think: {open: a, close: b, opened_by_prompt: 1}", "think.opened_by_prompt: 1 is not true or false"),
        (
            "max_new_tokens: 40960",
            "max_new_tokens: 40960 leaves no room for a prompt within max_model_len 40960",
        ),
        ("engine: {gpu_memory_fraction: 1.5}", "engine.gpu_memory_fraction: 1.5 is not in (0, 1]"),
        (
            "training_budget: {tokens: 9, source: s, stages: [4, 8]}",
            "training_budget.stages: the last one is 8, but tokens is 9",
        ),
        ("policy: {acept_wrong: 0.1}", "policy.acept_wrong: unknown field; did you mean accept_wrong?"),
        ("policy: {accept_wrong: 2}", "policy.accept_wrong: 2 is not a probability in [0, 1]"),
        (
            "policy: {accept_wrong: often}",
            "policy.accept_wrong: 'often' is not a whole number or a number or true or false",
        ),
        ("episodes: {phrases: []}", "episodes.phrases: [] is empty"),
        ("verification: {phrases: []}", "verification.phrases: [] is empty"),
        (
            "attempts: {pattern: '*(a)'}",
            "attempts.pattern: '*(a)' is not a regular expression: nothing to repeat at position 0",
        ),
        (
            "attempts: {pattern: '= a'}",
            "attempts.pattern: '= a' has 0 groups: give exactly one, around the answer that is tried",
        ),
        (
            "nn: 3\nsampling: {top_p: 2}\nend_tokens: 3",
            "end_tokens: 3 is not a list (and 2 more: sampling.top_p, nn)",
        ),
        ("name: y", ":2: not valid YAML: 'name' is given twice"),
        ("sampling: [", ":2: not valid YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_a_wrong_model_card_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, MODEL + text)
    with pytest.raises(UserError) as error:
        load_model_card(path)
    separator = "" if expected.startswith(":") else ": "
    assert str(error.value) == f"{path}{separator}{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("answer: {kind: integr}", "answer.kind: 'integr' is not one of 'integer', 'math' or 'expression'"),
        ("prompt: hello", "prompt: 'hello' does not contain {problem}"),
        ("budgets: [4096, 2048]", "budgets: [4096, 2048] is not a list of growing token counts"),
        ("budgets: []", "budgets: [] is not a list of growing token counts"),
        ("sha256: abc", "sha256: 'abc' is not 64 hex digits"),
        ("filters: [{field: a}]", "filters.0: give at least one of equals, in, min, max"),
        ("filters: [{field: a, inn: [1]}]", "filters.0.inn: unknown field; did you mean in?"),
        ("take: {field: a, counts: {4.5: 0}}", "take.counts.4.5: 0 is not a positive whole number"),
        ("take: {field: a, counts: {}}", "take.counts: {} is empty"),
        (
            "fields: {answer: a, answer_from_solution: b}",
            "fields.answer: give answer or answer_from_solution, one of the two",
        ),
        (
            "fallbacks: [{hf: a/b}]",
            "fallbacks.0.split: missing; a hub dataset needs one, such as train or test",
        ),
        ("fallbacks: [{}]", "fallbacks.0: give exactly one of hf, file, generator; there is none"),
        (
            "fallbacks: [{file: a, hf: b, split: c}]",
            "fallbacks.0: give exactly one of hf, file, generator; there is hf and file",
        ),
        (
            "fallbacks: [{file: a, split: b}]",
            "fallbacks.0: revision, config and split belong to hf, not to file",
        ),
        ("fallbacks: [{file: a, args: {b: 1}}]", "fallbacks.0.args: they belong to generator, not to file"),
    ],
)
def test_a_wrong_benchmark_card_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, BENCHMARK + text)
    with pytest.raises(UserError) as error:
        load_benchmark_card(path)
    assert str(error.value) == f"{path}: {expected}"


def test_an_unknown_field_with_no_near_one_lists_the_fields(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"think\.qqq: unknown field; the fields here are open, close, opened_by_prompt"
    ):
        load_model_card(write(tmp_path, MODEL + "think: {open: a, close: b, opened_by_prompt: true, qqq: 1}"))


@pytest.mark.parametrize(
    ("text", "expected"), [("", "is empty"), ("- a\n", "is not a mapping"), ("a: 2001-02-30", "YAML")]
)
def test_a_file_that_is_no_card(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load_model_card(write(tmp_path, text))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_model_card(path)


@pytest.mark.parametrize("name", ["model_cards/nowhere.yaml", "/nowhere/card", "owner/model"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError) as error:
        load_model_card(name)
    assert str(error.value) == f"{name}: no such file"


def test_a_folder_is_not_a_card(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder, not a card"):
        load_model_card(tmp_path)


def test_errors_name_the_file_as_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cards").mkdir()
    write(tmp_path / "cards", MODEL + "n: 0")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^cards/card\.yaml: n: 0 is"):
        load_model_card(tmp_path / "cards" / "card.yaml")


def test_an_unknown_name_suggests_near_ones_and_a_path() -> None:
    with pytest.raises(UserError) as error:
        load_model_card("DeepScaler-1.5B")
    assert "no model card is named DeepScaler-1.5B; did you mean DeepScaleR-1.5B-" in str(error.value)
    assert "path" in str(error.value)


def test_case_does_not_matter_in_names() -> None:
    assert load_model_card("e3-1.7b") == load_model_card("E3-1.7B")


def test_paths_in_a_card_are_relative_to_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cards").mkdir()
    benchmark = write(tmp_path / "cards", "name: x\nsource: {file: ../data/a.jsonl}\n")
    monkeypatch.chdir(tmp_path)
    card = load_benchmark_card("cards/card.yaml")
    assert card.source.file is not None
    assert Path(card.source.file).is_absolute()
    assert Path(card.source.file).resolve() == (tmp_path / "data" / "a.jsonl").resolve()
    write(tmp_path / "cards", MODEL + "chat: {template: chat.jinja}")
    assert load_model_card(benchmark).chat.template == str(tmp_path / "cards" / "chat.jinja")


def test_cards_are_found_in_an_installed_package_and_in_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "extrap_eval" / "cards"
    package.mkdir(parents=True)
    assert _shipped("model", package) == tmp_path / "model_cards"
    (package / "shipped" / "model_cards").mkdir(parents=True)
    assert _shipped("model", package) == package / "shipped" / "model_cards"


def test_changed_checks_again() -> None:
    card = load_model_card("markov")
    assert changed(card, {"n": 4}).n == 4
    assert changed(card, {"n": 4}).policy == card.policy
    with pytest.raises(UserError, match=r"card markov: max_new_tokens: 50000 leaves no room"):
        changed(card, {"max_new_tokens": 50000})


@pytest.mark.parametrize("path", [*list_cards("model"), *list_cards("benchmark")], ids=lambda path: path.stem)
def test_a_dumped_card_loads_as_an_equal_one(path: Path, tmp_path: Path) -> None:
    card: ModelCard | BenchmarkCard
    if path in list_cards("model"):
        card = load_model_card(path)
        assert load_model_card(write(tmp_path, dump_card(card))) == card
    else:
        card = load_benchmark_card(path)
        assert load_benchmark_card(write(tmp_path, dump_card(card))) == card


# Everything YAML can hold; text without surrogates, of which UTF-8 has none.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT)
MODEL_VALUES = st.fixed_dictionaries(
    {"name": TEXT},
    optional={
        "hf_id": st.none() | TEXT,
        "chat": st.fixed_dictionaries({"system": st.none() | TEXT, "kwargs": st.dictionaries(TEXT, SCALARS)}),
        "think": st.fixed_dictionaries({"open": TEXT, "close": TEXT, "opened_by_prompt": st.booleans()}),
        "end_tokens": st.lists(TEXT),
        "sampling": st.fixed_dictionaries(
            {"temperature": st.floats(0, 2), "top_p": st.floats(0, 1, exclude_min=True), "top_k": st.just(-1)}
        ),
        "n": st.integers(1, 10**6),
        "notes": st.text(st.characters(exclude_categories=["Cs"])),
    },
)


@settings(max_examples=40, deadline=None)
@given(MODEL_VALUES)
def test_any_card_survives_being_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    card = ModelCard.model_validate(values)
    assert load_model_card(write(tmp_path_factory.mktemp("card"), dump_card(card))) == card


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        st.integers(1, 99),
        min_size=1,
    ),
    st.lists(SCALARS, min_size=1),
)
def test_any_choice_of_rows_survives_being_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str | int | float, int], members: list[Any]
) -> None:
    card = BenchmarkCard.model_validate(
        {
            "name": "x",
            "source": {"hf": "a/b", "split": "test"},
            "take": {"field": "f", "counts": counts},
            "filters": [{"field": "g", "in": members}],
        }
    )
    again = load_benchmark_card(write(tmp_path_factory.mktemp("card"), dump_card(card)))
    assert again == card
    assert again.take is not None
    assert list(again.take.counts) == list(counts)


def test_find_card_gives_the_file() -> None:
    assert find_card("benchmark", "aime_2025").name == "aime_2025.yaml"
