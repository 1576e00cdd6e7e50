"""The command that starts one server, as a pure function of what is wanted and where it runs."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from extrap_eval.engines.servers.guardian import HIDDEN, KEY, KEY_FILE
from extrap_eval.engines.servers.layout import Share, divided, spans
from extrap_eval.errors import UserError

EngineKind = Literal["vllm", "sglang"]
KINDS: tuple[EngineKind, ...] = ("vllm", "sglang")

LOOPBACK = "127.0.0.1"
GIB = 1 << 30
# Without GPUs: of the replica's share of memory, for vLLM's cache. (Its own default takes nearly all there is.)
VLLM_CPU_FRACTION = 0.25
# SGLang's cache on a CPU is limited in tokens, since its fraction is of what happens to be free at the start,
# which is different when several servers start at once.
SGLANG_CPU_FRACTION = 0.6
SGLANG_CPU_TOKENS = 65536
VLLM_LOGPROBS = 20  # of so many tokens without being told

# Options that this package sets itself and relies on.
_OURS = {
    "--host", "--port", "--api-key", "--served-model-name", "--seed", "--random-seed",
    "--data-parallel-size", "-dp", "--dp-size", "--dp",
}  # fmt: skip
_OURS_FOR_SGLANG = {"--config"}  # it takes one, and that holds the key


@dataclass(frozen=True)
class ServerSpec:
    """What every replica of a fleet serves, and how.

    ``python``: an interpreter that can import the engine. ``model``: a folder or hub id, with ``revision`` for
    the latter. ``context_length``: prompt + completion tokens. ``memory_fraction``: of each GPU's memory, for
    weights and cache (vLLM's ``--gpu-memory-utilization``, SGLang's ``--mem-fraction-static``); None leaves it
    to the engine. On a CPU it is of the replica's share of memory, for vLLM's cache alone.
    ``extra_args`` go to the server as they are, last, so that they win. ``logprobs``: of at most so many tokens at a
    place may be asked for, before temperature and top-p.
    """

    kind: EngineKind
    python: str
    model: str
    served_name: str
    context_length: int
    revision: str | None = None
    dtype: str | None = None
    tensor_parallel: int = 1
    memory_fraction: float | None = None
    extra_args: tuple[str, ...] = ()
    logprobs: int = 0

    def __post_init__(self) -> None:
        ours = _OURS | (_OURS_FOR_SGLANG if self.kind == "sglang" else set())
        for argument in self.extra_args:
            if argument.split("=")[0] in ours:
                raise UserError(f"--server-arg {argument.split('=')[0]}: this one is set by extrap-eval; leave it out")


@dataclass(frozen=True)
class LaunchPlan:
    """A command and what it needs beyond the caller's environment.

    The key is in neither: ``guardian.KEY`` stands for it in ``env``, and ``guardian.KEY_FILE`` in ``argv`` for
    a private file that holds it. ``cores``: the CPUs to stay on, empty for all.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()

    def __str__(self) -> str:
        """One line for a shell, without the key."""
        setting = [f"{name}={HIDDEN if value == KEY else _quoted(value)}" for name, value in self.env.items()]
        pinned = ["taskset", "-c", spans(self.cores)] if self.cores else []
        argv = ["API-KEY.yaml" if word == KEY_FILE else word for word in self.argv]
        return " ".join([*setting, shlex.join([*pinned, *argv])])


def server_command(spec: ServerSpec, share: Share, *, port: int, seed: int, host: str = LOOPBACK) -> LaunchPlan:
    """The command for one replica on its share of the machine.

    ``seed`` must differ between replicas, and between two starts of one: a server's sampling starts from its
    seed, and the default is the same everywhere, so equal ones repeat each other's completions.
    """
    if spec.kind == "vllm":
        return _vllm(spec, share, port, seed, host)
    return _sglang(spec, share, port, seed, host)


def served_name(model_name: str) -> str:
    """A model card's name as servers take it (SGLang reads a colon as the name of an adapter)."""
    return re.sub(r"[^\w.-]+", "-", model_name, flags=re.ASCII).strip("-") or "model"


