"""What follows from the traces of a run: one variant per protocol and set of settings, with stages of its own.

``completions/NAME/variant.json`` says what the stage NAME (and NAME.answers, where a variant has two) was asked for.
NAME is made of the kind and a fingerprint of the settings, so that other settings never join what is there: they are
another variant, beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from extrap_eval.errors import UserError
from extrap_eval.store.atomic import write_bytes
from extrap_eval.store.manifest import now

VARIANT = "variant.json"
ANSWERS = ".answers"  # ends the name of the second stage of a variant


@dataclass(frozen=True)
class Variant:
    """The content of ``variant.json``.

    ``settings`` fix what is asked and how; ``promise`` how often (it may grow, as the samples of a run may).
    ``complete``: stage -> digest of its completions when all that was promised was there; None before.
    """

    kind: str
    settings: dict[str, Any]
    promise: dict[str, int]
    created: str
    complete: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """The stage of its own completions: of the probes, or of the pieces of its chains."""
        return variant_name(self.kind, self.settings)

    @property
    def answers(self) -> str:
        """The stage of the answers that follow from its chains."""
        return self.name + ANSWERS


def variant_name(kind: str, settings: Mapping[str, Any]) -> str:
    """The kind and a fingerprint of the settings, which must be plain JSON."""
    return f"{kind}-{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]}"


def read_variant(directory: Path) -> Variant | None:
    """The variant that a stage's directory belongs to, None when it is that of no variant.

    Raises UserError for a damaged file.
    """
    path = directory / VARIANT
    try:
        return Variant(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}): restore it from a copy of the run") from error


def put_variant(
    completions: Path, kind: str, settings: Mapping[str, Any], promise: Mapping[str, int]
) -> tuple[Variant, bool]:
    """The variant with these settings, made or with its promise raised, and whether it is new.

    ``completions``: the folder of all stages. The caller holds the writer's lock. Raises UserError when the disk
    refuses.
    """
    wanted = Variant(kind, json.loads(json.dumps(dict(settings))), dict(promise), now())
    known = read_variant(completions / wanted.name)
    if known is not None:
        grown = known.promise | {name: max(count, known.promise.get(name, 0)) for name, count in promise.items()}
        wanted = replace(known, promise=grown, complete=known.complete if grown == known.promise else None)
    if wanted != known:
        write_variant(completions, wanted)
    return wanted, known is None


def write_variant(completions: Path, variant: Variant) -> None:
    """Durable and atomic. Raises UserError when the disk refuses."""
    data = json.dumps(asdict(variant), indent=1, ensure_ascii=False).encode() + b"\n"
    write_bytes(completions / variant.name / VARIANT, data)
