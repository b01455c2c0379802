"""The phantom generator: its truth is exact, its decisions do not depend on the set's size."""

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_debug.artifacts import hash_file, read_manifest
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import FilmSet
from covid_debug.data.phantom import (
    FilmPlan,
    generate_phantom,
    plan_pool,
    render_lungs,
    render_phantom,
    render_truth,
)
from covid_debug.data.phantom.anatomy import draw_build, render_chest
from covid_debug.data.phantom.canvas import Canvas, Pose, spline
from covid_debug.data.phantom.markers import SITES, burn, site_named
from covid_debug.data.phantom.plan import swapped_site
from covid_debug.data.phantom.signs import CLASS_NAMES, render_sign
from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.imaging.geometry import ViewSpec, render_view_mask
from covid_debug.imaging.regions import read_regions, regions_to_mask

N_TRAIN, N_TEST = 12, 6


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> FilmSet:
    return generate_phantom(
        tmp_path_factory.mktemp("phantom") / "set", n_train=N_TRAIN, n_test=N_TEST, seed=5
    )


def _read(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return np.asarray(pixels)


def _plans(pool: str, n: int, correlation: float = 0.9, val_share: float = 0.2) -> list[FilmPlan]:
    return plan_pool(pool, n, seed=5, text_correlation=correlation, val_share=val_share)


def test_films_match_their_records(phantom: FilmSet) -> None:
    for film in phantom.films:
        pixels = _read(phantom.path_of(film))

        assert pixels.dtype == np.uint8
        assert pixels.shape == (film.height, film.width)
        assert 400 <= max(pixels.shape) <= 640
        assert hash_file(phantom.path_of(film))[:16] == film.image_id


def test_every_class_is_in_every_split(phantom: FilmSet) -> None:
    for split in ("train", "val", "test"):
        assert {film.label for film in phantom.select(split)} == set(CLASS_NAMES)


def test_manifest_names_the_parameters(phantom: FilmSet) -> None:
    manifest = read_manifest(phantom.root, kind="filmset")

    assert manifest["parameters"]["text_correlation"] == 0.9
    assert manifest["facts"]["n_ok"] == manifest["facts"]["n_total"] == N_TRAIN + N_TEST


def test_twins_differ_only_inside_text(phantom: FilmSet) -> None:
    truth = read_regions(phantom.root / "truth_regions.jsonl")
    text_free = load_counterfactuals(phantom)["text_free"]
    n_changed = 0

    for film, twin in zip(phantom.select("test"), text_free.films, strict=True):
        marked, bare = _read(phantom.path_of(film)), _read(text_free.path_of(twin))
        text_mask = regions_to_mask(truth[film.image_id].regions, film.width, film.height)
        np.testing.assert_array_equal(marked[~text_mask], bare[~text_mask])
        n_changed += int((marked != bare).any())

    assert n_changed >= N_TEST - 2


def test_swapped_twins_carry_a_foreign_marker(phantom: FilmSet) -> None:
    with (phantom.root / "counterfactuals.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "text_swapped"]
    films = {film.image_id: film for film in phantom.films}

    assert len(rows) == N_TEST
    for row in rows:
        film = films[row["image_id"]]
        assert row["site_class"] != film.label
        assert f"site-{row['site']}" != film.source
        assert (_read(phantom.root / row["path"]) != _read(phantom.path_of(film))).any()


def test_film_does_not_depend_on_the_size_of_the_set(phantom: FilmSet, tmp_path: Path) -> None:
    small = generate_phantom(tmp_path / "small", n_train=2, n_test=1, seed=5)

    larger = {film.path: film for film in phantom.films}
    assert [film.image_id for film in small.films] == [
        larger[film.path].image_id for film in small.films
    ]


def test_another_seed_gives_other_films(phantom: FilmSet, tmp_path: Path) -> None:
    other = generate_phantom(tmp_path / "other", n_train=2, n_test=1, seed=6)

    assert not {film.image_id for film in other.films} & {film.image_id for film in phantom.films}


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    generate_phantom(
        tmp_path / "set", n_train=2, n_test=1, seed=0,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip

    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_train": 0}, "n_train is 0"),
        ({"n_test": -1}, "n_test is -1"),
        ({"text_correlation": 1.2}, "text_correlation is 1.2"),
        ({"val_share": 1.0}, "val_share is 1.0"),
    ],
)
def test_parameters_out_of_range_are_named(
    tmp_path: Path, change: dict[str, float], message: str
) -> None:
    wanted = {"n_train": 3, "n_test": 3, "seed": 0} | change

    with pytest.raises(InputContractError, match=message):
        generate_phantom(tmp_path / "set", **wanted)


def test_existing_folder_is_refused(phantom: FilmSet) -> None:
    with pytest.raises(ArtifactError, match="already exists"):
        generate_phantom(phantom.root, n_train=3, n_test=3, seed=5)


def test_patients_stay_in_one_split_and_one_site() -> None:
    plans = _plans("train", 600)

    by_patient: dict[tuple[int, int], list[FilmPlan]] = {}
    for plan in plans:
        by_patient.setdefault((plan.label_index, plan.patient), []).append(plan)

    assert max(map(len, by_patient.values())) == 2
    for films in by_patient.values():
        assert len({(plan.split, plan.site) for plan in films}) == 1


def test_plan_of_a_film_does_not_depend_on_n() -> None:
    assert _plans("train", 100)[:37] == _plans("train", 37)
    assert _plans("test", 100)[:37] == _plans("test", 37)


def test_validation_share_is_kept_in_every_class() -> None:
    plans = _plans("train", 1200, val_share=0.25)

    patients = {(plan.label_index, plan.patient, plan.split) for plan in plans}
    for label in range(3):
        n_val = sum(split == "val" for owner, _, split in patients if owner == label)
        n_all = sum(owner == label for owner, _, _ in patients)
        assert abs(n_val / n_all - 0.25) < 0.01


def test_no_validation_without_a_share() -> None:
    assert {plan.split for plan in _plans("train", 60, val_share=0.0)} == {"train"}


@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_extreme_correlation_is_exact(correlation: float) -> None:
    goes_along = {
        site_named(plan.site)[0] == CLASS_NAMES[plan.label_index]
        for plan in _plans("train", 90, correlation)
    }

    assert goes_along == {bool(correlation)}


def test_correlation_is_met_on_average() -> None:
    # 900 patients: the standard error is 0.01, so 0.05 fails once in a million seeds.
    plans = _plans("train", 1200, 0.9)
    patients = {(plan.label_index, plan.patient): plan for plan in plans}.values()

    share = np.mean([site_named(p.site)[0] == CLASS_NAMES[p.label_index] for p in patients])

    assert abs(share - 0.9) < 0.05


def test_test_sites_are_independent_of_the_class() -> None:
    # 96 films hold 24 patients a class, each site visited by 4 of them in every class.
    patients = {(plan.label_index, plan.patient): plan.site for plan in _plans("test", 96)}

    counts = Counter((label, site) for (label, _), site in patients.items())

    assert set(counts.values()) == {4}
    assert len(counts) == 18


def test_swapped_site_is_foreign_to_class_and_site() -> None:
    for plan in _plans("test", 60):
        foreign_class = site_named(swapped_site(5, plan))[0]

        assert foreign_class != CLASS_NAMES[plan.label_index]
        assert foreign_class != site_named(plan.site)[0]


def test_site_marks_lie_inside_the_view() -> None:
    film = np.full((500, 430), 90, np.uint8)
    spec = ViewSpec(image_size=96)

    for sites in SITES.values():
        for site in sites:
            for mark in site.marks:
                burned, region = burn(film, mark, np.random.default_rng(0))
                on_film = regions_to_mask((region,), 430, 500)
                assert render_view_mask(on_film, spec).sum() >= 20
                assert (burned[on_film] != 90).mean() > 0.15
                assert (burned[~on_film] == 90).all()


def test_signs_stay_inside_the_lungs_and_grow_with_strength() -> None:
    rng = np.random.default_rng(3)
    chest = render_chest(draw_build(rng), Pose(300, 320, (150.0, 160.0), 130.0, 0.0), rng)

    normal = render_sign(chest, 0, 0.0, np.random.default_rng(1))
    assert not normal.any()
    for label in (1, 2):
        weak, strong = (render_sign(chest, label, s, np.random.default_rng(1)) for s in (0.5, 1.0))
        assert (strong[chest.lungs == 0] == 0).all()
        assert strong.max() > 0.1
        np.testing.assert_allclose(strong, 2 * weak, rtol=1e-5)


def test_covid_sign_is_bilateral_and_pneumonia_is_not() -> None:
    rng = np.random.default_rng(3)
    chest = render_chest(draw_build(rng), Pose(300, 320, (150.0, 160.0), 130.0, 0.0), rng)

    for seed in range(5):
        sums = [
            [(render_sign(chest, label, 1.0, np.random.default_rng(seed)) * lung).sum()
             for lung in (chest.right, chest.left)]
            for label in (1, 2)
        ]  # fmt: skip
        assert min(sums[0]) == 0 < max(sums[0])
        assert min(sums[1]) > 0.2 * max(sums[1])


def test_lungs_are_darker_than_the_mediastinum() -> None:
    phantom = render_phantom(5, FilmPlan("test", 0, 0, 0, "alder", "test"))
    height, width = phantom.bare.shape
    band = phantom.bare[height // 3 : height // 2]

    middle = band[:, int(width * 0.47) : int(width * 0.53)].mean()
    sides = band[:, int(width * 0.28) : int(width * 0.36)].mean()

    assert middle > sides + 25


def test_pose_grid_inverts_to_film() -> None:
    pose = Pose(40, 30, (21.0, 14.0), 12.0, 0.3)
    x, y = pose.grid()

    film = pose.to_film(np.array([[float(x[7, 11]), float(y[7, 11])]]))

    np.testing.assert_allclose(film, [[11.5, 7.5]], atol=1e-4)


def test_spline_passes_through_its_knots() -> None:
    curve = spline([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)], 201)

    np.testing.assert_allclose(curve[[0, 100, 200]], [(0, 0), (1, 2), (3, 1)], atol=1e-6)


def test_canvas_fills_whole_pixels() -> None:
    canvas = Canvas(Pose(8, 8, (0.0, 0.0), 1.0, 0.0))

    canvas.fill(np.array([(2.0, 3.0), (5.0, 3.0), (5.0, 6.0), (2.0, 6.0)]), 1.0)

    layer = canvas.read(0.0)
    assert (layer[4, 3:5] == 1).all()
    assert layer[1, :].max() == 0


def test_truth_is_of_the_same_film() -> None:
    plans = plan_pool("test", 6, seed=3, text_correlation=0.5, val_share=0.0)
    for plan in plans:
        film, truth = render_phantom(3, plan), render_truth(3, plan)
        np.testing.assert_array_equal(film.marked[~truth.mark], truth.without_mark[~truth.mark])
        assert truth.mark.any() == bool(film.marker)
        if plan.label_index == 0:
            np.testing.assert_array_equal(film.marked, truth.without_sign)
            assert not truth.sign.any()
            continue
        lungs = render_lungs(3, plan)
        assert truth.sign.any()
        assert (truth.sign & ~lungs).sum() < 0.35 * truth.sign.sum()  # the heart hides a part
        change = np.abs(film.marked.astype(int) - truth.without_sign)
        assert change[truth.sign].mean() > 4 * change[~truth.sign].mean()