def _vllm(spec: ServerSpec, share: Share, port: int, seed: int, host: str) -> LaunchPlan:
    argv = [spec.python, "-m", "vllm.entrypoints.cli.main", "serve", spec.model]
    argv += ["--served-model-name", spec.served_name, "--host", host, "--port", str(port)]
    argv += ["--max-model-len", str(spec.context_length), "--seed", str(seed)]
    argv += ["--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    argv += _given("--revision", spec.revision) + _given("--dtype", spec.dtype)
    if spec.logprobs > VLLM_LOGPROBS:
        argv += ["--max-logprobs", str(spec.logprobs)]
    if spec.tensor_parallel > 1:  # inside a Ray worker it would choose ray by itself
        argv += ["--tensor-parallel-size", str(spec.tensor_parallel), "--distributed-executor-backend", "mp"]
    env = {"VLLM_API_KEY": KEY, "VLLM_NO_USAGE_STATS": "1"}
    if share.on_gpu:
        argv += _given("--gpu-memory-utilization", spec.memory_fraction)
    else:
        parts = divided(share.cores, spec.tensor_parallel)
        env["VLLM_CPU_OMP_THREADS_BIND"] = "|".join(spans(part) for part in parts) if share.cores else "nobind"
        if share.threads:
            env["OMP_NUM_THREADS"] = str(max(1, share.threads // spec.tensor_parallel))
        if not any(word.startswith("--kv-cache-memory-bytes") for word in spec.extra_args):  # it would not win
            cache = share.memory * (spec.memory_fraction or VLLM_CPU_FRACTION) / spec.tensor_parallel
            env["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, int(cache / GIB)))
        argv += ["--block-size", "32"]  # the cache shares whole blocks, and a CPU's are 128 tokens otherwise
    return _plan(spec, share, [*argv, *spec.extra_args], env)


def _sglang(spec: ServerSpec, share: Share, port: int, seed: int, host: str) -> LaunchPlan:
    argv = [spec.python, "-m", "sglang.launch_server", "--config", KEY_FILE, "--model-path", spec.model]
    argv += ["--served-model-name", spec.served_name, "--host", host, "--port", str(port)]
    argv += ["--context-length", str(spec.context_length), "--random-seed", str(seed)]
    argv += ["--enable-cache-report", "--enable-metrics", "--log-level-http", "warning"]
    argv += _given("--revision", spec.revision) + _given("--dtype", spec.dtype)
    if spec.tensor_parallel > 1:
        argv += ["--tp-size", str(spec.tensor_parallel)]
    own = {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1"} if spec.logprobs else {}  # else after the temperature
    if share.on_gpu:
        argv += _given("--mem-fraction-static", spec.memory_fraction)
        return _plan(spec, share, [*argv, *spec.extra_args], own)
    argv += ["--mem-fraction-static", str(spec.memory_fraction or SGLANG_CPU_FRACTION)]
    argv += ["--max-total-tokens", str(max(SGLANG_CPU_TOKENS, 4 * spec.context_length))]
    argv += ["--device", "cpu", "--attention-backend", "torch_native"]
    # More threads make torch's own attention slower, not faster.
    env = {"SGLANG_USE_CPU_ENGINE": "1", "OMP_NUM_THREADS": "1", **own}
    return _plan(spec, share, [*argv, *spec.extra_args], env, cores=share.cores)


def _plan(
    spec: ServerSpec, share: Share, argv: list[str], env: dict[str, str], cores: tuple[int, ...] = ()
) -> LaunchPlan:
    if not share.allotted_gpus:
        env = {"CUDA_VISIBLE_DEVICES": ",".join(share.gpus), **env}
    env["PYTHONSAFEPATH"] = "1"  # a folder called vllm or sglang where the user stands is not the engine
    programs = Path(spec.python).parent
    if programs.is_absolute():  # engines compile kernels with tools of their environment, such as ninja
        env["PATH"] = f"{programs}{os.pathsep}$PATH"
    return LaunchPlan(tuple(argv), env, cores)


def _quoted(value: str) -> str:
    return f'"{value}"' if "$" in value else shlex.quote(value)


def _given(option: str, value: object) -> list[str]:
    return [] if value is None else [option, str(value)]
