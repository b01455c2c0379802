"""Errors, seeds, catalogues and records."""

import pytest

from covid_debug.catalog import Catalog
from covid_debug.errors import CatalogError, CovidDebugError, suggest
from covid_debug.records import TextRegion
from covid_debug.seeding import derive_seed


def test_catalog_unknown_name_suggests_the_closest() -> None:
    catalog = Catalog("saliency.catalog", {"igos_pp": 1, "rise": 2})

    assert catalog["rise"] == 2
    assert list(catalog) == ["igos_pp", "rise"]
    with pytest.raises(CatalogError) as caught:
        catalog["igos++"]
    assert str(caught.value) == (
        "saliency.catalog: unknown name 'igos++'; did you mean 'igos_pp'? (known: igos_pp, rise)"
    )
    assert isinstance(caught.value, CovidDebugError)


def test_suggest_is_silent_when_nothing_is_close() -> None:
    assert suggest("zzz", ["igos_pp"]) == ""


def test_suggest_never_suggests_the_name_itself() -> None:
    assert suggest("build", ["build", "builds"]) == "; did you mean 'builds'?"


def test_derive_seed_is_stable_and_distinct_over_scopes() -> None:
    assert derive_seed(0, "film", "igos_pp") == 1477308465369706037
    scopes = [(0, "a"), (0, "b"), (1, "a"), (0, "a", "b"), (0, "ab")]
    seeds = {derive_seed(run, *scope) for run, *scope in scopes}
    assert len(seeds) == len(scopes)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_text_region_box_bounds_the_polygon() -> None:
    region = TextRegion(((5.0, 1.0), (9.0, 3.0), (7.0, 8.0)), 0.9, "R", "marker")

    assert region.box == (5.0, 1.0, 9.0, 8.0)
