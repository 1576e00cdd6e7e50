"""A writer in a process of its own, to be killed at any moment."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

# Imported once, by the server that the writers fork from.
import filelock  # noqa: F401
import orjson  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401

from extrap_eval.store import open_run
from tests.store.making import completion


def context() -> ForkServerContext:
    """Processes that start within milliseconds, since they fork from one that has imported everything."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["tests.store.writing", "tests.sampling.sampling"])
    return forking


def start(function: Callable[..., None], *arguments: object) -> BaseProcess:
    process = context().Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def write_missing(path: Path, acknowledge: Connection, seed: int) -> None:
    """Append all that is missing in groups of random size, sealing now and then; send each group acknowledged."""
    rng = random.Random(seed)
    run = open_run(path)
    missing = run.missing()
    with run.writer() as writer:
        acknowledge.send("open")
        while missing:
            group, missing = missing[: (size := rng.randint(1, 5))], missing[size:]
            writer.append([completion(*key) for key in group])
            acknowledge.send(group)
            if rng.random() < 0.05:
                writer.seal()
        writer.seal()
    acknowledge.send("done")


def hold_lock(path: Path, acknowledge: Connection) -> None:
    """Hold the writer's lock until killed."""
    with open_run(path).writer():
        acknowledge.send("open")
        multiprocessing.Event().wait()
