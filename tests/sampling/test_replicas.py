"""The servers at work, as a person sees them."""

from __future__ import annotations

import io
import pty
import re

import numpy as np
import pytest

from extrap_eval.engines.base import EngineInfo, Generation, GenerationRequest, ReplicaWork
from extrap_eval.sampling.progress import Snapshot, progress_line, with_replicas
from extrap_eval.sampling.replicas import block, replicas_of, summary
from tests.sampling.test_progress import SNAPSHOT, everything_in

ONE = ReplicaWork(
    "http://127.0.0.1:8000", in_flight=268, finished=203, tokens=900_000, prompt_tokens=30_000, cached_tokens=20_000,
    running=256, waiting=12, tokens_per_second=6210.4, cache_hit_rate=0.71, cache_used=0.43,
)  # fmt: skip
TWO = ReplicaWork(
    "http://127.0.0.1:8001", in_flight=251, finished=209, tokens=910_000, prompt_tokens=10_000, cached_tokens=9_000,
    retries=3, running=251, waiting=0, tokens_per_second=6135.0, cache_hit_rate=0.31, cache_used=0.41,
)  # fmt: skip
BLIND = ReplicaWork("https://gpu7.example.org", in_flight=64, finished=99, tokens=912_000, prompt_tokens=3000)
REPORTING = ReplicaWork(
    "https://gpu8.example.org", in_flight=3, finished=9, tokens=5000, prompt_tokens=400, cached_tokens=100
)
DEAD = ReplicaWork("http://127.0.0.1:8002", finished=9, tokens=2034, down="http://127.0.0.1:8002: connection refused")
STARTING = ReplicaWork("vllm 3 (GPU 3)", name="vllm 3 (GPU 3)", down="starting: Loading model weights")


def test_a_block_of_all_kinds() -> None:
    assert block([ONE, TWO, DEAD, BLIND, REPORTING, STARTING], 100.0) == [
        "server            running  waiting  tokens/s  cache hits  cache full  finished  retries",
        "127.0.0.1:8000        256       12     6,210        71 %        43 %       203",
        "127.0.0.1:8001        251        0     6,135        31 %        41 %       209        3",
        "127.0.0.1:8002    connection refused",
        "gpu7.example.org  64 sent        –   ≥ 9,120           –           –        99",
        "gpu8.example.org   3 sent        –      ≥ 50        25 %           –         9",
        "vllm 3 (GPU 3)    starting: Loading model weights",
    ]


@pytest.mark.parametrize("rows", range(20))
def test_a_block_keeps_within_its_rows_and_shows_first_who_is_in_trouble(rows: int) -> None:
    replicas = [*(ONE for _ in range(6)), DEAD, *(TWO for _ in range(3)), STARTING]
    lines = block(replicas, 100.0, rows=rows)
    shown = max(3, min(rows, len(replicas)))
    assert len(lines) == shown + 1
    if shown < len(replicas):
        assert "connection refused" in lines[1]
        assert "Loading" in lines[2]
        assert lines[-1].startswith(f"and {len(replicas) - shown + 1} more")
    else:
        assert "connection refused" in lines[7]


def test_those_that_are_not_shown_are_added_up() -> None:
    last = block([DEAD, STARTING, ONE, TWO], 100.0, rows=3)[-1].split()
    assert last == ["and", "2", "more", "507", "12", "12,345", "61", "%", "412", "3"]


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        ([ONE, TWO], "2 servers: 507 running, 12 waiting, 12,345 tokens/s, 61 % cache hits"),
        ([ONE], "1 server: 256 running, 12 waiting, 6,210 tokens/s, 71 % cache hits"),
        ([BLIND], "1 server: 64 running, ≥ 9,120 tokens/s"),
        ([ONE, BLIND], "2 servers: 320 running, 12 waiting, ≥ 15,330 tokens/s, 71 % cache hits"),
        (
            [ONE, DEAD],
            "1 server: 256 running, 12 waiting, 6,210 tokens/s, 71 % cache hits; 1 not in use: 127.0.0.1:8002: "
            "connection refused",
        ),
        ([DEAD], "0 servers: 0 running, 0 tokens/s; 1 not in use: 127.0.0.1:8002: connection refused"),
    ],
)
def test_the_line(replicas: list[ReplicaWork], expected: str) -> None:
    assert summary(replicas, 100.0) == expected


class Alone:
    """An engine without servers."""

    info = EngineInfo("toy", None, "m", None, True)

    async def __aenter__(self) -> Alone:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def generate(self, request: GenerationRequest) -> Generation:
        return Generation(np.zeros(1, dtype=np.int32), "stop")


class Together(Alone):
    def replicas(self) -> tuple[ReplicaWork, ...]:
        return (ONE, TWO)


def test_only_an_engine_with_servers_adds_them_to_the_progress() -> None:
    seen: list[Snapshot] = []
    assert with_replicas(None, Together()) is None
    for engine in (Alone(), Together()):
        progress = with_replicas(seen.append, engine)
        assert progress is not None
        progress(SNAPSHOT)
    assert [snapshot.replicas for snapshot in seen] == [(), (ONE, TWO)]
    assert replicas_of(Alone()) == ()
    assert replicas_of(Together()) == (ONE, TWO)


def at(seconds: float) -> Snapshot:
    return Snapshot(**{**vars(SNAPSHOT), "seconds": seconds, "replicas": (ONE, TWO)})


def test_without_a_terminal_a_line_tells_of_the_servers_every_minute() -> None:
    stream = io.StringIO()
    with progress_line("toy", silent=False, stream=stream) as progress:
        for tick in range(400):
            progress(at(tick / 2))
    lines = stream.getvalue().splitlines()
    assert sum(line.startswith("toy: 412/480") for line in lines) == 21
    assert [line for line in lines if "servers" in line] == [f"toy: {summary([ONE, TWO], 100.0)}"] * 3
    assert lines.index(f"toy: {summary([ONE, TWO], 100.0)}") == 7


def pictures_in(text: str) -> list[list[str]]:
    """The lines of each picture that was drawn on a terminal, one over the other."""
    text = re.sub(r"\x1b\[\d*A", "\n", text)  # up: the next picture begins
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")
    pictures: list[list[str]] = []
    for line in lines:
        if re.match(r".+: \d+/\d+, ", line):
            pictures.append([])
        if pictures and line.strip():
            pictures[-1].append(line.rstrip())
    return pictures


@pytest.mark.parametrize(("rows", "columns"), [(24, 100), (24, 30), (5, 100)])
def test_on_a_terminal_the_servers_stand_under_the_line(
    monkeypatch: pytest.MonkeyPatch, rows: int, columns: int
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", str(rows))
    monkeypatch.setenv("COLUMNS", str(columns))
    master, slave = pty.openpty()
    with open(slave, "w") as stream, progress_line("toy", silent=False, stream=stream) as progress:
        for seconds in range(3):
            progress(at(seconds))
    last = pictures_in(everything_in(master))[-1]
    assert last[0].startswith("toy: 412/480"[:columns])
    assert last[1].startswith("server")
    assert last[2].startswith("127.0.0.1:8000")
    assert last[3].startswith("127.0.0.1:8001")
    assert len(last) == 4
    assert all(len(line) <= columns for line in last)
