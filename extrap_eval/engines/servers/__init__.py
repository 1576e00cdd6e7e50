"""vLLM and SGLang servers that are started here, one per GPU or group of GPUs, and end with the run.

``layout`` divides the machine, ``launch`` writes the commands (both pure), ``installation`` finds the engine;
``guardian`` and ``process`` run one command so that nothing of it is ever left behind; ``health``, ``log`` and
``diagnosis`` know when a server is ready and why it is not; ``replica`` is one server, ``fleet`` all of them
as an engine: watched, restarted, and spoken to through ``engines.http``.
"""
