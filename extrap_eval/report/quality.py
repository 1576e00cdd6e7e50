"""What the completions of a run are made of, and how long they are, as a section of the first view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from extrap_eval.errors import UserError
from extrap_eval.report.overview import Options, Section, Table, add_picture

if TYPE_CHECKING:
    from extrap_eval.store import Run


def quality_section(run: Run, name: str, options: Options) -> Section:
    """Loops, redundancy, format and language at every budget; lengths by difficulty and ending."""
    from extrap_eval.figures import length_histograms, quality_panels
    from extrap_eval.steps.lengths import length_rows, lengths
    from extrap_eval.steps.quality import quality_table, readable_quality

    section = Section(f"{name}: what the completions are made of")
    try:
        tidy = quality_table(run, **options.curve).assign(model=name)
    except UserError as error:  # what is read is kept in the run, which may be read-only
        section.notes.append(str(error))
    else:
        said = "Of all completions cut to each budget, in percent (onsets in tokens), with intervals over problems."
        section.sentences.append(said)
        section.tables.append(_table(readable_quality(tidy[tidy["ending"] == "all"])))
        caption = "Loops, redundancy, format and language at each budget, by ending"
        add_picture(section, caption, partial(quality_panels, tidy))
    read = lengths(run, n=options.n, rule=options.rule)
    lines = length_rows(read).assign(model=name)
    add_picture(section, "How long completions are, by difficulty and ending", partial(length_histograms, lines))
    return section


def _table(rows: list[dict[str, object]]) -> Table:
    columns = tuple(column for column in rows[0] if column != "ending")
    cells = (tuple(f"{row[c]:,}" if isinstance(row[c], int) else str(row[c]) for c in columns) for row in rows)
    return Table(columns, tuple(cells))
