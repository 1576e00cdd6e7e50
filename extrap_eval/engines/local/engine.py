"""A model in this process: requests on an asyncio loop, the model in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from extrap_eval.engines.base import EngineError, EngineInfo, Generation, GenerationRequest
from extrap_eval.engines.local.desk import Desk
from extrap_eval.engines.local.row import Row
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.engines.local.decoder import RowDecoder
    from extrap_eval.engines.local.load import Loaded
    from extrap_eval.engines.local.plain import PlainDecoder

logger = logging.getLogger(__name__)

ROWS = 256  # computed together, where memory allows


class LocalEngine:
    """Completions of any causal language model that transformers can load; an asynchronous context manager.

    ``model``: a folder in Hugging Face format or a hub id (``revision`` pins it). ``device``: "auto" is the
    first GPU, else the CPU. ``dtype``: None is the one the weights are stored in (float32 on a CPU without
    bfloat16). ``batch_size``: rows computed together (None: 256); never more than half of the free memory
    holds at their full length. ``threads``: torch's threads on a CPU (None: one below 50 million parameters,
    else torch's own number).

    Rows are batched continuously: each forward pass gives every running row one token, a finished row makes room
    for a waiting one at once, and a prompt that several waiting requests share is computed once. Models whose
    attention cannot be taken apart by row (recurrent states, attention of their own; found out by asking the
    model) run in plain batches of prompts of one length instead, with a warning: slower, the same distribution.

    A request ends at its ``stop_token_ids`` and at the model's own end tokens, as on a server. Its ``seed``
    fixes its random numbers whatever runs beside it; the logits they meet depend on the other rows in their
    last digits, so that in float32 a completion nearly always repeats and in bfloat16 only for some hundred
    tokens. ``top_logprobs`` are the model's own, before temperature and top-p. A completion that is given is read in
    a pass of its own, beside the rows.

    Only the CPU has been tested; on a GPU the same code runs, and neither its speed nor its choices of size
    were measured there. Keys and values of layers with a sliding window are kept in full.

    Entering raises UserError when the model cannot be loaded. ``generate`` raises UserError for a request that
    cannot be done, or for want of memory, and EngineError once the model has failed; cancelling it frees its row.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        if find_spec("torch") is None:
            raise UserError("the local engine needs torch: pip install 'extrap-eval[local]'")
        self._source = str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else str(model)
        self._revision = revision
        self._device = device
        self._dtype = dtype
        self._batch_size = batch_size or ROWS
        self._threads = threads
        self._desk = Desk(self._hand_back)
        self._outstanding: dict[Row, asyncio.Future[Generation]] = {}
        self._loaded: Loaded | None = None
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="local model", daemon=True)
        self._thread.start()
        try:
            await self._ready
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            kind="local",
            version=f"transformers {version('transformers')}",
            model=self._name,
            context_length=self._open.context_length,
            exact_token_ids=True,
            stop_strings=False,
        )

    async def generate(self, request: GenerationRequest) -> Generation:
        self._refuse_impossible(request)
        row = Row(request, self._open.end_tokens.union(request.stop_token_ids))
        future: asyncio.Future[Generation] = self._loop.create_future()
        self._outstanding[row] = future
        self._desk.put(row)
        try:
            return await future
        finally:
            row.cancelled = True  # of no effect on a row that has finished
            self._outstanding.pop(row, None)

    @property
    def _name(self) -> str:
        return Path(self._source).name if Path(self._source).is_dir() else self._source

    @property
    def _open(self) -> Loaded:
        if self._loaded is None or self._desk.closed:
            raise RuntimeError("the engine is not open: use it as an asynchronous context manager")
        return self._loaded

    def _refuse_impossible(self, request: GenerationRequest) -> None:
        if self._failure is not None:
            raise self._failure
        if request.max_tokens < 1:
            raise UserError(f"max_tokens: {request.max_tokens} is below 1")
        if request.stop_strings:
            raise UserError("stop_strings: the local engine stops at tokens only; give stop_token_ids")
        if request.temperature < 0 or not 0 < request.top_p <= 1 or request.top_k < -1 or request.top_k == 0:
            raise UserError(
                f"temperature {request.temperature}, top_p {request.top_p}, top_k {request.top_k}: "
                "temperature is at least 0, top_p in (0, 1], top_k -1 or positive"
            )
        vocabulary, limit = self._open.vocabulary, self._open.context_length
        if not 0 <= request.top_logprobs <= vocabulary:
            raise UserError(f"top_logprobs: {request.top_logprobs} is not between 0 and {vocabulary} (the vocabulary)")
        if request.given_token_ids is not None:
            request = replace(
                request,
                prompt_token_ids=np.concatenate([request.prompt_token_ids, request.given_token_ids]),
                max_tokens=0,
            )
        ids, last = np.asarray(request.prompt_token_ids), vocabulary - 1
        if not len(ids) or int(ids.min()) < 0 or int(ids.max()) > last:
            raise UserError(
                f"prompt_token_ids: at least one, each from 0 to {last}; is the tokenizer that of {self._name}?"
            )
        if limit is not None and len(ids) + request.max_tokens > limit:
            shorter = f"use --budget-max {limit - len(ids)}" if limit > len(ids) else "the prompt alone is too long"
            raise UserError(
                f"{len(ids)} prompt + {request.max_tokens} completion tokens do not fit the context of {limit} tokens "
                f"of {self._name}: {shorter}"
            )

    def _hand_back(self, rows: Sequence[Row]) -> None:
        """Called by the model's thread."""
        if rows:
            self._tell(self._settle, [(row, row.generation()) for row in rows])

    def _settle(self, finished: Sequence[tuple[Row, Generation]]) -> None:
        for row, generation in finished:
            future = self._outstanding.get(row)
            if future is not None and not future.done():
                future.set_result(generation)

    def _opened(self, loaded: Loaded) -> None:
        self._loaded = loaded
        if not self._ready.done():
            self._ready.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        waiting: list[asyncio.Future[Any]] = [self._ready, *self._outstanding.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def _tell(self, what: Callable[[Any], None], about: object) -> None:
        """Have the loop do something; nothing where it is gone."""
        try:
            self._loop.call_soon_threadsafe(what, about)
        except RuntimeError:
            self._desk.close()

    async def _stop(self) -> None:
        self._desk.close()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        """The model's thread: loads, then works until the desk is closed."""
        from extrap_eval.engines.local.load import first_line, is_out_of_memory

        try:
            self._load_and_work()
        except UserError as error:
            self._tell(self._fail, error)
        except Exception as error:
            if is_out_of_memory(error):
                failure: Exception = UserError(
                    f"{self._name}: the memory does not hold {self._batch_size} rows of this length: "
                    f"use --concurrency {max(1, self._batch_size // 4)} or a smaller --budget-max"
                )
            else:
                logger.debug("the model's thread has failed", exc_info=True)
                failure = EngineError(f"the model has failed: {type(error).__name__}: {first_line(error)}")
            self._tell(self._fail, failure)

    def _load_and_work(self) -> None:
        import torch

        from extrap_eval.engines.local.given import GivenReader
        from extrap_eval.engines.local.load import load, threads
        from extrap_eval.engines.local.room import measure_room

        loaded = load(self._source, revision=self._revision, device=self._device, dtype=self._dtype)
        with threads(self._threads, loaded.model), torch.inference_mode():
            room = measure_room(loaded.model, self._batch_size)
            reader = GivenReader(loaded.model)
            decoder = self._decoder(loaded)
            self._tell(self._opened, loaded)
            while not self._desk.closed:
                if not decoder.busy:
                    self._desk.wait()
                reader.work(self._desk)
                decoder.work(self._desk, room)

    def _decoder(self, loaded: Loaded) -> RowDecoder | PlainDecoder:
        from extrap_eval.engines.local.decoder import RowDecoder
        from extrap_eval.engines.local.plain import PlainDecoder
        from extrap_eval.engines.local.prove import NotByRowsError, take_apart

        try:
            return RowDecoder(loaded.model, take_apart(loaded.model))
        except NotByRowsError as reason:
            logger.warning("%s runs in plain batches, which is slower: %s", self._name, reason)
            return PlainDecoder(loaded.model)
