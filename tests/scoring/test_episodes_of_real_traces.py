"""Episodes of published reasoning traces: three to be read beside their text, all of them against a plain split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.cards.schema import DEFAULT_PHRASES, Think
from extrap_eval.scoring.episodes import Episodes, Thought, find_thought, split_episodes
from extrap_eval.scoring.tokens import TokenTable
from tests.prompts.conftest import qwen_folder, r1, r1_folder
from tests.scoring.test_episodes import naive_episodes

__all__ = ["qwen_folder", "r1", "r1_folder"]

OPENED = Think(open="<think>", close="</think>", opened_by_prompt=True)
NOT_OPENED = Think(open="<think>", close="</think>", opened_by_prompt=False)
END = 151643  # <｜end▁of▁sentence｜>

# First token, end, steps, and how the text of the episode begins.
TABLES = {
    # DeepSeek-R1-Distill-Qwen-1.5B on an AIME 2024 problem about a lottery: thinks to the end, answers 116.
    "saturn/10": [
        (0, 465, 5, "Okay, so I have this probability"),
        (465, 672, 4, "Wait, but since she is choosing"),
        (672, 844, 6, "Wait, but let me compute that."),
        (844, 1045, 3, "But wait, let me double-check that."),
        (1045, 1346, 7, "Wait, but another way to compute"),
        (1346, 1466, 4, "Wait, but let me think again."),
        (1466, 1635, 6, "Wait, the lottery picks 4 numbers"),
        (1635, 1803, 3, "Wait, but let me think again:"),
        (1803, 1981, 7, "Alternatively, maybe I can think in"),
    ],
    # DeepScaleR-1.5B-Preview on the same problem; its log holds the opening marker.
    "areal/aime24/9/2": [
        (2, 825, 26, "Okay, so I have this probability"),
        (825, 976, 5, "But wait, in the problem statement,"),
        (976, 1118, 7, "Alternatively, perhaps it's better to use"),
        (1118, 1303, 6, "Wait, but that seems too low."),
        (1303, 1393, 4, "Wait, but hold on. Let me"),
        (1393, 1605, 8, "Alternatively, perhaps the total number of"),
        (1605, 1819, 8, "Wait, but I feel perhaps I"),
    ],
    # OpenMath-Nemotron-1.5B on a geometry problem. The blank line after the seventh episode is a token of its own.
    "areal/aime24_cut/1/0": [
        (2, 457, 6, "Okay, let's try to solve this"),
        (457, 672, 3, "Alternatively, maybe use harmonic division or"),
        (672, 1580, 31, "Alternatively, since we know the sides"),
        (1580, 1752, 6, "Alternatively, compute the center and radius."),
        (1752, 1970, 5, "Wait, let me compute that: ("),
        (1970, 2801, 43, "Alternatively, the tangent line at (x1,"),
        (2801, 4197, 56, "Wait, 2268 ÷ 504: Let's compute:"),
        (4197, 5726, 61, "Wait, expand (2 +25t)^2: =4 +"),
        (5726, 6514, 28, "Wait, but maybe we can use"),
        (6514, 6743, 6, "Alternatively, note that D is a"),
        (6743, 6931, 6, "Wait, perhaps there's a mistake in"),
        (6931, 8540, 46, "Alternatively, compute the coordinates of D,"),
        (8540, 8758, 4, "But wait, let me check the"),
        (8758, 9265, 17, "Wait, original calculation: DP = (225/22)^2"),
    ],
}


@pytest.fixture(scope="module")
def table(r1: Any) -> TokenTable:
    return TokenTable.from_tokenizer(r1)


@pytest.fixture(scope="module")
def traces(fixtures_dir: Path, r1: Any, saturn: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray, Think]]:
    found = {f"saturn/{i}": (row["ids"], OPENED) for i, row in enumerate(saturn)}
    for file in sorted((fixtures_dir / "areal_n32").glob("*/*.jsonl")):
        for i, line in enumerate(file.read_text(encoding="utf-8").splitlines()[:4]):
            ids = np.array(r1.encode(json.loads(line)["completion"], add_special_tokens=False), dtype=np.int32)
            found[f"areal/{file.parent.name}/{file.stem}/{i}"] = ids, NOT_OPENED
    return found


def split(ids: np.ndarray, table: TokenTable, think: Think) -> tuple[Thought, Episodes]:
    thought = find_thought(ids, table, think, think.opened_by_prompt, end_ids=(END,))
    return thought, split_episodes(ids, table, thought, phrases=DEFAULT_PHRASES, min_steps=3)


@pytest.mark.parametrize("name", TABLES)
def test_tables_to_be_read(name: str, traces: dict[str, tuple[np.ndarray, Think]], table: TokenTable) -> None:
    ids, think = traces[name]
    thought, found = split(ids, table, think)
    assert thought.closed
    rows = []
    for start, end, steps in zip(found.starts.tolist(), found.ends.tolist(), found.steps.tolist(), strict=True):
        rows.append((start, end, steps, " ".join(table.decode(ids[start:end]).split()[:6])))
    print(f"\n{name}\n" + "\n".join(f"{start:7}{end:7}{steps:5}  {opening} ..." for start, end, steps, opening in rows))
    assert rows == TABLES[name]


def test_every_trace_against_a_plain_split(traces: dict[str, tuple[np.ndarray, Think]], table: TokenTable) -> None:
    closed = 0
    for name, (ids, think) in traces.items():
        thought, found = split(ids, table, think)
        text = table.decode(ids).removesuffix("<｜end▁of▁sentence｜>").removeprefix("<think>").partition("</think>")[0]
        expected = naive_episodes(text.removeprefix("\n") if think is NOT_OPENED else text, DEFAULT_PHRASES, 3, None)
        assert found.steps.tolist() == [len(steps) for steps in expected], name
        openings = [table.decode(ids[start : start + 8]).lstrip("\n")[:6] for start in found.starts.tolist()]
        assert openings == [steps[0].lstrip("\n")[:6] for steps in expected], name
        closed += thought.closed
    assert 20 < closed < len(traces)  # some were cut while thinking
