"""Finding the one token that differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.preflight.tokens import first_difference


class Words:
    """A tokenizer of words: as much of one as is used."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(self.words[i] for i in ids)


@given(
    size=st.integers(1, 9000),
    changed=st.sets(st.integers(0, 8999), max_size=3),
    refused=st.sets(st.integers(0, 8999), max_size=1),
)
async def test_it_is_the_first_one_whatever_the_size(size: int, changed: set[int], refused: set[int]) -> None:
    ours = [f"<{i}>" for i in range(size)]
    theirs = [f"<{i}!>" if i in changed else word for i, word in enumerate(ours)]

    async def there(ids: Sequence[int]) -> str | None:
        return None if refused & set(ids) else Words(theirs).decode(list(ids), skip_special_tokens=False)

    wrong = [i for i in changed | refused if i < size]
    tokenizer: Any = Words(ours)
    assert await first_difference(list(range(size)), tokenizer, there) == (min(wrong) if wrong else None)
