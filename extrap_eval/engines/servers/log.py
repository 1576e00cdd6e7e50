"""What a server's log says: its last meaningful words, and its end."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_BYTES = 1 << 18  # a log of a day is long; why a server ended stands at its end
_WIDTH = 110

# What servers put before their words, here with the level where they give one.
_PREFIXES = (
    re.compile(r"\((?:\w|[ -])+ pid=\d+\) "),  # vLLM: (EngineCore_0 pid=123)
    re.compile(r"(?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[\w./]+:\d+\]) ?"),
    re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]*\] "),  # SGLang
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Lines that do not say what is being done.
_NOISE = re.compile(
    r"warn|deprecat|Ignore import error|shared memory broadcast|Triton is|Cannot detect|non-default args|server_args"
    r"|Route: |^[\W_]*$|[█▄▀]|^Traceback|^File |RLIMIT|^INFO: +[\d.]+:\d+ - |--- start",
    re.IGNORECASE,
)


class ServerLog:
    """The part of a log file that one start of a server writes; the file may hold earlier starts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = path.stat().st_size if path.exists() else 0

    def size(self) -> int:
        """Bytes that this start has written."""
        return max(0, self.path.stat().st_size - self._begin) if self.path.exists() else 0

    def text(self) -> str:
        """What this start has written, the end of it when it is long."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._begin, self.path.stat().st_size - TAIL_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


def last_words(text: str) -> str:
    """The last line that says what the server is doing, without time and place; "" when there is none."""
    for line in reversed(re.split(r"[\r\n]+", text)):
        words, level = bare(line)
        if words and not words[0].isspace() and level in (None, "INFO") and not _NOISE.search(words):
            return words if len(words) <= _WIDTH else f"{words[:_WIDTH]}..."
    return ""


def tail(text: str, lines: int = 12) -> tuple[str, ...]:
    """The last lines as they are, without the steps of progress bars."""
    whole = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return tuple(_COLOURS.sub("", line) for line in whole if line.strip())[-lines:]


def bare(line: str) -> tuple[str, str | None]:
    """The words of a line and their level."""
    level = None
    line = _COLOURS.sub("", line).rstrip()
    for prefix in _PREFIXES:
        if match := prefix.match(line):
            level = match.groupdict().get("level", level)
            line = line[match.end() :]
    return line, level
