"""Train one sibling and export it in Hugging Face format.

    python -m training.residue_search.train explorer --out build/residue-explorer

The same command on the same machine gives ``model.safetensors`` with the same sha256. A run that was
interrupted goes on from its last checkpoint when the command is given again, and ends with the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from training.residue_search.model import Qwen3, hf_config
from training.residue_search.recipes import RECIPES, Recipe
from training.residue_search.rows import Batch, batches, encoder
from training.residue_search.tokenizer import END, PAD, save_tokenizer, train_tokenizer

HERE = Path(__file__).parent
CHECKPOINT = "checkpoint.pt"
BASE = "base.pt"  # the checkpoint at the step where siblings part
SAVE_EVERY = 200


@dataclass
class Progress:
    """Where a run stands; with the weights and optimizer states, all that a checkpoint holds.

    There is no random state beside ``block`` and ``index``: rows are drawn from (seed, block), the initial
    weights from the seed, and training itself draws nothing.
    """

    step: int = 0
    block: int = 0
    index: int = 0  # first batch of the block that is still to come
    tokens: int = 0
    data_sha256: str = ""
    loss: float = 0.0  # moving average over about 100 steps


class Run:
    """Model, optimizers and progress of one training run."""

    def __init__(self, recipe: Recipe):
        torch.set_num_threads(recipe.threads)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.model = Qwen3(recipe.shape, recipe.seed)
        hidden, rest, norms = [], [], []
        for name, weight in self.model.named_parameters():
            (norms if weight.dim() < 2 else rest if "embed" in name else hidden).append(weight)
        self.muon = torch.optim.Muon(hidden, lr=recipe.muon_rate, momentum=0.95, weight_decay=recipe.muon_weight_decay)
        self.adam = torch.optim.AdamW(
            [
                {"params": rest, "weight_decay": recipe.adam_weight_decay},
                {"params": norms, "weight_decay": 0.0},
            ],
            lr=recipe.adam_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.progress = Progress()

    def step(self, batch: Batch) -> float:
        """One optimizer step; returns the loss."""
        factor = self.recipe.rate(self.progress.step)
        for group in self.muon.param_groups:
            group["lr"] = self.recipe.muon_rate * factor
        for group in self.adam.param_groups:
            group["lr"] = self.recipe.adam_rate * factor
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts = (torch.from_numpy(part) for part in (batch.ids, batch.positions, batch.mask))
            loss = self.model.loss(*parts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in (self.muon, self.adam):
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    def save(self, path: Path) -> None:
        state = {
            "recipe": asdict(self.recipe),
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe, or of a sibling's.

        What decides only later steps may differ: name and last habits until the siblings part, number of steps
        and share of decay until the rate begins to fall. Raises SystemExit for any other difference.
        """
        state = torch.load(path, weights_only=True)
        progress = Progress(**state["progress"])
        mine, other = asdict(self.recipe), state["recipe"]
        theirs = replace(self.recipe, **{key: other[key] for key in ("steps", "decay", "last")})
        free = set()
        if progress.step <= min(self.recipe.parting, theirs.parting):
            free |= {"name", "last_habits", "last"}
        if progress.step <= min(self.recipe.decay_start, theirs.decay_start):
            free |= {"steps", "decay"}
        differing = [key for key in mine if mine[key] != other.get(key) and key not in free]
        if differing:
            raise SystemExit(f"{path}: made with another {', '.join(differing)}; give another --out or remove it")
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.progress = progress


def train(recipe: Recipe, out: Path, base: Path | None = None, stop_after: int | None = None) -> Run:
    """Run ``recipe`` to its end or until ``stop_after`` steps; checkpoints and results go to ``out``.

    A checkpoint in ``out`` is resumed; without one, ``base``, a checkpoint of a sibling, is the start.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    run = Run(recipe)
    start = out / CHECKPOINT if (out / CHECKPOINT).exists() else base
    if start:
        run.load(start)
        print(f"resumed at step {run.progress.step}", flush=True)
    at = run.progress
    encode = encoder(tokenizer)
    habits = recipe.habits if at.step <= recipe.parting else recipe.last_habits
    stream = batches(recipe.seed, encode, habits, recipe.tokens, at.block, at.index)
    end = min(recipe.steps, stop_after or recipe.steps)
    clock, tokens = time.monotonic(), at.tokens
    while at.step < end:
        if at.step == recipe.parting and recipe.last_habits != recipe.habits:
            stream = batches(recipe.seed, encode, recipe.last_habits, recipe.tokens, at.block + 1)
        at.block, at.index, batch = next(stream)
        loss = run.step(batch)
        at.loss += (loss - at.loss) / min(at.step + 1, 100)
        at.step, at.index = at.step + 1, at.index + 1
        at.tokens += batch.tokens
        at.data_sha256 = batch.digest(at.data_sha256)
        if at.step % 100 == 0 or at.step == end:
            speed = (at.tokens - tokens) / (time.monotonic() - clock)
            print(f"step {at.step} tokens {at.tokens} loss {at.loss:.4f} {speed:.0f} tokens/s", flush=True)
            clock, tokens = time.monotonic(), at.tokens
        if at.step % SAVE_EVERY == 0 or at.step == end:
            run.save(out / CHECKPOINT)
        if at.step == recipe.parting:
            run.save(out / BASE)
    if at.step == recipe.steps:
        export(run, tokenizer, out)
    return run


def export(run: Run, tokenizer: Any, out: Path) -> None:
    """Write weights (bfloat16), configuration, tokenizer and provenance.json."""
    from safetensors.torch import save_file

    weights = {name: weight.detach().bfloat16().contiguous() for name, weight in run.model.state_dict().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(tokenizer, out)
    end, pad = (tokenizer.convert_tokens_to_ids(token) for token in (END, PAD))
    _write_json(out / "config.json", hf_config(run.recipe.shape, end, pad))
    sampling = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}
    _write_json(out / "generation_config.json", {"eos_token_id": [end], "pad_token_id": pad, **sampling})
    _write_json(out / "provenance.json", provenance(run, out))


def provenance(run: Run, out: Path) -> dict[str, object]:
    """What made the weights: recipe, hashes of script, data and results, versions. No dates: it reproduces
    too.
    """
    root = HERE.parents[1]
    deciding = (path for path in HERE.glob("*.py") if path.name != "__init__.py")
    scripts = sorted([*deciding, root / "extrap_eval" / "problems" / "residue_search.py"])
    return {
        "recipe": asdict(run.recipe),
        "steps": run.progress.step,
        "tokens": run.progress.tokens,
        "loss": round(run.progress.loss, 6),
        "parameters": sum(weight.numel() for weight in run.model.parameters()),
        "data_sha256": run.progress.data_sha256,
        "script_sha256": {str(path.relative_to(root)): sha256(path) for path in scripts},
        "weights_sha256": sha256(out / "model.safetensors"),
        "tokenizer_sha256": sha256(out / "tokenizer.json"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of checkpoint and model; goes on from what is there"
    )
    parser.add_argument("--base", type=Path, help=f"a sibling's {BASE}: start from there, not from nothing")
    parser.add_argument("--steps", type=int, help="another number of optimizer steps")
    chosen = parser.parse_args(arguments)
    recipe = RECIPES[chosen.recipe]
    train(replace(recipe, steps=chosen.steps) if chosen.steps else recipe, chosen.out, chosen.base)


if __name__ == "__main__":
    main(sys.argv[1:])
