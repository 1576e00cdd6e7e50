"""How many servers a cluster has room for: against the table, and against trying every way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.cluster.places import Need, Node, assumed_nodes, need_of, spread
from extrap_eval.errors import UserError


def cluster(*gpus_and_cpus: tuple[int, int]) -> list[Node]:
    return [Node(f"n{i}", f"10.0.0.{i}", gpus, cpus) for i, (gpus, cpus) in enumerate(gpus_and_cpus)]


@pytest.mark.parametrize(
    ("nodes", "tensor_parallel", "replicas", "need", "places"),
    [
        (cluster((8, 64), (8, 64), (8, 64), (8, 64)), 1, None, Need(gpus=1), 32),
        (cluster((8, 64), (8, 64), (8, 64), (8, 64)), 8, None, Need(gpus=8), 4),
        (cluster((8, 64), (8, 64), (8, 64), (8, 64)), 4, 3, Need(gpus=4), 3),
        (cluster((3, 64), (5, 64)), 2, None, Need(gpus=2), 3),  # one GPU of each node is left over
        (cluster((0, 64), (4, 64)), 1, None, Need(gpus=1), 4),  # a head node without GPUs gets no server
        (cluster((0, 1), (0, 1)), 1, None, Need(cpus=1), 2),
        (cluster((0, 16), (0, 16)), 1, None, Need(cpus=16), 2),
        (cluster((0, 16), (0, 16)), 1, 3, Need(cpus=8), 3),
        (cluster((0, 4), (0, 16)), 1, None, Need(cpus=8), 2),  # two halves of the large node beat one quarter each
        (cluster((0, 0), (0, 16)), 1, None, Need(cpus=16), 1),  # a head node that gives nothing away
        (cluster((0, 7), (0, 7)), 2, 6, Need(cpus=2), 6),
    ],
)
def test_what_a_replica_takes_and_how_many_fit(
    nodes: list[Node], tensor_parallel: int, replicas: int | None, need: Need, places: int
) -> None:
    found = need_of(nodes, tensor_parallel=tensor_parallel, replicas=replicas)
    assert found == need
    assert len(spread(nodes, found, replicas)) == places


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 12))
def test_cpus_are_the_most_that_leave_room_for_all(cpus: list[int], tensor_parallel: int, replicas: int) -> None:
    nodes = cluster(*((0, number) for number in cpus))
    possible = [k for k in range(tensor_parallel, 10) if sum(number // k for number in cpus) >= replicas]
    if not possible:
        with pytest.raises(UserError, match="lower --replicas or --tp"):
            need_of(nodes, tensor_parallel=tensor_parallel, replicas=replicas)
    else:
        found = need_of(nodes, tensor_parallel=tensor_parallel, replicas=replicas)
        assert found == Need(cpus=max(possible))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 4))
def test_no_gpu_is_given_twice_and_no_group_spans_nodes(gpus: list[int], tensor_parallel: int) -> None:
    nodes = cluster(*((number, 8) for number in gpus))
    places = spread(nodes, Need(gpus=tensor_parallel))
    taken = [(node.name, gpu) for node, group in places for gpu in group]
    assert len(taken) == len(set(taken))
    assert all(len(group) == tensor_parallel for _, group in places)
    assert all(int(gpu) < node.gpus for node, group in places for gpu in group)
    assert len(places) == sum(number // tensor_parallel for number in gpus)


def test_a_group_larger_than_every_node_is_refused() -> None:
    with pytest.raises(UserError, match=r"--tp 16: no node has so many GPUs \(the most is 8\).*--endpoint"):
        need_of(assumed_nodes(4, 8), tensor_parallel=16)


def test_more_replicas_than_room_are_refused() -> None:
    nodes = assumed_nodes(4, 8)
    with pytest.raises(UserError, match="--replicas 33: 4 nodes have room for 32 of 1 GPU each"):
        spread(nodes, need_of(nodes), 33)
