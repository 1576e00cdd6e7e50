"""The HTTP engine against a loopback server that fails in chosen ways."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.base import EngineError, EngineInfo, Generation, GenerationRequest
from extrap_eval.engines.http import HttpEngine, standing
from extrap_eval.errors import UserError
from tests.engines.loopback import EOS, Fault, Kind, Loopback

REQUEST = GenerationRequest(np.array([1, 2, 3, 4], dtype=np.int32), max_tokens=12)
EXPECTED = [100 + i for i in range(11)] + [EOS]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(standing, "BACKOFF_MOST", 0.5)


async def ask(server: Loopback, request: GenerationRequest = REQUEST, **options: Any) -> Generation:
    async with HttpEngine([server.url], **options) as engine:
        return await engine.generate(request)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_ids_go_out_and_come_back(kind: Kind) -> None:
    async with Loopback(kind=kind) as server, HttpEngine([server.url]) as engine:
        version = {"vllm": "0.32.0", "sglang": "0.5.23"}[kind]
        assert engine.info == EngineInfo(kind, version, "tiny", 4096, exact_token_ids=True)
        got = await engine.generate(REQUEST)
        cut = await engine.generate(GenerationRequest(REQUEST.prompt_token_ids, max_tokens=5))
    assert got.token_ids.tolist() == EXPECTED
    assert (got.finish_reason, got.stop_token_id, got.attempts) == ("stop", EOS, 1)
    assert (got.prompt_tokens, got.cached_tokens, got.server) == (4, 3, server.url)
    assert got.seconds > 0
    assert (cut.token_ids.tolist(), cut.finish_reason, cut.stop_token_id) == (EXPECTED[:5], "length", None)


FAULTS_MENDED_BY_RETRY: list[Fault] = [
    "reset",
    "reset mid body",
    "500",
    "503",
    "429",
    "not json",
    "cut json",
    "html",
    "abort",
]


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize("fault", FAULTS_MENDED_BY_RETRY)
async def test_a_passing_fault_is_retried(kind: Kind, fault: Fault) -> None:
    async with Loopback(kind=kind, faults=[fault, "ok"]) as server:
        got = await ask(server)
    assert (got.token_ids.tolist(), got.attempts) == (EXPECTED, 2)
    assert len(server.asked) == 2


async def test_requests_do_not_wait_for_a_server_that_asked_for_a_pause_when_there_is_another() -> None:
    async with (
        Loopback(faults=["429 later"], retry_after=300) as busy,
        Loopback() as free,
        HttpEngine([busy.url, free.url]) as engine,
    ):
        answers = [await engine.generate(REQUEST) for _ in range(10)]
    assert {got.server for got in answers} == {free.url}
    assert len(busy.asked) == 1  # and it has its peace


async def test_the_wait_that_a_server_asks_for_is_kept() -> None:
    async with Loopback(faults=["429 later", "ok"]) as server:
        started = time.monotonic()
        got = await ask(server)
    assert got.attempts == 2
    assert time.monotonic() - started >= 1.0
    assert got.seconds < 1.0  # of the attempt that worked


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("400", UserError, "HTTP 400: told you: no"),
        ("401", UserError, "HTTP 401: told you: no .*API key"),
        ("clamp", UserError, "clamps: it cut the completion at 6 of 12 tokens.*--budget-max"),
        ("no ids", UserError, "no token ids"),
        ("too many ids", EngineError, "36 completion tokens, more than the 12"),
        ("repetition", EngineError, "'repetition'"),
    ],
)
async def test_a_lasting_fault_is_an_error_at_once(
    kind: Kind, fault: Fault, error: type[Exception], words: str
) -> None:
    async with Loopback(kind=kind, faults=[fault]) as server:
        with pytest.raises(error, match=words) as raised:
            await ask(server)
    assert server.url in str(raised.value)
    assert len(server.asked) == 1


CONTRADICTIONS: list[tuple[Fault, str]] = [
    ("usage differs", "12 token ids but usage says 13"),
    ("prompt changed", "4 prompt tokens sent but usage says 3"),
    ("float ids", "not a list of ids"),
    ("no choices", "not a .* completion"),
    ("wrong stop id", f"stopped at token {EOS + 1} but the last id is {EOS}"),
]


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize(("fault", "words"), CONTRADICTIONS)
async def test_an_answer_that_contradicts_itself_is_asked_again_but_not_for_ever(
    kind: Kind, fault: Fault, words: str
) -> None:
    async with Loopback(kind=kind, faults=[fault, fault, "ok", fault]) as server:
        got = await ask(server)
        assert (got.token_ids.tolist(), got.attempts) == (EXPECTED, 3)
        with pytest.raises(EngineError, match=f"3 answers cannot be believed; the last: {server.url}: .*{words}"):
            await ask(server)
    assert len(server.asked) == 6


async def test_an_answer_by_another_model_is_not_kept() -> None:
    async with (
        Loopback(faults=["other model"]) as bad,
        Loopback() as good,
        HttpEngine([bad.url, good.url]) as engine,
    ):
        answers = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(10)))
        assert {got.server for got in answers} == {good.url}
        assert max(got.attempts for got in answers) == 2
    async with Loopback(faults=["other model"]) as server:
        with pytest.raises(EngineError, match="the answer is by other, not by tiny"):
            await ask(server, retry_total_seconds=0.5)


async def test_a_server_that_forgets_its_model_is_lost_and_one_that_never_knew_it_is_refused() -> None:
    async with Loopback(faults=["404"]) as server:
        with pytest.raises(UserError, match="HTTP 404: told you: no"):
            await ask(server)
        assert len(server.asked) == 1
    async with (
        Loopback(faults=["ok", "404"]) as one,
        Loopback() as two,
        HttpEngine([one.url, two.url]) as engine,
    ):
        answers = [await engine.generate(REQUEST) for _ in range(12)]
        assert one.url in {got.server for got in answers}
        assert [got.token_ids.tolist() for got in answers] == [EXPECTED] * 12


async def test_retries_end_and_the_error_says_what_was_tried() -> None:
    async with Loopback(faults=["500"]) as server:
        with pytest.raises(EngineError, match=r"no completion after \d+ requests .* HTTP 500: told you: no"):
            await ask(server, retry_total_seconds=0.6)
    assert len(server.asked) >= 1


async def test_a_server_that_goes_away_and_comes_back_is_used_again(caplog: pytest.LogCaptureFixture) -> None:
    async with Loopback() as server, HttpEngine([server.url]) as engine:
        await server.stop()
        waiting = asyncio.create_task(engine.generate(REQUEST))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await server.start()
        got = await waiting
    assert (got.token_ids.tolist(), got.attempts) == (EXPECTED, 2)  # looking for a server is not a request
    assert [r.message for r in caplog.records if r.name.startswith("extrap_eval")] == [
        f"server set aside: {server.url}: connection refused",
        f"server answers again: {server.url}",
    ]


async def test_a_server_that_comes_back_with_another_model_stays_aside() -> None:
    async with Loopback() as server, HttpEngine([server.url], retry_total_seconds=3) as engine:
        await server.stop()
        waiting = asyncio.create_task(engine.generate(REQUEST))
        await asyncio.sleep(0.2)
        server.model = "other"
        await server.start()
        with pytest.raises(EngineError, match="came back with other"):
            await waiting
    assert server.asked == []


async def test_other_servers_take_over_and_a_revived_one_is_used_again() -> None:
    async with Loopback() as one, Loopback() as two, HttpEngine([one.url, two.url]) as engine:
        await one.stop()
        during = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(8)))
        assert {g.server for g in during} == {two.url}
        await one.start()
        deadline = time.monotonic() + 10
        while one.url not in {(await engine.generate(REQUEST)).server for _ in range(3)}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", ["429", "500", "cut json", "abort"])
async def test_a_request_that_failed_is_tried_on_another_server_first(fault: Fault) -> None:
    async with (
        Loopback(faults=[fault]) as bad,
        Loopback() as good,
        HttpEngine([bad.url, good.url]) as engine,
    ):
        requests = [GenerationRequest(REQUEST.prompt_token_ids, 12, affinity=str(i)) for i in range(20)]
        answers = [await engine.generate(request) for request in requests]
    assert {got.server for got in answers} == {good.url}
    assert {got.attempts for got in answers} == {1, 2}


async def test_requests_of_one_trace_meet_one_server_and_traces_use_all() -> None:
    async with Loopback(delay=0.01) as one, Loopback(delay=0.01) as two, HttpEngine([one.url, two.url]) as engine:
        met: dict[str, set[str]] = {}
        for trace in [f"trace {i % 10}" for i in range(30)]:
            request = GenerationRequest(REQUEST.prompt_token_ids, 12, affinity=trace)
            met.setdefault(trace, set()).add((await engine.generate(request)).server)
        assert all(len(servers) == 1 for servers in met.values())
        assert len(set().union(*met.values())) == 2
        crowd = [GenerationRequest(REQUEST.prompt_token_ids, 12, affinity="one trace")] * 60
        servers = [g.server for g in await asyncio.gather(*map(engine.generate, crowd))]
    assert min(servers.count(one.url), servers.count(two.url)) > 10  # a crowd overflows to the other


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_a_slow_answer_is_waited_for_while_the_counters_move(kind: Kind) -> None:
    async with Loopback(kind=kind, delay=1.8) as server:
        got = await ask(server, patience_seconds=0.6)
    assert (got.token_ids.tolist(), got.attempts) == (EXPECTED, 1)
    assert got.seconds >= 1.8


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_a_server_whose_counters_stand_still_is_lost(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "REVIVAL_SECONDS", 0.2)
    async with (
        Loopback(kind=kind, faults=["hang"], counting=False) as frozen,
        Loopback(kind=kind) as good,
        HttpEngine([frozen.url, good.url], patience_seconds=0.6) as engine,
    ):
        answers = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(4)))
        assert {g.server for g in answers} == {good.url}
        assert sorted(g.attempts for g in answers) == [1, 1, 2, 2]
        # It still answers every question about itself, but must make a token before it is trusted again.
        later = [(await engine.generate(REQUEST)).server for _ in range(4)]
        assert set(later) == {good.url}
        deadline = time.monotonic() + 20
        while frozen.aborted < 3:  # every request given up is also given up on the server
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        frozen.faults = ["ok"]
        while frozen.url not in {(await engine.generate(REQUEST)).server for _ in range(3)}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    sizes = [a["sampling_params"]["max_new_tokens"] if kind == "sglang" else a["max_tokens"] for a in frozen.asked]
    assert sizes[:3] == [12, 12, 1]


async def test_a_server_that_stops_showing_its_counters_is_not_waited_for() -> None:
    async with (
        Loopback(faults=["hang"]) as server,
        HttpEngine([server.url], patience_seconds=0.5, retry_total_seconds=0) as engine,
    ):
        server.page_faults = {"/metrics": 500}
        with pytest.raises(EngineError, match=r"after 1 requests .* no progress for 0\.5 s"):
            await engine.generate(REQUEST)


async def test_without_counters_patience_limits_each_request() -> None:
    async with Loopback(shows_counters=False, delay=0.8) as server:
        with pytest.raises(EngineError, match=r"no progress for 0\.3 s"):
            await ask(server, patience_seconds=0.3, retry_total_seconds=0.1)
        got = await ask(server, patience_seconds=5)
    assert got.token_ids.tolist() == EXPECTED


async def test_an_answer_that_trickles_in_is_waited_for() -> None:
    async with Loopback(faults=["trickle"], counting=False) as server:
        got = await ask(server, patience_seconds=0.5)
    assert (got.token_ids.tolist(), got.attempts) == (EXPECTED, 1)
    assert got.seconds > 1.5


async def test_a_request_that_never_reached_its_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something in between took it. The server goes on with others, so its counters are no reason to wait."""
    monkeypatch.setattr(standing, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(standing, "IDLE_SECONDS", 0.5)
    async with Loopback(faults=["swallow", "ok"], shows_load=True) as server:
        started = time.monotonic()
        got = await ask(server, patience_seconds=60)
        assert (got.token_ids.tolist(), got.attempts) == (EXPECTED, 2)
        assert 0.5 <= time.monotonic() - started < 20


async def test_cancelling_aborts_on_the_server() -> None:
    async with Loopback(faults=["hang"]) as server, HttpEngine([server.url]) as engine:
        task = asyncio.create_task(engine.generate(REQUEST))
        while not server.running:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deadline = time.monotonic() + 5
        while not server.aborted:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert len(server.asked) == 1


async def test_no_more_requests_fly_than_allowed() -> None:
    async with Loopback(delay=0.02) as server, HttpEngine([server.url], max_in_flight=3) as engine:
        await asyncio.gather(*(engine.generate(REQUEST) for _ in range(12)))
    assert server.peak == 3
    assert len(server.asked) == 12


@pytest.mark.parametrize("context", [15, 16])
async def test_what_cannot_fit_is_refused_before_it_is_sent(context: int) -> None:
    async with Loopback(context=context) as server:
        if context == 16:
            assert (await ask(server)).token_ids.tolist() == EXPECTED
            return
        with pytest.raises(UserError, match=r"4 prompt \+ 12 .* context of 15 .* --budget-max 11 .* at least 16"):
            await ask(server)
    assert server.asked == []


# --- servers that come and go --------------------------------------------------------------------------------------


async def test_servers_join_leave_and_return_while_requests_wait() -> None:
    async with Loopback() as one, Loopback() as two, HttpEngine([], supervised=True) as engine:
        with pytest.raises(RuntimeError, match="no server is known"):
            _ = engine.info
        early = asyncio.create_task(engine.generate(REQUEST))
        await asyncio.sleep(0.1)
        assert not early.done()
        await engine.add(one.url)
        assert (await early).server == one.url
        assert engine.info == EngineInfo("vllm", "0.32.0", "tiny", 4096, exact_token_ids=True)

        one.faults = ["hang", "ok"]
        moving = asyncio.create_task(engine.generate(REQUEST))
        while not one.running:
            await asyncio.sleep(0.01)
        one.page_faults = {"/health": 503}
        engine.suspect(one.url, "replica 0 was killed")  # no connection breaks: its host is gone
        await asyncio.sleep(0.1)
        (state,) = engine.servers()
        assert (state.url, state.outstanding) == (one.url, 0)
        assert state.down
        assert not moving.done()
        await engine.add(two.url)
        assert ((await moving).server, (await moving).attempts) == (two.url, 2)

        one.page_faults = {}
        await engine.add(one.url)
        assert {state.url: state.down for state in engine.servers()} == {one.url: None, two.url: None}
        engine.retire(two.url, "replica 1 died 3 times")
        assert {(await engine.generate(REQUEST)).server for _ in range(4)} == {one.url}
        engine.retire(one.url, "replica 0 died 3 times")
        with pytest.raises(EngineError, match="no server is left: replica 1 died 3 times; replica 0 died 3 times"):
            await engine.generate(REQUEST)


async def test_a_promised_server_is_waited_for_beyond_the_usual_time() -> None:
    async with Loopback() as server, HttpEngine([server.url], supervised=True, retry_total_seconds=0.2) as engine:
        await engine.generate(REQUEST)
        await server.stop()
        engine.suspect(server.url, "killed")
        waiting = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(3)]
        await asyncio.sleep(1.0)
        assert not any(task.done() for task in waiting)
        await server.start()
        await engine.add(server.url)
        assert [(await task).attempts for task in waiting] == [1, 1, 1]
        await server.stop()
        engine.suspect(server.url, "killed")
        last = asyncio.create_task(engine.generate(REQUEST))
        await asyncio.sleep(0.1)
        engine.retire(server.url, "killed too often")
        with pytest.raises(EngineError, match="no server is left: killed too often"):
            await last


