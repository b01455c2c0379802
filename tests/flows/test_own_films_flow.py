"""The whole loop on films of one's own, under class names that no program would choose."""

import csv
import html
from pathlib import Path

import pytest

from covid_debug.data.phantom import generate_phantom
from tests.cli import call
from tests.own_films import write_rows

pytestmark = [
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
    pytest.mark.slow,  # trains two models and makes a report: two minutes
]

ODD = ("<b>A $\\frac{x$ &amp; %s {0}", "a|b`*[c](x)/../d, e", 'Größe 肺炎 "q" \'s \\')
CONFIG = """\
name: own
data: {kind: table, table: films.csv, images: images}
view: {image_size: 32}
text: {detector: marker}
training: {arch: resnet18_half, n_epochs: 1}
proof: {max_films: 0}
audit: {grid_size: 4, max_explained: 1, n_nulls: 4}
compute: {n_workers: 1}
"""


def test_the_loop_takes_any_class_names_and_one_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    films = generate_phantom(tmp_path / "phantoms", n_train=36, n_test=18, seed=0)
    names = dict(zip(films.class_names, ODD, strict=True))
    rows: list[list[object]] = [["image", "finding", "split"]]
    (tmp_path / "images").mkdir()
    for film in films.films:
        films.path_of(film).rename(tmp_path / "images" / f"{film.image_id}.png")
        rows.append([film.image_id, names[film.label], film.split])
    write_rows(tmp_path / "films.csv", rows)
    (tmp_path / "own.yaml").write_text(CONFIG, encoding="utf-8")

    outcome = call("run", "own.yaml")

    assert outcome.code == 0, outcome.err
    (report,) = (tmp_path / "reports").glob("own-*")
    page = (report / "report.html").read_text(encoding="utf-8")
    assert ODD[0] not in page
    assert html.escape(ODD[0], quote=False) in page
    with (report / "comparison.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["class_name"] for row in csv.DictReader(stream)} == {"all", *ODD}
