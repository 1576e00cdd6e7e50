"""Any JSON-lines log, by saying which field holds what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extrap_eval.engines.base import FinishReason
from extrap_eval.errors import UserError
from extrap_eval.importers.sample import (
    ImportedSample,
    completions_of,
    field,
    gold_of,
    label_of,
    optional_field,
    per_completion,
    read_json_lines,
    text_of,
)

FIELDS = {
    "completion": "text, or a list of texts: one sample each",
    "token_ids": "the generated ids, or a list of such lists",
    "problem": "the statement",
    "gold": "the reference answer",
    "id": "what tells problems apart; by default the statement",
    "label": "the author's verdict: true, false or a number",
    "finish_reason": "stop or length, or what servers call them",
    "prompt": "the rendered prompt as text",
}
# What servers and harnesses call the two ways to end.
_FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_str"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_new_tokens", "max_length", "model_length"), "length"),
}


def read_jsonl(paths: Sequence[Path], fields: Mapping[str, str]) -> Iterator[ImportedSample]:
    """``fields`` maps names of ``FIELDS`` to dotted paths in a row, e.g. ``{"completion": "responses.0"}``.

    Where the completion is a list of texts, the label, finish reason and ids may be lists as long.

    Raises UserError for an unknown name, for too few names (a completion or its ids, and a problem, prompt
    or id are needed) and for a row without a named field.
    """
    _check_names(fields)
    for path in paths:
        for row, record in read_json_lines(path):
            yield from _samples(path, row, record, fields)


def _check_names(fields: Mapping[str, str]) -> None:
    for name in fields:
        if name not in FIELDS:
            raise UserError(f"--field {name}={fields[name]}: unknown; the names are {', '.join(FIELDS)}")
    if not {"completion", "token_ids"} & set(fields):
        raise UserError("--field completion=PATH is missing: say which field holds the completion")
    if not {"problem", "id", "prompt"} & set(fields):
        raise UserError("--field problem=PATH is missing: say which field holds the statement")


def _samples(path: Path, row: int, record: dict[str, Any], fields: Mapping[str, str]) -> Iterator[ImportedSample]:
    where = f"{path}:{row}"

    def named(name: str) -> Any:
        return field(record, fields[name], where, f"mend --field {name}=...") if name in fields else None

    texts: list[str] | list[None]
    ids: list[np.ndarray] | list[None]
    if "completion" in fields:
        texts = completions_of(named("completion"), fields["completion"], where)
        count = len(texts)
        ids = _id_lists(named("token_ids"), fields["token_ids"], where) if "token_ids" in fields else [None] * count
    else:
        ids = _id_lists(named("token_ids"), fields["token_ids"], where)
        count = len(ids)
        texts = [None] * count
    if len(ids) != count:
        raise UserError(f"{where}: {fields['token_ids']}: has {len(ids)} lists of ids for {count} completions")
    labels = per_completion(named("label"), count, fields.get("label", ""), where)
    # Absent in a row is as good as null: servers leave the reason out when they do not know it.
    reason = optional_field(record, fields["finish_reason"]) if "finish_reason" in fields else None
    reasons = per_completion(reason, count, fields.get("finish_reason", ""), where)
    gold = gold_of(named("gold"), fields["gold"], where) if "gold" in fields else None
    for index in range(count):
        yield ImportedSample(
            problem_id=text_of(named("id")),
            problem=text_of(named("problem")),
            gold=gold,
            sample_index=0,
            file=path,
            row=row,
            token_ids=ids[index],
            text=texts[index],
            finish_reason=_finish_reason(reasons[index], fields.get("finish_reason", ""), where),
            author_label=label_of(labels[index], fields.get("label", ""), where),
            prompt_text=text_of(named("prompt")),
        )


def _id_lists(value: Any, path: str, where: str) -> list[np.ndarray]:
    lists = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    for ids in lists:
        if not isinstance(ids, list) or not all(isinstance(i, int) and 0 <= i < 2**31 for i in ids):
            raise UserError(f"{where}: {path}: is not a list of token ids, nor a list of such lists")
    return [np.array(ids, dtype=np.int32) for ids in lists]


def _finish_reason(value: Any, path: str, where: str) -> FinishReason | None:
    if value is None:
        return None
    if isinstance(value, str) and value.lower() in _FINISH:
        return _FINISH[value.lower()]
    raise UserError(f"{where}: {path}: {value!r} is not one of {', '.join(_FINISH)}")
