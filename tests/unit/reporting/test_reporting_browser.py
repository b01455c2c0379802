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
from covid_debug.reporting import decisions
from covid_debug.reporting.report import add_decisions, build_report

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fakes.make_proof(folder / "cleaning-proof-1")
    inputs = fakes.make_inputs(folder, proof=folder / "cleaning-proof-1")
    return inputs, build_report(folder / "reports" / "demo-1", inputs)


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
    inputs, report = run
    ids = [film.image_id for film in load_filmset(inputs.filmset).films]
    page.open(report)
    page.run("document.getElementById('reviewer').value = 'AB'")
    click(page, ids[0], "keep")
    click(page, ids[1], "reject")
    click(page, ids[2], "accept")
    exported = export(page)

    original = load_filmset(inputs.filmset)
    regions = read_regions(inputs.regions)
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
    inputs, report = run
    image_id = load_filmset(inputs.filmset).films[3].image_id
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

    page.open(add_decisions(report.parent, decisions.read_decisions(source)))
    page.run("localStorage.clear()")
    page.send("Page.reload")
    page.wait(
        lambda: page.run("document.getElementById('count')?.textContent.includes('1 reviewed')")
    )

    assert "2 regions decided" in page.run("document.getElementById('count').textContent")
    pressed = f'[data-id="{image_id}"] [aria-pressed=true]'
    assert page.run(
        f"[...document.querySelectorAll('{pressed}')].map((b) => b.textContent.trim()).join()"
    ).endswith("Keep,u Unsure")
    again = [json.loads(line) for line in export(page).read_text().splitlines()]
    assert sorted(again, key=str) == sorted(lines, key=str)


def test_digit_steps_a_region_through_the_choices_and_back(run, page):
    page.open(run[1])
    page.run("localStorage.clear()")
    page.send("Page.reload")
    page.wait(lambda: page.run("document.readyState") == "complete")
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
