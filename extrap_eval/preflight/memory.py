"""Whether weights and cache fit: the GPUs, or the memory of a machine without any, against what is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from extrap_eval.engines.servers.layout import Gpu, Machine, Share
from extrap_eval.preflight.cache import CacheShape, NotKnown, cache_shape, full_length
from extrap_eval.preflight.check import Check, failed, ok, size, unchecked, warning
from extrap_eval.preflight.files import ModelFiles

GPU_NAME, CPU_NAME = "GPU memory", "memory"
# What vLLM takes of a GPU unless told otherwise; SGLang chooses something near it.
GPU_FRACTION = 0.9
# Activations, CUDA graphs and the runtime beside weights and cache: gigabytes, and nobody knows exactly before.
GPU_OVERHEAD = 3e9
# One engine's own processes on a CPU, as measured with a small model.
CPU_OVERHEAD = 3e9
# Completions in flight are on average half way, and most end well before the budget.
TYPICAL_FILL = 0.25


@dataclass(frozen=True)
class Wanted:
    """What one replica has to hold. ``tokens``: of one completion at full length, prompt included;
    ``concurrency``: requests in flight at one replica, None where as many are sent as keep it full.
    """

    tokens: int
    concurrency: int | None
    dtype: str | None = None
    cache_dtype: str | None = None
    tensor_parallel: int = 1
    gpu_fraction: float | None = None


def gpu_memory(machine: Machine, shares: tuple[Share, ...], files: ModelFiles, wanted: Wanted) -> Check:
    """The GPUs that the replicas would get, against weights and cache; the smallest decides."""
    used = [gpu for gpu in machine.gpus if any(gpu.index in share.gpus for share in shares)]
    known = [gpu for gpu in used if gpu.memory]
    if not known:
        return unchecked(GPU_NAME, "the driver does not say how much memory the GPUs have")
    names = ", ".join(dict.fromkeys(gpu.name or f"GPU {gpu.index}" for gpu in used))
    gpu = min(known, key=lambda gpu: gpu.memory)
    fraction = wanted.gpu_fraction or GPU_FRACTION
    heading = f"{len(used)} x {names}, {size(gpu.memory)} each"
    busy = [gpu for gpu in known if gpu.free < fraction * gpu.memory]
    if busy:
        return _busy(heading, busy[0], fraction)
    weights = files.served_bytes(wanted.dtype)
    shape = _shape(files, wanted)
    if weights is None or isinstance(shape, str):
        return unchecked(GPU_NAME, f"{heading}; {shape if weights is not None else files.problem}")
    weights = -(-weights // wanted.tensor_parallel)
    room = int(fraction * gpu.memory - GPU_OVERHEAD - weights)
    return _verdict(GPU_NAME, f"{heading} x {fraction:g}", weights, room, shape, wanted)


def cpu_memory(
    available: int, cache: int, replicas: int, files: ModelFiles, wanted: Wanted, where: str = "this machine, no GPU"
) -> Check:
    """``available``: bytes free ``where`` the model runs; ``cache``: bytes that each replica reserves for it."""
    weights = files.served_bytes(wanted.dtype)
    shape = _shape(files, wanted)
    heading = f"{where}: {size(available)} of memory are free"
    if weights is None or isinstance(shape, str):
        return unchecked(CPU_NAME, f"{heading}; {shape if weights is not None else files.problem}")
    needed = replicas * (weights + cache + CPU_OVERHEAD)
    if needed > available:
        return failed(
            CPU_NAME,
            f"{heading}, {replicas} x ({size(weights)} of weights + {size(cache)} of cache + "
            f"{size(CPU_OVERHEAD)} for the engine) are needed",
            "start fewer replicas, or give the cache less with gpu_memory_fraction in the card",
        )
    return _verdict(CPU_NAME, heading, weights, cache, shape, wanted)


def cache_of_server(name: str, tokens: int, wanted: Wanted) -> Check:
    """A running server's own figure: its cache holds so many ``tokens``."""
    fit = tokens // wanted.tokens
    found = f"the cache holds {tokens:,} tokens: {fit:,} completions of {wanted.tokens:,} tokens at once"
    return _enough(name, found, fit, wanted)


def _busy(heading: str, gpu: Gpu, fraction: float) -> Check:
    return failed(
        GPU_NAME,
        f"{heading}, but GPU {gpu.index} has only {size(gpu.free)} free and the engine wants {fraction:g} of all",
        "end what runs there, choose others with CUDA_VISIBLE_DEVICES, or lower gpu_memory_fraction in the card",
    )


def _shape(files: ModelFiles, wanted: Wanted) -> CacheShape | str:
    """The shape of the cache, or why it is not known."""
    if files.config is None:
        return files.problem or "there is no config.json"
    try:
        return cache_shape(files.config, wanted.cache_dtype)
    except NotKnown as error:
        return f"config.json does not say {error}"


def _verdict(name: str, heading: str, weights: int, room: int, shape: CacheShape, wanted: Wanted) -> Check:
    per_gpu = " per GPU" if wanted.tensor_parallel > 1 else ""
    each = shape.bytes_for(wanted.tokens, wanted.tensor_parallel)
    demand = f"weights {size(weights)}{per_gpu}, {size(each)} of cache for one completion of {wanted.tokens:,} tokens"
    note = f" ({shape.reservation})" if shape.reservation else ""
    if room < each:
        return failed(
            name,
            f"{heading}: {demand}{note}, {size(room) if room > 0 else 'nothing'} left: not one fits",
            "use more GPUs per replica (--tp), a shorter --budget-max, or an fp8 cache "
            "(engine.extra_args: [--kv-cache-dtype, fp8])",
        )
    fit = full_length(room, shape, wanted.tokens, wanted.tensor_parallel)
    return _enough(name, f"{heading}: {demand}{note}; {size(room)} left for the cache: {fit:,} at once", fit, wanted)


def _enough(name: str, found: str, fit: int, wanted: Wanted) -> Check:
    if fit < 1:
        return failed(
            name, found, f"give the server room for {wanted.tokens:,} tokens (more memory for its cache, or more GPUs)"
        )
    if wanted.concurrency is not None and fit < TYPICAL_FILL * wanted.concurrency:
        return warning(
            name,
            f"{found}, {wanted.concurrency:,} are wanted in flight: the others wait or are computed again",
            f"lower --concurrency to about {max(1, round(fit / TYPICAL_FILL)):,} per replica, or add memory",
        )
    return ok(name, found)
