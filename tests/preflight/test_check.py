from __future__ import annotations

import pytest

from extrap_eval.errors import UserError
from extrap_eval.preflight.check import Check, failed, ok, passed, refused, size, together, unchecked, warning


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (57_344, "57.3 kB"),
        (114_688, "115 kB"),
        (3_400_000_000, "3.4 GB"),
        (85_899_345_920, "85.9 GB"),
        (640e9, "640 GB"),
        (1.2e12, "1.2 TB"),
    ],
)
def test_sizes_for_a_person(number: float, expected: str) -> None:
    assert size(number) == expected


def test_an_error_is_split_where_its_mend_begins() -> None:
    error = UserError("card x: end_tokens: 'a' is not a token; name another")
    assert refused("end tokens", error) == failed(
        "end tokens", "card x: end_tokens: 'a' is not a token", "name another"
    )
    assert refused("x", UserError("only this")).mend is not None


def at(check: Check, *where: str) -> Check:
    return Check(check.name, check.status, check.found, check.mend, where)


def test_what_is_the_same_of_several_servers_is_said_once_and_in_order() -> None:
    one, two = "http://a", "http://b"
    checks = [
        at(ok("server", "v1"), one),
        at(warning("cache", "off", "on!"), one),
        at(ok("server", "v1"), two),
        at(ok("cache", "on"), two),
        unchecked("seeds", "one server"),
    ]
    assert together(checks) == [
        at(ok("server", "v1"), one, two),
        at(warning("cache", "off", "on!"), one),
        at(ok("cache", "on"), two),
        unchecked("seeds", "one server"),
    ]


def test_only_a_failure_fails() -> None:
    assert passed([ok("a", ""), warning("b", "", ""), unchecked("c", "")])
    assert not passed([ok("a", ""), failed("b", "", "")])
