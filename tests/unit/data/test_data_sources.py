"""Readers of the public sources, on folders made by the tests and on the real tables."""

from collections import Counter
from pathlib import Path

import pytest

from covid_debug.data.sources.base import label_record
from covid_debug.data.sources.catalog import SOURCES
from covid_debug.errors import CatalogError, DataIntegrityError
from tests.films import draw_pixels, write_dicom


def categories(dropped: str) -> str:
    return dropped.split(":", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", "COVID-19"),
        ("Pneumonia/Viral/COVID-19", "COVID-19"),
        ("COVID-19, ARDS", "COVID-19"),
        ("Pneumonia/Viral/SARS", "pneumonia"),
        ("Pneumonia/Bacterial/E.Coli", "pneumonia"),
        ("Normal", "normal"),
    ],
)
def test_label_record_understands_both_hierarchies(finding: str, label: str) -> None:
    record = label_record(Path("a.jpg"), "1", finding, "PA")

    assert (record.label, record.dropped) == (label, "")


@pytest.mark.parametrize(
    ("finding", "category"),
    [
        ("todo", "todo finding"),
        ("", "no finding given"),
        ("Pneumonia", "finding not used"),
        ("No Finding", "finding not used"),
        ("Pneumonia/Fungal/Pneumocystis", "finding not used"),
        ("ARDS, COVID-19", "finding not used"),
    ],
)
def test_label_record_says_why_a_finding_is_dropped(finding: str, category: str) -> None:
    record = label_record(Path("a.jpg"), "1", finding, "PA")

    assert record.label == ""
    assert categories(record.dropped) == category


def test_read_cohen_keeps_frontal_views(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(
        "patientid,offset,finding,view,modality,folder,filename\n"
        "1,0,COVID-19,PA,X-ray,images,a.jpg\n"
        "1,3,COVID-19,L,X-ray,images,b.jpg\n"
        '2,,"COVID-19, ARDS",AP Supine,X-ray,images,c.jpg\n'
        "3,,SARS,,X-ray,images,d.jpg\n"
        "4,,todo,AP,X-ray,images,e.jpg\n"
    )

    records = SOURCES["cohen"](tmp_path)

    assert [record.label for record in records] == ["COVID-19", "", "COVID-19", "", ""]
    assert [record.dropped for record in records][1] == "not frontal: view is L"
    assert [record.dropped for record in records][3] == "not frontal: view is not given"
    assert categories(records[4].dropped) == "todo finding"
    assert records[2].path == tmp_path / "images" / "c.jpg"
    assert (records[2].patient_id, records[2].view) == ("2", "AP Supine")


def test_read_fig1_is_latin1_finds_extension_and_joins_series(tmp_path: Path) -> None:
    header = "patientid,finding,survival,view,notes\n"
    rows = "COVID-00003a,COVID-19,,AP,38.5\u00b0\nCOVID-00003b,COVID-19,,,\nCOVID-00004,,,,\n"
    (tmp_path / "metadata.csv").write_bytes((header + rows).encode("iso-8859-1"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "COVID-00003a.jpg").write_bytes(b"x")

    records = SOURCES["fig1"](tmp_path)

    assert [record.path.name for record in records] == [
        "COVID-00003a.jpg",
        "COVID-00003b.png",
        "COVID-00004.png",
    ]
    assert [record.patient_id for record in records[:2]] == ["COVID-00003", "COVID-00003"]
    assert categories(records[2].dropped) == "no finding given"


def test_read_actmed_and_nih(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(
        "patientid,finding,view,imagename\nANON1,COVID-19,PA,a.jpg\nANON2,No finding,AP,b.jpg\n"
    )
    (tmp_path / "labels.csv").write_text(
        "patientid,filename,finding\n1,1_0.jpg,Normal\n2,2_0.jpg,Pneumonia\n3,3_0.jpg,Edema\n"
    )

    actmed, nih = SOURCES["actmed"](tmp_path), SOURCES["nih"](tmp_path)

    assert [record.label for record in actmed] == ["COVID-19", ""]
    assert [record.label for record in nih] == ["normal", "pneumonia", ""]
    assert [record.dropped for record in nih][:2] == ["", ""]


def write_rsna(folder: Path) -> None:
    """Make the challenge's layout with four tiny films; the last one is missing."""
    images = folder / "stage_2_train_images"
    images.mkdir(parents=True)
    for seed, (name, view) in enumerate((("n1", "PA"), ("p1", "AP"), ("x1", "AP"))):
        write_dicom(images / f"{name}.dcm", draw_pixels(seed), ViewPosition=view)
    (folder / "stage_2_detailed_class_info.csv").write_text(
        "patientId,class\nn1,Normal\np1,Lung Opacity\np1,Lung Opacity\n"
        "x1,No Lung Opacity / Not Normal\nn2,Normal\n"
    )
    (folder / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\nn1,,,,,0\np1,1,1,5,5,1\np1,8,8,5,5,1\nx1,,,,,0\n"
        "n2,,,,,0\n"
    )


def test_read_rsna_takes_each_patient_once(tmp_path: Path) -> None:
    write_rsna(tmp_path)

    records = SOURCES["rsna"](tmp_path)

    assert [(record.patient_id, record.label, record.view) for record in records] == [
        ("n1", "normal", "PA"),
        ("p1", "pneumonia", "AP"),
        ("x1", "", ""),
        ("n2", "normal", ""),
    ]
    assert categories(records[2].dropped) == "finding not used"
    assert records[1].path == tmp_path / "stage_2_train_images" / "p1.dcm"


@pytest.mark.parametrize("name", list(SOURCES))
def test_source_without_folder_table_or_columns_raises(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataIntegrityError, match="none: no such folder"):
        SOURCES[name](tmp_path / "none")
    with pytest.raises(DataIntegrityError, match="no such file; expected the source's table"):
        SOURCES[name](tmp_path)
    for table in ("metadata.csv", "labels.csv", "stage_2_train_labels.csv"):
        (tmp_path / table).write_text("a,b\n1,2\n")
    with pytest.raises(DataIntegrityError, match=r"lacks the columns .*atient"):
        SOURCES[name](tmp_path)


def test_source_table_in_another_encoding_raises(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"patientid,finding,view,filename\n\xb0,,,\n")

    with pytest.raises(DataIntegrityError, match=r"metadata\.csv: cannot be read"):
        SOURCES["cohen"](tmp_path)


def test_unknown_source_suggests_the_closest() -> None:
    with pytest.raises(CatalogError, match="unknown name 'cohn'; did you mean 'cohen'"):
        SOURCES["cohn"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "folder", "labels"),
    [
        ("cohen", "covid-chestxray-dataset", {"COVID-19": 427, "pneumonia": 42}),
        ("fig1", "Figure1-COVID-chestxray-dataset", {"COVID-19": 35}),
        ("actmed", "Actualmed-COVID-chestxray-dataset", {"COVID-19": 26}),
        ("nih", "nih-cxr14-subset", {"normal": 500, "pneumonia": 500}),
    ],
)
def test_real_sources_give_the_published_counts(
    shared_data: Path, name: str, folder: str, labels: dict[str, int]
) -> None:
    records = SOURCES[name](shared_data / "covidx-sources" / folder)

    used = [record for record in records if not record.dropped]
    assert Counter(record.label for record in used) == labels
    assert all(record.path.is_file() for record in used)
    assert all((record.label == "") == bool(record.dropped) for record in records)
