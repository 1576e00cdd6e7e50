from __future__ import annotations

import random
import time
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

import pytest

from tests.store.making import completion, content, make_run
from tests.store.writing import start, write_missing

KILLS = 60
PROBLEMS = 30


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    promised = 40
    run = make_run(tmp_path / "run", count=PROBLEMS, n=promised)
    rng = random.Random(0)
    acknowledged: set[tuple[str, int]] = set()
    interrupted = 0
    for turn in range(KILLS):
        if len(run.missing()) < 200:  # always more to write than a writer gets done before it is killed
            promised += 40
            run = make_run(run.path, count=PROBLEMS, n=promised)
        ours, theirs = Pipe(duplex=False)
        child = start(write_missing, run.path, theirs, turn)
        theirs.close()
        assert ours.recv() == "open"
        messages = []
        with suppress(EOFError, OSError):
            for _ in range(rng.randint(0, 3)):
                messages.append(ours.recv())
            acknowledged.update(*(group for group in messages if group != "done"))
            assert acknowledged <= run.keys()  # read while it writes and seals
            time.sleep(rng.uniform(0, 0.005))
            child.kill()
            child.join()
            while True:
                messages.append(ours.recv())
        interrupted += "done" not in messages
        acknowledged.update(*(group for group in messages if group != "done"))
        found = [item.key for item in run.completions(columns=[])]
        assert len(found) == len(set(found))
        assert acknowledged <= set(found)
    assert interrupted > 0.9 * KILLS  # else the kills came too late to show anything
    assert len(acknowledged) > KILLS

    ours, theirs = Pipe(duplex=False)
    child = start(write_missing, run.path, theirs, KILLS)
    child.join()
    assert child.exitcode == 0
    assert run.missing() == []
    stored = {item.key: content(item) for item in run.completions()}
    assert stored == {key: content(completion(*key)) for key in stored}
    assert len(stored) == PROBLEMS * promised
