"""Does it fit? Table-driven, with the numbers of real GPUs and models."""

from __future__ import annotations

import pytest

from extrap_eval.engines.servers.layout import Gpu, Machine, Share
from extrap_eval.preflight.files import ModelFiles
from extrap_eval.preflight.memory import Wanted, cache_of_server, cpu_memory, gpu_memory
from tests.preflight.test_cache import DEEPSEEK_V3, QWEN3_1_7B, QWEN3_NEXT

GIB = 1 << 30
H100 = Gpu("0", name="NVIDIA H100 80GB HBM3", memory=80 * GIB, free=80 * GIB)
SMALL = ModelFiles("m", QWEN3_1_7B, None, {"bfloat16": 3_440_000_000})
FULL = Wanted(tokens=33_000, concurrency=64)


def machine(*gpus: Gpu) -> Machine:
    return Machine(gpus, (0, 1), 64 * GIB)


def shares(count: int, each: int = 1) -> tuple[Share, ...]:
    return tuple(Share(gpus=tuple(str(i * each + j) for j in range(each))) for i in range(count))


def gpus(count: int, **changes: object) -> tuple[Gpu, ...]:
    return tuple(Gpu(**{**vars(H100), "index": str(i), **changes}) for i in range(count))  # type: ignore[arg-type]


def test_a_small_model_on_a_large_gpu() -> None:
    check = gpu_memory(machine(H100), shares(1), SMALL, FULL)
    room = int(0.9 * 80 * GIB - 3e9 - 3_440_000_000)
    fit = room // (33_000 * 114_688)
    assert check.status == "ok"
    assert f"{fit} at once" in check.found
    assert "1 x NVIDIA H100" in check.found


@pytest.mark.parametrize(
    ("wanted", "status", "says"),
    [
        (FULL, "ok", "at once"),
        (Wanted(33_000, 256), "warning", "256 are wanted"),
        (Wanted(1_000_000, 1), "failed", "not one fits"),
        (Wanted(33_000, 64, gpu_fraction=0.05), "failed", "nothing left"),
        (Wanted(33_000, 64, cache_dtype="fp8"), "ok", "37 at once"),
        (Wanted(33_000, 64, cache_dtype="fp3"), "not checked", "fp3"),
    ],
)
def test_what_is_wanted_decides(wanted: Wanted, status: str, says: str) -> None:
    check = gpu_memory(machine(H100), shares(1), SMALL, wanted)
    assert check.status == status
    assert says in check.found
    assert (check.mend is not None) == (status in ("warning", "failed"))


def test_the_mend_of_too_many_in_flight_is_itself_enough() -> None:
    check = gpu_memory(machine(H100), shares(1), SMALL, Wanted(33_000, 4000))
    assert check.mend is not None
    fewer = int(check.mend.split("about ")[1].split()[0].replace(",", ""))
    assert gpu_memory(machine(H100), shares(1), SMALL, Wanted(33_000, fewer)).status == "ok"


def test_a_large_model_needs_several_gpus() -> None:
    files = ModelFiles("v3", DEEPSEEK_V3, None, {"float8_e4m3fn": 680 * 10**9})
    alone = gpu_memory(machine(*gpus(8)), shares(8), files, Wanted(33_000, 1))
    assert alone.status == "failed"
    together = gpu_memory(machine(*gpus(16)), shares(1, 16), files, Wanted(33_000, 1, tensor_parallel=16))
    assert together.status == "ok"
    assert "per GPU" in together.found
    assert "MLA" in together.found


def test_the_smallest_gpu_decides_and_one_that_is_not_used_does_not() -> None:
    small = Gpu("1", name="NVIDIA T4", memory=5 * GIB, free=5 * GIB)
    assert gpu_memory(machine(H100, small), shares(1), SMALL, FULL).status == "ok"
    assert gpu_memory(machine(H100, small), shares(2), SMALL, FULL).status == "failed"


def test_a_gpu_that_others_use_is_named() -> None:
    check = gpu_memory(machine(H100, *gpus(2, free=20 * GIB)[1:]), shares(2), SMALL, FULL)
    assert check.status == "failed"
    assert "GPU 1 has only 21.5 GB free" in check.found
    assert "CUDA_VISIBLE_DEVICES" in str(check.mend)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (ModelFiles("m", QWEN3_1_7B, None, {}, "m has no weights"), "m has no weights"),
        (ModelFiles("m", None, None, {"": 5}, "m has no readable config.json"), "config.json"),
        (ModelFiles("m", {"num_hidden_layers": 3}, None, {"bfloat16": 5}), "does not say the number of heads"),
    ],
)
def test_what_is_not_known_is_said(files: ModelFiles, says: str) -> None:
    for check in (
        gpu_memory(machine(H100), shares(1), files, FULL),
        cpu_memory(20 * GIB, GIB, 1, files, FULL),
    ):
        assert check.status == "not checked"
        assert says in check.found


def test_a_driver_that_tells_no_memory() -> None:
    assert gpu_memory(machine(Gpu("0")), shares(1), SMALL, FULL).status == "not checked"


def test_recurrent_layers_are_named_not_guessed() -> None:
    check = gpu_memory(machine(H100), shares(1), ModelFiles("n", QWEN3_NEXT, None, {"bfloat16": 10**9}), FULL)
    assert "recurrent layers are not counted" in check.found


@pytest.mark.parametrize(
    ("available", "cache", "replicas", "status"),
    [
        (40e9, 16e9, 1, "ok"),
        (40e9, 16e9, 2, "failed"),  # not enough memory
        (40e9, 1e9, 1, "failed"),  # a cache too small for one completion
        (40e9, 4e9, 1, "warning"),  # one at a time
    ],
)
def test_without_gpus_the_memory_counts(available: float, cache: float, replicas: int, status: str) -> None:
    wanted = Wanted(33_000, 16)
    assert cpu_memory(int(available), int(cache), replicas, SMALL, wanted).status == status


@pytest.mark.parametrize(
    ("tokens", "concurrency", "status"),
    [(524_288, 32, "ok"), (524_288, 256, "warning"), (32_999, 1, "failed"), (33_000, 1, "ok")],
)
def test_a_servers_own_figure(tokens: int, concurrency: int, status: str) -> None:
    assert cache_of_server("cache", tokens, Wanted(33_000, concurrency)).status == status
