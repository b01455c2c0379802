import json

import cv2
import numpy as np
import pytest

from covid_debug.artifacts import read_manifest
from covid_debug.cleaning.build import CleaningParams, clean_filmset, placebo_regions
from covid_debug.cleaning.decisions import Decision, read_decisions
from covid_debug.cleaning.film import clean_film
from covid_debug.cleaning.patches import locate, measure_patch
from covid_debug.cleaning.proof import ProofParams, load_proof, prove_cleaning
from covid_debug.cleaning.provenance import read_actions, read_provenance
from covid_debug.cleaning.residual import scan_residual
from covid_debug.cleaning.scar import (
    ProbeParams,
    draw_films,
    estimate_auc,
    probe_scars,
    raise_flags,
)
from covid_debug.cleaning.verify import verify_cleaned
from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.reading import read_film
from covid_debug.records import FilmRegions, TextRegion

FAST = ProbeParams(n_trees=10, n_resamples=50, n_folds=3)
TEXT = (10, 10, 30, 14)


def make_region(box, detector="second"):
    x, y, wide, high = box
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.8, None, detector)


@pytest.fixture
def built(make_set, tmp_path):
    original, regions = make_set([[TEXT], [TEXT], [], [(50, 40, 24, 14)]])
    return original, clean_filmset(original, regions, CleaningParams(), tmp_path / "out")


def scan_with(found):
    def scan(pairs):
        for image, _ in pairs:
            yield FilmRegions(image, 96, 80, tuple(found.get(image, ())))

    return scan


@pytest.mark.parametrize(
    "params",
    [
        CleaningParams(),
        CleaningParams(policy={"side_marker": "replace"}),
        CleaningParams(method="transplant"),
        CleaningParams(mask_shape="box", decoy_sets=2, grain=True),
    ],
)
def test_verify_cleaned_of_an_untouched_build_finds_every_film_equal(make_set, tmp_path, params):
    original, regions = make_set([[TEXT], [(50, 40, 24, 14)], []])
    clean_filmset(original, regions, params, tmp_path / "out")

    found = verify_cleaned(tmp_path / "out", original)

    assert found.is_clean
    assert found.describe() == "3 of 3 films made again: all equal"


def test_verify_cleaned_of_a_placebo_build_finds_every_film_equal(make_set, tmp_path):
    original, regions = make_set([[TEXT], [(50, 40, 24, 14)], []])
    places = placebo_regions(original, regions, seed=0)
    clean_filmset(original, places, CleaningParams(), tmp_path / "out", shapes_from=regions)

    assert verify_cleaned(tmp_path / "out", original).is_clean


def test_verify_cleaned_notices_one_changed_pixel_outside_the_masks(built):
    original, cleaned = built
    path = cleaned.path_of(cleaned.films[0])
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    pixels[79, 95] += 1
    cv2.imwrite(str(path), pixels)

    found = verify_cleaned(cleaned.root, original)

    assert found.n_verified == 3
    assert "train/000.png: missing or not as written" in found.problems
    assert "train/000.png: 1 pixels outside the masks differ from the original" in found.problems
    assert found.describe().startswith("2 problems in 4 films:")


def test_verify_cleaned_notices_a_changed_original(built):
    original, cleaned = built
    path = original.path_of(original.films[1])
    cv2.imwrite(str(path), np.zeros((80, 96), np.uint8))

    found = verify_cleaned(cleaned.root, original)

    assert len(found.problems) == 1
    assert f"{path}: film changed since ingest" in found.problems[0]


def test_verify_cleaned_against_another_data_set_says_so(built, make_set):
    _, cleaned = built
    other, _ = make_set([[]], name="other")

    found = verify_cleaned(cleaned.root, other)

    assert "is not the data set that this one was made from" in found.problems[0]
    assert "4 films have no original" in found.problems[1]


def test_verify_cleaned_of_another_version_is_refused(built):
    original, cleaned = built
    path = cleaned.root / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["parameters"]["sharpness"] = 2
    path.write_text(json.dumps(manifest))

    with pytest.raises(ArtifactError, match="parameters are those of another version"):
        verify_cleaned(cleaned.root, original)


