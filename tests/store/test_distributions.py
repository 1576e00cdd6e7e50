"""Distributions of tokens beside the ids: journal, parts, readers, and runs from before there were any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.scoring.distributions import TokenDistributions, condense
from extrap_eval.store import Completion, open_run
from extrap_eval.store.parquet import completion_schema, part_schema
from tests.store.making import completion, make_run

TOP = 5


def kept_of(item: Completion, top: int = TOP) -> TokenDistributions:
    """Of random distributions that follow from the key."""
    rng = np.random.default_rng([item.sample_index, len(item.token_ids)])
    p = -np.sort(-rng.dirichlet(np.full(50, 0.1), len(item.token_ids)))
    return condense(np.log(p[:, 2]), np.log(p[:, :top]))


def with_kept(item: Completion) -> Completion:
    return replace(item, distributions=kept_of(item))


def same(one: TokenDistributions | None, other: TokenDistributions | None) -> bool:
    if one is None or other is None:
        return one is other
    names = ("entropy", "branching", "covered", "chosen")
    arrays = all(
        getattr(one, name).dtype == getattr(other, name).dtype and (getattr(one, name) == getattr(other, name)).all()
        for name in names
    )
    return arrays and (one.full, one.top) == (other.full, other.top)


@pytest.mark.parametrize("sealed", [False, True])
def test_every_value_comes_back_as_it_was_condensed(tmp_path: Path, sealed: bool) -> None:
    run = make_run(tmp_path / "run")
    items = [with_kept(completion(f"p{i}", j)) for i in range(3) for j in range(2)]
    with run.writer() as writer:
        writer.append(items)
        if sealed:
            writer.seal()
    found = {item.key: item for item in open_run(run.path).completions()}
    for item in items:
        assert same(found[item.key].distributions, item.distributions)
        assert (found[item.key].token_ids == item.token_ids).all()
    assert all(item.distributions is None for item in run.completions(columns=["token_ids"]))
    assert all(len(item.token_ids) == 0 for item in run.completions(columns=["distributions"]))
    assert [item.distributions is None for item in run.completions(columns=["distributions"])] == [False] * 6


@pytest.mark.parametrize("sealed", [(True, True), (True, False), (False, False)])
def test_samples_with_and_without_lie_side_by_side(tmp_path: Path, sealed: tuple[bool, bool]) -> None:
    run = make_run(tmp_path / "run")
    plain = [completion(f"p{i}", 0) for i in range(3)]
    kept = [with_kept(completion(f"p{i}", 1)) for i in range(3)]
    for items, seal in zip((plain, kept), sealed, strict=True):
        with run.writer() as writer:
            writer.append(items)
            if seal:
                writer.seal()
    with run.writer() as writer:
        writer.seal()
    found = {item.key: item.distributions for item in run.completions()}
    assert all(same(found[item.key], item.distributions) for item in (*plain, *kept))
    for shard in run.shards():
        assert all(len(item.token_ids) == item.n_tokens for item in run.shard(shard))


def test_a_part_without_any_is_what_it_was_before_there_were_any(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer() as writer:
        writer.append([completion("p0", 0)])
        writer.seal()
        writer.append([with_kept(completion("p1", 0))])
        writer.seal()
    first, second = sorted((run.path / "completions" / "rollout").glob("part-*.parquet"))
    assert part_schema(first).equals(completion_schema())
    assert part_schema(second).equals(completion_schema(distributed=True))


def test_text_that_looks_like_the_column_does_not_make_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer() as writer:
        writer.append([replace(completion("p0", 0), text='{"distributions": 1, "distributions":2}')])
        writer.seal()
    (part,) = (run.path / "completions" / "rollout").glob("part-*.parquet")
    assert part_schema(part).equals(completion_schema())


def test_the_digest_does_not_depend_on_them(tmp_path: Path) -> None:
    digests = []
    for name, change in (("with", with_kept), ("without", lambda item: item)):
        run = make_run(tmp_path / name)
        with run.writer() as writer:
            writer.append([change(completion("p0", 0))])
        digests.append(run.digest())
    assert digests[0] == digests[1]


def test_they_take_eight_bytes_a_token_before_compression(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run = make_run(tmp_path / "run")
    item = with_kept(completion("p0", 0, longest=20_000))
    with run.writer() as writer:
        writer.append([item])
        writer.seal()
    (part,) = (run.path / "completions" / "rollout").glob("part-*.parquet")
    group = pq.read_metadata(part).row_group(0)
    sizes = {
        group.column(i).path_in_schema.split(".")[0]: group.column(i).total_compressed_size
        for i in range(group.num_columns)
    }
    assert sum(sizes[name] for name in ("entropy", "branching", "covered", "chosen_logprob")) < 8.5 * item.n_tokens
