"""Which server a request goes to."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.http.connection import Address, Connection
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


def test_affinity_yields_only_to_a_clearly_less_loaded_server() -> None:
    servers = endpoints(0, 0)
    preferred = choose(servers, "trace")
    assert preferred is not None
    other = next(server for server in servers if server is not preferred)
    for load, expected in [(8, preferred), (9, other)]:
        preferred.outstanding = set(range(load))  # type: ignore[arg-type]
        assert choose(servers, "trace") is expected
