"""A problem and two cards -> the prompt's token ids, through the model's own chat template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from extrap_eval.cards.schema import BenchmarkCard, ModelCard
    from extrap_eval.problems.problem import Problem


def prompt_token_ids(
    tokenizer: PreTrainedTokenizerBase, model_card: ModelCard, benchmark_card: BenchmarkCard, problem: Problem
) -> np.ndarray:
    """The prompt of one problem as token ids: int32, shape (prompt tokens,).

    The benchmark's prompt is the user turn. The chat template is rendered to text, generation prompt
    included, and the text is encoded once without adding special tokens, because the template writes them
    itself.

    Raises:
        UserError: there is no chat template, it cannot be rendered, or the rendered prompt contradicts the
        model
            card's ``think`` or begins with the beginning-of-text token twice.
    """
    return question_token_ids(tokenizer, model_card, _question(benchmark_card, problem))


def question_token_ids(tokenizer: PreTrainedTokenizerBase, model_card: ModelCard, question: str) -> np.ndarray:
    """As ``prompt_token_ids``, with any text as the user turn."""
    text = _question_text(tokenizer, model_card, question)
    ids = np.asarray(tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)
    bos = tokenizer.bos_token_id
    if bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos:
        raise UserError(
            f"model card {model_card.name}: chat: the prompt begins with {tokenizer.bos_token!r} twice; "
            "remove it from chat.system or chat.template"
        )
    return ids


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, model_card: ModelCard, benchmark_card: BenchmarkCard, problem: Problem
) -> str:
    """The prompt of one problem as text, exactly as it is encoded by ``prompt_token_ids``."""
    return _question_text(tokenizer, model_card, _question(benchmark_card, problem))


def _question(benchmark_card: BenchmarkCard, problem: Problem) -> str:
    # Not str.format: problems and LaTeX instructions are full of braces.
    return benchmark_card.prompt.replace("{problem}", problem.text)


def _question_text(tokenizer: PreTrainedTokenizerBase, model_card: ModelCard, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    if model_card.chat.system is not None:
        messages.insert(0, {"role": "system", "content": model_card.chat.system})
    text = _render(tokenizer, model_card, messages)
    _check_think_opener(text, question, model_card)
    return text


def _render(tokenizer: PreTrainedTokenizerBase, model_card: ModelCard, messages: list[dict[str, str]]) -> str:
    template = _template(tokenizer, model_card)
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            **model_card.chat.kwargs,
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise UserError(f"model card {model_card.name}: chat: the template cannot be rendered: {error}") from error
    if not isinstance(text, str):
        raise UserError(f"model card {model_card.name}: chat.kwargs: the template must render to text")
    return text


def _template(tokenizer: PreTrainedTokenizerBase, model_card: ModelCard) -> str | None:
    """The text of the card's own template file, or None for the tokenizer's."""
    if model_card.chat.template is None:
        if tokenizer.chat_template is None:
            raise UserError(
                f"model card {model_card.name}: its tokenizer has no chat template; "
                "name a jinja file as chat.template in the card"
            )
        return None
    path = Path(model_card.chat.template).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"model card {model_card.name}: chat.template: {path} cannot be read: {error}") from error


def _check_think_opener(text: str, question: str, model_card: ModelCard) -> None:
    """Refuse a prompt whose end does not open the thought exactly as the card says.

    Only what follows the user turn counts: a system prompt or a question may speak of the markers.
    """
    if model_card.think is None:
        return
    opener, closer = model_card.think.open, model_card.think.close
    # Templates may strip a turn, hence the stripped question; one that rewrites it leaves the whole text.
    generation_prompt = text.rpartition(question.strip())[2]
    opened = generation_prompt.count(opener)
    card = f"model card {model_card.name}"
    if model_card.think.opened_by_prompt:
        if opened != 1:
            raise UserError(
                f"{card}: think.opened_by_prompt is true, but the prompt has {opener!r} {opened} times after "
                "the question, not once; mend that field, chat.kwargs or chat.template"
            )
        if closer in generation_prompt:
            raise UserError(
                f"{card}: think.opened_by_prompt is true, but the prompt itself closes the thought with "
                f"{closer!r}; mend chat.kwargs (thinking switched off?) or chat.template"
            )
    elif opened:
        raise UserError(
            f"{card}: think.opened_by_prompt is false, but the prompt has {opener!r} {opened} times after "
            "the question; mend that field, chat.kwargs or chat.template"
        )
