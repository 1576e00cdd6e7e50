"""Stands in for SGLang's compiled kernels on a CPU with ``--attention-backend torch_native``.

Only one operation is really called there; every other name exists, so that imports succeed, and fails when called.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any


def assign_req_to_token_pool_cpu(
    req_pool_indices: Any, req_to_token: Any, start: Any, end: Any, out_cache_loc: Any, *_: Any
) -> None:
    """Write each request's new cache slots, which lie one request after the other, into its row of the table."""
    taken = 0
    for position, row in enumerate(req_pool_indices.tolist()):
        first, last = int(start[position]), int(end[position])
        req_to_token[row, first:last] = out_cache_loc[taken : taken + last - first]
        taken += last - first


class _Absent:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, key: str) -> _Absent:
        if key.startswith("__"):
            raise AttributeError(key)
        return _Absent(f"{self._name}.{key}")

    def __call__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(f"sgl_kernel.{self._name} does not exist on this CPU")


def __getattr__(name: str) -> _Absent:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Absent(name)


class _Submodules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Any ``import sgl_kernel.something`` finds a module of absent names."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith("sgl_kernel."):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        vars(module)["__getattr__"] = __getattr__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


sys.meta_path.append(_Submodules())
