"""Takes the pictures of the studio for the documentation, in a Chromium without a window.

pip install -e '.[studio,dev]' && python docs/drawings/studio.py
"""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pops.io.pictures import save_picture
from pops.studio.app import start
from pops.studio.config import StudioConfig

OUT = Path(__file__).parents[1] / "images"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PORT = 17861
PATIENCE = 120_000  # milliseconds
DESK, PHONE = (1280, 760), (390, 844)  # CSS pixels

expect.set_options(timeout=PATIENCE)


@contextmanager
def serving() -> Iterator[str]:
    """Serve a studio on the pocket stack, and give its address."""
    config = StudioConfig(stack="pocket", device="cpu", port=PORT, browser=False)
    asyncio.set_event_loop(asyncio.new_event_loop())
    server, url, studio = start(config)
    try:
        yield url.rstrip("/")
    finally:
        studio.queue.close()
        server.get_blocks().close(verbose=False)


def opened(browser: Browser, url: str, tab: str, size: tuple[int, int], **how: object) -> Page:
    """Open a tab of the page, as a visitor of its own."""
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_context(viewport=viewport, device_scale_factor=1.5, **how).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}/#{tab}")
    page.wait_for_selector("html[data-ready]")
    return page


def make(page: Page, tab: str) -> None:
    """Press the button, and wait until all that was asked for is shown."""
    page.locator(f"#panel-{tab} .primary").click()
    expect(page.locator(f"#panel-{tab} .downloads a, #panel-{tab} .figure a").last).to_be_visible()
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)


def taken(page: Page) -> Image.Image:
    """Take a picture of what the window shows."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def apply(browser: Browser, url: str) -> Image.Image:
    """Show two pictures and what was made of them."""
    page = opened(browser, url, "apply", DESK)
    make(page, "apply")
    return taken(page)


def compose(browser: Browser, url: str) -> Image.Image:
    """Show an expression and its tree."""
    page = opened(browser, url, "compose", (1280, 800))
    page.fill("#expression", "scene(texturing('mug.png', 'wood.png'), 'beach.png')")
    make(page, "compose")
    return taken(page)


def grid(browser: Browser, url: str) -> Image.Image:
    """Show objects and textures, and what was made of each pair."""
    page = opened(browser, url, "grid", (1280, 900))
    make(page, "grid")
    return taken(page)


def phone(browser: Browser, url: str) -> Image.Image:
    """Show three operators at the width of a phone, one of them in the dark."""
    pages = []
    for operator, scheme in (("texturing", "light"), ("instruct", "dark"), ("clothes", "light")):
        page = opened(browser, url, "apply", PHONE, color_scheme=scheme)
        page.locator("#panel-apply [role=radio]").get_by_text(operator, exact=True).click()
        if operator != "clothes":
            make(page, "apply")
            page.locator("#panel-apply .result").first.scroll_into_view_if_needed()
        pages.append(taken(page))
    width, height = pages[0].size
    gap = width // 20
    sheet = Image.new("RGB", (3 * width + 2 * gap, height), "white")
    for at, page_taken in enumerate(pages):
        sheet.paste(page_taken, (at * (width + gap), 0))
    return sheet


def main() -> None:
    """Take all pictures."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as play, serving() as url:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for shown in (apply, compose, grid, phone):
            path = OUT / f"studio-{shown.__name__}.jpg"
            save_picture(shown(browser, url), path)
            print(path)
        browser.close()


if __name__ == "__main__":
    main()
