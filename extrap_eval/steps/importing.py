"""Turn the logs of another harness into a run directory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.importers import (
    Ending,
    ImportedSample,
    Reference,
    completion_tokens,
    end_ids,
    endings,
    group,
    imported_benchmark_card,
    imported_model_card,
    prompt_tokens,
    read_references,
    read_samples,
    storable,
    take_evenly,
    think_markers,
)
from extrap_eval.problems.problem import AnswerKind

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

    from extrap_eval.cards.schema import BenchmarkCard, ModelCard
    from extrap_eval.scoring.tokens import TokenTable
    from extrap_eval.store import Run

IMPORTED = "imported.parquet"

_BATCH = 64  # completions written at once


def import_run(
    format: str,
    paths: Sequence[str | Path],
    *,
    out: str | Path,
    tokenizer: str | None = None,
    gold: str | Path | None = None,
    model: str | None = None,
    max_tokens: int | None = None,
    fields: Mapping[str, str] | None = None,
    n: int | None = None,
    kind: AnswerKind | None = None,
) -> Run:
    """Read a log of ``format`` and write it as a run directory at ``out``.

    Exact ids in the log are kept (token source "engine"); text is tokenised once, without special tokens,
    and stays the record ("retokenized"). What the log says beyond the completions, the authors' verdicts
    above all, goes into ``imported.parquet`` in the run, see ``imported_table``. The same import again
    finishes one that was interrupted, or adds samples when ``n`` has grown.

    ``tokenizer``: folder or hub id; by default that of the model card. ``gold``: a file of statements and
    reference answers, or a benchmark card by name or path, whose problems then replace those of the log.
    ``model``: a model card by name or path, or any name; without a card one is made from what the log
    shows. ``max_tokens``: the cap under which the completions were made. ``n``: take the first n samples of
    every problem. ``kind`` of the answers: that of the benchmark card, or by default "math".

    Raises UserError for whatever in the log, the arguments or ``out`` does not fit; nothing is written then.
    """
    files = [Path(path) for path in paths]
    samples, said = read_samples(format, files, fields)
    benchmark, references = _references(gold)
    if benchmark is not None:
        if kind not in (None, benchmark.answer.kind):
            raise UserError(f"--kind {kind}: the answers of {gold} are of kind {benchmark.answer.kind}")
        kind = benchmark.answer.kind
    kind = kind or "math"
    problems, samples = group(samples, references, kind)
    n, samples = take_evenly(samples, n)
    cap = max_tokens if max_tokens is not None else said.max_tokens

    named, loaded = _model(model or said.model, tokenizer, required=model is not None)
    ids, texts = completion_tokens(samples, loaded)
    prompts = prompt_tokens(samples, loaded)
    think = named.think if named is not None else think_markers(samples, texts, prompts, loaded)
    stops = end_ids(loaded, named, think)
    ended = endings(samples, ids, texts, end_ids=stops, cap=cap, think=think)
    longest = cap or max(1, *map(len, ids))
    name = model or said.model or Path(out).absolute().name
    card = imported_model_card(named, loaded, name, tokenizer, think, n=n, longest=longest)
    if benchmark is None:
        benchmark = imported_benchmark_card(_log_name(files), problems, kind, longest)
    elif len(problems) < len(references or ()):
        from extrap_eval.cards.load import changed

        benchmark = changed(benchmark, {"size": None, "sha256": None, "notes": "only the problems of an imported log"})

    source = _source(format, samples, fields, loaded)
    _refuse_other_import(Path(out), source)
    from extrap_eval.store import create_run

    run = create_run(
        out,
        model_card=card,
        benchmark_card=benchmark,
        problems=problems,
        prompts=prompts,
        token_table=_table(loaded),
        settings={
            "temperature": said.temperature,
            "top_p": said.top_p,
            "top_k": said.top_k,
            "max_tokens": cap,
            "stop_token_ids": None,
            "import": source,
        },
        n=n,
        tokenizer=tokenizer,
    )
    _write(run, samples, ids, ended, prompts)
    return run


def imported_table(run: Run) -> pd.DataFrame:
    """What the log said beside the completions, one row per sample.

    Columns: problem_id, sample_index, author_label (true, false or missing), finish_known_by (see
    ``extrap_eval.importers.finish``), recorded_tokens (length by the log's own count, or missing), file,
    row (from 1).
    Raises UserError when the run was not imported.
    """
    import pandas as pd

    path = run.path / IMPORTED
    if not path.exists():
        raise UserError(f"{run.path}: not an imported run (it has no {IMPORTED})")
    return pd.read_parquet(path, dtype_backend="numpy_nullable")


def _log_name(files: Sequence[Path]) -> str:
    """What the log is called: its first file or folder, without suffix, that is not a results file."""
    first = next((path for path in files if path.suffix != ".json"), files[0]).absolute()
    return re.sub(r"(\.(jsonl|parquet))?(\.gz)?$", "", first.name) or first.name


def _references(gold: str | Path | None) -> tuple[BenchmarkCard | None, list[Reference] | None]:
    """The benchmark card behind ``gold``, if it is one, and the reference answers."""
    if gold is None:
        return None, None
    path = Path(gold)
    if path.suffix in (".jsonl", ".json", ".parquet", ".csv"):
        return None, read_references(path)
    from extrap_eval.cards.load import load_benchmark_card
    from extrap_eval.problems.load import load_problems

    card = load_benchmark_card(gold)
    return card, [Reference(p.id, p.text, p.gold, p.difficulty) for p in load_problems(card)]


def _model(
    model: str | None, tokenizer: str | None, *, required: bool
) -> tuple[ModelCard | None, PreTrainedTokenizerBase]:
    """The model card of that name, if there is one, and the tokenizer."""
    from extrap_eval.cards.load import load_model_card
    from extrap_eval.cards.schema import ModelCard
    from extrap_eval.prompts.tokenizer import load_tokenizer

    card = None
    if model is not None and required:
        try:
            card = load_model_card(model)
        except UserError:
            if tokenizer is None or model.endswith((".yaml", ".yml")):
                raise
    if card is None and tokenizer is None:
        raise UserError("no tokenizer: name the model's own with --tokenizer PATH, or a model card with --model CARD")
    return card, load_tokenizer(card or ModelCard(name=model or "imported"), tokenizer)


def _source(
    format: str,
    samples: Sequence[ImportedSample],
    fields: Mapping[str, str] | None,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """What was imported, by content, so that a run says where it comes from."""
    from extrap_eval.prompts.tokenizer import tokenizer_hash

    files = dict.fromkeys(sample.file for sample in samples)
    return {
        "format": format,
        "files": [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in files],
        "fields": dict(fields or {}),
        "tokenizer_sha256": tokenizer_hash(tokenizer),
    }


def _refuse_other_import(out: Path, source: dict[str, Any]) -> None:
    """A run that is there already must come from the same files by the same tokenizer."""
    from extrap_eval.store import open_run
    from extrap_eval.store.manifest import MANIFEST

    if not (out / MANIFEST).exists():
        return
    earlier = [invocation["settings"].get("import") for invocation in open_run(out).manifest.invocations]
    for before in earlier:
        if before != source:
            other = [] if before is None else [name for name in source if before.get(name) != source[name]]
            raise UserError(
                f"{out}: holds a run that was "
                f"{f'imported with other {other[0]}' if other else 'not imported'}; choose another --out"
            )


def _table(tokenizer: PreTrainedTokenizerBase) -> TokenTable | None:
    from extrap_eval.scoring.tokens import NotTabular, TokenTable

    try:
        return TokenTable.from_tokenizer(tokenizer)
    except NotTabular:
        return None


def _write(
    run: Run,
    samples: Sequence[ImportedSample],
    ids: Sequence[np.ndarray],
    ended: Sequence[Ending],
    prompts: Mapping[str, np.ndarray],
) -> None:
    from extrap_eval.store import Completion
    from extrap_eval.store.parquet import write_rows

    stored = run.keys()
    completions = [
        Completion(
            str(sample.problem_id),
            sample.sample_index,
            token_ids=own,
            finish_reason=ending.finish_reason,
            stop_token_id=ending.stop_token_id,
            text=None if sample.token_ids is not None else storable(sample.text or ""),
            token_source="engine" if sample.token_ids is not None else "retokenized",
            prompt_tokens=len(prompts.get(str(sample.problem_id), ())),
        )
        for sample, own, ending in zip(samples, ids, ended, strict=True)
        if (sample.problem_id, sample.sample_index) not in stored
    ]
    rows = [
        {
            "problem_id": sample.problem_id,
            "sample_index": sample.sample_index,
            "author_label": sample.author_label,
            "finish_known_by": ending.how,
            "recorded_tokens": sample.recorded_tokens,
            "file": sample.file.name,
            "row": sample.row,
        }
        for sample, ending in zip(samples, ended, strict=True)
    ]
    with run.writer("rollout") as writer:
        for start in range(0, len(completions), _BATCH):
            writer.append(completions[start : start + _BATCH])
        writer.seal()
        write_rows(run.path / IMPORTED, _imported_schema(), ((row, 64) for row in rows))


def _imported_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("problem_id", pa.string(), nullable=False),
            pa.field("sample_index", pa.int32(), nullable=False),
            pa.field("author_label", pa.bool_()),
            pa.field("finish_known_by", pa.string(), nullable=False),
            pa.field("recorded_tokens", pa.int32()),
            pa.field("file", pa.string(), nullable=False),
            pa.field("row", pa.int32(), nullable=False),
        ]
    )
