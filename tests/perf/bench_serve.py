"""vLLM's own serving benchmark client against several servers at once, for comparison.

Run by the Python that has vLLM. On stdin, a JSON list with one object per server: ``arguments`` as of ``vllm bench
serve``, ``prompts`` as lists of token ids, ``length`` in tokens of every completion at most. All start together in one
process. Prints one JSON object: per server ``completed``, ``tokens`` and ``seconds``, and ``cpu``, the seconds of
processor time of all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from typing import Any


async def serve_benchmarks(servers: list[dict[str, Any]]) -> dict[str, Any]:
    from vllm.benchmarks import serve
    from vllm.benchmarks.datasets import SampleRequest

    # Its datasets know no prompts of token ids (and need packages that the server does not); its client takes them.
    serve.get_samples = lambda given, tokenizer: given.requests
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    benchmarks = []
    for server in servers:
        given = parser.parse_args([*server["arguments"], "--dataset-name", "custom"])
        given.requests = [
            SampleRequest(prompt=ids, prompt_len=len(ids), expected_output_len=server["length"], request_id=str(i))
            for i, ids in enumerate(server["prompts"])
        ]
        benchmarks.append(serve.main_async(given))
    began = time.process_time()
    results = await asyncio.gather(*benchmarks)
    cpu = time.process_time() - began
    figures = [
        {"completed": r["completed"], "tokens": r["total_output_tokens"], "seconds": r["duration"]} for r in results
    ]
    return {"servers": figures, "cpu": cpu}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # it prints tables of its own
        done = asyncio.run(serve_benchmarks(json.load(sys.stdin)))
    print(json.dumps(done))
