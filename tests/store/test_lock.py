from __future__ import annotations

import json
import socket
from multiprocessing import Pipe
from pathlib import Path

import pytest

from extrap_eval.errors import UserError
from extrap_eval.store import open_run
from tests.store.making import completion, make_run
from tests.store.writing import hold_lock, start


def test_a_second_writer_is_told_who_the_first_is_until_that_dies(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    ours, theirs = Pipe(duplex=False)
    child = start(hold_lock, run.path, theirs)
    assert ours.recv() == "open"
    expected = f"another process is writing here (pid {child.pid} on {socket.gethostname()} since "
    for act in (lambda: run.writer().__enter__(), lambda: make_run(run.path)):
        with pytest.raises(UserError) as error:
            act()
        assert expected in str(error.value)
    assert run.keys() == set()  # reading needs no lock
    child.kill()
    child.join()
    assert json.loads((run.path / "lock.json").read_text())["pid"] == child.pid
    with run.writer() as writer:
        writer.append([completion("p0", 0)])
    assert not (run.path / "lock.json").exists()


def test_two_objects_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer():
        with pytest.raises(UserError, match="another process is writing here"), open_run(run.path).writer():
            pass
        with run.writer("probe"):  # one owner may write several stages
            pass
        with pytest.raises(UserError, match="another process"):
            make_run(run.path)
    make_run(run.path)


def test_a_writer_that_could_not_open_its_journal_holds_no_lock(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    journal = run.path / "completions" / "rollout" / "journal.jsonl"
    journal.mkdir(parents=True)
    with pytest.raises(UserError, match="Is a directory"), run.writer():
        pass
    journal.rmdir()
    with open_run(run.path).writer():
        pass


def test_an_unreadable_owner_file_does_not_hide_the_lock(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer():
        (run.path / "lock.json").write_text("half a fi")
        with pytest.raises(UserError, match=r"see .*lock\.json"), open_run(run.path).writer():
            pass
