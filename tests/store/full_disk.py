"""What a run does on a file system that fills up; started by test_full_disk.py on a tiny one of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.scoring.timeline import Timeline
from extrap_eval.store import AnswerRow, Key, Run, open_run
from tests.store.making import completion, content, make_run

LONGEST = 3000
GROUP = 4


def refusal(act: object, *arguments: object) -> str:
    try:
        act(*arguments)  # type: ignore[operator]
    except UserError as error:
        return str(error)
    raise AssertionError("the full disk refused nothing")


def whole(run: Run) -> bool:
    """Whether everything stored is what was sampled."""
    return all(content(item) == content(completion(*item.key, longest=LONGEST)) for item in run.completions())


def fill_up(path: Path) -> None:
    """Take all space there is."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def score(run: Run, answer: str, count: int) -> None:
    with run.layer("default").writer(run.digest()) as layer:
        for index in range(count):
            ends = np.sort(np.random.default_rng(index).integers(0, 1 << 30, 200).astype(np.int32))
            layer.add("p0", index, Timeline(9, True, -1, -1, ends, ends, (answer,) * 200))
        layer.commit([AnswerRow("p0", "0", answer, "correct", 0)], settings={}, versions={})


def main(directory: Path) -> dict[str, object]:
    run = make_run(directory / "run", n=200)
    score(run, "before", 1)
    keys = run.missing()
    ballast = directory / "ballast"
    ballast.write_bytes(b"\0" * 1_000_000)
    acknowledged: set[Key] = set()
    found: dict[str, object] = {}
    with run.writer() as writer:
        while "append" not in found:
            group = keys[len(acknowledged) : len(acknowledged) + GROUP]
            try:
                writer.append([completion(*key, longest=LONGEST) for key in group])
                acknowledged.update(group)
            except UserError as error:
                found["append"] = str(error)
        stored = open_run(run.path).keys()  # what fitted of the refused group is kept too
        found["after_append"] = (acknowledged <= stored < acknowledged | set(group), whole(run), len(acknowledged))
        fill_up(directory / "rest")
        found["seal"] = refusal(writer.seal)
        found["after_seal"] = (open_run(run.path).keys() == stored, whole(run))
        found["leftovers"] = [path.name for path in run.path.rglob("*.tmp")]
        found["score"] = refusal(score, run, "after", 50)
        found["layer"] = run.layer("default").answers()["answer"].tolist()
        found["layer_files"] = len(list((run.path / "scores" / "default").glob("*.parquet")))
        found["top_up"] = refusal(make_run, directory / "another")
        ballast.unlink()
        (directory / "rest").unlink()
        for start in range(len(acknowledged), len(acknowledged) + 40, GROUP):
            writer.append([completion(*key, longest=LONGEST) for key in keys[start : start + GROUP]])
        writer.seal()
    found["after_mend"] = (run.keys() == set(keys[: len(acknowledged) + 40]) | stored, whole(run))
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
