"""Parameters are checked, films without a scan are named, the budget goes to suspects first."""

import numpy as np
import pytest

from covid_debug.audit.explanations import measure_enrichment
from covid_debug.audit.planning import (
    AuditParams,
    Prices,
    Selection,
    choose_explained,
    exclude_film,
    plan_audit,
)
from covid_debug.errors import CatalogError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.naming import join_titles
from tests.films import UNREAD

SPEC = ViewSpec(32, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.5}, r"alpha is 1.5; expected in \[0, 1\]"),
        ({"n_nulls": 3}, "n_nulls is 3; expected 4 or more"),
        ({"baselines": ()}, "baselines is empty"),
    ],
)
def test_params_out_of_range_are_refused(changes, message):
    with pytest.raises(InputContractError, match=message):
        AuditParams(**changes)


def test_params_with_unknown_names_are_refused():
    with pytest.raises(CatalogError, match="did you mean 'telea'"):
        AuditParams(method="tela")
    with pytest.raises(CatalogError, match="audit baseline"):
        AuditParams(baselines=("blurr",))


def test_unscanned_and_failed_films_are_named_not_dropped():
    films = [Film(n, n, n, "x", "s", "", "test", 64, 64, *UNREAD) for n in ("none", "broken")]
    regions = {"broken": FilmRegions("broken", 0, 0, (), error="truncated")}

    reasons = [
        exclude_film(film, regions.get(film.image_id), SPEC, dilation_px=0) for film in films
    ]

    assert reasons == ["not scanned for text", "text scan failed: truncated"]


def test_plan_adds_up_and_says_so():
    selection = Selection(100, 40, tuple(range(30)), {})
    params = AuditParams(n_nulls=20, max_explained=10)

    plan = plan_audit(selection, params, Prices(film_s=0.5, map_s=2.0, map_evaluations=100))

    assert plan.n_evaluations == 30 * 23 + 10 * 100
    assert plan.duration_s == 30 * 0.5 + 10 * 2.0
    assert plan.describe() == (
        "40 of 100 films get a prediction; 30 of them have text inside the model's view",
        "text interventions on 30 films, then maps by iGOS++ and path gradient of at most 10: 1,690"
        " model evaluations, about 35 s",
    )
    later = plan_audit(selection, params, Prices(map_s=2.0), n_to_explain=3)
    assert later.describe() == (
        "maps by iGOS++ and path gradient of 3 of 30 films: 0 model evaluations, about 6 s",
    )


def test_methods_of_the_maps_are_built_with_the_grid_where_they_have_one():
    params = AuditParams(
        map_methods=("grad_cam", "igos_pp", "rise"), grid_size=12, igos={"n_iterations": 3}
    )

    built = params.build_explainers()

    assert list(built) == ["grad_cam", "igos_pp", "rise"]
    assert (built["igos_pp"].params.grid_size, built["igos_pp"].params.n_iterations) == (12, 3)
    assert built["rise"] == build_explainer("rise")
    assert AuditParams().map_methods[0] == "igos_pp"
    assert join_titles(params.map_methods) == "Grad-CAM, iGOS++ and RISE"


@pytest.mark.parametrize(
    ("chosen", "error", "complaint"),
    [
        ({"map_methods": ("igos_p",)}, CatalogError, r"'igos_p'; did you mean 'igos_pp'"),
        ({"map_methods": ()}, InputContractError, r"map_methods are empty; expected each name"),
        ({"map_methods": ("rise", "rise")}, InputContractError, r"rise, rise; expected each name"),
        (
            {"map_methods": ("rise",), "igos": {"n_iterations": 2}},
            InputContractError,
            r"igos is set and map_methods lacks igos_pp; add it",
        ),
    ],
)
def test_methods_that_cannot_make_maps_are_one_error(chosen, error, complaint):
    with pytest.raises(error, match=complaint):
        AuditParams(**chosen)


def test_budget_goes_to_the_strongest_suspects_and_a_seeded_control():
    params = AuditParams(max_explained=4, control_share=0.25)
    suspicion = {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.1}
    rest = [f"r{i}" for i in range(50)]

    chosen = choose_explained(suspicion, rest, params, run_seed=1)

    assert [name for name, why in chosen.items() if why == "suspected"] == ["b", "c", "a"]
    (control,) = (name for name, why in chosen.items() if why == "control")
    assert control in rest
    shuffled = choose_explained(suspicion, rest[::-1], params, run_seed=1)
    assert shuffled == chosen
    others = {
        name
        for seed in range(8)
        for name, why in choose_explained(suspicion, rest, params, run_seed=seed).items()
        if why == "control"
    }
    assert len(others) > 1


def test_enrichment_is_mass_share_over_area_share():
    saliency, text = np.zeros((10, 10)), np.zeros((10, 10), np.bool_)
    text[0, :5] = True
    saliency[0, 0], saliency[9, 9], saliency[5, 5] = 3.0, 1.0, -7.0

    assert measure_enrichment(saliency, text) == pytest.approx((0.75, 15.0))
    assert measure_enrichment(np.zeros((10, 10)), text) == (None, None)
    assert measure_enrichment(saliency, np.zeros_like(text)) == (0.0, None)


def test_film_whose_text_the_model_cannot_see_is_no_candidate():
    def region(y):
        return TextRegion(((5, y), (20, y), (20, y + 5), (5, y + 5)), 0.9, None, "made")

    names = ("above", "inside")
    films = [Film(n, n, n, "x", "s", "", "test", 64, 100, *UNREAD) for n in names]
    found = {
        "above": FilmRegions("above", 64, 100, (region(1),)),
        "inside": FilmRegions("inside", 64, 100, (region(50),)),
    }

    reasons = [
        exclude_film(film, found[film.image_id], ViewSpec(32, 0.08), dilation_px=0)
        for film in films
    ]

    assert reasons == ["text lies outside the model's view and cannot matter", None]
