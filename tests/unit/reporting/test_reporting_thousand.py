"""A report with as many cards as it may have, in a real browser."""

import re
from pathlib import Path

import browser
import cv2
import numpy as np
import pytest
import reporting_fakes as fakes

from covid_debug.imaging.geometry import ViewSpec
from covid_debug.reporting.report import MAX_CARDS, build_report

pytestmark = pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")

# From a key, or a field's new value, to the end of the next frame.
_TIME_KEY = """async (key) => {
  const start = performance.now(), init = {key, bubbles: true, cancelable: true};
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", init));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  return performance.now() - start;
}"""
_TIME_FIELD = """async ([selector, value, type]) => {
  const start = performance.now(), field = document.querySelector(selector);
  field.value = value;
  field.dispatchEvent(new Event(type, {bubbles: true}));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  return performance.now() - start;
}"""


def multiply_cards(page: str, n: int) -> str:
    """Return a page with ``n`` cards, those of ``page`` again and again under other identities."""
    cards = re.findall(r"<article.*?</article>\n?", page, re.DOTALL)
    dots = re.findall(r"<circle[^>]*/>", page)

    def rename(text: str, i: int) -> str:
        text = re.sub(r'(id="film-|-card="|-rank="|name-)\d+', rf"\g<1>{i + 1}", text)
        return re.sub(r'data-id="\w+"', f'data-id="{i:016x}"', text)

    many = "".join(rename(cards[i % len(cards)], i) for i in range(n))
    points = "".join(rename(dots[i % len(dots)], i) for i in range(n))
    start, end = page.index(cards[0]), page.rindex("</article>") + len("</article>\n")
    page = page[:start] + many + page[end:]
    start, end = page.index(dots[0]), page.rindex(dots[-1]) + len(dots[-1])
    return page[:start] + points + page[end:]


def test_thousand_cards_are_filtered_decided_in_bulk_and_undone(tmp_path: Path) -> None:
    request = fakes.make_request(tmp_path, comparison=None, confounds=None)
    report = build_report(tmp_path / "out", request)
    report.write_text(multiply_cards(report.read_text(), MAX_CARDS))

    with browser.launch() as chromium, browser.new_page(chromium) as page:
        browser.show(page, report)
        count = page.locator("#count")
        assert count.text_content() == f"{MAX_CARDS} of {MAX_CARDS} films · 0 reviewed · 0 regions"
        page.fill("#reviewer", "MK")
        page.locator("#reviewer").blur()
        for key in "jaaa":
            page.keyboard.press(key)
        assert page.get_attribute(".card.current", "data-rank") == "4"
        page.select_option("[data-filter=verdict]", "text_driven")
        assert count.text_content().startswith(f"{MAX_CARDS // 4} of")
        page.click("[data-all=reject]")
        page.click("#sure [data-close=yes]")
        assert f"{MAX_CARDS // 4 + 2} reviewed" in count.text_content()
        page.click("#undo")
        assert "3 reviewed" in count.text_content()


@pytest.mark.slow
def test_thousand_cards_how_long_they_take(tmp_path: Path, capsys) -> None:
    """Prints the times; they belong to the machine and are not asserted."""
    rng = np.random.default_rng(0)

    def draw(_: int) -> np.ndarray:
        rough = rng.normal(128, 50, (12, 12)).clip(0, 255).astype(np.uint8)
        film = cv2.resize(rough, (640, 640), interpolation=cv2.INTER_CUBIC)
        return (film + rng.normal(0, 3, film.shape)).clip(0, 255).astype(np.uint8)

    films = fakes.make_filmset(tmp_path / "films-2", 20, draw=draw)
    request = fakes.make_request(
        tmp_path, 20, comparison=None, confounds=None, filmset=films.root, view=ViewSpec()
    )
    for path in (request.audit / "maps").glob("*/*.npy"):
        rough = rng.uniform(size=(14, 14)).astype(np.float32)
        np.save(path, cv2.resize(rough, (224, 224)).astype(np.float16))
    report = build_report(tmp_path / "out", request)
    report.write_text(multiply_cards(report.read_text(), MAX_CARDS))

    with browser.launch() as chromium, browser.new_page(chromium, size=(1440, 900)) as page:
        browser.show(page, report)
        load = page.evaluate("() => performance.getEntriesByType('navigation')[0].loadEventEnd")
        page.fill("#reviewer", "MK")
        page.locator("#reviewer").blur()
        page.keyboard.press("j")
        keys = [(key, page.evaluate(_TIME_KEY, key)) for key in "aaruj1czarujzgaru"]
        fields = [
            (selector, page.evaluate(_TIME_FIELD, [selector, value, kind]))
            for selector, value, kind in (
                ("[data-filter=verdict]", "text_driven", "change"),
                ("#search", "f1", "input"),
                ("#sort", "drop", "change"),
            )
        ]
    with capsys.disabled():
        size = report.stat().st_size / 1e6
        print(f"\n{MAX_CARDS} cards, {size:.1f} MB: load {load / 1000:.2f} s")
        print("keys, ms:", ", ".join(f"{key} {ms:.0f}" for key, ms in keys))
        print("fields, ms:", ", ".join(f"{name} {ms:.0f}" for name, ms in fields))