async def test_a_server_of_another_model_cannot_join() -> None:
    async with Loopback() as one, Loopback(model="other") as two, HttpEngine([one.url]) as engine:
        with pytest.raises(UserError, match=r"differ in the model \(tiny, other\)"):
            await engine.add(two.url)
        engine.retire(one.url, "gone")
        with pytest.raises(UserError, match=r"differ in the model \(tiny, other\)"):
            await engine.add(two.url)


async def test_a_server_that_fails_every_request_is_left_alone_more_and_more() -> None:
    async with Loopback(faults=["500"]) as bad, Loopback() as good, HttpEngine([bad.url, good.url]) as engine:
        began = time.monotonic()
        while time.monotonic() - began < 3.0 or len(good.asked) <= 20:
            assert (await engine.generate(REQUEST)).server == good.url
    assert 1 <= sum(asked["max_tokens"] == 12 for asked in bad.asked) <= 3  # though it says that all is well


# --- meeting the servers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_a_url_may_end_in_v1_or_not(suffix: str) -> None:
    async with Loopback() as server, HttpEngine([server.url + suffix]) as engine:
        assert (await engine.generate(REQUEST)).server == server.url


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://localhost", "http://", "", "http://h:99999", "http://h/v1?key=1", "/v1"]
)
def test_what_is_not_a_url_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="not the URL of a server; write it like"):
        HttpEngine([url])
    with pytest.raises(UserError, match="no endpoint"):
        HttpEngine([])


