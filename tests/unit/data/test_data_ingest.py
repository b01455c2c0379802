"""Building data sets from sources and from COVIDx folders."""

import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from covid_debug.artifacts import find_damage, is_complete
from covid_debug.data.covidx import parse_split_file
from covid_debug.data.filmset import FilmSet, load_unusable
from covid_debug.data.ingest import ingest_covidx, ingest_sources
from covid_debug.data.integrity import categorise, load_ingest_audit
from covid_debug.errors import (
    ArtifactError,
    CatalogError,
    DataIntegrityError,
    InputContractError,
)
from covid_debug.stages import Means
from tests.films import draw_film, draw_pixels, write_dicom
from tests.listeners import Told

N_PER_CLASS = 20


def write_nih(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Make a labelled source; row i draws film i."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{patient},{name},{finding}\n" for patient, name, finding in rows]
    (folder / "labels.csv").write_text("patientid,filename,finding\n" + "".join(lines))
    for seed, (_, name, _) in enumerate(rows):
        if not (folder / "images" / name).exists():
            draw_film(folder / "images" / name, seed)
    return folder


def balanced_rows() -> list[tuple[str, str, str]]:
    findings = ("Normal", "Pneumonia", "COVID-19")
    return [
        (f"p{i // 2}{finding}", f"{finding}{i}.png", finding)
        for finding in findings
        for i in range(N_PER_CLASS)
    ]


def ingest(source: Path, out: Path, **options: object) -> FilmSet:
    return ingest_sources({"nih": source}, out, **{"seed": 0, **options})  # type: ignore[arg-type]


def reasons(folder: Path) -> Counter[str]:
    return Counter(categorise(film) for film in load_unusable(folder))


def test_ingest_sources_splits_by_patient_and_writes_everything(tmp_path: Path) -> None:
    source = write_nih(tmp_path / "nih", balanced_rows())

    filmset = ingest(source, tmp_path / "out")

    assert (len(filmset.films), filmset.n_total) == (60, 60)
    assert find_damage(tmp_path / "out", kind="filmset") == []
    splits: dict[str, set[str]] = defaultdict(set)
    for film in filmset.films:
        splits[film.patient_id].add(film.split)
        assert filmset.path_of(film).is_file()
        assert (film.width, film.height, film.source) == (64, 70, "nih")
    assert all(len(found) == 1 for found in splits.values())
    for split, n_films in (("train", 14), ("val", 2), ("test", 4)):
        counts = Counter(film.label for film in filmset.films if film.split == split)
        assert counts == dict.fromkeys(("normal", "pneumonia", "COVID-19"), n_films)
        assert len(parse_split_file(tmp_path / "out" / f"{split}.txt")) == 3 * n_films
    assert load_ingest_audit(tmp_path / "out").n_ok == 60


