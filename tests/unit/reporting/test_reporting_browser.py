"""The report's page in a real browser: review, export, and what cleaning makes of it."""

import json

import browser
import numpy as np
import pytest
import reporting_fakes as fakes

from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.decisions import read_decisions
from covid_debug.cleaning.film import CleaningParams
from covid_debug.data.filmset import load_filmset
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.reporting.report import add_decisions, build_report

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fakes.make_proof(folder / "cleaning-proof-1")
    request = fakes.make_request(folder, proof=folder / "cleaning-proof-1")
    return request, build_report(folder / "reports" / "demo-1", request)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def click(page, film, decision):
    page.run(
        f"document.querySelector('[data-id=\"{film}\"] [data-region-decide={decision}]').click()"
    )


def export(page):
    page.catch_downloads()
    target = page.downloads / "decisions.jsonl"
    target.unlink(missing_ok=True)
    page.run("document.querySelector('[data-export=jsonl]').click()")
    page.wait(lambda: target.is_file() and target.stat().st_size)
    return target


def test_decisions_about_regions_go_from_the_page_into_the_cleaned_films(run, page, tmp_path):
    request, report = run
    ids = [film.image_id for film in load_filmset(request.filmset).films]
    page.open(report)
    page.run("document.getElementById('reviewer').value = 'AB'")
    click(page, ids[0], "keep")
    click(page, ids[1], "reject")
    click(page, ids[2], "accept")
    exported = export(page)

    original = load_filmset(request.filmset)
    regions = read_regions(request.regions)
    cleaned = clean_filmset(
        original,
        regions,
        CleaningParams(),
        tmp_path / "clean",
        decisions=read_decisions(exported),
    )
    lines = (cleaned.root / "regions.jsonl").read_text().splitlines()
    rejected = [json.loads(line)["rejected"] for line in lines]
    changed = [
        bool(np.any(read_film(a).pixels != read_film(b).pixels))
        for a, b in zip(
            map(original.path_of, original.films), map(cleaned.path_of, cleaned.films), strict=True
        )
    ]

    assert changed == [False, False, True, True]
    assert [row[0]["reason"] for row in rejected if row] == ["kept by AB", "rejected by AB"]
    assert page.problems == []


def test_exported_decisions_are_shown_again_and_exported_unchanged(run, page, tmp_path):
    request, report = run
    image_id = load_filmset(request.filmset).films[3].image_id
    lines = [
        {"image_id": image_id, "decision": "unsure", "reviewer": "CD", "note": "n"},
        {
            "image_id": image_id,
            "decision": "add",
            "reviewer": "CD",
            "note": "",
            "box": [1, 2, 3, 4],
        },
        {
            "image_id": image_id,
            "decision": "keep",
            "reviewer": "CD",
            "note": "",
            "region_index": 0,
            "box": [5, 20, 15, 26],
        },
    ]
    source = tmp_path / "decisions.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))

    page.open(add_decisions(report.parent, read_decisions(source)))
    page.run("localStorage.clear()")
    page.reload()

    counted = page.run("document.getElementById('count').textContent")
    assert "1 reviewed, 2 regions decided" in counted
    pressed = f'[data-id="{image_id}"] [aria-pressed=true]'
    assert page.run(
        f"[...document.querySelectorAll('{pressed}')].map((b) => b.textContent.trim()).join()"
    ).endswith("Keep,u Unsure")
    again = [json.loads(line) for line in export(page).read_text().splitlines()]
    assert sorted(again, key=str) == sorted(lines, key=str)


def test_digit_steps_a_region_through_the_choices_and_back(fresh):
    page = fresh
    state = "document.querySelector('.card.current polygon').dataset.state"
    page.press("j")
    seen = []
    for _ in range(4):
        page.press("1")
        seen.append(page.run(state))

    assert seen == ["accept", "keep", "reject", ""]


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_page_fits_the_window(run, page, width):
    page.open(run[1])
    page.resize(width, 900)

    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.problems == []


@pytest.fixture
def fresh(run, page):
    """The report without any decision, as a reviewer opens it for the first time."""
    page.resize(1280, 900)
    page.open(run[1])
    page.run("localStorage.clear()")
    page.reload()
    return page


def press(page, keys):
    for key in keys:
        page.press(key)


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


CURRENT = "document.querySelector('.card.current')?.dataset.rank"


@pytest.fixture
def framed(run, page, tmp_path):
    """The report as MLflow shows it: in a frame that may run scripts and nothing else."""
    text = json.dumps(run[1].read_text()).replace("<", "\\u003c")
    wrapper = tmp_path / "viewer.html"
    wrapper.write_text(
        "<iframe id=frame sandbox='allow-scripts' width=1200 height=800></iframe><script>"
        f"frame.src = URL.createObjectURL(new Blob([{text}], {{type: 'text/html'}}))</script>"
    )
    page.resize(1280, 900)
    page.open(wrapper)
    with page.inside_frame():
        yield page


