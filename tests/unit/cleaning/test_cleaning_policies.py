from dataclasses import replace

import numpy as np
import pytest

from covid_debug.cleaning.build import clean_filmset, placebo_regions
from covid_debug.cleaning.decoys import plan_decoys
from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.grain import add_grain
from covid_debug.cleaning.markers import draw_marker, place_marker, tell_side
from covid_debug.cleaning.placebo import find_places, match_shapes
from covid_debug.cleaning.policy import (
    decide_actions,
    find_risks,
    needs_reading,
    parse_policy,
)
from covid_debug.cleaning.provenance import read_actions, read_provenance
from covid_debug.cleaning.verify import verify_cleaned
from covid_debug.errors import InputContractError
from covid_debug.imaging.reading import read_film
from covid_debug.records import REGION_KINDS, Film, FilmRegions, TextRegion
from tests.films import UNREAD


def make_region(
    x: float, y: float, wide: float, high: float, content: str | None = None, kind="unknown"
):
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, content, "made", kind)


@pytest.mark.parametrize(
    ("content", "side"),
    [
        ("L", "left"),
        (" r. ", "right"),
        ("(R)", "right"),
        ("Left", "left"),
        ("D", "right"),
        ("DX", "right"),
        ("Izq.", "left"),
        ("gauche", "left"),
        ("RECHTS", "right"),
        ("R L", None),
        (None, None),
    ],
)
def test_tell_side_knows_the_words_of_several_languages(content, side):
    assert tell_side(make_region(0, 0, 9, 9, content, "side_marker")) == side


def test_tell_side_of_a_panel_letter_is_none():
    assert tell_side(make_region(0, 0, 9, 9, "D", "panel")) is None


@pytest.mark.parametrize(
    ("content", "x", "side", "is_assumed"),
    [
        ("R", 10, "left", False),
        ("L", 80, "left", False),
        ("R", 80, "right", False),
        ("L", 10, "right", False),
        ("AP", 80, "left", True),
        (None, 80, "left", True),
    ],
)
def test_place_marker_puts_r_on_the_side_that_the_film_says(content, x, side, is_assumed):
    kind = "position" if content == "AP" else "side_marker"
    place = place_marker([make_region(x, 10, 9, 9, content, kind)], 100, 100)

    assert (place.side, place.is_assumed) == (side, is_assumed)


def test_place_marker_with_contradicting_markers_is_assumed():
    both = [make_region(x, 10, 9, 9, side, "side_marker") for x, side in ((10, "R"), (20, "L"))]

    assert place_marker(both, 100, 100).is_assumed


def test_draw_marker_is_the_same_on_every_film_and_above_the_rows_models_see():
    place = place_marker([], 400, 400)
    films = [np.full((400, 400), grey, np.uint8) for grey in (20, 200)]

    drawn = [draw_marker(film, place) for film in films]

    changed = [np.argwhere(after != before) for before, after in zip(films, drawn, strict=True)]
    np.testing.assert_array_equal(changed[0], changed[1])
    assert len(changed[0]) > 0
    assert changed[0][:, 0].max() < 0.08 * 400


def test_clean_film_policy_replace_marks_films_with_and_without_a_marker_alike():
    pixels = np.random.default_rng(0).integers(60, 120, (200, 200)).astype(np.uint8)
    params = CleaningParams(policy={"side_marker": "replace"})

    with_marker = clean_film(pixels, [make_region(20, 100, 20, 20, "R", "side_marker")], params)
    without = clean_film(pixels, [], params)

    assert with_marker.records[0].action == "replaced"
    top = slice(0, 20)
    np.testing.assert_array_equal(with_marker.pixels[top], without.pixels[top])
    assert (without.pixels != pixels).any()
    for cleaned in (with_marker, without):
        np.testing.assert_array_equal(cleaned.pixels[~cleaned.mask], pixels[~cleaned.mask])


def test_clean_film_policy_keep_protects_a_marker_inside_another_region():
    pixels = np.random.default_rng(0).integers(60, 120, (100, 100)).astype(np.uint8)
    marker = make_region(30, 30, 10, 10, "R", "side_marker")
    params = CleaningParams(policy={"side_marker": "keep"}, mask_shape="box")
    line = make_region(20, 25, 50, 20, "R AP 1999")

    cleaned = clean_film(pixels, [marker, line], params)

    np.testing.assert_array_equal(cleaned.pixels[30:40, 30:40], pixels[30:40, 30:40])
    assert cleaned.mask[26:44, 50:60].all()


