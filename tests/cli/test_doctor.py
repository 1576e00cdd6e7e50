"""The command as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extrap_eval.cli.doctor import report
from extrap_eval.preflight.check import Check, failed, ok, unchecked, warning
from tests.cli.conftest import Command
from tests.engine_servers import EngineServer

pytestmark = pytest.mark.slow


def at(check: Check, *where: str) -> Check:
    return Check(check.name, check.status, check.found, check.mend, where)


def test_the_report() -> None:
    urls = [f"http://server{i}:8000" for i in range(5)]
    checks = [
        ok("model card", "e3"),
        unchecked("benchmark", "none is named"),
        at(ok("server", "vllm 0.32 serves e3"), *urls),
        at(failed("context", "too short", "start it longer"), urls[0]),
        at(warning("prefix cache", "off", "switch it on"), *urls[1:]),
    ]
    assert report(checks).splitlines() == [
        "ok           model card    e3",
        "not checked  benchmark     none is named",
        "ok           server        all 5 servers: vllm 0.32 serves e3",
        "failed       context       http://server0:8000: too short",
        "                           -> start it longer",
        "warning      prefix cache  http://server1:8000, http://server2:8000, http://server3:8000 and 1 more: off",
        "                           -> switch it on",
        "1 failed, 1 warning, 1 not checked, 2 ok",
    ]


def test_one_server_is_not_named_in_every_line() -> None:
    checks = [at(ok("server", "fine"), "http://a"), at(ok("context", "long"), "http://a")]
    assert report(checks).splitlines()[0] == "ok           server   fine"


def test_exit_codes_and_json(command: Command, tmp_path: Path) -> None:
    good = command("doctor", "-m", "markov", "-b", "hidden_number", "--json")
    assert good.returncode == 0, good.stderr
    said = json.loads(good.stdout)
    assert said["passed"] is True
    assert {"name": "model card", "status": "ok"}.items() <= said["checks"][0].items()
    bad = command("doctor", "-m", "markov", "--endpoint", "http://127.0.0.1:9")
    assert bad.returncode == 1
    assert "connection refused" in bad.stdout
    assert "Traceback" not in bad.stderr
    assert command("doctor", "-m", "markov", "--engine", "tgi").stderr.startswith("error: --engine: tgi is not one of")


def test_a_real_server(command: Command, vllm_server: EngineServer) -> None:
    done = command(
        *("doctor", "-m", vllm_server.model_path, "-b", "residue_search_tiny", "--budget-max", 1000),
        *("--endpoint", vllm_server.url, "--json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert {check["status"] for check in checks} == {"ok"}
    assert len(checks) == 16
