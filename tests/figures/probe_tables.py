"""Tidy tables of probes, regret, forcing and votes, like those of real models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tests.figures.tables import NAMES

PS = (1, 2, 4, 8)
BINS = ((6, 10), (26, 30), (41, 45))


def probe_rows(
    bins: Sequence[tuple[int, int]] = BINS,
    *,
    ps: Sequence[int] = PS,
    model: str = NAMES[0],
    benchmark: str = "AIME 2025",
) -> pd.DataFrame:
    """Groups of five episodes; accuracy saturates, votes help a little."""
    rows = []
    for first, last in bins:
        for j in range(-(-last // 5) + 1):
            for p in ps:
                value = 0.62 * (1 - np.exp(-(j + 0.3) / 3)) + 0.03 * np.log2(p)
                rows.append(
                    {
                        "model": model,
                        "benchmark": benchmark,
                        "first": first,
                        "last": last,
                        "traces": 120 - 2 * last,
                        "group": j,
                        "episodes": min(5.0 * j, (first + last) / 2),
                        "p": p,
                        "tokens": 310.0 * min(5 * j, last) + 620.0 * p,
                        "value": value,
                        "low": max(0.0, value - 0.09),
                        "high": min(1.0, value + 0.08),
                    }
                )
    return pd.DataFrame(rows)


def direct_rows() -> pd.DataFrame:
    ks = 2 ** np.arange(6)
    value = 0.2 + 0.07 * np.log2(ks)
    return pd.DataFrame(
        {
            "model": "Qwen2.5-32B-Instruct",
            "k": ks,
            "tokens": 780.0 * ks,
            "value": value,
            "low": value - 0.06,
            "high": value + 0.07,
        }
    )


def progress_rows(models: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for name in NAMES[:models]:
        progress = np.round(rng.normal(0.06, 0.25, 400).clip(-1, 1) * 8) / 8
        progress[::9] = np.nan
        parts.append(pd.DataFrame({"model": name, "benchmark": "AIME 2025", "progress": progress}))
    return pd.concat(parts, ignore_index=True)


def regret_rows(models: int = 3, *, by: str = "tokens", natural: float | None = 16384) -> pd.DataFrame:
    at = [4096, 8192, 12288, 16384, 20480, 24576, 28672, 32768] if by == "tokens" else [1, 2, 3, 4, 5, 6]
    rows = []
    for i, name in enumerate(NAMES[:models]):
        for place, each in enumerate(at):
            value = (0.9 - 0.05 * i) * 0.93**place if by == "tokens" else 0.35 - 0.04 * i - 0.015 * place
            rows.append(
                {
                    "model": name,
                    "benchmark": "AIME 2025",
                    "at": each,
                    "value": value,
                    "low": value - 0.05,
                    "high": value + 0.05,
                    "natural": natural,
                }
            )
    return pd.DataFrame(rows)


def forcing_rows(models: int = 2) -> pd.DataFrame:
    rows = []
    for i, name in enumerate(NAMES[:models]):
        for w in (0, 2, 4, 6, 8):
            value = 0.23 + 0.1 * i + 0.012 * w - 0.001 * w * w
            rows.append(
                {
                    "model": name,
                    "benchmark": "AIME 2025",
                    "w": w,
                    "tokens": 9100.0 + 1450 * w - 900 * i,
                    "cap": 16384 + 2048 * w,
                    "value": value,
                    "low": value - 0.07,
                    "high": value + 0.08,
                }
            )
    return pd.DataFrame(rows)


def trained_rows(models: int = 2) -> pd.DataFrame:
    rows = []
    for i, name in enumerate(NAMES[:models]):
        for budget in (8192, 16384, 24576, 32768):
            value = 0.2 + 0.11 * i + 0.05 * np.log2(budget / 8192)
            rows.append(
                {
                    "model": name,
                    "benchmark": "AIME 2025",
                    "metric": "pass@k",
                    "k": 1,
                    "budget": budget,
                    "mean_tokens": 0.62 * budget**0.97,
                    "value": value,
                    "low": value - 0.06,
                    "high": value + 0.07,
                }
            )
    return pd.DataFrame(rows)


def wait_rows(extensions: int = 8) -> pd.DataFrame:
    w = np.arange(1, extensions + 1)
    gained, lost = 0.09 / w**0.5, 0.05 / w**0.7
    net = gained - lost
    return pd.DataFrame(
        {
            "model": NAMES[0],
            "benchmark": "AIME 2025",
            "w": w,
            "wrong_to_right": gained,
            "right_to_wrong": lost,
            "net": net,
            "net_low": net - 0.04,
            "net_high": net + 0.05,
            "tokens": 1480.0 - 30 * w,
        }
    )


def grid_rows(groups: int = 7, ks: Sequence[int] = (1, 2, 4, 8, 16), *, vote: str = "pass") -> pd.DataFrame:
    rows = [
        {
            "model": NAMES[2],
            "benchmark": "AIME 2025",
            "vote": vote,
            "group": j,
            "k": k,
            "tokens": k * (700.0 + 1600 * j),
            "value": 1 - (1 - 0.45 * (1 - np.exp(-(j + 0.2) / 3))) ** (k**0.6),
        }
        for j in range(groups)
        for k in ks
    ]
    return pd.DataFrame(rows)


def equal_rows(
    budgets: Sequence[int] = (4096, 8192, 16384, 32768), ks: Sequence[int] = (1, 2, 4, 8, 16)
) -> pd.DataFrame:
    rows = []
    for budget in budgets:
        for k in ks:
            j = (budget / k - 700) / 1600
            value = np.nan if not 0 <= j <= 6 else 1 - (1 - 0.45 * (1 - np.exp(-(j + 0.2) / 3))) ** (k**0.6)
            rows.append({"k": k, "budget": budget, "value": value, "low": value - 0.06, "high": value + 0.06})
    return pd.DataFrame(rows)


def vote_rows(models: int = 3) -> pd.DataFrame:
    ks = 2 ** np.arange(5)
    parts = []
    for i, name in enumerate(NAMES[:models]):
        value = 0.25 + 0.08 * i + 0.045 * np.log2(ks)
        parts.append(
            pd.DataFrame(
                {
                    "model": name,
                    "benchmark": "AIME 2025",
                    "k": ks,
                    "tokens": (5600.0 + 2100 * i) * ks,
                    "value": value,
                    "low": value - 0.07,
                    "high": value + 0.06,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def episode_rows(parts: Sequence[str] = ("right", "wrong")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    tables = [
        pd.DataFrame(
            {
                "model": NAMES[0],
                "benchmark": "AIME 2025",
                "part": part,
                "episodes": rng.negative_binomial(2, 0.25 / (1 + 1.5 * i), 120) + 1,
            }
        )
        for i, part in enumerate(parts)
    ]
    return pd.concat(tables, ignore_index=True)