def test_ingest_sources_is_repeatable_and_seeded(tmp_path: Path) -> None:
    source = write_nih(tmp_path / "nih", balanced_rows())

    first = ingest(source, tmp_path / "a", seed=3)
    second = ingest(source, tmp_path / "b", seed=3)
    other = ingest(source, tmp_path / "c", seed=4)

    assert first.films == second.films
    assert first.films != other.films
    for name in ("films.csv", "unusable.csv", "train.txt", "ingest_audit.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_ingest_sources_records_what_cannot_be_used(tmp_path: Path) -> None:
    rows = [
        *balanced_rows(),
        ("x1", "copy.png", "Normal"),
        ("x2", "Normal0.png", "Normal"),
        ("x3", "conflict.png", "Pneumonia"),
        ("x4", "gone.png", "Normal"),
        ("x5", "broken.png", "Normal"),
        ("x6", "other.png", "Edema"),
        ("x7", "todo.png", "todo"),
    ]
    source = write_nih(tmp_path / "nih", rows)
    images = source / "images"
    shutil.copy(images / "Normal2.png", images / "copy.png")
    shutil.copy(images / "Normal4.png", images / "conflict.png")
    (images / "gone.png").unlink()
    (images / "broken.png").write_text("not a film")

    filmset = ingest(source, tmp_path / "out")

    assert reasons(tmp_path / "out") == {
        "exact duplicate": 1,
        "listed again": 1,
        "label conflict": 1,
        "missing file": 1,
        "unreadable": 1,
        "finding not used": 1,
        "todo finding": 1,
    }
    # Only a missing or unreadable film is one that was asked for and failed.
    assert (len(filmset.films), filmset.n_total) == (60, 62)
    unreadable = [f for f in load_unusable(tmp_path / "out") if categorise(f) == "unreadable"]
    assert unreadable[0].reason.startswith("unreadable: is not an image (starts with b'not a")
    found = {flag.rule: flag.severity for flag in load_ingest_audit(tmp_path / "out").flags}
    assert found["label_conflicts"] == "critical"


def test_ingest_sources_keeps_look_alikes_on_one_side(tmp_path: Path) -> None:
    source = write_nih(tmp_path / "nih", balanced_rows())
    images = source / "images"
    alike = [f"Normal{i}.png" for i in range(0, 12, 2)]  # six patients, one look, other bytes
    for n_spaces, name in enumerate(alike):
        content = (images / "Normal0.png").read_bytes()
        (images / name).write_bytes(content + b" " * n_spaces)

    for seed in range(5):
        filmset = ingest(source, tmp_path / f"out{seed}", seed=seed)

        films = {Path(film.path).name: film.split for film in filmset.films}
        assert len({films[name] for name in alike}) == 1


def write_rsna(folder: Path, n_per_class: int) -> Path:
    """Make the layout of the RSNA challenge with distinct films of all three classes."""
    images = folder / "stage_2_train_images"
    images.mkdir(parents=True)
    classes, targets = ["patientId,class"], ["patientId,x,y,width,height,Target"]
    for i in range(3 * n_per_class):
        name = f"{i:08x}-0000-0000-0000-000000000000"
        class_name = ("Normal", "Lung Opacity", "No Lung Opacity / Not Normal")[i % 3]
        write_dicom(images / f"{name}.dcm", draw_pixels(500 + i), ViewPosition=("PA", "AP")[i % 2])
        classes.append(f"{name},{class_name}")
        targets.append(f"{name},1,1,5,5,1" if i % 3 == 1 else f"{name},,,,,0")
    (folder / "stage_2_detailed_class_info.csv").write_text("\n".join(classes) + "\n")
    (folder / "stage_2_train_labels.csv").write_text("\n".join(targets) + "\n")
    return folder


def test_ingest_sources_reads_the_rsna_layout(tmp_path: Path) -> None:
    rows = [row for row in balanced_rows() if row[2] == "COVID-19"]
    sources = {
        "rsna": write_rsna(tmp_path / "rsna", 5),
        "nih": write_nih(tmp_path / "nih", rows),
    }

    filmset = ingest_sources(sources, tmp_path / "out", seed=0)

    counts = Counter((film.source, film.label) for film in filmset.films)
    assert counts == {("rsna", "normal"): 5, ("rsna", "pneumonia"): 5, ("nih", "COVID-19"): 20}
    assert {film.view for film in filmset.films if film.source == "rsna"} == {"PA", "AP"}
    assert reasons(tmp_path / "out") == {"finding not used": 5}
    encodings = load_ingest_audit(tmp_path / "out").tables["encodings"]
    assert {row["encoding"] for row in encodings} == {"dicom-MONOCHROME2-8", "png-L"}


def test_ingest_sources_reports_progress(tmp_path: Path) -> None:
    source = write_nih(tmp_path / "nih", balanced_rows())
    seen: list[tuple[int, int]] = []

    ingest_sources(
        {"nih": source}, tmp_path / "out", seed=0, means=Means(Told(lambda *n: seen.append(n)))
    )

    assert seen == [(n, 60) for n in range(1, 61)]


def test_ingest_sources_with_too_many_failures_names_them(tmp_path: Path) -> None:
    source = write_nih(tmp_path / "nih", balanced_rows())
    for i in range(7):
        (source / "images" / f"Normal{i}.png").write_bytes(b"")

    with pytest.raises(
        DataIntegrityError, match="7 of 60 films are missing or unreadable"
    ) as error:
        ingest(source, tmp_path / "out")
    assert str(error.value).count("is empty (0 bytes)") == 5
    assert not (tmp_path / "out").exists()

    filmset = ingest(source, tmp_path / "out", means=Means(max_failed_share=0.2))
    assert (len(filmset.films), filmset.n_total) == (53, 60)


def test_ingest_sources_that_refuses_leaves_the_list_of_unusable_films(tmp_path: Path) -> None:
    rows = balanced_rows()
    source = write_nih(tmp_path / "nih", rows)
    for name in ("Normal1.png", "Pneumonia2.png", "COVID-193.png", "COVID-195.png"):
        (source / "images" / name).write_bytes(b"no film")

    with pytest.raises(DataIntegrityError, match=r"4 of 60 .*out-unusable\.csv; `ingest --max-f"):
        ingest(source, tmp_path / "out")
    listed = (tmp_path / "out-unusable.csv").read_text().splitlines()
    filmset = ingest(source, tmp_path / "out", means=Means(max_failed_share=0.1))

    assert len(listed) == 5
    assert 'Normal1.png,nih,"unreadable' in listed[1]
    assert (len(filmset.films), filmset.n_total) == (56, 60)


def test_ingest_sources_with_empty_class_raises(tmp_path: Path) -> None:
    rows = [row for row in balanced_rows() if row[2] != "COVID-19"]
    source = write_nih(tmp_path / "nih", rows)

    with pytest.raises(
        DataIntegrityError, match=r"class 'COVID-19' has no usable film \(normal 20, pneumonia 20"
    ):
        ingest(source, tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


def test_ingest_sources_without_images_raises(tmp_path: Path) -> None:
    source = write_nih(tmp_path / "nih", balanced_rows())
    shutil.rmtree(source / "images")

    with pytest.raises(DataIntegrityError, match="60 of 60 films are missing or unreadable"):
        ingest(source, tmp_path / "out")


def test_ingest_sources_of_wrong_arguments_raises(tmp_path: Path) -> None:
    with pytest.raises(InputContractError, match="sources is empty"):
        ingest_sources({}, tmp_path / "out", seed=0)
    with pytest.raises(CatalogError, match="did you mean 'cohen'"):
        ingest_sources({"cohn": tmp_path}, tmp_path / "out", seed=0)
    with pytest.raises(DataIntegrityError, match="none: no such folder"):
        ingest_sources({"cohen": tmp_path / "none"}, tmp_path / "out", seed=0)
    assert not is_complete(tmp_path / "out")


def test_ingest_sources_never_overwrites(tmp_path: Path) -> None:
    source = write_nih(tmp_path / "nih", balanced_rows())
    ingest(source, tmp_path / "out")

    with pytest.raises(ArtifactError, match="already exists"):
        ingest(source, tmp_path / "out")


def write_covidx(folder: Path, n_train: int = 36, n_test: int = 9) -> tuple[Path, Path]:
    """Make a COVIDx folder with its lists; every patient has two films."""
    labels = ("normal", "pneumonia", "COVID-19")
    lists = []
    for split, count, offset in (("train", n_train, 0), ("test", n_test, 1000)):
        lines = []
        for i in range(count):
            draw_film(folder / split / f"{split}{i}.png", offset + i)
            patient = f"COVID {split}{i // 6}{i % 3}"
            lines.append(f"{patient} {split}{i}.png {labels[i % 3]} sirm\n")
        path = folder / f"{split}_list.txt"
        path.write_text("".join(lines))
        lists.append(path)
    return lists[0], lists[1]


def test_ingest_covidx_keeps_the_published_test_set(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path / "covidx")

    filmset = ingest_covidx(
        tmp_path / "covidx", train_list, test_list, tmp_path / "out", seed=0, val_share=0.2
    )

    counts = Counter(film.split for film in filmset.films)
    assert counts["test"] == 9
    assert counts["train"] + counts["val"] == 36
    assert {film.label for film in filmset.select("val")} == {"normal", "pneumonia", "COVID-19"}
    train_patients = {film.patient_id for film in filmset.select("train")}
    assert not train_patients & {film.patient_id for film in filmset.select("val")}
    assert (tmp_path / "out" / "test.txt").read_bytes() == test_list.read_bytes()
    assert filmset.class_names == ("normal", "pneumonia", "COVID-19")


def test_ingest_covidx_drops_train_copies_of_test_films_and_flags_leaks(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path / "covidx")
    shutil.copy(tmp_path / "covidx/test/test0.png", tmp_path / "covidx/train/train0.png")
    train_list.write_text(train_list.read_text().replace("COVID train01 ", "COVID test01 "))

    filmset = ingest_covidx(tmp_path / "covidx", train_list, test_list, tmp_path / "out", seed=0)

    assert len(filmset.select("test")) == 9
    assert reasons(tmp_path / "out") == {"exact duplicate": 1}
    shared = load_ingest_audit(tmp_path / "out").tables["shared_patients"]
    assert [row["patient"] for row in shared] == ["sirm:COVID test01"]


def test_ingest_covidx_with_absent_images_gives_count_and_examples(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path / "covidx")
    for i in range(8):
        (tmp_path / "covidx" / "train" / f"train{i}.png").unlink()

    with pytest.raises(
        DataIntegrityError, match=r"train_list\.txt: 8 of 36 listed images are absent"
    ) as error:
        ingest_covidx(tmp_path / "covidx", train_list, test_list, tmp_path / "out", seed=0)
    assert str(error.value).count(".png") == 5


def test_ingest_covidx_of_a_file_name_with_a_space_names_line_and_file(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path)
    first = parse_split_file(train_list)[0].filename
    (tmp_path / "train" / first).rename(tmp_path / "train" / f"my {first}")
    train_list.write_text(train_list.read_text().replace(f" {first} ", f" my {first} "))

    with pytest.raises(
        DataIntegrityError,
        match=rf"list\.txt:1: names the file 'my {first}'; file names must not contain spaces",
    ):
        ingest_covidx(tmp_path, train_list, test_list, tmp_path / "out", seed=0)


def test_ingest_covidx_records_a_few_absent_images(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path / "covidx")
    (tmp_path / "covidx" / "train" / "train1.png").unlink()

    filmset = ingest_covidx(tmp_path / "covidx", train_list, test_list, tmp_path / "out", seed=0)

    assert (len(filmset.films), filmset.n_total) == (44, 45)
    assert reasons(tmp_path / "out") == {"missing file": 1}


def test_ingest_covidx_with_repeated_rows_keeps_one(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path / "covidx")
    text = train_list.read_text()
    train_list.write_text(text + text.split("\n")[0] + "\n")

    filmset = ingest_covidx(tmp_path / "covidx", train_list, test_list, tmp_path / "out", seed=0)

    assert (len(filmset.films), filmset.n_total) == (45, 45)
    assert reasons(tmp_path / "out") == {"listed again": 1}


def test_ingest_covidx_of_binary_version_uses_its_classes(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path / "covidx")
    for path in (train_list, test_list):
        text = path.read_text().replace("COVID-19", "positive")
        path.write_text(text.replace("pneumonia", "negative").replace("normal", "negative"))

    filmset = ingest_covidx(tmp_path / "covidx", train_list, test_list, tmp_path / "out", seed=0)

    assert filmset.class_names == ("negative", "positive")


def test_ingest_covidx_of_missing_folder_or_mixed_lists_raises(tmp_path: Path) -> None:
    train_list, test_list = write_covidx(tmp_path / "covidx")

    with pytest.raises(DataIntegrityError, match="none: no such folder; expected a COVIDx folder"):
        ingest_covidx(tmp_path / "none", train_list, test_list, tmp_path / "out", seed=0)
    test_list.write_text("p a.png positive\n")
    with pytest.raises(DataIntegrityError, match="belong to different class sets"):
        ingest_covidx(tmp_path / "covidx", train_list, test_list, tmp_path / "out", seed=0)


@pytest.mark.real_data
def test_ingest_of_the_real_sources_finds_what_is_known(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "covidx-sources"
    sources = {
        "cohen": root / "covid-chestxray-dataset",
        "fig1": root / "Figure1-COVID-chestxray-dataset",
        "actmed": root / "Actualmed-COVID-chestxray-dataset",
        "nih": root / "nih-cxr14-subset",
    }

    filmset = ingest_sources(sources, tmp_path / "out", seed=0)

    audit = load_ingest_audit(tmp_path / "out")
    found = {flag.rule for flag in audit.flags}
    assert (len(filmset.films), filmset.n_total) == (1527, 1527)
    assert len(load_unusable(tmp_path / "out")) == 235
    assert {"source_predicts_label", "todo_findings", "near_duplicates"} <= found
    assert not found & {"patients_on_both_sides", "near_duplicates_across_splits"}
