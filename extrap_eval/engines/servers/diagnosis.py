"""Why a server did not start or went, read from its log: one line with the mend."""

from __future__ import annotations

import re
import signal
from dataclasses import asdict, dataclass

from extrap_eval.engines.servers.launch import ServerSpec
from extrap_eval.engines.servers.log import bare, last_words


@dataclass(frozen=True)
class Cause:
    """``pattern``: what the log says. ``line``: what that means, with the pattern's named groups and the fields
    of ServerSpec in braces.
    """

    pattern: re.Pattern[str]
    line: str


def _cause(pattern: str, line: str) -> Cause:
    return Cause(re.compile(pattern, re.IGNORECASE | re.DOTALL), line)


_PORT = r"address (?:is )?already in use|errno 98\b|EADDRINUSE|port \d+ is (?:already )?(?:in use|not available)"
_NUMBER = r"\d(?:[\d.,]*\d)?"

# A server says so and serves all the same.
_POOL_TOO_SMALL = _cause(
    r"KV pool holds (?P<left>\d+) tokens, fewer than --context-length (?P<length>\d+)",
    "its cache of {left} tokens is too small for one completion: {length} tokens of context are needed; raise "
    "--gpu-memory, give a replica more GPUs (--tp), or lower --budget-max",
)

# The first that fits is taken, so what says more stands before what says less.
CAUSES = (
    _cause(
        rf"max seq len \((?P<length>\d+)\), \((?P<needed>{_NUMBER}) GiB KV cache is needed, which is larger than the "
        rf"available KV cache memory \((?P<left>{_NUMBER}) GiB\)",
        "its cache of {left} GiB is too small for one completion: {length} tokens of context need {needed} GiB; raise "
        "--gpu-memory, give a replica more GPUs (--tp), or lower --budget-max",
    ),
    _POOL_TOO_SMALL,
    _cause(
        rf"Free memory on device (?P<device>\S+) \((?P<free>{_NUMBER})/(?P<total>{_NUMBER}) GiB\) on startup is less "
        rf"than desired GPU memory utilization \((?P<fraction>{_NUMBER})",
        "only {free} of {total} GiB are free on its GPU ({device}) and it was to take {fraction} of all: end what else "
        "runs there, or lower --gpu-memory",
    ),
    _cause(
        rf"Available memory on node \d+ \((?P<free>{_NUMBER})/(?P<total>{_NUMBER}) GiB\) on kv cache allocation is "
        rf"less than requested memory for kv \((?P<wanted>{_NUMBER})",
        "{wanted} GiB wanted for its cache and only {free} of {total} GiB of memory are free: lower --gpu-memory or "
        "--replicas, or end what else runs here",
    ),
    _cause(
        r"No available memory for the cache blocks|Loaded weights leave no GPU memory for the KV cache"
        r"|Not enough memory\. Please try to increase --mem-fraction-static",
        "the weights of {model} leave no memory for its cache: raise --gpu-memory, or give a replica more GPUs (--tp)",
    ),
    _cause(
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|hipErrorOutOfMemory",
        "out of GPU memory: give a replica more GPUs (--tp), or lower --gpu-memory so that the cache leaves room",
    ),
    _cause(
        r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory|\bMemoryError\b",
        "out of memory: lower --gpu-memory or --replicas",
    ),
    _cause(r"No space left on device", "a disk is full (/dev/shm, the cache of models, or the log's): make room"),
    _cause(_PORT, "a port that it needs is taken by another process"),
    _cause(
        r"max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len \([^=]*=(?P<most>\d+)",
        "{model} has a context of {most} tokens and {asked} are wanted: lower --budget-max",
    ),
    _cause(
        r"context_length \((?P<asked>\d+)\) is greater than the derived context_length \((?P<most>\d+)\)",
        "{model} has a context of {most} tokens and {asked} are wanted: lower --budget-max",
    ),
    _cause(
        r"(?:Model architectures? \[?'?|Cannot find model module\. ')(?P<name>\w+)[^\n]{0,80}?"
        r"(?:not supported|failed to be inspected|is not a registered model)",
        "this {kind} does not know the architecture {name} of {model}: use a newer {kind}, or the other engine",
    ),
    _cause(
        r"model type [`'\"]?(?P<name>[\w.-]+)[`'\"]? but Transformers does not recognize|"
        r"Unrecognized model in (?P<path>\S+)",
        "the transformers of {python} does not know this kind of model ({model}): use a newer engine, or correct "
        "the model's config.json",
    ),
    _cause(
        r"contains custom code which must be executed|trust_remote_code=True|--trust-remote-code",
        "{model} brings code of its own: if you trust it, add --server-arg --trust-remote-code",
    ),
    _cause(
        r"gated repo|GatedRepoError|is restricted and you are not in the authorized list",
        "{model} is gated: accept its terms on the hub and set HF_TOKEN",
    ),
    _cause(
        r"Invalid repository ID or local directory|Repo id must be in the form|"
        r"is not a local folder and is not a valid model identifier|"
        r"RepositoryNotFound|Repository Not Found|outgoing traffic has been disabled|OfflineMode|"
        r"Can't load (?:the configuration|tokenizer) (?:of|for)|couldn't connect to 'https|LocalEntryNotFound",
        "{model} is neither a model folder nor to be had from the hub: correct hf_id in the card, or download it first "
        "(and check HF_HUB_OFFLINE and HF_TOKEN)",
    ),
    _cause(r"RevisionNotFound|is not a valid git identifier", "the hub has no revision {revision} of {model}"),
    _cause(
        r"SafetensorError|deserializing header|invalid header|incomplete metadata|PytorchStreamReader failed",
        "the weights of {model} are damaged: download them again",
    ),
    _cause(r"Cannot find any model weights", "there are no weights in {model}: download them, or correct the path"),
    _cause(
        r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size",
        "{heads} attention heads cannot be shared among {tensor_parallel} GPUs: choose a --tp that divides them",
    ),
    _cause(
        r"Bfloat16 is only supported on GPUs",
        "these GPUs have no bfloat16: set engine.dtype to float16 in the model card",
    ),
    _cause(
        r"NVIDIA driver on your system is too old|driver version is insufficient",
        "the GPU driver is too old for this {kind}: update the driver, or install a build for it",
    ),
    _cause(
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver|no NVIDIA GPU detected",
        "this build of {kind} needs GPUs and finds none: give it some, or install a build for CPUs",
    ),
    _cause(
        r"No module named '?(?P<name>vllm|sglang)\b|cannot run (?P<program>\S+): ",
        "{python} cannot run {kind}: name the Python of its environment with --engine-python PATH",
    ),
    _cause(
        r"\berror: (?P<words>(?:unrecognized arguments|ambiguous option|argument )[^\n]*)",
        "it refuses an argument ({words}): correct --server-arg, or engine: in the model card",
    ),
    # (vLLM warns of it at every start, in backquotes.)
    _cause(r"Too many open files(?!`)", "too many open files: raise the limit (ulimit -n)"),
)


