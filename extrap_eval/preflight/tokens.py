"""Whether a server's tokenizer is ours: every id means the same text, and a nasty text becomes the same ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from extrap_eval.engines.http.connection import Connection, Fault, NotThere
from extrap_eval.engines.http.probe import Served
from extrap_eval.errors import UserError
from extrap_eval.preflight.check import Check, failed, ok, unchecked

if TYPE_CHECKING:
    from extrap_eval.cards.schema import ModelCard

NAME = "same tokenizer"
MEND = "serve the model with its own tokenizer, or name the server's with --tokenizer"
# Normalizers, pre-tokenizers and merges show on this.
NASTY = (
    "Wait,  let x_1 = 12345.67;\n\n\t\\boxed{\\frac{3}{4}} naïve größer ﬁ 数学 🙂🏽 don't\r\nTHE END   \u2003\u00a0ok?!"
)
_AT_ONCE = 4096  # ids in one question


async def same_tokenizer(connection: Connection, served: Served, tokenizer: Any, card: ModelCard) -> Check:
    """Ask ``/tokenize`` and ``/detokenize``, which vLLM and SGLang offer."""
    markers = [card.think.open, card.think.close] if card.think else []
    text = NASTY + " ".join([*markers, *card.end_tokens])
    ours = tokenizer.encode(text, add_special_tokens=False)
    question = {"model": served.model, "prompt": text, "add_special_tokens": False}
    try:
        said = await connection.post("/tokenize", question)
        theirs = said["tokens"]
    except (NotThere, LookupError, TypeError):
        return unchecked(NAME, "the server (or a gateway before it) has no /tokenize page")
    except (Fault, UserError) as error:
        return unchecked(NAME, str(error))
    if theirs != ours:
        return failed(NAME, f"a test text becomes other token ids there: {_difference(tokenizer, ours, theirs)}", MEND)

    async def there(ids: Sequence[int]) -> str | None:
        return await _detokenized(connection, served.model, ids)

    ids = sorted(tokenizer.get_vocab().values())
    try:
        differing = await first_difference(ids, tokenizer, there)
    except (NotThere, LookupError, TypeError):
        return ok(NAME, "a test text becomes the same token ids (the server has no /detokenize page to compare all)")
    except Fault as error:
        return unchecked(NAME, str(error))
    if differing is not None:
        return failed(NAME, f"token {differing} is {_shown(tokenizer, differing)} here and something else there", MEND)
    return ok(NAME, f"all {len(ids):,} tokens mean the same there, and a test text becomes the same ids")


async def first_difference(
    ids: Sequence[int], tokenizer: Any, there: Callable[[Sequence[int]], Awaitable[str | None]]
) -> int | None:
    """The first id whose text differs. ``there`` decodes ids on the server, None where it refuses them."""

    async def differs(part: Sequence[int]) -> bool:
        theirs = await there(part)
        ours = tokenizer.decode(list(part), skip_special_tokens=False)
        # Versions of transformers differ in whether they tidy spaces up before punctuation.
        return theirs is None or "".join(theirs.split()) != "".join(ours.split())

    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        if not await differs(part):
            continue
        while len(part) > 1:
            half = len(part) // 2
            part = part[:half] if await differs(part[:half]) else part[half:]
        return part[0]
    return None


async def _detokenized(connection: Connection, model: str, ids: Sequence[int]) -> str | None:
    question = {"model": model, "tokens": list(ids), "skip_special_tokens": False}
    try:
        said = await connection.post("/detokenize", question)
    except UserError:  # it does not know one of the ids
        return None
    return str(said["prompt"] if "prompt" in said else said["text"])


def _difference(tokenizer: Any, ours: Sequence[int], theirs: Any) -> str:
    if not isinstance(theirs, list):
        return f"{str(theirs)[:60]} instead of ids"
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    here = f"{ours[at]} ({_shown(tokenizer, ours[at])})" if at < len(ours) else "the end"
    return f"the {at + 1}. is {here} here and {theirs[at] if at < len(theirs) else 'the end'} there"


def _shown(tokenizer: Any, token_id: int) -> str:
    return repr(tokenizer.decode([token_id], skip_special_tokens=False))
