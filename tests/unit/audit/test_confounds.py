"""Baselines that see no lung find exactly the leak that was built in."""

import math
from dataclasses import replace

import numpy as np
import pytest

from covid_debug.artifacts import hash_file, write_artifact
from covid_debug.audit.confounds import (
    compute_confounds,
    load_confounds,
    predict_from_source,
    write_confounds,
)
from covid_debug.audit.features import describe_border, describe_layout
from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import load_views
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.writing import write_png
from covid_debug.records import Film, FilmRegions, TextRegion
from tests.films import UNREAD

CLASSES = ("normal", "COVID-19")
CORNERS = ((2, 2), (80, 80))


def _region(x, y):
    corners = ((x, y), (x + 10, y), (x + 10, y + 8), (x, y + 8))
    return TextRegion(tuple((float(a), float(b)) for a, b in corners), 0.9, None, "made")


def _filmset(root, *, source_leaks=False, n=80):
    films = []
    for i in range(n):
        label = CLASSES[i % 2]
        source = f"s{i % 2}" if source_leaks else f"s{(i // 2) % 2}"
        split = "train" if i < n // 2 else "test"
        who = (f"f{i}", f"f{i}.png", f"s:p{i}", label, source)
        films.append(Film(*who, "PA", split, 100, 100, *UNREAD))
    return FilmSet(root, "toy", CLASSES, tuple(films), n)


def _by_name(rows):
    return {row.name: row for row in rows}


def test_source_that_decides_the_label_is_reported_with_a_warning(tmp_path):
    rows = _by_name(compute_confounds(_filmset(tmp_path, source_leaks=True), {}, seed=0))

    assert rows["source"].value == 1.0
    assert rows["source"].chance == 0.5
    assert "source alone gives 100%" in rows["source"].warning
    assert rows["film size"].value == 0.5
    assert rows["film size"].warning is None
    with write_artifact(tmp_path / "made", kind="confounds") as draft:
        write_confounds(draft.path, tuple(rows.values()))
    assert repr(load_confounds(tmp_path / "made")) == repr(tuple(rows.values()))  # NaN != NaN


def test_text_layout_finds_position_and_presence_does_not(tmp_path):
    filmset = _filmset(tmp_path)
    regions = {
        film.image_id: FilmRegions(
            film.image_id, 100, 100, (_region(*CORNERS[filmset.label_index(film)]),)
        )
        for film in filmset.films
    }

    rows = _by_name(compute_confounds(filmset, regions, seed=0))

    assert rows["text layout"].value == 1.0
    assert rows["text presence"].value == 0.5
    assert rows["source"].value == 0.5


def test_films_without_a_scan_are_counted_and_no_scan_is_undefined(tmp_path):
    filmset = _filmset(tmp_path)
    scanned = {
        film.image_id: FilmRegions(film.image_id, 100, 100, ()) for film in filmset.films[:-10]
    }
    scanned["f41"] = FilmRegions("f41", 0, 0, (), error="broken")

    rows = _by_name(compute_confounds(filmset, scanned, seed=0))
    none = _by_name(compute_confounds(filmset, {}, seed=0))

    assert (rows["text presence"].n, rows["text presence"].n_total) == (29, 40)
    assert math.isnan(none["text layout"].value)
    assert math.isnan(none["text layout"].chance)


def test_border_baseline_reads_the_border_of_the_view(tmp_path):
    filmset = _filmset(tmp_path, n=40)
    rng = np.random.default_rng(0)
    for film in filmset.films:
        pixels = rng.integers(60, 90, (100, 100)).astype(np.uint8)
        if film.label == "COVID-19":
            pixels[:, :20] = 200
        write_png(tmp_path / film.path, pixels)

    films = [replace(f, sha256=hash_file(filmset.path_of(f))) for f in filmset.films]
    filmset = replace(filmset, films=tuple(films))
    view, cache = ViewSpec(image_size=64), tmp_path / "cache"
    for split in ("train", "test"):
        load_views(filmset, filmset.select(split), view, cache)
    decoded = sorted(cache.iterdir())

    rows = _by_name(compute_confounds(filmset, {}, seed=0, view=view, cache_dir=cache))

    assert sorted(cache.iterdir()) == decoded  # what the models saw, not views of its own
    assert rows["border"].value == 1.0
    assert rows["border"].low == pytest.approx(0.839, abs=1e-3)  # Wilson, 20 of 20


def test_text_features_are_presence_count_area_and_quarters_of_the_film():
    box = TextRegion(((90, 60), (120, 60), (120, 80), (90, 80)), 0.9, None, "made")

    features = describe_layout([box], 200, 100)

    quarters = np.zeros((4, 4))
    quarters[2, 2] = 1  # the box's centre is (105, 70) of 200 x 100
    np.testing.assert_allclose(
        features, [1, np.log(2), np.sqrt(30 * 20 / 20_000), *quarters.ravel()]
    )
    above = TextRegion(((90, 10), (120, 10), (120, 20), (90, 20)), 0.9, None, "made")
    assert describe_layout([above], 200, 100)[3:].argmax() == 2


def test_annotations_are_no_text(tmp_path):
    filmset = _filmset(tmp_path)
    arrow = replace(_region(*CORNERS[0]), kind="annotation")
    regions = {
        film.image_id: FilmRegions(film.image_id, 100, 100, (arrow,) * (film.label == CLASSES[1]))
        for film in filmset.films
    }

    rows = _by_name(compute_confounds(filmset, regions, seed=0))

    assert rows["text presence"].value == rows["text layout"].value == 0.5


def test_border_features_are_top_bottom_left_and_right():
    views = np.zeros((1, 64, 64), np.uint8)
    views[:, -4:] = 200

    top, bottom, left, right = describe_border(views).reshape(4, 14)

    assert (top.max(), bottom.min()) == (0, 200)
    for side in (left, right):  # from above down
        assert side[:-1].max() == 0
        assert side[-1] > 0


def test_chance_is_the_commonest_label_and_little_more_than_that_is_no_warning(tmp_path):
    films = []
    for i in range(80):
        is_test = i >= 40
        label = CLASSES[i % 2] if not is_test else CLASSES[int(i >= 64)]  # 24 to 16
        # of the test films 22 + 3 have the source that the training films tie to their label
        agrees = not is_test or i < 62 or i >= 77
        source = f"s{CLASSES.index(label) if agrees else 1 - CLASSES.index(label)}"
        who = (f"f{i}", f"f{i}.png", f"s:p{i}", label, source)
        films.append(Film(*who, "PA", "test" if is_test else "train", 100, 100, *UNREAD))
    filmset = FilmSet(tmp_path, "toy", CLASSES, tuple(films), 80)

    row = _by_name(compute_confounds(filmset, {}, seed=0))["source"]

    assert row.chance == 0.6
    assert row.value == 25 / 40
    assert row.warning is None


def test_the_source_alone_answers_every_test_film_and_needs_films_to_learn_from(tmp_path):
    filmset = _filmset(tmp_path, source_leaks=True)
    truth = [filmset.label_index(film) for film in filmset.select("test")]
    untrained = replace(filmset, films=filmset.select("test"))
    same = [replace(film, label=CLASSES[1]) for film in filmset.films]

    assert predict_from_source(filmset).tolist() == truth
    assert set(predict_from_source(replace(filmset, films=tuple(same)))) == {1}
    with pytest.raises(DataIntegrityError, match="needs training and test films"):
        predict_from_source(untrained)
