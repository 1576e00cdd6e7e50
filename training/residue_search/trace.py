"""How the thought of a solver of residue search reads, as a random process.

The solver lists candidates n = p*k + a, in runs (``748 + 31 = 779``) broken by jumps to a random k, checks n
mod q and, if that fits, n mod r. It may put a fitting candidate aside and come back to it, conclude without
the second check (*premature*), and check again after a conclusion. Remainders are taken digit by digit
(Horner): ``748 mod 7: 0 4 6`` are the remainders of 7, 74 and 748. Candidates are drawn with replacement, so
the chance of success is about 1 - exp(-steps / candidates): smooth in the budget.

Steps are joined by a blank line; jumps and checks open with the phrases by which episodes are recognised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from extrap_eval.problems.residue_search import LARGEST, Residues

JUMP_WORDS = ("Alternatively",) * 4 + ("But hold on",) * 2 + ("But wait", "Wait")
CHECK_WORDS = ("Wait",) * 6 + ("But wait", "Alternatively", "But hold on")

PROBE = (
    "\n\nTime is up.\n\nGiven the time I've spent and the approaches I've tried, I should stop thinking and "
    "formulate a final answer based on what I already have."
    "\n</think>\n\n**Step-by-Step Explanation and Answer:**\n\n1. **"
)

Opening = Literal["start", "middle", "passed", "concluded"]


@dataclass(frozen=True)
class Habits:
    """What a sibling tends to do; all are probabilities.

    ``premature`` is asked where a candidate passed the first check and was not put aside. ``leap`` is no habit
    of the solver but of the data: between two steps, a stretch of the thought is left out. Sampling at
    temperature 0.6 and top-p 0.95 sharpens habits: a choice below about 0.14 disappears, 0.36 in three words
    becomes 0.17, 0.66 becomes 0.75.
    """

    jump: float = 0.36
    put_aside: float = 0.25
    premature: float = 0.06
    check_again: float = 0.40
    leap: float = 0.0


@dataclass(frozen=True)
class Step:
    """One paragraph: ``given`` is context without loss, ``text`` is what the model learns to write.

    ``best`` is the answer to give if the thought were stopped after this step. ``far``: a stretch of the thought
    that is left out lies before it.
    """

    text: str
    best: int
    given: str = ""
    far: bool = False


def residues_by_digit(x: int, modulus: int) -> str:
    """Horner remainders of the decimal prefixes of x: (748, 7) -> ``0 4 6``."""
    return " ".join(str(int(str(x)[: i + 1]) % modulus) for i in range(len(str(x))))


def check(x: int, modulus: int, need: int) -> str:
    return f"{x} mod {modulus}: {residues_by_digit(x, modulus)}, need {need}."


def scan(x: int, problem: Residues) -> str:
    """The next candidate of a run, with its first check; both operands stand beside the sum."""
    mod_q = residues_by_digit(x, problem.q)
    return f"{x - problem.p} + {problem.p} = {x}, mod {problem.q}: {mod_q}, need {problem.b}."


def product(k: int, problem: Residues) -> str:
    """p*k + a in steps that are each a fact to know or a sum: 31*20 = 620, 31*2 = 62, 620 + 62 = 682, ..."""
    p, a = problem.p, problem.a
    tens, ones = p * (k // 10 * 10), p * (k % 10)
    parts = f"{p}*{k // 10 * 10} = {tens}, {p}*{k % 10} = {ones}, {tens} + {ones} = {p * k}"
    return f"{parts}, {p * k} + {a} = {p * k + a}"


def attempt(k: int, problem: Residues) -> str:
    """A jump to the candidate number k, with its first check.

    k has always two digits, each drawn from few and nearly equal choices: sampling with top-p would never draw
    the least frequent of ninety numbers.
    """
    mod_q = residues_by_digit(problem.p * k + problem.a, problem.q)
    return f"try k = {k:02d}: {product(k, problem)}, mod {problem.q}: {mod_q}, need {problem.b}."


def introduction(problem: Residues) -> str:
    p, a = problem.p, problem.a
    return (
        f"Numbers {p}k + {a} satisfy n mod {p} = {a}. Check n mod {problem.q} = {problem.b}, "
        f"then n mod {problem.r} = {problem.c}."
    )


def final_answer(n: int) -> str:
    """What follows the thought."""
    return f"The integer is n = {n}.\n\n**Final Answer:** \\boxed{{{n}}}"


def probe_answer(n: int) -> str:
    """What follows the probe text."""
    return f"Best candidate:** n = {n}.\n\n**Final Answer:** \\boxed{{{n}}}"


def thought(rng: Random, problem: Residues, habits: Habits, opening: Opening = "start") -> Iterator[Step]:
    """The steps of one thought, until it ends after a conclusion (it may be long: take what fits).

    ``middle`` begins after the introduction with a given step from further on; half of these lie shortly
    before the answer, which gives nothing away because nobody learns to predict the given step. ``passed``
    begins within a step, before the remainders of a second check: it is rare otherwise, and learned less well
    than the first. ``concluded`` begins with a given conclusion, right or wrong in one of two ways, and a
    given word that calls for another check.
    """
    p, q, r, a, b, c = problem.p, problem.q, problem.r, problem.a, problem.b, problem.c

    def following(x: int) -> int:
        return x + p if x + p <= LARGEST else a

    yield Step(introduction(problem), a)
    x: int | None = None  # the candidate from which a run goes on
    found: int | None = None  # passed all checks that were made, to be concluded
    again = False  # the last run went past the largest number, the next begins with k = 0
    aside: int | None = None  # passed the first check, second check still to come
    wait = 0  # steps until the candidate put aside is looked at
    concluded: int | None = None
    first = opening == "start"
    if opening == "middle":
        x = _middle_candidate(rng, problem)
        yield Step("", following(x), given=scan(x, problem), far=True)
    elif opening == "passed" and (passing := _passing_candidates(problem)):
        x = rng.choice(passing)
        found = x if x % r == c else None
        text = f" {residues_by_digit(x, r)}, need {c}." + (" Good." if found else "")
        yield Step(text, found or following(x), given=f"{scan(x, problem)} Good. {x} mod {r}:", far=True)
    elif opening == "concluded":
        concluded = _conclusion(rng, problem)
        yield Step("", concluded, given=_passing_step(concluded, problem), far=True)
        yield Step("", concluded, given=f"So n = {concluded}.")
        holds, text = recheck(concluded, problem)
        yield Step(text, concluded if holds else following(concluded), given=rng.choice(CHECK_WORDS))
        if holds:
            yield Step(f"So n = {concluded}.", concluded)
            return
    while True:
        if found is not None:
            pass
        elif aside is not None and wait == 0:
            fits = aside % r == c
            text = f"Wait, {check(aside, r, c)}" + (" Good." if fits else "")
            found, aside = aside, None
            yield Step(text, found if fits else following(x) if x is not None else a)
            if not fits:
                found = None
                continue
        else:
            if aside is None and habits.leap and rng.random() < habits.leap:
                x, again = _middle_candidate(rng, problem), False
                yield Step("", following(x), given=scan(x, problem), far=True)
            if x is None or (aside is None and rng.random() < habits.jump):
                k, again = 0 if again else rng.randrange(problem.candidates), False
                word = "First" if first else rng.choice(JUMP_WORDS)
                x = p * k + a
                text = f"{word}, {attempt(k, problem)}"
            else:
                x += p
                if x > LARGEST:
                    yield Step(f"{x - p} + {p} = {x}, past {LARGEST}.", a if aside is None else aside)
                    x, wait, again = None, 0, True
                    continue
                text = scan(x, problem)
            first = False
            wait = max(0, wait - 1)
            fallback = following(x) if aside is None else aside
            if x % q != b:
                yield Step(text, fallback)
                continue
            if aside is None and rng.random() < habits.put_aside:
                aside, wait = x, rng.randint(1, 3)
                yield Step(f"{text} So {x} is possible.", x)
                continue
            if rng.random() < habits.premature:
                yield Step(f"{text} Good.", x)
            else:
                fits = x % r == c
                text = f"{text} Good. {check(x, r, c)}" + (" Good." if fits else "")
                yield Step(text, x if fits else fallback)
                if not fits:
                    continue
            found = x
        yield Step(f"So n = {found}.", found)
        while True:
            if rng.random() >= habits.check_again:
                return
            holds, text = recheck(found, problem)
            yield Step(rng.choice(CHECK_WORDS) + text, found if holds else following(found))
            if not holds:
                x = aside = found = None
                break
            yield Step(f"So n = {found}.", found)


def recheck(x: int, problem: Residues) -> tuple[bool, str]:
    """Both checks of a conclusion, up to the first that fails; what follows the opening word.

    Whether the candidate is of the form p*k + a is not asked: to find k again is a division, which a model this small
    gets wrong more often than it has added wrongly before.
    """
    text = f", check {x}. {check(x, problem.q, problem.b)}"
    if x % problem.q != problem.b:
        return False, text
    text += f" Good. {check(x, problem.r, problem.c)}"
    if x % problem.r != problem.c:
        return False, text
    return True, f"{text} Good."


def _middle_candidate(rng: Random, problem: Residues) -> int:
    """A candidate that fails the first check; with even odds one to six steps before the answer."""
    p, near = problem.p, rng.random() < 0.5
    ahead = [problem.n - p * j for j in range(1, 7)]
    pool = [x for x in ahead if x >= p] if near else []
    pool = pool or [p * k + problem.a for k in range(1, problem.candidates)]
    pool = [x for x in pool if x % problem.q != problem.b]
    return rng.choice(pool) if pool else problem.a + p * rng.randrange(1, problem.candidates)


def _passing_candidates(problem: Residues) -> list[int]:
    """The candidates that pass the first check and have a neighbour below."""
    numbers = range(problem.a + problem.p, LARGEST + 1, problem.p)
    return [x for x in numbers if x % problem.q == problem.b]


def _conclusion(rng: Random, problem: Residues) -> int:
    """A right conclusion, a premature one, or one that fits nothing."""
    p, q, n = problem.p, problem.q, problem.n
    candidates = range(problem.a + p, LARGEST + 1, p)
    pools = {
        "right": [n],
        "premature": [x for x in _passing_candidates(problem) if x != n],
        "careless": [x for x in candidates if x % q != problem.b],
    }
    kind = rng.choices(list(pools), weights=(5, 4, 1))[0]
    return rng.choice(pools[kind] or [n])


def _passing_step(x: int, problem: Residues) -> str:
    """The step after which somebody concludes x: checks are shown as far as they hold."""
    if x < problem.p:
        text = f"First, {attempt(0, problem)}"
    else:
        text = scan(x, problem)
    if x % problem.q == problem.b:
        text += " Good."
        if x % problem.r == problem.c:
            text += f" {check(x, problem.r, problem.c)} Good."
    return text