def test_scan_residual_counts_films_and_places(built):
    _, cleaned = built
    ids = [film.image_id for film in cleaned.films]
    found = {ids[0]: [make_region((12, 12, 8, 8))], ids[2]: [make_region((60, 60, 9, 9))]}

    residual = scan_residual(cleaned, scan_with(found), "second")

    assert residual.share.value == 0.5
    assert residual.share_in_filled.value == 0.25
    assert [(film.n_in_filled, film.n_elsewhere) for film in residual.films] == [(1, 0), (0, 1)]
    assert residual.by_class["normal"].value == 1.0
    assert residual.by_class["COVID-19"].value == 0.0
    assert residual.is_independent
    assert [flag.rule for flag in residual.flags] == ["residual_text"]
    assert residual.to_decisions()[1] == Decision(
        ids[2], "add", "second", box=(60, 60, 69, 69), note="second scan"
    )


def test_scan_residual_with_the_originals_tells_what_the_detector_can_see(built):
    original, cleaned = built
    ids = [film.image_id for film in cleaned.films]
    found = {f"before cleaning: {one}": [make_region(TEXT)] for one in (ids[0], ids[1])}
    found[ids[0]] = [make_region((60, 60, 9, 9))]

    residual = scan_residual(cleaned, scan_with(found), "second", original=original)

    assert (residual.share_before.value, residual.share.value) == (0.5, 0.25)
    assert residual.by_class_before["normal"].value == 0.5
    assert residual.by_class_in_filled["normal"].value == 0.0
    assert "on 0.0% at cleaned places" in residual.flags[0].message


def test_a_region_that_cannot_be_completed_is_counted_everywhere(make_set, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "covid_debug.cleaning.film.follow_ink", lambda pixels, placed, hidden, **_: (placed, True)
    )
    original, regions = make_set([[TEXT], []])
    cleaned = clean_filmset(original, regions, CleaningParams(), tmp_path / "out")
    first = cleaned.films[0].image_id

    residual = scan_residual(cleaned, scan_with({}), "second")

    assert residual.incomplete == (first,)
    assert [flag.rule for flag in residual.flags] == ["incomplete_regions"]
    assert first in residual.flags[0].message
    assert read_actions(cleaned.root)[first].incomplete == (True,)
    assert read_provenance(cleaned.root)[first]["n_incomplete"] == "1"
    facts = json.loads((cleaned.root / "manifest.json").read_text())["facts"]
    assert facts["n_incomplete"] == 1


@pytest.mark.parametrize(
    ("detector", "members", "made_with"),
    [("default", {"made", "other"}, ()), ("second", (), {"second"})],
)
def test_scan_residual_by_a_detector_that_took_part_is_not_independent(
    built, detector, members, made_with
):
    _, cleaned = built

    residual = scan_residual(cleaned, scan_with({}), detector, members=members, made_with=made_with)

    assert not residual.is_independent


def test_scan_residual_by_the_same_detector_is_called_not_independent(built):
    _, cleaned = built

    residual = scan_residual(cleaned, scan_with({}), "made")

    assert residual.share.value == 0.0
    assert not residual.is_independent
    assert [flag.rule for flag in residual.flags] == ["residual_scan_not_independent"]


def test_scan_residual_does_not_count_kept_markers(make_set, tmp_path):
    original, regions = make_set([[TEXT], []], content="R")
    cleaned = clean_filmset(
        original, regions, CleaningParams(policy={"side_marker": "keep"}), tmp_path / "out"
    )
    found = {cleaned.films[0].image_id: [make_region(TEXT)]}

    assert scan_residual(cleaned, scan_with(found), "second").films == ()


@pytest.mark.parametrize("decision", ["keep", "reject"])
def test_scan_residual_does_not_count_what_reviewers_left(make_set, tmp_path, decision):
    original, regions = make_set([[TEXT], []])
    image_id = original.films[0].image_id
    x, y, wide, high = TEXT
    box = (x, y, x + wide, y + high)
    line = Decision(image_id, decision, "AB", region_index=0, box=box)
    cleaned = clean_filmset(original, regions, CleaningParams(), tmp_path / "out", decisions=[line])

    residual = scan_residual(cleaned, scan_with({image_id: [make_region(TEXT)]}), "second")

    assert residual.films == ()


