"""A headless Chromium, driven by Playwright."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PACKAGES = ("playwright", "axe_playwright_python")
WHY_NOT = (
    "no Chromium on this machine"
    if CHROMIUM is None
    else ", ".join(f"{n} is not installed" for n in PACKAGES if not importlib.util.find_spec(n))
)
"""Why there is no browser; empty where there is one."""


@contextmanager
def launch() -> Iterator["Browser"]:
    """Start Chromium; it ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@contextmanager
def new_page(
    browser: "Browser", *, size: tuple[int, int] = (1280, 900), **context: Any
) -> Iterator["Page"]:
    """Open an empty page without storage; everything that it complains about fails the block."""
    viewport = {"width": size[0], "height": size[1]}
    opened = browser.new_context(viewport=viewport, reduced_motion="reduce", **context)
    opened.set_default_timeout(20_000)
    page = opened.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: (
            problems.append(message.text) if message.type in {"error", "warning"} else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            problems.append(request.url)
            if not request.url.startswith(("file:", "data:", "blob:"))
            else None
        ),
    )
    yield page
    opened.close()
    if problems:
        raise AssertionError(problems)


def show(page: "Page", path: Path) -> None:
    """Open a file."""
    page.goto(path.resolve().as_uri())


def find_barriers(page: "Page") -> list[str]:
    """Return what axe-core finds against WCAG 2.2, levels A and AA: rule and first element."""
    from axe_playwright_python.sync_playwright import Axe

    levels = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    options = {"runOnly": {"type": "tag", "values": levels}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{one['id']} x{len(one['nodes'])}: {one['nodes'][0]['html'][:300]}" for one in found]
