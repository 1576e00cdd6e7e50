"""What servers say before they end, as they say it, and what a user is told."""

from __future__ import annotations

import signal

import pytest

from extrap_eval.engines.servers.diagnosis import describe_end, diagnose, disqualified, is_port_taken
from extrap_eval.engines.servers.launch import EngineKind, ServerSpec

# At every start of vLLM where the limit is low, whatever happens later.
WARNING = (
    "(APIServer pid=1) WARNING 11-21 18:36:04 [system_utils.py:255] Found ulimit of 20000 and failed to automatically "
    "increase with error current limit exceeds maximum limit. This can cause fd limit errors like `OSError: [Errno 24] "
    "Too many open files`. Consider increasing with ulimit -n"
)
SAID: list[tuple[EngineKind, str, str]] = [
    (
        "vllm",
        "  Value error, Model architectures ['NoSuchForCausalLM'] are not supported for now. Supported architectures: ",
        "this vllm does not know the architecture NoSuchForCausalLM of org/model",
    ),
    (
        "sglang",
        "ValueError: Cannot find model module. 'NoSuchForCausalLM' is not a registered model in the Transformers",
        "this sglang does not know the architecture NoSuchForCausalLM of org/model",
    ),
    (
        "vllm",
        "  Value error, The checkpoint you are trying to load has model type `nosuch` but Transformers does not "
        "recognize this architecture.",
        "the transformers of /env/bin/python does not know this kind of model (org/model)",
    ),
    (
        "vllm",
        "  Value error, User-specified max_model_len (100000) is greater than the derived max_model_len "
        "(max_position_embeddings=4096.0 or model_max_length=None in model's config.json).",
        "org/model has a context of 4096 tokens and 100000 are wanted: lower --budget-max",
    ),
    (
        "vllm",
        "main.py serve: error: argument --dtype: invalid choice: 'int3' (choose from 'auto', 'bfloat16')",
        "it refuses an argument (argument --dtype: invalid choice: 'int3'",
    ),
    (
        "vllm",
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the "
        "specified revision on the local disk and outgoing traffic has been disabled.",
        "org/model is neither a model folder nor to be had from the hub",
    ),
    (
        "vllm",
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': "
        "'/nonexistent/model'. Use `repo_type` argument if needed.",
        "org/model is neither a model folder nor to be had from the hub",
    ),
    (
        "vllm",
        "ValueError: Free memory on device cuda:0 (10.2/79.11 GiB) on startup is less than desired GPU memory "
        "utilization (0.9, 71.2 GiB). Decrease GPU memory utilization",
        "only 10.2 of 79.11 GiB are free on its GPU (cuda:0) and it was to take 0.9 of all",
    ),
    (
        "vllm",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "the weights of org/model leave no memory for its cache",
    ),
    (
        "sglang",
        "RuntimeError: Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static=0.3. Raise",
        "the weights of org/model leave no memory for its cache",
    ),
    ("sglang", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out of GPU memory"),
    ("sglang", "OSError: [Errno 28] No space left on device", "a disk is full"),
    ("sglang", "OSError: [Errno 24] Too many open files: '/dev/shm/x'", "too many open files: raise the limit"),
    ("sglang", "/env/bin/python: No module named sglang", "/env/bin/python cannot run sglang: name the Python"),
    ("vllm", "OSError: You are trying to access a gated repo.", "org/model is gated: accept its terms"),
]


def spec(kind: EngineKind) -> ServerSpec:
    return ServerSpec(kind, "/env/bin/python", "org/model", "model", 4096)


@pytest.mark.parametrize(("kind", "said", "told"), SAID)
def test_what_is_known(kind: EngineKind, said: str, told: str) -> None:
    text = f"{WARNING}\nTraceback (most recent call last):\n  File x\n{said}\nRuntimeError: Engine core initialization"
    line = diagnose(text, spec(kind))
    assert line is not None
    assert line.startswith(told)
    assert "\n" not in line


def test_what_is_not_known_is_not_guessed() -> None:
    text = f"{WARNING}\nKeyError: 'layers.0'\nRuntimeError: Engine core initialization failed. See root cause above."
    assert diagnose(text, spec("vllm")) is None
    assert describe_end(1, text) == (
        "ended with exit code 1; it said last: RuntimeError: Engine core initialization failed. See root cause above."
    )
    assert describe_end(-signal.SIGTERM, "") == "was killed by SIGTERM"
    assert "when memory runs out" in describe_end(-signal.SIGKILL, "")


def test_a_pool_that_is_too_small_disqualifies_a_server_that_serves() -> None:
    said = "KV pool holds 512 tokens, fewer than --context-length 4096. One full-length request cannot fit"
    told = disqualified(said, spec("sglang"))
    assert told is not None
    assert told.startswith("its cache of 512 tokens is too small for one completion: 4096 tokens of context are needed")
    assert disqualified(WARNING, spec("vllm")) is None


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("OSError: [Errno 98] Address already in use", True),
        (
            "ERROR: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
            True,
        ),
        ("torch.distributed.DistNetworkError: The server socket has failed to listen: EADDRINUSE", True),
        ("Loading weights took 98 seconds", False),
        ("errno 980", False),
    ],
)
def test_a_port_that_is_taken(said: str, taken: bool) -> None:
    assert is_port_taken(said) == taken
