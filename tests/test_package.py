"""What a user installs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import extrap_eval
from tests.conftest import REPO


@pytest.mark.parametrize("name", extrap_eval.__all__)
def test_every_public_name_is_there_and_explains_itself(name: str) -> None:
    assert getattr(extrap_eval, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = extrap_eval.nonsense


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, extrap_eval; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_the_wheel_carries_cards_and_tokenizer(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(REPO)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("extrap_eval-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("model_cards", "benchmarks"):
        shipped = {f"extrap_eval/cards/shipped/{folder}/{path.name}" for path in (REPO / folder).glob("*.yaml")}
        assert shipped
        assert shipped <= held
    for name in ("recipe.yaml", "reference.csv"):
        recipes = {f"{path.parent.name}/{name}" for path in (REPO / "results").glob(f"*/{name}")}
        assert recipes
        assert {f"extrap_eval/cards/shipped/results/{recipe}" for recipe in recipes} <= held
    assert not any(entry.endswith(".png") for entry in held)
    assert "extrap_eval/engines/markov/tokenizer/tokenizer.json" in held
    for name in ("page/page.html", "page/app.js", "katex/katex.min.js", "katex/LICENSE", "katex/fonts/OFL.txt"):
        assert f"extrap_eval/report/{name}" in held
    assert not any(name.startswith(("tests/", "results/")) for name in held)
