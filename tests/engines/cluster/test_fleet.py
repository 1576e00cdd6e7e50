"""A fleet on two nodes with real vLLM servers: what it does when an actor or a node is gone."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.cluster.connect import connected
from extrap_eval.engines.cluster.fleet import ClusterFleet, find_room
from extrap_eval.engines.servers.launch import ServerSpec
from extrap_eval.errors import UserError
from tests.engines.cluster.conftest import Cluster
from tests.engines.cluster.ray_nodes import RayNode

START_SECONDS = 600


def spec(model: Path, python: Path) -> ServerSpec:
    return ServerSpec("vllm", str(python), str(model), "residue", 1024, memory_fraction=0.05)


async def eventually(what: str, holds: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while not holds():
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def actors(node: RayNode) -> list[int]:
    return [p.pid for p in node.processes() if p.cmdline()[:1] and p.cmdline()[0].startswith("ray::ServerActor")]


async def answers(fleet: ClusterFleet, prompt: np.ndarray) -> set[str]:
    """The servers that answered 24 requests of new traces; those of old ones stay where they are."""
    request = GenerationRequest(prompt_token_ids=prompt, max_tokens=24)
    asked = [fleet.generate(dataclasses.replace(request, affinity=secrets.token_hex(8))) for _ in range(24)]
    return {generation.server for generation in await asyncio.gather(*asked)}


async def test_lost_actors_and_nodes_come_back_at_other_addresses(
    cluster: Cluster, small_model: Path, engine_python: Path, prompt: np.ndarray, tmp_path: Path
) -> None:
    room = find_room(cluster.address)
    assert (room.need.cpus, room.most) == (1, 2)
    fleet = ClusterFleet(spec(small_model, engine_python), room, logs=tmp_path, api_key="k" * 24)
    async with fleet:

        def serving() -> set[str]:
            return {state.url or "" for state in fleet.states() if state.phase == "serving"}

        def restarts() -> int:
            return sum(state.restarts for state in fleet.states())

        await eventually("both serve", lambda: len(serving()) == 2)
        first = serving()
        assert await answers(fleet, prompt) == first

        (pid,) = actors(cluster.nodes[0])
        os.kill(pid, signal.SIGKILL)
        await eventually("it is noticed", lambda: restarts() == 1)
        await eventually("Ray has started the actor again", lambda: len(serving()) == 2)
        assert actors(cluster.nodes[0]) not in ([], [pid])
        assert await answers(fleet, prompt) == serving()

        cluster.lose()
        await eventually("it is noticed", lambda: restarts() == 2)
        assert len(await answers(fleet, prompt)) == 1  # the other one serves meanwhile
        new = cluster.grow()
        await eventually("the new node serves", lambda: len(serving()) == 2)
        assert actors(new)
        assert serving() != first
        assert await answers(fleet, prompt) == serving()


async def test_a_full_cluster_says_so_and_a_number_of_replicas_is_waited_for(
    cluster: Cluster, small_model: Path, engine_python: Path, tmp_path: Path
) -> None:
    import ray

    said: list[str] = []

    def fleet(replicas: int | None) -> ClusterFleet:
        room = find_room(cluster.address, replicas=replicas)
        return ClusterFleet(spec(small_model, engine_python), room, logs=tmp_path, api_key="k" * 24, say=said.append)

    with connected(cluster.address):  # somebody who is there before, and stays
        taken = [ray.util.placement_group([{"CPU": 1}]) for _ in range(2)]
        assert all(group.wait(START_SECONDS) for group in taken)
        with pytest.raises(UserError, match=r"the cluster has nothing free: a replica takes 1 CPU; .*--replicas N"):
            async with fleet(None):
                pass
        waiting = asyncio.create_task(fleet(2).__aenter__())
        await eventually("it says what it waits for", lambda: any("1 CPU free" in line for line in said))
        ray.util.remove_placement_group(taken[0])
        entered = await waiting
        try:
            assert [state.phase for state in entered.states()].count("serving") == 1
        finally:
            await entered.__aexit__(None, None, None)
        ray.util.remove_placement_group(taken[1])
        free = [ray.util.placement_group([{"CPU": 1}]) for _ in range(2)]
        assert all(group.wait(START_SECONDS) for group in free)  # nothing of the fleet is left


async def test_weights_that_a_node_does_not_see(cluster: Cluster, engine_python: Path, tmp_path: Path) -> None:
    room = find_room(cluster.address, replicas=1)
    fleet = ClusterFleet(spec(tmp_path / "nowhere", engine_python), room, logs=tmp_path, api_key="k" * 24)
    with pytest.raises(UserError, match="nowhere is not there: put the weights on a file system that all nodes share"):
        async with fleet:
            pass