async def opening(*urls: str, **options: Any) -> str:
    """The message with which an engine refuses to open."""
    with pytest.raises(UserError) as raised:
        async with HttpEngine(urls, **options):
            pass
    assert "\n" not in str(raised.value)
    return str(raised.value)


async def test_a_server_that_is_not_there_is_named_with_the_reason() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert (await opening(url)) == (
            f"{url}: connection refused; start the server, wait until it is ready, or correct the URL"
        )
    assert "host name not found" in await opening("http://no-such-host.invalid:8000")


async def test_a_dead_engine_behind_a_living_front_is_noticed() -> None:
    async with Loopback(page_faults={"/health": 503}) as server:
        assert "/health: HTTP 503: not now" in await opening(server.url)


@pytest.mark.parametrize("kind", ["vllm", "sglang", "openai"])
async def test_a_server_of_another_model_is_refused_and_both_are_named(kind: Kind) -> None:
    async with Loopback(kind=kind, model="tiny") as server:
        said = await opening(server.url, model="Qwen/Qwen3-8B")
        assert f"{server.url} serves tiny, not Qwen/Qwen3-8B" in said


async def test_a_model_is_known_by_its_served_name_and_by_its_origin() -> None:
    async with Loopback(model="tiny", root="org/Tiny-1B") as server:
        for name in ("tiny", "org/Tiny-1B"):
            await ask(server, model=name)
    assert {asked["model"] for asked in server.asked} == {"tiny"}


