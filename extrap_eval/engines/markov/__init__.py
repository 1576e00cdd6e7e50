"""A stand-in reasoning model whose accuracy at every budget is known: the p^k policy of e3, appendix C.

``policy.py`` says how it behaves, ``text.py`` what it writes, ``chain.py`` draws what happens in one
completion, ``script.py`` turns that into token ids, ``engine.py`` answers requests, ``truth.py`` says what is
exactly true of it. The tokenizer in ``tokenizer/`` is made by ``make_tokenizer.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from extrap_eval.engines.markov.policy import MarkovPolicy

if TYPE_CHECKING:
    from extrap_eval.engines.markov.engine import MarkovEngine

__all__ = ["MarkovEngine", "MarkovPolicy"]


def __getattr__(name: str) -> Any:
    """Cards read policies without loading numpy; the engine comes when it is asked for."""
    if name == "MarkovEngine":
        from extrap_eval.engines.markov.engine import MarkovEngine

        return MarkovEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
