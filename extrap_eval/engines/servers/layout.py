"""Which part of the machine each replica gets."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from extrap_eval.errors import UserError

MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """``index`` is what CUDA_VISIBLE_DEVICES takes. Memory in bytes, 0 where not known."""

    index: str
    uuid: str = ""
    name: str = ""
    memory: int = 0
    free: int = 0


@dataclass(frozen=True)
class Machine:
    """What there is: GPUs, the logical CPUs this process may run on (those of one core side by side), and
    bytes of memory.
    """

    gpus: tuple[Gpu, ...]
    cores: tuple[int, ...]
    memory: int


@dataclass(frozen=True)
class Share:
    """What one replica runs on: GPUs by index, or on a machine without any a part of its CPUs (``cores``) and
    of its memory, in bytes.

    Where something else has allotted them (a cluster does), ``allotted_gpus`` takes those that
    CUDA_VISIBLE_DEVICES names already, and ``threads`` that many CPUs, whichever they are.
    """

    gpus: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    memory: int = 0
    allotted_gpus: bool = False
    threads: int = 0

    @property
    def on_gpu(self) -> bool:
        return bool(self.gpus) or self.allotted_gpus

    def __str__(self) -> str:
        if self.on_gpu:
            return f"GPU {','.join(self.gpus)}" if self.gpus else "GPU"
        return f"CPU {spans(self.cores)}" if self.cores else "CPU"


def this_machine() -> Machine:
    """Ask the driver (nvidia-smi) and the system; CUDA_VISIBLE_DEVICES limits the GPUs as it does elsewhere."""
    import psutil

    return Machine(
        gpus=tuple(visible(_nvidia_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))),
        cores=tuple(_cores_in_order()),
        memory=psutil.virtual_memory().total,
    )


def assumed_gpus(number: int) -> tuple[Gpu, ...]:
    """GPUs that are not here, to show what would be started on a machine that has them."""
    return tuple(Gpu(str(index)) for index in range(number))


def replica_layout(
    machine: Machine, *, gpus: int | None = None, tensor_parallel: int = 1, replicas: int | None = None
) -> tuple[Share, ...]:
    """One replica per GPU, or per group of ``tensor_parallel`` neighbouring GPUs; without GPUs the cores are
    divided (one replica when nothing is asked for).

    ``gpus``: use only the first so many, 0 for none. Raises UserError where that does not fit the machine.
    """
    if gpus is not None and gpus > len(machine.gpus):
        raise UserError(
            f"--gpus {gpus}: this machine shows {len(machine.gpus)} (nvidia-smi, CUDA_VISIBLE_DEVICES); ask for fewer"
        )
    chosen = machine.gpus if gpus is None else machine.gpus[:gpus]
    if not chosen:
        return _divided_cores(machine, tensor_parallel, 1 if replicas is None else replicas)
    fitting = len(chosen) // tensor_parallel
    if fitting < max(1, replicas or 1):
        wanted = f"{replicas or 1} x {tensor_parallel}"
        raise UserError(
            f"{wanted} GPUs wanted (replicas x tensor parallel), {len(chosen)} to use: lower --replicas or --tp"
        )
    names = [gpu.index for gpu in chosen]
    groups = [tuple(names[i * tensor_parallel : (i + 1) * tensor_parallel]) for i in range(replicas or fitting)]
    return tuple(Share(gpus=group) for group in groups)


def _divided_cores(machine: Machine, tensor_parallel: int, replicas: int) -> tuple[Share, ...]:
    cores = machine.cores
    if replicas * tensor_parallel > len(cores):
        raise UserError(
            f"{replicas} x {tensor_parallel} CPUs wanted (replicas x tensor parallel) and no GPU to use, but this "
            f"machine has {len(cores)} CPUs: lower --replicas or --tp"
        )
    return tuple(Share(cores=part, memory=machine.memory // replicas) for part in divided(cores, replicas))


def visible(gpus: list[Gpu], chosen: str | None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; None means all. As CUDA has it, an entry is an
    index or the beginning of a UUID, and one that names nothing ends the list.
    """
    if chosen is None:
        return gpus
    left = []
    for entry in (part.strip() for part in chosen.split(",")):
        by_uuid = entry.startswith("GPU-")
        found = [gpu for gpu in gpus if (gpu.uuid.startswith(entry) if by_uuid else gpu.index == entry)]
        if entry.startswith("MIG-"):  # a slice of a GPU, which the driver does not list among GPUs
            found = [Gpu(entry)]
        if not found:
            break
        left.append(found[0])
    return left


def read_nvidia_smi(table: str) -> list[Gpu]:
    """Lines of ``index, uuid, name, MiB in all, MiB free``; memory that is no number (shared with the host)
    is not known.
    """
    gpus = []
    for line in table.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5 and fields[0].isdecimal():
            memory, free = (int(field) * MIB if field.isdecimal() else 0 for field in fields[3:])
            gpus.append(Gpu(fields[0], fields[1], fields[2], memory, free))
    return gpus


def divided(cores: tuple[int, ...], parts: int) -> list[tuple[int, ...]]:
    """Neighbours together, the sizes as equal as can be."""
    bounds = [len(cores) * i // parts for i in range(parts + 1)]
    return [cores[first:last] for first, last in pairwise(bounds)]


def spans(numbers: tuple[int, ...]) -> str:
    """``0-3,8`` for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _nvidia_gpus() -> list[Gpu]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        return read_nvidia_smi(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    except (OSError, subprocess.SubprocessError):
        return []


def _cores_in_order() -> list[int]:
    """The logical CPUs this process may run on, those of one physical core side by side."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return sorted(allowed, key=_place)


def _place(cpu: int) -> tuple[int, int, int]:
    """Package and core of a logical CPU, and its own number."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (
            int((topology / "physical_package_id").read_text()),
            int((topology / "core_id").read_text()),
            cpu,
        )
    except (OSError, ValueError):
        return 0, cpu, cpu
