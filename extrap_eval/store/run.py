"""A run directory: created or re-opened by ``create_run``, read by ``open_run``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.engines.base import EngineInfo
from extrap_eval.errors import UserError
from extrap_eval.problems.problem import Problem
from extrap_eval.store.atomic import disk_error, make_directory, write_bytes
from extrap_eval.store.distribution import SamplingSettings, distribution_of, refuse_difference
from extrap_eval.store.inputs import (
    PROBLEMS,
    TOKENS,
    read_problem_ids,
    read_problems,
    read_prompts,
    read_token_table,
    write_problems,
    write_token_table,
)
from extrap_eval.store.layers import ScoreLayer
from extrap_eval.store.lock import WriterLock
from extrap_eval.store.manifest import (
    MANIFEST,
    Manifest,
    invocation,
    now,
    read_manifest,
    redact_values,
    write_manifest,
)
from extrap_eval.store.record import HEAVY, Completion, Key, Place
from extrap_eval.store.redact import redact_arguments
from extrap_eval.store.shards import Shard, list_shards, read_shard
from extrap_eval.store.stage import StageWriter, digest, read_completions, read_keys, read_places, read_rows
from extrap_eval.store.variant import Variant, put_variant, read_variant, write_variant

if TYPE_CHECKING:
    from extrap_eval.cards.schema import BenchmarkCard, ModelCard
    from extrap_eval.scoring.tokens import TokenTable

MODEL, BENCHMARK = "model.yaml", "benchmark.yaml"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_COMPLETION_FIELDS = frozenset(field.name for field in fields(Completion))


class Run:
    """One run directory. Reading needs no lock and never changes a file; see ``extrap_eval.store`` for the
    layout.
    """

    def __init__(self, path: Path, manifest: Manifest):
        self.path = path
        self.manifest = manifest
        self._lock = WriterLock(path)
        self._invoked = False

    @property
    def n(self) -> int:
        """Samples promised per problem."""
        return self.manifest.n

    @property
    def model_card(self) -> ModelCard:
        from extrap_eval.cards.load import load_model_card

        return load_model_card(self.path / MODEL)

    @property
    def benchmark_card(self) -> BenchmarkCard:
        from extrap_eval.cards.load import load_benchmark_card

        return load_benchmark_card(self.path / BENCHMARK)

    @property
    def sampling(self) -> SamplingSettings:
        """Raises UserError for a run whose sampling parameters nobody knows (an import)."""
        values = {field.name: self.manifest.distribution[field.name] for field in fields(SamplingSettings)}
        unknown = [name for name, value in values.items() if value is None]
        if unknown:
            raise UserError(f"{self.path}: {', '.join(unknown)} unknown: an imported run cannot be sampled further")
        return SamplingSettings(**{**values, "stop_token_ids": tuple(values["stop_token_ids"])})

    def problems(self) -> list[Problem]:
        """The problems in benchmark order."""
        return read_problems(self.path)

    def prompts(self) -> dict[str, np.ndarray]:
        """Problem id -> prompt token ids (int32, shape (prompt tokens,)); empty arrays in an imported run."""
        return read_prompts(self.path)

    def token_table(self) -> TokenTable | None:
        """None when the tokenizer is not a table of byte strings; ``manifest.tokenizer`` then names it."""
        return read_token_table(self.path)

    def stages(self) -> list[str]:
        """Names of the stages that have completions."""
        return sorted(path.name for path in (self.path / "completions").glob("*") if path.is_dir())

    def variants(self, kind: str | None = None) -> list[Variant]:
        """What follows from the traces of the run, in order of creation. Raises UserError for a damaged file."""
        found = [read_variant(self._stage_directory(stage)) for stage in self.stages()]
        chosen = [variant for variant in found if variant is not None and kind in (None, variant.kind)]
        return sorted(chosen, key=lambda variant: (variant.created, variant.name))

    def put_variant(self, kind: str, settings: Mapping[str, Any], promise: Mapping[str, int]) -> tuple[Variant, bool]:
        """The variant with these settings, made where there is none, and whether it is new; a promise only grows.

        ``settings`` must be plain JSON. Raises UserError when another process writes the run, or the disk refuses.
        """
        self._lock.acquire()
        try:
            return put_variant(self.path / "completions", _checked("kind", kind), settings, promise)
        finally:
            self._lock.release()

    def complete_variant(self, variant: Variant) -> Variant:
        """Note that all that a variant promises is stored now. Raises UserError as ``put_variant`` does."""
        stages = [stage for stage in (variant.name, variant.answers) if self._stage_directory(stage).is_dir()]
        complete = replace(variant, complete={stage: self.digest(stage) for stage in stages})
        if complete != variant:
            self._lock.acquire()
            try:
                write_variant(self.path / "completions", complete)
            finally:
                self._lock.release()
        return complete

    def places(self, stage: str) -> set[Place]:
        """What is stored of a stage that follows from traces, without reading ids or texts."""
        return read_places(self._stage_directory(stage))

    def keys(self, stage: str = "rollout") -> set[Key]:
        """What is stored, without reading ids or texts."""
        return read_keys(self._stage_directory(stage))

    def missing(self, stage: str = "rollout") -> list[Key]:
        """What is promised and not stored, sample-major: sample 0 of all problems first."""
        stored = self.keys(stage)
        ids = read_problem_ids(self.path)
        return [(id, index) for index in range(self.n) for id in ids if (id, index) not in stored]

    def completions(self, stage: str = "rollout", columns: Collection[str] | None = None) -> Iterator[Completion]:
        """Every stored completion once, streaming: memory holds one row group (about 2 MiB of ids) at a time.

        ``columns``: names of ``Completion`` fields that are needed, None for all. ``token_ids``, ``text`` and
        ``distributions`` stay on disk when not named (an empty array and None); the others are always filled. Raises
        UserError for a damaged part, ValueError for an unknown column.
        """
        wanted = _COMPLETION_FIELDS if columns is None else frozenset(columns)
        if unknown := wanted - _COMPLETION_FIELDS:
            raise ValueError(f"no such column: {', '.join(sorted(unknown))}")
        return read_completions(self._stage_directory(stage), stage, heavy=HEAVY & wanted)

    def shards(self, stage: str = "rollout") -> list[Shard]:
        """The stored completions in pieces for ``shard``, in the order of ``completions``."""
        return list_shards(self._stage_directory(stage))

    def shard(self, shard: Shard, stage: str = "rollout") -> Iterator[Completion]:
        """The completions of one piece with their ids and without text, streaming like ``completions``. Pieces
        may repeat a completion of an earlier one, which then is the one that counts.
        """
        return read_shard(self._stage_directory(stage), stage, shard, heavy=("token_ids",))

    def copies(self, stage: str = "rollout", at_least: int = 512) -> int:
        """How many completions of ``at_least`` tokens repeat, id for id, another one of the same problem.

        Independent samples of that length hardly ever do (a model that is sure of itself repeats shorter ones now and
        then): servers that share a seed made them.
        """
        seen: set[tuple[str, int, int]] = set()
        copies = 0
        for row in read_rows(self._stage_directory(stage), ()):
            content = (row["problem_id"], row["n_tokens"], row["crc32"])
            copies += row["n_tokens"] >= at_least and content in seen
            seen.add(content)
        return copies

    def digest(self, stage: str = "rollout") -> str:
        """Fingerprint of the stored completions (keys, lengths, checksums of ids): changes when any of them
        does.
        """
        return digest(self._stage_directory(stage))

    def writer(self, stage: str = "rollout") -> StageWriter:
        """A context manager that holds the writer's lock; ``append(list[Completion])`` and ``seal()``."""
        return StageWriter(self._stage_directory(stage), stage, self._lock)

    def layer(self, name: str = "default") -> ScoreLayer:
        """The score layer of that name, written already or not."""
        return ScoreLayer(self.path / "scores" / _checked("layer", name))

    def record_engine(self, info: EngineInfo, settings: Mapping[str, Any] | None = None) -> None:
        """Note in the manifest which engine answers this invocation. Raises UserError when another process
        writes.
        """
        self._lock.acquire()
        try:
            manifest = read_manifest(self.path)
            past = list(manifest.invocations)
            current = past.pop() if self._invoked and past else invocation(n=manifest.n, settings={})
            current["engine"] = redact_values(asdict(info))
            current["settings"] |= redact_values(dict(settings or {}))
            self.manifest = replace(manifest, invocations=(*past, current))
            write_manifest(self.path, self.manifest)
            self._invoked = True
        finally:
            self._lock.release()

    def _stage_directory(self, stage: str) -> Path:
        return self.path / "completions" / _checked("stage", stage)


