from __future__ import annotations

import pytest

from extrap_eval.store.redact import redact, redact_arguments

SECRET = "s3cr3t-Va1ue"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--api-key", SECRET],
        ["--api_key", SECRET],
        [f"--api-key={SECRET}"],
        [f"--API-KEY={SECRET}"],
        [f"--password=a&b {SECRET}"],
        ["--openai-api-key", SECRET],
        ["--hf-token", SECRET],
        ["--token", SECRET],
        ["-token", SECRET],
        [f"HF_TOKEN={SECRET}"],
        [f"OPENAI_API_KEY={SECRET}"],
        [f"--secret={SECRET}"],
        ["--aws-secret-access-key", SECRET],
        ["--auth", f"user:{SECRET}"],
        ["--endpoint", f"https://user:{SECRET}@host:8000/v1"],
        ["--endpoint", f"https://{SECRET}@host/v1"],
        [f"--endpoint=http://user:{SECRET}@host"],
        ["--endpoint", f"https://host/v1?api_key={SECRET}&x=1"],
        ["--endpoint", f"https://host/v1?x=1&access_token={SECRET}"],
        ["--header", f"Authorization: Bearer {SECRET}"],
        ["--header", f"Authorization: Basic {SECRET}"],
        ["--header", f"X-API-Key: {SECRET}"],
        ["--header", f"Authorization: {SECRET}"],
        ["--headers", f'{{"Authorization": "Bearer {SECRET}", "x": "y"}}'],
        ["--json", f'{{"api_key": "{SECRET}"}}'],
        ["--json", f"{{'api_key':'{SECRET}'}}"],
        ["--engine-args", f"--dtype auto --api-key={SECRET} --seed 1"],
        ["--engine-args", f"--dtype auto --api-key {SECRET} --seed 1"],
        [f"Bearer {SECRET}"],
    ],
)
def test_secrets_do_not_stay_in_a_command_line(arguments: list[str]) -> None:
    hidden = redact_arguments(["sample", *arguments, "--n", "16"])
    assert SECRET not in " ".join(hidden)
    assert "***" in " ".join(hidden)
    assert hidden[0] == "sample"
    assert hidden[-2:] == ["--n", "16"]


@pytest.mark.parametrize("key", ["sk-abcdefgh12345678", "sk-proj-Ab_12345678", "hf_AbCdEfGh12345678", "ghp_Ab12345678"])
def test_keys_of_well_known_shape_are_hidden_wherever_they_stand(key: str) -> None:
    assert key not in redact(f"--note=see {key} there")


@pytest.mark.parametrize(
    "argument",
    [
        "--max-tokens=32768",
        "--tokenizer=Qwen/Qwen2.5",
        "--stop-token-ids=1,2",
        "--return_token_ids",
        "--max-new-tokens",
        "token_source: retokenized",
        "http://127.0.0.1:8000/v1",
        "https://host/v1?max_tokens=5",
        "runs/author@host/x",
        "org/model-1.5B",
        "--author=someone",
        "--monkey=1",
        "sk-1",
    ],
)
def test_what_is_no_secret_stays(argument: str) -> None:
    assert redact_arguments([argument, "after"]) == [argument, "after"]
