"""How the stand-in model behaves; nothing here needs numpy or a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from extrap_eval.engines.markov import text

MAX_DISTRACTORS = 899  # three-digit numbers other than the right one


@dataclass(frozen=True)
class MarkovPolicy:
    """A model that proposes, verifies and stops, each imperfectly (the p^k policy of e3, appendix C).

    A problem has a success probability p. A completion opens its thought and makes attempts, one after the
    other, independent of each other. An attempt is right with probability p and otherwise one of
    ``distractors`` wrong answers, the j-th with weight proportional to ``distractor_decay**j``. Verification
    accepts it with ``accept_right`` or ``accept_wrong``; an accepted candidate ends the thought and is the
    answer. A rejected one becomes the answer all the same with probability ``give_up``; otherwise the next
    attempt begins. With ``accept_right=1, accept_wrong=0, give_up=0, loop=0`` accuracy after k attempts is 1
    - (1 - p)^k.

    Fields
    ------
    attempt_tokens
        Tokens of one attempt, exactly, whatever it says.
    loop
        Probability, before every attempt, of repeating one sentence until the budget cuts it.
    box_attempts
        True: every attempt boxes its candidate inside the thought. False: only the final answer is boxed.
    max_attempts
        The last candidate after this many attempts is the answer, accepted or not. None: no limit.
    recall
        Probability that an answer which is asked for after a closed thought (a probe, or a natural end that someone
        else continues) is the best candidate of that thought: the last one that was verified to work, otherwise the
        last one. If not, and where the thought has no candidate, it is a guess, with the chances of one attempt.

    Raises ValueError, naming the field, for values outside these meanings.
    """

    attempt_tokens: int = 96
    accept_right: float = 0.9
    accept_wrong: float = 0.05
    give_up: float = 0.01
    loop: float = 0.002
    distractors: int = 5
    distractor_decay: float = 0.6
    box_attempts: bool = True
    max_attempts: int | None = None
    recall: float = 1.0

    def __post_init__(self) -> None:
        for field in ("accept_right", "accept_wrong", "give_up", "loop", "recall"):
            value = getattr(self, field)
            if not 0 <= value <= 1:
                raise ValueError(f"{field}: {value} is not a probability in [0, 1]")
        if not 0 < self.distractor_decay <= 1:
            raise ValueError(f"distractor_decay: {self.distractor_decay} is not in (0, 1]")
        self._check_integer("attempt_tokens", self.min_attempt_tokens, None)
        self._check_integer("distractors", 1, MAX_DISTRACTORS)
        if self.max_attempts is not None:
            self._check_integer("max_attempts", 1, None)
        if not isinstance(self.box_attempts, bool):
            raise ValueError(f"box_attempts: {self.box_attempts!r} is neither true nor false")

    def _check_integer(self, field: str, low: int, high: int | None) -> None:
        value = getattr(self, field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{field}: {value!r} is not a whole number")
        if value < low:
            raise ValueError(f"{field}: {value} is below {low}, the least possible")
        if high is not None and value > high:
            raise ValueError(f"{field}: {value} is above {high}, the most possible")

    @property
    def header_tokens(self) -> int:
        """Tokens before the first attempt."""
        return text.length(text.OPEN + text.INTRODUCTION)

    @property
    def tail_tokens(self) -> int:
        """Tokens of the end of an attempt: the proposal and the verdict."""
        return text.length(text.proposal(100, self.box_attempts) + text.verdict(100, True))

    @property
    def min_attempt_tokens(self) -> int:
        """The shortest possible attempt: opening, one short step, proposal, verdict."""
        openings = (text.FIRST_STEP, text.CONTINUED_STEP, *text.NEXT_STEPS)
        return max(map(text.length, openings)) + min(map(text.length, text.FILLERS)) + self.tail_tokens

    @property
    def box_end(self) -> int:
        """Tokens of an attempt up to and with the brace that closes its box; ValueError if it has none."""
        if not self.box_attempts:
            raise ValueError("box_attempts is false: attempts have no box")
        tail = text.pieces(text.proposal(100, True))
        return self.attempt_tokens - self.tail_tokens + tail.index(text.BOX[1]) + 1

    @property
    def proposal_end(self) -> int:
        """Tokens of an attempt up to and with the question mark after its candidate."""
        tail = text.pieces(text.proposal(100, self.box_attempts))
        return self.attempt_tokens - self.tail_tokens + tail.index("?") + 1

    @property
    def conclusion_tokens(self) -> int:
        """Tokens after the last attempt: the end of the thought, the boxed answer, the end token."""
        return text.length(text.CLOSE + text.final_answer(100))

    @property
    def conclusion_box_end(self) -> int:
        """Tokens of the conclusion up to and with the brace that closes its box."""
        return text.pieces(text.CLOSE + text.final_answer(100)).index(text.BOX[1]) + 1

    @cached_property
    def wrong_weights(self) -> tuple[float, ...]:
        """Probability of each distractor given that an attempt is wrong; they add up to 1."""
        weights = [self.distractor_decay**j for j in range(self.distractors)]
        return tuple(weight / sum(weights) for weight in weights)
