"""`covid-debug decisions` on the run that the tests keep."""

import json
from pathlib import Path

import pytest

from covid_debug import results
from tests.cli import call, refusal

KEPT = Path(__file__).parents[1] / "data" / "runs" / "0.1"


def _write(path: Path, answers: dict[str, str], reviewer: str) -> Path:
    lines = [{"image_id": k, "decision": v, "reviewer": reviewer} for k, v in answers.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def film_ids() -> list[str]:
    return results.films(KEPT / "report")["image_id"].tolist()


def test_agree_prints_kappa_and_writes_every_disagreement(film_ids, tmp_path):
    first = dict.fromkeys(film_ids, "accept") | {film_ids[0]: "reject"}
    a = _write(tmp_path / "a.jsonl", first, "A")
    b = _write(tmp_path / "b.jsonl", first | {film_ids[1]: "unsure"}, "B")

    outcome = call(
        *("decisions", "agree", a, b, "--run", KEPT / "report", "--out", tmp_path / "d.csv")
    )

    assert outcome.code == 0
    assert outcome.out[0] == f"first: {a} (A, {len(film_ids)} lines)"
    assert f"{len(film_ids)} films answered by both" in outcome.out[3]
    assert "Cohen's kappa 0.33" in outcome.out[3]
    assert (tmp_path / "d.csv").read_text().splitlines()[1].endswith(",,accept,unsure")


def test_agree_about_another_run_is_one_clear_error(film_ids, tmp_path):
    a = _write(tmp_path / "a.jsonl", {"elsewhere": "accept"}, "A")

    assert "1 films are not in the run" in refusal(
        "decisions", "agree", a, a, "--run", KEPT / "report"
    )


@pytest.mark.parametrize("tool", ["label-studio", "fiftyone"])
def test_export_writes_the_audited_films_and_nothing_over_what_stands(tool, tmp_path):
    words = ("decisions", "export", "--to", tool, "--data", KEPT / "filmset")
    words += ("--regions", KEPT / "regions", "--audit", KEPT / "audit", "--out", tmp_path / "out")

    assert call(*words).out[0].startswith("2 films for ")
    assert "already exists" in refusal(*words)


def test_import_of_an_export_without_answers_is_one_clear_error(tmp_path):
    (tmp_path / "export.json").write_text("[]")

    said = refusal("decisions", "import", tmp_path / "export.json", "--out", tmp_path / "d.jsonl")

    assert "nothing decided" in said
    assert not (tmp_path / "d.jsonl").exists()


def test_import_overwrites_nothing(tmp_path):
    (tmp_path / "d.jsonl").write_text("")

    said = refusal("decisions", "import", tmp_path / "e.json", "--out", tmp_path / "d.jsonl")

    assert "already exists" in said
