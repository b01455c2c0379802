import csv
import json
import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_debug.artifacts import find_damage, hash_file, read_manifest, write_artifact
from covid_debug.cleaning import build
from covid_debug.cleaning.build import CleaningParams, clean_filmset
from covid_debug.cleaning.film import clean_film
from covid_debug.cleaning.names import choose_file_names
from covid_debug.cleaning.workers import clean_to_file
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    load_unusable,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.errors import (
    ArtifactError,
    CatalogError,
    DataIntegrityError,
    FilmChangedError,
    InputContractError,
)
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions, regions_to_mask
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.stages import Means
from tests.films import UNREAD, recorded, write_dicom
from tests.listeners import Told

CLASS_NAMES = ("normal", "COVID-19")
SIZE = (90, 70)
BOX = CleaningParams(mask_shape="box", dilation_px=4)


def make_box(x: float, y: float, wide: float, high: float, content: str | None = None):
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, content, "made")


def make_pixels(seed: int, dtype: type = np.uint8) -> np.ndarray:
    width, height = SIZE
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width)), (0, 0), 4)
    pixels = (noise * np.iinfo(dtype).max / 2).astype(dtype)
    pixels[10:20, 10:30] = np.iinfo(dtype).max
    return pixels


@pytest.fixture
def source(tmp_path: Path) -> FilmSet:
    """Six films: PNG, JPEG, 16 bit, in all splits; the text is always at (10, 10, 20, 10)."""
    films = []
    with write_artifact(tmp_path / "source", kind="filmset") as draft:
        for index in range(6):
            split = ("train", "train", "train", "val", "test", "test")[index]
            suffix = ".jpg" if index == 1 else ".png"
            folder = draft.path / ("test" if split == "test" else "train")
            folder.mkdir(exist_ok=True)
            path = folder / f"film {index}{suffix}"
            cv2.imwrite(str(path), make_pixels(index, np.uint16 if index == 2 else np.uint8))
            films.append(
                Film(
                    hash_file(path)[:16],
                    f"{folder.name}/{path.name}",
                    f"made:p{index}",
                    CLASS_NAMES[index % 2],
                    "made",
                    "PA",
                    split,
                    *SIZE,
                    *recorded(path),
                )
            )
        write_films(draft.path, films)
        write_unusable(draft.path, [])
        write_split_lists(draft.path, films)
        draft.facts.update(name="made", class_names=CLASS_NAMES, n_ok=6, n_total=6)
    return load_filmset(tmp_path / "source")


@pytest.fixture
def regions(source: FilmSet) -> dict[str, FilmRegions]:
    text = make_box(10, 10, 20, 10, "L")
    found = {film.image_id: FilmRegions(film.image_id, *SIZE, (text,)) for film in source.films}
    clean_one = source.films[5].image_id
    found[clean_one] = FilmRegions(clean_one, *SIZE, ())
    return found


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): (hash_file(path), path.stat().st_mtime_ns) for path in files
    }


def hashes(folder: Path) -> dict[str, str]:
    return {name: digest for name, (digest, _) in snapshot(folder).items()}


def test_clean_filmset_changes_text_and_nothing_else(source, regions, tmp_path):
    cleaned = clean_filmset(source, regions, BOX, tmp_path / "out")

    n_with_text = 0
    for before, after in zip(source.films, cleaned.films, strict=True):
        old = read_film(source.path_of(before)).pixels
        new = read_film(cleaned.path_of(after)).pixels
        mask = regions_to_mask(regions[before.image_id].regions, *SIZE, dilation_px=4)
        assert new.dtype == old.dtype
        np.testing.assert_array_equal(new[~mask], old[~mask])
        if mask.any():
            n_with_text += 1
            assert new[10:20, 10:30].max() < old[10:20, 10:30].min()
    assert 0 < n_with_text < len(source.films)


