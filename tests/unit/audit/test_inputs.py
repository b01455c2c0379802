"""What a stage refuses before it computes."""

from pathlib import Path

import pytest

from covid_debug.audit.inputs import check_seeds, read_text_of
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.regions import write_regions
from covid_debug.records import FilmRegions
from tests.films import make_film


def test_text_of_other_films_is_refused_and_text_of_some_is_not(tmp_path: Path) -> None:
    films = [make_film(i) for i in range(3)]
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    write_regions(own, [FilmRegions(films[1].image_id, 8, 8, ())])
    write_regions(other, [FilmRegions("another", 8, 8, ())])

    assert set(read_text_of(films, own)) == {films[1].image_id}
    with pytest.raises(DataIntegrityError, match=r"other\.jsonl: holds none of the 3 test films"):
        read_text_of(films, other)


def test_a_checkpoint_is_no_second_seed(tmp_path: Path) -> None:
    one, again = tmp_path / "one", tmp_path / "x" / ".." / "one"
    check_seeds("shortcuts", [one, tmp_path / "two"])

    with pytest.raises(InputContractError, match="shortcuts: checkpoint 'one' is given twice"):
        check_seeds("shortcuts", [one, again])
    with pytest.raises(InputContractError, match="no checkpoint was given"):
        check_seeds("shortcuts", [])
