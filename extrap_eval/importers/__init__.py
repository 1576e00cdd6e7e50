"""Other harnesses' logs as samples.

Every importer is one function that yields ``ImportedSample``s in the order of files and rows. ``problems``
finds out which belong together, ``tokens`` makes ids of text, ``finish`` concludes how completions ended,
``cards`` says what the log shows of model and benchmark. ``extrap_eval.steps.importing`` writes it all into
a run directory.
"""

from extrap_eval.importers.cards import end_ids, imported_benchmark_card, imported_model_card, think_markers
from extrap_eval.importers.finish import Ending, endings
from extrap_eval.importers.jsonl import FIELDS
from extrap_eval.importers.problems import Reference, group, read_references, take_evenly
from extrap_eval.importers.read import FORMATS, read_samples
from extrap_eval.importers.sample import ImportedSample, LogSettings
from extrap_eval.importers.tokens import completion_tokens, prompt_tokens, storable

__all__ = [
    "FIELDS",
    "FORMATS",
    "Ending",
    "ImportedSample",
    "LogSettings",
    "Reference",
    "completion_tokens",
    "end_ids",
    "endings",
    "group",
    "imported_benchmark_card",
    "imported_model_card",
    "prompt_tokens",
    "read_references",
    "read_samples",
    "storable",
    "take_evenly",
    "think_markers",
]