def test_scan_residual_with_failed_films_counts_them(built):
    _, cleaned = built

    def scan(pairs):
        for image, _ in pairs:
            yield FilmRegions(image, 0, 0, (), error="broken")

    residual = scan_residual(cleaned, scan, "second")

    assert residual.n_failed == 4
    assert not residual.share.is_defined
    assert [flag.rule for flag in residual.flags] == ["residual_not_measured"]


def test_scan_residual_original_that_cannot_be_scanned_is_not_one_without_text(built):
    original, cleaned = built
    ids = [film.image_id for film in cleaned.films]

    def scan(pairs):
        for image, _ in pairs:
            broken = image == f"before cleaning: {ids[0]}"
            regions = (make_region(TEXT),) if image == f"before cleaning: {ids[1]}" else ()
            yield FilmRegions(image, 96, 80, regions, error="broken" if broken else None)

    residual = scan_residual(cleaned, scan, "second", original=original)

    assert (residual.share_before.value, residual.share_before.n) == (1 / 3, 3)
    assert residual.share.n == 4


def test_scan_residual_with_films_left_out_is_refused(built):
    _, cleaned = built

    with pytest.raises(InputContractError, match="left out 4 films"):
        scan_residual(cleaned, lambda pairs: [], "second")


def test_locate_counts_groups_and_places():
    mask = np.zeros((80, 80), np.bool_)
    mask[0:10, 0:10] = True
    mask[60:64, 60:64] = True

    places = locate(mask)

    assert places.geometry[0] == 2
    assert places.geometry[1] == pytest.approx(116 / 6400)
    assert places.geometry[2] == pytest.approx(100 / 6400)
    grid = places.geometry[3:].reshape(4, 4)
    assert grid[0, 0] == pytest.approx(100 / 400)
    assert grid[3, 3] == pytest.approx(16 / 400)
    assert [hole.n_pixels for hole in places.holes] == [100]


def test_measure_patch_sees_a_smooth_patch_in_noise():
    noise = np.random.default_rng(0).normal(100, 8, (60, 60)).astype(np.uint8)
    mask = np.zeros(noise.shape, np.bool_)
    mask[25:35, 25:35] = True

    untouched = measure_patch(noise, mask)
    filled = measure_patch(clean_film_patch(noise, mask), mask)

    assert abs(untouched[0]) < 0.2
    assert filled[0] < -0.5


def clean_film_patch(film, mask):
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    params = CleaningParams(mask_shape="box", dilation_px=0)
    return clean_film(film, [make_region(box)], params).pixels


def test_measure_patch_without_room_for_a_ring_is_none():
    assert measure_patch(np.zeros((20, 20), np.uint8), np.ones((20, 20), np.bool_)) is None


