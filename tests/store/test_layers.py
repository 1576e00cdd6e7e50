from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.scoring.timeline import Timeline
from extrap_eval.store import AnswerRow, ScoreLayer, ScoreWriter, open_run
from tests.store.making import completion, make_run

ANSWERS = [AnswerRow("p0", "4", "4", "correct", 0), AnswerRow("p0", "4", r"\frac{1}{2} ", "unparsable", 1)]


def timeline(seed: int) -> Timeline:
    rng = np.random.default_rng(seed)
    events = int(rng.integers(0, 5))
    ends = np.sort(rng.integers(1, 1000, events)).astype(np.int32)
    answers = tuple(rng.choice(["", "4", "1/2", "π"], events).tolist())
    return Timeline(1000 + seed, bool(seed % 2), int(rng.integers(-1, 900)), seed - 3, ends, ends - 1, answers)


def values(item: Timeline) -> tuple[object, ...]:
    return (
        item.n_tokens,
        item.finished,
        item.think_end,
        item.loop_start,
        item.ends.dtype.str,
        item.ends.tolist(),
        item.starts.dtype.str,
        item.starts.tolist(),
        item.answers,
    )


def write(layer: ScoreLayer, seeds: range, answers: list[AnswerRow], *, digest: str = "d") -> None:
    with layer.writer(digest) as writer:
        for seed in seeds:
            writer.add(f"p{seed % 2}", seed, timeline(seed))
        writer.commit(answers, settings={"think_close": "</think>"}, versions={"math-verify": "0.9.0"})


def test_a_layer_gives_back_what_was_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write(run.layer("default"), range(30), ANSWERS)
    layer = open_run(run.path).layer("default")
    assert layer.exists()
    assert [(key, values(item)) for key, item in layer.timelines()] == [
        ((f"p{seed % 2}", seed), values(timeline(seed))) for seed in range(30)
    ]
    score = layer.score()
    assert score["settings"] == {"think_close": "</think>"}
    assert score["versions"] == {"math-verify": "0.9.0"}
    assert score["counts"] == {"timelines": 30, "answers": 2}
    answers = layer.answers()
    assert [AnswerRow(**row) for row in answers.to_dict("records")] == ANSWERS


def test_timelines_as_a_table(tmp_path: Path) -> None:
    layer = make_run(tmp_path / "run").layer()
    write(layer, range(6), [])
    frame = layer.timeline_frame()
    assert list(frame) == ["problem_id", "sample_index", "n_tokens", "finished", "think_end", "loop_start"]
    assert frame["n_tokens"].tolist() == [1000 + seed for seed in range(6)]
    assert frame["finished"].tolist() == [seed % 2 == 1 for seed in range(6)]
    some = layer.timeline_frame(["ends", "answers"])
    assert [list(ends) for ends in some["ends"]] == [timeline(seed).ends.tolist() for seed in range(6)]
    assert [tuple(answers) for answers in some["answers"]] == [timeline(seed).answers for seed in range(6)]
    with pytest.raises(ValueError, match="no such column: verdict"):
        layer.timeline_frame(["verdict"])


def test_an_empty_layer_has_its_columns(tmp_path: Path) -> None:
    layer = make_run(tmp_path / "run").layer()
    write(layer, range(0), [])
    assert list(layer.timelines()) == []
    assert layer.timeline_frame().shape == (0, 6)
    assert list(layer.answers()) == ["problem_id", "gold", "answer", "verdict", "class_id"]


def test_scoring_again_replaces_the_layer_and_leaves_no_old_files(tmp_path: Path) -> None:
    layer = make_run(tmp_path / "run").layer()
    write(layer, range(3), ANSWERS)
    write(layer, range(5), ANSWERS[:1])
    assert len(list(layer.timelines())) == 5
    assert len(layer.answers()) == 1
    assert len(list(layer.path.glob("*.parquet"))) == 2


def test_nothing_is_seen_of_a_layer_before_its_commit(tmp_path: Path) -> None:
    layer = make_run(tmp_path / "run").layer()

    def give_up(writer: ScoreWriter) -> None:
        writer.add("p0", 0, timeline(0))
        assert not layer.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), layer.writer("d") as writer:
        give_up(writer)
    assert not layer.exists()
    with pytest.raises(UserError, match=r"scores/default: not scored yet"):
        layer.score()
    assert [path.name for path in layer.path.iterdir()] == [".lock"]


def test_an_interrupted_scoring_leaves_the_layer_that_was_there(tmp_path: Path) -> None:
    layer = make_run(tmp_path / "run").layer()
    write(layer, range(3), ANSWERS)
    with layer.writer("other") as writer:
        writer.add("p0", 0, timeline(0))
    assert len(list(layer.timelines())) == 3
    assert layer.made_from("d")

    def broken() -> Iterator[AnswerRow]:
        yield ANSWERS[0]
        raise RuntimeError("the judge broke")

    with layer.writer("other") as writer:
        writer.add("p0", 0, timeline(0))
        with pytest.raises(RuntimeError, match="the judge broke"):
            writer.commit(broken(), settings={}, versions={})
    assert len(list(layer.timelines())) == 3
    write(layer, range(4), ANSWERS)
    assert len(list(layer.path.glob("*.parquet"))) == 2


def test_a_layer_knows_whether_the_completions_have_changed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    layer = run.layer()
    assert not layer.made_from(run.digest())
    with run.writer() as writer:
        writer.append([completion("p0", 0)])
        write(layer, range(1), [], digest=run.digest())
        assert layer.made_from(run.digest())
        writer.seal()
        assert layer.made_from(run.digest())
        writer.append([completion("p0", 1)])
    assert not layer.made_from(run.digest())


def test_two_layers_are_apart_and_one_is_written_by_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write(run.layer("default"), range(2), [])
    write(run.layer("strict"), range(3), [])
    assert len(list(run.layer("default").timelines())) == 2
    with (
        run.writer(),  # sampling goes on meanwhile
        run.layer("default").writer("d"),
        pytest.raises(UserError, match="another process is writing here"),
        run.layer("default").writer("d"),
    ):
        pass


@pytest.mark.parametrize("text", ["", "{}", '{"files": {}}', "[]"])
def test_a_damaged_layer_is_one_line(tmp_path: Path, text: str) -> None:
    layer = make_run(tmp_path / "run").layer()
    write(layer, range(2), ANSWERS)
    (layer.path / "score.json").write_text(text)
    with pytest.raises(UserError, match=r"score\.json: damaged .*: score the run again"):
        list(layer.timelines())


def test_a_missing_file_of_a_layer_is_one_line(tmp_path: Path) -> None:
    layer = make_run(tmp_path / "run").layer()
    write(layer, range(2), ANSWERS)
    name = json.loads((layer.path / "score.json").read_text())["files"]["answers"]
    (layer.path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: .*: score the run again"):
        layer.answers()