def diagnose(text: str, spec: ServerSpec) -> str | None:
    """What a log says about why its server did not start, None when it is nothing known."""
    return _first(CAUSES, text, spec)


def disqualified(text: str, spec: ServerSpec) -> str | None:
    """Why a server that has started cannot be used; None when it can."""
    return _first((_POOL_TOO_SMALL,), text, spec)


def is_port_taken(text: str) -> bool:
    return re.search(_PORT, text, re.IGNORECASE) is not None


def describe_end(status: int, text: str) -> str:
    """How a process ended (status as ``subprocess`` counts it), and its last error or words."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        how = f"was killed by {name}"
        if status == -signal.SIGKILL:
            how += " (by somebody, or by the system when memory runs out)"
    else:
        how = f"ended with exit code {status}"
    said = last_error(text) or last_words(text)
    return f"{how}; it said last: {said}" if said else how


def last_error(text: str) -> str:
    """The last line of the form ``SomeError: words``; "" when there is none."""
    for line in reversed(text.splitlines()):
        words, _ = bare(line)
        if re.match(r"[\w.]*(?:Error|Exception|Interrupt): \S", words.strip()):
            return words.strip()[:300]
    return ""


def _first(causes: tuple[Cause, ...], text: str, spec: ServerSpec) -> str | None:
    for cause in causes:
        if match := cause.pattern.search(text):
            return cause.line.format(**{**asdict(spec), **match.groupdict()})
    return None
