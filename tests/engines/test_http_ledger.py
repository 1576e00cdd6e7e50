"""What is known of each server: its counters as the real servers print them, and what the client counts itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from extrap_eval.engines.base import Generation
from extrap_eval.engines.http.answers import Load
from extrap_eval.engines.http.connection import Fault
from extrap_eval.engines.http.ledger import Ledger
from extrap_eval.engines.http.sglang import Sglang
from extrap_eval.engines.http.vllm import Vllm


def load(generated: float | None, looked_up: float | None = None, found: float | None = None) -> Load:
    return Load((1.0,), generated=generated, looked_up=looked_up, found=found)


def test_speed_is_that_of_the_last_looks() -> None:
    ledger = Ledger()
    assert ledger.tokens_per_second is None
    for now, generated in [(0, 0), (5, 5000), (10, 6000), (15, 7000), (20, 8000)]:
        ledger.looked(load(generated), now)
    assert ledger.tokens_per_second == 200  # the first five seconds are forgotten


def test_a_server_that_was_started_anew_begins_at_nothing() -> None:
    ledger = Ledger()
    for now, generated in [(0, 1000), (5, 2000), (10, 30)]:
        ledger.looked(load(generated, looked_up=generated, found=generated / 2), now)
    assert ledger.tokens_per_second is None
    assert ledger.cache_hit_rate is None
    ledger.looked(load(530, looked_up=130, found=40), 15)
    assert ledger.tokens_per_second == 100
    assert ledger.cache_hit_rate == pytest.approx((40 - 15) / 100)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(1000, 400), (1000, 400)], None),  # nothing was asked since the first look
        ([(1000, 400), (1100, 475)], 0.75),
        ([(1000, 400), (1100, 475), (1500, 475)], 0.15),
        ([(None, None), (1100, 475)], None),
    ],
)
def test_hits_are_counted_since_the_first_look(looks: list[tuple[Any, Any]], expected: float | None) -> None:
    ledger = Ledger()
    for now, (looked_up, found) in enumerate(looks):
        ledger.looked(load(now, looked_up, found), now)
    assert ledger.cache_hit_rate == expected


def test_what_servers_without_counters_did_is_counted_here() -> None:
    ledger = Ledger()
    ledger.completed(Generation(np.zeros(30, dtype=np.int32), "stop", prompt_tokens=10))
    assert (ledger.finished, ledger.tokens, ledger.prompt_tokens, ledger.cached_tokens) == (1, 30, 10, None)
    ledger.completed(Generation(np.zeros(5, dtype=np.int32), "stop", prompt_tokens=10, cached_tokens=0))
    assert ledger.cached_tokens == 0
    ledger.completed(Generation(np.zeros(5, dtype=np.int32), "stop", prompt_tokens=10, cached_tokens=9))
    assert (ledger.finished, ledger.tokens, ledger.prompt_tokens, ledger.cached_tokens) == (3, 40, 30, 9)


class Pages:
    """A connection to pages that are known; a missing one answers 404, None fails."""

    base = "http://server"

    def __init__(self, **pages: bytes | None) -> None:
        self.pages = pages

    async def get(self, path: str) -> bytes | None:
        name = path.strip("/").partition("?")[0].replace("/", "_")
        if name in self.pages and self.pages[name] is None:
            raise Fault("no answer")
        return self.pages.get(name)


VLLM = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="{0}",model_name="m"}} 128.0
vllm:num_requests_waiting{{engine="{0}",model_name="m"}} 12.0
vllm:num_requests_waiting_by_reason{{engine="{0}",model_name="m",reason="capacity"}} 12.0
vllm:kv_cache_usage_perc{{engine="{0}",model_name="m"}} {1}
vllm:prefix_cache_queries_total{{engine="{0}",model_name="m"}} 6732.0
vllm:prefix_cache_queries_created{{engine="{0}",model_name="m"}} 1.795277384104703e+09
vllm:prefix_cache_hits_total{{engine="{0}",model_name="m"}} 4864.0
vllm:external_prefix_cache_hits_total{{engine="{0}",model_name="m"}} 7.0
vllm:prompt_tokens_total{{engine="{0}",model_name="m"}} 6732.0
vllm:generation_tokens_total{{engine="{0}",model_name="m"}} 55723.0
vllm:generation_tokens_created{{engine="{0}",model_name="m"}} 1.795277384104703e+09
"""


