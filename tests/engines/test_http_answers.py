"""What is sent to each kind of server, and which of its answers are believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from extrap_eval.engines.base import EngineError, GenerationRequest
from extrap_eval.engines.http.answers import Dialect, believe
from extrap_eval.engines.http.connection import Disbelieved, Fault
from extrap_eval.engines.http.openai import OpenAI
from extrap_eval.engines.http.sglang import Sglang
from extrap_eval.engines.http.vllm import Vllm
from extrap_eval.errors import UserError

PROMPT = np.array([5, 6, 7, 8], dtype=np.int32)
REQUEST = GenerationRequest(PROMPT, max_tokens=3)


def vllm_body(**changes: Any) -> dict[str, Any]:
    choice = {"text": "abc", "token_ids": [1, 2, 9], "finish_reason": "stop", "stop_reason": None}
    usage: dict[str, Any] = {"prompt_tokens": 4, "completion_tokens": 3, "prompt_tokens_details": None}
    for key, value in changes.items():
        (usage if key in usage else choice)[key] = value
    return {"choices": [choice], "usage": usage}


def sglang_body(**changes: Any) -> dict[str, Any]:
    finish = {"type": changes.pop("finish_reason", "stop"), "matched": changes.pop("matched", 9)}
    ids = changes.pop("output_ids", [1, 2, 9])
    meta = {"finish_reason": finish, "prompt_tokens": 4, "completion_tokens": 3, "cached_tokens": 2, **changes}
    return {"text": "abc", "output_ids": ids, "meta_info": meta}


@pytest.mark.parametrize(
    ("dialect", "body", "finish", "stop", "cached"),
    [
        (Vllm(), vllm_body(), "stop", 9, None),
        (Vllm(), vllm_body(stop_reason=9, prompt_tokens_details={"cached_tokens": 2}), "stop", 9, 2),
        (Vllm(), vllm_body(stop_reason="c"), "stop", None, None),
        (Vllm(), vllm_body(finish_reason="length"), "length", None, None),
        (Sglang(), sglang_body(), "stop", 9, 2),
        (Sglang(), sglang_body(matched="c"), "stop", None, 2),
        (Sglang(), sglang_body(finish_reason="length", matched=None), "length", None, 2),
    ],
)
def test_a_good_answer_is_read_as_it_is(
    dialect: Dialect, body: dict[str, Any], finish: str, stop: int | None, cached: int | None
) -> None:
    got = believe(dialect, body, REQUEST, "http://s")
    assert got.token_ids.tolist() == [1, 2, 9]
    assert got.token_ids.dtype == np.int32
    assert (got.finish_reason, got.stop_token_id, got.cached_tokens) == (finish, stop, cached)
    assert (got.text, got.token_source, got.prompt_tokens, got.server) == (None, "engine", 4, "http://s")


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (vllm_body(token_ids=[1, 2], completion_tokens=2, finish_reason="length"), UserError, "cut .* at 2 of 3"),
        (vllm_body(token_ids=[], completion_tokens=0, finish_reason="length"), UserError, "at 0 of 3"),
        (vllm_body(token_ids=None), UserError, "no token ids"),
        (vllm_body(token_ids=[1, 2, 3, 4], completion_tokens=4), EngineError, "4 completion tokens, more than the 3"),
        (vllm_body(completion_tokens=2), Disbelieved, "3 token ids but usage says 2"),
        (vllm_body(prompt_tokens=5), Disbelieved, "4 prompt tokens sent but usage says 5"),
        (vllm_body(stop_reason=8), Disbelieved, "stopped at token 8 but the last id is 9"),
        (vllm_body(token_ids=[], completion_tokens=0), Disbelieved, "without a single token"),
        (vllm_body(token_ids=[1, 2.5, 9]), Disbelieved, "not a list of ids"),
        (vllm_body(token_ids=[1, -2, 9]), Disbelieved, "not a list of ids"),
        (vllm_body(token_ids=[1, 2**31, 9]), Disbelieved, "not a list of ids"),
        (vllm_body(token_ids=[1, "2", 9]), Disbelieved, "not a list of ids"),
        (vllm_body(token_ids=[[1, 2, 9]]), Disbelieved, "not a list of ids"),
        (vllm_body(token_ids=[[1], [2, 9]]), Disbelieved, "not a list of ids"),
        (vllm_body(finish_reason="repetition"), EngineError, "'repetition' is not 'stop' or 'length'"),
        (vllm_body(finish_reason=None), EngineError, "None is not 'stop' or 'length'"),
        (vllm_body(finish_reason="abort"), Fault, "aborted"),
        ({"choices": []}, Disbelieved, "not a vllm completion"),
        ({"choices": vllm_body()["choices"] * 2, "usage": {}}, Disbelieved, "not a vllm completion"),
        ({"object": "error"}, Disbelieved, "not a vllm completion"),
        ([], Disbelieved, "not a vllm completion"),
        (None, Disbelieved, "not a vllm completion"),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(body: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        believe(Vllm(), body, REQUEST, "http://s")


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (sglang_body(output_ids=[1, 2], completion_tokens=2, finish_reason="length"), UserError, "at 2 of 3"),
        (sglang_body(matched=8), Disbelieved, "stopped at token 8"),
        (sglang_body(prompt_tokens=1), Disbelieved, "usage says 1"),
        (sglang_body(finish_reason="abort"), Fault, "aborted"),
        ({"text": "abc", "output_ids": [1]}, Disbelieved, "not a sglang completion"),
    ],
)
def test_the_same_holds_for_sglang(body: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        believe(Sglang(), body, REQUEST, "http://s")


def sent(dialect: Dialect, request: GenerationRequest) -> dict[str, Any]:
    payload = dialect.payload(request, "m")
    parsed: dict[str, Any] = orjson.loads(orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY))
    return parsed


@pytest.mark.parametrize("prompt", [PROMPT, np.arange(1, 9, dtype=np.int64)[::2]])  # the second is not contiguous
def test_everything_that_shapes_the_distribution_is_sent_to_vllm(prompt: np.ndarray) -> None:
    request = GenerationRequest(
        prompt, 99, temperature=0.7, top_p=0.9, top_k=20, stop_token_ids=(9,), stop_strings=("S",), seed=4
    )
    assert sent(Vllm(), request) == {
        "model": "m",
        "prompt": prompt.tolist(),
        "max_tokens": 99,
        "n": 1,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop_token_ids": [9],
        "stop": ["S"],
        "skip_special_tokens": False,
        "return_token_ids": True,
        "seed": 4,
    }
    body = sent(Sglang(), request)
    assert body["input_ids"] == prompt.tolist()
    assert body["sampling_params"] == {
        "max_new_tokens": 99,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop_token_ids": [9],
        "stop": ["S"],
        "skip_special_tokens": False,
        "sampling_seed": 4,
    }


@pytest.mark.parametrize("dialect", [Vllm(), Sglang()])
def test_no_seed_is_sent_unless_asked_for(dialect: Dialect) -> None:
    assert b"seed" not in orjson.dumps(sent(dialect, REQUEST))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Byte-level, one token per byte, ``<s>`` put before every text as Llama's tokenizers do."""
    return byte_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def byte_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "</s>"])
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))]
    )
    inner.save(str(folder / "tokenizer.json"))
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", eos_token="</s>")


