"""The report's page in a real browser: looking, deciding, and what cleaning makes of it."""

import json
import re

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

_MAP = '.map[data-of-map="1"]'

pytestmark = pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fakes.make_proof(folder / "cleaning-proof-1")
    request = fakes.make_request(folder, proof=folder / "cleaning-proof-1")
    return request, build_report(folder / "reports" / "demo-1", request)


@pytest.fixture(scope="module")
def chromium():
    with browser.launch() as opened:
        yield opened


@pytest.fixture
def empty(chromium):
    """A page that shows nothing yet."""
    with browser.new_page(chromium) as page:
        yield page


@pytest.fixture
def page(run, empty):
    """The report as a reviewer opens it for the first time, who then gave a name."""
    browser.show(empty, run[1])
    empty.fill("#reviewer", "MK")
    empty.locator("#reviewer").blur()
    return empty


def press(page, keys):
    for key in keys:
        page.keyboard.press(key)


def current(page):
    """Return the number of the current film; none is 0."""
    found = page.locator(".card.current")
    return int(found.get_attribute("data-rank")) if found.count() else 0


def shown(page):
    return [
        int(card.get_attribute("data-rank")) for card in page.locator(".card:not([hidden])").all()
    ]


def decision_of(page, number):
    return page.locator(f"#film-{number} .decided").text_content()


def export(page, kind="jsonl"):
    with page.expect_download() as download:
        page.click(f"[data-export={kind}]")
    return download.value.path()


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def is_full(page):
    return page.locator("body.full").count() == 1


# ---- from the page into the films, and back