async def test_all_servers_must_serve_the_same() -> None:
    async with Loopback() as one, Loopback(model="other") as two, Loopback(kind="sglang") as three:
        said = await opening(one.url, two.url)
        assert f"{one.url} and {two.url} differ in the model (tiny, other)" in said
        assert "differ in the kind of server (vllm, sglang)" in await opening(one.url, three.url)


async def test_the_shortest_context_counts() -> None:
    async with (
        Loopback(context=4096) as one,
        Loopback(context=2048) as two,
        HttpEngine([one.url, two.url, one.url + "/v1"]) as engine,
    ):
        assert engine.info.context_length == 2048


async def test_a_text_server_needs_a_tokenizer_and_a_stranger_is_not_recognised() -> None:
    async with Loopback(kind="openai") as server:
        assert "a tokenizer is needed" in await opening(server.url)
        server.page_faults = {"/v1/models": 404}
        assert "not recognised as an inference server" in await opening(server.url)


class Letters:
    """One id per character: the smallest tokenizer there is."""

    bos_token = None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(map(chr, token_ids))


@pytest.mark.parametrize("kind", ["auto", "openai"])
async def test_a_text_server_is_asked_in_text(kind: Any) -> None:
    async with (
        Loopback(kind="openai", context=None) as server,
        HttpEngine([server.url], tokenizer=Letters(), kind=kind) as engine,
    ):
        assert engine.info == EngineInfo("openai", None, "tiny", None, exact_token_ids=False)
        prompt = np.array([ord(c) for c in "Is 7 prime?"], dtype=np.int32)
        got = await engine.generate(GenerationRequest(prompt, max_tokens=12))
    assert server.asked[0]["prompt"] == "Is 7 prime?"
    assert (got.text, got.token_source) == ("ab" * 12, "retokenized")
    assert got.token_ids.tolist() == [ord(c) for c in "ab" * 12]