def test_add_grain_changes_only_the_mask_and_brings_texture_back():
    generator = np.random.default_rng(0)
    film = np.clip(generator.normal(100, 6, (100, 100)), 0, 255).astype(np.uint8)
    mask = np.zeros(film.shape, np.bool_)
    mask[40:60, 40:60] = True
    smooth = np.where(mask, 100, film).astype(np.uint8)

    grained = add_grain(smooth, mask)

    np.testing.assert_array_equal(grained[~mask], smooth[~mask])
    assert 3 < grained[mask].std() < 9
    np.testing.assert_array_equal(add_grain(smooth, mask), grained)


def test_add_grain_without_a_free_neighbour_leaves_the_fill():
    film = np.full((30, 30), 100, np.uint8)
    mask = np.zeros(film.shape, np.bool_)
    mask[2:28, 2:28] = True

    np.testing.assert_array_equal(add_grain(film, mask), film)


def make_film(key: str, width: int = 100, height: int = 100) -> Film:
    return Film(key, f"{key}.png", key, "normal", "made", "", "train", width, height, *UNREAD)


def test_plan_decoys_fills_every_film_up_to_the_same_number_of_sets():
    films = [make_film(str(index), 200, 100) for index in range(6)]
    found = {
        film.image_id: FilmRegions(
            film.image_id, 200, 100, (make_region(10, 20, 20, 10),) if index < 4 else ()
        )
        for index, film in enumerate(films)
    }

    draw = plan_decoys(films, found, 3, seed=0)

    assert [len(draw(film)) for film in films] == [2, 2, 2, 2, 3, 3]
    assert draw(films[0]) == plan_decoys(films, found, 3, seed=0)(films[0])


def test_plan_decoys_scale_to_the_size_of_the_film():
    donor, film = make_film("a"), make_film("b", 200, 50)
    found = {
        "a": FilmRegions("a", 100, 100, (make_region(10, 20, 20, 10),)),
        "b": FilmRegions("b", 200, 50, ()),
    }

    decoys = plan_decoys([donor, film], found, 1, seed=0)(film)

    assert decoys[0].box == (20, 10, 60, 15)


def test_cleaning_params_refuse_decoys_with_letter_shapes():
    with pytest.raises(InputContractError, match=r"decoy_sets is 2.*expected mask_shape 'box'"):
        CleaningParams(decoy_sets=2)


def test_clean_filmset_with_decoys_changes_text_free_films_too(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 30, 14)], [], [], []])
    params = CleaningParams(mask_shape="box", decoy_sets=1)

    cleaned = clean_filmset(films, regions, params, tmp_path / "out")

    rows = read_provenance(cleaned.root)
    assert [int(row["n_decoys"]) for row in rows.values()] == [0, 1, 1, 1]
    assert all(int(row["changed_pixels"]) > 0 for row in rows.values())


def test_clean_filmset_placebo_fills_as_many_pixels_as_the_text_at_other_places(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 30, 14), (60, 50, 20, 14)], [(20, 40, 24, 14)], []])
    places = placebo_regions(films, regions, seed=1)

    true = clean_filmset(films, regions, CleaningParams(), tmp_path / "true")
    placebo = clean_filmset(
        films,
        places,
        CleaningParams(),
        tmp_path / "placebo",
        shapes_from=regions,
        name="made-placebo",
    )

    masked = [
        [int(row["masked_pixels"]) for row in read_provenance(folder.root).values()]
        for folder in (true, placebo)
    ]
    assert masked[0] == masked[1]
    assert placebo.name == "made-placebo"
    for film in placebo.films:
        old = read_film(films.path_of(film)).pixels
        new = read_film(placebo.path_of(film)).pixels
        for region in regions[film.image_id].regions:
            x0, y0, x1, y1 = (int(value) for value in region.box)
            np.testing.assert_array_equal(new[y0:y1, x0:x1], old[y0:y1, x0:x1])
    assert read_actions(placebo.root)[films.films[1].image_id].shapes == tuple(
        regions[films.films[1].image_id].regions
    )


def test_match_shapes_skips_the_regions_that_found_no_place():
    big, small = make_region(0, 0, 99, 60), make_region(90, 92, 4, 4)
    found = {"a": FilmRegions("a", 100, 100, (big, small))}
    places = {"a": find_places(np.full((100, 100), 50, np.uint8), found["a"], 0)}

    assert [reason for _, reason in places["a"].rejected]
    assert match_shapes(places, found) == {"a": (small,)}