def test_estimate_auc_finds_a_planted_difference_and_none_in_noise():
    generator = np.random.default_rng(0)
    positive = [index % 2 == 0 for index in range(120)]
    patients = [str(index // 2) for index in range(120)]
    noise = [generator.normal(size=3) for _ in positive]
    planted = [row + 3 * flag for row, flag in zip(noise, positive, strict=True)]

    assert estimate_auc(planted, positive, patients, FAST).low > 0.9
    none = estimate_auc(noise, positive, patients, FAST)
    assert none.low < 0.5 < none.high


def test_estimate_auc_with_too_few_samples_says_so():
    rows = [np.zeros(3)] * 4

    estimate = estimate_auc(rows, [True, True, False, False], ["a", "b", "c", "d"], FAST)

    assert not estimate.is_defined
    assert "too few samples" in estimate.reason


def interval(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 100)


@pytest.mark.parametrize(
    ("patch", "geometry", "rules"),
    [
        (interval(0.9, 1.0), interval(0.7, 0.8), [("scar_predicts_label", "critical")]),
        (interval(0.9, 1.0), interval(0.4, 0.6), [("scar_visible", "info")]),
        (interval(0.4, 0.6), interval(0.7, 0.8), [("masks_predict_label", "warning")]),
        (interval(0.4, 0.6), interval(0.4, 0.6), []),
        (Estimate.undefined(3, "few"), interval(0.4, 0.6), [("scar_not_measured", "info")]),
        (
            Estimate.undefined(3, "few"),
            Estimate.undefined(3, "few"),
            [("scar_not_measured", "info")],
        ),
        (interval(0.9, 1.0), Estimate.undefined(3, "few"), [("scar_visible", "info")]),
        (interval(0.4, 0.6), Estimate.undefined(3, "few"), [("scar_not_measured", "info")]),
    ],
)
def test_raise_flags_needs_a_visible_scar_and_a_telling_place(patch, geometry, rules):
    flags = raise_flags(patch, {"COVID-19": geometry}, 0.55)

    assert [(flag.rule, flag.severity) for flag in flags] == rules


def test_raise_flags_class_that_was_not_measured_is_no_class_that_is_not_told():
    seen, few = interval(0.9, 1.0), Estimate.undefined(3, "too few samples")

    (none,) = raise_flags(seen, {"normal": few, "COVID-19": few}, 0.55)
    (part,) = raise_flags(seen, {"normal": interval(0.4, 0.6), "COVID-19": few}, 0.55)

    assert none.message == (
        "filled places can be told from untouched ones (AUC 0.95); whether they tell the class"
        " could not be measured for normal, COVID-19 (too few samples)"
    )
    assert part.message == (
        "filled places can be told from untouched ones (AUC 0.95); they are not shown to tell"
        " normal from the others; whether they tell the class could not be measured for COVID-19"
        " (too few samples)"
    )


def test_raise_flags_fills_that_were_not_probed_are_not_called_invisible():
    few = Estimate.undefined(3, "too few samples")

    (flag,) = raise_flags(few, {"COVID-19": interval(0.7, 0.8)}, 0.55)

    assert "whether the fills can be seen could not be measured (too few samples)" in flag.message
    assert "cannot see" not in flag.message


def test_raise_flags_names_the_classes_and_the_remedy_once():
    tell, blind = interval(0.7, 0.8), interval(0.4, 0.6)

    (flag,) = raise_flags(tell, {"normal": tell, "pneumonia": blind, "COVID-19": tell}, 0.55)

    assert flag.message == (
        "number, size and place of the fills tell the class: normal (AUC 0.75), COVID-19 (AUC"
        " 0.75), and the fills can be seen (AUC 0.75); a model may learn the cleaning; clean with"
        " mask_shape: box and decoy_sets: 3; method: transplant makes the fills harder to see"
    )


def test_draw_films_takes_the_classes_alike_and_keeps_the_order(make_set):
    original, _ = make_set([[]] * 9, ["normal"] * 7 + ["COVID-19"] * 2)

    part = draw_films(original, 6, seed=1)

    assert [film.label for film in part.films] == ["normal"] * 3 + ["COVID-19"] * 2
    assert part.films == draw_films(original, 6, seed=1).films
    assert [film for film in original.films if film in part.films] == list(part.films)


@pytest.fixture
def lopsided(make_set):
    """Forty films; text only on COVID-19 films."""
    labels = ["normal", "COVID-19"] * 20
    boxes = [[] if index % 2 == 0 else [(10 + index % 7, 10, 30, 14)] for index in range(40)]
    return make_set(boxes, labels)


def test_probe_scars_warns_when_only_one_class_was_filled(lopsided, tmp_path):
    original, regions = lopsided
    cleaned = clean_filmset(original, regions, CleaningParams(), tmp_path / "out")

    probe = probe_scars(cleaned, original, FAST)

    assert probe.n_films == 40
    assert probe.n_filled >= 20
    assert probe.patch_auc.low > 0.8
    assert probe.class_auc["COVID-19"].value > 0.95
    assert {flag.rule for flag in probe.flags} == {"scar_predicts_label"}


def test_probe_scars_with_decoys_finds_that_masks_tell_less(lopsided, tmp_path):
    original, regions = lopsided
    params = CleaningParams(mask_shape="box", decoy_sets=1)
    cleaned = clean_filmset(original, regions, params, tmp_path / "out")

    probe = probe_scars(cleaned, original, FAST)

    assert probe.class_auc["COVID-19"].low < 0.6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_folds": 1}, "n_folds is 1"),
        ({"max_films": 0}, "max_films is 0"),
        ({"warn_above": 0.2}, "warn_above is 0.2"),
    ],
)
def test_probe_params_out_of_range_name_the_field(wrong, message):
    with pytest.raises(InputContractError, match=message):
        ProbeParams(**wrong)


