"""Who runs where, among the replicas of several models."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.servers.layout import Share
from extrap_eval.engines.servers.places import MOST, Places


def gpus(*indices: str) -> Share:
    return Share(gpus=indices)


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        pytest.param((gpus("0"), None), (gpus("1"), None), True, id="other GPUs"),
        pytest.param((gpus("0"), None), (gpus("0"), None), False, id="one GPU, all of it"),
        pytest.param((gpus("0"), 0.9), (gpus("0"), 0.9), False, id="more memory than there is"),
        pytest.param((gpus("0"), 0.45), (gpus("0"), 0.45), True, id="memory for both"),
        pytest.param((gpus("0"), 0.5), (gpus("0"), 0.5), False, id="nothing left for what lies beside"),
        pytest.param((gpus("0", "1"), None), (gpus("1", "2"), None), False, id="groups that overlap"),
        pytest.param((Share(cores=(0,)), None), (Share(cores=(1,)), None), True, id="other CPUs"),
        pytest.param((Share(cores=(0, 1)), 0.1), (Share(cores=(1,)), 0.1), False, id="CPUs are not divided"),
    ],
)
async def test_two_replicas(first: tuple[Share, float | None], second: tuple[Share, float | None], fits: bool) -> None:
    places = Places()
    await places.take(*first)
    waiting = asyncio.create_task(places.take(*second))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (waiting.done(), places.wanted(first[0])) == (fits, not fits)
    places.free(*first)
    await asyncio.wait_for(waiting, 5)
    assert not places.wanted(first[0])


async def test_who_stops_waiting_takes_nothing() -> None:
    places = Places()
    await places.take(gpus("0"), None)
    waiting = asyncio.create_task(places.take(gpus("0"), None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    places.free(gpus("0"), None)
    await asyncio.wait_for(places.take(gpus("0"), None), 5)


async def test_who_is_stopped_as_the_place_is_granted_gives_it_back() -> None:
    places = Places()
    await places.take(gpus("0"), None)
    waiting = asyncio.create_task(places.take(gpus("0"), None))
    await asyncio.sleep(0)
    places.free(gpus("0"), None)  # granted, and cancelled before it has noticed
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(places.take(gpus("0"), None), 5)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.2, 0.3, 0.45, 0.9, None])), max_size=12))
def test_no_gpu_is_ever_overbooked_and_everybody_has_a_turn(wishes: list[tuple[int, float | None]]) -> None:
    used = dict.fromkeys(map(str, range(4)), 0.0)
    most = dict.fromkeys(used, 0.0)

    async def serve(places: Places, gpu: str, fraction: float | None) -> None:
        await places.take(gpus(gpu), fraction)
        used[gpu] += fraction or 1.0
        most[gpu] = max(most[gpu], used[gpu])
        await asyncio.sleep(0)
        used[gpu] -= fraction or 1.0
        places.free(gpus(gpu), fraction)

    async def everybody() -> None:
        places = Places()
        await asyncio.wait_for(asyncio.gather(*(serve(places, str(gpu), part) for gpu, part in wishes)), 5)

    asyncio.run(everybody())
    assert all(value <= MOST + 1e-9 or value == pytest.approx(1.0) for value in most.values())