def open_run(path: str | Path) -> Run:
    """Open a run directory for reading (or for topping up what it promises).

    Raises UserError when the path is not a run directory, is damaged, or was written by a newer version.
    """
    path = Path(path)
    return Run(path, read_manifest(path))


def create_run(
    path: str | Path,
    *,
    model_card: ModelCard,
    benchmark_card: BenchmarkCard,
    problems: Sequence[Problem],
    prompts: Mapping[str, np.ndarray],
    token_table: TokenTable | None,
    settings: Mapping[str, Any],
    n: int,
    tokenizer: str | None = None,
) -> Run:
    """Create a run directory, or re-open the one that is there to top it up.

    ``prompts``: problem id -> prompt token ids (int32); an empty mapping for an import, whose prompts are
    unknown. ``settings`` must hold temperature, top_p, top_k, max_tokens and stop_token_ids (None where an
    import does not know); what else it holds is noted with the invocation and never compared. ``tokenizer``
    names the tokenizer (default: that of the model card).

    An existing directory must have been made with the same distribution; then ``n`` may grow, and a smaller
    ``n`` leaves the larger promise. Raises UserError when the distribution differs (naming fields, old and
    new values), when the directory holds something else, when another process writes it, or when the disk
    refuses.
    """
    from extrap_eval.cards.load import dump_card

    path = Path(path)
    if n < 1:
        raise UserError(f"{path}: n: {n} samples per problem asked: ask for at least 1")
    if prompts and (absent := [problem.id for problem in problems if problem.id not in prompts]):
        raise ValueError(f"no prompt for {len(absent)} problems, first {absent[0]}")
    distribution = distribution_of(model_card, problems, prompts, settings)
    extra = {name: value for name, value in settings.items() if name not in distribution}
    try:
        make_directory(path)
    except OSError as error:
        raise disk_error(path, error, "choose another --out") from error
    lock = WriterLock(path)
    lock.acquire()
    try:
        if (path / MANIFEST).exists():
            manifest = read_manifest(path)
            refuse_difference(path, manifest.distribution, distribution)
            manifest = replace(manifest, n=max(n, manifest.n))
        else:
            _refuse_foreign_files(path)
            name = tokenizer or model_card.tokenizer or model_card.hf_id
            manifest = Manifest(n=n, distribution=distribution, tokenizer=name, created=now())
            write_problems(path, problems, prompts)
        if token_table is not None and not (path / TOKENS).exists():
            write_token_table(path, token_table)
        write_bytes(path / MODEL, dump_card(_without_secrets(model_card)).encode())
        write_bytes(path / BENCHMARK, dump_card(benchmark_card).encode())
        entry = invocation(n=n, settings=extra)
        # Last: the manifest is what makes the directory a run.
        manifest = replace(manifest, invocations=(*manifest.invocations, entry))
        write_manifest(path, manifest)
    finally:
        lock.release()
    run = Run(path, manifest)
    run._invoked = True
    return run


def _refuse_foreign_files(path: Path) -> None:
    ours = {".lock", "lock.json", MODEL, BENCHMARK, PROBLEMS, TOKENS}
    for entry in path.iterdir():
        name = entry.name.removeprefix(".").removesuffix(".tmp")
        if entry.name not in ours and name not in {*ours, MANIFEST}:
            raise UserError(f"{path}: not empty ({entry.name}) and not a run directory: choose another --out")


def _without_secrets(card: ModelCard) -> ModelCard:
    """Servers are given their API key on the command line, so the card's extra arguments may hold one."""
    arguments = redact_arguments(card.engine.extra_args)
    return card.model_copy(update={"engine": card.engine.model_copy(update={"extra_args": arguments})})


def _checked(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(f"{what} {name!r}: use letters, digits, '-', '_' and '.', starting with a letter or digit")
    return name
