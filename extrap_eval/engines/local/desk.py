"""Where requests wait for the thread that runs the model, and where finished ones are handed back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from extrap_eval.engines.local.row import Row


class Desk:
    """Everything here may be called from any thread. ``hand_back`` is called with rows that are finished."""

    def __init__(self, hand_back: Callable[[Sequence[Row]], None]) -> None:
        self.hand_back = hand_back
        self._waiting: deque[Row] = deque()
        self._given: deque[Row] = deque()  # whose completion is there already
        self._news = threading.Condition()
        self.closed = False

    def put(self, row: Row) -> None:
        with self._news:
            (self._waiting if row.request.given_token_ids is None else self._given).append(row)
            self._news.notify()

    def close(self) -> None:
        """No more work is wanted; whoever waits here is told."""
        with self._news:
            self.closed = True
            self._news.notify_all()

    def wait(self) -> None:
        """Until a request waits or the desk is closed."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._given or self.closed)

    def take(self, fits: Callable[[Row], bool]) -> list[Row]:
        """The waiting requests for completions that fit, asked for in the order in which they came; cancelled ones
        vanish.
        """
        with self._news:
            taken: list[Row] = []
            left: deque[Row] = deque()
            for row in self._waiting:
                if not row.cancelled:
                    (taken if fits(row) else left).append(row)
            self._waiting = left
        for row in taken:
            row.begin()
        return taken

    def take_given(self) -> Row | None:
        """The next request whose completion is given; None when none waits."""
        with self._news:
            while self._given:
                row = self._given.popleft()
                if not row.cancelled:
                    row.begin()
                    return row
        return None