def test_prove_cleaning_leaves_decisions_that_clean_the_rest(make_set, tmp_path):
    original, regions = make_set([[TEXT], [TEXT]])
    missed = original.films[1].image_id
    seen = dict(regions) | {missed: FilmRegions(missed, 96, 80, ())}
    first = clean_filmset(original, seen, CleaningParams(), tmp_path / "first")
    scan = scan_with({missed: [make_region(TEXT)]})
    prove_cleaning(first, original, scan, "second", tmp_path / "proof", params=FAST)

    second = clean_filmset(
        original,
        seen,
        CleaningParams(),
        tmp_path / "second-build",
        decisions=read_decisions(tmp_path / "proof/decisions.jsonl"),
    )

    paths = [folder.path_of(folder.films[1]) for folder in (original, first, second)]
    before, once, twice = (read_film(path).pixels for path in paths)
    np.testing.assert_array_equal(before, once)
    assert twice[12:22, 12:38].max() < 200 < once[12:22, 12:38].max()


def test_prove_cleaning_writes_one_artifact_with_all_parts(built, tmp_path):
    original, cleaned = built

    proof = prove_cleaning(
        cleaned, original, scan_with({}), "second", tmp_path / "proof", params=FAST
    )

    page = (tmp_path / "proof/PROOF.md").read_text()
    content = json.loads((tmp_path / "proof/proof.json").read_text())
    assert page == proof.to_markdown()
    assert "4 of 4 films made again: all equal" in page
    assert "0.0% [0.0%, 49.0%] of films" in page
    assert content["residual"]["share"]["value"] == 0.0
    assert content["scars"]["patch_auc"]["value"] is None
    assert read_manifest(tmp_path / "proof", kind="cleaning-proof")["facts"]["n_residual"] == 0


def test_prove_cleaning_of_a_sample_looks_at_few_films_and_skips_the_verification(built, tmp_path):
    original, cleaned = built
    seen = []

    def scan(pairs):
        seen.extend(image for image, _ in pairs)
        return scan_with({})(pairs)

    params = ProbeParams(max_films=2, n_trees=10, n_resamples=50, n_folds=3)
    out = tmp_path / "proof"
    proof = prove_cleaning(cleaned, original, scan, "second", out, params=params, is_sample=True)

    assert len(seen) == 4  # two films, before and after
    assert (proof.residual.n_scanned, proof.scars.n_films, proof.n_total) == (2, 2, 4)
    assert repr(load_proof(out)) == repr(proof)  # NaN is not equal to itself
    assert proof.verification is None
    content = json.loads((out / "proof.json").read_text())
    assert content["lines"] == list(proof.lines)
    assert content["lines"][0].startswith("residual text, seen by second on 2 of 4 films: 0.0%")


def test_proof_params_below_zero_are_refused():
    with pytest.raises(InputContractError, match="max_films is -1; expected 0"):
        ProofParams(max_films=-1)


def test_load_proof_of_a_damaged_file_names_it(built, tmp_path):
    original, cleaned = built
    prove_cleaning(cleaned, original, scan_with({}), "second", tmp_path / "proof", params=FAST)
    (tmp_path / "proof/proof.json").write_text("{")

    with pytest.raises(ArtifactError, match=r"proof.json: is not a readable proof"):
        load_proof(tmp_path / "proof")
