"""``extrap-eval report`` from the command line, as files."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from extrap_eval.cli import app
from extrap_eval.errors import UserError
from extrap_eval.report.build import write_report
from extrap_eval.report.overview import Options
from extrap_eval.steps.curves import extrapolation_sentences
from extrap_eval.steps.probes import arrays_of, probe_table
from extrap_eval.store import Run
from tests.report.runs import byte_run
from tests.report.test_chunks import unpacked
from tests.steps.scored_runs import Said, scored_run

pytestmark = pytest.mark.slow


def index_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="index">(.*?)</script>', page.read_text(), re.S)
    assert found
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def traces_of(page: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The records that lie in a page, by problem and sample."""
    packed = re.findall(r'id="chunk-\d+">([A-Za-z0-9+/=]*)</script>', page.read_text())
    records: list[Any] = [record for chunk in packed for record in unpacked(chunk)]
    return {tuple(record["id"]): record for record in records}


def test_the_command_writes_a_page_with_everything(
    markov: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "out" / "report.html"
    arguments = ["report", str(markov.path), "-o", str(page)]
    monkeypatch.setattr(sys, "argv", ["extrap-eval", *arguments])
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert f"{page}: 20 traces" in done.output
    text = page.read_text()
    (sentence,) = extrapolation_sentences([markov])
    assert sentence.replace("'", "&#39;") in text
    assert "outcome" in text
    assert f"extrap-eval report {markov.path}" in text  # the command
    for caption in (
        "Answers forced after groups of episodes",
        "Thoughts extended by force",
        "What became of every sample",
        "Loops, redundancy, format and language at each budget",
        "How long completions are, by difficulty and ending",
    ):
        assert f"<figcaption>{caption}" in text
    assert len(traces_of(page)) == 20
    places = index_of(page)["runs"][0]["places"]
    assert len({tuple(place) for place in places}) == 20
    assert list(page.parent.iterdir()) == [page]


def test_the_explorer_gets_probes_and_extensions(markov: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert write_report([markov.path], page).notes == ()
    records = traces_of(page)
    arrays = arrays_of(probe_table(markov), "j")
    pieces = {
        (piece.problem_id, piece.sample_index, piece.step)
        for piece in markov.completions(markov.variants("force")[0].name)
    }
    assert pieces
    for p, id in enumerate(arrays.problem_ids):
        for sample in range(arrays.there.shape[1]):
            record = records[id, sample]
            (probes,), (forcing,) = record["probes"], record["forcing"]
            there = arrays.there[p, sample]
            assert [tokens for tokens, _, _ in probes["points"]] == arrays.prefix_tokens[p, sample][there].tolist()
            rights = [sum(count for _, verdict, count in answers if verdict == 0) for _, _, answers in probes["points"]]
            assert rights == arrays.correct[p, sample][there].sum(axis=-1).tolist()
            assert {(id, sample, w) for w, _, _ in forcing["pieces"]} == {
                key for key in pieces if key[:2] == (id, sample)
            }
            assert [w for w, *_ in forcing["answers"]] == [0, 1, 2]
            assert forcing["answers"][0][3] is None
            assert all(fate for *_, fate, _ in forcing["answers"][1:])


def test_large_runs_put_chunks_beside_the_page_and_json_says_where(markov: Run, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    written = write_report([markov.path], page, inline=0)
    assert written.folder == tmp_path / "r_files"
    assert written.bytes == page.stat().st_size + sum(
        path.stat().st_size - len(path.read_text()) + len(path.read_text().split('"')[1])
        for path in written.folder.iterdir()
    )
    assert traces_of(page) == {}
    done = CliRunner().invoke(
        app, ["report", str(markov.path), "-o", str(page), "--json", "--n", "2"], catch_exceptions=False
    )
    said = json.loads(done.stdout)
    assert (said["page"], said["folder"], said["traces"]) == (str(page), None, 10)
    assert not written.folder.exists()  # those of the page before


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    runs = [
        byte_run(tmp_path / name, [[b"\\boxed{7}"], [b"\\boxed{%d}" % last]], name=name)
        for name, last in (("A", 7), ("B", 8))
    ]
    page = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["report", "--compare", *(str(run.path) for run in runs), "-o", str(page)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert index_of(page)["compare"] is True
    assert "pass@1 of A minus that of B" in page.read_text()


def test_two_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path / place / "run", [[Said(9, [(5, "7")])]]) for place in ("a", "b")]
    from extrap_eval.report.build import _names
    from extrap_eval.steps.curves import run_names

    assert len(set(_names(runs, run_names(runs)))) == 2


def test_problems_without_a_usable_reference_are_named(tmp_path: Path) -> None:
    run = byte_run(tmp_path / "run", [[b"\\boxed{7}"], [b"\\boxed{7}"]], golds=["7", ""])
    written = write_report([run.path], tmp_path / "report.html")
    assert written.traces == 1
    assert any("p1 is left out" in note for note in written.notes)


@pytest.mark.parametrize(
    ("paths", "out", "options", "said"),
    [
        (["run"], "report.pdf", {}, r"report\.pdf: .*\.html"),
        ([], "report.html", {}, "no run was given"),
        (["run"], "report.html", {"compare": True}, "--compare takes two runs, not 1"),
        (["run", "other"], "report.html", {"compare": True}, "cannot be compared: they differ in their problems"),
        (["nowhere"], "report.html", {}, "nowhere: not a run directory"),
        (["run"], "report.html", {"options": Options(budgets=[9999])}, "9999 is not in"),
        (["run"], "taken/report.html", {}, "taken"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, paths: list[str], out: str, options: dict[str, Any], said: str) -> None:
    byte_run(tmp_path / "run", [[b"\\boxed{7}"]])
    byte_run(tmp_path / "other", [[b"\\boxed{7}"]], texts=["another"])
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=said) as caught:
        write_report([tmp_path / path for path in paths], tmp_path / out, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()
