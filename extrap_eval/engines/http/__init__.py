"""Completions from inference servers over HTTP: vLLM, SGLang, and anything with an OpenAI-style completion
route.

``client`` owns a request's life (routing, patience, retries), ``connection`` one server's wire and the
names of its faults, ``probe`` finds out what a URL serves, ``answers`` decides whether an answer may be
believed; ``vllm``, ``sglang`` and ``openai`` know one dialect each.
"""

from extrap_eval.engines.http.client import HttpEngine

__all__ = ["HttpEngine"]
