"""Command lines without the secrets in them."""

from __future__ import annotations

import re
from collections.abc import Sequence

HIDDEN = "***"

# "token" only as the last word of a name: --max-tokens, --tokenizer and --stop-token-ids are no secrets.
_NAME = (
    r"[\w.-]*(?:api[-_]?key|apikey|secret|passw(?:or)?d|credentials?|authorization|(?<![a-z])auth|bearer"
    r"|(?:access|private)[-_]?key|(?<![a-z])token)(?![a-z])(?:[-_]?(?:key|value))?"
)
_SECRET_OPTION = re.compile(rf"-{{1,2}}{_NAME}", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"(-{{0,2}}{_NAME}=).+", re.IGNORECASE | re.DOTALL)
_HEADER = re.compile(r"((?:proxy-)?authorization|x-api-key|api-key)(\s*:\s*)[^\"'\n]+", re.IGNORECASE)
_INSIDE = re.compile(rf"({_NAME}[\"']?\s*[:=]\s*[\"']?)(?:bearer\s+|basic\s+)?[^\s&,;\"'}}]+", re.IGNORECASE)
_SPACED = re.compile(rf"((?<!\S)-{{1,2}}{_NAME}\s+)\S+", re.IGNORECASE)
_URL_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/?#@]+@", re.IGNORECASE)
_BEARER = re.compile(r"(bearer\s+)[^\s\"']+", re.IGNORECASE)
_WELL_KNOWN = re.compile(r"\b(?:sk-[A-Za-z0-9_-]{8,}|hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,})")


def redact(text: str) -> str:
    """A string with passwords in URLs, keys, tokens and authorisation headers replaced by ``***``."""
    if match := _ASSIGNMENT.fullmatch(text):
        return match[1] + HIDDEN
    text = _URL_USER.sub(rf"\1{HIDDEN}@", text)
    text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
    text = _INSIDE.sub(rf"\1{HIDDEN}", text)
    text = _SPACED.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    return _WELL_KNOWN.sub(HIDDEN, text)


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line with its secrets replaced: ``--api-key X``, ``--api-key=X`` and everything ``redact``
    finds.
    """
    hidden = []
    after_secret_option = False
    for argument in arguments:
        hidden.append(HIDDEN if after_secret_option else redact(argument))
        after_secret_option = _SECRET_OPTION.fullmatch(argument) is not None
    return hidden
