"""Small tidy tables for the figure tests."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

BUDGETS = (4096, 8192, 16384, 32768)
NAMES = (
    "DeepSeek-R1-Distill-Qwen-1.5B",
    "OpenThinker-7B",
    "DeepScaleR-1.5B-Preview",
    "STILL-3-1.5B-preview",
    "II-Thought-1.5B-Preview",
    "Open-RS1",
    "s1.1-32B",
    "DeepSeek-R1-Distill-Qwen-32B",
    "e3-1.7B",
)
# Like published curves of nine models: most end within a few points of each other.
FINAL = (0.231, 0.244, 0.271, 0.25, 0.235, 0.227, 0.425, 0.52, 0.438)


def curve_table(
    models: int = 1,
    *,
    budgets: Sequence[int] = BUDGETS,
    ks: Sequence[int] = (1,),
    training: Sequence[float | None] = (16384,),
    benchmark: str = "AIME 2025",
) -> pd.DataFrame:
    rows = []
    for i in range(models):
        for step, budget in enumerate(budgets):
            value = FINAL[i] * (0.4 + 0.6 * (step + 1) / len(budgets))
            for k in ks:
                for metric, gained in (("pass@k", 1.15), ("maj@k", 1.05)):
                    y = min(1.0, value * gained ** (k - 1))
                    rows.append(
                        {
                            "model": NAMES[i],
                            "benchmark": benchmark,
                            "metric": metric,
                            "k": k,
                            "budget": budget,
                            "value": y,
                            "low": max(0.0, y - 0.1),
                            "high": min(1.0, y + 0.12),
                            "training_budget": training[i % len(training)],
                        }
                    )
    return pd.DataFrame(rows)
