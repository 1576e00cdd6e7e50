"""Models small enough to travel with the package, each a folder in Hugging Face format beside this file.

``training/residue_search`` in the repository makes them; ``provenance.json`` in each folder says how.
"""

from __future__ import annotations

from pathlib import Path

from extrap_eval.errors import UserError

PREFIX = "package:"
HERE = Path(__file__).parent
# A policy without weights: its folder holds a tokenizer only.
MARKOV = HERE.parent / "engines" / "markov" / "tokenizer"


def located(name: str) -> str:
    """The folder of a shipped model for ``package:NAME``; any other name (hub id, path) as it is.

    Raises UserError for a shipped model that does not exist.
    """
    if not name.startswith(PREFIX):
        return name
    short = name.removeprefix(PREFIX)
    shipped = {path.name: path for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("_")}
    shipped["markov"] = MARKOV
    if short not in shipped:
        raise UserError(f"{name}: no such shipped model; there are {', '.join(sorted(shipped))}")
    return str(shipped[short])
