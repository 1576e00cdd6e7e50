"""Training repeats bit for bit, resumes bit for bit, and exports what the library loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="training needs the extra [local]")

from training.residue_search import rows  # noqa: E402
from training.residue_search import train as train_module  # noqa: E402
from training.residue_search.model import Qwen3  # noqa: E402
from training.residue_search.recipes import EXPLORER, STOPPER, TINY  # noqa: E402
from training.residue_search.tokenizer import train_tokenizer  # noqa: E402
from training.residue_search.train import BASE, CHECKPOINT, sha256, train  # noqa: E402

EXPORTED = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "provenance.json")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Draw 8 rows at a time, not 1024, so that six steps cross into another block; one tokenizer for all."""
    tokenizer = train_tokenizer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK", 8)
        patch.setattr(train_module, "train_tokenizer", lambda: tokenizer)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(TINY, out)
    return out


def test_twice_is_the_same(trained: Path, tmp_path: Path) -> None:
    train(TINY, tmp_path)
    for name in EXPORTED:
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.parametrize("stops", [(1,), (2, 5)])
def test_interrupted_is_the_same(trained: Path, tmp_path: Path, stops: tuple[int, ...]) -> None:
    for stop in stops:
        run = train(TINY, tmp_path, stop_after=stop)
        assert (run.progress.block > 0) == (stop == 5), "one of the stops is in a later block"
        assert not (tmp_path / "model.safetensors").exists()
    train(TINY, tmp_path)
    for name in EXPORTED:
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.parametrize("change", [{"seed": 1}, {"habits": STOPPER.last_habits}, {"last_habits": STOPPER.last_habits}])
def test_seed_and_habits_matter(trained: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    train(replace(TINY, **change), tmp_path)
    assert sha256(tmp_path / "model.safetensors") != sha256(trained / "model.safetensors")


def test_another_recipe_does_not_resume(tmp_path: Path) -> None:
    train(TINY, tmp_path, stop_after=2)
    with pytest.raises(SystemExit, match="made with another seed, muon_rate"):
        train(replace(TINY, muon_rate=0.01, seed=3), tmp_path)


def test_steps_may_change_until_the_rate_falls(trained: Path, tmp_path: Path) -> None:
    longer = replace(TINY, steps=8)
    assert TINY.decay_start == 4
    train(longer, tmp_path / "early", stop_after=4)
    train(TINY, tmp_path / "early")
    assert sha256(tmp_path / "early" / "model.safetensors") == sha256(trained / "model.safetensors")
    train(longer, tmp_path / "late", stop_after=5)
    with pytest.raises(SystemExit, match="made with another steps"):
        train(TINY, tmp_path / "late")


def test_schedule() -> None:
    rates = [EXPLORER.rate(step) for step in range(EXPLORER.steps)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99 : EXPLORER.decay_start + 1] == [1.0] * (EXPLORER.decay_start - 98)
    assert all(later <= earlier for earlier, later in pairwise(rates[99:]))
    assert rates[-1] == 0.02


def test_the_siblings_differ_in_habits_alone() -> None:
    assert replace(STOPPER, last_habits=EXPLORER.last_habits, name=EXPLORER.name) == EXPLORER


def test_a_sibling_from_the_base_is_the_same_as_from_nothing(trained: Path, tmp_path: Path) -> None:
    sibling = replace(TINY, name="sibling", last_habits=STOPPER.last_habits)
    train(sibling, tmp_path / "nothing")
    train(sibling, tmp_path / "base", base=trained / BASE)
    train(sibling, tmp_path / "pieces", base=trained / BASE, stop_after=5)
    train(sibling, tmp_path / "pieces")
    for name in EXPORTED:
        expected = (tmp_path / "nothing" / name).read_bytes()
        assert (tmp_path / "base" / name).read_bytes() == expected, name
        assert (tmp_path / "pieces" / name).read_bytes() == expected, name


def test_provenance(trained: Path) -> None:
    found = json.loads((trained / "provenance.json").read_text())
    assert found["weights_sha256"] == sha256(trained / "model.safetensors")
    assert found["tokenizer_sha256"] == sha256(trained / "tokenizer.json")
    assert found["steps"] == TINY.steps
    assert found["recipe"]["habits"]["premature"] == TINY.habits.premature
    assert "training/residue_search/train.py" in found["script_sha256"]
    assert len(found["data_sha256"]) == 64
    assert str(Path.home()) not in (trained / "provenance.json").read_text()


def test_the_shipped_shape_fits_four_megabytes() -> None:
    assert sum(weight.numel() for weight in Qwen3(EXPLORER.shape).parameters()) * 2 < 4_000_000


def test_the_library_computes_the_same(trained: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(trained, dtype=torch.float32)
    ours = Qwen3(TINY.shape)
    weights = torch.load(trained / CHECKPOINT, weights_only=True)["model"]
    ours.load_state_dict({name: weight.bfloat16().float() for name, weight in weights.items()})
    ids = torch.tensor([tokenizer.encode("Find the integer n with 0 <= n <= 999 such that n mod 31 = 4.")])
    with torch.no_grad():
        logits = theirs(ids).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        loss = ours.loss(ids, torch.arange(ids.shape[1])[None], torch.ones_like(ids, dtype=torch.bool))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_it_learns(tmp_path: Path) -> None:
    run = train(replace(TINY, steps=60, tokens=2048, warm_up=5), tmp_path)
    assert run.progress.loss < 4.5
