"""Films of people's own become a data set, or one line says why not."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covid_debug.data.filmset import load_unusable
from covid_debug.data.integrity import categorise, load_ingest_audit
from covid_debug.data.layouts.base import Asked
from covid_debug.data.stage import TableData
from covid_debug.data.table import ingest_table, list_table, locate_films
from covid_debug.errors import CatalogError, CovidDebugError, DataIntegrityError
from covid_debug.evaluation.metrics import ALL_CLASSES
from covid_debug.progress import Silent
from covid_debug.records import SPLITS
from covid_debug.shown import to_printable
from covid_debug.stages import Means
from tests.films import draw_film
from tests.unit.data.test_data_layouts import write_table

CLASSES = ("A b", "C,D", "Größe")


def make_table(
    folder: Path, n: int = 30, *, classes: tuple[str, ...] = CLASSES, split: str = ""
) -> Path:
    """Write films and their table: two films a patient, classes in turn."""
    rows = [["path", "label", "patient", *(["split"] if split else [])]]
    for index in range(n):
        draw_film(folder / "films" / f"{index}.png", index)
        said = [split.split()[index // 2 % len(split.split())]] if split else []
        rows.append(
            [f"films/{index}.png", classes[index // 2 % len(classes)], f"p{index // 2}", *said]
        )
    return write_table(folder / "table.csv", rows)


def refuse(asked: Asked, **options: object) -> str:
    with pytest.raises(DataIntegrityError) as caught:
        list_table(asked, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_table_becomes_a_data_set_split_by_patient(tmp_path: Path) -> None:
    table = make_table(tmp_path)

    films = ingest_table(Asked(table), tmp_path / "set", val_share=0.2, test_share=0.2)

    assert films.class_names == CLASSES
    assert films.name == "table"
    assert Counter(film.split for film in films.films) == {"train": 18, "val": 6, "test": 6}
    of_patient = {(film.patient_id, film.split) for film in films.films}
    assert len(of_patient) == 15
    assert {film.path for film in films.films} == {
        str(tmp_path / "films" / f"{i}.png") for i in range(30)
    }
    assert not (tmp_path / "set" / "train.txt").exists()
    assert load_ingest_audit(tmp_path / "set").name == "table"


def test_lists_of_covidx_are_written_where_its_format_holds_the_films(tmp_path: Path) -> None:
    table = make_table(tmp_path, classes=("normal", "pneumonia", "COVID-19"))

    ingest_table(Asked(table), tmp_path / "set")

    lists = [(tmp_path / "set" / f"{split}.txt").read_text() for split in SPLITS]
    assert sum(len(text.splitlines()) for text in lists) == 30


def test_the_same_seed_gives_the_same_set_and_another_one_another(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    keys = [
        ingest_table(Asked(table), tmp_path / f"set{i}", seed=seed).content_key
        for i, seed in enumerate((1, 1, 2))
    ]

    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("split", "expected", "note"),
    [
        ("train val test", {"train": 10, "val": 10, "test": 10}, ""),
        ("Training DEV Testing", {"train": 10, "val": 10, "test": 10}, ""),
        ("train train test", {"train": 16, "val": 4, "test": 10}, ""),
        ("train train valid", {"train": 16, "val": 4, "test": 10}, "validation films are the test"),
        ("train", {"train": 20, "val": 4, "test": 6}, "all films are of split train"),
        ("valid", {"test": 30}, "validation films are the test films"),
        ("test", {"test": 30}, ""),
    ],
)
def test_the_splits_of_a_table_are_kept_and_what_lacks_is_drawn(
    tmp_path: Path, split: str, expected: dict[str, int], note: str
) -> None:
    table = make_table(tmp_path, split=split, classes=("A", "B"))
    listing = list_table(Asked(table))

    films = ingest_table(Asked(table), tmp_path / "set", val_share=0.15, test_share=0.2)

    assert Counter(film.split for film in films.films) == expected
    assert any(note in line for line in listing.notes)


def test_all_films_can_be_test_films_and_lack_a_class(tmp_path: Path) -> None:
    table = make_table(tmp_path, 4, classes=("A",))

    films = ingest_table(Asked(table), tmp_path / "set", class_names=("A", "B"), split="test")

    assert films.class_names == ("A", "B")
    assert {film.split for film in films.films} == {"test"}


def test_films_that_are_marked_test_are_tested_alone_and_a_line_says_so(tmp_path: Path) -> None:
    table = make_table(tmp_path, 12, split="train test")

    marked = list_table(Asked(table), split="marked")
    every = list_table(Asked(table), split="test")

    assert (len(marked.films), len(every.films)) == (6, 12)
    assert {film.split for film in (*marked.films, *every.films)} == {"test"}
    assert "6 films marked train are left out" in marked.notes[-1]
    assert "6 films marked train are test films here" in every.notes[-1]


@pytest.mark.parametrize("split", ["", "train val"])
def test_where_none_is_marked_test_every_film_is_tested(tmp_path: Path, split: str) -> None:
    listing = list_table(Asked(make_table(tmp_path, 12, split=split)), split="marked")

    assert [film.split for film in listing.films] == ["test"] * 12
    assert sum("test films here" in note for note in listing.notes) == len(split.split())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("x", "y", "NaN"), "10 films are labelled 'NaN', which is likely a missing value; fill"),
        (("0", "1", "-1"), "uncertain on 10 films; name its column with --finding"),
        (("0.0", "1.0", "-1.0"), "uncertain on 10 films; name its column with --finding"),
        (("0", "1", "1.0"), "labels '1' and '1.0' are the same number; write them alike"),
    ],
)
def test_labels_that_are_likely_no_classes_are_refused_unless_named(
    tmp_path: Path, labels: tuple[str, ...], message: str
) -> None:
    asked = Asked(make_table(tmp_path, classes=labels))

    assert message in refuse(asked)
    assert list_table(asked, class_names=labels).class_names == labels


def test_the_column_that_is_read_is_named_where_others_could_be_meant(tmp_path: Path) -> None:
    rows = [
        ["image_id", "path", "diagnosis", "label"],
        *(["7", f"{i}.png", "w", str(i % 2)] for i in range(6)),
    ]
    table = write_table(tmp_path / "two.csv", rows)

    notes = "\n".join(list_table(Asked(table)).notes)
    chosen = list_table(Asked(table, columns={"label": "label", "path": "path"})).notes

    assert "the path is read from column 'path', not from image_id; --column path=NAME" in notes
    assert "the label is read from column 'label', not from diagnosis" in notes
    assert not any("is read from" in note for note in chosen)


def test_films_of_a_folder_are_found_at_any_depth_and_without_suffix(tmp_path: Path) -> None:
    for index in range(4):
        draw_film(tmp_path / "deep" / str(index) / f"f{index}.png", index)
    rows = [["image", "label"], ["f0", "A"], ["f1.png", "B"], ["f2", "A"], ["3/f3.png", "B"]]
    table = write_table(tmp_path / "t.csv", rows)

    films = ingest_table(Asked(table, tmp_path / "deep"), tmp_path / "set", split="test")

    assert [Path(film.path).name for film in films.films] == [f"f{i}.png" for i in range(4)]


@pytest.mark.parametrize(
    ("split", "n", "drawn"), [("", 4, "training, validation and test"), ("train test", 4, "")]
)
def test_too_few_patients_for_a_split_are_refused_before_a_film_is_read(
    tmp_path: Path, split: str, n: int, drawn: str
) -> None:
    table = make_table(tmp_path, n, classes=("A", "B"), split=split)
    for film in (tmp_path / "films").iterdir():
        film.write_bytes(b"")

    with pytest.raises(DataIntegrityError, match="class 'A' has films of 1 patients") as caught:
        ingest_table(Asked(table), tmp_path / "set")

    assert drawn in str(caught.value)
    assert "--all-test" in str(caught.value)


def test_paths_of_windows_are_turned(tmp_path: Path) -> None:
    for index in range(2):
        draw_film(tmp_path / "films" / f"{index}.png", index)
    table = write_table(
        tmp_path / "t.csv", [["path", "label"], ["films\\0.png", "A"], ["films/1.png", "B"]]
    )

    films = ingest_table(Asked(table), tmp_path / "set", split="test")

    assert [Path(film.path).name for film in films.films] == ["0.png", "1.png"]


def test_a_name_that_stands_in_two_folders_is_none_of_them(tmp_path: Path) -> None:
    for index, name in enumerate(("a/1.png", "b/1.png", "b/2.png")):
        draw_film(tmp_path / "deep" / name, index)
    (tmp_path / "deep" / "b" / "2.json").write_text("{}")
    table = write_table(tmp_path / "t.csv", [["path", "label"], ["1.png", "A"], ["2", "B"]])
    asked = Asked(table, tmp_path / "deep")
    listing = list_table(asked)

    absent = locate_films(asked, listing)

    assert absent == [tmp_path / "deep" / "1.png"]
    assert listing.films[1].path == tmp_path / "deep" / "b" / "2.png"
    assert "1 names stand in several folders" in listing.notes[-1]


def test_only_a_name_without_a_folder_is_looked_for(tmp_path: Path) -> None:
    draw_film(tmp_path / "deep" / "p2" / "view1.png", 1)
    rows = [["path", "label"], ["p1/view1.png", "A"], ["p2/view1.png", "B"]]
    asked = Asked(write_table(tmp_path / "t.csv", rows), tmp_path / "deep")

    assert locate_films(asked, list_table(asked)) == [tmp_path / "deep" / "p1" / "view1.png"]


def test_absent_films_are_counted_and_listed(tmp_path: Path) -> None:
    table = make_table(tmp_path, 12, classes=("A", "B"))
    for index in (3, 4):
        (tmp_path / "films" / f"{index}.png").unlink()

    with pytest.raises(DataIntegrityError) as caught:
        ingest_table(Asked(table), tmp_path / "set")
    message = str(caught.value)
    assert "table.csv: 2 of 12 listed images are absent" in message
    assert "(first: 3.png, 4.png)" in message
    assert "--images" in message
    assert (tmp_path / "set-unusable.csv").read_text().count("missing file") == 2

    films = ingest_table(Asked(table), tmp_path / "set", split="test",
                         means=Means(max_failed_share=0.2))  # fmt: skip
    assert (len(films.films), films.n_total) == (10, 12)


def test_a_film_that_is_listed_again_counts_once_and_its_rows_are_named(tmp_path: Path) -> None:
    rows = [("path", "label")]
    for index, label in enumerate("AB"):
        draw_film(tmp_path / f"{index}.png", index)
        rows.append((f"{index}.png", label))
    table = write_table(tmp_path / "t.csv", [*rows, rows[1]])
    told: list[str] = []
    listener = Silent()
    listener.say = told.append  # type: ignore[method-assign]

    films = ingest_table(Asked(table), tmp_path / "set", split="test", means=Means(listener))

    assert (len(films.films), films.n_total) == (2, 2)
    (line,) = [line for line in told if "listed again" in line]
    assert line.endswith(
        f"1 film is listed again with the same label (first: {tmp_path / '0.png'}, rows 2 and 4);"
        " each counts once, as it is listed first"
    )


def test_what_a_finding_leaves_out_is_recorded(tmp_path: Path) -> None:
    rows = [["path", "Edema"]]
    for index, cell in enumerate(["1", "0", "-1", "", "1", "0"]):
        draw_film(tmp_path / f"{index}.png", index)
        rows.append([f"{index}.png", cell])
    asked = Asked(write_table(tmp_path / "t.csv", rows), finding="Edema")

    films = ingest_table(asked, tmp_path / "set", split="test")

    assert films.class_names == ("no Edema", "Edema")
    assert [film.label for film in films.films] == ["Edema", "no Edema"] * 2
    assert Counter(map(categorise, load_unusable(tmp_path / "set"))) == {
        "uncertain label": 1,
        "no label": 1,
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("a", "A"), ("b", "B"), ("c/../a", "B")],
            "a as 'A' and 'B', rows 2 and 4); expected one label a film",
        ),
        ([("a", "A"), ("b", "A")], "all films have label 'A'; expected two classes or more"),
        ([], "lists no film"),
        ([("a", "A"), ("b", "all")], "label 'all' cannot be a class"),
        ([("a", "A"), ("b", "x\x1by")], r"label 'x\x1by' cannot be a class"),
        ([("a", "A"), ("b", "B" * 101)], "cannot be a class; expected at most 100"),
        ([("a", "A"), ("b", "B"), ("c", "a")], "labels 'A' and 'a' differ in capitals or spaces"),
        ([(f"{i}", f"{i}") for i in range(101)], "has 101 different labels"),
    ],
)
def test_labels_that_make_no_classes_are_one_line(
    tmp_path: Path, rows: list[tuple[str, str]], message: str
) -> None:
    table = write_table(tmp_path / "t.csv", [("path", "label"), *rows])

    assert message in refuse(Asked(table))


def test_the_reserved_name_is_that_of_the_metrics() -> None:
    from covid_debug.data import table

    assert table._RESERVED == ALL_CLASSES


def test_class_names_have_to_be_those_of_the_table(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [("path", "label"), ("a", "B"), ("b", "A")])

    assert list_table(Asked(table), class_names=("B", "A")).class_names == ("B", "A")
    wrong = refuse(Asked(table), class_names=("A", "Bb"))
    assert (
        "1 film has label 'B', which is none of the classes 'A', 'Bb'; did you mean 'Bb'?" in wrong
    )
    assert "class 'C' has no film (A 1, B 1, C 0)" in refuse(
        Asked(table), class_names=("A", "B", "C")
    )
    assert "class 'A' is given twice" in refuse(Asked(table), class_names=("A", "B", "A"))
    with pytest.raises(CatalogError, match="unknown name 'tabel'; did you mean 'table'"):
        list_table(Asked(table), layout="tabel")


def test_an_empty_folder_is_an_empty_class(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    draw_film(tmp_path / "a" / "1.png", 1)
    draw_film(tmp_path / "b" / "2.png", 2)

    message = refuse(Asked(tmp_path), layout="folders")

    assert "class 'c' has no film (a 1, b 1, c 0)" in message


def test_a_request_is_known_by_what_it_reads(tmp_path: Path) -> None:
    table = make_table(tmp_path, 6, classes=("A", "B"))
    request = TableData("table", table)
    before = request.inputs()

    assert request.inputs() == before
    draw_film(tmp_path / "films" / "0.png", 99)
    after = request.inputs()
    assert after != before
    table.write_text(table.read_text().replace("p0", "p9"))
    assert request.inputs() != after


CELLS = st.one_of(
    st.sampled_from(
        ["", "a.png", "../a.png", "/", "A", "1", "-1", "train", "nan", "\0", '"', "\ud7ff"]
    ),
    st.text(max_size=8),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(CELLS, max_size=5), max_size=5),
    st.sampled_from(["path,label", "image;class;split", "file\tlabel\tpatient", "Path,Edema", ""]),
    st.sampled_from([None, "Edema", "label"]),
    st.sampled_from(["table", "chexpert", "nih", "padchest", "rsna", "mimic", "dicom", "folders"]),
)
def test_no_broken_table_ends_in_anything_but_an_error_line(
    tmp_path: Path, rows: list[list[str]], head: str, finding: str | None, layout: str
) -> None:
    body = "\n".join([head, *(",".join(row) for row in rows)])
    (tmp_path / "t.csv").write_bytes(body.encode("utf-8", "surrogatepass"))
    (tmp_path / "films").mkdir(exist_ok=True)
    asked = Asked(tmp_path / "t.csv", tmp_path / "films", finding=finding)

    try:
        ingest_table(asked, tmp_path / "set", layout=layout)
    except CovidDebugError as error:
        assert str(error) == to_printable(error)  # noqa: PT017


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60), st.sampled_from([b"", b"PAR1", b"\x1f\x8b", b"path,label\n"]))
def test_no_broken_file_ends_in_anything_but_an_error_line(
    tmp_path: Path, content: bytes, start: bytes
) -> None:
    (tmp_path / "t.csv").write_bytes(start + content)

    with pytest.raises(CovidDebugError) as caught:
        ingest_table(Asked(tmp_path / "t.csv"), tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_an_error_line(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    place = tmp_path / "t.parquet"
    pandas.DataFrame({"path": ["a.png"] * 50, "label": ["A"] * 50}).to_parquet(place)
    whole = place.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(whole)
        for at in generator.integers(4, len(whole), 6):
            broken[at] ^= int(generator.integers(1, 256))
        place.write_bytes(broken)
        with pytest.raises(CovidDebugError) as caught:
            ingest_table(Asked(place), tmp_path / "set")
        assert "\n" not in str(caught.value)
