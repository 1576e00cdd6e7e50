"""Which part of the machine each replica gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.servers.layout import (
    Gpu,
    Machine,
    Share,
    assumed_gpus,
    divided,
    read_nvidia_smi,
    replica_layout,
    spans,
    this_machine,
    visible,
)
from extrap_eval.errors import UserError

GIB = 1 << 30
EIGHT = Machine(assumed_gpus(8), tuple(range(64)), 512 * GIB)
CPU_ONLY = Machine((), tuple(range(6)), 96 * GIB)
TABLE = """0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, 81559, 81020
1, GPU-aabb-2, NVIDIA H100 80GB HBM3, 81559, 512
2, GPU-cccc-3, NVIDIA GB10, [N/A], [N/A]
"""


@pytest.mark.parametrize(
    ("asked", "groups"),
    [
        ({}, ["0", "1", "2", "3", "4", "5", "6", "7"]),
        ({"tensor_parallel": 2}, ["0,1", "2,3", "4,5", "6,7"]),
        ({"tensor_parallel": 8}, ["0,1,2,3,4,5,6,7"]),
        ({"tensor_parallel": 3}, ["0,1,2", "3,4,5"]),  # two stay idle
        ({"gpus": 4, "tensor_parallel": 2}, ["0,1", "2,3"]),
        ({"replicas": 3, "tensor_parallel": 2}, ["0,1", "2,3", "4,5"]),
        ({"gpus": 1}, ["0"]),
    ],
)
def test_gpus_go_to_replicas_in_groups(asked: dict[str, int], groups: list[str]) -> None:
    shares = replica_layout(EIGHT, **asked)
    assert [",".join(share.gpus) for share in shares] == groups
    assert all(share.on_gpu and not share.cores for share in shares)


@pytest.mark.parametrize(
    ("machine", "asked", "cores"),
    [
        (CPU_ONLY, {}, [(0, 1, 2, 3, 4, 5)]),
        (CPU_ONLY, {"replicas": 2}, [(0, 1, 2), (3, 4, 5)]),
        (CPU_ONLY, {"replicas": 4}, [(0,), (1, 2), (3,), (4, 5)]),
        (EIGHT, {"gpus": 0, "replicas": 64}, [(i,) for i in range(64)]),
    ],
)
def test_without_gpus_the_cores_are_divided(
    machine: Machine, asked: dict[str, int], cores: list[tuple[int, ...]]
) -> None:
    shares = replica_layout(machine, **asked)
    assert [share.cores for share in shares] == cores
    assert {share.memory for share in shares} == {machine.memory // len(cores)}
    assert not any(share.on_gpu for share in shares)


@pytest.mark.parametrize(
    ("machine", "asked", "said"),
    [
        (EIGHT, {"gpus": 9}, r"--gpus 9: this machine shows 8"),
        (CPU_ONLY, {"gpus": 1}, r"--gpus 1: this machine shows 0"),
        (EIGHT, {"tensor_parallel": 16}, r"1 x 16 GPUs wanted .* 8 to use: lower --replicas or --tp"),
        (EIGHT, {"replicas": 5, "tensor_parallel": 2}, r"5 x 2 GPUs wanted"),
        (EIGHT, {"gpus": 4, "replicas": 5}, r"5 x 1 GPUs wanted .* 4 to use"),
        (CPU_ONLY, {"replicas": 7}, r"7 x 1 CPUs wanted .* has 6 CPUs"),
        (CPU_ONLY, {"replicas": 2, "tensor_parallel": 4}, r"2 x 4 CPUs wanted"),
    ],
)
def test_what_does_not_fit_is_refused(machine: Machine, asked: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        replica_layout(machine, **asked)


def test_the_drivers_table() -> None:
    assert read_nvidia_smi(TABLE) == [
        Gpu("0", "GPU-aaaa-1", "NVIDIA H100 80GB HBM3", 81559 << 20, 81020 << 20),
        Gpu("1", "GPU-aabb-2", "NVIDIA H100 80GB HBM3", 81559 << 20, 512 << 20),
        Gpu("2", "GPU-cccc-3", "NVIDIA GB10", 0, 0),
    ]
    assert read_nvidia_smi("No devices were found\n") == []


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, ["0", "1", "2"]),
        ("", []),
        ("-1", []),
        ("2,0", ["2", "0"]),
        (" 1 , 2", ["1", "2"]),
        ("GPU-cccc", ["2"]),
        ("0,7,1", ["0"]),  # CUDA stops at the first that is not there
        ("MIG-1234", ["MIG-1234"]),
    ],
)
def test_cuda_visible_devices_is_kept_to(chosen: str | None, left: list[str]) -> None:
    assert [gpu.index for gpu in visible(read_nvidia_smi(TABLE), chosen)] == left


@given(st.integers(1, 40), st.integers(1, 40))
def test_cores_are_divided_evenly_and_all_of_them(number: int, parts: int) -> None:
    cores = tuple(range(number))
    shares = divided(cores, parts)
    assert sum(shares, ()) == cores
    assert len(shares) == parts
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.sets(st.integers(0, 60)))
def test_spans_name_the_same_numbers(numbers: set[int]) -> None:
    named = set()
    for part in filter(None, spans(tuple(numbers)).split(",")):
        first, _, last = part.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    assert named == numbers


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Share(gpus=("3",)), "GPU 3"),
        (Share(gpus=("0", "1")), "GPU 0,1"),
        (Share(allotted_gpus=True), "GPU"),
        (Share(cores=(0, 1, 2, 8)), "CPU 0-2,8"),
        (Share(threads=4), "CPU"),
    ],
)
def test_a_share_says_what_it_is(share: Share, text: str) -> None:
    assert str(share) == text


def test_this_machine_has_cores_and_memory() -> None:
    machine = this_machine()
    assert machine.memory > GIB
    assert len(set(machine.cores)) == len(machine.cores) > 0
