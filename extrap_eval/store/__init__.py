"""What is kept: one directory per model × benchmark × sampling set-up. The directory is the state.

Nothing outside it is needed to top a run up, score it or plot it, and but for logs and commands it holds no
absolute paths: move, copy or archive it freely. Layout::

    RUN/
      manifest.json            format version, n promised, the fields that fix the distribution sampled from,
                               one entry per invocation that wrote here (no key, password or environment)
      model.yaml               the resolved cards; each loads like any card file
      benchmark.yaml
      problems.parquet         id, text, gold, kind, difficulty, prompt_token_ids
      tokens.npz               the byte string of every token id; absent when the tokenizer is no such table
                               (then `tokenizer` in the manifest names the one that decodes)
      imported.parquet         only in an imported run: the authors' verdicts and where each completion came from
      completions/STAGE/       the generations of a stage ("rollout", ...), never changed once written
        variant.json           only where they follow from rollouts (probes, extensions): kind, settings, promise
        journal.jsonl          append-only, one completion per line, a CRC32 in every line
        part-00000.parquet     sealed completions; a top-up adds a part and touches none
      scores/NAME/             a score layer: what was read from the completions, made again at will
        score.json             settings, versions, counts, digest of the completions read, the two files
        timelines-ID.parquet   per sample: where its answers appear
        answers-ID.parquet     per distinct answer of a problem: verdict and equivalence class
      servers/KIND-N.log       what the servers said that were started for it, one file per replica
      .lock, lock.json         one writer at a time (a kernel lock, gone with its process) and who that is

Durability. ``writer.append`` returns after fsync; a kill or power cut later loses nothing of it. A torn last
line is ignored by readers and cut off by the next writer. A damaged line elsewhere is skipped with a warning
and its sample counts as missing, so the next top-up samples it again. Sealing writes the part, renames it,
then empties the journal; a crash between leaves duplicates, which readers drop. Readers need no lock and may
read while a run is written: they open the journal before they list the parts, so a seal in between hides
nothing.

A journal line is ``{"crc":"<8 hex digits>","record":{...}}``; the CRC32 is that of the record's bytes as
written. In a record ``token_ids`` is base64 of a zstd frame of little-endian int32, ``n_tokens`` their number
and ``crc32`` the CRC32 of the uncompressed ids, which the sealed parts keep and readers verify.

Completions whose log-probabilities were asked for keep 8 bytes more per token (``scoring.distributions``): in a part
the columns entropy (float16), branching (uint16), covered (float16) and chosen_logprob (float16), lists of one value
per token, and top_logprobs, how many were asked for; null for completions that have none, and a part in which none has
any is without these columns. In a journal's record ``distributions`` is their number T and base64 of a zstd frame of
the four arrays of T values, one after the other, little-endian. They are not part of the digest.

The fields that fix the distribution (``Manifest.distribution``): model, revision, policy, problems,
benchmark_sha256, prompts_sha256, temperature, top_p, top_k, max_tokens, stop_token_ids. What does not change
it is not compared: engine kind, number of servers, dtype, tensor parallel size, seeds, n.

What follows from the rollouts (a probe after j groups of episodes, the w-th extension of a thought) lies in stages of
its own, one directory per kind and set of settings (``store.variant``), named by a fingerprint of these. Its rows have
three more columns, step, replicate and prefix_tokens, and are unique by problem, sample, step and replicate.

Use::

    run = create_run(path, model_card=..., benchmark_card=..., problems=..., prompts=..., token_table=...,
                     settings={"temperature": 0.6, "top_p": 0.95, "top_k": -1, "max_tokens": 32768,
                               "stop_token_ids": [151643]}, n=16)
    with run.writer("rollout") as writer:
        writer.append([Completion(problem_id, 0, token_ids=ids, finish_reason="stop")])
        writer.seal()
    run = open_run(path)
    for completion in run.completions(columns=["token_ids"]): ...
    if not run.layer().made_from(digest := run.digest()):
        with run.layer().writer(digest) as layer:
            layer.add(problem_id, 0, timeline)
            layer.commit(answers, settings={...}, versions={...})
    table = run.layer().timeline_frame()
"""

from extrap_eval.store.distribution import SamplingSettings
from extrap_eval.store.layers import AnswerRow, ScoreLayer, ScoreWriter
from extrap_eval.store.manifest import Manifest
from extrap_eval.store.record import Completion, Key, Place
from extrap_eval.store.run import Run, create_run, open_run
from extrap_eval.store.stage import StageWriter
from extrap_eval.store.variant import Variant

__all__ = [
    "AnswerRow",
    "Completion",
    "Key",
    "Manifest",
    "Place",
    "Run",
    "SamplingSettings",
    "ScoreLayer",
    "ScoreWriter",
    "StageWriter",
    "Variant",
    "create_run",
    "open_run",
]
