"""What a plan takes from the place where the command runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.cards.load import load_model_card
from extrap_eval.reference_models import located
from extrap_eval.steps.sample import weights_of


def test_a_folder_that_has_the_models_name_is_its_weights_only_where_it_holds_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    card = load_model_card("residue-explorer")
    packaged = located("package:residue-explorer")
    assert weights_of("residue-explorer", card) == packaged
    run = tmp_path / "residue-explorer"
    run.mkdir()
    (run / "manifest.json").touch()
    assert weights_of("residue-explorer", card) == packaged
    (run / "config.json").touch()
    assert weights_of("residue-explorer", card) == "residue-explorer"
