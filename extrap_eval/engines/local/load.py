"""A model folder or hub id -> the model on its device, and what has to be known about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Below so many parameters a second thread costs more in waiting for each other than it computes.
THREADS_PAY_FROM = 50_000_000


@dataclass(frozen=True)
class Loaded:
    """``context_length``: prompt and completion tokens, None where the model sets no limit. ``end_tokens``: the
    ids that end a completion by the model's own generation settings.
    """

    model: PreTrainedModel
    context_length: int | None
    end_tokens: frozenset[int]
    vocabulary: int


def load(source: str, *, revision: str | None, device: str, dtype: str | None) -> Loaded:
    """Load a causal language model for inference.

    ``device``: "auto" (the first GPU, else the CPU) or torch's name of one. ``dtype``: torch's name of one; None
    is the one the weights are stored in, or float32 on a CPU that does not compute in bfloat16.

    Raises UserError when there is no such model, device or dtype, or the memory does not hold it.
    """
    where = _device(device)
    kind = _dtype(dtype, where)
    with _quiet():
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        try:
            model = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=kind)
            model = model.to(where).eval()
        except (OSError, ValueError, KeyError, TypeError, ImportError, SafetensorError) as error:
            raise UserError(f"model {_name(source)}: cannot be loaded ({first_line(error)})") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise UserError(f"model {_name(source)}: cannot be loaded ({first_line(error)})") from error
            raise UserError(f"model {_name(source)}: the memory of {where} does not hold it") from error
    config = model.config.get_text_config(decoder=True)
    return Loaded(
        model=model,
        context_length=getattr(config, "max_position_embeddings", None),
        end_tokens=_end_tokens(model),
        vocabulary=config.vocab_size,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {name}: cannot be used ({first_line(error)}); auto, cpu or cuda") from error
    return device


def _dtype(name: str | None, device: torch.device) -> Any:
    if name is None:
        return "auto" if device.type != "cpu" or _computes_in_bfloat16() else torch.float32
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise UserError(f"dtype {name}: is not one of bfloat16, float16, float32")
    return dtype


def _computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for it; without them it is several times slower than float32."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def _end_tokens(model: PreTrainedModel) -> frozenset[int]:
    ids = model.generation_config.eos_token_id if model.generation_config is not None else None
    if ids is None:
        ids = model.config.get_text_config(decoder=True).eos_token_id
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' notices and progress bars."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def threads(count: int | None, model: PreTrainedModel) -> Iterator[None]:
    """torch's threads while the model works (None: one for a small model, else as many as there were)."""
    before = torch.get_num_threads()
    small = model.num_parameters() < THREADS_PAY_FROM
    torch.set_num_threads(count or (1 if small else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_out_of_memory(error: BaseException) -> bool:
    """On a GPU, on the CPU (where torch has no exception of its own for it), or in Python."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _name(source: str) -> str:
    return Path(source).name if Path(source).is_dir() else source
