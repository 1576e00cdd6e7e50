"""Whether the disk has room for a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from extrap_eval.preflight.check import Check, failed, ok, size, unchecked, warning
from extrap_eval.store.stage import SEAL_BYTES

NAME = "disk"
# Token ids as they are kept, with a margin of a quarter over real reasoning (the tests measure it): sealed, and
# while they are sealed once more in the journal.
SEALED_BYTES_PER_TOKEN = 1.0
JOURNAL_BYTES_PER_TOKEN = 1.5
TEXT_BYTES_PER_TOKEN = 4.5  # where the tokenizer's decoder makes it necessary to keep the text too


def bytes_needed(completions: int, max_tokens: int, *, with_text: bool = False) -> float:
    """At most, while the last part is being sealed."""
    tokens = completions * max_tokens
    text = TEXT_BYTES_PER_TOKEN if with_text else 0.0
    journal = min(SEAL_BYTES, tokens * (JOURNAL_BYTES_PER_TOKEN + text))
    return tokens * (SEALED_BYTES_PER_TOKEN + text) + journal


def disk_space(folder: Path, completions: int, max_tokens: int, *, with_text: bool = False) -> Check:
    """``completions`` of at most ``max_tokens`` each are to be kept under ``folder``, which need not exist yet."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return unchecked(NAME, f"{existing}: {error.strerror}")
    most = bytes_needed(completions, max_tokens, with_text=with_text)
    found = f"{completions:,} completions take at most {size(most)}; {size(free)} are free at {existing}"
    mend = "choose another disk with --out, or a smaller --n or --budget-max"
    if free < most / 10:
        return failed(NAME, found, mend)
    return warning(NAME, found, mend) if free < most else ok(NAME, found)
