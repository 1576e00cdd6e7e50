"""One command under a guardian: started, waited for, ended with all that descends from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import psutil

from extrap_eval.engines.servers import guardian
from extrap_eval.engines.servers.guardian import Task


class GuardedProcess:
    """A running command; ``launch`` makes one.

    Whatever happens to this process (an exception, Ctrl-C, ``kill -9``), its guardian ends the command and
    every process that descends from it. Should the guardian itself be killed, the command dies with it and
    the rest of its session is ended from here.
    """

    def __init__(self, guarding: subprocess.Popen[bytes], reader: asyncio.StreamReader, first: bytes) -> None:
        word, _, value = first.decode().partition(" ")
        # Of the command, and of its session and process group; 0 when it could not be run.
        self.pid = int(value) if word == "started" else 0
        self._guarding = guarding
        self._attending = asyncio.create_task(self._attend(reader, int(value) if word == "ended" else None))

    @classmethod
    async def launch(cls, task: Task) -> GuardedProcess:
        """Start it and return at once. Raises OSError when the log cannot be written."""
        with Path(task.log).open("ab") as log:
            guarding = subprocess.Popen(
                [sys.executable, "-P", guardian.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for this process alone
            )
        assert guarding.stdin is not None
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), guarding.stdout
        )
        with contextlib.suppress(BrokenPipeError):
            guarding.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            guarding.stdin.flush()
        return cls(guarding, reader, await reader.readline())

    @property
    def running(self) -> bool:
        return not self._attending.done()

    async def ended(self) -> int:
        """The command's exit status (negative: the signal that ended it) once nothing of it is left."""
        return await asyncio.shield(self._attending)

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL for whatever is left after the grace."""
        return await self._order("stop")

    async def kill(self) -> int:
        """SIGKILL for everything, now: a stopped process would not hear anything else."""
        return await self._order("kill")

    async def _order(self, order: str) -> int:
        assert self._guarding.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._guarding.stdin.write(order.encode() + b"\n")
            self._guarding.stdin.flush()
        return await self.ended()

    async def _attend(self, reader: asyncio.StreamReader, status: int | None) -> int:
        while line := await reader.readline():
            word, _, value = line.decode().partition(" ")
            if word == "ended":
                status = int(value)
        while status is None and self.pid and (left := guardian.in_session(self.pid)):
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            await asyncio.sleep(0.1)
        self._guarding.wait()
        with contextlib.suppress(BrokenPipeError):
            assert self._guarding.stdin is not None
            self._guarding.stdin.close()
        return self._guarding.returncode if status is None else status
