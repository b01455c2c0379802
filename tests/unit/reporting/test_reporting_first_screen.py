"""What stands on the report's first screen, and in which order."""

import re
from pathlib import Path

import browser
import pytest
import reporting_fakes as fakes

from covid_debug.reporting.report import build_report

_WORDS = re.compile(r'class="asked">([^<]*)</span> <b>([^<]*)</b>')


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fakes.make_proof(folder / "cleaning-proof-1")
    request = fakes.make_request(folder, proof=folder / "cleaning-proof-1")
    return build_report(folder / "reports" / "demo-1", request)


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return report.read_text()


def test_first_screen_answers_three_questions_with_a_word_each(page: str) -> None:
    assert _WORDS.findall(page) == [
        ("Does text drive the predictions?", "Some of them"),
        ("May I believe it?", "With care"),
        ("Did cleaning help?", "Improved, where measured"),
    ]


def test_first_screen_stands_in_order_before_everything_that_is_folded(page: str) -> None:
    marks = [
        '<div class="answers">',
        '<ul class="alarms">',
        'class="metrics first-table"',
        '<ul class="first-films">',
        '<div class="folded">',
        'class="plain questions"',
        '<section id="text">',
    ]

    places = [page.index(mark) for mark in marks]

    assert places == sorted(places)


def test_first_screen_links_a_critical_finding_to_its_section(page: str) -> None:
    assert '<a href="#cleaning">Critical, cleaning</a>: number, size and place' in page
    assert '<section id="cleaning">' in page


def test_first_screen_links_three_films_to_their_cards(page: str) -> None:
    films = page[page.index('<ul class="first-films">') : page.index('<div class="folded">')]

    assert re.findall(r'href="#([^"]*)"', films) == ["film-1", "film-2", "film-3"]
    assert films.count('src="data:image/jpeg') == 3
    assert all(f'id="film-{n}"' in page for n in (1, 2, 3))


def test_first_screen_table_has_original_and_cleaned_first(tmp_path: Path) -> None:
    comparison = fakes.make_comparison(("original", "text_free", "text_swapped", "cleaned"))
    request = fakes.make_request(tmp_path, comparison=comparison)

    page = build_report(tmp_path / "out", request).read_text()
    table = page[page.index("first-table") : page.index("</table>", page.index("first-table"))]

    assert re.findall(r"tested on <b>([^<]*)</b>", table) == ["original", "cleaned"]
    assert re.findall(r'<th scope="row">([^<]*)</th>', table) == ["original", "cleaned"]
    assert "2 kinds of training films on 4 versions of the test films below" in page


def test_first_screen_of_one_seed_gives_no_verdict(tmp_path: Path) -> None:
    request = fakes.make_request(tmp_path, comparison=fakes.make_comparison(seeds=(0,)))

    page = build_report(tmp_path / "out", request).read_text()

    assert _WORDS.findall(page)[2] == ("Did cleaning help?", "One seed: no verdict")


def test_first_screen_without_audit_and_comparison_claims_nothing(tmp_path: Path) -> None:
    request = fakes.make_request(
        tmp_path, audit=None, audits={}, cleaned=None, comparison=None, confounds=None
    )

    page = build_report(tmp_path / "out", request).read_text()

    assert [word for _, word in _WORDS.findall(page)] == ["Not known", "Not known", "Not asked"]
    assert "first-table" not in page.split("</style>")[1]
    assert '<ul class="first-films">' not in page


@pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")
def test_first_screen_needs_no_scrolling_and_the_rest_is_folded(report: Path) -> None:
    with browser.launch() as chromium, browser.new_page(chromium, size=(1440, 900)) as opened:
        browser.show(opened, report)

        for part in (".answers", ".alarms", ".first-table", ".first-films"):
            box = opened.locator(part).first.bounding_box()
            assert box["y"] + box["height"] <= 900, part
        assert opened.locator("#summary .questions").is_hidden()
        opened.get_by_text("The questions, fixed before the training").click()
        assert opened.locator("#summary .questions").is_visible()
        opened.get_by_text("Does text drive the predictions?").click()
        assert opened.locator("#summary .answer").first.locator("li").first.is_visible()
        opened.emulate_media(media="print")
        assert opened.locator("#summary .train-test").is_visible()


@pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")
def test_first_screen_fits_a_phone(report: Path) -> None:
    with browser.launch() as chromium, browser.new_page(chromium, size=(390, 844)) as opened:
        browser.show(opened, report)

        assert opened.evaluate("document.documentElement.scrollWidth") <= 390
