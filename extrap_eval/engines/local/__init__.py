"""A model in this process, by transformers: for people without servers, and for tests.

``engine`` is what the rest of the package sees; its thread takes requests from the ``desk`` and has a decoder
bring them further. ``decoder`` batches continuously: ``group`` keeps keys and values of rows of similar length,
``attention`` lets a model's forward pass run over them; ``prove`` finds out whether that is right for a model, and
``plain`` serves those for which it is not. ``sampler`` chooses tokens, ``row`` is one request, ``room`` says how many
fit, ``load`` loads.

The library's own continuous batching was not used: it knows no seed and no log-probabilities per request, and on
the CPU it made a fifth of the tokens per second that its plain ``generate`` makes.
"""

from extrap_eval.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
