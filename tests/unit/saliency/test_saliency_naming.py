"""What methods are called, and what is said of their maps."""

import pytest

from covid_debug.saliency import naming
from covid_debug.saliency.catalog import EXPLAINERS
from covid_debug.saliency.naming import join_titles, meaning_of, title_of


def test_every_name_and_meaning_is_of_a_method_of_the_catalogue():
    assert set(naming._TITLES) | set(naming._MEANINGS) <= set(EXPLAINERS)


@pytest.mark.parametrize("method", sorted(EXPLAINERS))
def test_every_method_of_the_catalogue_has_a_meaning(method):
    assert meaning_of(method)


def test_a_method_without_a_name_of_its_own_is_called_by_its_words():
    assert title_of("area_path") == "area path"
    assert title_of("my_method") == "my method"
    assert meaning_of("my_method") == ""


@pytest.mark.parametrize(
    ("methods", "joined"),
    [
        ((), ""),
        (("rise",), "RISE"),
        (("igos_pp", "rise"), "iGOS++ and RISE"),
        (("igos_pp", "area_path", "rise"), "iGOS++, area path and RISE"),
    ],
)
def test_titles_are_joined_as_in_a_sentence(methods, joined):
    assert join_titles(methods) == joined