async def test_a_page_of_vllm() -> None:
    connection: Any = Pages(metrics=VLLM.format(0, 0.25).encode())
    assert await Vllm().progress(connection) == Load(
        (6732.0, 55723.0), 128, 12, generated=55723, looked_up=6732, found=4864, cache_used=0.25
    )


async def test_two_engines_behind_one_url_of_vllm() -> None:
    connection: Any = Pages(metrics=(VLLM.format(0, 0.25) + VLLM.format(1, 0.75)).encode())
    got = await Vllm().progress(connection)
    assert got is not None
    assert (got.running, got.waiting, got.generated, got.looked_up, got.found) == (256, 24, 111446, 13464, 9728)
    assert got.cache_used == 0.5


async def test_a_vllm_without_these_counters() -> None:
    connection: Any = Pages(metrics=b"vllm:generation_tokens_total 5.0\n")
    assert await Vllm().progress(connection) == Load((5.0,), generated=5)
    none: Any = Pages(metrics=b"")
    assert await Vllm().progress(none) is None


def sglang_rank(**changes: Any) -> dict[str, Any]:
    rank = {
        "dp_rank": 0, "num_running_reqs": 24, "num_waiting_reqs": 3, "num_used_tokens": 1080, "token_usage": 0.25,
        "gen_throughput": 17.63, "total_prefill_uncached_tokens": 63, "decode_moments": [6.0, 6.0, 7.0, 6.0, 1711.0],
    }  # fmt: skip
    return rank | changes


SGLANG = """\
sglang:prefill_effective_tokens_total{{engine_type="u",mode="input",model_name="m",tp_rank="{0}"}} 1000.0
sglang:prefill_effective_tokens_total{{engine_type="u",mode="device_hit",model_name="m",tp_rank="{0}"}} 2500.0
sglang:prefill_effective_tokens_total{{engine_type="u",mode="host_hit",model_name="m",tp_rank="{0}"}} 500.0
sglang:realtime_tokens_total{{engine_type="u",mode="prefill_compute",model_name="m",tp_rank="{0}"}} 1077.0
sglang:realtime_tokens_total{{engine_type="u",mode="decode",model_name="m",tp_rank="{0}"}} 1999.0
"""


@pytest.mark.parametrize("metrics", [SGLANG.format(0), SGLANG.format(0) + SGLANG.format(1)])
async def test_a_page_of_sglang(metrics: str) -> None:
    loads = orjson.dumps({"loads": [sglang_rank()]})
    connection: Any = Pages(v1_loads=loads, metrics=metrics.encode())
    assert await Sglang().progress(connection) == Load(
        (1080.0, 63.0), 24, 3, generated=1999, looked_up=4000, found=3000, cache_used=0.25
    )


@pytest.mark.parametrize("pages", [{}, {"metrics": None}, {"metrics": b"other 1.0\n"}])
async def test_a_sglang_without_metrics(pages: dict[str, bytes | None]) -> None:
    loads = orjson.dumps({"loads": [sglang_rank(), sglang_rank(token_usage=0.75)]})
    connection: Any = Pages(v1_loads=loads, **pages)
    got = await Sglang().progress(connection)
    assert got is not None
    assert (got.running, got.waiting, got.generated, got.looked_up, got.cache_used) == (48, 6, 3422, None, 0.5)


async def test_an_older_sglang() -> None:
    connection: Any = Pages(get_load=orjson.dumps([{"num_tokens": 5}]))
    assert await Sglang().progress(connection) == Load((5.0,))
