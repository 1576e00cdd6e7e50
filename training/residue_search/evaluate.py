"""Measure one sibling through a server: budget curve, probes and forced "Wait"; prints tables, writes JSON.

    python -m training.residue_search.evaluate MODEL_FOLDER --url http://127.0.0.1:8000/v1 --out figures.json

The server (vLLM with ``--max-model-len 5120``) serves the same folder. Sampling is at temperature 0.6 and
top-p 0.95; sampling is not seeded, so figures vary within their intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.metrics.intervals import difference_interval, interval, resamples
from extrap_eval.metrics.majk import maj_at_k
from extrap_eval.metrics.passk import pass_at_k
from extrap_eval.problems.problem import Problem
from extrap_eval.problems.residue_search import SET_SIZES, residue_search
from extrap_eval.scoring.boxes import find_boxes
from extrap_eval.scoring.timeline import Timeline, answer_index, read_timeline
from extrap_eval.scoring.tokens import TokenTable
from training.residue_search.tokenizer import CLOSE, PROMPTS
from training.residue_search.trace import PROBE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BUDGETS = (64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)
TRAINING_BUDGET = 512
PROBE_STEPS = (1, 3, 6, 12, 24, 48, 96)
PROBED_TRACES = 4  # per problem; probes and "Wait" use the first ones
PROBE_TOKENS = 64
WAIT_ROUNDS = 3
WAIT_TOKENS = 1024
LONGEST_FORCED = 3800  # thoughts are not extended beyond this length


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible completions server that takes and returns token ids."""

    url: str
    concurrent: int = 192

    def complete(self, prompts: Sequence[Sequence[int]], tokens: int, n: int = 1) -> list[list[list[int]]]:
        """``n`` completions of each prompt, as token ids, the stop token included.

        One request per completion: a server stays full although some completions are much longer.
        """
        with urllib.request.urlopen(f"{self.url}/models") as answer:
            model = json.load(answer)["data"][0]["id"]

        def ask(prompt: Sequence[int]) -> list[int]:
            body = {
                "model": model,
                "prompt": list(prompt),
                "max_tokens": tokens,
                "temperature": 0.6,
                "top_p": 0.95,
                "return_token_ids": True,
            }
            request = urllib.request.Request(
                f"{self.url}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=3600) as answer:
                return list(json.load(answer)["choices"][0]["token_ids"])

        with ThreadPoolExecutor(self.concurrent) as pool:
            flat = list(pool.map(ask, [prompt for prompt in prompts for _ in range(n)]))
        return [flat[start : start + n] for start in range(0, len(flat), n)]


@dataclass(frozen=True)
class Rollouts:
    """All completions of a set: ``ids[p][i]`` is sample i of problem p."""

    problems: list[Problem]
    prompts: list[list[int]]
    ids: list[list[list[int]]]


def sample(server: Server, tokenizer: PreTrainedTokenizerFast, problems: list[Problem], n: int) -> Rollouts:
    prompts = []
    for problem in problems:
        turn = [{"role": "user", "content": PROMPTS[0].format(problem=problem.text)}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        prompts.append(tokenizer.encode(text, add_special_tokens=False))
    return Rollouts(problems, prompts, server.complete(prompts, max(BUDGETS), n))


def budget_curve(rollouts: Rollouts, table: TokenTable, end: int) -> list[dict[str, Any]]:
    """One record per budget: pass@1 with its interval, pass@16, maj@16, share of finished samples."""
    budgets = np.array(BUDGETS)
    n = len(rollouts.ids[0])
    draws = resamples(len(rollouts.problems), 2000, seed=0)
    right = np.zeros((len(budgets), len(rollouts.problems)), np.int64)
    finished = np.zeros_like(right)
    majority = np.zeros(right.shape)
    for p, (problem, completions) in enumerate(zip(rollouts.problems, rollouts.ids, strict=True)):
        answers = []
        for ids in completions:
            timeline = read_timeline(np.array(ids), table, finished=ids[-1] == end, think_close=CLOSE)
            answers.append([answer_at(timeline, index) for index in answer_index(timeline, budgets)])
            finished[:, p] += timeline.finished & (len(ids) <= budgets)
        for b in range(len(budgets)):
            given = [answer[b] for answer in answers]
            right[b, p] = given.count(problem.gold)
            classes = sorted({answer for answer in given if answer is not None})
            majority[b, p] = maj_at_k(
                [given.count(answer) for answer in classes],
                [answer == problem.gold for answer in classes],
                given.count(None),
                16,
            ).correct
    first = right / n
    low, high = interval(first, draws)
    base = first[BUDGETS.index(TRAINING_BUDGET)]
    records = []
    for b, budget in enumerate(BUDGETS):
        gain_low, gain_high = difference_interval(first[b] - base, draws)
        records.append(
            {
                "budget": budget,
                "pass@1": first[b].mean(),
                "low": low[b],
                "high": high[b],
                "pass@16": pass_at_k(right[b], n, 16).mean(),
                "maj@16": majority[b].mean(),
                "finished": finished[b].mean() / n,
                "over_training_budget": (first[b] - base).mean(),
                "over_low": float(gain_low),
                "over_high": float(gain_high),
            }
        )
    return records


def answer_at(timeline: Timeline, index: int) -> str | None:
    return timeline.answers[index] if index >= 0 else None


def probe_accuracy(
    server: Server, tokenizer: PreTrainedTokenizerFast, rollouts: Rollouts, table: TokenTable
) -> list[dict[str, Any]]:
    """Accuracy of the answer forced by the probe text after the first j steps of the thought."""
    question = tokenizer.encode(PROBE, add_special_tokens=False)
    blank = tokenizer.convert_tokens_to_ids("ĊĊ")
    jobs = []
    for p, prompt, ids in _traces(rollouts):
        thought = _thought(ids, tokenizer)
        breaks = [i for i, token in enumerate(thought) if token == blank]
        for j in PROBE_STEPS:
            over = j > len(breaks)
            jobs.append((j, p, over, [*prompt, *(thought if over else thought[: breaks[j - 1]]), *question]))
    answers = server.complete([job[3] for job in jobs], PROBE_TOKENS)
    records = []
    for j in PROBE_STEPS:
        chosen = [(p, over, answer[0]) for (step, p, over, _), answer in zip(jobs, answers, strict=True) if step == j]
        given = [last_answer(answer, table) for _, _, answer in chosen]
        right = [a == rollouts.problems[p].gold for a, (p, _, _) in zip(given, chosen, strict=True)]
        records.append(
            {
                "steps": j,
                "probes": len(chosen),
                "answered": np.mean([answer is not None for answer in given]),
                "accuracy": np.mean(right),
                "thought_was_over": np.mean([over for _, over, _ in chosen]),
            }
        )
    return records


def wait_audit(
    server: Server, tokenizer: PreTrainedTokenizerFast, rollouts: Rollouts, table: TokenTable, end: int
) -> list[dict[str, Any]]:
    """Drop the end of each finished thought, append "Wait" on a new line, go on; three rounds.

    ``pass@1`` counts all finished traces, also those that could not be extended further. A round that does
    not end within its tokens keeps the answer before.
    """
    joint = tokenizer.encode("\nWait", add_special_tokens=False)
    close = tokenizer.convert_tokens_to_ids(CLOSE)
    traces = [(p, prompt, ids) for p, prompt, ids in _traces(rollouts) if ids[-1] == end and close in ids]
    golds = [rollouts.problems[p].gold for p, _, _ in traces]
    answers = [last_answer(ids, table) for _, _, ids in traces]
    thoughts: list[list[int] | None] = [_thought(ids, tokenizer) for _, _, ids in traces]
    records = [_audit(0, golds, answers, answers, 0.0)]
    for number in range(1, WAIT_ROUNDS + 1):
        open_traces = [i for i, thought in enumerate(thoughts) if thought and len(thought) < LONGEST_FORCED]
        prompts = [[*traces[i][1], *(thoughts[i] or []), *joint] for i in open_traces]
        completions = [answer[0] for answer in server.complete(prompts, WAIT_TOKENS)]
        before = list(answers)
        for i, ids in zip(open_traces, completions, strict=True):
            if ids[-1] != end or close not in ids:
                thoughts[i] = None
                continue
            answers[i] = last_answer(ids, table)
            thoughts[i] = [*(thoughts[i] or []), *joint, *_thought(ids, tokenizer)]
        spent = float(np.mean([len(ids) for ids in completions]))
        records.append(_audit(number, golds, before, answers, spent))
    return records


def _audit(
    number: int, golds: list[str], before: list[str | None], after: list[str | None], tokens: float
) -> dict[str, Any]:
    triples = list(zip(golds, before, after, strict=True))
    return {
        "round": number,
        "traces": len(golds),
        "pass@1": np.mean([new == gold for gold, _, new in triples]),
        "wrong_to_right": sum(old != gold and new == gold for gold, old, new in triples),
        "right_to_wrong": sum(old == gold and new != gold for gold, old, new in triples),
        "tokens": tokens,
    }


def _traces(rollouts: Rollouts) -> list[tuple[int, list[int], list[int]]]:
    return [
        (p, prompt, ids)
        for p, (prompt, completions) in enumerate(zip(rollouts.prompts, rollouts.ids, strict=True))
        for ids in completions[:PROBED_TRACES]
    ]


def _thought(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens before the think-close marker, without line breaks at their end."""
    close, line = tokenizer.convert_tokens_to_ids([CLOSE, "Ċ"])
    thought = ids[: ids.index(close)] if close in ids else list(ids)
    while thought and thought[-1] == line:
        thought.pop()
    return thought


def last_answer(ids: list[int], table: TokenTable) -> str | None:
    boxes = find_boxes(table.text_bytes(np.array(ids)))
    return boxes[-1].answer if boxes else None


def show(title: str, records: list[dict[str, Any]]) -> None:
    """Print records as a Markdown table."""
    print(f"\n{title}\n\n| " + " | ".join(records[0]) + " |\n|" + " ---: |" * len(records[0]))
    for record in records:
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in record.values())
        print("| " + " | ".join(cells) + " |")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with the tokenizer")
    parser.add_argument("--url", required=True, help="of the server, with /v1")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    parser.add_argument("--set", choices=SET_SIZES, default="test60")
    parser.add_argument("-n", type=int, default=32, help="samples per problem, 16 or more")
    chosen = parser.parse_args(arguments)

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chosen.model)
    table = TokenTable.from_tokenizer(tokenizer)
    server = Server(chosen.url)
    rollouts = sample(server, tokenizer, residue_search(chosen.set), chosen.n)
    figures = {
        "set": chosen.set,
        "samples": chosen.n,
        "budget_curve": budget_curve(rollouts, table, tokenizer.eos_token_id),
        "probes": probe_accuracy(server, tokenizer, rollouts, table),
        "wait": wait_audit(server, tokenizer, rollouts, table, tokenizer.eos_token_id),
    }
    for title in ("budget_curve", "probes", "wait"):
        show(title, figures[title])
    chosen.out.write_text(json.dumps(figures, indent=2, default=float) + "\n")
    completions = {problem.id: ids for problem, ids in zip(rollouts.problems, rollouts.ids, strict=True)}
    chosen.out.with_suffix(".completions.json").write_text(json.dumps(completions))


if __name__ == "__main__":
    main(sys.argv[1:])