# --- secrets -------------------------------------------------------------------------------------------------------


async def test_the_key_is_sent_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EXTRAP_EVAL_API_KEY", "sk-very-secret")
    async with Loopback(faults=["500", "401"], echo_header_in_errors=True) as server:
        engine = HttpEngine([server.url])
        with pytest.raises(UserError) as raised:
            async with engine:
                await engine.generate(REQUEST)
    assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert "told you: Bearer ***" in str(raised.value)
    assert raised.value.__cause__ is None
    for shown in (str(raised.value), repr(engine), repr(vars(engine)), caplog.text):
        assert "sk-very-secret" not in shown


async def test_a_password_in_the_url_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with Loopback(faults=["500", "400"], echo_header_in_errors=True) as server:
        url = server.url.replace("http://", "http://me:s3%2Fcret@")
        with pytest.raises(UserError, match=r"told you: Basic \*\*\*") as raised:
            async with HttpEngine([url]) as engine:
                await engine.generate(REQUEST)
        assert server.headers[0]["Authorization"].startswith("Basic ")
    said = [str(raised.value), caplog.text, await opening(url)]
    with pytest.raises(UserError) as malformed:
        HttpEngine([url.replace("http://", "htp://")])
    for shown in [*said, str(malformed.value)]:
        assert "cret" not in shown
