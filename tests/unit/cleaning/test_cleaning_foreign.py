"""Films that another tool cleaned: what is left, what changed, what can be seen."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.dicoms import ENCODINGS, change, make_dicom
from covid_debug.artifacts import read_manifest
from covid_debug.cleaning.archive import clean_archive
from covid_debug.cleaning.foreign import (
    ForeignProof,
    describe_films,
    pair_films,
    prove_foreign,
    read_foreign,
)
from covid_debug.cleaning.foreign_film import ForeignFilm
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.errors import InputContractError
from covid_debug.progress import SILENT
from covid_debug.text.finder import Finder
from tests.unit.cleaning.test_cleaning_archive import PLAIN, BrightBoxes

FINDER = Finder(BrightBoxes())
QUICK = ProbeParams(n_trees=10, n_resamples=20)


def draw(seed: int) -> np.ndarray:
    film = np.random.default_rng(seed).normal(110, 12, (90, 100))
    film[30:38, 40:52] = 250
    return np.clip(film, 0, 255).astype(np.uint8)


def blot(film: np.ndarray) -> np.ndarray:
    cleaned = film.copy()
    cleaned[28:40, 38:54] = 110
    return cleaned


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def prove(tmp_path: Path) -> tuple[ForeignProof, dict[str, ForeignFilm]]:
    proof = prove_foreign(tmp_path / "a", tmp_path / "b", tmp_path / "proof", FINDER, QUICK)
    return proof, {film.film: film for film in read_foreign(tmp_path / "proof")}


def test_text_that_is_left_and_changes_beside_it_are_found(tmp_path: Path) -> None:
    for name in ("clean", "left", "beside", "same"):
        save(tmp_path / "a" / f"{name}.png", draw(0))
    beside = blot(draw(0))
    beside[70:75, 5:9] ^= 64
    half = blot(draw(0))
    half[30:38, 46:52] = 250
    save(tmp_path / "b" / "clean.png", blot(draw(0)))
    save(tmp_path / "b" / "left.png", half)
    save(tmp_path / "b" / "beside.png", beside)
    save(tmp_path / "b" / "same.png", draw(0))

    proof, films = prove(tmp_path)

    assert (proof.n_films, proof.n_missing, proof.n_failed) == (4, 0, 0)
    assert (proof.share_before.value, proof.share_after.value) == (1.0, 0.5)
    assert proof.share_in_filled.value == 0.25
    assert proof.share_untouched.value == 0.25
    assert (films["clean.png"].text_after, films["clean.png"].n_changed_outside) == ((), 0)
    assert films["left.png"].n_in_filled == 1
    assert films["beside.png"].n_changed_outside == films["beside.png"].n_visible_outside == 20
    assert films["beside.png"].max_change_outside == 64
    assert films["same.png"].n_changed == 0
    assert "| films with text after | 50.0%" in proof.to_markdown()
    assert describe_films(films.values()) == [
        "left.png: places with text: 1",
        "same.png: places with text: 1",
        "beside.png: pixels visibly changed beside the text: 20",
    ]
    assert read_manifest(tmp_path / "proof", kind="foreign_proof")


def test_flat_fills_are_seen(tmp_path: Path) -> None:
    for seed in range(14):
        save(tmp_path / "a" / f"{seed}.png", draw(seed))
        save(tmp_path / "b" / f"{seed}.png", blot(draw(seed)))

    proof, _ = prove(tmp_path)

    assert proof.patch_auc.value > 0.9


def test_what_has_no_counterpart_or_another_size_is_said(tmp_path: Path) -> None:
    for name in ("one.png", "two.png", "three.png"):
        save(tmp_path / "a" / name, draw(0))
    save(tmp_path / "b" / "one.jpg", blot(draw(0)))
    save(tmp_path / "b" / "two.png", blot(draw(0))[:50])

    proof, films = prove(tmp_path)

    assert (proof.n_missing, proof.n_failed) == (1, 1)
    assert "another size" in films["two.png"].error
    assert films["three.png"].error == "has no counterpart"
    assert not proof.is_complete
    assert proof.describe() == "2 of 3 films could not be compared (1 without a counterpart)"
    assert "PNG became JPEG" in films["one.png"].notes


def test_a_dicom_under_its_old_uid_and_lost_elements_are_noted(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "x.dcm").write_bytes(make_dicom(draw(0), ENCODINGS[1]))
    data = make_dicom(blot(draw(0)), ENCODINGS[1], BurnedInAnnotation="YES")
    data = change(data, lambda one: one.__delitem__("WindowWidth"))
    (tmp_path / "b" / "x.dcm").write_bytes(data)

    _, films = prove(tmp_path)

    assert films["x.dcm"].notes == (
        "other pixels under the same SOP Instance UID",
        "lost WindowWidth",
        "its header says that annotation is burned in",
    )
    assert films["x.dcm"].n_changed_outside == 0


def test_our_own_cleaning_passes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.dcm").write_bytes(make_dicom(draw(0), ENCODINGS[7]))
    save(tmp_path / "a" / "y.png", draw(1))
    clean_archive([tmp_path / "a"], tmp_path / "b", FINDER, PLAIN)

    proof, films = prove(tmp_path)

    assert proof.share_after.value == 0
    assert proof.n_changed_outside == 0
    assert films["x.dcm"].notes == ()
    assert "finds text on 0 of them" in proof.describe()


def test_files_of_our_own_output_are_no_films_that_are_missing(tmp_path: Path) -> None:
    save(tmp_path / "a" / "y.png", draw(1))
    clean_archive([tmp_path / "a"], tmp_path / "b", FINDER, PLAIN)
    said: list[str] = []

    class Heard(type(SILENT)):  # type: ignore[misc]
        def say(self, line: str) -> None:
            said.append(line)

    pairs, missing = pair_films(tmp_path / "a", tmp_path / "b", Heard())

    assert len(pairs) == 1
    assert missing == said == []


def test_folders_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.png", draw(0))
    save(tmp_path / "b" / "y.png", draw(0))

    with pytest.raises(InputContractError, match=r"no film of .* has one of the same place"):
        prove(tmp_path)
    with pytest.raises(InputContractError, match="is no folder"):
        prove_foreign(tmp_path / "a" / "x.png", tmp_path / "b", tmp_path / "p", FINDER)


@pytest.mark.parametrize(
    ("keyword", "value"), [("PhotometricInterpretation", "MONOCHROME1"), ("WindowWidth", "50")]
)
def test_a_dicom_that_is_only_shown_otherwise_is_noted(
    tmp_path: Path, keyword: str, value: str
) -> None:
    data = make_dicom(draw(0), ENCODINGS[1])
    for name, content in (
        ("a", data),
        ("b", change(data, lambda one: setattr(one, keyword, value))),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.dcm").write_bytes(content)

    film = prove(tmp_path)[1]["a.dcm"]

    assert film.n_changed == 0
    assert film.notes == (f"is shown otherwise ({keyword}), which may hide what is stored",)


@pytest.mark.parametrize("orientation", [5, 6])
def test_a_film_stored_turned_and_shown_as_before_is_the_same(
    tmp_path: Path, orientation: int
) -> None:
    pixels = draw(0)[:60, :60]
    save(tmp_path / "a" / "a.png", pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = pixels.T if orientation == 5 else np.rot90(pixels)
    (tmp_path / "b").mkdir()
    picture = Image.fromarray(np.ascontiguousarray(stored))
    picture.save(tmp_path / "b" / "a.png", exif=exif.tobytes())

    assert prove(tmp_path)[1]["a.png"].n_changed == 0