def test_clean_filmset_keeps_ids_labels_splits_and_writes_covidx_layout(source, regions, tmp_path):
    cleaned = clean_filmset(source, regions, BOX, tmp_path / "out")

    def identity(films):
        return [(film.image_id, film.label, film.split, film.patient_id) for film in films]

    assert identity(cleaned.films) == identity(source.films)
    assert cleaned.class_names == CLASS_NAMES
    assert [film.path for film in cleaned.films] == [
        *(f"train/film {index}.png" for index in range(4)),
        *(f"test/film {index}.png" for index in (4, 5)),
    ]
    for name in ("train.txt", "val.txt", "test.txt"):
        old, new = (folder / name for folder in (source.root, cleaned.root))
        assert new.read_text() == old.read_text().replace(".jpg", ".png")


def test_clean_filmset_never_touches_the_input(source, regions, tmp_path):
    before = snapshot(source.root)

    clean_filmset(source, regions, BOX, tmp_path / "out")

    assert snapshot(source.root) == before


def test_clean_filmset_works_from_a_read_only_source(source, regions, tmp_path):
    folders = [source.root, source.root / "train", source.root / "test"]
    for folder in folders:
        folder.chmod(0o555)

    try:
        cleaned = clean_filmset(source, regions, BOX, tmp_path / "out")
    finally:
        for folder in folders:
            folder.chmod(0o755)

    assert len(cleaned.films) == 6


