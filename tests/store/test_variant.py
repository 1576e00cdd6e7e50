"""Stages of what follows from traces: places, promises, and what may and may not join them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from extrap_eval.errors import UserError
from extrap_eval.store import Completion, Run, open_run
from tests.store.making import completion, content, ids_of, make_run

SETTINGS = {"text": "Time is up.", "cap": 4096, "phrases": ["Wait"]}
PLACES = [
    (f"p{p}", i, step, replicate) for p in range(2) for i in range(2) for step in range(3) for replicate in range(2)
]


def placed(stage: str, place: tuple[str, int, int, int]) -> Completion:
    problem_id, index, step, replicate = place
    ids = ids_of(problem_id, 100 * index + 10 * step + replicate)
    return Completion(
        problem_id,
        index,
        stage,
        token_ids=ids,
        finish_reason="stop",
        step=step,
        replicate=replicate,
        prefix_tokens=7 * step,
    )


def fill(run: Run, stage: str, places: list[tuple[str, int, int, int]], *, seal: bool = False) -> None:
    with run.writer(stage) as writer:
        writer.append([placed(stage, place) for place in places])
        if seal:
            writer.seal()


def test_places_come_back_from_journal_and_parts_once_each(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    stage = run.put_variant("probe", SETTINGS, {"replicates": 2})[0].name
    fill(run, stage, PLACES[:9], seal=True)
    fill(run, stage, PLACES[7:15])  # two of them twice
    fill(run, stage, PLACES[15:], seal=True)
    assert run.places(stage) == set(PLACES)
    assert run.keys(stage) == {place[:2] for place in PLACES}
    found = list(run.completions(stage))
    assert sorted(item.place for item in found) == sorted(PLACES)
    for item in found:
        assert item.prefix_tokens == 7 * (item.step or 0)
        assert content(item) == content(placed(stage, item.place))
    names = sorted(path.name for path in (run.path / "completions" / stage).iterdir())
    assert names == ["journal.jsonl", "part-00000.parquet", "part-00001.parquet", "variant.json"]


def test_rollouts_keep_the_columns_that_they_always_had(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer() as writer:
        writer.append([completion("p0", 0)])
        writer.seal()
    assert "step" not in pq.read_schema(run.path / "completions" / "rollout" / "part-00000.parquet").names
    (item,) = run.completions()
    assert (item.step, item.replicate, item.prefix_tokens) == (None, None, None)


def test_the_digest_tells_places_apart(tmp_path: Path) -> None:
    digests = []
    for name, step in (("one", 0), ("two", 1)):
        run = make_run(tmp_path / name)
        with run.writer("probe") as writer:
            writer.append([replace(placed("probe", PLACES[0]), step=step)])
        digests.append(run.digest("probe"))
    assert digests[0] != digests[1]


def test_a_stage_holds_rollouts_or_places_and_not_both(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer("probe") as writer:
        writer.append([placed("probe", PLACES[0])])
        with pytest.raises(ValueError, match="some completions have a place in a trace and some have none"):
            writer.append([completion("p0", 0, "probe")])


def test_other_settings_are_another_variant_and_a_promise_only_grows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first, new = run.put_variant("probe", SETTINGS, {"replicates": 4, "samples": 2})
    assert new
    assert run.put_variant("probe", SETTINGS, {"replicates": 2, "samples": 3}) == (
        replace(first, promise={"replicates": 4, "samples": 3}),
        False,
    )
    other, new = run.put_variant("probe", SETTINGS | {"cap": 512}, {"replicates": 4})
    assert new
    assert other.name != first.name
    assert run.put_variant("force", SETTINGS, {})[0].name not in (first.name, other.name)
    again = open_run(run.path)
    assert {variant.name for variant in again.variants("probe")} == {first.name, other.name}
    assert len(again.variants()) == 3
    assert again.stages() == sorted(variant.name for variant in again.variants())


def test_a_name_follows_from_kind_and_settings_alone(tmp_path: Path) -> None:
    names = set()
    for name in ("one", "two"):
        run = make_run(tmp_path / name)
        shuffled = dict(reversed(SETTINGS.items())) if name == "two" else SETTINGS
        names.add(run.put_variant("probe", shuffled, {"replicates": len(names)})[0].name)
    assert len(names) == 1


def test_complete_holds_until_the_promise_grows_or_something_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    variant = run.put_variant("probe", SETTINGS, {"replicates": 2})[0]
    fill(run, variant.name, PLACES)
    assert variant.complete is None
    complete = run.complete_variant(variant)
    assert complete.complete == {variant.name: run.digest(variant.name)}
    assert run.put_variant("probe", SETTINGS, {"replicates": 2})[0] == complete
    assert open_run(run.path).variants("probe") == [complete]
    assert run.put_variant("probe", SETTINGS, {"replicates": 3})[0].complete is None


def test_a_damaged_variant_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    variant = run.put_variant("probe", SETTINGS, {})[0]
    path = run.path / "completions" / variant.name / "variant.json"
    for text in ("", "{", json.dumps({"kind": "probe"})):
        path.write_text(text)
        with pytest.raises(UserError, match=r"variant\.json: damaged .* restore it from a copy of the run"):
            run.variants()


def test_a_run_of_an_older_version_opens_and_takes_variants(tmp_path: Path) -> None:
    """As the first version wrote it: rollouts without places, a manifest without variants."""
    run = make_run(tmp_path / "run", n=1)
    with run.writer() as writer:
        writer.append([completion(f"p{p}", 0) for p in range(3)])
        writer.seal()
    old = open_run(run.path)
    assert old.variants() == []
    assert old.missing() == []
    stage = old.put_variant("probe", SETTINGS, {})[0].name
    fill(old, stage, PLACES[:2])
    assert len(old.places(stage)) == 2
    assert len(list(old.completions())) == 3
