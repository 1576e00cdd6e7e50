"""Asynchronous work in a command: ended by SIGTERM as by Ctrl-C, with everything it opened closed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def blocking(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """A coroutine function as one that runs it to its end."""

    @wraps(work)
    def run(*arguments: P.args, **keywords: P.kwargs) -> T:
        return run_to_the_end(work(*arguments, **keywords))

    return run


def run_to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, where SIGTERM (what ``timeout``, batch systems and containers send) cancels the work, lets
    it clean up, and raises KeyboardInterrupt, as Ctrl-C does.
    """
    terminated = False

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None

        def on_sigterm() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        # Not from a thread other than the main one, nor where the system has no signals.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_sigterm)
        return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if terminated:
            raise KeyboardInterrupt from None
        raise
