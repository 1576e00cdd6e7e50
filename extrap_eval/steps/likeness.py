"""Are two runs alike in all but their models? Otherwise a difference between them is not one between the models."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.store import Run

LIKENESS = ("problems", "prompt", "rule", "sampling")
_WORDS = {
    "problems": "their problems",
    "prompt": "the prompt template",
    "rule": "the rules they were scored by",
    "sampling": "sampling",
}
_OF_THE_MODEL = ("think_close", "problems_sha256")  # of a layer's versions: the model's own marker, and the problems


def refuse_unlike(a: Run, b: Run, layer: str, allow: Collection[str] = ()) -> list[str]:
    """UserError, naming all of it, where the runs differ in anything but what ``allow`` names.

    Returns the differences that were allowed, a phrase each. Sampling means temperature, top-p and top-k (an imported
    run may not know them, which is a difference from one that does); the most tokens may differ, as runs are compared
    at budgets that both were sampled to.
    """
    for name in allow:
        if name not in LIKENESS:
            raise UserError(f"--allow: {name} is not one of {', '.join(LIKENESS)}")
    differ = {}
    of_a, of_b = (_circumstances(run, layer) for run in (a, b))
    for name in LIKENESS:
        if of_a[name] != of_b[name]:
            differ[name] = f"{_WORDS[name]}: {of_a[name]} and {of_b[name]}"
    refused = [name for name in differ if name not in allow]
    if refused:
        found = "; ".join(differ[name] for name in refused)
        raise UserError(
            f"{a.path} and {b.path} cannot be compared: they differ in {found}: to compare them all the same, "
            f"--allow {','.join(refused)}"
        )
    return list(differ.values())


def _circumstances(run: Run, layer: str) -> dict[str, Any]:
    from extrap_eval.problems.load import fingerprint

    problems = run.problems()
    versions = run.layer(layer).score()["versions"]
    drawn = {name: run.manifest.distribution.get(name) for name in ("temperature", "top_p", "top_k")}
    unknown = all(value is None for value in drawn.values())
    return {
        "problems": f"{len(problems)} problems, sha256 {fingerprint(problems)[:12]}",
        "prompt": repr(run.benchmark_card.prompt),
        "rule": {name: value for name, value in versions.items() if name not in _OF_THE_MODEL},
        "sampling": "unknown" if unknown else ", ".join(f"{name} {value}" for name, value in drawn.items()),
    }
