"""Which version of an engine there is, and whether it is one that this package speaks to."""

from __future__ import annotations

import re

from extrap_eval.preflight.check import Check, ok, unchecked, warning

NAME = "engine version"
# The first versions with what is relied on: token ids in vLLM's answers, SGLang's /generate as it is now.
OLDEST = {"vllm": (0, 11), "sglang": (0, 5)}


def check_version(kind: str, version: str | None, where: str) -> Check:
    if kind not in OLDEST:
        return unchecked(NAME, f"nothing is known of versions of {kind}")
    if version is None:
        return unchecked(NAME, f"{kind} {where} does not say its version")
    oldest = OLDEST[kind]
    if numbers(version) < oldest:
        wanted = ".".join(map(str, oldest))
        return warning(NAME, f"{kind} {version} {where}, older than {wanted}", f"install {kind} {wanted} or newer")
    return ok(NAME, f"{kind} {version} {where}")


def numbers(version: str) -> tuple[int, ...]:
    """``(0, 32, 0)`` for ``0.32.0+cpu``; what is not a number ends it."""
    release = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in release[1].split(".")) if release else ()
