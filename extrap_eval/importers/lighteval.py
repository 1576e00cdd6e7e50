"""Details files of lighteval (Parquet), and the results file beside them (JSON).

Two layouts exist. The older one has flat columns: ``example`` (the query), ``gold``, ``predictions``,
``cont_tokens`` (the exact generated ids), ``input_tokens``, ``metrics``. The newer one (0.10 on) has three
nested columns: ``doc``, ``model_response`` and ``metric``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.importers.sample import (
    ImportedSample,
    LogSettings,
    completions_of,
    field,
    gold_of,
    label_of,
    optional_field,
    text_of,
)

_MEND = "is this a details file of lighteval?"
_ROWS = 16  # read at once: a row holds the ids of every sample of a problem


def read_lighteval(paths: Sequence[Path]) -> Iterator[ImportedSample]:
    """The samples of the Parquet files among ``paths``; results files (.json) are for ``read_settings``.

    Raises UserError naming file, row and field for anything that is not as lighteval writes it.
    """
    tables = [path for path in paths if path.suffix != ".json"]
    if not tables:
        raise UserError(f"{paths[0]}: a results file alone has no completions; name the details .parquet too")
    for path in tables:
        for row, record in _rows(path):
            where = f"{path}:{row}"
            yield from (
                _nested(path, row, record, where) if "model_response" in record else _flat(path, row, record, where)
            )


def read_settings(paths: Sequence[Path]) -> LogSettings:
    """Model, cap and sampling parameters from the results files (.json) among ``paths``."""
    settings = LogSettings()
    for path in paths:
        if path.suffix != ".json":
            continue
        try:
            results = json.loads(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error}); name lighteval's results_*.json") from error
        found = _settings(results) if isinstance(results, dict) and "config_general" in results else None
        if found is None:
            raise UserError(f"{path}: no field 'config_general'; name lighteval's results_*.json")
        if settings not in (LogSettings(), found):
            raise UserError(f"{path}: sampled otherwise than the results files before it; import them one by one")
        settings = found
    return settings


def _settings(results: dict[str, Any]) -> LogSettings:
    # The newer layout keeps the model's configuration one level down.
    parameters = (
        optional_field(results, "config_general.generation_parameters")
        or optional_field(results, "config_general.model_config.generation_parameters")
        or {}
    )
    model = optional_field(results, "config_general.model_name")
    return LogSettings(
        model=model if isinstance(model, str) and model else None,
        **{ours: parameters.get(theirs) for ours, theirs in _PARAMETERS.items()},
    )


_PARAMETERS = {
    "max_tokens": "max_new_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            row = 0
            for batch in file.iter_batches(batch_size=_ROWS):
                for record in batch.to_pylist():
                    row += 1
                    yield row, record
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}); {_MEND}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _flat(path: Path, row: int, record: dict[str, Any], where: str) -> Iterator[ImportedSample]:
    golds = field(record, "gold", where, _MEND)
    yield from _samples(
        path,
        row,
        where,
        texts=completions_of(field(record, "predictions", where, _MEND), "predictions", where),
        ids=_sequences(record.get("cont_tokens")),
        problem_id=None,
        problem=str(field(record, "example", where, _MEND)),
        gold=golds[0] if isinstance(golds, list) and golds else golds,
        prompt=_sequences(record.get("input_tokens")),
        prompt_text=text_of(record.get("full_prompt")),
        metrics=record.get("metrics"),
    )


def _nested(path: Path, row: int, record: dict[str, Any], where: str) -> Iterator[ImportedSample]:
    choices = field(record, "doc.choices", where, _MEND)
    gold_index = field(record, "doc.gold_index", where, _MEND)
    first = gold_index[0] if isinstance(gold_index, list) else gold_index
    if not isinstance(choices, list) or not isinstance(first, int) or not 0 <= first < len(choices):
        raise UserError(f"{where}: doc.gold_index: {gold_index} is not a place in doc.choices; {_MEND}")
    yield from _samples(
        path,
        row,
        where,
        texts=completions_of(field(record, "model_response.text", where, _MEND), "model_response.text", where),
        ids=_sequences(optional_field(record, "model_response.output_tokens")),
        problem_id=text_of(optional_field(record, "doc.id")),
        problem=str(field(record, "doc.query", where, _MEND)),
        gold=choices[first],
        prompt=_sequences(optional_field(record, "model_response.input_tokens")),
        prompt_text=None,
        metrics=record.get("metric"),
    )


def _samples(
    path: Path,
    row: int,
    where: str,
    *,
    texts: list[str],
    ids: list[np.ndarray],
    problem_id: str | None,
    problem: str,
    gold: Any,
    prompt: list[np.ndarray],
    prompt_text: str | None,
    metrics: Mapping[str, Any] | None,
) -> Iterator[ImportedSample]:
    if len(ids) == len(texts) and any(text and not len(own) for text, own in zip(texts, ids, strict=True)):
        ids = []  # some backends leave the ids empty
    if ids and len(ids) != len(texts):
        raise UserError(f"{where}: has the ids of {len(ids)} completions for {len(texts)} texts; {_MEND}")
    # A row has one value per metric: with several samples it is a mean over them, with several metrics no
    # verdict.
    values = [v for v in (metrics or {}).values() if v is not None]
    verdict = values[0] if len(texts) == 1 and len(values) == 1 and values[0] in (0, 1) else None
    for index, text in enumerate(texts):
        yield ImportedSample(
            problem_id=problem_id,
            problem=problem,
            gold=gold_of(gold, "gold", where),
            sample_index=0,
            file=path,
            row=row,
            token_ids=ids[index] if ids else None,
            # The texts lack special tokens, so exact ids, where there are any, are the better record.
            text=None if ids else text,
            author_label=label_of(verdict, "metrics", where),
            prompt_text=prompt_text,
            prompt_token_ids=prompt[0] if prompt else None,
            recorded_tokens=len(ids[index]) if ids else None,
        )


def _sequences(value: Any) -> list[np.ndarray]:
    """The id lists in a value that nests them to any depth; none in an empty or missing value."""
    if not isinstance(value, list) or not value:
        return []
    if isinstance(value[0], list):
        return [ids for part in value for ids in (_sequences(part) or [np.empty(0, dtype=np.int32)])]
    return [np.array(value, dtype=np.int32)]
