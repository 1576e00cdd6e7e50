from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.cards.schema import BenchmarkCard, Chat, ModelCard, Source, Think
from extrap_eval.errors import UserError
from extrap_eval.problems.problem import Problem
from extrap_eval.prompts.chat import prompt_text, prompt_token_ids
from tests.prompts.tokenizers import SWITCH_TEMPLATE

BENCHMARK = BenchmarkCard(
    name="b", source=Source(file="b.jsonl"), prompt="Answer in \\boxed{your answer}. Problem: {problem}"
)
PROBLEM = Problem(id="1", text="Let $S=\\{1,2\\}$ and {x} or {0}. Find $\\frac{1}{2}$ of {problem}.", gold="1")
QUESTION = (
    "Answer in \\boxed{your answer}. Problem: Let $S=\\{1,2\\}$ and {x} or {0}. Find $\\frac{1}{2}$ of {problem}."
)
OPENED = Think(open="<think>", close="</think>", opened_by_prompt=True)
BY_MODEL = Think(open="<think>", close="</think>", opened_by_prompt=False)


def card(**fields: Any) -> ModelCard:
    return ModelCard(name="m", **fields)


def test_r1_prompt_is_the_template_around_the_question(r1: Any) -> None:
    ids = prompt_token_ids(r1, card(think=OPENED), BENCHMARK, PROBLEM)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert r1.decode(ids) == f"<｜begin▁of▁sentence｜><｜User｜>{QUESTION}<｜Assistant｜><think>\n"
    # Every marker is one token of its own, and the text begins once.
    assert ids[:2].tolist() == [151646, 151644]
    assert ids[-3:-1].tolist() == [151645, 151648]
    assert (ids == 151646).sum() == 1


def test_system_prompt_only_when_the_card_sets_one(r1: Any) -> None:
    text = prompt_text(r1, card(think=OPENED, chat=Chat(system="Be brief.")), BENCHMARK, PROBLEM)
    assert text == f"<｜begin▁of▁sentence｜>Be brief.<｜User｜>{QUESTION}<｜Assistant｜><think>\n"
    assert "Be brief" not in prompt_text(r1, card(), BENCHMARK, PROBLEM)


def test_template_file_and_keywords(qwen: Any, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(SWITCH_TEMPLATE)
    text = prompt_text(qwen, card(chat=Chat(template=str(path)), think=BY_MODEL), BENCHMARK, PROBLEM)
    assert text == f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    off = Chat(template=str(path), kwargs={"enable_thinking": False})
    assert prompt_text(qwen, card(chat=off), BENCHMARK, PROBLEM).endswith("<think>\n\n</think>\n\n")
    with pytest.raises(UserError, match=r"think\.opened_by_prompt is false, but the prompt has '<think>' 1"):
        prompt_text(qwen, card(chat=off, think=BY_MODEL), BENCHMARK, PROBLEM)
    with pytest.raises(UserError, match=r"opened_by_prompt is true, but the prompt itself closes the thought"):
        prompt_text(qwen, card(chat=off, think=OPENED), BENCHMARK, PROBLEM)


def test_opener_where_none_should_be(r1: Any) -> None:
    with pytest.raises(UserError, match=r"model card m: think\.opened_by_prompt is false, but .* 1 times"):
        prompt_token_ids(r1, card(think=BY_MODEL), BENCHMARK, PROBLEM)


def test_no_opener_where_one_should_be(qwen: Any) -> None:
    with pytest.raises(UserError, match=r"model card m: think\.opened_by_prompt is true, but .* 0 times"):
        prompt_token_ids(qwen, card(think=OPENED), BENCHMARK, PROBLEM)


def test_opener_twice(r1: Any, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text("{{ messages[0]['content'] }}<｜Assistant｜><think>\n<think>\n")
    with pytest.raises(UserError, match=r"2 times after the question, not once"):
        prompt_token_ids(r1, card(think=OPENED, chat=Chat(template=str(path))), BENCHMARK, PROBLEM)


def test_question_and_system_prompt_may_speak_of_the_markers(r1: Any, qwen: Any) -> None:
    chat = Chat(system="Think within <think> and </think>.")
    problem = Problem(id="1", text="What does <think> mean?", gold="1")
    assert prompt_text(r1, card(think=OPENED, chat=chat), BENCHMARK, problem).count("<think>") == 3
    assert prompt_text(qwen, card(think=BY_MODEL, chat=chat), BENCHMARK, problem).count("<think>") == 2


def test_doubled_beginning_of_text(r1: Any, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text("{{ bos_token }}{{ bos_token }}{{ messages[0]['content'] }}")
    with pytest.raises(UserError, match=r"chat: the prompt begins with '<｜begin▁of▁sentence｜>' twice"):
        prompt_token_ids(r1, card(chat=Chat(template=str(path))), BENCHMARK, PROBLEM)


def test_tokenizer_without_a_chat_template(qwen_folder: Path, tmp_path: Path) -> None:
    from extrap_eval.prompts.tokenizer import load_tokenizer
    from tests.prompts.tokenizers import make_folder

    folder = make_folder(qwen_folder, tmp_path / "base", {"tokenizer_class": "Qwen2Tokenizer"})
    base = load_tokenizer(card(), str(folder))
    with pytest.raises(UserError, match=r"no chat template; name a jinja file as chat\.template in the card"):
        prompt_token_ids(base, card(), BENCHMARK, PROBLEM)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, r"chat\.template: .* cannot be read"),
        ("{% if %}", r"chat: the template cannot be rendered"),
        ("{{ raise_exception('only user turns') }}", r"cannot be rendered: only user turns"),
    ],
)
def test_bad_template_file(qwen: Any, tmp_path: Path, template: str | None, message: str) -> None:
    path = tmp_path / "chat.jinja"
    if template is not None:
        path.write_text(template)
    with pytest.raises(UserError, match=message):
        prompt_token_ids(qwen, card(chat=Chat(template=str(path))), BENCHMARK, PROBLEM)
