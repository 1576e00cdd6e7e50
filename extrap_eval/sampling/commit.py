"""Group commit: many completions, one fsync, off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from extrap_eval.store import Completion, StageWriter


class GroupCommit:
    """Puts completions on disk through one writer: what arrives while one fsync runs goes into the next.

    An asynchronous context manager. On leaving it, what was put is on disk, however it is left.
    """

    def __init__(self, writer: StageWriter):
        self._writer = writer
        self._waiting: list[tuple[Completion, asyncio.Future[None]]] = []
        self._something = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._something.set()
        try:
            await self._task
        finally:
            self._thread.shutdown()

    async def put(self, completion: Completion) -> None:
        """Returns once the completion is on disk. Raises UserError when the disk refuses."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((completion, done))
        self._something.set()
        await done

    async def seal(self) -> None:
        """``StageWriter.seal`` after all that was put."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.seal)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closing or self._waiting:
            await self._something.wait()
            self._something.clear()
            group, self._waiting = self._waiting, []
            if not group:
                continue
            failure: Exception | None = None
            try:
                await loop.run_in_executor(self._thread, self._writer.append, [item for item, _ in group])
            except Exception as error:
                failure = error
            for _, done in group:
                if done.done():  # whoever waited was cancelled; the completion is kept all the same
                    continue
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(failure)