def test_sandboxed_frame_says_that_decisions_last_only_while_the_page_is_open(framed):
    note = "document.getElementById('storage-note')"

    assert framed.run(f"{note}.checkVisibility()")
    assert "kept only while this page is open" in framed.run(f"{note}.textContent")
    assert "stay in this browser" not in framed.run("document.body.innerText")


def test_sandboxed_frame_exports_the_decisions_as_text_to_copy(framed):
    framed.run("document.querySelector('[data-decide=reject]').click()")
    framed.run("document.querySelector('[data-export=jsonl]').click()")

    assert framed.run("document.getElementById('export').checkVisibility()")
    (row,) = rows_of(framed.run("document.querySelector('#export textarea').value"))
    assert (row["decision"], row["reviewer"]) == ("reject", "")


def test_sandboxed_frame_warns_of_leaving_with_decisions_that_were_not_copied(framed):
    leave = "!window.dispatchEvent(new Event('beforeunload', {cancelable: true}))"
    warns = [framed.run(leave)]
    framed.run("document.querySelector('[data-decide=reject]').click()")
    framed.run("document.querySelector('[data-export=jsonl]').click()")
    warns.append(framed.run(leave))
    framed.run("document.querySelector('#export textarea').dispatchEvent(new Event('copy'))")
    warns.append(framed.run(leave))

    assert warns == [False, True, False]


def test_sandboxed_frame_section_links_scroll(framed):
    framed.run("document.documentElement.style.scrollBehavior = 'auto'")
    framed.run("document.querySelector('nav a[href=\"#provenance\"]').click()")

    assert framed.run("document.getElementById('provenance').getBoundingClientRect().top") < 800


def test_page_with_storage_says_nothing_about_it_and_keeps_decisions(fresh):
    fresh.run("document.querySelector('[data-decide=reject]').click()")
    fresh.reload()

    assert not fresh.run("document.getElementById('storage-note').checkVisibility()")
    assert "1 reviewed" in fresh.run("document.getElementById('count').textContent")


def test_enlarged_view_takes_the_same_keys_as_the_list(fresh):
    open_ = "document.getElementById('zoom').open"
    title = "document.getElementById('zoom-title').textContent"
    press(fresh, "jz")
    first = fresh.run(title)
    press(fresh, "jab1")

    assert fresh.run(CURRENT) == "2"
    assert fresh.run(title) != first
    assert "accepted" in fresh.run(title)
    assert fresh.run("document.querySelector('#zoom polygon').dataset.state") == "accept"
    assert fresh.run("document.body.classList.contains('no-outlines')")
    press(fresh, "kz")
    assert (fresh.run(CURRENT), fresh.run(open_)) == ("1", False)


def test_enlarged_view_closes_on_escape_and_the_keyboard_goes_on(fresh):
    press(fresh, ["j", "z", "Escape"])
    assert not fresh.run("document.getElementById('zoom').open")
    press(fresh, "j")

    assert fresh.run(CURRENT) == "2"


def test_j_after_a_filter_was_chosen_goes_to_the_next_film(fresh):
    fresh.run("document.getElementById('sort').focus()")
    press(fresh, "jj")

    assert fresh.run(CURRENT) == "2"


def test_reviewer_typed_after_deciding_is_on_those_decisions_too(fresh):
    fresh.run("document.querySelector('[data-decide=reject]').click()")
    fresh.run("document.getElementById('reviewer').focus()")
    press(fresh, "MK")
    (row,) = rows_of(export(fresh).read_text())

    assert row["reviewer"] == "MK"


def test_reviewer_is_not_put_on_decisions_that_came_with_the_report(run, page, tmp_path):
    image_id = load_filmset(run[0].filmset).films[0].image_id
    source = tmp_path / "decisions.jsonl"
    source.write_text(json.dumps({"image_id": image_id, "decision": "reject", "reviewer": ""}))
    page.open(add_decisions(run[1].parent, read_decisions(source)))
    page.run("localStorage.clear()")
    page.reload()
    page.run("document.getElementById('reviewer').value = 'MK'")

    assert [row["reviewer"] for row in rows_of(export(page).read_text())] == [""]


def test_decided_film_leaves_the_films_not_reviewed_and_the_next_one_follows(fresh):
    fresh.run(
        "const filter = document.querySelector('[data-filter=decision]'); filter.value = 'none';"
        "filter.dispatchEvent(new Event('change'))"
    )
    press(fresh, "ja")

    assert fresh.run("document.querySelectorAll('.card:not([hidden])').length") == 3
    assert fresh.run(CURRENT) == "2"
    press(fresh, "zr")
    assert (fresh.run(CURRENT), fresh.run("document.getElementById('zoom').open")) == ("3", True)
