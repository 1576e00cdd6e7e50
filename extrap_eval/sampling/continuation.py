"""Prompts that go on from a trace: the chat prompt, a prefix of what the model wrote, and a text of ours.

They are put together from token ids. What the model wrote is never tokenised again, so its prefix is exactly the one
that it generated (and that an engine's cache may still hold); only the texts that this project adds are encoded. Chat
templates with their "continue the final message" modes are no way to do this: they open the thought twice, end the
message, or begin the text anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.scoring.episodes import Thought, find_thought, line_breaks_due

if TYPE_CHECKING:
    from extrap_eval.cards.schema import Think
    from extrap_eval.scoring.tokens import TokenTable

CLOSE_MARK = "{think_close}"  # stands for the model's own closing marker in the texts below
# The probe of MRT (arXiv 2503.07572), verbatim for a model that closes its thought with </think>.
PROBE_TEXT = (
    "Time is up.\n\n"
    "Given the time I've spent and the approaches I've tried, I should stop thinking and formulate a final answer "
    "based on what I already have.\n"
    f"{CLOSE_MARK}\n\n"
    "**Step-by-Step Explanation and Answer:**\n\n"
    "1. **"
)
# The forced answer of s1 (arXiv 2501.19393).
FINAL_ANSWER_TEXT = f"{CLOSE_MARK}\nFinal Answer:"


@dataclass(frozen=True, eq=False)
class Pen:
    """What writes our texts into the prompts of one model.

    ``end_ids``: the tokens that end its completions; none of them is ever inside a prompt that goes on.
    """

    tokenizer: Any
    table: TokenTable
    think: Think | None
    end_ids: tuple[int, ...]
    _known: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)  # texts written before

    def find_thought(self, ids: np.ndarray) -> Thought:
        """``scoring.episodes.find_thought`` with this model's markers. ``ids``: a completion."""
        by_prompt = self.think is not None and self.think.opened_by_prompt
        return find_thought(ids, self.table, self.think, by_prompt, end_ids=self.end_ids)

    def inside(self, ids: np.ndarray) -> Thought:
        """The thought of a completion that began inside one: up to the closing marker or the end of the completion."""
        return find_thought(ids, self.table, self.think, True, end_ids=self.end_ids)

    def fragment(self, text: str) -> np.ndarray:
        """Token ids, int32, of a text as it stands in the middle of another.

        Raises UserError for a text that holds a token that ends the completion or begins a new one.
        """
        if not text:
            return np.empty(0, dtype=np.int32)
        if text not in self._known:
            self._known[text] = self._checked(text)
        return self._known[text]

    def _checked(self, text: str) -> np.ndarray:
        ids = self._encoded(text)
        forbidden = {*self.end_ids, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id} - {None}
        if found := sorted(forbidden.intersection(ids.tolist())):
            raise UserError(
                f"the text {_shown(text)} holds {self.tokenizer.decode(found[:1])!r}, which begins or ends a "
                "completion: take it out"
            )
        return ids

    def _encoded(self, text: str) -> np.ndarray:
        wanted = text.encode()
        # Some tokenizers put a space before a text that stands alone. After an end token it does not.
        for before in ("", *self.tokenizer.convert_ids_to_tokens(list(self.end_ids[:1]))):
            skipped = len(self.tokenizer.encode(before, add_special_tokens=False))
            array = np.asarray(self.tokenizer.encode(before + text, add_special_tokens=False)[skipped:], dtype=np.int32)
            if self._bytes_inside(array) == wanted:
                return array
        raise UserError(f"the model's tokenizer cannot write {_shown(text)} without changing it: choose another text")

    def _bytes_inside(self, ids: np.ndarray) -> bytes:
        """The bytes that tokens add to a text which has begun before them."""
        return b"".join(self.table.pieces[i] for i in ids.tolist())

    def begin(self, prompt: np.ndarray, thought: Thought | None = None) -> np.ndarray:
        """The chat prompt with the thought open: the opening marker is added where neither the template wrote it nor
        the completion holds it (``thought`` None: there is no completion).
        """
        if self.think is None or (self.think.opened_by_prompt if thought is None else thought.opened):
            return prompt
        return join(prompt, self.opener())

    def opener(self) -> np.ndarray:
        """The marker that opens the thought, with its line break, as this project writes it; int32."""
        return self.fragment(self.think.open + "\n" if self.think is not None else "")

    def without_opener(self, prompt: np.ndarray) -> np.ndarray:
        """The chat prompt without the opening marker that its template ends in."""
        if self.think is None or not self.think.opened_by_prompt:
            return prompt
        opener = self.think.open.encode()
        for start in reversed(range(len(prompt))):
            if self._bytes_inside(prompt[start:]).startswith(opener):
                return prompt[:start]
        raise UserError("the prompt does not hold the opening marker of the model card: mend think.open in the card")

    def add(self, begun: np.ndarray, text: str, *, breaks: int = 2, closed: bool = False) -> np.ndarray:
        """A text after a prompt, with at least so many line breaks before it (2: after one blank line).

        ``closed``: the thought has ended in ``begun``, so the text loses its own end of the thought and all before it.
        """
        text = self.said(text, closed=closed)
        due = max(0, breaks - (2 - line_breaks_due(begun, len(begun), self.table)))
        return join(begun, self.fragment("\n" * due + text))

    def said(self, text: str, *, closed: bool = False) -> str:
        """A text of ours for this model: its closing marker in place of ``CLOSE_MARK``, none without a thought."""
        if closed:
            return text.rpartition(CLOSE_MARK)[2].lstrip("\n")
        if self.think is None:
            before, _, after = text.partition(CLOSE_MARK)
            return (before.removesuffix("\n") + after) if before else after.lstrip("\n")
        return text.replace(CLOSE_MARK, self.think.close)

    def closing(self) -> np.ndarray:
        """The marker that closes the thought, int32; empty for a model without thoughts."""
        return self.fragment(self.think.close if self.think is not None else "")

    def closed_at(self, ids: np.ndarray, thought: Thought) -> int:
        """Number of tokens of a completion up to and with the marker that closes its thought."""
        assert self.think is not None
        marker = self.think.close.encode()
        for end in range(thought.end + 1, len(ids) + 1):
            if marker in self._bytes_inside(ids[thought.end : end]):
                return end
        raise ValueError("the thought is not closed")

    def stops(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Stop token ids and stop strings of a request that shall end with the thought."""
        close = self.closing()
        if len(close) == 1:
            return (*self.end_ids, int(close[0])), ()
        return self.end_ids, (self.think.close,) if self.think is not None else ()


def join(*parts: np.ndarray) -> np.ndarray:
    """Token ids one after the other, int32."""
    return np.concatenate(parts).astype(np.int32, copy=False)


def check_text(option: str, text: str) -> None:
    """Raises UserError for a text that ends the thought more than once."""
    if text.count(CLOSE_MARK) > 1:
        raise UserError(f"{option}: {_shown(text)} holds {CLOSE_MARK} {text.count(CLOSE_MARK)} times: once at most")


def cycle(strings: Sequence[str], number: int) -> str:
    """The string of the ``number``-th extension (1, 2, …)."""
    return strings[(number - 1) % len(strings)]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
