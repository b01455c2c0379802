"""The sweep of arms over the strength with which text tells the class."""

import csv

import numpy as np
import pytest

from benchmarks.mitigations import command
from benchmarks.mitigations.command import bench_mitigations
from benchmarks.mitigations.figure import draw_sweep
from benchmarks.mitigations.sweep import Sweep
from benchmarks.mitigations.tables import RELIANCE, describe_measured, measure_sweep
from covid_debug.errors import InputContractError
from covid_debug.evaluation.predictions import FilmPredictions
from covid_debug.reporting.figures import to_png
from covid_debug.stages import Means
from covid_debug.training.stage import TrainRequest

NAMES = ("a", "b", "c")
N = 60
LABELS = np.arange(N) % 3


def answer(arm, seed, test, n_wrong):
    """Return answers with the first films of each class wrong."""
    said = LABELS.copy()
    said[: 3 * n_wrong] = (said[: 3 * n_wrong] + 1) % 3
    ids = tuple(f"{i}" for i in range(N))
    return FilmPredictions(
        arm, seed, test, ids, ids, ("s",) * N, LABELS, np.eye(3, dtype=np.float32)[said], N
    )


def answer_all(wrong):
    return [
        answer(arm, seed, test, n)
        for arm, counts in wrong.items()
        for seed in (0, 1)
        for test, n in zip(("original", "text_free", "text_swapped"), counts, strict=True)
    ]


def test_reliance_is_what_is_lost_when_text_is_exchanged():
    wrong = {"original": (2, 4, 12), "cleaned": (4, 4, 5), "placebo": (2, 5, 11)}
    rows = measure_sweep({0.9: answer_all(wrong)}, NAMES, seed=0)

    found = {(row.arm, row.against, row.quantity): row.estimate for row in rows}
    assert found["original", "", RELIANCE].value == pytest.approx(10 / 20)
    assert found["original", "", "text_swapped"].value == pytest.approx(8 / 20)
    assert found["cleaned", "original", RELIANCE].value == pytest.approx(1 / 20 - 10 / 20)
    assert found["cleaned", "placebo", "text_swapped"].value == pytest.approx(6 / 20)
    assert found["cleaned", "placebo", RELIANCE].value == pytest.approx(1 / 20 - 9 / 20)
    assert found["cleaned", "", "text_free"].low < 16 / 20 < found["cleaned", "", "text_free"].high
    assert ("original", "placebo", RELIANCE) not in found
    assert all(row.n_seeds == 2 for row in rows)


def test_tables_and_figure_show_every_arm_and_strength():
    wrong = {"original": (2, 4, 12), "group_dro": (4, 4, 5)}
    answers = {strength: answer_all(wrong) for strength in (0.5, 1.0)}
    rows = measure_sweep(answers, NAMES, seed=0)

    text = describe_measured(rows)
    assert "| arm | 0.5 | 1 |" in text
    assert text.count("| group_dro |") == 4
    assert "placebo" not in text
    figure = draw_sweep(rows)
    assert len(figure.axes[0].containers) == 2
    assert to_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("grup_dro", "'grup_dro' is no arm; did you mean 'group_dro'"),
        ("uniform_marker", "models of 'uniform_marker' see films as uniform_marker"),
    ],
)
def test_arms_that_cannot_be_swept_are_refused(arm, message):
    with pytest.raises(InputContractError, match=message):
        Sweep(arms=("original", arm))


def test_a_sweep_is_run_and_found_again(tmp_path, monkeypatch):
    sweep = Sweep(
        strengths=(0.9,),
        arms=("original", "random_text"),
        seeds=(0,),
        n_train=18,
        n_test=6,
        image_size=32,
        n_epochs=1,
    )
    means = Means(cache_dir=tmp_path / "views")

    text = bench_mitigations(sweep, tmp_path, means)

    with (tmp_path / command.TABLE_NAME).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["arm"] for row in rows} == {"original", "random_text"}
    assert {row["n_films"] for row in rows} == {"6"}
    assert (tmp_path / command.FIGURE_NAME).stat().st_size > 0
    assert (tmp_path / command.SUMMARY_NAME).read_text(encoding="utf-8") == text
    monkeypatch.setattr(TrainRequest, "make", None)  # a second start trains nothing
    assert bench_mitigations(sweep, tmp_path, means) == text
