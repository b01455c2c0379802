import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.names import choose_file_names
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.jpeg import grow_to_blocks
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Film, TextRegion
from tests.films import UNREAD

FILMS = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: arrays.arrays(dtype, st.tuples(st.integers(12, 40), st.integers(12, 40)))
)
COORDINATES = st.floats(-20, 60, allow_nan=False)
REGIONS = st.lists(
    st.builds(
        lambda x, y, wide, high, kind: TextRegion(
            ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high)), 0.5, "L", "made", kind
        ),
        COORDINATES,
        COORDINATES,
        st.floats(0, 20),
        st.floats(0, 20),
        st.sampled_from(["unknown", "side_marker", "position"]),
    ),
    max_size=4,
)
TABLES = st.sampled_from([None, (1,) * 64, (16,) * 64])
PARAMS = st.builds(
    CleaningParams,
    method=st.sampled_from(["telea", "navier_stokes", "local_median", "blur", "transplant"]),
    radius_px=st.sampled_from([1.0, 10.0]),
    mask_shape=st.sampled_from(["glyphs", "box"]),
    dilation_px=st.integers(0, 4),
    policy=st.sampled_from([{}, {"side_marker": "keep"}, {"side_marker": "replace"}]),
    max_changed_share=st.just(0.9),
    grain=st.booleans(),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pixels=FILMS, regions=REGIONS, params=PARAMS, table=TABLES)
def test_clean_film_never_changes_a_pixel_outside_its_mask(pixels, regions, params, table):
    before = pixels.copy()
    try:
        cleaned = clean_film(pixels, regions, params, table=table)
    except DataIntegrityError:
        return

    assert cleaned.pixels.dtype == before.dtype
    np.testing.assert_array_equal(cleaned.pixels[~cleaned.mask], before[~cleaned.mask])
    np.testing.assert_array_equal(pixels, before)
    assert cleaned.n_changed == np.count_nonzero(cleaned.pixels != before)
    assert [record.region for record in cleaned.records] == regions


@settings(max_examples=30, deadline=None, derandomize=True)
@given(pixels=FILMS, regions=REGIONS, method=st.sampled_from(["telea", "transplant"]))
def test_only_transplants_into_jpeg_films_take_whole_blocks(pixels, regions, method):
    params = CleaningParams(method=method, policy={"side_marker": "keep"}, max_changed_share=0.9)
    try:
        plain = clean_film(pixels, regions, params)
        coded = clean_film(pixels, regions, params, table=(2,) * 64)
    except DataIntegrityError:
        return

    kept = [region for region in regions if region.kind == "side_marker"]
    closed = regions_to_mask(kept, pixels.shape[1], pixels.shape[0])
    if method == "telea" or pixels.dtype != np.uint8:
        np.testing.assert_array_equal(coded.mask, plain.mask)
        return
    assert not (plain.mask & ~coded.mask).any()
    assert not (coded.mask & closed).any()
    if not kept:
        np.testing.assert_array_equal(coded.mask, grow_to_blocks(plain.mask))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pixels=FILMS, regions=REGIONS, dilation_px=st.integers(0, 4))
def test_what_is_removed_covers_its_region_and_the_growth(pixels, regions, dilation_px):
    params = CleaningParams(mask_shape="box", dilation_px=dilation_px, max_changed_share=1.0)
    try:
        cleaned = clean_film(pixels, regions, params)
    except ValueError:  # the whole film is masked
        return

    removed = [record.region for record in cleaned.records if record.action == "removed"]
    height, width = pixels.shape
    # Ink that goes on outside is taken as well, so a wider growth need not give a larger mask.
    asked = regions_to_mask(removed, width, height, dilation_px=dilation_px)
    assert not (asked & ~cleaned.mask).any()


NAMES = st.lists(
    st.tuples(
        st.sampled_from(["a", "A", "b c", "d"]), st.sampled_from(["png", "PNG", "jpg", "dcm", ""])
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(NAMES)
def test_choose_file_names_are_unique_and_png(names):
    films = [
        Film(
            f"{at:016x}",
            f"/{at}/{stem}.{suffix}",
            "p",
            "normal",
            "made",
            "",
            "train",
            1,
            1,
            *UNREAD,
        )
        for at, (stem, suffix) in enumerate(names)
    ]

    chosen = choose_file_names(films)

    assert len({name.casefold() for name in chosen.values()}) == len(films)
    assert all(name.startswith("train/") and name.endswith(".png") for name in chosen.values())
