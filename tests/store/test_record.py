from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.store.record import Completion, DamagedRecordError, completion_of, decode_line, encode_lines
from tests.store.making import completion, content

completions = st.builds(
    Completion,
    problem_id=st.text(),
    sample_index=st.integers(0, 10_000),
    token_ids=st.lists(st.integers(0, 2**31 - 1), max_size=50).map(lambda ids: np.array(ids, dtype=np.int32)),
    finish_reason=st.sampled_from(["stop", "length"]),
    stop_token_id=st.none() | st.integers(0, 2**31 - 1),
    text=st.none() | st.text(),
    token_source=st.sampled_from(["engine", "retokenized"]),
    prompt_tokens=st.integers(0, 2**31 - 1),
    cached_tokens=st.none() | st.integers(0, 2**31 - 1),
    seconds=st.floats(0, 1e9),
    attempts=st.integers(1, 99),
    server=st.text(),
)


@given(completions)
def test_a_line_gives_back_what_was_written(item: Completion) -> None:
    (line,) = encode_lines([item])
    assert line.count(b"\n") == 1
    assert content(completion_of(decode_line(line), item.stage)) == content(item)


def test_a_line_is_json_with_the_checksum_of_its_record() -> None:
    (line,) = encode_lines([completion("p1", 0)])
    raw = json.loads(line)
    assert set(raw) == {"crc", "record"}
    body = line[line.index(b'"record":') + len(b'"record":') : -2]
    assert int(raw["crc"], 16) == zlib.crc32(body)
    assert raw["record"]["n_tokens"] == completion("p1", 0).n_tokens


def test_heavy_columns_stay_out_unless_asked_for() -> None:
    (line,) = encode_lines([completion("p1", 0)])
    light = completion_of(decode_line(line, heavy=frozenset()), "rollout")
    assert len(light.token_ids) == 0
    assert light.n_tokens == completion("p1", 0).n_tokens > 0


@pytest.mark.parametrize("ids", [np.arange(5), np.arange(5, dtype=np.uint16), np.arange(10)[::2], [3, 1, 2]])
def test_any_integer_ids_are_stored_as_int32(ids: np.ndarray) -> None:
    item = Completion("p", 0, token_ids=ids, finish_reason="stop")
    stored = completion_of(decode_line(encode_lines([item])[0]), "rollout").token_ids
    assert stored.dtype == np.int32
    assert stored.tolist() == list(ids)


def test_text_that_is_not_utf8_is_stored_readably() -> None:
    item = Completion("p", 0, token_ids=np.arange(2), finish_reason="stop", text="a\ud800b")
    assert completion_of(decode_line(encode_lines([item])[0]), "rollout").text == "a?b"


def test_every_changed_byte_of_a_line_is_noticed() -> None:
    (line,) = encode_lines([Completion("p", 3, token_ids=np.arange(20), finish_reason="stop")])
    for offset in range(len(line)):
        for flip in (1, 0x20, 0x80):
            damaged = bytearray(line)
            damaged[offset] ^= flip
            with pytest.raises(DamagedRecordError):
                decode_line(bytes(damaged))


@pytest.mark.parametrize("record", [b"{}", b'{"problem_id":1}', b'{"token_ids":"!","text":null,"n_tokens":2}'])
def test_a_record_of_another_shape_is_damaged(record: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        decode_line(b'{"crc":"%08x","record":%b}\n' % (zlib.crc32(record), record))
