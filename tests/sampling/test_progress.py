from __future__ import annotations

import heapq
import io
import os
import pty
import re
from contextlib import suppress

import numpy as np
import pytest

from extrap_eval.engines.base import Generation, GenerationRequest
from extrap_eval.sampling.progress import Snapshot, Tally, duration, line, progress_line
from extrap_eval.sampling.scheduler import Job

LIMIT = 1000


def job(limit: int = LIMIT) -> Job:
    return Job("p", 0, GenerationRequest(np.arange(3), limit))


def finished(tokens: int) -> Generation:
    return Generation(np.zeros(tokens, dtype=np.int32), "stop")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_counts_follow_the_jobs() -> None:
    clock = Clock()
    tally = Tally(total=10, stored=3, clock=clock)
    jobs = [job() for _ in range(4)]
    for item in jobs:
        tally.started(item)
    clock.now += 2
    tally.finished(jobs[0], finished(50))
    tally.failed(jobs[1])
    got = tally.snapshot()
    assert (got.total, got.stored, got.finished, got.failed, got.running) == (10, 3, 1, 1, 2)
    assert (got.tokens, got.seconds) == (50, 2.0)
    # 25 tokens per second and request, two of which have run for 2 s: 50 done and 100 in flight
    assert got.tokens_per_second == 75.0


def test_time_left_is_unknown_until_something_has_finished_and_zero_at_the_end() -> None:
    clock = Clock()
    tally = Tally(total=2, clock=clock)
    one, two = job(), job()
    tally.started(one)
    tally.started(two)
    clock.now += 5
    assert tally.snapshot().eta_seconds is None
    tally.finished(one, finished(10))
    assert tally.snapshot().eta_seconds is not None
    tally.failed(two)
    assert tally.snapshot().eta_seconds == 0
    assert Tally(total=5, stored=5, clock=clock).snapshot().eta_seconds == 0


def test_a_request_older_than_all_that_finished_is_expected_to_reach_its_limit() -> None:
    clock = Clock()
    tally = Tally(total=101, clock=clock)
    jobs = [job() for _ in range(101)]
    for item in jobs:
        tally.started(item)
    clock.now += 10  # ten tokens per second
    for item in jobs[:100]:
        tally.finished(item, finished(100))
    clock.now += 20
    # the rate so far, over 40 tokens per second, would have it done much sooner
    assert tally.snapshot().eta_seconds == pytest.approx(70, abs=1)
    clock.now += 60
    assert tally.snapshot().eta_seconds == pytest.approx(10, abs=1)
    clock.now += 60  # slower than the others were
    assert tally.snapshot().eta_seconds == pytest.approx(0.5, abs=0.1)


def simulate(lengths: list[int], concurrency: int, pace: float) -> list[tuple[float, float | None]]:
    """(seconds, estimate) after every completion, for requests that each get ``pace`` tokens per second."""
    clock = Clock()
    began = clock.now
    tally = Tally(total=len(lengths), clock=clock)
    running: list[tuple[float, int, Job, int]] = []
    waiting = list(enumerate(lengths))[::-1]
    seen = []
    while waiting or running:
        while waiting and len(running) < concurrency:
            number, length = waiting.pop()
            item = job()
            tally.started(item)
            heapq.heappush(running, (clock.now + length / pace, number, item, length))
        clock.now, _, item, length = heapq.heappop(running)
        tally.finished(item, finished(length))
        seen.append((clock.now - began, tally.snapshot().eta_seconds))
    return seen


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("concurrency", [64, 256])
def test_time_left_is_about_right_with_a_long_tail(seed: int, concurrency: int) -> None:
    rng = np.random.default_rng(seed)
    # Most are short, one in five runs into its limit: the shape of reasoning models.
    lengths = np.where(rng.random(480) < 0.2, LIMIT, np.minimum(rng.lognormal(4.5, 0.8, 480), LIMIT)).astype(int)
    seen = simulate([max(1, int(length)) for length in lengths], concurrency, pace=10.0)
    end = seen[-1][0]
    ratios = [eta / (end - seconds) for seconds, eta in seen if eta is not None and end / 5 < seconds < 0.95 * end]
    assert len(ratios) > 50
    low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])
    assert 0.8 < middle < 1.25
    assert 0.6 < low < high < 1.6


SNAPSHOT = Snapshot(
    total=480,
    stored=12,
    finished=400,
    failed=0,
    running=64,
    tokens=9,
    seconds=50.0,
    tokens_per_second=1234.4,
    eta_seconds=725,
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "toy: 412/480, 1,234 tokens/s, 64 running, 12 min left"),
        ({"failed": 3}, "toy: 412/480, 1,234 tokens/s, 64 running, 3 failed, 12 min left"),
        ({"eta_seconds": None}, "toy: 412/480, 1,234 tokens/s, 64 running, time left not known yet"),
        ({"running": 0, "finished": 468}, "toy: 480/480, 1,234 tokens/s, 0 running, took 50 s"),
    ],
)
def test_the_line(changes: dict[str, int], expected: str) -> None:
    assert line("toy", Snapshot(**{**vars(SNAPSHOT), **changes})) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (725, "12 min"), (5380, "1 h 30 min"), (90000, "25 h 00 min")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def at(seconds: float, **changes: int) -> Snapshot:
    return Snapshot(**{**vars(SNAPSHOT), "seconds": seconds, **changes})


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds_and_a_last_one() -> None:
    stream = io.StringIO()
    with progress_line("toy", silent=False, stream=stream) as progress:
        for tick in range(50):
            progress(at(tick / 2, finished=tick))
    shown = stream.getvalue().splitlines()
    assert [re.match(r"toy: (\d+)/480", text)[1] for text in shown] == ["12", "32", "52", "61"]  # type: ignore[index]
    assert "\x1b" not in stream.getvalue()


def test_the_last_line_is_shown_though_sampling_breaks_off() -> None:
    stream = io.StringIO()

    def sample() -> None:
        with progress_line("toy", silent=False, stream=stream) as progress:
            progress(at(0, finished=0))
            progress(at(1, finished=1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample()
    assert [text[:11] for text in stream.getvalue().splitlines()] == ["toy: 12/480", "toy: 13/480"]


def test_silent_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    with progress_line("toy", silent=True, stream=stream) as progress:
        progress(at(0))
        progress(at(100))
    assert stream.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_there_is_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with (
        open(slave, "w") as stream,
        progress_line("[bold]toy", silent=False, stream=stream) as progress,
    ):
        for finished_samples in (1, 2, 3):
            progress(at(1, finished=finished_samples))
    text = everything_in(master)
    assert "[bold]toy: 15/480" in text  # a title is no markup
    assert 3 <= text.count("480") <= 4  # drawn once per change, and perhaps at the end
    assert text.count("\n") <= 2
    assert "\x1b[2K" in text  # the line before is erased


def everything_in(master: int) -> str:
    """What was written to a terminal that is closed by now."""
    pieces = []
    with suppress(OSError):  # EIO says that there is no more
        while piece := os.read(master, 4096):
            pieces.append(piece)
    os.close(master)
    return b"".join(pieces).decode()