def test_match_shapes_of_other_regions_is_refused():
    found = {"a": FilmRegions("a", 100, 100, (make_region(0, 0, 9, 9),))}
    places = {"a": find_places(np.full((100, 100), 50, np.uint8), found["a"], 0)}

    with pytest.raises(InputContractError, match="film 'a' has 1 places for 0 text regions"):
        match_shapes(places, {"a": FilmRegions("a", 100, 100, ())})


# ------------------------------------------------------------------------------ policy by kind


def test_decide_actions_removes_what_is_not_named():
    regions = [make_region(0, 0, 9, 9, kind=kind) for kind in REGION_KINDS]

    actions = decide_actions(regions, {"side_marker": "keep", "position": "replace"})

    assert dict(zip(REGION_KINDS, actions, strict=True)) == {
        **dict.fromkeys(REGION_KINDS, "remove"),
        "side_marker": "keep",
        "position": "replace",
    }


def test_parse_policy_reads_pairs():
    assert parse_policy(["side_marker=keep", " date = remove"]) == {
        "side_marker": "keep",
        "date": "remove",
    }
    assert parse_policy([]) == {}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["keep"], r"--policy 'keep': expected KIND=ACTION, such as --policy side_marker=keep"),
        (["side=keep"], r"unknown kind 'side'.*known: side_marker, position"),
        (["dates=keep"], r"unknown kind 'dates'; did you mean 'date'"),
        (["date=shred"], r"date is 'shred'; expected one of remove, keep, replace"),
        (["date=keep", "date=remove"], "the kind stands twice"),
    ],
)
def test_parse_policy_refuses_what_it_does_not_know(items, message):
    with pytest.raises(InputContractError, match=message):
        parse_policy(items)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("keep", r"policy is 'keep'; expected kinds .*\{side_marker: keep\}"),
        ({"date": "shred"}, "date is 'shred'"),
    ],
)
def test_cleaning_params_refuse_what_is_no_policy(policy, message):
    with pytest.raises(InputContractError, match=message):
        CleaningParams(policy=policy)


def test_cleaning_params_refuse_two_markers_on_a_film():
    with pytest.raises(InputContractError, match="draw two markers"):
        CleaningParams(policy={"date": "replace"}, uniform_marker=True)


@pytest.mark.parametrize(
    ("policy", "needs", "n_risks"),
    [
        ({}, False, 0),
        ({"date": "remove"}, False, 0),
        ({"annotation": "keep"}, False, 0),
        ({"side_marker": "keep"}, True, 0),
        ({"identity": "keep"}, True, 1),
        ({"unknown": "keep"}, False, 1),
    ],
)
def test_policy_says_what_it_needs_and_risks(policy, needs, n_risks):
    assert needs_reading(policy) == needs
    assert len(find_risks(policy)) == n_risks


def test_clean_filmset_treats_kinds_differently_and_records_it(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 20, 14), (60, 50, 20, 14)], []])
    key = films.films[0].image_id
    first, second = regions[key].regions
    regions[key] = replace(regions[key], regions=(first, replace(second, kind="date")))
    params = CleaningParams(policy={"side_marker": "keep"})

    cleaned = clean_filmset(films, regions, params, tmp_path / "out")

    done = read_actions(cleaned.root)[key]
    assert done.actions == ("kept", "removed")
    assert [region.kind for region in done.found.regions] == ["side_marker", "date"]
    row = read_provenance(cleaned.root)[key]
    assert (row["n_kept"], row["n_removed"]) == ("1", "1")
    assert verify_cleaned(cleaned.root, films).is_clean


def test_decoys_and_placebo_do_as_little_as_the_policy_of_the_text(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 20, 14)], []])
    params = CleaningParams(policy={"side_marker": "keep"}, mask_shape="box", decoy_sets=1)

    decoyed = clean_filmset(films, regions, params, tmp_path / "decoys")
    places = placebo_regions(films, regions, seed=1)
    placebo = clean_filmset(
        films, places, replace(params, decoy_sets=0), tmp_path / "placebo", shapes_from=regions
    )

    for made in (decoyed, placebo):
        assert {row["changed_pixels"] for row in read_provenance(made.root).values()} == {"0"}
