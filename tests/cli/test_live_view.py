"""``sample`` in a terminal, against real servers, as a person sees it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from extrap_eval.store import open_run
from tests.cli.conftest import Command
from tests.engine_servers import EngineServer
from tests.sampling.test_replicas import pictures_in


def arguments(server: EngineServer, budget: int) -> list[str]:
    return [
        *("sample", "--model", str(server.model_path), "--benchmark", "residue_search_tiny", "--n", "8"),
        *("--budget-max", str(budget), "--endpoint", server.url, "--out", "run"),
    ]


def screens(server: EngineServer, folder: Path) -> list[list[str]]:
    """The lines of every picture that one run drew on a terminal of 100 columns."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from extrap_eval.cli import main; main()", *arguments(server, 2000)],
        cwd=folder,
        stdin=slave,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(slave)
    pieces: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(master, 65536):
                pieces.append(piece)
        except OSError:  # it is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(timeout=300) == 0
    reader.join(timeout=10)
    os.close(master)
    return pictures_in(b"".join(pieces).decode())


def test_a_terminal_shows_what_the_server_does(vllm_server: EngineServer, tmp_path: Path) -> None:
    pictures = [picture for picture in screens(vllm_server, tmp_path) if len(picture) > 1]
    assert pictures
    for picture in pictures:
        assert re.match(r"server +running +waiting +tokens/s +cache hits +cache full +finished +retries", picture[1])
        assert picture[2].startswith(vllm_server.url.removeprefix("http://"))
        assert len(picture) == 3
    busy = [re.split(r"  +", picture[2])[1:] for picture in pictures]
    assert max(int(cells[0]) for cells in busy if cells[0].isdecimal()) > 32
    assert int(busy[-1][5]) == 96
    assert any(cells[3].endswith("%") for cells in busy)
    print("\n" + "\n".join(pictures[len(pictures) // 2]))


def test_the_totals_of_every_server_are_those_of_the_record(
    command: Command, vllm_server: EngineServer, tmp_path: Path
) -> None:
    done = command(*arguments(vllm_server, 256), "--json")
    assert done.returncode == 0, done.stderr
    completions = list(open_run(tmp_path / "run").completions())
    assert Counter(c.server for c in completions) == {vllm_server.url: 96}
    assert json.loads(done.stdout)["replicas"] == [
        {
            "server": vllm_server.url,
            "requests": 96,
            "tokens": sum(c.n_tokens for c in completions),
            "prompt_tokens": sum(c.prompt_tokens for c in completions),
            "cached_prompt_tokens": sum(c.cached_tokens or 0 for c in completions),
            "retries": 0,
        }
    ]
