"""Which server a request goes to."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.http.connection import Address, Connection
from extrap_eval.engines.http.pool import Pool, Trail
from extrap_eval.engines.http.probe import Served
from extrap_eval.engines.http.routing import Endpoint, choose
from extrap_eval.engines.http.vllm import Vllm

SERVED = Served(Vllm(), "m", None, None, True)


def endpoints(*loads: int) -> list[Endpoint]:
    made = [
        Endpoint(Connection(None, Address(f"http://server{i}")), SERVED)  # type: ignore[arg-type]
        for i in range(len(loads))
    ]
    for endpoint, load in zip(made, loads, strict=True):
        endpoint.outstanding = set(range(load))  # type: ignore[arg-type]
    return made


def test_the_same_affinity_meets_the_same_server_and_keys_spread_evenly() -> None:
    servers = endpoints(0, 0, 0, 0)
    first = [choose(servers, f"problem {i}") for i in range(400)]
    assert [choose(servers, f"problem {i}") for i in range(400)] == first
    assert min(Counter(first).values()) > 60  # 100 expected


@given(st.text(min_size=1), st.integers(2, 6), st.data())
def test_only_the_keys_of_a_server_that_goes_move(affinity: str, n: int, data: st.DataObject) -> None:
    servers = endpoints(*[0] * n)
    before = choose(servers, affinity)
    gone = data.draw(st.sampled_from(servers))
    gone.down = "gone"
    after = choose(servers, affinity)
    assert after is not gone
    assert after is before or before is gone


@given(
    st.text(),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.sets(st.integers(0, 4)),
    st.sets(st.integers(0, 4)),
)
def test_never_a_server_that_is_down_and_never_a_crowded_one(
    affinity: str, loads: list[int], down: set[int], failed: set[int]
) -> None:
    servers = endpoints(*loads)
    for i, server in enumerate(servers):
        server.down = "gone" if i in down else None
    avoid = [server for i, server in enumerate(servers) if i in failed]
    up = [server for server in servers if server.down is None]
    chosen = choose(servers, affinity, avoid)
    if not up:
        assert chosen is None
        return
    assert chosen in up
    candidates = [server for server in up if server not in avoid] or up
    assert chosen in candidates
    least = min(len(server.outstanding) for server in candidates)
    assert len(chosen.outstanding) <= 1.5 * least + 8
    if not affinity:
        assert len(chosen.outstanding) == least


@pytest.mark.parametrize(
    ("known", "bound", "stays", "leaves"), [(True, 256, 32, 33), (True, 16, 8, 9), (False, 256, 1, 2)]
)
def test_affinity_yields_only_to_a_less_loaded_server(known: bool, bound: int, stays: int, leaves: int) -> None:
    """A server that holds the prefix may be clearly busier; where none is known to, balance counts for more."""
    servers = endpoints(0, 0)
    for server in servers:
        server.bound = bound
    preferred = choose(servers, "trace")
    assert preferred is not None
    other = next(server for server in servers if server is not preferred)
    home = preferred if known else None
    for load, expected in [(stays, preferred), (leaves, other)]:
        preferred.outstanding = set(range(load))  # type: ignore[arg-type]
        assert choose(servers, "trace", home=home) is expected


def test_a_trace_stays_where_it_went_even_if_that_is_not_where_it_belongs() -> None:
    servers = endpoints(0, 0, 0)
    for i in range(20):
        for home in servers:
            assert choose(servers, f"trace {i}", home=home) is home
            assert choose(servers, f"trace {i}", avoid=[home], home=home) is not home


async def test_requests_of_one_trace_that_are_sent_together_meet_one_server() -> None:
    """Until one of them has been answered nobody has said that it holds their prefix."""
    pool = Pool(supervised=False)
    for endpoint in endpoints(0, 0):
        pool.add(endpoint)
    met: dict[str, Counter[str]] = {}
    for trace in range(12):
        for i in range(20):
            chosen = await pool.take(f"trace {trace}", Trail(), 1.0)
            chosen.outstanding.add((trace, i))  # type: ignore[arg-type]
            met.setdefault(f"trace {trace}", Counter())[chosen.base] += 1
    assert [len(servers) for servers in met.values()] == [1] * 12
    loads = [len(endpoint.outstanding) for endpoint in pool.endpoints]
    assert max(loads) - min(loads) <= 20  # whole traces, to whichever server had less


async def test_a_trace_whose_server_is_set_aside_settles_elsewhere() -> None:
    pool = Pool(supervised=False)
    for endpoint in endpoints(0, 0, 0):
        pool.add(endpoint)
    first = await pool.take("trace", Trail(), 1.0)
    pool.set_aside(first, "it is down")
    second = await pool.take("trace", Trail(), 1.0)
    assert second is not first
    for i in range(5):
        second.outstanding.add(i)  # type: ignore[arg-type]
        assert await pool.take("trace", Trail(), 1.0) is second


@pytest.mark.parametrize("requests", [60, 512])
def test_fresh_traces_are_spread_evenly(requests: int) -> None:
    """The busiest server decides when a run ends: of 60 on each of 8, plain hashing would put some 75 on one."""
    servers = endpoints(*[0] * 8)
    for i in range(8 * requests):
        chosen = choose(servers, f"p{i // 16}/{i % 16}")
        assert chosen is not None
        chosen.outstanding.add(i)  # type: ignore[arg-type]
    loads = [len(server.outstanding) for server in servers]
    assert max(loads) <= 1.15 * requests
