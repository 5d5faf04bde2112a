"""A browser, and pages that are watched for errors and requests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield the system's Chromium.

    It ends with the module: Playwright's event loop is in the way of other tests'.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Yield a function that opens a page; no page may report an error or leave its folder."""
    errors: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(
        path: Path | str,
        route: str = "",
        *,
        width: int = 1280,
        dark: bool = False,
        touch: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            has_touch=touch,
        )
        contexts.append(context)
        page = context.new_page()
        url = path.as_uri() if isinstance(path, Path) else path
        home = url.rsplit("/", 1)[0]

        def note(request: Request) -> None:
            if not request.url.startswith((f"{home}/", "data:")):
                requests.append(request.url)

        page.on("request", note)
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url + route)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert requests == []
