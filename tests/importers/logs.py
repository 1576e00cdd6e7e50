"""Small logs for tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extrap_eval.importers import ImportedSample


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """JSON lines; gzip where the name says so."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def sample(**fields: Any) -> ImportedSample:
    """A sample of a log ``log.jsonl``, row 1, unless told otherwise."""
    defaults: dict[str, Any] = {
        "problem_id": None,
        "problem": None,
        "gold": None,
        "sample_index": 0,
        "file": Path("log.jsonl"),
        "row": 1,
    }
    if isinstance(fields.get("token_ids"), list):
        fields["token_ids"] = np.array(fields["token_ids"], dtype=np.int32)
    return ImportedSample(**{**defaults, **fields})