def test_clean_filmset_provenance_counts_what_changed(source, regions, tmp_path):
    cleaned = clean_filmset(source, regions, BOX, tmp_path / "out", inputs={"a": "b"})

    with (cleaned.root / "provenance.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row, before, after in zip(rows, source.films, cleaned.films, strict=True):
        old = read_film(source.path_of(before)).pixels
        new = read_film(cleaned.path_of(after)).pixels
        assert row["image_id"] == before.image_id
        assert row["input_sha256"] == hash_file(source.path_of(before))
        assert row["output_sha256"] == hash_file(cleaned.path_of(after))
        assert int(row["changed_pixels"]) == np.count_nonzero(old != new)
        assert float(row["changed_share"]) == np.count_nonzero(old != new) / old.size
    assert [int(row["n_removed"]) for row in rows] == [1, 1, 1, 1, 1, 0]
    assert [int(row["bits"]) for row in rows] == [8, 8, 16, 8, 8, 8]
    manifest = read_manifest(cleaned.root, kind="filmset")
    assert manifest["inputs"] == {"a": "b"}
    assert manifest["parameters"]["method"] == "telea"
    assert find_damage(cleaned.root, kind="filmset") == []
    assert read_regions(cleaned.root / "regions.jsonl") == regions


def test_clean_filmset_with_two_workers_gives_the_same_files(source, regions, tmp_path):
    clean_filmset(source, regions, BOX, tmp_path / "one")
    seen = []

    clean_filmset(
        source,
        regions,
        BOX,
        tmp_path / "two",
        means=Means(Told(lambda done, total: seen.append((done, total))), n_workers=2),
    )

    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert seen == [(index, 6) for index in range(1, 7)]


def test_clean_filmset_killed_in_the_middle_goes_on_and_gives_the_same_files(
    source, regions, tmp_path, monkeypatch
):
    clean_filmset(source, regions, BOX, tmp_path / "whole")
    done = []

    def stop_after_two(n_done: int, n_total: int) -> None:
        done.append(n_done)
        if n_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_filmset(
            source, regions, BOX, tmp_path / "out", means=Means(Told(stop_after_two), n_workers=1)
        )
    (films,) = tmp_path.glob(".out.cleaned-films-*.films")
    (films / "torn.jsonl").write_text('{"name": "torn')
    again = []
    real = build.clean_to_file
    monkeypatch.setattr(build, "clean_to_file", lambda job: again.append(job.name) or real(job))

    clean_filmset(source, regions, BOX, tmp_path / "out")

    assert len(again) == 4
    assert not films.exists()
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_clean_filmset_resumed_with_other_parameters_starts_anew(source, regions, tmp_path):
    def stop(n_done: int, n_total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_filmset(source, regions, BOX, tmp_path / "out", means=Means(Told(stop), n_workers=1))
    other = CleaningParams(method="navier_stokes")

    clean_filmset(source, regions, other, tmp_path / "out")
    clean_filmset(source, regions, other, tmp_path / "fresh")

    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh")


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let every write beyond a size fail half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_clean_filmset_on_a_full_disk_says_so_and_goes_on_whatever_could_not_be_written(
    source, regions, tmp_path
):
    out = tmp_path / "out"
    clean_filmset(source, regions, BOX, tmp_path / "whole")
    reached, messages = [], []

    for n_bytes in (10, 30, 2_000, 5_000, *range(9_000, 100_000, 500)):
        try:
            with largest_file(n_bytes):
                clean_filmset(source, regions, BOX, out)
            break
        except ArtifactError as error:
            messages.append(str(error))
            journals = tmp_path.glob(".out.*.films/*.jsonl")
            reached.append(sum(path.read_bytes().count(b"\n") for path in journals))

    one_line = re.compile(r".*cannot be written \(File too large\); .+")
    assert [message for message in messages if not one_line.fullmatch(message)] == []
    assert reached == sorted(reached)
    assert {0, len(source.films)} < set(reached)  # at films, at records, at the last tables
    assert hashes(out) == hashes(tmp_path / "whole")
    assert list(tmp_path.rglob("*.part*")) == []


def test_clean_filmset_records_films_it_cannot_clean(source, regions, tmp_path):
    ids = [film.image_id for film in source.films]
    del regions[ids[0]]
    regions[ids[1]] = FilmRegions(ids[1], 0, 0, (), error="detector failed")
    regions[ids[2]] = FilmRegions(ids[2], 10, 20, ())
    source.path_of(source.films[3]).unlink()

    cleaned = clean_filmset(source, regions, BOX, tmp_path / "out")

    reasons = [film.reason for film in load_unusable(cleaned.root)]
    assert [film.image_id for film in cleaned.films] == ids[4:]
    assert cleaned.n_total == 6
    assert "missing" in reasons[0]
    assert "detector failed" in reasons[1]
    assert "made for 10 x 20 pixels, the film has 90 x 70" in reasons[2]
    assert "no such file" in reasons[3]
    assert not (cleaned.root / "train/film 0.png").exists()


@pytest.mark.parametrize("n_workers", [1, 2])
def test_clean_filmset_of_a_film_that_changed_since_ingest_raises(
    source, regions, tmp_path, n_workers
):
    other, path = (source.path_of(source.films[index]) for index in (0, 3))
    path.write_bytes(other.read_bytes())

    with pytest.raises(FilmChangedError, match=r"film 3\.png: film changed since ingest .*again"):
        clean_filmset(source, regions, BOX, tmp_path / "out", means=Means(n_workers=n_workers))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("action", ["keep", "replace"])
def test_clean_filmset_with_a_policy_and_unread_regions_raises(source, tmp_path, action):
    text = make_box(10, 10, 20, 10, None)
    regions = {f.image_id: FilmRegions(f.image_id, *SIZE, (text, text)) for f in source.films}
    params = CleaningParams(policy={"side_marker": action})

    with pytest.raises(InputContractError, match=r"not known of any of 12 regions.*read_content"):
        clean_filmset(source, regions, params, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_clean_filmset_with_empty_regions_for_all_copies_pixels(source, tmp_path):
    nothing = {film.image_id: FilmRegions(film.image_id, *SIZE, ()) for film in source.films}

    cleaned = clean_filmset(source, nothing, BOX, tmp_path / "out")

    for before, after in zip(source.films, cleaned.films, strict=True):
        np.testing.assert_array_equal(
            read_film(source.path_of(before)).pixels, read_film(cleaned.path_of(after)).pixels
        )


def test_clean_filmset_contact_sheet_shows_both_versions_of_a_16_bit_film_alike(source, tmp_path):
    regions = {film.image_id: FilmRegions(film.image_id, *SIZE, ()) for film in source.films}
    film = source.films[2]
    regions[film.image_id] = FilmRegions(film.image_id, *SIZE, (make_box(10, 10, 20, 10),))

    cleaned = clean_filmset(source, regions, BOX, tmp_path / "out")

    sheet = cv2.imread(str(cleaned.root / "contact_sheet.jpg"), cv2.IMREAD_GRAYSCALE)
    tiles = sheet[100:200, :300], sheet[100:200, 306:606]  # below the text, above the label
    np.testing.assert_allclose(tiles[0].mean(), tiles[1].mean(), atol=1)


def test_clean_filmset_without_any_regions_line_says_what_to_do(source, tmp_path):
    with pytest.raises(DataIntegrityError, match=r"none of 6 films.*detect text on this data set"):
        clean_filmset(source, {}, BOX, tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_clean_filmset_into_a_place_that_cannot_be_written_says_so(source, regions, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(
        ArtifactError, match=r"file/\.out\..*films: cannot be written \(.*writable folder"
    ):
        clean_filmset(source, regions, BOX, tmp_path / "file/out")


def test_clean_filmset_over_an_existing_folder_is_refused(source, regions, tmp_path):
    (tmp_path / "out").mkdir()

    with pytest.raises(ArtifactError, match="already exists"):
        clean_filmset(source, regions, BOX, tmp_path / "out")


def test_clean_filmset_inside_the_input_is_refused(source, regions):
    with pytest.raises(ArtifactError, match="inside the data set being cleaned"):
        clean_filmset(source, regions, BOX, source.root / "cleaned")


def test_clean_filmset_without_workers_is_refused(source, regions, tmp_path):
    with pytest.raises(InputContractError, match="n_workers is 0"):
        clean_filmset(source, regions, BOX, tmp_path / "out", means=Means(n_workers=0))


def test_clean_filmset_records_a_film_that_no_worker_survives(
    source, regions, tmp_path, monkeypatch
):
    monkeypatch.setattr(build, "clean_to_file", _die_on_film_3)
    told = Told(lambda *_: None)

    cleaned = clean_filmset(source, regions, BOX, tmp_path / "out", means=Means(told, n_workers=2))

    (lost,) = load_unusable(cleaned.root)
    assert Path(lost.path).name == "film 3.png"
    assert "a worker process died twice on it" in lost.reason
    assert (len(cleaned.films), cleaned.n_total) == (5, 6)
    (warning,) = told.warnings
    assert warning.startswith(source.films[3].image_id)
    assert "recorded as unusable" in warning


def _die_on_film_3(job):
    if job.name.endswith("film 3.png"):
        os._exit(1)
    return clean_to_file(job)


def make_film(name: str, image_id: str, split: str = "train") -> Film:
    return Film(image_id, name, "made:p", "normal", "made", "PA", split, *SIZE, *UNREAD)


def test_choose_file_names_keeps_png_and_renames_the_clashing_jpg():
    films = [
        make_film("/a/x.jpg", "1" * 16),
        make_film("/b/x.png", "2" * 16),
        make_film("/c/x.jpg", "3" * 16, "test"),
        make_film("/d/y.dcm", "4" * 16, "val"),
        make_film("/e/Z.PNG", "5" * 16),
    ]

    assert list(choose_file_names(films).values()) == [
        f"train/x-{'1' * 16}.png",
        "train/x.png",
        "test/x.png",
        "train/y.png",
        "train/Z.png",
    ]


def test_choose_file_names_are_unique_whatever_the_case_of_letters():
    films = [
        make_film(f"/{index}/{name}", str(index) * 16)
        for index, name in enumerate(("a.png", "A.png", "a.jpg", "a.jpeg"))
    ]

    names = choose_file_names(films).values()

    assert len({name.casefold() for name in names}) == 4


def test_clean_film_clips_a_region_and_records_one_outside():
    pixels = make_pixels(0)
    part, outside = make_box(-5, -5, 15, 10), make_box(500, 500, 9, 9)

    cleaned = clean_film(pixels, [part, outside], CleaningParams(mask_shape="box", dilation_px=0))

    assert [(record.action, record.clipped) for record in cleaned.records] == [
        ("removed", True),
        ("outside_film", True),
    ]
    assert cleaned.mask.sum() == 10 * 5


def test_clean_film_over_budget_names_share_and_budget():
    with pytest.raises(DataIntegrityError, match=r"change 100.0% of the film.*budget is 25.0%"):
        clean_film(make_pixels(0), [make_box(0, 0, 90, 70)], BOX)


def test_clean_film_policy_keep_keeps_side_markers_only():
    pixels = make_pixels(0)
    marker, date = make_box(10, 10, 20, 10, " l."), make_box(50, 40, 20, 10, "1999")
    marker, date = replace(marker, kind="side_marker"), replace(date, kind="date")

    cleaned = clean_film(pixels, [marker, date], CleaningParams(policy={"side_marker": "keep"}))

    assert [record.action for record in cleaned.records] == ["kept", "removed"]
    np.testing.assert_array_equal(cleaned.pixels[10:20, 10:30], pixels[10:20, 10:30])
    assert cleaned.mask[40:50, 50:70].all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mask_shape": "ring"}, "mask_shape is 'ring'"),
        ({"radius_px": 0.0}, "radius_px is 0.0"),
        ({"dilation_px": -1}, "dilation_px is -1"),
        ({"max_changed_share": 0.0}, "max_changed_share is 0.0"),
    ],
)
def test_cleaning_params_out_of_range_name_the_field(wrong, message):
    with pytest.raises(InputContractError, match=message):
        CleaningParams(**wrong)


def test_cleaning_params_with_unknown_method_suggest_one():
    with pytest.raises(CatalogError, match="did you mean 'navier_stokes'"):
        CleaningParams(method="navier-stokes")


def test_clean_filmset_turns_dicom_into_png_of_its_own_depth(tmp_path):
    deep = (np.arange(70 * 90).reshape(70, 90) % 4096).astype(np.uint16)
    paths = [
        write_dicom(tmp_path / "deep.dcm", deep, BitsStored=12),
        write_dicom(tmp_path / "plain.dcm", make_pixels(0)),
    ]
    films = tuple(
        Film(key, str(path), path.stem, "normal", "rsna", "PA", "train", 90, 70, *facts)
        for path in paths
        for key, facts in [(hash_file(path)[:16], recorded(path))]
    )
    found = {film.image_id: FilmRegions(film.image_id, 90, 70, ()) for film in films}
    source = FilmSet(tmp_path / "source", "made", CLASS_NAMES, films, 2)

    cleaned = clean_filmset(source, found, BOX, tmp_path / "out")

    assert [film.path for film in cleaned.films] == ["train/deep.png", "train/plain.png"]
    for path, film in zip(paths, cleaned.films, strict=True):
        written = read_film(cleaned.path_of(film)).pixels
        np.testing.assert_array_equal(written, read_film(path).pixels)
    assert read_film(cleaned.path_of(cleaned.films[0])).pixels.dtype == np.uint16
    assert read_film(cleaned.path_of(cleaned.films[1])).pixels.dtype == np.uint8


def test_a_finished_film_with_a_damaged_file_is_made_again(source, regions, tmp_path):
    def stop(n_done: int, n_total: int) -> None:
        if n_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_filmset(source, regions, BOX, tmp_path / "out", means=Means(Told(stop), n_workers=1))
    (made,) = tmp_path.glob(".out.*.films/train/film 1.png")
    made.write_bytes(b"damaged")

    cleaned = clean_filmset(source, regions, BOX, tmp_path / "out")

    lines = (cleaned.root / "regions.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["regions"][0]["action"] == "removed"
    assert find_damage(cleaned.root, kind="filmset") == []
    assert read_film(cleaned.root / "train/film 1.png").pixels.shape == SIZE[::-1]
    shutil.rmtree(cleaned.root)