def test_decisions_about_regions_go_from_the_page_into_the_cleaned_films(run, page, tmp_path):
    ids = [film.image_id for film in load_filmset(run[0].filmset).films]
    for image_id, decision in zip(ids, ("keep", "reject", "accept"), strict=False):
        page.click(f'[data-id="{image_id}"] [data-region-decide={decision}]')

    original = load_filmset(run[0].filmset)
    cleaned = clean_filmset(
        original,
        read_regions(run[0].regions),
        CleaningParams(),
        tmp_path / "clean",
        decisions=read_decisions(export(page)),
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
    assert [row[0]["reason"] for row in rejected if row] == ["kept by MK", "rejected by MK"]


def test_exported_decisions_are_shown_again_and_exported_unchanged(run, empty, tmp_path):
    image_id = load_filmset(run[0].filmset).films[3].image_id
    about = {"image_id": image_id, "reviewer": "CD"}
    lines = [
        {**about, "decision": "unsure", "note": "n"},
        {**about, "decision": "add", "note": "", "box": [1, 2, 3, 4]},
        {**about, "decision": "keep", "note": "", "region_index": 0, "box": [5, 20, 15, 26]},
    ]
    source = tmp_path / "decisions.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))

    browser.show(empty, add_decisions(run[1].parent, read_decisions(source)))

    assert "1 reviewed · 2 regions" in empty.text_content("#count")
    pressed = empty.locator(f'[data-id="{image_id}"] [aria-pressed=true]')
    assert pressed.all_text_contents() == ["u Unsure", "Keep"]
    again = rows_of(export(empty).read_text())
    assert sorted(again, key=str) == sorted(lines, key=str)


def test_decision_that_came_with_the_report_and_is_taken_back_stays_so(run, empty, tmp_path):
    image_id = load_filmset(run[0].filmset).films[0].image_id
    source = tmp_path / "decisions.jsonl"
    source.write_text(json.dumps({"image_id": image_id, "decision": "reject", "reviewer": "CD"}))
    browser.show(empty, add_decisions(run[1].parent, read_decisions(source)))
    empty.fill("#reviewer", "MK")
    empty.click(f'[data-id="{image_id}"] [data-decide=reject]')
    empty.reload()

    assert "0 reviewed" in empty.text_content("#count")
    assert empty.inner_text("#differ-note").startswith("Changed in this browser")
    assert empty.inner_text("#differ-count") == "1"
    empty.click("#differ-take")
    assert decision_of(empty, 1) == "rejected"
    assert not empty.is_visible("#differ-note")


def test_reviewer_is_not_put_on_decisions_that_came_with_the_report(run, empty, tmp_path):
    image_id = load_filmset(run[0].filmset).films[0].image_id
    source = tmp_path / "decisions.jsonl"
    source.write_text(json.dumps({"image_id": image_id, "decision": "reject", "reviewer": ""}))
    browser.show(empty, add_decisions(run[1].parent, read_decisions(source)))
    empty.fill("#reviewer", "MK")

    assert [row["reviewer"] for row in rows_of(export(empty).read_text())] == [""]


def test_note_on_a_decision_that_came_with_the_report_leaves_it_its_reviewers(run, empty, tmp_path):
    image_id = load_filmset(run[0].filmset).films[0].image_id
    source = tmp_path / "decisions.jsonl"
    source.write_text(json.dumps({"image_id": image_id, "decision": "reject", "reviewer": "AB"}))
    browser.show(empty, add_decisions(run[1].parent, read_decisions(source)))
    empty.fill("#reviewer", "MK")
    empty.fill("#film-1 .note-field", "a wire")

    (row,) = rows_of(export(empty).read_text())
    assert (row["reviewer"], row["note"]) == ("AB", "a wire")


def test_undo_of_decisions_about_films_without_a_card_says_so(run, empty, tmp_path):
    image_id = load_filmset(run[0].filmset).films[0].image_id
    source = tmp_path / "decisions.jsonl"
    for answer in ("reject", "accept"):
        films = [{"image_id": one, "decision": answer} for one in (image_id, "elsewhere")]
        source.write_text("\n".join(map(json.dumps, films)))
        browser.show(empty, add_decisions(run[1].parent, read_decisions(source)))
        if answer == "reject":
            empty.fill("#reviewer", "MK")  # the browser keeps what it shows
            empty.locator("#reviewer").blur()

    assert empty.inner_text("#differ-count") == "2"
    empty.click("#differ-take")
    empty.click("#undo")
    assert decision_of(empty, 1) == "rejected"


# ---- deciding by keyboard


def test_reviewer_is_asked_before_the_first_decision_and_not_again(run, empty):
    browser.show(empty, run[1])
    press(empty, "ja")
    assert decision_of(empty, 1) == ""
    empty.keyboard.type("MK")
    press(empty, ["Enter", "r"])

    assert (decision_of(empty, 1), decision_of(empty, 2)) == ("accepted", "rejected")
    assert {row["reviewer"] for row in rows_of(export(empty).read_text())} == {"MK"}


def test_reviewer_who_gives_no_name_first_may_give_it_later(run, empty):
    browser.show(empty, run[1])
    press(empty, "ja")
    empty.click("text=Go on without a name")
    empty.fill("#reviewer", "MK")

    assert [row["reviewer"] for row in rows_of(export(empty).read_text())] == ["MK"]


def test_reviewer_whose_name_is_typed_later_signs_with_all_of_it(run, empty):
    browser.show(empty, run[1])
    empty.click("#film-1 [data-decide=accept]")
    empty.click("#who [data-close=no]")
    empty.click("#reviewer")
    empty.keyboard.type("MK")

    assert {row["reviewer"] for row in rows_of(export(empty).read_text())} == {"MK"}


def test_decision_goes_on_to_the_next_film_unless_switched_off(page):
    press(page, "ja")
    assert (decision_of(page, 1), current(page)) == ("accepted", 2)
    page.uncheck("#advance")
    press(page, "r")

    assert (decision_of(page, 2), current(page)) == ("rejected", 2)
    press(page, "r")  # takes it back
    assert decision_of(page, 2) == ""


def test_undo_takes_decisions_back_one_by_one_and_returns_to_their_film(page):
    press(page, ["j", "a", "r", "1", "Control+z"])
    assert page.locator("#film-3 polygon").get_attribute("data-state") == ""
    press(page, ["Control+z"])
    assert (decision_of(page, 2), current(page)) == ("", 2)
    page.click("#undo")

    assert (decision_of(page, 1), current(page)) == ("", 1)
    assert page.is_disabled("#undo")


def test_undo_leaves_a_note_that_was_written_meanwhile(page):
    press(page, ["j", "a", "k", "n"])
    page.keyboard.type("odd")
    press(page, ["Escape", "Control+z"])

    assert page.input_value("#film-1 .note-field") == "odd"
    page.reload()
    assert page.input_value("#film-1 .note-field") == "odd"


def test_digit_steps_a_region_through_the_choices_and_back(page):
    press(page, "j")
    seen = []
    for _ in range(4):
        press(page, "1")
        seen.append(page.locator(".card.current polygon").get_attribute("data-state"))

    assert seen == ["accept", "keep", "reject", ""]


def test_decided_film_leaves_the_films_not_reviewed_and_the_next_one_follows(page):
    page.select_option("[data-filter=decision]", "none")
    press(page, "ja")

    assert shown(page) == [2, 3, 4]
    assert current(page) == 2
    press(page, "zr")
    assert (current(page), is_full(page)) == (3, True)
    press(page, "ur")
    assert page.is_visible("#none")
    assert not is_full(page)


def test_j_after_a_filter_was_chosen_goes_to_the_next_film(page):
    page.focus("#sort")
    press(page, "jj")

    assert current(page) == 2


def test_j_puts_every_film_at_the_same_place(page):
    places = []
    for _ in range(3):
        press(page, "j")
        places.append(page.locator(".card.current").bounding_box()["y"])
    page.reload()
    places.append(page.locator(".card.current").bounding_box()["y"])

    assert max(places) - min(places) <= 2


# ---- looking


def test_one_film_fills_the_window_and_takes_the_same_keys(page):
    press(page, "jz")
    assert is_full(page)
    box = page.locator(".card.current .stage").bounding_box()
    assert box["height"] > 600
    press(page, "ab1")

    assert (current(page), decision_of(page, 1)) == (2, "accepted")
    assert page.locator(".card.current polygon").get_attribute("data-state") == "accept"
    assert page.locator("body.no-outlines").count() == 1
    assert [card.get_attribute("data-rank") for card in page.locator(".card:visible").all()] == [
        "2"
    ]
    press(page, ["n"])
    page.keyboard.type("seen")
    press(page, ["Escape", "k", "z"])
    assert (current(page), is_full(page)) == (1, False)
    press(page, ["z", "Escape", "j"])
    assert (current(page), is_full(page)) == (2, False)


def test_film_map_and_cleaned_film_lie_in_one_frame(run, page):
    press(page, "j")
    card = page.locator(".card.current")
    film, evidence = (card.locator(part).bounding_box() for part in (".film", _MAP))

    # the model's view of a film of 40 x 50 pixels is the square from row 7
    assert evidence["width"] == pytest.approx(film["width"], abs=1)
    assert evidence["height"] == pytest.approx(film["height"] * 40 / 50, abs=1)
    assert evidence["y"] - film["y"] == pytest.approx(film["height"] * 7 / 50, abs=1)
    assert film["height"] >= 512


def test_maps_have_an_opacity_and_a_key_that_goes_from_one_to_the_next(page):
    press(page, "j")
    read = (
        "[...document.querySelectorAll('.card.current .map')].map((map) =>"
        " map.checkVisibility() ? getComputedStyle(map).opacity : '')"
    )
    name = page.locator("#map-name")
    page.fill("#opacity", "40")
    seen = [(name.text_content(), *page.evaluate(read))]
    for _ in range(3):
        press(page, "m")
        seen.append((name.text_content(), *page.evaluate(read)))

    assert seen == [
        ("Map: iGOS++", "0.4", ""),
        ("Map: Path gradient", "", "0.4"),
        ("Map: none", "", "0"),
        ("Map: iGOS++", "0.4", ""),
    ]


def test_a_click_on_a_small_map_lays_it_over_every_film_and_a_reload_keeps_it(page):
    small = page.locator("#film-1 .pick")
    assert small.count() == 2
    first, second = (small.nth(i).bounding_box() for i in range(2))
    assert first["y"] == second["y"]  # side by side
    press(page, "m")
    small.nth(1).click()

    assert page.text_content("#map-name") == "Map: Path gradient"
    assert small.nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator("#film-1 figcaption").inner_text().startswith("Path gradient: evidence map")
    page.reload()
    assert page.text_content("#map-name") == "Map: Path gradient"


def test_c_shows_the_cleaned_film_at_its_place_and_the_next_film_is_original(tmp_path, empty):
    cleaned = fakes.make_filmset(
        tmp_path / "cleaned-2", draw=lambda i: fakes.draw_film(i, text=60)
    ).root
    request = fakes.make_request(tmp_path, comparison=None, confounds=None, cleaned=cleaned)
    browser.show(empty, build_report(tmp_path / "out", request))
    press(empty, "j")
    patch = empty.locator(".card.current .patch")
    assert not patch.is_visible()
    press(empty, "c")

    assert patch.is_visible()
    assert "cleaned" in empty.text_content("#said")
    film, box = empty.locator(".card.current .film").bounding_box(), patch.bounding_box()
    assert box["x"] - film["x"] == pytest.approx(film["width"] * 3 / 40, abs=1)  # 2 px margin
    assert box["height"] == pytest.approx(film["height"] * 10 / 50, abs=1)
    press(empty, "jk")
    assert not patch.is_visible()


def test_keys_wheel_and_drag_zoom_and_move_all_layers_together(page):
    press(page, "j")
    size = lambda part: page.locator(f".card.current {part}").bounding_box()  # noqa: E731
    film, evidence = size(".film"), size(_MAP)
    press(page, "+")
    assert size(".film")["width"] == pytest.approx(1.5 * film["width"], rel=0.01)
    assert size(_MAP)["width"] == pytest.approx(1.5 * evidence["width"], rel=0.01)
    left = size(".film")["x"]
    press(page, ["ArrowLeft"])
    assert size(".film")["x"] > left
    press(page, "0")
    assert size(".film") == film

    press(page, "z")
    stage, full = size(".stage"), size(".film")
    page.mouse.move(stage["x"] + 100, stage["y"] + 100)
    page.mouse.wheel(0, -600)
    page.wait_for_function(
        "(w) => document.querySelector('.current .film').getBoundingClientRect().width > 2 * w",
        arg=full["width"],
    )
    before = size(".film")
    page.mouse.down()
    page.mouse.move(stage["x"] + 160, stage["y"] + 130, steps=4)
    page.mouse.up()
    after = size(".film")
    moved = (after["x"] - before["x"], after["y"] - before["y"])
    assert moved != (0, 0)
    assert is_full(page)
    press(page, "j")
    assert size(".film")["width"] == pytest.approx(full["width"], rel=0.01)


# ---- filters, search, bulk, scatter plot, grid


def test_number_fields_and_search_choose_films(page):
    page.fill('[data-range="drop"][data-side="low"]', "0.25")
    assert shown(page) == [1, 4]
    page.click("[data-clear] >> visible=true")
    page.fill("#search", "F1 cohen")
    assert shown(page) == [4]
    page.fill("#search", "nothing like it")

    assert shown(page) == []
    assert page.is_visible("#none")
    page.click("#none [data-clear]")
    assert shown(page) == [1, 2, 3, 4]


def test_search_finds_a_note(page):
    page.fill("#film-3 .note-field", "Odd marker")
    page.fill("#search", "odd")

    assert shown(page) == [3]


def test_bulk_decision_says_how_many_keeps_what_is_decided_and_can_be_undone(page):
    press(page, "jr")
    page.fill('[data-range="drop"][data-side="low"]', "0.18")
    page.click("[data-all=accept]")
    assert "2 films" in page.text_content("#sure h3")
    assert "1 of the 3 films shown" in page.text_content("#sure p")
    page.click("#sure [data-close=yes]")

    decided = [decision_of(page, number) for number in (1, 2, 3, 4)]
    assert decided == ["rejected", "accepted", "", "accepted"]
    press(page, ["Control+z"])
    assert [decision_of(page, number) for number in (1, 2, 3, 4)] == ["rejected", "", "", ""]


def test_bulk_decision_that_is_cancelled_decides_nothing(page):
    page.click("[data-all=reject]")
    press(page, ["Escape"])

    assert "0 reviewed" in page.text_content("#count")


def test_point_opens_its_film_and_a_rectangle_chooses_films(page):
    page.locator("#scatter").scroll_into_view_if_needed()
    box = page.locator("#scatter").bounding_box()
    scale = box["width"] / 330
    dot = page.locator('#scatter circle[data-card="2"]')
    x, y = (float(dot.get_attribute(name)) for name in ("cx", "cy"))
    page.mouse.click(box["x"] + x * scale, box["y"] + y * scale)
    assert current(page) == 2

    page.evaluate("() => document.getElementById('scatter').scrollIntoView({block: 'center'})")
    box = page.locator("#scatter").bounding_box()
    corner = (box["x"] + (x - 8) * scale, box["y"] + (y - 8) * scale)
    page.mouse.move(*corner)
    page.mouse.down()
    page.mouse.move(corner[0] + 16 * scale, corner[1] + 16 * scale, steps=3)
    page.mouse.up()

    assert shown(page) == [2]
    assert page.input_value('[data-range="without"][data-side="low"]') != ""


def test_grid_shows_films_small_and_takes_the_keys(page):
    press(page, "jg")
    boxes = [card.bounding_box() for card in page.locator(".card").all()]
    assert len({round(box["y"]) for box in boxes}) == 1
    press(page, "a")
    assert (decision_of(page, 1), current(page)) == ("accepted", 2)
    press(page, "zz")
    assert page.locator("#card-list.grid").count() == 1


# ---- over a reload


def test_reload_keeps_filters_sorting_place_and_decisions(page):
    page.select_option("#sort", "name")
    page.fill('[data-range="drop"][data-side="low"]', "0.18")
    page.fill("#opacity", "20")
    press(page, ["Escape", "j", "j", "a", "g"])
    page.reload()

    assert shown(page) == [1, 4, 2]
    assert (current(page), decision_of(page, 4)) == (2, "accepted")
    assert page.input_value("#sort") == "name"
    assert page.input_value("#opacity") == "20"
    assert page.locator("#card-list.grid").count() == 1
    assert page.locator(".card.current").bounding_box()["y"] < 900
    assert page.input_value("#reviewer") == "MK"


def test_reload_of_a_film_that_fills_the_window_shows_it_again(page):
    press(page, "jjz")
    page.reload()

    assert (current(page), is_full(page)) == (2, True)


def test_link_to_a_film_opens_it_past_the_filters(run, page):
    page.fill("#search", "f0")
    page.evaluate(
        "() => { const a = document.createElement('a'); a.href = '#film-3'; a.id = 'to';"
        " a.textContent = 'x'; document.querySelector('#cards p').append(a); }"
    )
    page.click("#to")
    assert current(page) == 3

    page.goto("about:blank")
    page.goto(run[1].resolve().as_uri() + "#film-2")
    assert current(page) == 2


# ---- inside a frame that may run scripts and nothing else


@pytest.fixture
def framed(run, empty, tmp_path):
    """The report as MLflow shows it."""
    text = json.dumps(run[1].read_text()).replace("<", "\\u003c")
    wrapper = tmp_path / "viewer.html"
    wrapper.write_text(
        "<iframe id=frame sandbox='allow-scripts' width=1200 height=800></iframe><script>"
        f"frame.src = URL.createObjectURL(new Blob([{text}], {{type: 'text/html'}}))</script>"
    )
    browser.show(empty, wrapper)
    frame = empty.locator("#frame").element_handle().content_frame()
    frame.wait_for_selector("#theme:not([hidden])")
    return frame


def test_sandboxed_frame_says_that_decisions_last_only_while_the_page_is_open(framed):
    assert "kept only while this page is open" in framed.inner_text("#storage-note")
    assert not framed.is_visible("#storage-kept")


def test_sandboxed_frame_exports_the_decisions_as_text_to_copy(framed):
    framed.click("#film-1 [data-decide=reject]")
    framed.click("#who [data-close=no]")
    framed.click("[data-export=jsonl]")

    assert framed.is_visible("#export")
    (row,) = rows_of(framed.input_value("#export textarea"))
    assert (row["decision"], row["reviewer"]) == ("reject", "")
    framed.click("#export [data-close]")
    assert not framed.is_visible("#export")


def test_sandboxed_frame_warns_of_leaving_with_decisions_that_were_not_copied(framed):
    leave = "() => !window.dispatchEvent(new Event('beforeunload', {cancelable: true}))"
    warns = [framed.evaluate(leave)]
    framed.fill("#reviewer", "MK")
    framed.click("#film-1 [data-decide=reject]")
    framed.click("[data-export=jsonl]")
    warns.append(framed.evaluate(leave))
    framed.evaluate(
        "() => document.querySelector('#export textarea').dispatchEvent(new Event('copy'))"
    )
    warns.append(framed.evaluate(leave))

    assert warns == [False, True, False]


def test_sandboxed_frame_links_and_keys_work(framed):
    framed.click('nav a[href="#provenance"]')
    framed.wait_for_function(
        "() => document.getElementById('provenance').getBoundingClientRect().top < 800"
    )
    framed.fill("#reviewer", "MK")
    framed.locator("#reviewer").blur()
    for key in "jza":
        framed.locator("body").press(key)

    assert framed.text_content("#film-1 .decided") == "accepted"


# ---- for everyone


@pytest.mark.parametrize(
    ("scheme", "width", "states"),
    [("light", 1280, ("", "z", "zg")), ("dark", 1280, ("", "z")), ("light", 390, ("",))],
)
def test_page_has_no_barrier_that_axe_finds(run, chromium, scheme, width, states):
    look = {"color_scheme": scheme, "size": (width, 900), "bypass_csp": True}
    with browser.new_page(chromium, **look) as page:
        browser.show(page, run[1])
        page.fill("#reviewer", "MK")
        page.locator("#reviewer").blur()
        press(page, "jak1")
        page.evaluate(
            "() => document.querySelectorAll('details').forEach((d) => { d.open = true; })"
        )
        for card in page.locator(".card").all():
            card.scroll_into_view_if_needed()
        for keys in states:
            press(page, keys)
            assert browser.find_barriers(page) == []


def test_tab_stops_are_those_of_the_bar_and_of_the_current_film(page):
    stops = "() => [...document.querySelectorAll('#card-list *')].filter((e) => e.tabIndex >= 0)"
    before = page.evaluate(f"{stops}.length")
    press(page, "jj")

    assert before == 1
    assert page.evaluate(f"{stops}.every((e) => e.closest('.current'))")


def test_dark_page_follows_the_system_and_the_switch(run, chromium):
    ground = "() => getComputedStyle(document.body).backgroundColor"
    with browser.new_page(chromium, color_scheme="dark") as page:
        browser.show(page, run[1])
        dark = page.evaluate(ground)
        page.click("#theme")
        light = page.evaluate(ground)
        page.reload()

        assert (dark, light) == ("rgb(15, 20, 24)", "rgb(245, 246, 244)")
        assert page.evaluate(ground) == light


@pytest.mark.parametrize("width", [390, 768, 1280, 2560])
def test_page_fits_the_window(run, chromium, width):
    with browser.new_page(chromium, size=(width, 900)) as page:
        browser.show(page, run[1])
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        press(page, "jz")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_page_without_scripts_lists_every_film(run, chromium):
    with browser.new_page(chromium, java_script_enabled=False) as page:
        browser.show(page, run[1])

        assert page.locator(".card .film:visible").count() == 4
        assert page.locator("#storage-note:visible").count() == 0
        assert re.search("need JavaScript", page.locator("noscript").inner_text())
        assert not page.locator(".toolbar:visible, .review:visible, .choices:visible").count()
