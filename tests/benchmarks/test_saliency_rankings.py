"""The table of searches and rankings: complete, paired, resumable film by film."""

from pathlib import Path

import pytest
import torch

from benchmarks.saliency import rankings
from benchmarks.saliency.rankings import Ranked, rank_searches, to_section
from benchmarks.saliency.runs import BenchFilms
from tests.toys import Patch, bright_patch_images, wrap

SEARCHES = {
    "path_gradient": {"n_steps": 4},
    "igos_pp": {"n_iterations": 3},
    "igos_pp_published": {"n_iterations": 1, "n_steps": 2},
}


@pytest.fixture
def films() -> BenchFilms:
    images = bright_patch_images(3)
    images[2] *= 0.2  # no score, so void
    return BenchFilms(images, torch.ones(3, dtype=torch.int64), ["a", "b", "c"], ["p", "p", "q"])


def run(films: BenchFilms, out: Path, said: list[str]) -> str:
    return rank_searches(
        wrap(Patch(4, 4, 6)), films, out, searches=tuple(SEARCHES), grid=6, seed=0, model_key="m",
        say=said.append,
    )  # fmt: skip


def test_every_search_is_scored_by_every_ranking_and_no_film_twice(
    films: BenchFilms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rankings, "SEARCHES", SEARCHES)
    said: list[str] = []
    run(films.pick(0, 2), tmp_path, said)
    n_first = len(said)

    text = run(films, tmp_path, said)

    assert n_first == 2 * (1 + 3 + 3)
    assert len(said) == 3 * (1 + 3 + 3)
    assert text == (tmp_path / "rankings.md").read_text()
    for line in (
        "| path_gradient | gradient | 2 (1) |",
        "| igos_pp | mask | 2 (1) |",
        "| igos_pp | mask then gradient | 2 (1) |",
        "| igos_pp_published | gradient | 2 (1) |",
    ):
        assert line in text
    assert (tmp_path / "rankings.csv").read_text().count("\n") == 1 + 3 * 7


def test_differences_are_paired_by_film_with_the_authors_form() -> None:
    def ranked(film: str, search: str, deletion: float, cost: int) -> Ranked:
        return Ranked("", film, film, search, "mask", deletion, 0.9, 0, cost, cost / 10, 0.5)

    found = [
        ranked("a", "igos_pp_published", 0.4, 1000),
        ranked("b", "igos_pp_published", 0.2, 1000),
        ranked("a", "igos_pp", 0.3, 50),
        ranked("b", "igos_pp", 0.1, 50),
        ranked("c", "igos_pp", 0.9, 50),
    ]

    text = to_section(found, grid=28, seed=0)

    line = next(row for row in text.splitlines() if row.startswith("| igos_pp |"))
    assert "| -0.100 (" in line  # on a and b
    assert "| +0.000 (" in line
    assert "| 50 | 5.00 | 20.0x | 20.0x | 50% |" in line
    assert "| 3 (0) | 0.433 " in line
