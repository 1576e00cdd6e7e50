"""Everything that can be known before a long run starts: does it fit, is the card right, do the servers serve what
the card describes?

``card`` looks at a model card beside its tokenizer, ``files`` and ``cache`` at the model's own files, ``memory``,
``space`` and ``here`` at this machine and the engines on it; ``server`` asks running servers, through ``tokens``,
``exchange`` and ``seeds``. Each check is a function that returns a ``Check``; ``extrap_eval.steps.doctor`` decides
which are made, and of what (``subject``).
"""
