import numpy as np
import pytest

from covid_debug.cleaning.build import clean_filmset, placebo_regions
from covid_debug.cleaning.decoys import plan_decoys
from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.grain import add_grain
from covid_debug.cleaning.markers import draw_marker, is_side_marker, place_marker
from covid_debug.cleaning.placebo import find_places, match_shapes
from covid_debug.cleaning.provenance import read_actions, read_provenance
from covid_debug.errors import InputContractError
from covid_debug.imaging.reading import read_film
from covid_debug.records import Film, FilmRegions, TextRegion
from tests.films import UNREAD


def make_region(x: float, y: float, wide: float, high: float, content: str | None = None):
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, content, "made")


@pytest.mark.parametrize("content", ["L", " r. ", "(R)", "Left", "RIGHT"])
def test_is_side_marker_knows_the_usual_spellings(content):
    assert is_side_marker(make_region(0, 0, 9, 9, content))


@pytest.mark.parametrize("content", [None, "", "LR", "AP", "PORTABLE", "1"])
def test_is_side_marker_leaves_other_text_alone(content):
    assert not is_side_marker(make_region(0, 0, 9, 9, content))


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
    place = place_marker([make_region(x, 10, 9, 9, content)], 100, 100)

    assert (place.side, place.is_assumed) == (side, is_assumed)


def test_place_marker_with_contradicting_markers_is_assumed():
    both = [make_region(10, 10, 9, 9, "R"), make_region(20, 10, 9, 9, "L")]

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
    params = CleaningParams(policy="replace")

    with_marker = clean_film(pixels, [make_region(20, 100, 20, 20, "R")], params)
    without = clean_film(pixels, [], params)

    assert with_marker.records[0].action == "replaced"
    top = slice(0, 20)
    np.testing.assert_array_equal(with_marker.pixels[top], without.pixels[top])
    assert (without.pixels != pixels).any()
    for cleaned in (with_marker, without):
        np.testing.assert_array_equal(cleaned.pixels[~cleaned.mask], pixels[~cleaned.mask])


def test_clean_film_policy_keep_protects_a_marker_inside_another_region():
    pixels = np.random.default_rng(0).integers(60, 120, (100, 100)).astype(np.uint8)
    marker = make_region(30, 30, 10, 10, "R")
    line = make_region(20, 25, 50, 20, "R AP 1999")

    cleaned = clean_film(pixels, [marker, line], CleaningParams(policy="keep", mask_shape="box"))

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