def test_a_text_server_gets_the_prompt_as_text_and_only_standard_fields(tokenizer: Any) -> None:
    dialect = OpenAI(tokenizer)
    ids = np.array(tokenizer.encode("Is 7 prime?", add_special_tokens=True), dtype=np.int32)
    assert tokenizer.decode(ids.tolist()) == "<s>Is 7 prime?"
    request = GenerationRequest(ids, 99, stop_token_ids=(tokenizer.eos_token_id,), stop_strings=("!",))
    assert sent(dialect, request) == {
        "model": "m",
        "prompt": "Is 7 prime?",  # the server's tokenizer adds <s> itself
        "max_tokens": 99,
        "n": 1,
        "temperature": 0.6,
        "top_p": 0.95,
        "stop": ["!", "</s>"],
    }
    assert sent(dialect, GenerationRequest(ids, 9, top_k=5))["top_k"] == 5


def test_the_text_is_the_record_and_ids_are_made_from_it(tokenizer: Any) -> None:
    choice = {"text": "it is é", "finish_reason": "stop"}
    got = believe(OpenAI(tokenizer), {"choices": [choice]}, GenerationRequest(PROMPT, 3), "http://s")
    assert got.text == "it is é"
    assert tokenizer.decode(got.token_ids.tolist()) == "it is é"
    assert len(got.token_ids) == 8
    assert (got.token_source, got.finish_reason, got.stop_token_id) == ("retokenized", "stop", None)
    assert (got.prompt_tokens, got.cached_tokens) == (4, None)


@pytest.mark.parametrize(
    ("choice", "usage", "error", "words"),
    [
        ({"text": "ab", "finish_reason": "length"}, {"completion_tokens": 2}, UserError, "at 2 of 3"),
        ({"text": "ab", "finish_reason": "stop"}, {"completion_tokens": 4}, EngineError, "more than the 3"),
        ({"text": None, "finish_reason": "stop"}, {}, Disbelieved, "no text"),
        ({"text": "ab", "finish_reason": "content_filter"}, {}, EngineError, "content_filter"),
    ],
)
def test_a_text_server_is_held_to_its_own_counts(
    tokenizer: Any, choice: dict[str, Any], usage: dict[str, int], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        believe(OpenAI(tokenizer), {"choices": [choice], "usage": usage}, REQUEST, "http://s")
