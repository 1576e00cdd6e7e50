"""Tables for people, and for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PIPED_WIDTH = 200  # columns, where no terminal says how many there are


def records(table: pd.DataFrame) -> Any:
    """The rows of a table as plain JSON, nan as null."""
    return json.loads(table.to_json(orient="records"))


def draw(rows: Sequence[Mapping[Any, Any]], title: str | None = None) -> str:
    """Rows of one shape as a table: numbers to the right, None as a dash, thousands separated."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = list(rows[0]) if rows else []
    # As Text, since in strings rich takes words in square brackets for styles.
    drawn = Table(title=Text(title) if title else None, title_justify="left", header_style="bold")
    for column in columns:
        text = any(isinstance(row[column], str) and not row[column].lstrip("+-−")[:1].isdigit() for row in rows)
        drawn.add_column(Text(str(column)), justify="left" if text else "right")
    for row in rows:
        drawn.add_row(*[Text(_cell(row[column])) for column in columns])
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else PIPED_WIDTH, color_system="auto" if terminal else None)
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
