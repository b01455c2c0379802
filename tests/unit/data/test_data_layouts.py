"""Every layout of films on a table made by hand, and what it refuses."""

import csv
import gzip
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from covid_debug.data.layouts.base import Asked, FindingLabels, Listing, find_split
from covid_debug.data.layouts.catalog import LAYOUTS
from covid_debug.data.layouts.reading import open_table
from covid_debug.errors import DataIntegrityError
from tests.films import draw_film, draw_pixels, write_dicom

Row = tuple[str, str, str, str | None]


def write_table(path: Path, rows: Sequence[Sequence[object]], *, separator: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as stream:  # type: ignore[attr-defined]
        csv.writer(stream, delimiter=separator).writerows(rows)
    return path


def rows_of(listing: Listing) -> list[Row]:
    """Return file name, patient, label and split of every listed film."""
    return [(film.path.name, film.patient_id, film.label, film.split) for film in listing.films]


def reasons(listing: Listing) -> dict[str, str]:
    return {Path(film.path).name: film.reason for film in listing.left_out}


def refuse(layout: str, asked: Asked) -> str:
    with pytest.raises(DataIntegrityError) as caught:
        LAYOUTS[layout](asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------- reading


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_of_any_program_is_read(
    tmp_path: Path, separator: str, end: str, mark: str
) -> None:
    lines = [
        separator.join(("Path", '"Class, of, it; or, not"', "x")),
        separator.join(("a.png", f'"B{separator}C"', "")),
        "",
        separator.join(("", "", "", "")),
        separator.join((" ü.png ", "A", "1")),
    ]
    path = tmp_path / "films.csv"
    path.write_bytes((mark + end.join(lines) + end).encode())

    table = open_table(path)

    assert table.header == ("Path", "Class, of, it; or, not", "x")
    assert list(table.rows(["Class, of, it; or, not", "Path"])) == [
        (f"B{separator}C", "a.png"),
        ("A", "ü.png"),
    ]


def test_a_gzipped_table_is_read_as_the_plain_one(tmp_path: Path) -> None:
    rows = [["path", "label"], ["a.png", "A"]]
    plain = open_table(write_table(tmp_path / "a.csv", rows))
    zipped = open_table(write_table(tmp_path / "a.csv.gz", rows))

    assert list(plain.rows(plain.header)) == list(zipped.rows(zipped.header)) == [("a.png", "A")]


def test_parquet_says_what_the_same_csv_says(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {"path": ["a.png", "b.png"], "subject": [7.0, None], "Edema": [1, -1], "class": ["x", None]}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    table = open_table(tmp_path / "a.parquet")

    assert table.header == ("path", "subject", "Edema", "class")
    assert list(table.rows(["class", "subject", "Edema"])) == [("x", "7", "1"), ("", "", "-1")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a table with a line of column names"),
        (b"\n", "is empty"),
        (b"path,label\na.png\n", r"films\.csv:2: 1 cells and the header has 2"),
        (b"path,label\na.png,A,B\n", r"films\.csv:2: 3 cells .* double quotes"),
        (b'path,label\na.png,"A\n', "cannot be read as CSV"),
        (b"path,label\n\xff\xfe.png,A\n", "is no text in UTF-8 .*0xff.*save it as CSV in UTF-8"),
        (b"PK\x03\x04rest", "is a workbook or an archive; .* save it as CSV in UTF-8"),
        (b"PAR1rest", r"cannot be read as Parquet .* write it again, or save the table as CSV"),
        (b"\x1f\x8bnot", "cannot be read as CSV"),
        (b"path,label,label\na.png,A,A\n", "has 2 columns named 'label'; expected one"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "films.csv"
    path.write_bytes(content)

    with pytest.raises(DataIntegrityError, match=message):
        LAYOUTS["table"](Asked(path))


def test_a_table_that_is_absent_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "no such file; expected a table of films" in refuse("table", Asked(tmp_path / "no.csv"))
    assert "is a folder; expected a CSV or Parquet table" in refuse("table", Asked(tmp_path))


# --------------------------------------------------------------------------- one's own table


def test_own_columns_are_found_by_common_names_in_any_case(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "my films.csv",
        [
            ["", "Image_Path", "DIAGNOSIS", "Subject ID", "Hospital", "View Position", "Set"],
            ["0", "a.png", "C,D", "p1", "one", "PA", "Training"],
            ["1", "x/b.png", "A b", "p2", "", "", "dev"],
        ],
    )

    listing = LAYOUTS["table"](Asked(table))

    assert rows_of(listing) == [
        ("a.png", "one:p1", "C,D", "train"),
        ("b.png", "my films:p2", "A b", "val"),
    ]
    assert [film.path for film in listing.films] == [tmp_path / "a.png", tmp_path / "x" / "b.png"]
    assert [film.view for film in listing.films] == ["PA", ""]
    assert listing.notes == []


def test_columns_can_be_named_or_left_out(tmp_path: Path) -> None:
    rows = [["path", "label", "img", "truth", "split"], ["a", "b", "c.png", "D", "nonsense"]]
    columns = {"path": "img", "label": "Truth", "split": ""}

    listing = LAYOUTS["table"](Asked(write_table(tmp_path / "t.csv", rows), columns=columns))

    assert rows_of(listing) == [("c.png", "t:c.png", "D", None)]
    assert "every film is a patient of its own" in listing.notes[0]


def test_a_finding_is_a_column_of_which_uncertain_and_empty_cells_are_left_out(
    tmp_path: Path,
) -> None:
    cells = ["1", "0.0", "-1.0", "", "TRUE", "no"]
    rows = [["path", "patient", "Lung Opacity"]]
    rows += [[f"{i}.png", f"p{i}", cell] for i, cell in enumerate(cells)]
    table = write_table(tmp_path / "t.csv", rows)

    listing = LAYOUTS["table"](Asked(table, finding="lung opacity"))

    assert [film.label for film in listing.films] == [
        "Lung Opacity",
        "no Lung Opacity",
        "Lung Opacity",
        "no Lung Opacity",
    ]
    assert listing.class_names == ("no Lung Opacity", "Lung Opacity")
    assert reasons(listing) == {
        "2.png": "uncertain label: Lung Opacity is uncertain",
        "3.png": "no label: Lung Opacity is left empty",
    }


def test_with_a_folder_of_films_no_film_may_lie_elsewhere(tmp_path: Path) -> None:
    rows = [["path", "label"], ["../a.png", "A"], ["/b.png", "B"]]
    table = write_table(tmp_path / "tables" / "t.csv", rows)

    free = LAYOUTS["table"](Asked(table)).films
    bound = LAYOUTS["table"](Asked(table, tmp_path / "films")).films

    assert [film.folder for film in free] == [Path("/"), Path("/")]
    assert {film.folder for film in bound} == {tmp_path / "films"}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([["path", "lable"]], {}, "the label .there are: path, lable.*--column label=NAME"),
        ([["a", "label"]], {}, "no column is known to hold the path"),
        ([["a", "b"]], {}, "path or the label .*--column path=NAME --column label=NAME"),
        ([["path", "label"]], {"columns": {"label": "Lable"}}, "no column 'Lable' .*mean 'label'"),
        ([["path", "label"]], {"columns": {"lable": "x"}}, "lable= is unknown .*mean 'label'"),
        ([["path", "Edema"]], {"finding": "Edama"}, "'Edama' is no column; .*'Edema'"),
        ([["path", "Edema"], ["a.png", "maybe"]], {"finding": "Edema"}, "row 2: .*'maybe'"),
        ([["path", "label"], ["a.png", "A"], ["b.png", ""]], {}, "row 3: 'b.png' has no label"),
        ([["path", "label"], ["", "A"]], {}, "row 2: column 'path' is empty"),
        ([["path", "label", "split"], ["a.png", "A", "trian"]], {}, "row 2: split 'trian' is"),
        ([["path", "label", "split"], ["a.png", "A", ""]], {}, "row 2: split is empty; expected"),
    ],
)  # fmt: skip
def test_what_an_own_table_lacks_is_one_line(
    tmp_path: Path, rows: list[list[str]], options: dict[str, object], message: str
) -> None:
    table = write_table(tmp_path / "t.csv", rows)
    found = refuse("table", Asked(table, **options))  # type: ignore[arg-type]
    assert found.startswith(str(table))
    assert re.search(message, found), found


# --------------------------------------------------------------------------- folders


@pytest.mark.parametrize("prefix", ["", "train/", "Validation/"])
def test_folders_are_classes(tmp_path: Path, prefix: str) -> None:
    for index, name in enumerate(("b/1.png", "a c/2.png", "a c/deep/3.png")):
        draw_film(tmp_path / prefix / name, index)
    (tmp_path / prefix / "a c" / "notes.txt").write_text("x")
    (tmp_path / ".hidden").mkdir()

    listing = LAYOUTS["folders"](Asked(tmp_path))

    split = find_split(prefix.strip("/"))
    assert [row[2:] for row in rows_of(listing)] == [("a c", split), ("a c", split), ("b", split)]
    assert listing.class_names == ("a c", "b")
    assert len({film.patient_id for film in listing.films}) == 3
    assert f"{tmp_path}: 1 files are no images" in listing.notes


def test_folders_refuse_what_is_no_tree(tmp_path: Path) -> None:
    assert "no such folder" in refuse("folders", Asked(tmp_path / "nowhere"))
    assert "holds no folder" in refuse("folders", Asked(tmp_path))
    (tmp_path / "a").mkdir()
    assert "--finding goes with tables" in refuse("folders", Asked(tmp_path, finding="x"))


# --------------------------------------------------------------------------- DICOM


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three films: two of one examination, one without a patient."""
    folder = tmp_path / "archive"
    (folder / "deep").mkdir(parents=True)
    write_dicom(folder / "a", draw_pixels(1), SOPInstanceUID="1.1", AccessionNumber="E1",
                PatientID="p1", ViewPosition="PA")  # fmt: skip
    write_dicom(folder / "b.dcm", draw_pixels(2), SOPInstanceUID="1.2", AccessionNumber="E1",
                PatientID="p1")  # fmt: skip
    write_dicom(folder / "deep" / "c", draw_pixels(3), SOPInstanceUID="1.3", AccessionNumber="E2")
    (folder / "readme.txt").write_text("no film")
    return folder


def test_an_archive_is_joined_by_uid(archive: Path, tmp_path: Path) -> None:
    rows = [
        ["SOPInstanceUID", "Label", "View"],
        ["1.1", "A", "x"],
        ["1.3", "B", "AP"],
        ["9", "A", ""],
    ]
    table = write_table(tmp_path / "t.csv", rows)

    listing = LAYOUTS["dicom"](Asked(table, archive))

    assert rows_of(listing) == [
        ("a", "archive:p1", "A", None),
        ("c", "archive:deep/c", "B", None),
    ]
    assert [film.view for film in listing.films] == ["PA", "AP"]
    assert reasons(listing) == {"b.dcm": "no label: the table has no row for it"}
    assert [note.partition(": ")[2] for note in listing.notes] == [
        "1 rows name no film of archive",
        "1 films name no patient, so each is one of its own",
    ]


def test_an_archive_is_joined_by_accession_for_a_finding(archive: Path, tmp_path: Path) -> None:
    rows = [["Accession Number", "Edema", "patient"], ["E1", "1", "q"], ["E2", "0", "q"]]
    table = write_table(tmp_path / "t.csv", rows)

    listing = LAYOUTS["dicom"](Asked(table, archive, finding="Edema"))

    assert rows_of(listing) == [
        ("a", "archive:p1", "Edema", None),
        ("b.dcm", "archive:p1", "Edema", None),
        ("c", "archive:q", "no Edema", None),
    ]


def test_an_archive_that_does_not_fit_is_one_line(archive: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [["uid", "label"], ["7", "A"]])

    assert "names none of the 3 DICOM films" in refuse("dicom", Asked(table, archive))
    assert "--images DIR" in refuse("dicom", Asked(table))
    assert "no such folder" in refuse("dicom", Asked(table, tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM film" in refuse("dicom", Asked(table, tmp_path / "empty"))
    twice = write_table(tmp_path / "u.csv", [["uid", "label"], ["1.1", "A"], ["1.1", "B"]])
    assert "row 3: '1.1' has label 'B', and 'A'" in refuse("dicom", Asked(twice, archive))
    blank = write_table(tmp_path / "v.csv", [["uid", "label"], ["1.1", ""]])
    assert "row 2: column 'label' is empty" in refuse("dicom", Asked(blank, archive))
    neither = write_table(tmp_path / "w.csv", [["id", "label"], ["1.1", "A"]])
    assert "hold the uid" in refuse("dicom", Asked(neither, archive))


# --------------------------------------------------------------------------- public data sets


def test_chexpert(tmp_path: Path) -> None:
    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Edema"]
    start = "CheXpert-v1.0-small/train/patient0000"
    rows = [
        head,
        [f"{start}1/study1/view1_frontal.jpg", "F", "68", "Frontal", "AP", "1.0", ""],
        [f"{start}1/study1/view2_lateral.jpg", "F", "68", "Lateral", "", "", "1.0"],
        [f"{start}2/study1/view1_frontal.jpg", "M", "87", "Frontal", "PA", "", "-1.0"],
        [f"{start}3/study1/view1_frontal.jpg", "M", "87", "Frontal", "PA", "", "0.0"],
    ]
    table = write_table(tmp_path / "train.csv", rows)

    listing = LAYOUTS["chexpert"](Asked(table, finding="edema"))

    patients = [film.patient_id for film in listing.films]
    assert patients == [f"chexpert:patient0000{i}" for i in (1, 1, 3)]
    assert [film.label for film in listing.films] == ["no Edema", "Edema", "no Edema"]
    assert [film.view for film in listing.films] == ["AP", "LATERAL", "PA"]
    assert listing.films[0].path == tmp_path / f"{start}1/study1/view1_frontal.jpg".split("/", 1)[1]
    assert list(reasons(listing).values()) == ["uncertain label: Edema is uncertain"]
    assert "name a finding with --finding" in refuse("chexpert", Asked(table))
    unknown = refuse("chexpert", Asked(table, finding="Edma"))
    assert "has no finding 'Edma'; did you mean 'Edema'? (there are: Edema, No Finding)" in unknown
    strange = write_table(tmp_path / "s.csv", [head, ["a.jpg", *"abcde", "1"]])
    assert "row 2: Path is 'a.jpg'" in refuse("chexpert", Asked(strange, finding="Edema"))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_mimic(tmp_path: Path, suffix: str) -> None:
    name = "mimic-cxr-2.0.0"
    labels = write_table(
        tmp_path / f"{name}-chexpert.{suffix}",
        [["subject_id", "study_id", "Edema"], ["10000032", "50", "1.0"], ["10000764", "51", ""],
         ["10000764", "52", "-1.0"]],
    )  # fmt: skip
    films = [("d1", "10000032", "50"), ("d2", "10000764", "51"), ("d3", "10000764", "52"),
             ("d4", "10000898", "53")]  # fmt: skip
    write_table(
        tmp_path / f"{name}-metadata.{suffix}",
        [["dicom_id", "subject_id", "study_id", "Rows", "ViewPosition"],
         *([d, p, s, "9", "PA"] for d, p, s in films)],
    )  # fmt: skip
    splits = ["train", "validate", "test", "test"]
    write_table(
        tmp_path / f"{name}-split.{suffix}",
        [["dicom_id", "study_id", "subject_id", "split"],
         *([d, s, p, split] for (d, p, s), split in zip(films, splits, strict=True))],
    )  # fmt: skip

    for table in (labels, tmp_path):
        listing = LAYOUTS["mimic"](Asked(table, finding="Edema"))

        assert rows_of(listing) == [
            ("d1.jpg", "mimic:10000032", "Edema", "train"),
            ("d2.jpg", "mimic:10000764", "no Edema", "val"),
        ]
        assert listing.films[0].path == tmp_path / "files/p10/p10000032/s50/d1.jpg"
        assert reasons(listing) == {
            "d3.jpg": "uncertain label: Edema is uncertain",
            "d4.jpg": "no label: its study has none",
        }
    (tmp_path / f"{name}-split.{suffix}").unlink()
    assert f"holds no {name}-split.csv or" in refuse("mimic", Asked(labels, finding="Edema"))


def test_nih(tmp_path: Path) -> None:
    head = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "View Position"]
    rows = [head, ["1.png", "Edema|Mass", "0", "1", "PA"], ["2.png", "No Finding", "0", "2", "AP"]]
    table = write_table(tmp_path / "Data_Entry_2017.csv", rows)
    draw_film(tmp_path / "images_001" / "images" / "1.png", 0)

    listing = LAYOUTS["nih"](Asked(table, finding="mass"))

    assert rows_of(listing) == [
        ("1.png", "nih:1", "Mass", None),
        ("2.png", "nih:2", "no Mass", None),
    ]
    assert listing.films[0].path == tmp_path / "images_001" / "images" / "1.png"
    (tmp_path / "train_val_list.txt").write_text("1.png\n")
    (tmp_path / "test_list.txt").write_text("")
    split = LAYOUTS["nih"](Asked(table, finding="Mass"))
    assert rows_of(split) == [("1.png", "nih:1", "Mass", "train")]
    assert reasons(split) == {"2.png": "no label: neither split list names it"}
    assert "films of layout nih have several labels" in refuse("nih", Asked(table))


def test_padchest(tmp_path: Path) -> None:
    head = ["", "ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "Labels"]
    labels = ["['pleural effusion', ' edema ']", '["edema"]', "['normal']", "", "['exclude']"]
    rows = [[str(i), f"{i}.png", "3", "s", f"p{i}", "PA", said] for i, said in enumerate(labels)]
    table = write_table(tmp_path / "padchest.csv", [head, *rows])

    listing = LAYOUTS["padchest"](Asked(table, finding="edema"))

    assert [film.label for film in listing.films] == ["edema", "edema", "no edema"]
    assert listing.films[0].path == tmp_path / "3" / "0.png"
    assert list(reasons(listing)) == ["3.png", "4.png"]
    broken = write_table(tmp_path / "b.csv", [head, ["0", "0.png", "3", "s", "p", "PA", "edema"]])
    assert "row 2: Labels is 'edema'; expected a list" in refuse("padchest", Asked(broken))


def test_rsna(tmp_path: Path) -> None:
    rows = [["patientId", "x", "y", "width", "height", "Target"],
            ["a", "", "", "", "", "0"], ["b", "", "", "", "", "0"],
            ["b", "1", "2", "3", "4", "1"], ["b", "", "", "", "", "0"],
            ["b", "5", "6", "7", "8", "1"]]  # fmt: skip
    table = write_table(tmp_path / "stage_2_train_labels.csv", rows)
    (tmp_path / "stage_2_train_images").mkdir()
    write_dicom(tmp_path / "stage_2_train_images" / "b.dcm", draw_pixels(1), ViewPosition="AP")

    listing = LAYOUTS["rsna"](Asked(table))

    assert rows_of(listing) == [
        ("a.dcm", "rsna:a", "no Lung Opacity", None),
        ("b.dcm", "rsna:b", "Lung Opacity", None),
    ]
    assert [film.view for film in listing.films] == ["", "AP"]
    named = LAYOUTS["rsna"](Asked(table, finding="pneumonia"))
    assert named.class_names == ("no Pneumonia", "Pneumonia")
    assert "has no finding 'Mass'" in refuse("rsna", Asked(table, finding="Mass"))


def write_split_file(folder: Path, name: str = "test_COVIDx9B.txt") -> Path:
    lines = ["7 a.png negative rsna", "patient 8 b.png positive bimcv", "8 c.png positive bimcv"]
    path = folder / name
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


@pytest.mark.parametrize("place", ["beside", "test", "images", "images/test"])
def test_covidx(tmp_path: Path, place: str) -> None:
    folder = tmp_path if place == "beside" else tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    images = tmp_path / "images" if place.startswith("images") else None

    listing = LAYOUTS["covidx"](Asked(write_split_file(tmp_path), images))

    assert rows_of(listing) == [
        ("a.png", "rsna:7", "negative", "test"),
        ("b.png", "bimcv:patient 8", "positive", "test"),
        ("c.png", "bimcv:8", "positive", "test"),
    ]
    assert {film.path.parent for film in listing.films} == {folder}
    assert listing.class_names == ("negative", "positive")


def test_covidx_refuses_what_it_has_no_use_for(tmp_path: Path) -> None:
    table = write_split_file(tmp_path)

    assert "leave it out" in refuse("covidx", Asked(table, finding="positive"))
    assert "unknown to layout covidx" in refuse("covidx", Asked(table, columns={"label": "x"}))
    assert "not 'patientid filename label" in refuse(
        "covidx", Asked(write_table(tmp_path / "t.csv", [("path", "label")]))
    )


def test_a_split_file_given_as_table_and_a_table_of_findings_name_the_option(
    tmp_path: Path,
) -> None:
    findings = write_table(tmp_path / "t.csv", [("path", "Edema"), ("a", 1)])

    assert "name its layout with --layout covidx" in refuse(
        "table", Asked(write_split_file(tmp_path))
    )
    assert refuse("table", Asked(findings)).endswith(
        "; of columns of findings name one with --finding"
    )


@pytest.mark.parametrize("layout", ["chexpert", "nih", "padchest", "rsna", "mimic"])
def test_another_table_than_the_published_one_is_refused(tmp_path: Path, layout: str) -> None:
    table = write_table(tmp_path / "t.csv", [["a", "b"], ["1", "2"]])

    assert "expected the table as published" in refuse(layout, Asked(table, finding="x"))
    columns = {"path": "a"}
    assert "its columns are published" in refuse(layout, Asked(table, columns=columns))


def test_an_empty_cell_is_absent_where_the_data_set_says_so() -> None:
    assert FindingLabels("X", blank_is_absent=True).read("", "t") == ("no X", "")
    assert FindingLabels("X", blank_is_absent=False).read("nan", "t")[1].startswith("no label")
