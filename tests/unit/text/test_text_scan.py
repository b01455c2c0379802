"""Scanning many films: order, failures as records, workers."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from covid_debug.errors import (
    ArtifactError,
    CatalogError,
    CheckpointError,
    DataIntegrityError,
    FilmChangedError,
    InputContractError,
)
from covid_debug.imaging.reading import FilmFile, read_film
from covid_debug.imaging.regions import read_regions, write_regions
from covid_debug.records import FilmRegions
from covid_debug.shards import Shard, ShardFinished
from covid_debug.stages import Means
from covid_debug.text import scan
from covid_debug.text.catalog import build_detector
from covid_debug.text.scan import scan_films, scan_to_file
from tests.listeners import Told


@pytest.fixture
def films(tmp_path, word_film):
    """A film with a word, a broken file, a film without text, an absent file."""
    cv2.imwrite(str(tmp_path / "word.png"), word_film)
    cv2.imwrite(str(tmp_path / "blank.png"), np.zeros((64, 80), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno film")
    return [(name, tmp_path / f"{name}.png") for name in ("word", "broken", "blank", "absent")]


def test_every_film_gives_one_record_in_order(films):
    records = list(scan_films(films, "rapidocr"))

    assert [record.image for record in records] == ["word", "broken", "blank", "absent"]
    assert (records[0].width, records[0].height) == (400, 300)
    assert len(records[0].regions) == 1
    assert records[2] == FilmRegions("blank", 80, 64, ())


def test_failed_films_are_records_with_their_reason(films):
    records = list(scan_films(films, "rapidocr"))

    assert "broken.png" in records[1].error
    assert "absent.png" in records[3].error
    assert records[1].regions == ()


def test_films_of_an_earlier_scan_are_not_looked_at_again(films, tmp_path, monkeypatch):
    scan_to_file(films, tmp_path / "whole.jsonl", "rapidocr")
    known = read_regions(tmp_path / "whole.jsonl")
    looked_at, look = [], scan._scan_one
    monkeypatch.setattr(scan, "_scan_one", lambda *a: looked_at.append(a[-1][0]) or look(*a))

    with scan.scan_to_records(
        films,
        tmp_path / "again.jsonl",
        "rapidocr",
        means=Means(n_workers=2),
        known={name: known[name] for name in ("word", "broken", "absent")},
    ) as records:
        scan.write_scan(records, films, tmp_path / "again.jsonl")

    assert looked_at == ["blank"]  # alone, and so in this process
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_two_workers_see_what_one_sees(films):
    alone = list(scan_films(films, "rapidocr", n_workers=1))

    assert list(scan_films(films, "rapidocr", n_workers=2)) == alone


def test_progress_counts_every_film(films):
    calls = []

    list(scan_films(films, "rapidocr", progress=lambda done, total: calls.append((done, total))))

    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_rejected_regions_are_recorded(films):
    (record,) = scan_films(films[:1], "rapidocr", {"max_area_share": 0.001})

    assert record.regions == ()
    assert record.rejected[0][1].startswith("film scale")


def test_films_are_read_as_they_are_asked_for(tmp_path, word_film):
    path = tmp_path / "later.png"
    records = scan_films([("later", path)], "rapidocr")
    cv2.imwrite(str(path), word_film)

    assert next(records).error is None


def test_nothing_to_scan_gives_nothing():
    assert list(scan_films([], "rapidocr", n_workers=4)) == []


def test_wrong_detector_fails_before_any_film_is_read(films):
    with pytest.raises(CatalogError, match="did you mean 'craft'"):
        scan_films(films, "crafty")


def test_missing_weights_fail_in_this_process(films, tmp_path):
    with pytest.raises(CheckpointError, match="are not there"):
        scan_films(films, "craft", {"weights": str(tmp_path / "none.pth")}, n_workers=2)


def test_no_workers_is_refused(films):
    with pytest.raises(InputContractError, match="n_workers is 0"):
        scan_films(films, "rapidocr", n_workers=0)


def test_detector_fault_is_a_record(films, monkeypatch):
    def fail(self, image):
        raise RuntimeError("network fault")

    monkeypatch.setattr(type(build_detector("rapidocr")), "_find", fail)

    records = list(scan_films(films[:1], "rapidocr"))

    assert records[0].error == "network fault"


def test_scan_to_file_writes_what_write_regions_writes(films, tmp_path):
    write_regions(tmp_path / "whole.jsonl", scan_films(films, "rapidocr"))

    scan_to_file(films, tmp_path / "out.jsonl", "rapidocr")

    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_scan_to_file_killed_in_the_middle_goes_on(films, tmp_path, monkeypatch):
    out, done = tmp_path / "out.jsonl", []

    def stop_after_two(n_done, n_total):
        if n_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_to_file(films, out, "rapidocr", means=Means(Told(stop_after_two)))
    assert not out.exists()

    scan_to_file(films, out, "rapidocr", means=Means(Told(lambda n_done, _: done.append(n_done))))

    assert done == [4]
    assert list(read_regions(out)) == ["word", "broken", "blank", "absent"]


@pytest.mark.parametrize("n", [1, 3, 9])
def test_shards_in_any_order_merge_to_the_same_bytes(films, tmp_path, n):
    scan_to_file(films, tmp_path / "whole.jsonl", "rapidocr")
    out = tmp_path / "out.jsonl"

    for index in reversed(range(1, n + 1)):
        with pytest.raises(ShardFinished):
            scan_to_file(films, out, "rapidocr", means=Means(n_workers=1, shard=Shard(index, n)))
    assert not out.exists()
    done = []
    scan_to_file(films, out, "rapidocr", means=Means(Told(lambda *told: done.append(told))))

    assert not done
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert [path.name for path in tmp_path.glob(".out*")] == []


def _die_on_blank(film):
    if film[0] == "blank":
        os._exit(1)
    return FilmRegions(film[0], 1, 1, ())


def test_scan_to_file_records_a_film_that_no_worker_survives(films, tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "_scan_in_worker", _die_on_blank)
    told = Told(lambda *_: None)

    scan_to_file(films, tmp_path / "out.jsonl", "strokes", means=Means(told, n_workers=2))

    found = read_regions(tmp_path / "out.jsonl")
    assert [film.image for film in found.values() if film.error] == ["blank"]
    assert "a worker process died twice on it" in found["blank"].error
    (warning,) = told.warnings
    assert warning.startswith("blank: ")


def test_scan_to_file_of_changed_films_starts_anew(films, tmp_path, word_film):
    out, done = tmp_path / "out.jsonl", []

    def stop(n_done, n_total):
        if n_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_to_file(films, out, "rapidocr", means=Means(Told(stop)))
    cv2.imwrite(str(tmp_path / "broken.png"), word_film)

    scan_to_file(films, out, "rapidocr", means=Means(Told(lambda n_done, _: done.append(n_done))))

    assert done == [1, 2, 3, 4]
    assert read_regions(out)["broken"].error is None
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_scan_to_file_of_unreadable_films_only_keeps_the_old_file(films, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("good\n")

    with pytest.raises(DataIntegrityError, match=r"none of 2 films could be read .*not written"):
        scan_to_file([films[1], films[3]], out, "strokes")
    assert out.read_text() == "good\n"
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_scan_to_file_of_a_film_that_changed_since_ingest_raises(films, tmp_path):
    (name, path), out = films[0], tmp_path / "out.jsonl"
    out.write_text("good\n")
    film = FilmFile(path, read_film(path).sha256, (0, 255))
    path.write_bytes(films[2][1].read_bytes())

    with pytest.raises(FilmChangedError, match=r"word\.png: film changed since ingest"):
        scan_to_file([films[2], (name, film)], out, "strokes")
    assert out.read_text() == "good\n"


def test_scan_to_file_refuses_a_folder_before_it_searches(films, tmp_path):
    with pytest.raises(ArtifactError, match=r"is a folder; expected a file .*regions\.jsonl in it"):
        scan_to_file(films, tmp_path, "rapidocr")
    assert list(tmp_path.parent.glob("*.partial")) == []


def test_scan_to_file_into_no_folder_says_what_to_do(films, tmp_path):
    with pytest.raises(ArtifactError, match="choose a writable folder"):
        scan_to_file(films, tmp_path / "absent" / "out.jsonl", "rapidocr")


def test_a_worker_of_the_default_detector_does_without_torch():
    code = (
        "import sys\n"
        "from covid_debug.text import contents, scan\n"
        "scan.limit_threads()\n"
        "scan.build_detector('marker').prepare()\n"
        "contents.build_content_reader().reader.prepare()\n"
        "sys.exit('torch' in sys.modules)\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
