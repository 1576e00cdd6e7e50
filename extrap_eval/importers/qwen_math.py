"""JSON lines of the Qwen2.5-Math harness and its descendants.

One row per problem: ``idx``, ``question``, ``gt`` (gold), ``code`` (list of completions), ``score`` (list
of verdicts). The harness cuts stop words off and strips blanks, so a finished completion has no end token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from extrap_eval.importers.sample import (
    ImportedSample,
    completions_of,
    field,
    gold_of,
    label_of,
    per_completion,
    read_json_lines,
    text_of,
)

_MEND = "is this a log of the Qwen2.5-Math harness?"


def read_qwen_math(paths: Sequence[Path]) -> Iterator[ImportedSample]:
    """Raises UserError naming file, row and field for anything that is not as the harness writes it."""
    for path in paths:
        for row, record in read_json_lines(path):
            where = f"{path}:{row}"
            texts = completions_of(field(record, "code", where, _MEND), "code", where)
            labels = per_completion(record.get("score"), len(texts), "score", where)
            for text, label in zip(texts, labels, strict=True):
                yield ImportedSample(
                    problem_id=text_of(record.get("idx")),
                    problem=str(field(record, "question", where, _MEND)),
                    gold=gold_of(field(record, "gt", where, _MEND), "gt", where),
                    sample_index=0,
                    file=path,
                    row=row,
                    text=text,
                    author_label=label_of(label, "score", where),
                )
