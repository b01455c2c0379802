"""The documentation site: built offline, complete, and true to the code."""

import inspect
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import yaml

import covid_debug as cd
from tests import browser
from tests.cli import commands

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILD_OFFLINE = """
import socket, sys
def refuse(*arguments, **options):
    raise OSError("the site asked for the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--quiet", "--site-dir", sys.argv[1]])
"""
LOADED = re.compile(
    r"<(?:script|img|iframe|link rel=\"(?:stylesheet|preload|icon)\")[^>]*"
    r"(?:src|href)=\"?(?:https?:)?//"
)


def pages_of_navigation() -> list[str]:
    def walk(item: object) -> list[str]:
        if isinstance(item, str):
            return [item]
        return [
            page
            for part in (item.values() if isinstance(item, dict) else item)
            for page in walk(part)
        ]

    return walk(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "site"
    built = subprocess.run(
        [sys.executable, "-c", BUILD_OFFLINE, str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return out


def test_every_page_is_in_the_navigation_once() -> None:
    written = {
        path.relative_to(DOCS).as_posix()
        for pattern in ("*.md", "*.ipynb")
        for path in DOCS.rglob(pattern)
        if ".ipynb_checkpoints" not in path.parts
    }
    named = pages_of_navigation()

    assert len(named) == len(set(named))
    assert written <= set(named)


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    found = {page.name: LOADED.findall(page.read_text()) for page in pages}

    assert len(pages) > len(pages_of_navigation())
    assert not any(found.values()), found


def test_no_page_holds_a_mark_that_was_not_replaced(site: Path) -> None:
    assert not [page for page in site.rglob("*.html") if "<!-- generated:" in page.read_text()]


def test_links_between_pages_lead_to_pages(site: Path) -> None:
    for page in site.glob("*/*.html"):
        for target in re.findall(r'href="([^":#?]+)[#"]', page.read_text()):
            assert (page.parent / unescape(target)).exists(), (page.name, target)


def test_what_a_function_returns_is_one_row(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text()
    for name in ("notebook.explain", "results.runs"):
        described = text.split(f'id="covid_debug.{name}"')[1].split("Returns:")[1]
        assert described.split("Raises:")[0].count('class="doc-section-item"') == 1, name


def test_every_command_is_in_the_reference_with_its_options(site: Path) -> None:
    text = unescape((site / "reference" / "command-line.html").read_text())

    for words, command in commands().items():
        assert f"covid-debug {words}" in text
        for option in command.params:
            name = option.opts[0]
            assert not name.startswith("--") or name in text, (words, name)


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    headings = re.findall(
        r'<h2 id="[^"]*" class="doc doc-heading">\s*(\S+)',
        (site / "reference" / "python.html").read_text(),
    )

    assert headings == [f"cd.{name}" for name in cd.__all__]


def test_every_configuration_key_is_in_the_reference(site: Path) -> None:
    from covid_debug.config.schema import RunConfig

    text = (site / "reference" / "configuration.html").read_text()

    for name in inspect.signature(RunConfig).parameters:
        assert f"<code>{name}</code>" in text or f'id="{name}' in text, name  # a key or a section
    for name in ("n_nulls", "decoy_sets", "rotation_deg", "max_failed_share", "text_correlation"):
        assert f"<code>{name}</code>" in text, name


def test_every_column_of_a_run_is_in_the_reference() -> None:
    from covid_debug.cleaning.provenance import PROVENANCE_COLUMNS
    from covid_debug.data.filmset import _FILM_COLUMNS
    from covid_debug.reporting.tables import COMPARISON_COLUMNS, FLAG_COLUMNS

    text = (DOCS / "reference" / "files.md").read_text()

    for column in (*FLAG_COLUMNS, *COMPARISON_COLUMNS, *_FILM_COLUMNS, *PROVENANCE_COLUMNS):
        assert f"`{column}`" in text, column


@pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")
def test_search_works_without_a_server(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with browser.launch() as chromium, browser.new_page(chromium) as page:
        browser.show(page, site / "index.html")
        page.locator(".md-search__input").focus()
        # What is typed before the index is there is lost, and parts of a word are no query.
        meta = page.locator(".md-search-result__meta")
        playwright.expect(meta).to_contain_text("Type to start", timeout=60_000)
        page.keyboard.insert_text("placebo")
        page.keyboard.press("End")  # the page looks when a key is released
        page.wait_for_selector(".md-search-result__item", state="attached", timeout=60_000)
